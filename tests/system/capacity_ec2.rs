//! A build that EC2 has no room for: what it waits for, where it asks, and what it says.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::support::account::{Build, MANIFEST, assert_all_hit, assert_one_image_more, build};
use crate::support::{Cloud, expect_exit, text};

/// EC2's answer where the account's machines have all the processors they may have.
fn fill_quota(cloud: &Cloud, nth: u32, times: u32) {
    let message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.";
    let full = json!({"code": "VcpuLimitExceeded", "message": message, "status": 400, "nth": nth, "times": times});
    cloud.fault("RunInstances", "error", full);
}

/// What was asked of RunInstances, call by call.
fn launches(cloud: &Cloud) -> Vec<Json> {
    let calls = cloud.control("calls", None);
    let calls = calls.as_array().unwrap().iter();
    calls
        .filter(|c| c["action"] == "RunInstances")
        .map(|c| c["params"].clone())
        .collect()
}

const QUOTA: &str = "the account's quota has no room for t3.small";

/// The subnet of each call of RunInstances.
fn tried(cloud: &Cloud) -> Vec<String> {
    let subnet = |c: &Json| {
        c["NetworkInterface.1.SubnetId"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    launches(cloud).iter().map(subnet).collect()
}

fn offer_in(cloud: &Cloud, zones: &[&str]) {
    let offer = json!({"instance_type": "t3.small", "zones": zones});
    cloud.control("offer", Some(offer));
}

fn forbid(cloud: &Cloud, action: &str, nth: u32) {
    let no = json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "nth": nth, "times": 99});
    cloud.fault(action, "error", no);
}

#[test]
fn a_type_is_asked_for_where_it_is_offered_and_nowhere_else() {
    let cloud = Cloud::start();
    // The first launch ends the build: where it was tried is all that is looked at.
    forbid(&cloud, "RunInstances", 1);
    for zone in ["eu-west-1b", "eu-west-1c"] {
        offer_in(&cloud, &[zone]);
        build(&cloud, 1);
    }
    let places = tried(&cloud);
    assert_eq!(places.len(), 2, "one call for each build");
    assert_ne!(places[0], places[1]);
}

#[test]
fn where_it_may_not_ask_what_is_offered_the_launch_tells() {
    let cloud = Cloud::start();
    offer_in(&cloud, &["eu-west-1c"]);
    forbid(&cloud, "DescribeInstanceTypeOfferings", 1);
    forbid(&cloud, "RunInstances", 3); // in the third zone, which would do it
    let stderr = text(&build(&cloud, 1).stderr);
    assert_all_hit(&cloud);
    let mut places = tried(&cloud);
    places.dedup();
    assert_eq!(places.len(), 3, "{places:?}");
    assert!(stderr.contains("no t3.small in subnet-"), "{stderr}");
    assert!(stderr.contains("(Unsupported)"), "{stderr}");
}

#[test]
fn a_subnet_without_capacity_is_asked_once_and_the_candidate_begins_where_there_is_some() {
    let cloud = Cloud::start();
    // As EC2 says it: like a failure of its own, which is worth asking again.
    let none = json!({"code": "InsufficientInstanceCapacity", "message": "none", "status": 500, "times": 2});
    cloud.fault("RunInstances", "error", none);
    build(&cloud, 0);
    assert_all_hit(&cloud);
    let places = tried(&cloud);
    let [first, second, builder, candidate] = places.as_slice() else {
        panic!("{places:?}");
    };
    assert!(first != second && second != builder, "{places:?}");
    assert_eq!(builder, candidate);
}

#[test]
fn a_type_that_no_subnet_s_zone_offers_is_an_error_before_anything_is_made() {
    let cloud = Cloud::start();
    for (zones, told) in [
        (&[][..], "no zone of eu-west-1 offers t3.small"),
        (&["eu-west-1d"], "t3.small is offered in eu-west-1d"),
    ] {
        offer_in(&cloud, zones);
        let stderr = text(&build(&cloud, 2).stderr);
        let message =
            "error: no subnet in eu-west-1 for the builder is in a zone that offers t3.small\n";
        assert!(stderr.contains(message), "{stderr}");
        let hint = format!(
            "hint: {told}: name another type in builder.instance_type, or a subnet in builder.subnet\n"
        );
        assert!(stderr.contains(&hint), "{hint}\n{stderr}");
    }
    let calls = cloud.calls();
    let made = calls
        .iter()
        .find(|c| !c.starts_with("Describe") && !c.starts_with("Get"));
    assert_eq!(made, None);
}

#[test]
fn a_full_quota_is_waited_for_by_the_builder_and_by_the_candidate() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    fill_quota(&cloud, 1, 1);
    fill_quota(&cloud, 2, 1); // the builder is the second call, the candidate the third
    let output = build(&cloud, 0);
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
    assert_eq!(text(&output.stderr).matches(QUOTA).count(), 2);

    let asked = launches(&cloud);
    assert_eq!(asked.len(), 4);
    let calls = cloud.calls();
    let offers = calls
        .iter()
        .filter(|c| *c == "DescribeInstanceTypeOfferings");
    assert_eq!(
        offers.count(),
        1,
        "the candidate goes by the builder's answer"
    );
    for (refused, done) in [(0, 1), (2, 3)] {
        for same in ["InstanceType", "NetworkInterface.1.SubnetId", "UserData"] {
            assert!(asked[refused][same].is_string(), "{:?}", asked[refused]);
            assert_eq!(asked[refused][same], asked[done][same], "{same}");
        }
        // EC2 may have kept the refusal as the answer to its token.
        assert_ne!(asked[refused]["ClientToken"], asked[done]["ClientToken"]);
    }
}

#[test]
fn a_quota_that_stays_full_ends_the_build_before_its_time_is_up_and_is_named() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    fill_quota(&cloud, 1, 99);
    let timeouts = "connect: private-ip, timeouts: {total: 60s}";
    let manifest = cloud.manifest(&MANIFEST.replace("connect: private-ip", timeouts));
    let output = expect_exit(cloud.amibake(["build"]).arg(manifest), 1);
    let stderr = text(&output.stderr);
    for said in [
        "for up to 1 min: RunInstances was refused in eu-west-1: VcpuLimitExceeded: You have requested",
        "error: the account's quota had no room for t3.small within ",
        "hint: ask for a higher quota in Service Quotas",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
    assert_eq!(stderr.matches(QUOTA).count(), 1, "{stderr}");
    assert!(launches(&cloud).len() > 1, "it asked again");
    assert_eq!(cloud.inventory(), before);
}

#[test]
fn interrupted_while_it_waits_for_the_quota_it_cleans_up_at_once() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    fill_quota(&cloud, 1, 99);
    let mut build = Build::start(&cloud);
    let stderr = cloud.folder().join("stderr");
    build.wait_for("the quota", || {
        std::fs::read_to_string(&stderr).unwrap().contains(QUOTA)
    });
    let since = Instant::now();
    build.signal("INT");
    assert_eq!(build.end().code(), Some(130), "{}", build.said());
    let took = since.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}: it waited on");
    assert_eq!(launches(&cloud).len(), 1);
    assert_eq!(cloud.inventory(), before);
}
