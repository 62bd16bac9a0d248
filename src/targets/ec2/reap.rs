//! Removing what killed runs left in an account: region by region, those that have expired by their
//! tags, and those of this host by their journals too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::Ec2;
use super::debts::Ec2Undo;
use super::error::Ec2Error;
use super::orphans::{HalfReleased, Orphan};
use super::wait::LOOK;
use crate::clock::{self, Instant};
use crate::ledger::Debt;
use crate::run::RunId;
use crate::targets::reap::{Owed, Reaped, Reaper, Request};
use crate::targets::{EC2, Fault, TargetError};

/// The region that every account of the standard partition has enabled.
const EVERYWHERE: &str = "us-east-1";

/// All regions of an account.
pub(crate) struct Account;

#[async_trait]
impl Reaper for Account {
    fn target(&self) -> &'static str {
        EC2
    }

    async fn reap(&self, request: &Request<'_>) -> Reaped {
        let mut reaped = Reaped::default();
        let owed = journalled(request, &mut reaped);
        match regions(request, &owed, &mut reaped).await {
            Ok(regions) => reap_all(&regions, request, &owed, &mut reaped).await,
            // A host that bakes containers alone need not know AWS. Where nothing was found,
            // nobody may be told that all is well without a look at the account.
            Err(error) if owed.is_empty() && request.region.is_none() && has_dead(request) => {
                let why = error.on_one_line();
                let message = format!("only this host was looked at: {why}");
                request.events.warn(message);
            }
            Err(error) => {
                reaped.owing.extend(owed.into_iter().map(|o| o.undo.run));
                reaped.errors.push(error);
            }
        }
        reaped
    }
}

fn has_dead(request: &Request<'_>) -> bool {
    !request.dead.is_empty()
}

/// What a journal of this host says is owed to EC2.
struct Journalled {
    undo: Ec2Undo,
    learned: Vec<String>,
    /// How long ago the run wrote something there last.
    age: Duration,
}

/// Returns what the dead runs of this host owe to EC2.
fn journalled(request: &Request<'_>, reaped: &mut Reaped) -> Vec<Journalled> {
    let mut owed = Vec::new();
    for dead in request.dead {
        for debt in dead.owed.iter().filter(|d| d.undo.target() == EC2) {
            match debt.undo.read::<Ec2Undo>() {
                Ok(undo) => owed.push(Journalled {
                    undo,
                    learned: debt.learned.clone(),
                    age: dead.written.elapsed().unwrap_or_default(),
                }),
                Err(error) => {
                    reaped.owing.insert(dead.run.clone());
                    reaped.errors.push(crate::targets::unreadable(error));
                }
            }
        }
    }
    owed
}

