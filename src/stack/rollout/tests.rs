//! Rollouts in an AWS in memory: what they come to from every state there is, and after every way in which
//! a call of theirs goes wrong. In the end one of two things is so, and nobody was served by fewer meanwhile.

mod astray;
mod judged;
mod states;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::colour::Colour;
use super::drive::{RolloutContext, RolloutError, drive};
use super::fake::{Fault, Quality, State, World};
use super::smoke::{SmokeTest, SmokeTests};
use super::step::End::{self, Live, NeverLive, Unchanged};
use super::step::Why;
use super::wanted::{OnAlarm, OnFailure, Pacing, Wanted, Way};
use crate::event::{self, Event};
use crate::run::RunId;

const OLD: &str = "ami-old";
const NEW: &str = "ami-new";

fn run_id(number: u64) -> RunId {
    format!("20260727t101500z-{number:016x}").parse().unwrap()
}

fn wanted(number: u64, way: Way) -> Wanted {
    Wanted {
        run: run_id(number),
        way,
        pacing: Pacing {
            bake: Duration::from_secs(20),
            keep: Duration::from_secs(60),
            ..Pacing::default()
        },
        smoke: None,
        on_failure: OnFailure::Destroy,
        on_alarm: OnAlarm::Refuse,
    }
}

fn deploy(number: u64, image: &str) -> Wanted {
    let parameters = [("ImageId".to_owned(), image.to_owned())].into();
    wanted(number, Way::Forward { parameters })
}

fn rollback(number: u64) -> Wanted {
    wanted(number, Way::Back)
}

fn smoke_tests() -> SmokeTests {
    SmokeTests(vec![SmokeTest {
        path: "/".to_owned(),
        method: "GET".to_owned(),
        host: None,
        headers: Vec::new(),
        status: 200,
        contains: None,
        within: Duration::from_secs(1),
        times: 3,
    }])
}

/// What became of a process.
#[derive(Debug)]
enum Outcome {
    Ended(Box<Result<End, RolloutError>>),
    Died,
}

impl Outcome {
    fn end(self) -> End {
        match self {
            Self::Ended(ended) => ended.unwrap(),
            Self::Died => panic!("it died"),
        }
    }
}

