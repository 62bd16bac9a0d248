//! What a rollout will do, asked before anything is done, by a deploy and by its plan: what it would refuse to begin for is
//! refused by this.

use std::collections::BTreeMap;

use super::super::Stack;
use super::aws::Aws;
use super::begin::changes_between;
use super::calls::Calls;
use super::colour::Colour;
use super::drive::RolloutError;
use super::ended::{Named, concluded};
use super::intent::Phase;
use super::known::Known;
use super::looking::unheard;
use super::next::next;
use super::observe::{Look, look};
use super::state::{GroupState, Observed};
use super::step::{Next, Step};
use super::wanted::{Wanted, Way};
use crate::bake::failed;
use crate::exit::Failure;
use crate::run::RunId;
use crate::targets::TargetError;

/// What will be so when a rollout begins, and is not yet, since the stack is changed first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ahead {
    pub(crate) min_size: Option<u32>,
    pub(crate) max_size: Option<u32>,
    /// Whether the load balancer is inside its VPC alone, as far as the template tells that.
    pub(crate) is_internal: Option<bool>,
}

/// What a rollout comes upon, and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreseen {
    pub(crate) act: Act,
    /// The colour that serves, and its group.
    pub(crate) live: Option<(Colour, GroupState)>,
    /// Whether traffic follows a rule of ours already.
    pub(crate) has_rule: bool,
    /// Whether that leads to target groups that were replaced.
    pub(crate) is_astray: bool,
    pub(crate) has_smoke_rules: bool,
    /// Alarms that fire, but for those of the idle colour, whose state says nothing of what serves.
    pub(crate) alarms: Vec<String>,
    /// Whose rollout did not come to its end.
    pub(crate) interrupted: Option<RunId>,
    /// What it does if the stack's change has the colour that serves launch something else.
    pub(crate) if_relaunched: Option<Roll>,
}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    /// It ends what is left to do for the colour that serves.
    Finish(Finish),
    Roll(Roll),
    /// Nothing is known: CloudFormation has begun something meanwhile, or has to first.
    Unknown,
}

/// What is left to do for the colour that serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Finish {
    /// Its group is to have processes again that it has suspended.
    pub(crate) resumes: bool,
    /// Its group has another least size than it is to have, or the other colour still has instances.
    pub(crate) resizes: bool,
}

/// How traffic goes to a colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roll {
    pub(crate) to: Colour,
    pub(crate) from: Option<Colour>,
    /// As many instances it is to have, and may have.
    pub(crate) size: u32,
    pub(crate) max: u32,
    /// Whether its group does all that an idle one does not.
    pub(crate) suspends: bool,
    /// The parameters that the stack changes for it, by their whole names.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Foreseen {
    /// Returns what is foreseen of a stack that is to be made or changed before anything can be seen of it.
    pub(crate) fn of(act: Act) -> Self {
        Self {
            act,
            live: None,
            has_rule: false,
            is_astray: false,
            has_smoke_rules: false,
            alarms: Vec::new(),
            interrupted: None,
            if_relaunched: None,
        }
    }
}

/// Returns what a rollout will do.
///
/// # Errors
/// What it would refuse to begin for.
pub(crate) async fn foresee(
    stack: &Stack,
    wanted: &Wanted,
    ahead: &Ahead,
) -> Result<Foreseen, Failure> {
    let mut look = looked(stack, wanted).await?;
    look_ahead(&mut look, ahead);
    let seen = &look.seen;
    let act = match next(seen, wanted, &Known::default()) {
        Next::End(end) => concluded(Ok(end), &Named::of(stack)).map(|_| Act::Nothing)?,
        Next::Wait(_) => Act::Unknown,
        Next::Do(Step::Begin(intent)) if intent.phase == Phase::Rolling => {
            Act::Roll(roll(seen, intent.to, intent.from, intent.size, wanted))
        }
        Next::Do(_) => Act::Finish(
            seen.live()
                .map(|live| finish(seen, live))
                .unwrap_or_default(),
        ),
    };
    let is_tested = act != Act::Nothing && wanted.smoke.is_some();
    if is_tested && is_internal(stack, &wanted.run, &look, ahead).await? {
        return Err(internal(stack));
    }
    let live = seen.live();
    let size = |live: Colour| seen.colours[live].group.desired.max(seen.min_size);
    Ok(Foreseen {
        if_relaunched: live.map(|live| roll(seen, live.other(), Some(live), size(live), wanted)),
        act,
        live: live.map(|live| (live, seen.colours[live].group.clone())),
        has_rule: seen.rule.is_some(),
        is_astray: seen.is_astray(),
        has_smoke_rules: !seen.smoke_rules.is_empty(),
        alarms: seen.alarms_about(None).map(str::to_owned).collect(),
        interrupted: seen.unfinished().map(|intent| intent.run.clone()),
    })
}

async fn looked(stack: &Stack, wanted: &Wanted) -> Result<Look, Failure> {
    let events = unheard();
    let calls = Aws::new(stack, &wanted.run, &events);
    let looked = look(&calls as &dyn Calls, stack.name.as_str(), 0).await;
    looked.map_err(|error| refused(stack, RolloutError::Look(error.into())))
}

/// Returns that smoke tests cannot reach a stack.
pub(crate) fn internal(stack: &Stack) -> Failure {
    refused(stack, RolloutError::Internal)
}

fn refused(stack: &Stack, error: RolloutError) -> Failure {
    match concluded(Err(error), &Named::of(stack)) {
        Err(failure) => failure,
        Ok(_) => unreachable!("an error is no end"),
    }
}

fn look_ahead(look: &mut Look, ahead: &Ahead) {
    if let Some(min) = ahead.min_size {
        look.seen.min_size = min;
    }
    if let Some(max) = ahead.max_size {
        Colour::BOTH
            .into_iter()
            .for_each(|colour| look.seen.colours[colour].group.max = max);
    }
}

fn roll(seen: &Observed, to: Colour, from: Option<Colour>, size: u32, wanted: &Wanted) -> Roll {
    let changes = match &wanted.way {
        Way::Forward { parameters } => changes_between(seen, to, from, parameters),
        Way::Back => BTreeMap::new(),
    };
    let named = changes.into_iter();
    let state = &seen.colours[to];
    Roll {
        to,
        from,
        size,
        max: state.group.max,
        suspends: !state.processes(false).is_empty(),
        parameters: named
            .map(|(name, value)| (format!("{name}{}", to.suffix()), value))
            .collect(),
    }
}

fn finish(seen: &Observed, live: Colour) -> Finish {
    let (state, other) = (&seen.colours[live], &seen.colours[live.other()]);
    Finish {
        resumes: !state.processes(true).is_empty(),
        resizes: state.group.min != seen.min_size.min(state.group.max) || !other.is_to_be_empty(),
    }
}

async fn is_internal(
    stack: &Stack,
    run: &RunId,
    look: &Look,
    ahead: &Ahead,
) -> Result<bool, Failure> {
    if let Some(told) = ahead.is_internal {
        return Ok(told);
    }
    let events = unheard();
    let calls = Aws::new(stack, run, &events);
    let asked = calls.load_balancer(&look.site.load_balancer).await;
    asked
        .map(|(_, is_internal)| is_internal)
        .map_err(|error| failed(TargetError::from(error)))
}
