//! What a rollout does, waits for, and comes to: data, and its words.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::colour::{Colour, Weights};
use super::intent::{Intent, Phase};
use crate::run::RunId;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Do(Step),
    Wait(Waiting),
    End(End),
}

/// Something that changes the account: one call, but for the smoke tests and an update of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Says what is going to be done, before any of it: in the rule's tags, or in a rule that is made.
    Begin(Intent),
    /// Says how far it is.
    Mark(Intent),
    /// Says that it goes back, before it does.
    Reverse {
        intent: Intent,
        why: Why,
    },
    /// Has the stack change parameters of a colour that has no traffic, by their names without it.
    Update {
        colour: Colour,
        parameters: BTreeMap<String, String>,
    },
    Suspend {
        colour: Colour,
        processes: Vec<&'static str>,
    },
    Resume {
        colour: Colour,
        processes: Vec<&'static str>,
    },
    /// Keeps a group from becoming smaller than it is.
    RaiseMin {
        colour: Colour,
        min: u32,
    },
    /// Lets a group that is live become as small as the stack says.
    HandBack {
        colour: Colour,
        min: u32,
    },
    Resize {
        colour: Colour,
        size: u32,
    },
    ScaleIn {
        colour: Colour,
    },
    /// Empties a colour that was to be the first, or was asked back, and was not healthy.
    Abandon {
        colour: Colour,
        why: Why,
    },
    /// Sends requests to a colour that nobody else reaches.
    Smoke {
        colour: Colour,
    },
    RemoveSmokeRule {
        arn: String,
    },
    Shift(Weights),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// CloudFormation's end of what it does.
    Stack(String),
    /// Requests that came by the old weights.
    Drained,
    /// Instances that leave.
    Leaving,
    Health,
    /// Alarms that fire before there is traffic.
    Alarms(Vec<String>),
    /// What was written a moment ago, and is not everywhere yet.
    Tags,
    Bake,
    Metrics,
    /// The other colour is still warm.
    Keep,
}

/// How a rollout ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ended", rename_all = "kebab-case")]
pub(crate) enum End {
    /// All traffic is with the new.
    Live {
        live: Colour,
        previous: Option<Colour>,
    },
    /// It was so already.
    Unchanged {
        live: Colour,
    },
    /// All traffic is with what was live before, since something was wrong with the new.
    WentBack {
        live: Colour,
        why: Why,
    },
    /// All traffic is with what was live before, as was asked for.
    IsBack {
        live: Colour,
    },
    /// Nothing was begun, since rules that are not ours send traffic to one of the colours.
    ForeignRules {
        rules: Vec<String>,
    },
    /// Nothing was begun, since alarms fire.
    AlarmsFire {
        alarms: Vec<String>,
    },
    /// Nothing was begun: a deploy was interrupted, and which image is the current one is not clear.
    Ambiguous {
        run: RunId,
        to: Colour,
    },
    NothingToGoBackTo {
        live: Option<Colour>,
    },
    /// A stack's first colour was never healthy: there was nothing to go back to.
    NeverLive {
        colour: Colour,
        why: Why,
    },
    /// The way back does not work either. All traffic is where it was.
    Stuck {
        live: Colour,
        why: Why,
    },
    /// Another process has begun a rollout of its own.
    TakenOver {
        by: RunId,
    },
    /// Somebody has removed the rule's tags, or the rule.
    IntentLost,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Why {
    NeverHealthy {
        healthy: u32,
        size: u32,
        reasons: Vec<String>,
    },
    /// Under traffic.
    Unhealthy {
        reasons: Vec<String>,
    },
    Alarms {
        names: Vec<String>,
    },
    Errors {
        errors: u64,
        requests: u64,
    },
    Smoke {
        reason: String,
    },
    /// A step was refused, or could not be made.
    Step {
        reason: String,
    },
    /// More than its group may have.
    TooMany {
        size: u32,
        max: u32,
    },
    WouldNotLeave {
        colour: Colour,
    },
    NothingElseServes,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverHealthy {
                healthy,
                size,
                reasons,
            } => {
                write!(f, "{healthy} of {size} instances became healthy in time")?;
                match reasons.is_empty() {
                    true => Ok(()),
                    false => write!(f, ": {}", reasons.join("; ")),
                }
            }
            Self::Unhealthy { reasons } => f.write_str(&reasons.join("; ")),
            Self::Alarms { names } => write!(f, "alarms fire: {}", names.join(", ")),
            Self::Errors { errors, requests } => {
                write!(f, "{errors} of {requests} answers were 5xx")
            }
            Self::Smoke { reason } => write!(f, "a smoke test failed: {reason}"),
            Self::Step { reason } => f.write_str(reason),
            Self::TooMany { size, max } => {
                write!(f, "{size} instances are wanted, and MaxSize is {max}")
            }
            Self::WouldNotLeave { colour } => {
                write!(f, "{colour}'s old instances did not end in time")
            }
            Self::NothingElseServes => f.write_str("the other colour has no healthy instance"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(intent) => match intent.from {
                _ if intent.phase != Phase::Rolling => {
                    write!(
                        f,
                        "{} keeps the traffic, and what is left to do is done",
                        intent.to
                    )
                }
                Some(from) => write!(f, "traffic is to go from {from} to {}", intent.to),
                None => write!(f, "{} is to be the first live colour", intent.to),
            },
            Self::Mark(intent) => match intent.phase {
                Phase::Keeping => {
                    write!(f, "{} has all traffic for good", intent.to)
                }
                Phase::Rolling | Phase::Done => {
                    write!(f, "the rollout is done")
                }
            },
            Self::Reverse { intent, why } => write!(f, "it goes back to {}: {why}", intent.to),
            Self::Update { colour, parameters } => {
                let told = parameters.iter().map(|(k, v)| format!("{k} {v}"));
                let told: Vec<String> = told.collect();
                write!(f, "the stack changes {colour}: {}", told.join(", "))
            }
            Self::Suspend { colour, processes } => {
                write!(f, "{colour}'s group suspends {}", processes.join(", "))
            }
            Self::Resume { colour, processes } => {
                write!(f, "{colour}'s group resumes {}", processes.join(", "))
            }
            Self::RaiseMin { colour, min } => {
                write!(f, "{colour}'s group keeps its {min} instances")
            }
            Self::HandBack { colour, min } => {
                write!(f, "{colour}'s group may have {min} instances at least")
            }
            Self::Resize { colour, size: 1 } => write!(f, "{colour} gets 1 instance"),
            Self::Resize { colour, size } => write!(f, "{colour} gets {size} instances"),
            Self::ScaleIn { colour } | Self::Abandon { colour, .. } => {
                write!(f, "{colour}'s instances go")
            }
            Self::Smoke { colour } => write!(f, "{colour} gets the smoke tests' requests"),
            Self::RemoveSmokeRule { arn } => write!(f, "a rule of smoke tests goes: {arn}"),
            Self::Shift(weights) => write!(
                f,
                "traffic: blue {} %, green {} %",
                weights.percent(Colour::Blue),
                weights.percent(Colour::Green)
            ),
        }
    }
}
