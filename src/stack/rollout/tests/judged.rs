//! By what a colour is judged, and what is done and told when it fails: alarms, health that comes late, smoke tests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::calls::Calls;
use super::super::colour::Colour;
use super::super::drive::{RolloutContext, drive};
use super::super::fake::{Quality, State, World};
use super::super::step::{End, Why};
use super::super::wanted::{OnAlarm, OnFailure, Way};
use super::{
    NEW, OLD, Outcome, command, deploy, heard, live, reset, rollback, settled, sleep_until,
    smoke_tests, wanted,
};
use crate::event;

/// Its alarm fires, and tells nothing of what serves.
#[tokio::test]
async fn what_is_kept_to_be_looked_at_forbids_neither_a_deploy_nor_a_rollback() {
    for then in [Way::Back, deploy(3, NEW).way] {
        let world = live().await;
        let bad = Quality::NeverHealthy;
        world.state().quality.insert("ami-bad".to_owned(), bad);
        let mut kept = deploy(2, "ami-bad");
        kept.on_failure = OnFailure::Keep;
        let end = command(&world, &kept, None).await.end();
        assert!(matches!(end, End::WentBack { .. }), "{end:?}");
        let firing = Calls::firing(&world.process(None), &[]).await.unwrap();
        assert_eq!(firing.len(), 1, "{firing:?}");
        assert_eq!(firing[0].name, "unhealthy-green");
        let end = command(&world, &wanted(3, then.clone()), None).await.end();
        let settled = settled(&world);
        match then {
            Way::Back => {
                assert_eq!(end, End::IsBack { live: Colour::Blue });
                assert_eq!(settled, Ok((Colour::Blue, OLD.to_owned())));
            }
            Way::Forward { .. } => {
                assert!(matches!(end, End::Live { .. }), "{end:?}");
                assert_eq!(settled, Ok((Colour::Green, NEW.to_owned())));
            }
        }
        assert!(world.state().least >= 2);
    }
}

/// The same image again: what is ill stays ill, and others may be well.
#[tokio::test]
async fn what_was_kept_goes_although_the_next_deploy_is_of_the_same_image() {
    let world = live().await;
    let (bad, good) = (Quality::NeverHealthy, Quality::Good);
    world.state().quality.insert(NEW.to_owned(), bad);
    let mut kept = deploy(2, NEW);
    kept.on_failure = OnFailure::Keep;
    command(&world, &kept, None).await.end();
    {
        let mut state = world.state();
        let members = state.groups.green.members.iter_mut();
        members.for_each(|member| member.is_ill = true);
        state.quality.insert(NEW.to_owned(), good);
    }
    let end = command(&world, &deploy(3, NEW), None).await.end();
    assert!(matches!(end, End::Live { .. }), "{end:?}");
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    assert!(world.state().least >= 2);
}

/// What is live is ill, and its own alarm must not keep it from being replaced.
#[tokio::test]
async fn a_live_colour_that_is_ill_is_mended_by_a_deploy_despite_its_alarm() {
    let world = live().await;
    {
        let mut state = world.state();
        // Nobody replaces them, or these would be as ill.
        state
            .groups
            .blue
            .suspended
            .insert("ReplaceUnhealthy".to_owned());
        state
            .groups
            .blue
            .members
            .iter_mut()
            .for_each(|m| m.is_ill = true);
        state.alarms.push("errors".to_owned());
    }
    world.pass(Duration::from_secs(300));
    let end = command(&world, &deploy(2, NEW), None).await.end();
    let alarms = vec!["errors".to_owned(), "unhealthy-blue".to_owned()];
    assert_eq!(end, End::AlarmsFire { alarms });
    let mut despite = deploy(3, NEW);
    despite.on_alarm = OnAlarm::Begin;
    let (outcome, told) = heard(&world, &despite).await;
    assert!(matches!(outcome.end(), End::Live { .. }), "{told}");
    let listed =
        "alarms fire already, and do not count until they have ended: errors, unhealthy-blue";
    assert!(told.contains(listed), "{told}");
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
}

/// Those that fire for the first time, or again, and that of the new colour.
#[tokio::test]
async fn despite_some_alarms_others_count() {
    let fires_again = async |world: &World| {
        sleep_until(world, |state| state.weights().green == 10).await;
        world.state().alarms.clear();
        sleep_until(world, |state| state.weights().green == 50).await;
        world.state().alarms.push("errors".to_owned());
    };
    let another_fires = async |world: &World| {
        sleep_until(world, |state| state.weights().green == 10).await;
        world.state().alarms.push("latency".to_owned());
    };
    for (number, names) in [["errors"], ["latency"]].into_iter().enumerate() {
        let world = live().await;
        world.state().alarms.push("errors".to_owned());
        let mut despite = deploy(2, NEW);
        despite.on_alarm = OnAlarm::Begin;
        let meddling = async {
            match number {
                0 => fires_again(&world).await,
                _ => another_fires(&world).await,
            }
        };
        let (outcome, ()) = tokio::join!(command(&world, &despite, None), meddling);
        let names = names.map(str::to_owned).to_vec();
        let (live, why) = (Colour::Blue, Why::Alarms { names });
        assert_eq!(outcome.end(), End::WentBack { live, why });
        assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
    }
}

