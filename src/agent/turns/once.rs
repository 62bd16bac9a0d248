//! Tasks that one host does for all (`run_once`): the first, in the play's order, of those that come to the task. If
//! it is lost before it has told what came of it, the next one does it.

use std::collections::{BTreeMap, BTreeSet};

use amibake_protocol::ask::{Once, Step};
use serde_json::Value as Json;

use super::{State, Turns};

/// The tasks done for all, by where they stand.
pub(super) type OnceTasks = BTreeMap<Step, OnceTask>;

/// Who is at such a task, and what came of it.
#[derive(Default)]
pub(super) struct OnceTask {
    /// The hosts in the play's order, as who came first said it.
    order: Vec<String>,
    here: BTreeSet<String>,
    outcome: Option<Json>,
}

impl OnceTask {
    /// Returns who does it, of those who have come and not been lost.
    fn leader(&self, is_alive: impl Fn(&String) -> bool) -> Option<&String> {
        let mut order = self.order.iter();
        order.find(|host| self.here.contains(*host) && is_alive(host))
    }
}

impl State {
    /// Notes that a host has come to a task. Who sees the others in another order than those before it is none of them.
    fn come_to(&mut self, host: &str, step: &Step, order: Vec<String>) -> bool {
        let position = (step.play, step.at.clone());
        if !self.was_in(step.play, host) || !self.arrive(host, &position) {
            return false;
        }
        self.once.retain(|known, _| known.play + 1 >= step.play);
        let task = self.once.entry(step.clone()).or_default();
        if task.order.is_empty() {
            task.order = order;
        } else if task.order != order {
            return false;
        }
        task.here.insert(host.to_owned());
        true
    }

    /// Returns what a host is told of a task that it has come to, as soon as it can be told.
    fn turn_at(&self, host: &str, step: &Step) -> Option<Once> {
        let task = self.once.get(step)?;
        if let Some(outcome) = task.outcome.clone() {
            return Some(Once::Done { outcome });
        }
        let is_alive = |host: &String| self.at.contains_key(host);
        let all_have_come = self.all_are_at(&(step.play, step.at.clone()));
        let leads = all_have_come && task.leader(is_alive).is_some_and(|leader| leader == host);
        leads.then_some(Once::Yours)
    }
}

impl Turns<'_> {
    /// Waits until a host may do a task for all, or has no need to. Nothing is that it is none of those at it.
    pub(super) async fn await_once(
        &self,
        host: &str,
        step: &Step,
        order: Vec<String>,
    ) -> Option<Once> {
        let mut is_one = false;
        self.state
            .send_modify(|state| is_one = state.come_to(host, step, order));
        if !is_one {
            return None;
        }
        let mut watched = self.state.subscribe();
        let told = watched.wait_for(|state| state.turn_at(host, step).is_some());
        told.await.ok().and_then(|state| state.turn_at(host, step))
    }

    /// Takes what came of a task from the host that did it for all.
    pub(super) fn take_outcome(&self, host: &str, step: &Step, outcome: Json) {
        self.state.send_modify(|state| {
            if state.turn_at(host, step) == Some(Once::Yours)
                && let Some(task) = state.once.get_mut(step)
            {
                task.outcome = Some(outcome);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn step(at: &[u32]) -> Step {
        Step {
            play: 0,
            at: at.to_vec(),
            task: "site.yml:3:5".to_owned(),
        }
    }

    fn names(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|&host| host.to_owned()).collect()
    }

    /// Returns hosts that have begun the first play together.
    async fn begun(hosts: &[&'static str]) -> Turns<'static> {
        let turns = Turns::new(hosts.iter().map(|&host| (host, 0)), 2, false);
        let begin = |&host| turns.await_turn(host, (0, Vec::new()), true);
        futures_util::future::join_all(hosts.iter().map(begin)).await;
        turns
    }

    async fn soon<T>(answer: impl Future<Output = T>) -> Option<T> {
        let waiting = tokio::time::timeout(Duration::from_millis(1), answer);
        waiting.await.ok()
    }

    #[tokio::test]
    async fn the_first_in_order_does_it_and_the_others_wait_for_what_comes_of_it() {
        let turns = begun(&["a", "b", "c"]).await;
        let order = || names(&["c", "a", "b"]);
        let at = step(&[3]);
        assert_eq!(soon(turns.await_once("c", &at, order())).await, None);
        assert_eq!(soon(turns.await_once("a", &at, order())).await, None);
        assert_eq!(soon(turns.await_once("b", &at, order())).await, None);
        let leads = turns.await_once("c", &at, order()).await;
        assert_eq!(leads, Some(Once::Yours));
        // Only who does it says what came of it.
        turns.take_outcome("b", &at, json!("lie"));
        assert_eq!(soon(turns.await_once("b", &at, order())).await, None);
        turns.take_outcome("c", &at, json!({"failed": false}));
        turns.take_outcome("c", &at, json!("late"));
        let told = turns.await_once("b", &at, order()).await;
        let outcome = json!({"failed": false});
        assert_eq!(told, Some(Once::Done { outcome }));
    }

    #[tokio::test]
    async fn the_next_does_it_if_the_first_is_lost_or_is_elsewhere() {
        let turns = begun(&["a", "b", "c"]).await;
        let order = || names(&["a", "b", "c"]);
        let at = step(&[3]);
        // `a` goes past it, as what includes it was not for that host.
        turns.state.send_modify(|state| {
            state.arrive("a", &(0, vec![4]));
        });
        let (b, c) = (turns.await_once("b", &at, order()), async {
            soon(turns.await_once("c", &at, order())).await
        });
        assert_eq!(tokio::join!(b, c), (Some(Once::Yours), None));
        turns.leave("b", true);
        let leads = turns.await_once("c", &at, order()).await;
        assert_eq!(leads, Some(Once::Yours));
    }

    #[tokio::test]
    async fn who_names_another_order_or_is_not_in_the_play_leads_nobody() {
        let turns = begun(&["a", "b"]).await;
        let at = step(&[1]);
        let waits = soon(turns.await_once("a", &at, names(&["a", "b"]))).await;
        assert_eq!(waits, None);
        let other = turns.await_once("b", &at, names(&["b", "a"])).await;
        assert_eq!(other, None);
        let later = Step {
            play: 1,
            ..step(&[1])
        };
        let early = turns.await_once("a", &later, names(&["a", "b"])).await;
        assert_eq!(early, None);
    }
}
