//! How a rollout begins, or why there is none: which colour is to have the traffic, by what is wanted and
//! by what another process may have left. Pure, as what comes `next` is.

use std::collections::BTreeMap;

use super::super::template::IMAGE;
use super::colour::Colour;
use super::intent::{Direction, Intent, Phase};
use super::state::{Observed, Standing};
use super::step::{End, Next, Step, Waiting};
use super::wanted::{OnAlarm, Wanted, Way};

/// Returns how a rollout begins, or why there is none.
pub(super) fn begin(seen: &Observed, wanted: &Wanted) -> Next {
    match (&wanted.way, &seen.stack) {
        // Going back needs nothing of the stack.
        (Way::Back, _) => begin_back(seen, wanted),
        (Way::Forward { .. }, Standing::Busy(status)) => Next::Wait(Waiting::Stack(status.clone())),
        (Way::Forward { parameters }, Standing::Settled) => begin_forward(seen, wanted, parameters),
    }
}

fn begin_forward(seen: &Observed, wanted: &Wanted, given: &BTreeMap<String, String>) -> Next {
    if !seen.foreign_rules.is_empty() {
        let rules = seen.foreign_rules.clone();
        return Next::End(End::ForeignRules { rules });
    }
    let unfinished = seen.unfinished();
    if let Some(intent) = unfinished
        && !given.contains_key(IMAGE)
        && is_of_another_image(seen, intent)
    {
        let (run, to) = (intent.run.clone(), intent.to);
        return Next::End(End::Ambiguous { run, to });
    }
    let live = seen.live();
    if let (Some(live), None) = (live, unfinished)
        && is_done(seen, live, given)
    {
        return finish(seen, wanted, live, given);
    }
    // What becomes of the idle colour says nothing of what serves: it is replaced.
    let alarms: Vec<String> = seen.alarms_about(None).map(str::to_owned).collect();
    let is_refused = wanted.on_alarm == OnAlarm::Refuse && begins_anew(seen, given);
    if is_refused && !alarms.is_empty() {
        return Next::End(End::AlarmsFire { alarms });
    }
    let (to, from) = match (unfinished, live) {
        // It goes on, or another image takes the place of its own.
        (Some(intent), _)
            if intent.direction == Direction::Forward && !is_taken(seen, intent, given) =>
        {
            let from = intent.from.or(live.filter(|live| *live != intent.to));
            (intent.to, from)
        }
        (_, Some(live)) => (live.other(), Some(live)),
        (_, None) => (seen.favoured(), None),
    };
    let image = image_of(seen, from.unwrap_or(to), given);
    let intent = intent(seen, wanted, to, from, Direction::Forward, image);
    Next::Do(Step::Begin(intent))
}

/// Returns whether a deploy begins something that can as well wait: it neither goes on with what was begun with its image, nor
/// takes traffic back from what another has begun.
fn begins_anew(seen: &Observed, given: &BTreeMap<String, String>) -> bool {
    let Some(live) = seen.live() else {
        return false;
    };
    let Some(intent) = seen.unfinished() else {
        return true;
    };
    // Nobody was served before a stack's first rollout: what its alarms say is that nobody is yet.
    let Some(from) = intent.from else {
        return false;
    };
    let goes_on =
        intent.direction == Direction::Forward && image_of(seen, from, given) == intent.image;
    !goes_on && seen.percent(live) == 100
}

/// Ends what is so already, and does what another process has left to do: a rule that was lost, a least
/// size that has changed, a colour that is still warm.
fn finish(
    seen: &Observed,
    wanted: &Wanted,
    live: Colour,
    given: &BTreeMap<String, String>,
) -> Next {
    let group = &seen.colours[live].group;
    let has_its_least = group.min == seen.min_size.min(group.max);
    let its = seen.intent().filter(|intent| intent.to == live);
    match its {
        Some(intent) if intent.phase == Phase::Done && has_its_least && !seen.is_astray() => {
            Next::End(End::Unchanged { live })
        }
        Some(intent) => Next::Do(Step::Begin(Intent {
            run: wanted.run.clone(),
            phase: Phase::Keeping,
            ..intent.clone()
        })),
        None => {
            let (from, image) = (Some(live.other()), image_of(seen, live, given));
            let mut intent = intent(seen, wanted, live, from, Direction::Forward, image);
            intent.phase = Phase::Keeping;
            Next::Do(Step::Begin(intent))
        }
    }
}

/// Returns whether what was interrupted was about another image than the one that serves.
fn is_of_another_image(seen: &Observed, unfinished: &Intent) -> bool {
    let base = unfinished.from.unwrap_or(unfinished.to);
    unfinished.direction == Direction::Forward
        && image_of(seen, base, &BTreeMap::new()) != unfinished.image
}

