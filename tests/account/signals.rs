//! An interrupted build cleans up after itself, as far as it is let. The processes are real, and so
//! are their signals.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use futures_util::stream::{self, StreamExt};

use super::chance::Chance;
use super::child::{LEAPING, Process, Work, amibake};
use super::guest::Steps;
use super::server::{Account, REGION, assert_one_image_more};
use super::sweep::{ANY, Recording, is_change};

/// How many builds are under way at a time.
const AT_ONCE: usize = 6;

/// A build whose first step goes on for ever.
fn busy(account: &Account, pace: u32) -> Process {
    Process::start(account, pace, Work::build("", Steps::Never), &[])
}

/// Waits until an action was called.
async fn called(account: &Account, action: &str) {
    let was = async || account.actions().await.iter().any(|a| a == action);
    account.wait_until(action, was).await;
}

/// Waits until the first step runs: the machine's timer is renewed on its own before it.
async fn provisions(account: &Account) {
    called(account, "RunInstances").await;
    let runs = async || {
        let states = account.control("states", json!({})).await;
        states
            .as_object()
            .unwrap()
            .values()
            .any(|state| state[0] == "running")
    };
    account.wait_until("the builder", runs).await;
}

/// PEERS2026 2.2 row 4: the group goes when its machine's interface has gone.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_it_cleans_up_and_exits_130() {
    let account = Account::open().await;
    let before = account.inventory().await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        account.control("clear", json!({})).await;
        let build = busy(&account, super::PACE);
        provisions(&account).await;
        build.signal(signal);
        let outcome = build.end().await.ended(130);
        assert_eq!(
            account.inventory().await,
            before,
            "{signal:?}: {}",
            outcome.said
        );
    }
}

/// EC2 has the call, and acts only when nobody waits for the answer any more: it makes the group,
/// which is then deleted; it refuses to start the builder in a group that is gone.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_between_a_call_and_its_answer_it_hears_the_answer() {
    let account = Account::open().await;
    let before = account.inventory().await;
    for action in ["CreateSecurityGroup", "RunInstances"] {
        account.control("clear", json!({})).await;
        account
            .fault(action, "hold-before", json!({"seconds": 600}))
            .await;
        // At the wall's pace: who does not hear the answer looks for the thing for a minute.
        let mut build = busy(&account, 1).held(&account).await;
        build.signal(Signal::INT);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!build.has_ended(), "an answer is owed");
        let since = std::time::Instant::now();
        account.release().await;
        build.end().await.ended(130);
        assert!(
            since.elapsed() < Duration::from_secs(40),
            "it looked for what it knows"
        );
        called(&account, "DeleteSecurityGroup").await;
        assert_eq!(account.inventory().await, before, "{action}");
    }
}

/// SIGINT, SIGTERM 7.5 s later, SIGKILL 2.5 s after that; at ten times the pace. PEERS2026 2.2 row 1.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn cancelled_as_github_actions_does_at_most_the_group_is_left_for_reap() {
    const PACE: u32 = 10;
    let account = Account::open().await;
    let before = account.inventory().await;
    // An interface that lingers keeps the group for longer than the ten seconds.
    account
        .control("delays", json!({"interface": 8, "image": 60}))
        .await;
    let build = Process::build(&account, PACE);
    let pending = async || !account.inventory().await["snapshots"].is_empty();
    account.wait_until("a pending image", pending).await;
    account.control("calls/clear", json!({})).await;
    build.signal(Signal::INT);
    for action in [
        "TerminateInstances",
        "DeregisterImage",
        "DeleteSnapshot",
        "DeleteSecurityGroup",
    ] {
        called(&account, action).await;
    }
    let at = async |action: &str| {
        let calls = account.calls().await;
        calls
            .iter()
            .find(|call| call.action == action)
            .unwrap()
            .time
    };
    let first = at("TerminateInstances").await;
    for action in ["DeregisterImage", "DeleteSnapshot", "DeleteSecurityGroup"] {
        let later = at(action).await - first;
        assert!(
            later < 2.0,
            "{action} was asked {later} s later: one waits for another"
        );
    }
    build.signal(Signal::TERM);
    let gone = async || {
        let now = account.inventory().await;
        now.iter()
            .all(|(kind, things)| kind == "security_groups" || *things == before[kind])
    };
    account.wait_until("all but the group to go", gone).await;
    build.kill().await;
    let left = account.inventory().await;
    assert_eq!(
        left["security_groups"].len(),
        before["security_groups"].len() + 1
    );
    account.control("delays", json!({"interface": 0})).await;
    account.control("expire", json!({})).await;
    amibake(&account, &["reap", "--region", REGION], 0).await;
    assert_eq!(account.inventory().await, before);
}

