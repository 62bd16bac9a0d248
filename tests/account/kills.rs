//! A killed build leaves nothing that `reap` does not remove. That it is so at each call is the
//! sweep's (`sweep.rs`); here are the states between calls, and what `reap` goes by.

use serde_json::json;

use super::build::client;
use super::child::{Process, Work, amibake};
use super::guest::Steps;
use super::server::{Account, REGION, assert_one_image_more};

/// Kills a build when a fault holds a call of it, and lets that go.
async fn killed_at(account: &Account, action: &str, nth: u32) {
    let hold = json!({"nth": nth, "seconds": 600});
    account.fault(action, "hold", hold).await;
    let build = Process::build(account, super::PACE);
    let build = build.held(account).await;
    build.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
}

/// Reaps by tags alone: the journals are lost, and the time of all runs has passed.
async fn reap_by_tags(account: &Account) {
    std::fs::remove_dir_all(account.state_folder()).unwrap();
    let expired = account.control("expire", json!({})).await;
    assert!(expired.as_u64().unwrap() > 0);
    amibake(account, &["reap", "--region", REGION], 0).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_a_killed_build_made_is_found_by_tags_alone() {
    let account = Account::open().await;
    let before = account.inventory().await;
    for (action, nth) in [
        ("CreateSecurityGroup", 1),
        ("RunInstances", 1),
        ("StopInstances", 1),
        ("RunInstances", 2),
        ("TerminateInstances", 1),
        ("RegisterImage", 1),
    ] {
        killed_at(&account, action, nth).await;
        assert_ne!(
            account.inventory().await,
            before,
            "{action}: nothing was made"
        );
        reap_by_tags(&account).await;
        assert_eq!(account.inventory().await, before, "{action}");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_named_run_is_reaped_before_it_expires_and_its_journal_goes() {
    let account = Account::open().await;
    let before = account.inventory().await;
    for action in ["AuthorizeSecurityGroupIngress", "DeregisterImage"] {
        killed_at(&account, action, 1).await;
        let runs = account.journals();
        assert_eq!(runs.len(), 1, "{action}");
        let words = ["reap", "--region", REGION, "--run", &runs[0]];
        amibake(&account, &words, 0).await;
        assert_eq!(account.inventory().await, before, "{action}");
        assert_eq!(
            account.journals(),
            [""; 0],
            "{action}: the journal of a paid run"
        );
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_while_the_image_is_pending_and_its_snapshot_not_there_yet() {
    let account = Account::open().await;
    let before = account.inventory().await;
    // Longer than all the rest of reaping takes, so that it is found by who waits for it.
    let late = std::time::Duration::from_secs(4);
    let delays = json!({"image": 60, "snapshot": late.as_secs()});
    account.control("delays", delays).await;
    killed_at(&account, "CreateImage", 1).await;
    let since = std::time::Instant::now();
    assert_eq!(account.inventory().await["snapshots"], before["snapshots"]);
    reap_by_tags(&account).await;
    tokio::time::sleep((late * 5 / 4).saturating_sub(since.elapsed())).await;
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_while_the_image_is_pending() {
    let account = Account::open().await;
    let before = account.inventory().await;
    account.control("delays", json!({"image": 20})).await;
    let build = Process::build(&account, super::PACE);
    let pending = async || !account.inventory().await["snapshots"].is_empty();
    account
        .wait_until("a pending image with its snapshot", pending)
        .await;
    build.kill().await;
    reap_by_tags(&account).await;
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_while_the_image_is_released_it_stays_and_reap_ends_its_release() {
    let account = Account::open().await;
    for (last, nth) in [("CreateTags", 2), ("ModifyImageAttribute", 1)] {
        let before = account.inventory().await;
        killed_at(&account, last, nth).await;
        reap_by_tags(&account).await;
        assert_one_image_more(&before, &account.inventory().await);
    }
    let images = client(&account).await.describe_images().owners("self");
    let images = images.send().await.unwrap().images.unwrap_or_default();
    assert_eq!(images.len(), 2);
    for image in images {
        let described = image.description().unwrap_or_default();
        assert!(
            described.starts_with("web, baked by amibake ["),
            "{described}"
        );
        assert!(described.ends_with(']'), "{described}");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_while_a_step_runs() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let work = Work::build("", Steps::Never);
    let build = Process::start(&account, super::PACE, work, &[]);
    let runs = async || {
        let states = account.control("states", json!({})).await;
        let states = states.as_object().unwrap();
        states.values().any(|state| state[0] == "running")
    };
    account.wait_until("the builder", runs).await;
    build.kill().await;
    reap_by_tags(&account).await;
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_another_host_s_run_made_is_reaped_when_it_has_expired_in_all_regions() {
    let account = Account::open().await;
    let before = account.inventory().await;
    killed_at(&account, "RunInstances", 1).await;
    std::fs::remove_dir_all(account.state_folder()).unwrap();
    let left = account.inventory().await;
    assert_ne!(left, before);
    amibake(&account, &["reap"], 0).await;
    assert_eq!(
        account.inventory().await,
        left,
        "the run may live elsewhere"
    );
    account.control("expire", json!({})).await;
    let told = amibake(&account, &["reap", "--dry-run"], 0).await;
    assert!(
        told.stdout.contains(&left["instances"][0]),
        "{}",
        told.stdout
    );
    assert_eq!(account.inventory().await, left, "a dry run");
    amibake(&account, &["reap"], 0).await;
    assert_eq!(account.inventory().await, before);
}