/// The group would call its instances unhealthy for good, long before they are healthy.
#[tokio::test]
async fn an_image_that_boots_slowly_has_the_time_that_it_is_given_and_no_more() {
    for (minutes, is_enough) in [(15, true), (3, false)] {
        let world = live().await;
        let slow = Quality::Slow;
        world.state().quality.insert(NEW.to_owned(), slow);
        let mut wanted = deploy(2, NEW);
        wanted.pacing.healthy_within = Duration::from_secs(60 * minutes);
        let (outcome, told) = heard(&world, &wanted).await;
        let end = outcome.end();
        assert_eq!(matches!(end, End::Live { .. }), is_enough, "{end:?}");
        let replaced = "later on green's group replaces one that is not after 120 s";
        assert!(told.contains(replaced), "{told}");
        let serves = if is_enough {
            Colour::Green
        } else {
            Colour::Blue
        };
        assert_eq!(settled(&world).unwrap().0, serves);
        assert!(world.state().least >= 2);
    }
}

/// The same of one that is gone back to when its instances are gone.
#[tokio::test]
async fn an_old_image_that_boots_slowly_has_that_time_too() {
    for (minutes, is_enough) in [(15, true), (3, false)] {
        let world = live().await;
        command(&world, &deploy(2, NEW), None).await.end();
        assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
        world.state().quality.insert(OLD.to_owned(), Quality::Slow);
        let mut wanted = wanted(3, Way::Back);
        wanted.pacing.healthy_within = Duration::from_secs(60 * minutes);
        let end = command(&world, &wanted, None).await.end();
        match is_enough {
            true => {
                assert_eq!(end, End::IsBack { live: Colour::Blue });
                assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
            }
            false => {
                assert_eq!(stuck(&end), Colour::Green);
                let weights = world.state().weights();
                assert_eq!(weights.percent(Colour::Blue), 0);
                // What was launched in vain goes again, and launches nothing more.
                let group = &world.state().groups.blue;
                assert_eq!((group.min, group.desired), (0, 0));
            }
        }
        assert!(world.state().least >= 2);
        if !is_enough {
            world.state().quality.remove(OLD);
            let end = command(&world, &rollback(4), None).await.end();
            assert_eq!(end, End::IsBack { live: Colour::Blue });
            assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
        }
    }
}

/// Nothing of it could be launched: that is known before anything is written.
#[tokio::test]
async fn a_rollback_to_an_empty_colour_whose_image_is_gone_changes_nothing() {
    let world = live().await;
    command(&world, &deploy(2, NEW), None).await.end();
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));
    world.state().images_gone.insert(OLD.to_owned());
    reset(&world);
    let Outcome::Ended(ended) = command(&world, &rollback(3), None).await else {
        panic!("it died");
    };
    let told = ended.unwrap_err().to_string();
    let expected =
        "blue cannot be gone back to: its instances are gone, and so is its image, ami-old";
    assert_eq!(told, expected);
    assert_eq!(world.state().made, Vec::<String>::new());
}

/// It serves on: no image is needed for that.
#[tokio::test]
async fn a_rollback_to_a_warm_colour_asks_for_no_image() {
    let world = live().await;
    let mut kept = deploy(2, NEW);
    kept.pacing.keep = Duration::from_secs(3600);
    tokio::select! {
        ended = command(&world, &kept, None) => panic!("{ended:?}"),
        () = sleep_until(&world, |state| state.weights().green == 100) => {}
    }
    world.state().images_gone.insert(OLD.to_owned());
    let end = command(&world, &rollback(3), None).await.end();
    assert_eq!(end, End::IsBack { live: Colour::Blue });
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
}

/// An older rollout that did not come to its end is no reason to begin another one while an alarm fires; its own may go on.
#[tokio::test]
async fn an_alarm_refuses_another_image_over_an_unfinished_rollout_and_not_the_same_one() {
    let unfinished = async |green: u32| {
        let world = live().await;
        let first = deploy(2, NEW);
        tokio::select! {
            ended = command(&world, &first, None) => panic!("{ended:?}"),
            () = sleep_until(&world, |state| state.weights().green == green && state.groups.green.desired > 0) => {}
        }
        reset(&world);
        world
    };
    let firing = vec!["errors".to_owned()];
    let world = unfinished(0).await;
    world.state().alarms.clone_from(&firing);
    let end = command(&world, &deploy(3, "ami-third"), None).await.end();
    let alarms = firing.clone();
    assert_eq!(end, End::AlarmsFire { alarms });
    assert_eq!(world.state().made, Vec::<String>::new());
    // The same image goes on, and waits until they are quiet.
    let quiet = async {
        sleep_until(&world, |state| {
            state.made.iter().any(|made| made.contains("Tag"))
        })
        .await;
        Calls::sleep(&world.process(None), Duration::from_secs(60)).await;
        world.state().alarms.clear();
    };
    let goes_on = deploy(4, NEW);
    let (outcome, ()) = tokio::join!(command(&world, &goes_on, None), quiet);
    assert!(matches!(outcome.end(), End::Live { .. }));
    assert_eq!(settled(&world), Ok((Colour::Green, NEW.to_owned())));

    // Traffic that another image has is taken back, whatever fires.
    let world = unfinished(10).await;
    world.state().alarms = firing;
    let (outcome, told) = heard(&world, &deploy(3, "ami-third")).await;
    assert!(matches!(outcome.end(), End::WentBack { .. }), "{told}");
    assert!(!told.contains("counted no answers"), "{told}");
    assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
    assert!(world.state().least >= 2);
}

