//! From what is seen to the next step, or to an end: a pure function, so that any process that looks at
//! a stack goes on where another has stopped.
//!
//! All ways are one: a colour is brought up, gets the traffic, and the other one leaves. Going back is
//! the same towards the colour that was live, whose instances are mostly still there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::begin::{begin, changes_of, image_of};
use super::colour::{Colour, Weights};
use super::intent::{Direction, Intent, Phase};
use super::known::{Errors, Known};
use super::state::{ColourState, HEALTH_CHECK, Observed, Standing};
use super::step::{End, Next, Step, Waiting, Why};
use super::wanted::{OnFailure, Wanted, Way};

/// How long a load balancer takes until all of it goes by a rule that was changed.
pub(crate) const PROPAGATION: Duration = Duration::from_secs(10);

/// How late metrics are at most; nobody waits for them longer than for the rest.
const METRICS_LATE: Duration = Duration::from_secs(5 * 60);

/// How long instances may take to leave beyond their requests' time.
const LEAVING: Duration = Duration::from_secs(15 * 60);

/// Returns what comes next.
pub(crate) fn next(seen: &Observed, wanted: &Wanted, known: &Known) -> Next {
    let rollout = match seen.intent() {
        Some(intent) if intent.run == wanted.run => Rollout {
            seen,
            wanted,
            known,
            intent,
        },
        // What another has written, or was there before this process's own: tags may be late.
        other if known.has_begun => {
            let run = other.map(|intent| &intent.run);
            let is_late =
                run == known.before.as_ref() && known.waited(&Waiting::Tags) < PROPAGATION * 3;
            return match (run, is_late) {
                (_, true) => Next::Wait(Waiting::Tags),
                (Some(by), false) => Next::End(End::TakenOver { by: by.clone() }),
                (None, false) => Next::End(End::IntentLost),
            };
        }
        Some(_) | None => return begin(seen, wanted),
    };
    rollout.next()
}

/// A rollout under way.
struct Rollout<'a> {
    seen: &'a Observed,
    wanted: &'a Wanted,
    known: &'a Known,
    intent: &'a Intent,
}

