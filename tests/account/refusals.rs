//! A build that EC2 refuses a call tells it, and names what it could not remove.

use serde_json::json;

use super::build::{Build, Built};
use super::child::amibake;
use super::server::{Account, REGION, assert_one_image_more};
use crate::exit::Exit;

/// Which call is refused, from which on.
const CHANGES: [(&str, u32); 6] = [
    ("CreateSecurityGroup", 1),
    ("AuthorizeSecurityGroupIngress", 1),
    ("RunInstances", 1),
    ("StopInstances", 1),
    ("CreateImage", 1),
    ("RunInstances", 2),
];

/// The same of what comes when the image has passed.
const PUBLISHING: [(&str, u32); 3] = [
    ("RegisterImage", 1),
    ("CreateTags", 1),
    ("ModifyImageAttribute", 1),
];

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_refused_call_is_told_by_its_name_and_cleaned_up_after() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for (action, nth) in CHANGES {
        account.control("clear", json!({})).await;
        account.deny(action, nth).await;
        // A candidate that cannot be launched is no fault of the image.
        let built = Build::of(&account).run().await.ended(Exit::Failed);
        assert_told(&account, &built, action).await;
        assert_eq!(
            account.inventory().await,
            before,
            "{action}: {}",
            built.said
        );
    }
}

/// What has passed is not thrown away: it is named, and stays until it expires.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_refused_call_of_a_publication_keeps_the_image_for_a_while() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for (action, nth) in PUBLISHING {
        account.deny(action, nth).await;
        let built = Build::of(&account).run().await.ended(Exit::LeftBehind);
        assert_told(&account, &built, action).await;
        let left = account.inventory().await;
        let [image] = &left["images"][..] else {
            panic!("{action}: {left:?}");
        };
        let named = built.left_behind();
        let goes_on = format!("amibake resume --region {REGION} {image} ");
        let is_it =
            |(what, with): &(&str, &str)| what.contains(image) && with.starts_with(&goes_on);
        assert!(named.iter().any(is_it), "{action}: {named:?}");
        account.control("clear", json!({})).await;
        account.control("expire", json!({})).await;
        amibake(&account, &["reap", "--region", REGION], 0).await;
        assert_eq!(
            account.inventory().await,
            before,
            "{action}: {}",
            built.said
        );
    }
}

async fn assert_told(account: &Account, built: &Built, action: &str) {
    account.assert_all_hit().await;
    let told = format!("{action} was refused in {REGION}: UnauthorizedOperation");
    assert!(built.said.contains(&told), "{}", built.said);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_instance_that_may_not_be_ended_is_named_with_its_group_and_the_rest_is_gone() {
    let kinds = ["instances", "volumes", "interfaces", "security_groups"];
    stays(&[("TerminateInstances", 1)], &kinds, true).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_candidate_that_may_not_be_deregistered_is_named_and_the_image_is_done() {
    stays(&[("DeregisterImage", 1)], &["images"], true).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_snapshot_that_may_not_be_deleted_is_named_and_the_rest_is_gone() {
    let refusals = [("RunInstances", 2), ("DeleteSnapshot", 1)];
    stays(&refusals, &["snapshots"], false).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_group_that_may_not_be_deleted_is_named_and_the_image_is_done() {
    stays(&[("DeleteSecurityGroup", 1)], &["security_groups"], true).await;
}

/// What cannot be removed is named with the command that removes it, nothing else is left, and
/// `reap` removes it when it may.
async fn stays(refusals: &[(&str, u32)], kinds: &[&str], image_is_done: bool) {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    for (action, nth) in refusals {
        account.deny(action, *nth).await;
    }
    let built = Build::of(&account).run().await.ended(Exit::LeftBehind);
    assert_told(&account, &built, refusals[0].0).await;
    assert_eq!(built.image.is_some(), image_is_done);
    let image = built.image.as_ref().map(|image| image.id.clone());
    let named = |id: &str| {
        let mut left = built.left_behind().into_iter();
        left.any(|(what, remedy)| what.contains(id) && remedy.contains(id))
    };
    let mut left = account.inventory().await;
    if image_is_done {
        left.remove("snapshots");
    }
    for (kind, things) in &left {
        let new = things.iter().filter(|id| !before[kind].contains(id));
        let new: Vec<&String> = new.filter(|id| Some(*id) != image.as_ref()).collect();
        let stays = kinds.contains(&kind.as_str());
        assert_eq!(stays, !new.is_empty(), "{kind}: {new:?}\n{}", built.said);
        // Volumes and interfaces go with their instance.
        if kind != "volumes" && kind != "interfaces" {
            let all_named = new.iter().all(|id| named(id));
            assert!(all_named, "{new:?} is not named\n{}", built.said);
        }
    }
    account.control("clear", json!({})).await;
    account.control("expire", json!({})).await;
    amibake(&account, &["reap", "--region", REGION], 0).await;
    match image_is_done {
        true => assert_one_image_more(&before, &account.inventory().await),
        false => assert_eq!(account.inventory().await, before, "reaped"),
    }
}
