//! How several hosts go from play to play together, as with Ansible: none begins a play before the others have come
//! as far, and none follows a play that failed on every host it was for. Where a failure is everybody's, they go from
//! task to task likewise, and where a task heeds the other hosts: what one does for all is in [`once`], what only so
//! many do at the same time in [`slots`].

mod once;
mod slots;

use std::collections::{BTreeMap, BTreeSet};

use amibake_protocol::ask::{AddedHost, Ask, News, Step, Told, Turn};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use once::OnceTasks;
use slots::{Slots, Waiting};

/// Who knows the inventory, to which a run may add.
pub(crate) trait Welcome: Send + Sync {
    /// Takes in what is added, and returns who joins the run for that, each with the first play that is for it, not
    /// before `next`. `members` are those who have.
    fn take(&self, added: &AddedHost, next: u32, members: &BTreeSet<String>) -> Vec<Joining>;
}

/// A host that joins a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joining {
    pub(crate) name: String,
    pub(crate) first_play: u32,
    /// Whether its tasks run on this machine.
    pub(crate) is_here: bool,
}

/// The hosts of a run, and how far each has come.
pub(crate) struct Turns<'w> {
    /// How many plays there are.
    plays: u32,
    /// Whether a host may end a play for all: only if the playbook has a task for that.
    may_end: bool,
    welcome: Option<Box<dyn Welcome + 'w>>,
    state: watch::Sender<State>,
}

/// How deep in a play a task may stand: longer positions are not kept.
const DEEPEST: usize = 256;

/// A play by its number, and a task within it; nothing is its begin.
type Position = (u32, Vec<u32>);

#[derive(Default)]
struct State {
    /// How far each host has come, if it still takes part.
    at: BTreeMap<String, Position>,
    /// Whom each play was for.
    took_part: BTreeMap<u32, BTreeSet<String>>,
    /// Where a task failed that none was to fail.
    failed: BTreeSet<Position>,
    /// The plays that a host has ended for all.
    ended: BTreeSet<u32>,
    /// Who has left, and in which play.
    gone: BTreeMap<String, u32>,
    once: OnceTasks,
    slots: Slots,
    /// Who has ever taken part.
    members: BTreeSet<String>,
    /// Those of them whose tasks run on this machine: no other may say what there is in the inventory.
    here: BTreeSet<String>,
    /// What hosts have told, and in which plays.
    news: Vec<(u32, Told)>,
}

impl State {
    /// Returns whether all have come as far.
    fn all_are_at(&self, position: &Position) -> bool {
        self.at.values().all(|at| at >= position)
    }

    /// Notes that a host has come so far. Who has left does not come back, and nobody goes backwards.
    fn arrive(&mut self, host: &str, position: &Position) -> bool {
        let known = self.at.get_mut(host);
        known.is_some_and(|at| {
            *at = position.clone().max(at.clone());
            true
        })
    }

    /// Takes a host in that is wanted from a later play on: until then nobody waits for it.
    fn join(&mut self, joining: Joining) {
        let Joining {
            name,
            first_play,
            is_here,
        } = joining;
        let before = (first_play.saturating_sub(1), vec![u32::MAX]);
        self.at.insert(name.clone(), before);
        if is_here {
            self.here.insert(name.clone());
        }
        self.members.insert(name);
    }

    /// Returns whether no play before `play` failed on all of its hosts. Who failed later did not fail that one.
    fn goes_on(&self, play: u32) -> bool {
        let mut before = self.took_part.range(..play);
        before.all(|(play, hosts)| hosts.iter().any(|host| self.gone.get(host) != Some(play)))
    }

    /// Returns who left before a play.
    fn gone_before(&self, play: u32) -> Vec<String> {
        let gone = self.gone.iter().filter(|(_, left)| **left < play);
        gone.map(|(host, _)| host.clone()).collect()
    }

    /// Returns what was told before a play.
    fn news_before(&self, play: u32) -> Vec<Told> {
        let news = self.news.iter().filter(|(told, _)| *told < play);
        news.map(|(_, told)| told.clone()).collect()
    }

