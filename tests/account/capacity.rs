//! A build that EC2 has no room for: what it waits for, where it asks, and what it says.

use std::collections::BTreeMap;

use serde_json::json;

use super::build::Build;
use super::server::{Account, REGION, assert_one_image_more};
use crate::exit::Exit;

/// EC2's answer where the account's machines have all the processors they may have.
async fn fill_quota(account: &Account, nth: u32, times: u32) {
    let message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.";
    let full = json!({"code": "VcpuLimitExceeded", "message": message, "status": 400, "nth": nth, "times": times});
    account.fault("RunInstances", "error", full).await;
}

/// What was asked of RunInstances, call by call.
async fn launches(account: &Account) -> Vec<BTreeMap<String, String>> {
    let calls = account.calls().await.into_iter();
    calls
        .filter(|call| call.action == "RunInstances")
        .map(|call| call.params)
        .collect()
}

const QUOTA: &str = "the account's quota has no room for t3.small";

const SUBNET: &str = "NetworkInterface.1.SubnetId";

/// The subnet of each call of RunInstances.
async fn tried(account: &Account) -> Vec<String> {
    let launches = launches(account).await;
    launches.iter().map(|call| call[SUBNET].clone()).collect()
}

async fn offer_in(account: &Account, zones: &[&str]) {
    let offer = json!({"instance_type": "t3.small", "zones": zones});
    account.control("offer", offer).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_type_is_asked_for_where_it_is_offered_and_nowhere_else() {
    let _pace = super::fast();
    let account = Account::open().await;
    // The first launch ends the build: where it was tried is all that is looked at.
    account.deny("RunInstances", 1).await;
    for zone in ["eu-west-1b", "eu-west-1c"] {
        offer_in(&account, &[zone]).await;
        Build::of(&account).run().await.ended(Exit::Failed);
    }
    let places = tried(&account).await;
    assert_eq!(places.len(), 2, "one call for each build");
    assert_ne!(places[0], places[1]);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_it_may_not_ask_what_is_offered_the_launch_tells() {
    let _pace = super::fast();
    let account = Account::open().await;
    offer_in(&account, &["eu-west-1c"]).await;
    account.deny("DescribeInstanceTypeOfferings", 1).await;
    account.deny("RunInstances", 3).await; // in the third zone, which would do it
    let said = Build::of(&account).run().await.ended(Exit::Failed).said;
    account.assert_all_hit().await;
    let mut places = tried(&account).await;
    places.dedup();
    assert_eq!(places.len(), 3, "{places:?}");
    assert!(said.contains("no t3.small in subnet-"), "{said}");
    assert!(said.contains("(Unsupported)"), "{said}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_subnet_without_capacity_is_asked_once_and_the_candidate_begins_where_there_is_some() {
    let _pace = super::fast();
    let account = Account::open().await;
    // As EC2 says it: like a failure of its own, which is worth asking again.
    let none = json!({"code": "InsufficientInstanceCapacity", "status": 500, "times": 2});
    account.fault("RunInstances", "error", none).await;
    Build::of(&account).run().await.ended(Exit::Done);
    account.assert_all_hit().await;
    let places = tried(&account).await;
    let [first, second, builder, candidate] = places.as_slice() else {
        panic!("{places:?}");
    };
    assert!(first != second && second != builder, "{places:?}");
    assert_eq!(builder, candidate);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_type_that_no_subnet_s_zone_offers_is_an_error_before_anything_is_made() {
    let _pace = super::fast();
    let account = Account::open().await;
    for (zones, told) in [
        (&[][..], "no zone of eu-west-1 offers t3.small"),
        (&["eu-west-1d"], "t3.small is offered in eu-west-1d"),
    ] {
        offer_in(&account, zones).await;
        let said = Build::of(&account).run().await.ended(Exit::Usage).said;
        let message = format!(
            "error: no subnet in {REGION} for the builder is in a zone that offers t3.small\n"
        );
        assert!(said.contains(&message), "{said}");
        let hint = format!(
            "hint: {told}: name another type in builder.instance_type, or a subnet in builder.subnet\n"
        );
        assert!(said.contains(&hint), "{hint}\n{said}");
    }
    let actions = account.actions().await;
    let looks = |action: &str| action.starts_with("Describe") || action.starts_with("Get");
    assert_eq!(actions.iter().find(|action| !looks(action)), None);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_full_quota_is_waited_for_by_the_builder_and_by_the_candidate() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    fill_quota(&account, 1, 1).await;
    fill_quota(&account, 2, 1).await; // the builder is the second call, the candidate the third
    let said = Build::of(&account).run().await.ended(Exit::Done).said;
    account.assert_all_hit().await;
    assert_one_image_more(&before, &account.inventory().await);
    assert_eq!(said.matches(QUOTA).count(), 2, "{said}");

    let asked = launches(&account).await;
    assert_eq!(asked.len(), 4);
    let actions = account.actions().await.into_iter();
    let offers = actions.filter(|a| a == "DescribeInstanceTypeOfferings");
    assert_eq!(
        offers.count(),
        1,
        "the candidate goes by the builder's answer"
    );
    for (refused, done) in [(0, 1), (2, 3)] {
        for same in ["InstanceType", SUBNET, "UserData"] {
            assert_eq!(asked[refused][same], asked[done][same], "{same}");
        }
        // EC2 may have kept the refusal as the answer to its token.
        assert_ne!(asked[refused]["ClientToken"], asked[done]["ClientToken"]);
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_quota_that_stays_full_ends_the_build_before_its_time_is_up_and_is_named() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    fill_quota(&account, 1, 99).await;
    let build = Build::with(&account, ", timeouts: {total: 6m}");
    let said = build.run().await.ended(Exit::Failed).said;
    for told in [
        "which is asked for again for up to ",
        " min: RunInstances was refused in eu-west-1: VcpuLimitExceeded: You have requested",
        "error: the account's quota had no room for t3.small within ",
        "hint: ask for a higher quota in Service Quotas",
    ] {
        assert!(said.contains(told), "{told}\n{said}");
    }
    assert_eq!(said.matches(QUOTA).count(), 1, "{said}");
    assert!(launches(&account).await.len() > 1, "it asked again");
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_while_it_waits_for_the_quota_it_cleans_up_at_once() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    fill_quota(&account, 1, 99).await;
    let build = Build::of(&account);
    let interrupting = async {
        let told = async || build.said().contains(QUOTA);
        account.wait_until("the quota", told).await;
        build.interrupt.cancel.cancel();
    };
    let (built, ()) = tokio::join!(build.run(), interrupting);
    built.ended(Exit::Interrupted);
    assert_eq!(launches(&account).await.len(), 1, "it asked again");
    assert_eq!(account.inventory().await, before);
}