impl Rollout<'_> {
    fn to(&self) -> &ColourState {
        &self.seen.colours[self.intent.to]
    }

    /// Returns the colour that is to leave.
    fn other(&self) -> &ColourState {
        &self.seen.colours[self.intent.to.other()]
    }

    fn is_back(&self) -> bool {
        self.intent.direction == Direction::Back
    }

    fn next(&self) -> Next {
        let mut smoke_rules = self.seen.smoke_rules.iter();
        if let Some(arn) = smoke_rules.find(|arn| !self.known.left_rules.contains(*arn)) {
            return Next::Do(Step::RemoveSmokeRule { arn: arn.clone() });
        }
        if self.seen.is_astray() {
            return Next::Do(Step::Shift(self.seen.weights()));
        }
        if let Some(why) = &self.known.failure {
            return self.fail(why.clone());
        }
        match (self.intent.phase, self.seen.percent(self.intent.to)) {
            (Phase::Keeping, 100) => self.keep(),
            (Phase::Done, _) => self.end(),
            (Phase::Rolling | Phase::Keeping, _) => self.roll(),
        }
    }

    fn roll(&self) -> Next {
        if self.intent.from.is_none() {
            return self.roll_first();
        }
        let percent = self.seen.percent(self.intent.to);
        if percent == 0 {
            return self.prepare().unwrap_or_else(|| self.shift());
        }
        // Another process has given it traffic, and another image is wanted: not under traffic.
        if !self.is_back() && !self.known.has_shifted && self.changes().is_some() {
            return self.withdraw();
        }
        match percent {
            100 => self.arrive(),
            _ => self.shift(),
        }
    }

    /// Brings up a stack's first colour. Nobody is served yet, and nobody is to be by what is not tested: it
    /// has no traffic until then, although the other colour is empty.
    fn roll_first(&self) -> Next {
        let to = self.intent.to;
        let percent = self.seen.percent(to);
        let next = match (percent, self.to().healthy()) {
            (0, _) => self.prepare(),
            (_, 0) if !self.known.has_shifted => {
                Some(Next::Do(Step::Shift(Weights::giving(to, 0))))
            }
            // It has passed what it had to, here or in a process that is gone: nothing is taken from it.
            (_, _) => self.size().or_else(|| self.check_health()),
        };
        next.unwrap_or_else(|| match percent {
            100 => self.settle(),
            _ => Next::Do(Step::Shift(Weights::giving(to, 100))),
        })
    }

    /// Returns what the colour's parameters are to become.
    fn changes(&self) -> Option<BTreeMap<String, String>> {
        let Way::Forward { parameters } = &self.wanted.way else {
            return None;
        };
        let changes = changes_of(self.seen, self.intent, parameters);
        (!changes.is_empty()).then_some(changes)
    }

    /// Takes what traffic it has from a colour that is about to change.
    fn withdraw(&self) -> Next {
        match self.other().healthy() {
            0 => self.fail(Why::NothingElseServes),
            _ => Next::Do(Step::Shift(Weights::giving(self.intent.to, 0))),
        }
    }

    /// Brings up a colour that has no traffic; nothing is left to do when it is healthy and tested.
    fn prepare(&self) -> Option<Next> {
        match (&self.seen.stack, self.is_back()) {
            (_, true) => {
                if let Some(next) = self.bring_back() {
                    return Some(next);
                }
            }
            (Standing::Busy(status), false) => {
                return Some(Next::Wait(Waiting::Stack(status.clone())));
            }
            (Standing::Settled, false) => {
                if let Some(next) = self.renew() {
                    return Some(next);
                }
            }
        }
        if let Some(next) = self.size() {
            return Some(next);
        }
        self.check_health().or_else(|| self.check_idle())
    }

    /// Lets a group that serves, or served, replace what fails in it.
    fn revive(&self) -> Option<Next> {
        let processes = self.to().processes(true);
        (!processes.is_empty()).then(|| {
            let colour = self.intent.to;
            Next::Do(Step::Resume { colour, processes })
        })
    }

    /// The same of one that is to serve again. What it launches has the time that it is given, as that of a new colour;
    /// what failed before is its group's to replace.
    fn bring_back(&self) -> Option<Next> {
        let (to, colour) = (self.to(), self.intent.to);
        let has_kept = self.has_kept();
        let is_judged = !to.group.suspended.contains(HEALTH_CHECK);
        if is_judged && !has_kept && !self.is_well() && !self.known.may_not_suspend {
            let processes = vec![HEALTH_CHECK];
            return Some(Next::Do(Step::Suspend { colour, processes }));
        }
        let mut processes = to.processes(true);
        processes.retain(|name| *name != HEALTH_CHECK || has_kept);
        (!processes.is_empty()).then_some(Next::Do(Step::Resume { colour, processes }))
    }

    /// Returns whether something is there that failed before this was begun.
    fn has_kept(&self) -> bool {
        let mut failing = self.to().failing_ids();
        failing.any(|id| self.known.kept.contains(id))
    }

    /// Has the colour launch what is wanted, and nothing of before stay.
    fn renew(&self) -> Option<Next> {
        let to = self.to();
        let changes = self.changes();
        if changes.is_some() || to.is_stale() || self.has_kept() {
            if let Some(next) = self.empty(self.intent.to) {
                return Some(next);
            }
            if let Some(parameters) = changes {
                let colour = self.intent.to;
                return Some(Next::Do(Step::Update { colour, parameters }));
            }
        }
        let processes = to.processes(false);
        (!processes.is_empty()).then(|| {
            let colour = self.intent.to;
            Next::Do(Step::Suspend { colour, processes })
        })
    }

    /// Empties a colour that has no traffic: requests that came by the old weights are answered first.
    fn empty(&self, colour: Colour) -> Option<Next> {
        let state = &self.seen.colours[colour];
        if state.is_empty() {
            return None;
        }
        if state.is_to_be_empty() {
            return Some(
                match self.known.waited(&Waiting::Leaving) > self.drain() + LEAVING {
                    true => self.fail(Why::WouldNotLeave { colour }),
                    false => Next::Wait(Waiting::Leaving),
                },
            );
        }
        Some(match self.known.weights_for < self.drain() {
            true => Next::Wait(Waiting::Drained),
            false => Next::Do(Step::ScaleIn { colour }),
        })
    }

    fn drain(&self) -> Duration {
        PROPAGATION + Duration::from_secs(self.seen.drain_seconds.into())
    }

    /// Returns how many instances it is to have: as many as serve, which may have become more.
    fn wanted_size(&self) -> u32 {
        let running = match self.intent.from {
            Some(from) if !self.is_back() => self.seen.colours[from].group.desired,
            Some(_) | None => 0,
        };
        self.intent.size.max(running)
    }

    fn size(&self) -> Option<Next> {
        let (to, other) = (self.to(), self.other());
        let size = self.wanted_size();
        if size > to.group.max {
            let max = to.group.max;
            return Some(self.fail(Why::TooMany { size, max }));
        }
        if !self.is_back() && self.intent.from.is_some() && other.group.min < other.group.desired {
            let (colour, min) = (self.intent.to.other(), other.group.desired);
            return Some(Next::Do(Step::RaiseMin { colour, min }));
        }
        let is_enough = match self.is_back() {
            // What is warm serves as it is.
            true => to.group.desired >= size,
            false => to.group.desired == size && to.group.min == size,
        };
        (!is_enough).then(|| {
            let colour = self.intent.to;
            Next::Do(Step::Resize { colour, size })
        })
    }

    fn check_health(&self) -> Option<Next> {
        let (to, size) = (self.to(), self.wanted_size());
        if self.is_well() {
            return None;
        }
        if self.known.waited(&Waiting::Health) <= self.wanted.pacing.healthy_within {
            return Some(Next::Wait(Waiting::Health));
        }
        let healthy = to.healthy();
        let reasons = to.failing().collect();
        Some(self.fail(Why::NeverHealthy {
            healthy,
            size,
            reasons,
        }))
    }

    /// Returns whether the colour may have traffic.
    fn is_well(&self) -> bool {
        let (to, size) = (self.to(), self.wanted_size());
        match self.is_back() {
            // No fewer than serve now; all of them where nobody does.
            true => to.healthy() >= self.other().healthy().min(size).max(1),
            false => to.is_whole(size) && self.known.healthy_polls >= self.wanted.pacing.polls,
        }
    }

    /// Returns what is to be done with a healthy colour before it has traffic.
    fn check_idle(&self) -> Option<Next> {
        if self.is_back() {
            return None;
        }
        if self.wanted.smoke.is_some() && !self.known.is_smoked {
            let colour = self.intent.to;
            return Some(Next::Do(Step::Smoke { colour }));
        }
        let names = self.alarms();
        if names.is_empty() || self.intent.from.is_none() {
            return None;
        }
        let waiting = Waiting::Alarms(names.clone());
        Some(
            match self.known.waited(&waiting) <= self.wanted.pacing.healthy_within {
                true => Next::Wait(waiting),
                false => self.fail(Why::Alarms { names }),
            },
        )
    }

    /// Returns the alarms that speak against going on.
    fn alarms(&self) -> Vec<String> {
        let counting = self.seen.alarms_about(Some(self.intent.to));
        let counting = counting.filter(|name| !self.known.tolerated.contains(*name));
        counting.map(str::to_owned).collect()
    }

    /// Moves traffic one step on, if the colour does well with what it has.
    fn shift(&self) -> Next {
        let to = self.intent.to;
        let percent = self.seen.percent(to);
        if self.is_back() {
            return match self.check_back() {
                Some(next) => next,
                None => Next::Do(Step::Shift(Weights::giving(to, 100))),
            };
        }
        if percent > 0
            && let Some(next) = self.size().or_else(|| self.bake())
        {
            return next;
        }
        let steps = self.wanted.pacing.weights.iter().copied();
        let step = steps.filter(|step| *step > percent).min().unwrap_or(100);
        Next::Do(Step::Shift(Weights::giving(to, step)))
    }

    /// Whatever little it has left: somebody must be there to have all.
    fn check_back(&self) -> Option<Next> {
        match self.to().healthy() {
            0 => self
                .revive()
                .or_else(|| self.size())
                .or_else(|| self.check_health()),
            _ => None,
        }
    }

    /// Watches a colour under traffic for a while.
    fn bake(&self) -> Option<Next> {
        if let Some(why) = self.trouble() {
            return Some(self.fail(why));
        }
        let pacing = &self.wanted.pacing;
        if self.known.weights_for < pacing.bake {
            return Some(Next::Wait(Waiting::Bake));
        }
        if !self.to().is_whole(self.wanted_size()) {
            return self.check_health();
        }
        // No figures are no good figures: they come late, but not for ever.
        let longest = pacing.bake + pacing.bake.min(METRICS_LATE);
        let is_late = self.known.weights_for < longest;
        (self.known.errors == Errors::Unknown && is_late && !pacing.bake.is_zero())
            .then_some(Next::Wait(Waiting::Metrics))
    }

    /// Returns what is wrong with a colour under traffic.
    fn trouble(&self) -> Option<Why> {
        let names = self.alarms();
        if !names.is_empty() {
            return Some(Why::Alarms { names });
        }
        if let Errors::TooMany { errors, requests } = self.known.errors {
            return Some(Why::Errors { errors, requests });
        }
        let failing: Vec<String> = self.to().failing().collect();
        (!failing.is_empty()).then_some(Why::Unhealthy { reasons: failing })
    }

    /// All traffic is where it is to be.
    fn arrive(&self) -> Next {
        if !self.is_back()
            && let Some(next) = self.size().or_else(|| self.bake())
        {
            return next;
        }
        self.settle()
    }

    fn settle(&self) -> Next {
        Next::Do(Step::Mark(Intent {
            phase: Phase::Keeping,
            since: self.seen.at,
            ..self.intent.clone()
        }))
    }

    /// Makes an ordinary live group of it, and empties the other when its time is over.
    fn keep(&self) -> Next {
        if let Some(next) = self.revive() {
            return next;
        }
        let to = self.to();
        let min = self.seen.min_size.min(to.group.max);
        if to.group.min != min {
            let colour = self.intent.to;
            return Next::Do(Step::HandBack { colour, min });
        }
        let other = self.intent.to.other();
        if self.seen.percent(other) == 0 && !self.is_evidence() {
            let is_warm = !self.seen.colours[other].is_to_be_empty();
            if is_warm && !self.is_back() && self.age() < self.wanted.pacing.keep {
                return Next::Wait(Waiting::Keep);
            }
            // How its instances leave is its group's affair.
            if is_warm && let Some(next) = self.empty(other) {
                return next;
            }
        }
        Next::Do(Step::Mark(Intent {
            phase: Phase::Done,
            ..self.intent.clone()
        }))
    }

    /// Returns how long all traffic has been where it is.
    fn age(&self) -> Duration {
        let age = self.seen.at - self.intent.since;
        age.try_into().unwrap_or_default()
    }

    /// Returns whether what failed is to stay, to be looked at.
    fn is_evidence(&self) -> bool {
        self.is_back() && self.wanted.on_failure == OnFailure::Keep && self.known.reversed.is_some()
    }

    fn end(&self) -> Next {
        let live = self.intent.to;
        Next::End(match (self.intent.direction, &self.known.reversed) {
            (Direction::Forward, _) => End::Live {
                live,
                previous: self.intent.from,
            },
            (Direction::Back, Some(why)) => End::WentBack {
                live,
                why: why.clone(),
            },
            (Direction::Back, None) => End::IsBack { live },
        })
    }

    /// Returns whether a colour that was asked back has instances, and no traffic that the other one does not serve.
    fn is_in_vain(&self) -> bool {
        self.known.reversed.is_none()
            && self.seen.percent(self.intent.to) == 0
            && self.other().healthy() > 0
            && !self.to().is_to_be_empty()
    }

    /// Goes back to the colour that was live, where there is one to go back to.
    fn fail(&self, why: Why) -> Next {
        let (to, from) = (self.intent.to, self.intent.from);
        match from {
            Some(from) if !self.is_back() => Next::Do(Step::Reverse {
                intent: Intent {
                    to: from,
                    from: Some(to),
                    direction: Direction::Back,
                    phase: Phase::Rolling,
                    since: self.seen.at,
                    size: self.seen.colours[from]
                        .group
                        .desired
                        .max(self.seen.min_size)
                        .max(1),
                    image: image_of(self.seen, from, &BTreeMap::new()),
                    why: why.to_string(),
                    ..self.intent.clone()
                },
                why,
            }),
            // It serves, in whatever way: that is more than nothing.
            None if self.seen.percent(to) > 0 && self.to().healthy() > 0 => {
                Next::End(End::Stuck { live: to, why })
            }
            // Nobody ever served: what was brought up goes again, unless it is to be looked at.
            None => {
                let is_kept = self.wanted.on_failure == OnFailure::Keep;
                let is_there = !self.to().is_to_be_empty();
                match is_there && !is_kept {
                    true => Next::Do(Step::Abandon { colour: to, why }),
                    false => Next::End(End::NeverLive { colour: to, why }),
                }
            }
            // What a rollback has launched in vain goes again: the other colour serves on.
            Some(_) if self.is_in_vain() => Next::Do(Step::Abandon { colour: to, why }),
            Some(_) => Next::End(End::Stuck {
                live: to.other(),
                why,
            }),
        }
    }
}