/// Returns whether an unfinished rollout's colour is not as is wanted, and serves: it is the live colour
/// then, or what is live beside it.
fn is_taken(seen: &Observed, intent: &Intent, given: &BTreeMap<String, String>) -> bool {
    let to = &seen.colours[intent.to];
    let base = &seen.colours[intent.from.unwrap_or(intent.to)].parameters;
    let is_other = to.parameters != overlaid(base, given) || to.is_stale();
    let serves = |colour: &Colour| seen.percent(*colour) > 0 && seen.colours[*colour].healthy() > 0;
    is_other
        && match intent.from {
            Some(_) => seen.percent(intent.to) == 100 && seen.live() == Some(intent.to),
            // A first colour has all traffic from the beginning.
            None => Colour::BOTH.iter().any(serves),
        }
}

fn begin_back(seen: &Observed, wanted: &Wanted) -> Next {
    let to = match (seen.intent(), seen.live()) {
        (Some(intent), live) if intent.from.is_none() && intent.phase == Phase::Rolling => {
            return Next::End(End::NothingToGoBackTo { live });
        }
        (Some(intent), _) if intent.phase == Phase::Rolling => match intent.direction {
            Direction::Forward => intent.to.other(),
            Direction::Back => intent.to,
        },
        (Some(intent), Some(live)) if intent.direction == Direction::Back && live == intent.to => {
            match (intent.phase, seen.percent(live)) {
                (Phase::Rolling | Phase::Done, 100)
                    if seen.colours[live.other()].is_to_be_empty() && !seen.is_astray() =>
                {
                    return Next::End(End::IsBack { live });
                }
                // Another process may not have come to the end of it, or has kept what failed, to be looked at.
                (Phase::Rolling | Phase::Keeping | Phase::Done, 100) => {
                    return Next::Do(Step::Begin(Intent {
                        run: wanted.run.clone(),
                        phase: Phase::Keeping,
                        ..intent.clone()
                    }));
                }
                // Somebody has changed the weights by hand.
                (Phase::Rolling | Phase::Keeping | Phase::Done, _) => live,
            }
        }
        (Some(intent), Some(live)) if intent.from.is_some() => live.other(),
        (_, live) => return Next::End(End::NothingToGoBackTo { live }),
    };
    let image = image_of(seen, to, &BTreeMap::new());
    let from = Some(to.other());
    let mut intent = intent(seen, wanted, to, from, Direction::Back, image);
    "asked for".clone_into(&mut intent.why);
    Next::Do(Step::Begin(intent))
}

/// Returns whether a colour that serves is as wanted.
fn is_done(seen: &Observed, live: Colour, given: &BTreeMap<String, String>) -> bool {
    let state = &seen.colours[live];
    let is_so = given
        .iter()
        .all(|(name, value)| state.parameters.get(name) == Some(value));
    let has_all = seen.rule.is_none() || seen.percent(live) == 100;
    is_so && has_all && !state.is_stale()
}

fn intent(
    seen: &Observed,
    wanted: &Wanted,
    to: Colour,
    from: Option<Colour>,
    direction: Direction,
    image: String,
) -> Intent {
    let running = from.map_or(0, |from| seen.colours[from].group.desired);
    Intent {
        run: wanted.run.clone(),
        to,
        from,
        direction,
        phase: Phase::Rolling,
        since: seen.at,
        size: running.max(seen.min_size).max(1),
        image,
        why: String::new(),
    }
}

pub(super) fn image_of(seen: &Observed, base: Colour, given: &BTreeMap<String, String>) -> String {
    let parameters = overlaid(&seen.colours[base].parameters, given);
    parameters.get(IMAGE).cloned().unwrap_or_default()
}

fn overlaid(
    base: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = base.clone();
    all.extend(given.clone());
    all
}

/// Returns which parameters of a rollout's colour are to become what, by their names without it.
pub(crate) fn changes_of(
    seen: &Observed,
    intent: &Intent,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    changes_between(seen, intent.to, intent.from, given)
}

/// Returns the same of a colour that is to take the place of another, or to be the first.
pub(super) fn changes_between(
    seen: &Observed,
    to: Colour,
    from: Option<Colour>,
    given: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let wanted = overlaid(&seen.colours[from.unwrap_or(to)].parameters, given);
    let has = &seen.colours[to].parameters;
    let differs = |(name, value): &(String, String)| has.get(name) != Some(value);
    wanted.into_iter().filter(differs).collect()
}
