//! What builds of one process wait for, asked together: a round every few seconds, in which one call asks
//! for the things of all of them by a filter. So calls grow with time, and not with builds.
//!
//! Who waits, for how long, and what an answer means is `wait`'s and its callers'.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::types::{Image, Instance, Snapshot};
use tokio::sync::watch;

use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::clock::{Instant, sleep_until};
use crate::run::RunId;
use crate::transport::BoxFuture;

/// As many values EC2 takes in one filter.
const VALUES: usize = 200;

/// The rounds of one region.
#[derive(Clone, Default)]
pub(super) struct Polls {
    instances: Rounds<Instance>,
    images: Rounds<Image>,
    /// By run.
    snapshots: Rounds<Vec<Snapshot>>,
}

/// The rounds of all regions.
#[derive(Clone, Default)]
pub(super) struct RegionalPolls(Arc<Mutex<HashMap<String, Polls>>>);

impl RegionalPolls {
    fn of(&self, region: &str) -> Polls {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(region.to_owned()).or_default().clone()
    }
}

impl Ec2 {
    /// Returns the instance with this id, if EC2 lists it, in the next round.
    pub(super) async fn polled_instance(&self, id: &str) -> Result<Option<Instance>, Ec2Error> {
        let ec2 = self.clone();
        let list = move |ids: Vec<String>| -> Listing<Instance> {
            let ec2 = ec2.clone();
            Box::pin(async move {
                let filter = tags::filter("instance-id", ids.iter().map(String::as_str));
                let found = ec2.instances_once(vec![filter]).await?;
                let by_id = |instance: Instance| Some((instance.instance_id.clone()?, instance));
                Ok(found.into_iter().filter_map(by_id).collect())
            })
        };
        let rounds = self.polls.of(&self.region).instances;
        rounds.ask(id, self.poll, Box::new(list)).await
    }

    /// Returns the account's image with this id, if EC2 lists it, in the next round.
    pub(super) async fn polled_image(&self, id: &str) -> Result<Option<Image>, Ec2Error> {
        let ec2 = self.clone();
        let list = move |ids: Vec<String>| -> Listing<Image> {
            let ec2 = ec2.clone();
            Box::pin(async move {
                let filter = tags::filter("image-id", ids.iter().map(String::as_str));
                let found = ec2.own_images_once(vec![filter]).await?;
                let by_id = |image: Image| Some((image.image_id.clone()?, image));
                Ok(found.into_iter().filter_map(by_id).collect())
            })
        };
        let rounds = self.polls.of(&self.region).images;
        rounds.ask(id, self.poll, Box::new(list)).await
    }

    /// Returns the snapshots of a run, in the next round of those, which come `every` so long.
    pub(super) async fn polled_snapshots(
        &self,
        run: &RunId,
        every: Duration,
    ) -> Result<Vec<Snapshot>, Ec2Error> {
        let ec2 = self.clone();
        let list = move |runs: Vec<String>| -> Listing<Vec<Snapshot>> {
            let ec2 = ec2.clone();
            Box::pin(async move {
                let name = format!("tag:{}", tags::RUN);
                let filter = tags::filter(&name, runs.iter().map(String::as_str));
                let mut by_run = HashMap::<String, Vec<Snapshot>>::new();
                for snapshot in ec2.snapshots_once(vec![filter]).await? {
                    let run = tags::value(snapshot.tags(), tags::RUN);
                    let run = run.unwrap_or_default().to_owned();
                    by_run.entry(run).or_default().push(snapshot);
                }
                Ok(by_run)
            })
        };
        let rounds = self.polls.of(&self.region).snapshots;
        let found = rounds.ask(run.as_str(), every, Box::new(list)).await?;
        Ok(found.unwrap_or_default())
    }
}

/// What EC2 has of what a round asks for, by that.
type Listing<A> = BoxFuture<'static, Result<HashMap<String, A>, Ec2Error>>;

/// Asks EC2 for as much as one filter takes.
type List<A> = Box<dyn Fn(Vec<String>) -> Listing<A> + Send + Sync>;

/// Questions of one kind: those that come while a round is awaited are asked in it.
struct Rounds<A>(Arc<Mutex<Schedule<A>>>);

struct Schedule<A> {
    /// When the last round began.
    last: Option<Instant>,
    next: Option<Round<A>>,
}

struct Round<A> {
    wanted: BTreeSet<String>,
    answer: watch::Receiver<Told<A>>,
}

/// What a round found, once it is over.
type Told<A> = Option<Arc<Result<HashMap<String, A>, Ec2Error>>>;

impl<A> Clone for Rounds<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A> Default for Rounds<A> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Schedule {
            last: None,
            next: None,
        })))
    }
}