/// Nothing goes from one colour to the other.
#[tokio::test]
async fn what_is_left_to_do_for_what_serves_is_not_told_as_traffic_that_moves() {
    let world = live().await;
    world.state().groups.blue.min = 1;
    let (outcome, told) = heard(&world, &deploy(2, OLD)).await;
    assert_eq!(
        outcome.end(),
        End::Live {
            live: Colour::Blue,
            previous: None
        }
    );
    assert!(
        told.contains("blue keeps the traffic, and what is left to do is done"),
        "{told}"
    );
    assert!(!told.contains("traffic is to go"), "{told}");
}

/// What is ill when it is gone back to is replaced by its group, and what takes its place may be slow.
#[tokio::test]
async fn what_was_ill_before_a_rollback_is_replaced_also_where_nothing_was_to_judge_it() {
    for is_judged in [true, false] {
        let world = live().await;
        let mut kept = deploy(2, NEW);
        kept.pacing.keep = Duration::from_secs(3600);
        tokio::select! {
            ended = command(&world, &kept, None) => panic!("{ended:?}"),
            () = sleep_until(&world, |state| state.groups.green.suspended.is_empty() && state.weights().green == 100) => {}
        }
        {
            let mut state = world.state();
            state.quality.insert(OLD.to_owned(), Quality::Slow);
            let blue = &mut state.groups.blue;
            blue.members
                .iter_mut()
                .for_each(|member| member.is_ill = true);
            if !is_judged {
                blue.suspended.insert("HealthCheck".to_owned());
            }
        }
        let end = command(&world, &wanted(3, Way::Back), None).await.end();
        assert_eq!(end, End::IsBack { live: Colour::Blue });
        assert_eq!(settled(&world), Ok((Colour::Blue, OLD.to_owned())));
        assert!(world.state().least >= 2);
    }
}

fn stuck(end: &End) -> Colour {
    match end {
        End::Stuck { live, .. } => *live,
        other => panic!("{other:?}"),
    }
}

/// What can be known of a failure takes its time, which nobody is to be served badly for.
#[tokio::test]
async fn traffic_has_left_what_failed_before_its_console_is_asked_for() {
    for bad in [Quality::FailsUnderTraffic, Quality::NeverHealthy] {
        let world = live().await;
        world.state().quality.insert(NEW.to_owned(), bad);
        let (outcome, told) = heard(&world, &deploy(2, NEW)).await;
        assert!(matches!(outcome.end(), End::WentBack { .. }));
        assert!(told.contains("'s console:\n  i-"), "{told}");
        let asked = &world.state().at_consoles;
        let [weights] = asked[..] else {
            panic!("{asked:?}");
        };
        assert_eq!(weights.percent(Colour::Green), 0, "{bad:?}");
    }
}

#[tokio::test]
async fn smoke_tests_under_way_end_at_once_when_they_are_interrupted_and_leave_no_rule() {
    let world = live().await;
    let hangs = Quality::HangsInSmoke;
    world.state().quality.insert(NEW.to_owned(), hangs);
    let mut wanted = deploy(2, NEW);
    wanted.smoke = Some(smoke_tests());
    let (events, _reports) = event::channel();
    let cancel = CancellationToken::new();
    let cx = RolloutContext {
        events: &events,
        cancel: &cancel,
    };
    let process = world.process(None);
    let interrupt = async {
        let has_rule = |state: &State| state.rules.iter().any(|(_, header)| header.is_some());
        sleep_until(&world, has_rule).await;
        // The first request is made late, and never answered.
        let watcher = world.process(None);
        Calls::sleep(&watcher, Duration::from_secs(60)).await;
        cancel.cancel();
        world.state().now
    };
    let driving = drive(&process, "web", &wanted, &cx);
    let (ended, at) = tokio::join!(driving, interrupt);
    let error = ended.unwrap_err();
    let told = "the rollout was interrupted, while the traffic is blue 100 %, green 0 %";
    assert_eq!(error.to_string(), told);
    let state = world.state();
    assert!(state.now <= at + Duration::from_secs(5), "{at:?}");
    assert!(state.rules.iter().all(|(_, header)| header.is_none()));
}
