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
        "for 1 minutes at most: RunInstances was refused in eu-west-1: VcpuLimitExceeded: You have requested",
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
