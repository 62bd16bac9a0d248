//! Of those who build the same at the same time one builds, and the others wait for it; unless it is dead.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::build::{Build, client};
use super::child::{Process, amibake};
use super::server::{Account, REGION, assert_one_image_more};
use crate::clock::Pace;
use crate::exit::Exit;

/// How many race each other.
const PROCESSES: usize = 20;

/// How often they do by default; `AMIBAKE_TEST_ROUNDS` says otherwise. In each tenth round one is killed.
const ROUNDS: usize = 10;

/// Twenty times as fast, and all of them together hardly slower.
const PACE: u32 = 20;

fn same(account: &Account) -> Build<'_> {
    Build::of(account).of_shared_content()
}

/// Holds the builder of one build in its launch, while `meanwhile` runs.
async fn while_one_builds<T>(
    account: &Account,
    meanwhile: impl AsyncFnOnce() -> T,
) -> (super::build::Built, T) {
    account
        .fault("RunInstances", "hold", json!({"seconds": 600}))
        .await;
    let build = same(account);
    let other = async {
        account.wait_until_held().await;
        let done = meanwhile().await;
        account.release().await;
        done
    };
    tokio::join!(build.run(), other)
}

/// A clock that is ten minutes wrong, on this side or on EC2's, makes nobody dead.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn who_comes_second_waits_for_the_first_and_has_its_image() {
    let _pace = Pace::set(PACE);
    for skew in [-600, 0, 600] {
        let account = Account::open().await;
        account
            .control("ways", json!({"clock_skew": skew, "clock_pace": PACE}))
            .await;
        let before = account.inventory().await;
        let second = same(&account);
        let waiting = async || {
            let waits = async || second.said().contains("waiting for run ");
            tokio::select! {
                built = second.run() => panic!("it did not wait: {}", built.said),
                () = account.wait_until("the second to wait", waits) => {}
            }
        };
        let (first, ()) = Box::pin(while_one_builds(&account, waiting)).await;
        let first = first.ended(Exit::Done).image.unwrap().id;
        let second = same(&account).run().await.ended(Exit::Done);
        assert!(second.reused, "{}", second.said);
        assert_eq!(second.image.unwrap().id, first, "skew {skew}");
        assert_one_image_more(&before, &account.inventory().await);
    }
}

/// It asks while the first works, and is done when the first is.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn who_waits_is_given_the_image_when_it_is_there_or_builds_when_the_first_has_failed() {
    let _pace = Pace::set(PACE);
    for fails in [false, true] {
        let account = Account::open().await;
        let before = account.inventory().await;
        let mut first = same(&account);
        if fails {
            first.steps = super::guest::Steps::Fail;
        }
        account
            .fault("RunInstances", "hold", json!({"seconds": 600}))
            .await;
        let second = same(&account);
        let waiting = async {
            account.wait_until_held().await;
            let letting_go = async {
                let waits = async || second.said().contains("waiting for run ");
                account.wait_until("the second to wait", waits).await;
                account.release().await;
            };
            tokio::join!(second.run(), letting_go).0
        };
        let (first, second) = tokio::join!(first.run(), waiting);
        let second = second.ended(Exit::Done);
        assert_eq!(second.reused, !fails, "{}", second.said);
        let first = first.ended(if fails { Exit::Failed } else { Exit::Done });
        if !fails {
            assert_eq!(first.image, second.image);
        }
        assert_one_image_more(&before, &account.inventory().await);
    }
}

/// A killed holder of another host beats no more, and is known for dead by EC2's clock.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_holder_that_was_killed_is_taken_over_after_ten_minutes() {
    let _pace = Pace::set(PACE);
    let account = Account::open().await;
    account.control("ways", json!({"clock_pace": PACE})).await;
    let before = account.inventory().await;
    account
        .fault("StopInstances", "hold-before", json!({"seconds": 600}))
        .await;
    let first = Process::same_build(&account, PACE).held(&account).await;
    first.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    let (here, elsewhere) = (account.state_folder(), account.home().join("elsewhere"));
    std::fs::rename(&here, &elsewhere).unwrap();
    let since = std::time::Instant::now();
    let second = same(&account).run().await.ended(Exit::Done);
    assert!(!second.reused, "{}", second.said);
    assert!(
        second.said.contains("has not been heard of for 10 minutes"),
        "{}",
        second.said
    );
    let waited = since.elapsed() * PACE;
    assert!(waited > Duration::from_secs(8 * 60), "{waited:?}");
    for journal in std::fs::read_dir(&elsewhere).unwrap() {
        let journal = journal.unwrap();
        std::fs::rename(journal.path(), here.join(journal.file_name())).unwrap();
    }
    amibake(&account, &["reap", "--region", REGION], 0).await;
    assert_one_image_more(&before, &account.inventory().await);
}

