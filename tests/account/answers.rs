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
    ("CreateTags", 1),
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

/// Every try is done and none answered, or the first is done and the others are throttled.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_was_made_and_never_answered_is_found_and_removed() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for throttled in [false, true] {
        for action in [
            "CreateSecurityGroup",
            "RunInstances",
            "CreateImage",
            "RegisterImage",
        ] {
            account.control("clear", json!({})).await;
            if throttled {
                account.fault(action, "lost", json!({})).await;
                let later = json!({"nth": 2, "times": 999});
                account.fault(action, "throttle", later).await;
            } else {
                account.fault(action, "lost", json!({"times": 999})).await;
            }
            let build = Build::with(&account, ", timeouts: {total: 5m}");
            let built = build.run().await.ended(Exit::Failed);
            account.assert_all_hit().await;
            let first = built.said.lines().find(|line| line.contains(action));
            let told = ["got no answer", "RequestLimitExceeded"];
            let told = first.is_some_and(|line| told.iter().any(|t| line.contains(t)));
            assert!(told, "{action}: {}", built.said);
            assert_eq!(
                account.inventory().await,
                before,
                "{action}: {}",
                built.said
            );
        }
    }
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
