//! What a rollout came to, as the command line has it: a result for stdout, or a failure with what the
//! user can do.

use super::super::Stack;
use super::drive::RolloutError;
use super::step::{End, Why};
use super::wanted::Way;
use crate::exit::{Exit, Failure};
use crate::targets::Fault;

/// What an end is told with: what was done before, and the commands that go on or back.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    stack: String,
    region: String,
    before: Before,
    /// What goes on with it, as it is typed.
    again: Option<String>,
}

/// What was done of a deploy before its rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    StackMade,
    StackChanged,
}

impl Before {
    /// Returns what was changed if the rollout has changed nothing.
    fn told(self) -> &'static str {
        match self {
            Self::Nothing => "nothing was changed",
            Self::StackMade => "the stack was made, and nothing runs in it",
            Self::StackChanged => "the stack was changed, and no traffic was moved",
        }
    }
}

impl Named {
    pub(crate) fn of(stack: &Stack) -> Self {
        Self {
            stack: stack.name.to_string(),
            region: stack.region.clone(),
            before: Before::Nothing,
            again: None,
        }
    }

    /// Names a command, as it is typed, and what it has done already.
    pub(crate) fn of_command(stack: &Stack, again: String, before: Before) -> Self {
        Self {
            before,
            again: Some(again),
            ..Self::of(stack)
        }
    }

    fn rollback(&self) -> String {
        let Self { stack, region, .. } = self;
        format!("amibake stack rollback {stack} --region {region}")
    }

    /// Returns what goes on with a deploy.
    fn deploy(&self, image: &str) -> String {
        let Self { stack, region, .. } = self;
        let again = self.again.clone();
        again.unwrap_or_else(|| {
            format!("amibake stack deploy {stack} --region {region} --ami {image}")
        })
    }

    fn status(&self) -> String {
        let Self { stack, region, .. } = self;
        format!("amibake stack status {stack} --region {region}")
    }

    /// Returns what was changed by a rollout that was not begun, and what goes on with it.
    fn unbegun(&self) -> String {
        let told = self.before.told();
        match (self.before, &self.again) {
            (Before::StackMade | Before::StackChanged, Some(again)) => {
                format!("{told}; go on: {again}")
            }
            (Before::Nothing, _) | (_, None) => told.to_owned(),
        }
    }
}

/// What can be done where alarms refuse a deploy.
pub(crate) const ALARMED: &str = "a deploy begins when they are quiet, or at once with --despite-alarms, where it is what is live that has to be mended";

/// An end that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ended(String);

/// Returns the end of a rollout if it is what was asked for.
pub(crate) fn concluded(ended: Result<End, RolloutError>, named: &Named) -> Result<End, Failure> {
    match ended {
        Ok(end) => of_end(end, named),
        Err(error) => Err(of_error(error, named)),
    }
}

fn of_end(end: End, named: &Named) -> Result<End, Failure> {
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
        .with_hint(format!("{}; {ALARMED}", named.before.told())),
        End::ForeignRules { rules } => failed(format!(
            "other rules of the listener lead to a colour: {}",
            rules.join(", ")
        ))
        .with_hint(format!(
            "{}; requests that follow them would reach an empty group, so remove them or have them lead elsewhere",
            named.before.told()
        ))
        .of_kind(Exit::Usage),
        End::Ambiguous { run, to } => failed(format!(
            "run {run} was interrupted on its way to {to}: which image is current is not clear"
        ))
        .with_hint(format!(
            "{}; name the image, or go back: {}",
            named.before.told(),
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

fn of_error(error: RolloutError, named: &Named) -> Failure {
    let hint = match &error {
        RolloutError::Look(source) | RolloutError::Begin(source) => {
            let own = source.hint().map(str::to_owned);
            let done = (named.before != Before::Nothing).then(|| named.unbegun());
            let told: Vec<String> = own.into_iter().chain(done).collect();
            Some(told.join("; ")).filter(|told| !told.is_empty())
        }
        RolloutError::Stopped { source, .. } => {
            let own = source.hint().map(|hint| format!("{hint}; "));
            let again = named.again.as_deref().unwrap_or("the same command");
            Some(format!(
                "{}{again} goes on, {} goes back",
                own.unwrap_or_default(),
                named.rollback()
            ))
        }
        RolloutError::Interrupted { image: None, .. } => Some(named.unbegun()),
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
        } => {
            let again = named.again.clone();
            let again = again.unwrap_or_else(|| named.rollback());
            Some(format!("go on: {again}"))
        }
        RolloutError::ImageGone { .. } => Some(format!(
            "{}; deploy another image instead: amibake stack deploy {} --region {} --ami …",
            named.before.told(),
            named.stack,
            named.region
        )),
        RolloutError::Internal => Some(format!(
            "{}; without --smoke the targets' health checks decide alone",
            named.before.told()
        )),
    };
    let kind = match &error {
        RolloutError::Interrupted { .. } => Exit::Interrupted,
        RolloutError::Internal | RolloutError::ImageGone { .. } => Exit::Usage,
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