/// Returns the regions to look at: the named one, or all that the account has enabled, and those
/// where runs of this host owe something.
async fn regions(
    request: &Request<'_>,
    owed: &[Journalled],
    reaped: &mut Reaped,
) -> Result<Vec<Ec2>, TargetError> {
    if let Some(region) = request.region {
        return Ok(vec![Ec2::new(Some(region)).await?]);
    }
    // Each region knows the others.
    let here = match Ec2::new(None).await {
        Err(error) if error.fault == Fault::Manifest => Ec2::new(Some(EVERYWHERE)).await?,
        here => here?,
    };
    let mut names: BTreeSet<String> = owed.iter().map(|o| o.undo.region.clone()).collect();
    match here.enabled_regions().await {
        Ok(enabled) => names.extend(enabled),
        Err(error) if error.is_denied() => {
            names.insert(here.region.clone());
            let error = TargetError::from(error);
            reaped
                .errors
                .push(error.with_hint("name each region with --region"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(names.iter().map(|name| here.in_region(name)).collect())
}

/// Reaps all regions at once. One that a policy denies is told, and is no failure of the others.
async fn reap_all(
    regions: &[Ec2],
    request: &Request<'_>,
    owed: &[Journalled],
    reaped: &mut Reaped,
) {
    let reaping = regions.iter().map(|ec2| async move {
        let here = owed.iter().filter(|o| o.undo.region == ec2.region);
        let region = Region {
            ec2,
            request,
            owed: here.collect(),
            began: Instant::now(),
        };
        let (part, looked) = region.reap().await;
        (region, part, looked)
    });
    let mut denied = Vec::new();
    for (region, part, looked) in join_all(reaping).await {
        reaped.merge(part);
        let Err(error) = looked else { continue };
        reaped.owing.extend(region.runs());
        match error.is_denied() && region.owed.is_empty() {
            true => denied.push((region.ec2.region.as_str(), error)),
            false => reaped.errors.push(error.into()),
        }
    }
    if denied.len() < regions.len() && !denied.is_empty() {
        let names: Vec<&str> = denied.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let message = format!("the credentials may not look at {names}: nothing was reaped there");
        request.events.warn(message);
    } else {
        // Nothing was looked at: that all is well cannot be said.
        let errors = denied.into_iter().map(|(_, error)| error.into());
        reaped.errors.extend(errors);
    }
    let looked_at = |undo: &Ec2Undo| regions.iter().any(|ec2| ec2.region == undo.region);
    let others = owed.iter().filter(|o| !looked_at(&o.undo));
    reaped.owing.extend(others.map(|o| o.undo.run.clone()));
}

/// One region, and what journals say is owed there.
struct Region<'a> {
    ec2: &'a Ec2,
    request: &'a Request<'a>,
    owed: Vec<&'a Journalled>,
    began: Instant,
}

impl Region<'_> {
    /// Pays what is due until nothing more is found. A run that was killed in the middle of a call
    /// may have made what is listed later: what a known run left is looked for twice, and what a
    /// journal still waits for as long as EC2 may need to list it.
    async fn reap(&self) -> (Reaped, Result<(), Ec2Error>) {
        let mut reaped = Reaped::default();
        // What is gone may be listed for a while.
        let mut paid: Vec<Owed> = Vec::new();
        let is_known = self.request.run.is_some() || !self.owed.is_empty();
        let mut in_vain = 0;
        loop {
            let found = self.ec2.orphans(self.request.run).await;
            let looked = found
                .looked
                .and(self.release(&found.half_released, &mut reaped).await);
            let found = found.orphans;
            let due = match self.due(&found).await {
                Ok(due) => due.into_iter().filter(|owed| !paid.contains(owed)),
                Err(error) => return (reaped, Err(error)),
            };
            let due: Vec<Owed> = due.collect();
            let all = reaped.pay(self.request, self.ec2, &due).await;
            in_vain = if due.is_empty() { in_vain + 1 } else { 0 };
            let is_over = in_vain > usize::from(is_known) && !self.awaits(&paid);
            if is_over || !all || self.request.dry_run || looked.is_err() {
                self.put_off(&found, &mut reaped);
                return (reaped, looked);
            }
            if due.is_empty() {
                clock::sleep(self.ec2.poll).await;
            }
            paid.extend(due);
        }
    }

    /// Returns whether a journal ends in the middle of a call, and what that makes may yet be listed.
    fn awaits(&self, paid: &[Owed]) -> bool {
        let is_young = |age: Duration| age + self.began.elapsed() < LOOK;
        let is_paid = |wanted: &Ec2Undo| {
            let undos = paid.iter().filter(|owed| owed.run == wanted.run);
            let mut undos = undos.filter_map(|owed| owed.debt.undo.read::<Ec2Undo>().ok());
            undos.any(|undo| undo.removal.is_for(&wanted.removal))
        };
        let mut unnamed = self.owed.iter().filter(|o| o.learned.is_empty());
        unnamed.any(|o| is_young(o.age) && !is_paid(&o.undo))
    }

    /// Returns what is to be paid: what was found and is due, and what journals name that is there
    /// although its tags say nothing of it any more.
    async fn due(&self, found: &[Orphan]) -> Result<Vec<Owed>, Ec2Error> {
        let due = |o: &&Orphan| self.request.is_due(&o.undo.run, o.expires);
        let mut owed: Vec<Owed> = found.iter().filter(due).map(Orphan::owed).collect();
        for Journalled { undo, learned, .. } in &self.owed {
            for id in learned {
                let listed = found.iter().any(|o| o.id.as_deref() == Some(id));
                if !listed && self.ec2.is_there(undo, id).await? {
                    owed.push(Owed {
                        run: undo.run.clone(),
                        debt: Debt {
                            undo: undo.clone().into(),
                            learned: vec![id.clone()],
                        },
                    });
                }
            }
        }
        Ok(owed)
    }

    /// Finishes the releases that were cut off: nothing may take these images for left behind.
    async fn release(&self, images: &[HalfReleased], reaped: &mut Reaped) -> Result<(), Ec2Error> {
        for HalfReleased { id, description } in images {
            let region = &self.ec2.region;
            let verb = match self.request.dry_run {
                true => "would finish",
                false => "finish",
            };
            let line = format!("{verb} the release of image {id} in {region}");
            if reaped.done.contains(&line) {
                continue; // it is listed late as it was
            }
            reaped.done.push(line);
            if !self.request.dry_run {
                self.ec2.set_description(id, description).await?;
            }
        }
        Ok(())
    }

    /// Says what stays for now, a run at a time.
    fn put_off(&self, found: &[Orphan], reaped: &mut Reaped) {
        let Request { run, running, .. } = self.request;
        let mut later: BTreeMap<&RunId, (Vec<String>, Option<OffsetDateTime>)> = BTreeMap::new();
        for orphan in found {
            let undo = &orphan.undo;
            if run.is_none() && !self.request.is_due(&undo.run, orphan.expires) {
                let (things, until) = later.entry(&undo.run).or_default();
                things.push(undo.what(orphan.id.as_slice()));
                *until = (*until).max(orphan.expires);
            }
        }
        for (run, (things, until)) in later {
            let things = things.join(", ");
            if running.contains(run) {
                let line = format!("keep {things}: run {run} goes on");
                reaped.later.push(line);
            } else {
                reaped.put_off(run, &things, until, Some(&self.ec2.region));
            }
        }
    }

    /// Returns the runs of this host that owe something here.
    fn runs(&self) -> impl Iterator<Item = RunId> {
        self.owed.iter().map(|o| o.undo.run.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use crate::run::rfc3339;
    use crate::targets::Role;
    use crate::targets::ec2::canned::{Call, Canned, Said};
    use crate::targets::ec2::debts::Removal;
    use crate::targets::ec2::tags;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use time::Duration as Span;

    const HERE: &str = "20260727t101500z-0a1b2c";
    const ELSEWHERE: &str = "20260727t101500z-ffffff";

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    /// An instance of a run as DescribeInstances lists it.
    fn instance(id: &str, of: &str, expires: OffsetDateTime) -> String {
        let tags = [
            (tags::RUN, of.to_owned()),
            (tags::ROLE, "builder".to_owned()),
            (tags::STATE, "temporary".to_owned()),
            (tags::EXPIRES, rfc3339(expires)),
        ];
        let tags = tags.map(|(k, v)| format!("<item><key>{k}</key><value>{v}</value></item>"));
        let token = tags::token(&run(of), Role::Builder, 1, "eu-west-1");
        let made = rfc3339(run(of).began());
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId>\
             <instanceState><code>16</code><name>running</name></instanceState>\
             <launchTime>{made}</launchTime><clientToken>{token}</clientToken>\
             <tagSet>{}</tagSet></item></instancesSet></item>",
            tags.concat()
        )
    }

    /// Answers for an account with these instances, which are gone once they are terminated.
    fn account(instances: Vec<(&'static str, String)>) -> impl Fn(&Call) -> Said {
        let left = Mutex::new(instances);
        move |call| {
            let mut left = left.lock().unwrap();
            let asks_for = |id: &str| call.parameters.contains(&format!("={id}&"));
            match call.action.as_str() {
                "TerminateInstances" => {
                    left.retain(|(id, _)| !asks_for(id));
                    Said::Yes(String::new())
                }
                "DescribeInstances" => {
                    let by_id = call.parameters.contains("Name=instance-id");
                    let listed = left.iter().filter(|(id, _)| !by_id || asks_for(id));
                    let listed: String = listed.map(|(_, xml)| xml.as_str()).collect();
                    Said::Yes(format!("<reservationSet>{listed}</reservationSet>"))
                }
                _ => Said::Yes(String::new()),
            }
        }
    }

    fn request<'a>(
        events: &'a event::Events,
        running: &'a BTreeSet<RunId>,
        now: OffsetDateTime,
    ) -> Request<'a> {
        Request {
            run: None,
            region: None,
            dry_run: false,
            dead: &[],
            kept: &[],
            running,
            now,
            events,
        }
    }

    fn journalled(of: &str, region: &str, learned: &[&str]) -> Journalled {
        Journalled {
            undo: Ec2Undo {
                region: region.to_owned(),
                run: run(of),
                removal: Removal::TerminateInstance {
                    role: Role::Builder,
                },
            },
            learned: learned.iter().map(|&id| id.to_owned()).collect(),
            age: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn what_has_not_expired_is_told_with_its_time_and_the_command_that_takes_it_at_once() {
        let now = run(HERE).began() + Span::minutes(10);
        let (soon, before) = (now + Span::minutes(50), now - Span::minutes(1));
        let (ec2, canned) = Canned::ec2(
            "eu-west-1",
            account(vec![
                ("i-0aaa", instance("i-0aaa", HERE, soon)),
                ("i-0bbb", instance("i-0bbb", ELSEWHERE, before)),
            ]),
        );
        let (events, _reports) = event::channel();
        let mut reaped = Reaped::default();
        let running = BTreeSet::new();
        reap_all(&[ec2], &request(&events, &running, now), &[], &mut reaped).await;
        assert_eq!(reaped.done, ["remove builder instance i-0bbb in eu-west-1"]);
        assert_eq!(
            reaped.later,
            [
                "keep builder instance i-0aaa in eu-west-1 until 2026-07-27T11:15:00Z \
              (`amibake reap --run 20260727t101500z-0a1b2c --region eu-west-1` removes it now)"
            ]
        );
        let terminated = canned.asked("TerminateInstances");
        assert!(terminated.iter().all(|p| p.contains("i-0bbb")));
        assert_eq!(terminated.len(), 1);
    }

    #[tokio::test]
    async fn what_goes_on_here_stays_and_is_told_without_the_command_that_would_end_it() {
        let now = run(HERE).began() + Span::hours(2);
        for expires in [now + Span::hours(1), now - Span::hours(1)] {
            let listed = instance("i-0aaa", HERE, expires);
            let (ec2, _) = Canned::ec2("eu-west-1", account(vec![("i-0aaa", listed)]));
            let (events, _reports) = event::channel();
            let mut reaped = Reaped::default();
            let running = BTreeSet::from([run(HERE)]);
            reap_all(&[ec2], &request(&events, &running, now), &[], &mut reaped).await;
            assert_eq!(
                reaped.later,
                ["keep builder instance i-0aaa in eu-west-1: run 20260727t101500z-0a1b2c goes on"]
            );
            assert_eq!(reaped.done, Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn what_a_journal_names_goes_although_its_tags_are_gone() {
        let now = run(HERE).began();
        let bare = "<item><instancesSet><item><instanceId>i-0aaa</instanceId></item>\
                    </instancesSet></item>";
        let (ec2, canned) = Canned::ec2("eu-west-1", account(vec![("i-0aaa", bare.into())]));
        let (events, _reports) = event::channel();
        let mut reaped = Reaped::default();
        let running = BTreeSet::new();
        let owed = [journalled(HERE, "eu-west-1", &["i-0aaa"])];
        reap_all(&[ec2], &request(&events, &running, now), &owed, &mut reaped).await;
        assert_eq!(canned.asked("TerminateInstances").len(), 1);
        assert!(reaped.owing.is_empty(), "{reaped:?}");
    }

    #[tokio::test]
    async fn what_a_killed_run_was_about_to_make_is_waited_for_while_it_may_yet_be_listed() {
        let now = run(HERE).began();
        let late = instance("i-0aaa", HERE, now + Span::hours(1));
        for (age, found) in [(Duration::ZERO, 1), (2 * LOOK, 0)] {
            let there = account(vec![("i-0aaa", late.clone())]);
            let looks = AtomicUsize::new(0);
            let (ec2, canned) = Canned::ec2("eu-west-1", move |call| {
                match call.action.as_str() {
                    // Listed at the fourth look.
                    "DescribeInstances" if looks.fetch_add(1, Ordering::SeqCst) < 3 => {
                        Said::Yes(String::new())
                    }
                    _ => there(call),
                }
            });
            let (events, _reports) = event::channel();
            let running = BTreeSet::new();
            let mut request = request(&events, &running, now);
            let run = run(HERE);
            request.run = Some(&run);
            let owed = Journalled {
                age,
                ..journalled(HERE, "eu-west-1", &[])
            };
            reap_all(&[ec2], &request, &[owed], &mut Reaped::default()).await;
            assert_eq!(canned.asked("TerminateInstances").len(), found);
        }
    }

    #[tokio::test]
    async fn a_region_that_a_policy_denies_is_told_and_the_others_are_reaped() {
        let now = run(HERE).began() + Span::hours(2);
        let expired = instance("i-0aaa", HERE, now - Span::hours(1));
        let open = account(vec![("i-0aaa", expired)]);
        let (ec2, canned) = Canned::ec2("eu-west-1", move |call| match call.region.as_str() {
            "eu-west-1" => open(call),
            _ => Said::No("UnauthorizedOperation"),
        });
        let (events, mut reports) = event::channel();
        let running = BTreeSet::new();
        let request = request(&events, &running, now);
        let regions = [ec2.in_region("ap-south-1"), ec2.clone()];
        let mut reaped = Reaped::default();
        reap_all(&regions, &request, &[], &mut reaped).await;
        assert_eq!(canned.asked("TerminateInstances").len(), 1);
        assert!(reaped.errors.is_empty(), "{reaped:?}");
        events.close();
        let mut warned = Vec::new();
        while let Some(report) = reports.next().await {
            if let event::Event::Warning { message, .. } = report.event {
                warned.push(message);
            }
        }
        let told = "the credentials may not look at ap-south-1: nothing was reaped there";
        assert_eq!(warned, [told]);

        // Where a run of this host owes something, or nothing else was looked at, it is a failure.
        let owed = [journalled(HERE, "ap-south-1", &[])];
        for (regions, owed) in [(&regions[..], &owed[..]), (&regions[..1], &[])] {
            let mut reaped = Reaped::default();
            reap_all(regions, &request, owed, &mut reaped).await;
            assert_eq!(reaped.errors.len(), 1, "{reaped:?}");
            assert_eq!(reaped.owing.len(), owed.len());
        }
    }
}