/// Runs one command in a process of its own.
async fn command(world: &World, wanted: &Wanted, fault: Option<(usize, Fault)>) -> Outcome {
    let (events, _reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    let process = world.process(fault);
    let killed = std::sync::Arc::clone(&process.killed);
    let driving = drive(&process, "web", wanted, &cx);
    tokio::select! {
        ended = driving => Outcome::Ended(Box::new(ended)),
        () = killed.notified() => Outcome::Died,
    }
}

/// The same, and what was told meanwhile.
async fn heard(world: &World, wanted: &Wanted) -> (Outcome, String) {
    let (events, mut reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    let process = world.process(None);
    let ended = drive(&process, "web", wanted, &cx).await;
    events.close();
    let mut told = String::new();
    while let Some(report) = reports.next().await {
        if let Event::Warning { message, .. } | Event::Note { message } = &report.event {
            told += &format!("{message}\n");
        }
    }
    (Outcome::Ended(Box::new(ended)), told)
}

/// Lets time pass until the world is so.
async fn sleep_until(world: &World, is_so: impl Fn(&State) -> bool) {
    let watcher = world.process(None);
    while !is_so(&world.state()) {
        Calls::sleep(&watcher, Duration::from_secs(5)).await;
    }
}

/// Returns a stack whose blue colour serves, as its first deploy leaves it.
async fn live() -> World {
    let world = World::new();
    let end = command(&world, &deploy(1, OLD), None).await.end();
    let (live, previous) = (Colour::Blue, None);
    assert_eq!(end, End::Live { live, previous });
    world.pass(Duration::from_secs(600));
    reset(&world);
    world
}

/// Forgets what was, before what is to be tried.
fn reset(world: &World) {
    let mut state = world.state();
    state.made.clear();
    state.least = u32::MAX;
    state.tick();
}

/// Returns which colour serves alone and well, with what image; or what is wrong.
fn settled(world: &World) -> Result<(Colour, String), String> {
    // Instances that leave have had their time.
    world.pass(Duration::from_secs(120));
    let state = world.state();
    let weights = state.weights();
    let live = Colour::BOTH
        .into_iter()
        .find(|colour| weights.percent(*colour) == 100)
        .ok_or(format!("traffic is shared: {weights:?}"))?;
    let (group, other) = (&state.groups[live], &state.groups[live.other()]);
    let check = |is_so: bool, what: &str| is_so.then_some(()).ok_or(what.to_owned());
    check(state.healthy(live) >= 2, "too few are healthy")?;
    check(group.min == 2, "its least size is not the stack's")?;
    check(group.suspended.is_empty(), "its processes are suspended")?;
    check(other.desired == 0, "the other colour is to have instances")?;
    check(other.members.is_empty(), "the other colour has instances")?;
    check(
        state.rules.iter().all(|(_, header)| header.is_none()),
        "a smoke rule is left",
    )?;
    check(state.rules.len() == 2, "there is not one rule of ours")?;
    check(state.wrongs.is_empty(), &format!("{:?}", state.wrongs))?;
    let images: BTreeSet<&String> = group.members.iter().map(|m| &m.image).collect();
    check(images.len() == 1, "it has several images")?;
    let image = images.first().map(|image| (*image).clone());
    Ok((live, image.unwrap_or_default()))
}

#[tokio::test]
async fn a_first_deploy_makes_blue_live_and_the_next_one_green_and_a_rollback_blue_again() {
    let world = live().await;
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
    let end = command(&world, &deploy(2, NEW), None).await.end();
    let (live, previous) = (Colour::Green, Some(Colour::Blue));
    assert_eq!(end, End::Live { live, previous });
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    assert!(world.state().least >= 2, "{}", world.state().least);
    // The old colour is gone by now: its image is launched again.
    let end = command(&world, &rollback(3), None).await.end();
    assert_eq!(end, End::IsBack { live: Colour::Blue });
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
    assert!(world.state().least >= 2);
    // Once more is no more.
    reset(&world);
    let end = command(&world, &rollback(4), None).await.end();
    assert_eq!(end, End::IsBack { live: Colour::Blue });
    assert_eq!(world.state().made, Vec::<String>::new());
}

#[tokio::test]
async fn a_deploy_is_these_calls_in_this_order() {
    let world = live().await;
    let mut wanted = deploy(2, NEW);
    wanted.smoke = Some(smoke_tests());
    command(&world, &wanted, None).await.end();
    let state = world.state();
    let made = state.made.iter().map(|call| {
        let mut words = call.split(' ').skip(1).collect::<Vec<_>>().join(" ");
        words.truncate(words.find(['{', '(']).unwrap_or(words.len()));
        words
    });
    let made: Vec<String> = made.collect();
    assert_eq!(
        made.iter().map(|call| call.trim()).collect::<Vec<_>>(),
        [
            "Tag", "Update", "Suspend", "Resize", "Create", "Delete", "Modify", "Modify", "Modify",
            "Tag", "Resume", "Resize", "Tag"
        ]
    );
    assert_eq!(
        state.asked_idle, 3,
        "the idle colour was asked, before it had traffic"
    );
}

#[tokio::test]
async fn what_is_so_already_is_no_call_that_changes_anything() {
    let world = live().await;
    let end = command(&world, &deploy(2, OLD), None).await.end();
    assert_eq!(end, End::Unchanged { live: Colour::Blue });
    let current = Way::Forward {
        parameters: BTreeMap::new(),
    };
    let end = command(&world, &wanted(3, current), None).await.end();
    assert_eq!(end, End::Unchanged { live: Colour::Blue });
    assert_eq!(world.state().made, Vec::<String>::new());
}

#[tokio::test]
async fn a_parameter_alone_is_a_rollout_and_the_idle_colour_gets_the_live_one_s_others() {
    let world = live().await;
    let larger = Way::Forward {
        parameters: [("InstanceType".to_owned(), "t3.large".to_owned())].into(),
    };
    command(&world, &wanted(2, larger), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, OLD.to_owned())));
    // An image alone keeps the type.
    command(&world, &deploy(3, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Blue, NEW.to_owned())));
    let state = world.state();
    assert_eq!(state.stack.parameters["InstanceTypeBlue"], "t3.large");
    assert_eq!(state.stack.parameters["ImageIdGreen"], OLD);
}