/// Likewise at each change that a build makes, before EC2 has it, and where EC2 has done it and nobody has heard; and at
/// some looks.
/// PEERS2026 2.2 row 1.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn cancelled_as_github_actions_does_at_each_change_nothing_stays_that_reap_does_not_remove() {
    let account = Account::open().await;
    let recording = Recording::of(&account, async {
        Process::build(&account, LEAPING).end().await.ended(0);
    });
    let calls = recording.await.calls;
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    let mut points = Vec::new();
    // How often one is refused is a matter of chance: a group that is in use.
    let calls = calls.iter().filter(|call| call.answer == "ok");
    for call in calls.filter(|call| is_change(&call.action)) {
        let nth = done.entry(&call.action).or_default();
        *nth += 1;
        points.extend(["hold-before", "hold"].map(|how| (call.action.clone(), *nth, how)));
    }
    for look in ["DescribeImages", "DescribeInstances"] {
        points.extend([1, 2].map(|nth| (look.to_owned(), nth, "hold")));
    }
    let cases = points
        .iter()
        .map(|(action, nth, how)| cancelled_at(action, *nth, how));
    let released = stream::iter(cases).buffer_unordered(AT_ONCE);
    let released = released
        .filter(|is_released| ready(*is_released))
        .count()
        .await;
    println!(
        "cancelled at {} points, {released} images released",
        points.len()
    );
    assert!(points.len() >= 40, "{points:?}");
    assert!((1..points.len() / 2).contains(&released), "{released}");
}

/// Cancels a build in a call of its own; returns whether its image is released after all.
async fn cancelled_at(action: &str, nth: u32, how: &str) -> bool {
    const PACE: u32 = 10; // the build's own clock leaps
    let account = Account::open().await;
    let before = account.inventory().await;
    let hold = json!({"nth": nth, "seconds": 600});
    account.fault(action, how, hold).await;
    let mut build = Process::build(&account, LEAPING).held(&account).await;
    build.signal(Signal::INT);
    tokio::time::sleep(Duration::from_millis(7500) / PACE).await;
    if !build.has_ended() {
        build.signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(2500) / PACE).await;
    }
    match build.has_ended() {
        true => drop(build.end().await.ended(130)),
        false => build.kill().await,
    }
    account.release().await;
    account.control("clear", json!({})).await;
    account.control("expire", json!({})).await;
    amibake(&account, &["reap", "--region", REGION], 0).await;
    let after = account.inventory().await;
    let is_released = after != before;
    if is_released {
        assert_one_image_more(&before, &after);
    }
    is_released
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_second_signal_of_the_same_kind_aborts_and_one_of_another_kind_does_not() {
    let account = Account::open().await;
    let before = account.inventory().await;
    account.control("delays", json!({"interface": 600})).await;
    let mut build = busy(&account, 10);
    provisions(&account).await;
    build.signal(Signal::INT);
    called(&account, "DeleteSecurityGroup").await;
    build.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!build.has_ended());
    build.signal(Signal::INT);
    let outcome = build.end().await.ended(130);
    let now = account.inventory().await;
    let new = |id: &&String| !before["security_groups"].contains(id);
    let group = now["security_groups"].iter().find(new).unwrap();
    let remedy = format!("aws ec2 delete-security-group --region {REGION} --group-id {group}");
    let named = format!("left behind: security group {group} in {REGION} ({remedy})");
    assert!(outcome.said.contains(&named), "{}", outcome.said);
}

/// As people and CI do it: at any time, which is within any call.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn cancelled_within_any_call_builds_leave_nothing() {
    const BUILDS: usize = 20;
    let account = Account::open().await;
    let recording = Recording::of(&account, async {
        Process::build(&account, LEAPING).end().await.ended(0);
    });
    // How often is looked for what takes its time is not always the same.
    let calls = u32::try_from(recording.await.calls.len() * 3 / 4).unwrap();
    let mut chance = Chance::seeded();
    let mut moments = Vec::new();
    for how in ["hold-before", "hold"].into_iter().cycle().take(BUILDS) {
        moments.push((chance.within(calls), how));
    }
    let ends = moments.iter().map(|(nth, how)| cancelled(*nth, how));
    let ends: Vec<u8> = stream::iter(ends).buffer_unordered(AT_ONCE).collect().await;
    let (done, interrupted): (Vec<u8>, Vec<u8>) = ends.into_iter().partition(|code| *code == 0);
    println!(
        "cancelled: {BUILDS} builds, {} interrupted, {} done before (seed {}: AMIBAKE_TEST_SEED)",
        interrupted.len(),
        done.len(),
        chance.seed
    );
    assert!(
        interrupted.iter().all(|code| *code == 130),
        "{interrupted:?}"
    );
    assert!(interrupted.len() > BUILDS / 2, "{interrupted:?}");
}

/// Returns how a build ends that is interrupted within its nth call, having looked at what it leaves.
async fn cancelled(nth: u32, how: &str) -> u8 {
    let account = Account::open().await;
    let before = account.inventory().await;
    let hold = json!({"nth": nth, "seconds": 600});
    account.fault(ANY, how, hold).await;
    let mut build = Process::build(&account, LEAPING);
    // One that looks less often than the recorded one has ended before.
    if build.is_held(&account).await {
        build.signal(Signal::INT);
        account.release().await;
    }
    let end = build.end().await;
    let now = account.inventory().await;
    match end.code {
        0 => assert_one_image_more(&before, &now),
        _ => assert_eq!(now, before, "{how} {nth}: {}", end.said),
    }
    assert!(account.journals().is_empty(), "{how} {nth}: {}", end.said);
    end.code
}