impl<A: Clone + Send + Sync + 'static> Rounds<A> {
    /// Asks for one thing; the first who does so has the round made.
    async fn ask(
        &self,
        wanted: &str,
        every: Duration,
        list: List<A>,
    ) -> Result<Option<A>, Ec2Error> {
        let mut answer = self.join(wanted, every, list);
        let told = answer.wait_for(Option::is_some).await;
        let told = told.ok().and_then(|told| told.clone());
        match &*told.expect("who makes a round ends it, if the program does not end") {
            Ok(found) => Ok(found.get(wanted).cloned()),
            Err(error) => Err(error.for_another()),
        }
    }

    fn join(&self, wanted: &str, every: Duration, list: List<A>) -> watch::Receiver<Told<A>> {
        let mut schedule = self.schedule();
        if let Some(round) = &mut schedule.next {
            round.wanted.insert(wanted.to_owned());
            return round.answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        schedule.next = Some(Round {
            wanted: BTreeSet::from([wanted.to_owned()]),
            answer: answer.clone(),
        });
        let due = schedule.last.map(|last| last + every);
        let rounds = self.clone();
        // A task of its own: who opened the round may be gone before others are answered.
        tokio::spawn(async move {
            if let Some(due) = due {
                sleep_until(due).await;
            }
            let found = Self::list(rounds.begin(), list).await;
            tell.send_replace(Some(Arc::new(found)));
        });
        answer
    }

    /// Closes the round that is due; returns what is wanted of it.
    fn begin(&self) -> Vec<String> {
        let mut schedule = self.schedule();
        schedule.last = Some(Instant::now());
        let round = schedule.next.take();
        round.map_or_else(Vec::new, |round| round.wanted.into_iter().collect())
    }

    async fn list(wanted: Vec<String>, list: List<A>) -> Result<HashMap<String, A>, Ec2Error> {
        let mut found = HashMap::new();
        for values in wanted.chunks(VALUES) {
            found.extend(list(values.to_vec()).await?);
        }
        Ok(found)
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Pace, timeout};
    use crate::targets::ec2::canned::{Call, Canned, Said};
    use futures_util::future::join_all;

    /// Lists the images that a call asks for.
    fn listed(call: &Call) -> Said {
        let of = |part: &str| {
            let value = part.strip_prefix("Filter.1.Value.")?.split_once('=')?.1;
            Some(format!("<item><imageId>{value}</imageId></item>"))
        };
        let items: String = call.parameters.split('&').filter_map(of).collect();
        Said::Yes(format!("<imagesSet>{items}</imagesSet>"))
    }

    #[tokio::test]
    async fn what_all_wait_for_is_one_call_a_round_for_each_two_hundred() {
        let _pace = Pace::set(10);
        let (mut ec2, canned) = Canned::ec2("eu-west-1", listed);
        ec2.poll = Duration::from_secs(2);
        let began = Instant::now();
        let wait = async |number: usize| {
            let (one, id) = (ec2.for_bake(), format!("ami-{number}"));
            for _ in 0..10 {
                let found = one.polled_image(&id).await.unwrap();
                assert_eq!(found.unwrap().image_id.as_deref(), Some(&*id));
            }
        };
        join_all((0..300).map(wait)).await;
        let calls = canned.made().len();
        // On a machine that is busy, a few come too late for their round.
        assert!((20..=30).contains(&calls), "{calls} calls");
        assert!(began.elapsed() >= Duration::from_secs(18));
    }

    #[tokio::test]
    async fn who_asks_alone_does_not_wait_and_what_is_not_listed_is_not_there() {
        let (mut ec2, _) = Canned::ec2("eu-west-1", |_| Said::Yes("<imagesSet/>".to_owned()));
        ec2.poll = Duration::from_secs(60);
        let asked = timeout(Duration::from_secs(10), ec2.polled_image("ami-1"));
        assert!(asked.await.unwrap().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_round_that_is_refused_is_so_for_all_and_the_next_is_made() {
        let refusals = Arc::new(Mutex::new(1));
        let left = Arc::clone(&refusals);
        let (ec2, canned) = Canned::ec2("eu-west-1", move |call| {
            let mut left = left.lock().unwrap();
            *left -= 1;
            match *left {
                0 => Said::No("RequestLimitExceeded"),
                _ => listed(call),
            }
        });
        let both = tokio::join!(ec2.polled_image("ami-1"), ec2.polled_image("ami-2"));
        for refused in [both.0, both.1] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Some("RequestLimitExceeded"));
            assert!(error.is_transient());
        }
        assert!(ec2.polled_image("ami-1").await.unwrap().is_some());
        assert_eq!(canned.made().len(), 2);
    }

    #[tokio::test]
    async fn who_gives_up_takes_nobody_s_answer_along() {
        let _pace = Pace::set(100);
        let (mut ec2, canned) = Canned::ec2("eu-west-1", listed);
        ec2.poll = Duration::from_secs(10);
        ec2.polled_image("ami-0").await.unwrap();
        let other = ec2.clone();
        let opened = tokio::spawn(async move { other.polled_image("ami-1").await });
        tokio::task::yield_now().await;
        let waiting = ec2.polled_image("ami-2");
        opened.abort();
        assert!(waiting.await.unwrap().is_some());
        assert_eq!(canned.made().len(), 2);
    }
}
