//! Reaping, tried on an EC2 with canned answers.

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
        released: ReleaseMark::Stands,
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

/// An image of a run as DescribeImages lists it, that is released by its tags alone.
fn half_released(of: &str) -> String {
    let tags = [(tags::RUN, of), (tags::STATE, "released")];
    let tags = tags.map(|(k, v)| format!("<item><key>{k}</key><value>{v}</value></item>"));
    let (made, end) = (rfc3339(run(of).began()), tags::made_by(&run(of)));
    format!(
        "<imagesSet><item><imageId>ami-1</imageId><name>web-8</name>\
         <description>a web server {end}</description><creationDate>{made}</creationDate>\
         <tagSet>{}</tagSet></item></imagesSet>",
        tags.concat()
    )
}

/// Reaps where there is such an image, whose description may be changed or not.
async fn reap_half_released(
    running: &BTreeSet<RunId>,
    owed: &[Journalled],
    modify: fn() -> Said,
) -> (Reaped, Vec<String>, Canned) {
    let (ec2, canned) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
        "DescribeImages" => Said::Yes(half_released(HERE)),
        "ModifyImageAttribute" => modify(),
        _ => Said::Yes(String::new()),
    });
    let (events, mut reports) = event::channel();
    let now = run(HERE).began() + Span::hours(2);
    let mut reaped = Reaped::default();
    reap_all(&[ec2], &request(&events, running, now), owed, &mut reaped).await;
    events.close();
    let mut warned = Vec::new();
    while let Some(report) = reports.next().await {
        if let event::Event::Warning { message, .. } = report.event {
            warned.push(message);
        }
    }
    (reaped, warned, canned)
}

fn done() -> Said {
    Said::Yes(String::new())
}

#[tokio::test]
async fn a_release_that_was_cut_off_is_finished_unless_its_run_goes_on_or_has_failed() {
    let nobody = BTreeSet::new();
    let (reaped, _, canned) = reap_half_released(&nobody, &[], done).await;
    let finished = ["finish the release of image ami-1 in eu-west-1"];
    assert_eq!(reaped.done, finished);
    let asked = canned.asked("ModifyImageAttribute");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].contains("Description.Value=a%20web%20server&"),
        "{asked:?}"
    );

    let running = BTreeSet::from([run(HERE)]);
    let (reaped, _, canned) = reap_half_released(&running, &[], done).await;
    assert_eq!(reaped.done, [""; 0]);
    assert_eq!(canned.asked("ModifyImageAttribute"), [""; 0]);

    let name = "web-8".to_owned();
    let failed = Journalled {
        undo: Ec2Undo {
            removal: Removal::DeregisterImage { name },
            ..journalled(HERE, "eu-west-1", &[]).undo
        },
        released: ReleaseMark::WasWithdrawn,
        ..journalled(HERE, "eu-west-1", &["ami-1"])
    };
    let (reaped, _, canned) = reap_half_released(&nobody, &[failed], done).await;
    assert_eq!(reaped.done, ["remove image ami-1 in eu-west-1"]);
    assert_eq!(canned.asked("DeregisterImage").len(), 1);
    assert_eq!(canned.asked("ModifyImageAttribute"), [""; 0]);
}

#[tokio::test]
async fn a_release_that_may_not_be_finished_is_told_as_that() {
    let denied = || Said::No("UnauthorizedOperation");
    let (reaped, warned, _) = reap_half_released(&BTreeSet::new(), &[], denied).await;
    assert_eq!(warned, [""; 0], "the region was looked at");
    assert_eq!(reaped.done, [""; 0]);
    let told: Vec<String> = reaped
        .errors
        .iter()
        .map(|e| crate::exit::chain(e))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let what = "the release of image ami-1 in eu-west-1 could not be finished: ModifyImageAttribute was refused";
    assert!(told[0].starts_with(what), "{told:?}");
    assert_eq!(
        reaped.errors[0].hint(),
        Some("the credentials lack the permission for this action")
    );
}

#[tokio::test]
async fn a_throttled_look_is_made_again_also_after_something_was_removed() {
    let now = run(HERE).began() + Span::hours(2);
    let expired = instance("i-0aaa", HERE, now - Span::hours(1));
    let there = account(vec![("i-0aaa", expired)]);
    let looks = AtomicUsize::new(0);
    let (ec2, canned) = Canned::ec2("eu-west-1", move |call| {
        let is_look = call.action.starts_with("Describe");
        match is_look && looks.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            true => Said::No("RequestLimitExceeded"),
            false => there(call),
        }
    });
    let (events, _reports) = event::channel();
    let running = BTreeSet::new();
    let mut reaped = Reaped::default();
    reap_all(&[ec2], &request(&events, &running, now), &[], &mut reaped).await;
    assert!(reaped.errors.is_empty(), "{reaped:?}");
    assert_eq!(canned.asked("TerminateInstances").len(), 1);
}
