//! What there is of a stack's two colours, for people and for programs.

use serde::Serialize;

use super::super::Stack;
use super::aws::Aws;
use super::calls::Calls;
use super::colour::{Both, Colour};
use super::intent::{Direction, Phase};
use super::lock;
use super::looking::a_run;
use super::observe::look;
use super::state::{ColourState, Observed};
use crate::event::Events;
use crate::run::{RunId, rfc3339};
use crate::targets::TargetError;
use crate::targets::ec2::ImageFacts;

/// A stack, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) stack: String,
    pub(crate) region: String,
    /// CloudFormation's word: `UPDATE_COMPLETE`.
    pub(crate) status: String,
    pub(crate) url: Option<String>,
    /// The colour with the traffic, unless nothing is there.
    pub(crate) live: Option<Colour>,
    pub(crate) colours: Both<ColourReport>,
    /// The last rollout.
    pub(crate) rollout: Option<RolloutReport>,
    /// Alarms that fire.
    pub(crate) alarms: Vec<String>,
    /// Who works on it at this time.
    pub(crate) lock: Option<LockReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ColourReport {
    /// How much of the traffic it has, in percent.
    pub(crate) traffic: u32,
    pub(crate) healthy: u32,
    pub(crate) desired: u32,
    pub(crate) image: Option<ImageFacts>,
    pub(crate) instances: Vec<InstanceReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InstanceReport {
    pub(crate) id: String,
    pub(crate) zone: String,
    /// `InService`
    pub(crate) lifecycle: String,
    /// What the load balancer says: `healthy`.
    pub(crate) health: String,
    /// `Target.FailedHealthChecks`
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RolloutReport {
    pub(crate) run: RunId,
    pub(crate) to: Colour,
    pub(crate) from: Option<Colour>,
    pub(crate) direction: Direction,
    pub(crate) phase: Phase,
    /// When its last phase began.
    pub(crate) since: String,
    pub(crate) image: String,
    /// Why it goes back, or went.
    pub(crate) why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LockReport {
    pub(crate) run: Option<RunId>,
    pub(crate) since: Option<String>,
    /// How long ago its holder was heard of, in seconds.
    pub(crate) heard: u64,
}

/// Returns how a stack is.
pub(crate) async fn report(stack: &Stack, events: &Events) -> Result<Report, TargetError> {
    let run = a_run()?;
    let calls = Aws::new(stack, &run, events);
    let described = stack.existing().await?;
    let looked = look(&calls as &dyn Calls, stack.name.as_str(), 0).await?;
    let seen = &looked.seen;
    let image = async |colour: Colour| {
        let id = seen.colours[colour].parameters.get("ImageId")?;
        Some(stack.ec2.image_facts(id).await.map_err(TargetError::from))
    };
    // What may not be asked for is left out.
    let (blue, green, lock) = tokio::join!(
        image(Colour::Blue),
        image(Colour::Green),
        lock::holder(stack)
    );
    let blue = known(blue, "the image of blue", events);
    let green = known(green, "the image of green", events);
    let lock = known(Some(lock), "who works on the stack", events).flatten();
    Ok(Report {
        stack: stack.name.to_string(),
        region: stack.region.clone(),
        status: described.status,
        url: described.outputs.get("Url").cloned(),
        live: seen.live(),
        colours: Both {
            blue: colour(seen, Colour::Blue, blue),
            green: colour(seen, Colour::Green, green),
        },
        rollout: rollout(seen),
        alarms: seen.alarms.iter().map(|one| one.name.clone()).collect(),
        lock: lock.map(|held| LockReport {
            run: held.run,
            since: held.since.map(rfc3339),
            heard: held.heard,
        }),
    })
}

/// Returns what there is to know, or says why it is not known.
fn known<T>(told: Option<Result<T, TargetError>>, what: &str, events: &Events) -> Option<T> {
    match told? {
        Ok(told) => Some(told),
        Err(error) => {
            events.warn(format!("{what} is not known: {}", error.on_one_line()));
            None
        }
    }
}

fn colour(seen: &Observed, colour: Colour, image: Option<ImageFacts>) -> ColourReport {
    let state: &ColourState = &seen.colours[colour];
    let instances = state.instances.iter().map(|one| InstanceReport {
        id: one.id.clone(),
        zone: one.zone.clone(),
        lifecycle: one.lifecycle.clone(),
        health: one.target.state.clone(),
        reason: one.target.reason.clone(),
    });
    ColourReport {
        traffic: seen.percent(colour),
        healthy: state.healthy(),
        desired: state.group.desired,
        image,
        instances: instances.collect(),
    }
}

fn rollout(seen: &Observed) -> Option<RolloutReport> {
    let intent = seen.intent()?;
    Some(RolloutReport {
        run: intent.run.clone(),
        to: intent.to,
        from: intent.from,
        direction: intent.direction,
        phase: intent.phase,
        since: rfc3339(intent.since),
        image: intent.image.clone(),
        why: Some(intent.why.clone()).filter(|why| !why.is_empty()),
    })
}