    fn was_in(&self, play: u32, host: &str) -> bool {
        let hosts = self.took_part.get(&play);
        hosts.is_some_and(|hosts| hosts.contains(host))
    }
}

impl<'w> Turns<'w> {
    /// Returns the turns of hosts, each with the number of the first play that may be for it: as far it is taken to
    /// have come.
    pub(crate) fn new<'a>(
        hosts: impl Iterator<Item = (&'a str, u32)>,
        plays: usize,
        may_end: bool,
    ) -> Self {
        let at =
            hosts.map(|(host, first)| (host.to_owned(), (first.saturating_sub(1), Vec::new())));
        let at: BTreeMap<String, Position> = at.collect();
        let state = State {
            members: at.keys().cloned().collect(),
            at,
            ..State::default()
        };
        Self {
            plays: u32::try_from(plays).unwrap_or(u32::MAX),
            may_end,
            welcome: None,
            state: watch::Sender::new(state),
        }
    }

    /// Lets the hosts of this machine add to the inventory, and others join for that.
    pub(crate) fn with_newcomers(self, here: BTreeSet<String>, welcome: impl Welcome + 'w) -> Self {
        self.state.send_modify(|state| state.here = here);
        Self {
            welcome: Some(Box::new(welcome)),
            ..self
        }
    }

    /// Takes what a host tells the others, if it may.
    fn take_news(&self, host: &str, news: News) -> bool {
        let mut taken = false;
        self.state.send_modify(|state| {
            let play = state.at.get(host).map(|(play, _)| *play);
            let Some(play) = play.filter(|_| state.here.contains(host)) else {
                return;
            };
            taken = true;
            if let (News::Added(added), Some(welcome)) = (&news, &self.welcome) {
                for joining in welcome.take(added, play + 1, &state.members) {
                    state.join(joining);
                }
            }
            let by = host.to_owned();
            state.news.push((play, Told { by, news }));
        });
        taken
    }

    /// Answers a host that asks to go on.
    pub(crate) async fn answer(&self, host: &str, ask: Ask) -> Json {
        let too_deep = |step: &Step| step.at.len() > DEEPEST;
        match ask {
            Ask::Turn {
                play,
                batch,
                takes_part,
                ended,
            } => {
                self.state.send_modify(|state| {
                    let ended = ended.filter(|play| self.may_end && state.was_in(*play, host));
                    state.ended.extend(ended);
                });
                // The one after the last is where a run ends.
                let position = (play.min(self.plays), batch.into_iter().collect());
                json!(self.await_turn(host, position, takes_part).await)
            }
            Ask::AnyError { at, .. } if at.len() > DEEPEST => Json::Null,
            Ask::AnyError { play, at, failed } => {
                json!(self.await_error(host, (play, at), failed).await)
            }
            Ask::Once { step, .. } | Ask::Slot { step, .. } if too_deep(&step) => Json::Null,
            Ask::Once { step, hosts } => json!(self.await_once(host, &step, hosts).await),
            Ask::Came { step, outcome } => {
                self.take_outcome(host, &step, outcome);
                json!(true)
            }
            Ask::Slot {
                step,
                hosts,
                limit,
                in_step,
            } => {
                let waiting = Waiting {
                    host,
                    step: &step,
                    order: &hosts,
                    limit,
                    in_step,
                };
                json!(self.await_slot(&waiting).await)
            }
            Ask::SlotEnded { step } => {
                self.end_slot(host, &step);
                json!(true)
            }
            Ask::Tell { news } => json!(self.take_news(host, news)),
            Ask::Lookup { .. }
            | Ask::Confirm { .. }
            | Ask::File { .. }
            | Ask::Look { .. }
            | Ask::Resolve { .. }
            | Ask::Test { .. }
            | Ask::Fetch { .. }
            | Ask::KeepFacts { .. }
            | Ask::Keep { .. } => Json::Null,
        }
    }