/// Each is told, and blue serves on as if nothing had been.
#[tokio::test]
async fn a_bad_image_leaves_the_live_colour_as_it_was() {
    for (quality, told) in [
        (Quality::NeverHealthy, "0 of 2 instances became healthy"),
        (
            Quality::FailsUnderTraffic,
            "is unhealthy: Target.FailedHealthChecks",
        ),
        (Quality::Errors, "50 of 100 answers were 5xx"),
        (
            Quality::FailsSmoke,
            "a smoke test failed: GET / answered 500",
        ),
    ] {
        let world = live().await;
        world.state().quality.insert(NEW.to_owned(), quality);
        let blue: Vec<String> = {
            let state = world.state();
            let members = state.groups.blue.members.iter();
            members.map(|m| m.id.clone()).collect()
        };
        let mut wanted = deploy(2, NEW);
        wanted.smoke = Some(smoke_tests());
        let end = command(&world, &wanted, None).await.end();
        let End::WentBack { live, why } = end else {
            panic!("{quality:?}: {end:?}");
        };
        assert!(why.to_string().contains(told), "{why}");
        assert_eq!(live, Colour::Blue);
        assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
        let state = world.state();
        let members = state.groups.blue.members.iter();
        assert_eq!(members.map(|m| m.id.clone()).collect::<Vec<_>>(), blue);
    }
}

