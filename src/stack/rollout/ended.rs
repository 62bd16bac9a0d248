//! What a rollout came to, as the command line has it: a result for stdout, or a failure with what the
//! user can do.

use super::super::Stack;
use super::drive::RolloutError;
use super::step::{End, Why};
use super::wanted::Way;
use crate::exit::{Exit, Failure};
use crate::targets::Fault;

/// What the commands that go on or back have to name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) stack: &'a str,
    pub(crate) region: &'a str,
}

impl<'a> Named<'a> {
    pub(crate) fn of(stack: &'a Stack) -> Self {
        Self {
            stack: stack.name.as_str(),
            region: &stack.region,
        }
    }

    fn rollback(self) -> String {
        let (stack, region) = (self.stack, self.region);
        format!("amibake stack rollback {stack} --region {region}")
    }

    fn deploy(self, image: &str) -> String {
        let (stack, region) = (self.stack, self.region);
        format!("amibake stack deploy {stack} --region {region} --ami {image}")
    }

    fn status(self) -> String {
        let (stack, region) = (self.stack, self.region);
        format!("amibake stack status {stack} --region {region}")
    }
}

/// What can be done where alarms refuse a deploy.
pub(crate) const ALARMED: &str = "nothing was changed; a deploy begins when they are quiet, or at once with --despite-alarms, where it is what is live that has to be mended";

/// An end that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ended(String);

/// Returns the end of a rollout if it is what was asked for.
pub(crate) fn concluded(
    ended: Result<End, RolloutError>,
    named: Named<'_>,
) -> Result<End, Failure> {
    match ended {
        Ok(end) => of_end(end, named),
        Err(error) => Err(of_error(error, named)),
    }
}

fn of_end(end: End, named: Named<'_>) -> Result<End, Failure> {
    let failed = |text: String| Failure::new(Ended(text));
    Err(match end {
        End::Live { .. } | End::Unchanged { .. } | End::IsBack { .. } => return Ok(end),
        End::WentBack { live, why } => {
            let text = format!("{why}; all traffic is with {live}, as before");
            failed(text).of_kind(kind(&why))
        }
        End::NeverLive { colour, why } => {
            let text = format!("{why}; {colour} was to be the first, so nothing serves");
            failed(text).of_kind(kind(&why))
        }
        End::AlarmsFire { alarms } => failed(format!(
            "alarms fire before anything is begun: {}",
            alarms.join(", ")
        ))
        .with_hint(ALARMED),
        End::ForeignRules { rules } => failed(format!(
            "other rules of the listener lead to a colour: {}",
            rules.join(", ")
        ))
        .with_hint("nothing was changed; requests that follow them would reach an empty group, so remove them or have them lead elsewhere")
        .of_kind(Exit::Usage),
        End::Ambiguous { run, to } => failed(format!(
            "run {run} was interrupted on its way to {to}: which image is current is not clear"
        ))
        .with_hint(format!(
            "name the image, or go back: {}",
            named.rollback()
        ))
        .of_kind(Exit::Usage),
        End::NothingToGoBackTo { live } => failed(match live {
            Some(live) => format!("there is nothing to go back to: {live} is the first live colour"),
            None => "there is nothing to go back to: nothing serves".to_owned(),
        })
        .of_kind(Exit::Usage),
        End::Stuck { live, why } => failed(format!("it cannot go back: {why}; {live} has the traffic that it had"))
            .with_hint(format!("{} shows what there is; {} tries again", named.status(), named.rollback())),
        End::TakenOver { by } => failed(format!("run {by} has taken this rollout over"))
            .with_hint(format!("{} shows how it goes on", named.status())),
        End::IntentLost => failed(
            "the rule that traffic follows, or its tags, were removed by somebody".to_owned(),
        )
        .with_hint(format!("{} shows what there is; a deploy of the same image goes on", named.status())),
    })
}

/// Returns whose fault it is: the image's, or something else's.
fn kind(why: &Why) -> Exit {
    match why {
        Why::NeverHealthy { .. }
        | Why::Unhealthy { .. }
        | Why::Alarms { .. }
        | Why::Errors { .. }
        | Why::Smoke { .. } => Exit::GateFailed,
        Why::Step { .. }
        | Why::TooMany { .. }
        | Why::WouldNotLeave { .. }
        | Why::NothingElseServes => Exit::Failed,
    }
}

fn of_error(error: RolloutError, named: Named<'_>) -> Failure {
    let hint = match &error {
        RolloutError::Look(source) | RolloutError::Begin(source) => {
            source.hint().map(str::to_owned)
        }
        RolloutError::Stopped { source, .. } => {
            let own = source.hint().map(|hint| format!("{hint}; "));
            Some(format!(
                "{}the same command goes on, {} goes back",
                own.unwrap_or_default(),
                named.rollback()
            ))
        }
        RolloutError::Interrupted { image: None, .. } => Some("nothing was changed".to_owned()),
        RolloutError::Interrupted {
            image: Some(image),
            way: Way::Forward { .. },
            ..
        } => Some(format!(
            "go on: {}; go back: {}",
            named.deploy(image),
            named.rollback()
        )),
        RolloutError::Interrupted {
            image: Some(_),
            way: Way::Back,
            ..
        } => Some(format!("go on: {}", named.rollback())),
        RolloutError::Internal => Some(
            "nothing was changed; without --smoke the targets' health checks decide alone"
                .to_owned(),
        ),
    };
    let kind = match &error {
        RolloutError::Interrupted { .. } => Exit::Interrupted,
        RolloutError::Internal => Exit::Usage,
        RolloutError::Look(source) if source.fault == Fault::Manifest => Exit::Usage,
        RolloutError::Look(_) | RolloutError::Begin(_) | RolloutError::Stopped { .. } => {
            Exit::Failed
        }
    };
    let failure = Failure::new(error).of_kind(kind);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