    /// Waits until all hosts have come as far as to a play, or to a batch of it. Returns how the run goes on.
    async fn await_turn(&self, host: &str, position: Position, takes_part: bool) -> Turn {
        let (play, is_batch) = (position.0, !position.1.is_empty());
        self.state.send_modify(|state| {
            if state.arrive(host, &position) && takes_part {
                state
                    .took_part
                    .entry(play)
                    .or_default()
                    .insert(host.to_owned());
            }
        });
        let turn = |state: &State| Turn {
            goes_on: state.goes_on(play),
            // Before a play, the same for all who ask; between its batches, as it is.
            gone: state.gone_before(if is_batch { play + 1 } else { play }),
            ended: state.ended.contains(&play),
            news: state.news_before(play),
        };
        self.when_all_are_at(&position, turn)
            .await
            .unwrap_or_default()
    }

    /// Waits until all hosts have come as far as to a task. Returns whether it failed on any.
    async fn await_error(&self, host: &str, position: Position, failed: bool) -> bool {
        self.state.send_modify(|state| {
            if state.arrive(host, &position) && failed && state.was_in(position.0, host) {
                state.failed.insert(position.clone());
            }
        });
        let any = |state: &State| state.failed.contains(&position);
        self.when_all_are_at(&position, any).await.unwrap_or(true)
    }

    async fn when_all_are_at<T>(
        &self,
        position: &Position,
        tell: impl FnOnce(&State) -> T,
    ) -> Option<T> {
        let mut watched = self.state.subscribe();
        // The sender is ours, so that there is no other end of this.
        let come = watched.wait_for(|state| state.all_are_at(position)).await;
        come.ok().map(|state| tell(&state))
    }

    /// Waits until the first play that is for a host may begin. Returns whether it does.
    pub(crate) async fn await_first(&self, host: &str, play: u32) -> bool {
        self.await_turn(host, (play, Vec::new()), false)
            .await
            .goes_on
    }

