//! A build goes on where EC2 acts and its answer is lost, and removes what it never heard of.

use serde_json::json;

use super::build::Build;
use super::server::{Account, assert_one_image_more};
use crate::exit::Exit;

/// What may be asked twice since the answer was lost, and how often a build asks it.
const CALLS: [(&str, u32); 11] = [
    ("AuthorizeSecurityGroupIngress", 1),
    ("CreateImage", 1),
    ("CreateSecurityGroup", 1),
    ("CreateTags", 2),
    ("DeleteSecurityGroup", 1),
    ("DeregisterImage", 1),
    ("ModifyImageAttribute", 1),
    ("RegisterImage", 1),
    ("RunInstances", 2),
    ("StopInstances", 1),
    ("TerminateInstances", 1),
];

/// EC2 acts, and the connection is closed before its answer: every changing call once.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn when_every_answer_is_lost_once_the_build_goes_on() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for (action, times) in CALLS {
        for nth in 1..=times {
            // The call that follows a lost answer is the same again.
            account.fault(action, "lost", json!({"nth": nth})).await;
        }
    }
    Build::of(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    assert_one_image_more(&before, &account.inventory().await);
}

/// What becomes of the calls that make something, from the first on: it is done, whatever is said.
#[derive(Debug, Clone, Copy)]
enum Later {
    /// All are done, and none answered.
    Lost,
    /// The first is done and not answered, all others are throttled.
    Throttled,
    /// The first is done and not answered, and then the credentials have ended.
    Expired,
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_was_made_and_never_answered_is_found_and_removed() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for (later, told) in [
        (Later::Lost, "got no answer"),
        (Later::Throttled, "RequestLimitExceeded"),
        (Later::Expired, "ExpiredToken"),
    ] {
        for action in ["CreateSecurityGroup", "RunInstances", "CreateImage"] {
            account.control("clear", json!({})).await;
            let times = if let Later::Lost = later { 999 } else { 1 };
            account.fault(action, "lost", json!({"times": times})).await;
            let mut rest = json!({"nth": 2, "times": 999});
            match later {
                Later::Lost => {}
                Later::Throttled => account.fault(action, "throttle", rest).await,
                Later::Expired => {
                    rest["code"] = json!("ExpiredToken");
                    account.fault(action, "error", rest).await;
                }
            }
            // A call is made again until the whole bake's time is nearly over.
            let build = Build::with(&account, ", timeouts: {total: 5m}");
            let built = build.run().await.ended(Exit::Failed);
            let what = format!("{action} {later:?}: {}", built.said);
            account.assert_all_hit().await;
            let first = built.said.lines().find(|line| line.contains(action));
            // Where the name is taken when it is asked again, what has it is looked for.
            let told = [told, "got no answer"];
            let is_told = first.is_some_and(|line| told.iter().any(|t| line.contains(t)));
            assert!(is_told, "{what}");
            assert_eq!(account.inventory().await, before, "{what}");
        }
    }
}

/// By then the image has passed: it is looked for, and the build goes on with it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_whose_registration_is_never_answered_is_found_and_released() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    account
        .fault("RegisterImage", "expired-token", json!({"done": true}))
        .await;
    Build::of(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    assert_one_image_more(&before, &account.inventory().await);
}

/// These are made once each, when all the work is done.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn throttled_for_longer_than_the_sdk_tries_a_tested_image_is_not_given_up() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for action in ["StopInstances", "CreateTags", "DescribeSnapshots"] {
        account.fault(action, "throttle", json!({"times": 8})).await;
    }
    Build::of(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    assert_one_image_more(&before, &account.inventory().await);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn throttled_it_goes_on() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    let often = ["DescribeInstances", "DescribeImages", "DescribeSubnets"];
    let actions = CALLS.iter().map(|(action, _)| *action).chain(often);
    for action in actions {
        account.fault(action, "throttle", json!({"times": 2})).await;
    }
    Build::of(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    assert_one_image_more(&before, &account.inventory().await);
}
