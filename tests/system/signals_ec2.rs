//! An interrupted build cleans up after itself, as far as it is let.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::account::{Build, is_busy, reach, reap_by_tags};
use crate::support::{Cloud, wait_for};

#[test]
fn interrupted_it_cleans_up_and_exits_130() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for signal in ["INT", "TERM", "HUP"] {
        cloud.control("clear", Some(json!({})));
        let mut build = Build::start(&cloud);
        build.wait_for("the builder", || {
            cloud.calls().iter().any(|c| c == "RunInstances")
        });
        build.signal(signal);
        assert_eq!(
            build.end().code(),
            Some(130),
            "SIG{signal}\n{}",
            build.said()
        );
        assert_eq!(cloud.inventory(), before, "after SIG{signal}");
    }
}

/// EC2 has the call, and acts only when nobody waits for the answer any more: it makes the group,
/// which is then deleted; it refuses to start the builder in a group that is gone.
#[test]
fn interrupted_between_a_call_and_its_answer_it_hears_the_answer() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in ["CreateSecurityGroup", "RunInstances"] {
        cloud.control("clear", Some(json!({})));
        cloud.fault(action, "hold-before", json!({"seconds": 600}));
        let mut build = reach(&cloud, action);
        build.signal("INT");
        std::thread::sleep(Duration::from_secs(5));
        assert!(!build.has_ended(), "an answer is owed\n{}", build.said());
        let since = Instant::now();
        cloud.control("release", Some(json!({})));
        assert_eq!(build.end().code(), Some(130), "{}", build.said());
        let took = since.elapsed();
        assert!(
            took < Duration::from_secs(40),
            "{took:?}: it need not look for what it knows"
        );
        let deleted = cloud.calls().iter().any(|c| c == "DeleteSecurityGroup");
        assert!(deleted, "{action}: {:?}", cloud.calls());
        assert_eq!(cloud.inventory(), before, "{action}");
    }
}

#[test]
fn cancelled_as_github_actions_does_at_most_the_group_is_left_for_reap() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // An interface that lingers keeps the group for longer than the ten seconds.
    cloud.control("delays", Some(json!({"interface": 20, "image": 120})));
    let mut build = Build::start(&cloud);
    build.wait_for("a pending image", || {
        !cloud.inventory()["snapshots"].is_empty()
    });
    let calls = cloud.calls().len();
    build.signal("INT");
    std::thread::sleep(Duration::from_secs(2));
    let after_two = cloud.calls().split_off(calls);
    for call in [
        "TerminateInstances",
        "DeregisterImage",
        "DeleteSnapshot",
        "DeleteSecurityGroup",
    ] {
        assert!(
            after_two.iter().any(|c| c == call),
            "{call} within 2 s: {after_two:?}"
        );
    }
    std::thread::sleep(Duration::from_millis(5500));
    build.signal("TERM");
    std::thread::sleep(Duration::from_millis(2500));
    build.kill();
    let left = cloud.inventory();
    for (kind, things) in &left {
        assert!(
            kind == "security_groups" || *things == before[kind],
            "{kind}: {things:?}"
        );
    }
    assert_eq!(
        left["security_groups"].len(),
        before["security_groups"].len() + 1
    );
    reap_by_tags(&cloud);
    assert_eq!(cloud.inventory(), before);
}

#[test]
fn a_second_signal_of_the_same_kind_aborts_and_one_of_another_kind_does_not() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.control("delays", Some(json!({"interface": 600})));
    let mut build = Build::start(&cloud);
    build.wait_for("the task", || is_busy(&cloud));
    build.signal("INT");
    build.wait_for("the group's turn", || {
        cloud.calls().iter().any(|c| c == "DeleteSecurityGroup")
    });
    build.signal("TERM");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!build.has_ended(), "{}", build.said());
    build.signal("INT");
    wait_for("its end", Duration::from_secs(10), || build.has_ended());
    assert_eq!(build.end().code(), Some(130), "{}", build.said());
    let group = cloud.inventory()["security_groups"]
        .iter()
        .find(|id| !before["security_groups"].contains(id))
        .cloned()
        .unwrap();
    let remedy = format!("aws ec2 delete-security-group --region eu-west-1 --group-id {group}");
    let said = build.said();
    let named =
        format!("left behind: security group {group} in eu-west-1 (remove it with `{remedy}`)");
    assert!(said.contains(&named), "{said}");
}