    /// Notes that a host's run has ended. Before the last play, that is a failure in any case, whatever the host
    /// says: others may go without what follows. Returns whether it is one.
    pub(crate) fn leave(&self, host: &str, failed: bool) -> bool {
        let mut is_failure = failed;
        self.state.send_modify(|state| {
            let at = state.at.remove(host).map(|(play, _)| play);
            is_failure |= at.is_some_and(|play| play + 1 < self.plays);
            if let Some(play) = at.filter(|play| failed || play + 1 < self.plays) {
                // What could not even be reached is counted to the play that it was wanted for.
                state
                    .took_part
                    .entry(play)
                    .or_default()
                    .insert(host.to_owned());
                state.gone.insert(host.to_owned(), play);
            }
        });
        is_failure
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// Returns a turn that has come, and nothing if it is still waited for.
    async fn now(turns: &Turns<'_>, host: &str, play: u32, takes_part: bool) -> Option<Turn> {
        let waiting = turns.await_turn(host, (play, Vec::new()), takes_part);
        tokio::time::timeout(Duration::from_millis(1), waiting)
            .await
            .ok()
    }

    fn goes_on(gone: &[&str]) -> Option<Turn> {
        Some(Turn {
            goes_on: true,
            gone: gone.iter().map(|&host| host.to_owned()).collect(),
            ended: false,
            news: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_play_begins_when_all_hosts_have_come_to_it() {
        let turns = Arc::new(Turns::new([("a", 0), ("b", 0)].into_iter(), 3, true));
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        assert_eq!(now(&turns, "a", 1, true).await, None);
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.await_turn("a", (1, Vec::new()), true).await }
        });
        assert_eq!(now(&turns, "b", 1, false).await, goes_on(&[]));
        assert_eq!(waiting.await.ok(), goes_on(&[]));
    }

    #[tokio::test]
    async fn nobody_waits_for_who_has_left_but_for_who_is_wanted_later() {
        let turns = Turns::new([("a", 0), ("b", 0), ("late", 2)].into_iter(), 3, true);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        turns.leave("b", true);
        assert_eq!(now(&turns, "a", 1, true).await, goes_on(&["b"]));
        assert_eq!(now(&turns, "a", 2, true).await, None);
        assert!(turns.await_first("late", 2).await);
    }

    #[tokio::test]
    async fn nothing_follows_a_play_that_failed_on_every_host_it_was_for() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, true);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        // It says that all is well, and yet it has not come to the end.
        assert!(turns.leave("a", false));
        let turn = now(&turns, "b", 1, true).await.unwrap();
        assert_eq!((turn.goes_on, turn.gone), (false, vec!["a".to_owned()]));
    }

    #[tokio::test]
    async fn who_fails_later_has_not_failed_the_play_that_it_was_alone_in() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, true);
        let both = async |play: u32, of_a: bool, of_b: bool| {
            let a = turns.await_turn("a", (play, Vec::new()), of_a);
            tokio::join!(a, turns.await_turn("b", (play, Vec::new()), of_b))
        };
        both(0, true, false).await;
        both(1, true, true).await;
        turns.leave("a", true);
        assert_eq!(now(&turns, "b", 2, true).await, goes_on(&["a"]));
    }

    #[tokio::test]
    async fn who_has_left_is_told_of_before_a_play_and_not_in_it() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, true);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        turns.leave("a", true);
        assert_eq!(now(&turns, "b", 0, true).await, goes_on(&[]));
        let batch = turns.await_turn("b", (0, vec![1]), true).await;
        assert_eq!(batch.gone, ["a"]);
    }

    #[tokio::test]
    async fn nobody_ends_or_fails_a_play_that_it_is_not_in_nor_says_how_deep_without_end() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, true);
        let begins = |host, play, takes_part, ended| {
            let ask = Ask::Turn {
                play,
                batch: None,
                takes_part,
                ended,
            };
            turns.answer(host, ask)
        };
        let (_, b) = tokio::join!(begins("a", 0, false, Some(0)), begins("b", 0, true, None));
        assert_eq!(b["ended"], json!(false));
        let error = |host, failed| turns.await_error(host, (0, vec![1]), failed);
        let (_, b) = tokio::join!(error("a", true), error("b", false));
        assert!(!b);
        let deep = Ask::AnyError {
            play: 0,
            at: vec![0; DEEPEST + 1],
            failed: false,
        };
        assert_eq!(turns.answer("b", deep).await, Json::Null);
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_reached_fails_the_play_that_it_was_wanted_for() {
        let turns = Turns::new([("a", 0), ("off", 1)].into_iter(), 3, true);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        let first = turns.await_first("off", 1);
        let (_, off) = tokio::join!(turns.await_turn("a", (1, Vec::new()), false), first);
        assert!(off);
        turns.leave("off", true);
        assert!(!now(&turns, "a", 2, true).await.unwrap().goes_on);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_were_at_the_task() {
        let turns = Turns::new([("a", 0), ("b", 0), ("c", 0)].into_iter(), 3, true);
        for host in ["a", "b", "c"] {
            assert_eq!(now(&turns, host, 0, true).await, goes_on(&[]));
        }
        let error = |host, at: &[u32], failed| turns.await_error(host, (0, at.to_vec()), failed);
        let both = async { tokio::join!(error("a", &[1, 0], true), error("b", &[1, 0], false)) };
        // Who is further, or begins another play, keeps nobody waiting.
        let further = async { tokio::join!(error("c", &[1, 1], false), both) };
        let waiting = tokio::time::timeout(Duration::from_millis(1), further).await;
        assert!(waiting.is_err(), "nobody may go further than the others");
        let both = async { tokio::join!(error("a", &[1, 0], true), error("b", &[1, 0], false)) };
        assert_eq!(both.await, (true, true));
        let last = turns.await_turn("b", (1, Vec::new()), true);
        let (c, _) = tokio::join!(error("c", &[1, 1], false), async {
            turns.leave("a", true);
            tokio::time::timeout(Duration::from_millis(1), last).await
        });
        assert!(!c);
    }

    #[tokio::test]
    async fn a_batch_begins_when_those_before_it_have_gone_through_the_play() {
        let turns = Turns::new([("a", 0), ("b", 0), ("c", 0)].into_iter(), 3, true);
        let batch = |host, batch, ended| {
            let ask = Ask::Turn {
                play: 0,
                batch: Some(batch),
                takes_part: true,
                ended,
            };
            turns.answer(host, ask)
        };
        let soon = |answer| tokio::time::timeout(Duration::from_millis(1), answer);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        assert!(soon(batch("b", 1, None)).await.is_err());
        assert!(soon(batch("c", 2, None)).await.is_err());
        let ask = Ask::Turn {
            play: 1,
            batch: None,
            takes_part: true,
            ended: Some(0),
        };
        assert!(soon(turns.answer("a", ask)).await.is_err());
        let b = soon(batch("b", 1, None)).await.unwrap();
        assert_eq!((&b["goes_on"], &b["ended"]), (&json!(true), &json!(true)));
    }

    #[tokio::test]
    async fn who_has_gone_through_all_plays_has_not_failed() {
        let turns = Turns::new([("a", 0), ("b", 1)].into_iter(), 2, true);
        assert_eq!(now(&turns, "a", 0, true).await, goes_on(&[]));
        let last = turns.await_turn("a", (1, Vec::new()), true);
        let (last, wanted) = tokio::join!(last, turns.await_first("b", 1));
        assert!(last.goes_on && wanted);
        assert!(!turns.leave("a", false));
        assert_eq!(now(&turns, "b", 1, true).await, goes_on(&[]));
    }

    /// Lets every host join that is added, for the play after.
    struct Everybody;

    impl Welcome for Everybody {
        fn take(&self, added: &AddedHost, next: u32, members: &BTreeSet<String>) -> Vec<Joining> {
            let new = Some(&added.name).filter(|name| !members.contains(*name));
            let joining = new.map(|name| Joining {
                name: name.clone(),
                first_play: next,
                is_here: false,
            });
            joining.into_iter().collect()
        }
    }

    fn adds(name: &str) -> Ask {
        let added = AddedHost {
            name: name.to_owned(),
            ..AddedHost::default()
        };
        Ask::Tell {
            news: News::Added(added),
        }
    }

    #[tokio::test]
    async fn who_is_added_is_waited_for_before_the_next_play_and_all_hear_of_it() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, false);
        let turns = turns.with_newcomers(BTreeSet::from(["a".to_owned()]), Everybody);
        let begin = |host| turns.await_turn(host, (0, Vec::new()), true);
        tokio::join!(begin("a"), begin("b"));
        assert_eq!(turns.answer("a", adds("n")).await, json!(true));
        assert_eq!(turns.answer("a", adds("n")).await, json!(true));
        // Of the play at hand nobody waits for it.
        let error = |host| turns.await_error(host, (0, vec![3]), false);
        assert_eq!(tokio::join!(error("a"), error("b")), (false, false));
        assert_eq!(now(&turns, "a", 1, true).await, None);
        assert_eq!(now(&turns, "b", 1, true).await, None);
        assert!(turns.await_first("n", 1).await);
        let turn = now(&turns, "b", 1, true).await.unwrap();
        let told = turn.news.iter().map(|told| told.by.as_str());
        assert_eq!(told.collect::<Vec<_>>(), ["a", "a"]);
    }

    #[tokio::test]
    async fn another_machine_adds_nobody_and_tells_nothing() {
        let turns = Turns::new([("a", 0), ("b", 0)].into_iter(), 3, false);
        let turns = turns.with_newcomers(BTreeSet::from(["a".to_owned()]), Everybody);
        assert_eq!(turns.answer("b", adds("n")).await, json!(false));
        let facts = News::Facts {
            host: "a".to_owned(),
            set: json!({"x": 1}),
            facts: json!({}),
        };
        let told = turns.answer("b", Ask::Tell { news: facts }).await;
        assert_eq!(told, json!(false));
        let begin = |host| turns.await_turn(host, (1, Vec::new()), true);
        let (a, _) = tokio::join!(begin("a"), begin("b"));
        assert_eq!(a.news, []);
    }
}