/// One that beats is not taken over, however long it builds; and waiting takes no time of a build's own.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_holder_that_is_alive_is_waited_for_longer_than_ten_minutes() {
    let _pace = Pace::set(PACE);
    let account = Account::open().await;
    account.control("ways", json!({"clock_pace": PACE})).await;
    let build = |more| Build::with(&account, more).of_shared_content();
    account
        .fault("StopInstances", "hold", json!({"seconds": 600}))
        .await;
    let first = build(", timeouts: {total: 3h}");
    let second = build(", timeouts: {total: 8m}");
    let waiting = async {
        account.wait_until_held().await;
        let letting_go = async {
            let waits = async || second.said().contains("makes the same image: 12 min");
            account.wait_until("twelve minutes", waits).await;
            account.release().await;
        };
        tokio::join!(second.run(), letting_go).0
    };
    let (first, second) = tokio::join!(first.run(), waiting);
    let (first, second) = (first.ended(Exit::Done), second.ended(Exit::Done));
    assert_eq!(first.image, second.image);
    assert!(
        second.reused && !second.said.contains("taken over"),
        "{}",
        second.said
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn without_the_permission_to_lock_it_is_built_with_a_warning() {
    let _pace = super::fast();
    for action in ["CreateLaunchTemplate", "CreateLaunchTemplateVersion"] {
        let account = Account::open().await;
        let before = account.inventory().await;
        account.deny(action, 1).await;
        let built = same(&account).run().await.ended(Exit::Done);
        account.assert_all_hit().await;
        let warning = format!("{action} was refused in {REGION}: UnauthorizedOperation");
        assert!(built.said.contains(&warning), "{}", built.said);
        assert_one_image_more(&before, &account.inventory().await);
    }
    // Nor may one that would wait look.
    let account = Account::open().await;
    account.deny("DescribeLaunchTemplateVersions", 1).await;
    let mut second = same(&account);
    "another".clone_into(&mut second.plan.image.name);
    let (first, second) = Box::pin(while_one_builds(&account, async || second.run().await)).await;
    let (first, second) = (first.ended(Exit::Done), second.ended(Exit::Done));
    assert!(
        second.said.contains("nothing keeps other builds"),
        "{}",
        second.said
    );
    assert_ne!(first.image, second.image);
}

/// It is a courtesy: an account that has no room for one has its image all the same.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn whatever_else_ec2_says_no_to_is_a_warning_too() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    let full = json!({"code": "LaunchTemplateLimitExceeded", "message": "no more", "status": 400});
    account.fault("CreateLaunchTemplate", "error", full).await;
    let built = same(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    let warning = "CreateLaunchTemplate was refused in eu-west-1: LaunchTemplateLimitExceeded";
    assert!(built.said.contains(warning), "{}", built.said);
    assert_one_image_more(&before, &account.inventory().await);
}

/// One that beats and never comes to an end is waited for as long as two builds may take.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn nobody_waits_for_ever() {
    let _pace = Pace::set(PACE);
    let account = Account::open().await;
    account.control("ways", json!({"clock_pace": PACE})).await;
    account
        .fault("StopInstances", "hold", json!({"seconds": 600}))
        .await;
    let first = Build::with(&account, ", timeouts: {total: 3h}").of_shared_content();
    let second = Build::with(&account, ", timeouts: {total: 2m}").of_shared_content();
    let waiting = async {
        account.wait_until_held().await;
        let second = second.run().await;
        account.release().await;
        second
    };
    let (first, second) = tokio::join!(first.run(), waiting);
    first.ended(Exit::Done);
    let second = second.ended(Exit::Failed);
    let told = "which makes the same image, was not done within 240 s";
    assert!(second.said.contains(told), "{}", second.said);
}

/// Whoever removes a lock by hand, or takes it over from a machine that was asleep, harms nobody.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_lock_that_was_lost_is_told_and_the_image_made_nevertheless() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    let removing = async || {
        let ec2 = client(&account).await;
        let id = account.inventory().await["launch_templates"][0].clone();
        let removing = ec2.delete_launch_template().launch_template_id(id);
        removing.send().await.unwrap();
    };
    let (built, ()) = Box::pin(while_one_builds(&account, removing)).await;
    let built = built.ended(Exit::Done);
    assert!(
        built.said.contains("its lock was taken over"),
        "{}",
        built.said
    );
    assert_one_image_more(&before, &account.inventory().await);
}

/// Twenty processes at once, again and again: one builds each time, and all print its image.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn of_twenty_processes_one_builds_although_one_that_builds_is_killed() {
    let _pace = Pace::set(PACE);
    let rounds = std::env::var("AMIBAKE_TEST_ROUNDS").ok();
    let rounds = rounds.and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let since = std::time::Instant::now();
    let mut killed = 0;
    for round in 1..=rounds {
        let kills = round % 10 == 0;
        race(kills).await;
        killed += usize::from(kills);
    }
    println!(
        "lock: {rounds} races of {PROCESSES} processes, {killed} with the holder killed, one builder each; {:.0} s",
        since.elapsed().as_secs_f64()
    );
}

async fn race(kills: bool) {
    let account = Account::open().await;
    let before = account.inventory().await;
    if kills {
        account
            .fault("RunInstances", "hold-before", json!({"seconds": 600}))
            .await;
    }
    let mut racing: Vec<Process> = (0..PROCESSES)
        .map(|_| Process::same_build(&account, PACE))
        .collect();
    if kills {
        account.wait_until_held().await;
        kill_the_holder(&account, &mut racing).await;
        account.release().await;
        account.control("clear", json!({})).await;
        // Ten minutes later.
        account.control("ways", json!({"clock_skew": 601})).await;
    }
    let ended = join_all(racing.into_iter().map(Process::end)).await;
    let mut images: Vec<String> = Vec::new();
    for outcome in ended {
        images.push(outcome.ended(0).stdout);
    }
    images.dedup();
    assert_eq!(images.len(), 1, "{images:?}");
    let made = account.actions().await;
    let made = made
        .iter()
        .filter(|action| *action == "CreateImage")
        .count();
    assert_eq!(made, 1, "builders");
    if kills {
        amibake(&account, &["reap", "--region", REGION], 0).await;
    }
    assert_one_image_more(&before, &account.inventory().await);
}

/// The journal of the one that launches says so, and is held open by it.
async fn kill_the_holder(account: &Account, racing: &mut Vec<Process>) {
    let mut holder = None;
    for run in account.journals() {
        let journal = account.state_folder().join(format!("{run}.journal"));
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        if text.contains("terminate-instance") {
            holder = racing.iter().position(|process| process.holds(&journal));
        }
    }
    let holder = holder.expect("one of them launches a machine");
    racing.remove(holder).kill().await;
}