#[tokio::test]
async fn what_failed_stays_to_be_looked_at_where_that_is_wanted_and_goes_with_the_next_deploy() {
    let world = live().await;
    let bad = Quality::NeverHealthy;
    world.state().quality.insert("ami-bad".to_owned(), bad);
    let mut wanted = deploy(2, "ami-bad");
    wanted.on_failure = OnFailure::Keep;
    let end = command(&world, &wanted, None).await.end();
    assert!(matches!(end, End::WentBack { .. }), "{end:?}");
    assert_eq!(world.state().groups.green.members.len(), 2);
    command(&world, &deploy(3, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
}

#[tokio::test]
async fn a_first_image_that_is_bad_is_told_and_the_next_deploy_goes_on_with_another() {
    let world = World::new();
    let bad = Quality::NeverHealthy;
    world.state().quality.insert(OLD.to_owned(), bad);
    let end = command(&world, &deploy(1, OLD), None).await.end();
    assert!(matches!(end, End::NeverLive { .. }), "{end:?}");
    assert_eq!(world.state().groups.blue.desired, 0);
    let end = command(&world, &rollback(2), None).await.end();
    assert_eq!(end, End::NothingToGoBackTo { live: None });
    command(&world, &deploy(3, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Blue, NEW.to_owned())));
}

/// Nobody is sent to what is not tested, and what serves is not taken away, whoever ends the work in between.
#[tokio::test]
async fn a_first_image_that_fails_its_smoke_tests_never_has_traffic_and_one_that_serves_keeps_it() {
    let deploy = |number, image| {
        let mut wanted = deploy(number, image);
        wanted.smoke = Some(smoke_tests());
        wanted
    };
    let world = World::new();
    let bad = Quality::FailsSmoke;
    world.state().quality.insert(OLD.to_owned(), bad);
    let end = command(&world, &deploy(1, OLD), None).await.end();
    let told = "a smoke test failed: GET / answered 500, not 200";
    let NeverLive { colour, why } = end else {
        panic!("{end:?}");
    };
    assert_eq!((colour, why.to_string()), (Colour::Blue, told.to_owned()));
    {
        let state = world.state();
        assert_eq!((state.groups.blue.desired, state.asked_idle), (0, 1));
        let moved = state.made.iter().find(|call| call.contains(" Modify"));
        assert_eq!(moved, None);
        assert_eq!(state.wrongs, Vec::<String>::new());
    }
    command(&world, &deploy(2, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Blue, NEW.to_owned())));

    let calls = {
        let world = World::new();
        command(&world, &deploy(1, OLD), None).await.end();
        world.state().made.len()
    };
    for nth in 1..=calls {
        for fault in [
            Fault::KilledBefore,
            Fault::KilledDuring,
            Fault::KilledAfter,
            Fault::RefusedAlways,
        ] {
            let world = World::new();
            let what = format!("call {nth} of {calls}, {fault:?}");
            let _whatever = command(&world, &deploy(1, OLD), Some((nth, fault))).await;
            world.state().quality.insert(OLD.to_owned(), bad);
            world.pass(Duration::from_secs(60));
            let before = world.state().capacity();
            reset(&world);
            let end = command(&world, &deploy(2, OLD), None).await.end();
            let state = world.state();
            assert_eq!(state.wrongs, Vec::<String>::new(), "{what}");
            assert!(state.least >= before, "{what}");
            match end {
                NeverLive { .. } => assert_eq!((before, state.capacity()), (0, 0), "{what}"),
                Live { live, .. } | Unchanged { live } => {
                    assert_eq!((before, live), (2, Colour::Blue), "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_alarm_before_the_start_refuses_and_one_while_it_is_watched_goes_back() {
    let world = live().await;
    world.state().alarms.push("errors".to_owned());
    let end = command(&world, &deploy(2, NEW), None).await.end();
    let alarms = vec!["errors".to_owned()];
    assert_eq!(end, End::AlarmsFire { alarms });
    assert_eq!(world.state().made, Vec::<String>::new());
    world.state().alarms.clear();

    let fires = async {
        let watcher = world.process(None);
        while world.state().weights().green == 0 {
            super::calls::Calls::sleep(&watcher, Duration::from_secs(5)).await;
        }
        world.state().alarms.push("errors".to_owned());
    };
    let wanted = deploy(3, NEW);
    let (outcome, ()) = tokio::join!(command(&world, &wanted, None), fires);
    let names = vec!["errors".to_owned()];
    let (live, why) = (Colour::Blue, Why::Alarms { names });
    assert_eq!(outcome.end(), End::WentBack { live, why });
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
}

#[tokio::test]
async fn a_warm_colour_is_gone_back_to_by_one_call_that_moves_traffic_and_at_once() {
    let world = live().await;
    let wanted = deploy(2, NEW);
    let until_kept = async {
        let watcher = world.process(None);
        while world.state().weights().green < 100 {
            super::calls::Calls::sleep(&watcher, Duration::from_secs(5)).await;
        }
        super::calls::Calls::sleep(&watcher, Duration::from_secs(40)).await;
    };
    tokio::select! {
        ended = command(&world, &wanted, None) => panic!("{ended:?}"),
        () = until_kept => {}
    }
    reset(&world);
    let before = world.state().now;
    command(&world, &rollback(3), None).await.end();
    let state = world.state();
    let moved: Vec<&String> = state
        .made
        .iter()
        .filter(|c| c.contains(" Modify"))
        .collect();
    assert_eq!(moved.len(), 1);
    let at: u64 = moved[0].split(' ').next().unwrap().parse().unwrap();
    assert!(at <= before.as_secs() + 2, "{moved:?} after {before:?}");
    drop(state);
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
    assert!(world.state().least >= 2);
}

#[tokio::test]
async fn an_interrupted_rollout_says_so_and_another_image_takes_its_place() {
    let world = live().await;
    let (events, _reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    {
        let process = world.process(None);
        let interrupt = async {
            let watcher = world.process(None);
            while world.state().weights().green == 0 {
                super::calls::Calls::sleep(&watcher, Duration::from_secs(5)).await;
            }
            cancel.cancel();
        };
        let wanted = deploy(2, NEW);
        let driving = drive(&process, "web", &wanted, &cx);
        let (ended, ()) = tokio::join!(driving, interrupt);
        let error = ended.unwrap_err();
        let told = "the rollout was interrupted, while the traffic is blue 90 %, green 10 %";
        assert_eq!(error.to_string(), told);
    }
    // Which image is the current one?
    let current = Way::Forward {
        parameters: BTreeMap::new(),
    };
    let end = command(&world, &wanted(3, current), None).await.end();
    assert!(matches!(end, End::Ambiguous { .. }), "{end:?}");
    command(&world, &deploy(4, "ami-third"), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, "ami-third".to_owned())));
    assert!(world.state().least >= 2);
}

#[tokio::test]
async fn a_rollback_of_another_process_ends_a_deploy_which_says_so() {
    let world = live().await;
    let back = async {
        {
            let watcher = world.process(None);
            while world.state().weights().green == 0 {
                super::calls::Calls::sleep(&watcher, Duration::from_secs(5)).await;
            }
        }
        command(&world, &rollback(3), None).await.end()
    };
    let wanted = deploy(2, NEW);
    let (deployed, back) = tokio::join!(command(&world, &wanted, None), back);
    let by = run_id(3);
    assert_eq!(deployed.end(), End::TakenOver { by });
    assert_eq!(back, End::IsBack { live: Colour::Blue });
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
}

/// A lock is a courtesy: without it both do their steps, and one of them comes to an end.
#[tokio::test]
async fn two_deploys_at_once_do_no_harm_and_one_of_them_wins() {
    for late in 0..40 {
        let world = live().await;
        let second = async {
            {
                let watcher = world.process(None);
                let wait = Duration::from_secs(5 * late);
                super::calls::Calls::sleep(&watcher, wait).await;
            }
            command(&world, &deploy(3, "ami-third"), None).await.end()
        };
        let wanted = deploy(2, NEW);
        let (first, second) = tokio::join!(command(&world, &wanted, None), second);
        let ends = (first.end(), second);
        let (_, image) = settled(&world).unwrap_or_else(|why| panic!("{late}: {why}: {ends:?}"));
        let wins = match &ends {
            (End::TakenOver { .. } | End::Live { .. }, End::Live { .. }) => "ami-third",
            (End::Live { .. }, End::TakenOver { .. }) => NEW,
            other => panic!("{late}: {other:?}"),
        };
        assert_eq!(image, wins, "{late}: {ends:?}");
        assert!(world.state().least >= 2, "{late}");
    }
}

/// One that is done, and one that CloudFormation rolls back: of that nothing stays.
#[tokio::test]
async fn an_update_of_the_stack_in_the_middle_is_waited_for_and_moves_no_traffic() {
    for more in [&[("MaxSize", "6")][..], &[]] {
        let more: BTreeMap<String, String> = more
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        for begins_at in [0, 10] {
            update_in_the_middle(&more, begins_at).await;
        }
    }
}

/// Somebody updates the stack once green has instances, and so much of the traffic.
async fn update_in_the_middle(more: &BTreeMap<String, String>, begins_at: u32) {
    let world = live().await;
    let meddle = async {
        let watcher = world.process(None);
        let has_come = || {
            let state = world.state();
            state.groups.green.desired > 0 && state.weights().percent(Colour::Green) >= begins_at
        };
        while !has_come() {
            super::calls::Calls::sleep(&watcher, Duration::from_secs(5)).await;
        }
        let mut state = world.state();
        let until = state.now + Duration::from_secs(90);
        let status = match more.is_empty() {
            true => "UPDATE_ROLLBACK_IN_PROGRESS",
            false => "UPDATE_IN_PROGRESS",
        };
        status.clone_into(&mut state.stack.status);
        state.busy.push((until, more.clone()));
        assert_eq!(state.weights().percent(Colour::Green), begins_at);
    };
    let wanted = deploy(2, NEW);
    let (outcome, ()) = tokio::join!(command(&world, &wanted, None), meddle);
    assert!(matches!(outcome.end(), End::Live { .. }));
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    assert!(world.state().least >= 2);
}

#[tokio::test]
async fn a_rule_that_was_removed_is_made_anew_and_one_without_tags_is_taken() {
    // Green serves; without the rule, all requests would go to blue, which is empty.
    let world = live().await;
    command(&world, &deploy(2, NEW), None).await.end();
    settled(&world).unwrap();
    world.state().rules.truncate(1);
    command(&world, &deploy(3, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    world.state().rules[1].0.tags.clear();
    command(&world, &deploy(4, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
}

#[tokio::test]
async fn a_rule_of_others_that_leads_to_a_colour_refuses_a_deploy() {
    let world = live().await;
    let mut other = world.state().rules[0].clone();
    other.0.arn = "rule-api".to_owned();
    other.0.priority = Some(7);
    other.0.forwards = [("targets-blue".to_owned(), 1)].into();
    let mut header = other.clone();
    header.1 = Some("x".to_owned()); // for some requests alone
    world.state().rules.push(header);
    let end = command(&world, &deploy(2, NEW), None).await.end();
    let rules = vec!["rule-api".to_owned()];
    assert_eq!(end, End::ForeignRules { rules });
}

#[tokio::test]
async fn smoke_tests_of_an_internal_load_balancer_are_refused_before_anything_begins() {
    let world = live().await;
    world.state().is_internal = true;
    let mut wanted = deploy(2, NEW);
    wanted.smoke = Some(smoke_tests());
    let Outcome::Ended(ended) = command(&world, &wanted, None).await else {
        panic!("it died");
    };
    assert!(matches!(*ended, Err(RolloutError::Internal)), "{ended:?}");
    assert_eq!(world.state().made, Vec::<String>::new());
}

#[tokio::test]
async fn more_than_a_group_may_have_is_told() {
    let world = live().await;
    {
        let mut state = world.state();
        state.groups.blue.desired = 4;
        state.groups.green.max = 3;
    }
    world.pass(Duration::from_secs(120));
    let end = command(&world, &deploy(2, NEW), None).await.end();
    let (live, why) = (Colour::Blue, Why::TooMany { size: 4, max: 3 });
    assert_eq!(end, End::WentBack { live, why });
}
