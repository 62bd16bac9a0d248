//! Tasks that only so many hosts are at at the same time (`throttle`, `--forks`): each gets its turn in the play's
//! order.

use std::collections::{BTreeMap, BTreeSet};

use amibake_protocol::ask::Step;

use super::{State, Turns};

/// The tasks with such a limit, by where they stand.
pub(super) type Slots = BTreeMap<Step, Queue>;

/// Who is at such a task, and who waits for that.
#[derive(Default)]
pub(super) struct Queue {
    at_it: BTreeSet<String>,
    waiting: BTreeSet<String>,
}

/// A host that waits.
pub(super) struct Waiting<'a> {
    pub(super) host: &'a str,
    pub(super) step: &'a Step,
    /// The hosts in the play's order, as this one sees it.
    pub(super) order: &'a [String],
    pub(super) limit: u32,
    /// Whether it waits for the others to come as far.
    pub(super) in_step: bool,
}

impl State {
    fn queue(&mut self, waiting: &Waiting<'_>) -> bool {
        let Waiting { host, step, .. } = *waiting;
        if !self.was_in(step.play, host) || !self.arrive(host, &(step.play, step.at.clone())) {
            return false;
        }
        self.slots.retain(|known, _| known.play + 1 >= step.play);
        let queue = self.slots.entry(step.clone()).or_default();
        queue.waiting.insert(host.to_owned());
        true
    }

    /// Lets a host begin, if fewer than the limit are at it and no earlier one waits for the last places.
    fn begin(&mut self, waiting: &Waiting<'_>) -> bool {
        let Waiting { host, step, .. } = *waiting;
        if waiting.in_step && !self.all_are_at(&(step.play, step.at.clone())) {
            return false;
        }
        let Some(queue) = self.slots.get_mut(step) else {
            return false;
        };
        let at = &self.at;
        queue.at_it.retain(|host| at.contains_key(host));
        queue.waiting.retain(|host| at.contains_key(host));
        let order = waiting.order.iter();
        let earlier = order
            .take_while(|other| *other != host)
            .filter(|other| queue.waiting.contains(*other));
        let before = queue.at_it.len() + earlier.count();
        if u32::try_from(before).is_ok_and(|before| before < waiting.limit) {
            queue.waiting.remove(host);
            queue.at_it.insert(host.to_owned());
            return true;
        }
        false
    }
}

impl Turns<'_> {
    /// Waits until a host may begin a task. Returns whether it may.
    pub(super) async fn await_slot(&self, waiting: &Waiting<'_>) -> bool {
        let mut is_one = false;
        self.state
            .send_modify(|state| is_one = state.queue(waiting));
        let mut watched = self.state.subscribe();
        while is_one {
            let mut begins = false;
            self.state.send_if_modified(|state| {
                begins = state.begin(waiting);
                begins
            });
            if begins {
                return true;
            }
            is_one = watched.changed().await.is_ok();
        }
        false
    }

    /// Notes that a task has ended on a host.
    pub(super) fn end_slot(&self, host: &str, step: &Step) {
        self.state.send_modify(|state| {
            if let Some(queue) = state.slots.get_mut(step) {
                queue.at_it.remove(host);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ORDER: [&str; 4] = ["d", "b", "a", "c"];

    async fn begun() -> Turns<'static> {
        let turns = Turns::new(ORDER.iter().map(|&host| (host, 0)), 2, false);
        let begin = |&host| turns.await_turn(host, (0, Vec::new()), true);
        futures_util::future::join_all(ORDER.iter().map(begin)).await;
        turns
    }

    /// Returns whether a host begins, and nothing if it still waits.
    async fn begins(turns: &Turns<'_>, host: &str, limit: u32, in_step: bool) -> Option<bool> {
        let step = Step {
            play: 0,
            at: vec![2],
            task: "site.yml:3:5".to_owned(),
        };
        let waiting = Waiting {
            host,
            step: &step,
            order: &ORDER.map(str::to_owned),
            limit,
            in_step,
        };
        let slot = turns.await_slot(&waiting);
        let slot = tokio::time::timeout(Duration::from_millis(1), slot);
        slot.await.ok()
    }

    fn ends(turns: &Turns<'_>, host: &str) {
        let step = Step {
            play: 0,
            at: vec![2],
            task: "site.yml:3:5".to_owned(),
        };
        turns.end_slot(host, &step);
    }

    #[tokio::test]
    async fn hosts_in_step_get_their_turns_in_the_order_of_the_play() {
        let turns = begun().await;
        for host in ["a", "b", "c"] {
            assert_eq!(begins(&turns, host, 2, true).await, None, "{host}");
        }
        assert_eq!(begins(&turns, "d", 2, true).await, Some(true));
        assert_eq!(begins(&turns, "c", 2, true).await, None);
        assert_eq!(begins(&turns, "b", 2, true).await, Some(true));
        assert_eq!(begins(&turns, "a", 2, true).await, None);
        ends(&turns, "d");
        assert_eq!(begins(&turns, "c", 2, true).await, None);
        assert_eq!(begins(&turns, "a", 2, true).await, Some(true));
        // Who is lost holds no place.
        turns.leave("b", true);
        assert_eq!(begins(&turns, "c", 2, true).await, Some(true));
    }

    #[tokio::test]
    async fn hosts_that_run_freely_do_not_wait_for_who_has_not_come() {
        let turns = begun().await;
        assert_eq!(begins(&turns, "c", 1, false).await, Some(true));
        assert_eq!(begins(&turns, "d", 1, false).await, None);
        ends(&turns, "c");
        assert_eq!(begins(&turns, "d", 1, false).await, Some(true));
    }
}
