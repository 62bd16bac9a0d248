//! A build goes on where EC2 acts and its answer is lost, and removes what it never heard of.

use serde_json::json;

use crate::support::account::{
    CHANGES, MANIFEST, REMOVALS, assert_all_hit, assert_one_image_more, build,
};
use crate::support::{Cloud, expect_exit, text};

/// EC2 acts, and the connection is closed before its answer: every changing call once.
#[test]
fn when_every_answer_is_lost_once_the_build_goes_on() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (action, times) in CHANGES {
        for nth in 1..=times {
            // The call that follows a lost answer is the same again.
            cloud.fault(action, "drop", json!({"nth": nth}));
        }
    }
    for action in REMOVALS {
        cloud.fault(action, "drop", json!({}));
    }
    let output = build(&cloud, 0);
    assert!(text(&output.stdout).starts_with("ami-"));
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
}

#[test]
fn what_was_made_and_never_answered_is_found_and_removed() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let slower = json!({"code": "RequestLimitExceeded", "message": "slower", "status": 503, "times": 99, "nth": 2});
    let expired = json!({"code": "ExpiredToken", "message": "too late", "status": 400, "times": 99, "nth": 2});
    // A call is made again until the whole bake's time is nearly over.
    for (action, told, total) in [
        ("CreateSecurityGroup", "got no answer", "45s"),
        ("RunInstances", "RequestLimitExceeded", "45s"),
        ("RunInstances", "ExpiredToken", "2h"),
        ("CreateImage", "RequestLimitExceeded", "90s"),
        ("CreateImage", "ExpiredToken", "2h"),
        ("RegisterImage", "got no answer", "2m"),
    ] {
        cloud.control("clear", Some(json!({})));
        // The first try is done; the last is refused, or is not answered either.
        match told {
            "got no answer" => cloud.fault(action, "drop", json!({"times": 99})),
            "ExpiredToken" => {
                cloud.fault(action, "drop", json!({}));
                cloud.fault(action, "error", expired.clone());
            }
            _ => {
                cloud.fault(action, "drop", json!({}));
                cloud.fault(action, "error", slower.clone());
            }
        }
        let timeouts = format!("connect: private-ip, timeouts: {{total: {total}}}");
        let manifest = cloud.manifest(&MANIFEST.replace("connect: private-ip", &timeouts));
        let output = expect_exit(cloud.amibake(["build"]).arg(manifest), 1);
        assert_all_hit(&cloud);
        let stderr = text(&output.stderr);
        let first = stderr.lines().find(|line| line.contains(action));
        assert!(first.is_some_and(|line| line.contains(told)), "{stderr}");
        assert_eq!(text(&output.stdout), "", "{action}");
        assert_eq!(cloud.inventory(), before, "after {action} was not answered");
    }
}

/// These are made once each, when all the work is done.
#[test]
fn throttled_for_longer_than_the_sdk_tries_a_tested_image_is_not_given_up() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in ["StopInstances", "CreateTags", "DescribeSnapshots"] {
        let slower =
            json!({"code": "RequestLimitExceeded", "message": "slower", "status": 503, "times": 8});
        cloud.fault(action, "error", slower);
    }
    build(&cloud, 0);
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
}

#[test]
fn throttled_it_goes_on() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let often = ["DescribeInstances", "DescribeImages", "DescribeSubnets"];
    for action in CHANGES
        .map(|(action, _)| action)
        .iter()
        .chain(&REMOVALS)
        .chain(&often)
    {
        let slower =
            json!({"code": "RequestLimitExceeded", "message": "slower", "status": 503, "times": 2});
        cloud.fault(action, "error", slower);
    }
    build(&cloud, 0);
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
}
