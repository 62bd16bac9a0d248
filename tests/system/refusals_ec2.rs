//! A build that EC2 refuses a call tells it, and names what it could not remove.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::json;

use crate::support::account::{CHANGES, MANIFEST, REMOVALS, assert_one_image_more, build};
use crate::support::{Cloud, expect_exit, text};

/// The sweeps below have a case for each: a new call needs one too.
#[test]
fn a_build_changes_the_account_by_the_calls_that_are_swept() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // Nothing is asked twice because it is not known everywhere yet.
    cloud.control("delays", Some(json!({"visible": 0})));
    let output = build(&cloud, 0);
    assert!(text(&output.stdout).starts_with("ami-"));
    assert_one_image_more(&before, &cloud.inventory());
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for call in cloud.calls() {
        *made.entry(call).or_default() += 1;
    }
    made.retain(|call, _| !call.starts_with("Describe") && !call.starts_with("Get"));
    for removal in REMOVALS {
        assert!(made.remove(removal).is_some(), "{removal} was not called");
    }
    let changes: Vec<(&str, usize)> = made.iter().map(|(c, n)| (c.as_str(), *n)).collect();
    assert_eq!(changes, CHANGES);
}

#[test]
fn a_refused_launch_is_told_and_cleaned_up_after() {
    refused(&[
        ("CreateSecurityGroup", 1),
        ("AuthorizeSecurityGroupIngress", 1),
        ("RunInstances", 1),
    ]);
}

#[test]
fn a_refused_capture_is_told_and_cleaned_up_after() {
    refused(&[("StopInstances", 1), ("CreateImage", 1)]);
}

#[test]
fn a_refused_candidate_is_told_and_cleaned_up_after() {
    refused(&[("RunInstances", 2), ("RegisterImage", 1)]);
}

#[test]
fn a_refused_release_is_told_and_cleaned_up_after() {
    refused(&[("CreateTags", 1), ("ModifyImageAttribute", 1)]);
}

fn refused(calls: &[(&str, u32)]) {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (action, nth) in calls {
        cloud.control("clear", Some(json!({})));
        refuse(&cloud, action, *nth);
        let output = build(&cloud, 1);
        assert_told(&cloud, &output, action);
        assert_eq!(text(&output.stdout), "", "{action}");
        assert_eq!(cloud.inventory(), before, "after {action} was refused");
    }
}

fn refuse(cloud: &Cloud, action: &str, nth: u32) {
    let no = json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "times": 99, "nth": nth});
    cloud.fault(action, "error", no);
}

fn assert_told(cloud: &Cloud, output: &Output, action: &str) {
    let faults = cloud.control("faults", None);
    assert!(
        faults[0]["hit"].as_u64().unwrap() > 0,
        "{action} was not reached"
    );
    let stderr = text(&output.stderr);
    let told = format!("{action} was refused in eu-west-1: UnauthorizedOperation");
    assert!(stderr.contains(&told), "{stderr}");
}

#[test]
fn an_instance_that_may_not_be_ended_is_named_with_its_group_and_the_rest_is_gone() {
    let kinds = ["instances", "volumes", "interfaces", "security_groups"];
    stays(&["TerminateInstances"], &kinds, true);
}

#[test]
fn a_candidate_that_may_not_be_deregistered_is_named_and_the_image_is_done() {
    stays(&["DeregisterImage"], &["images"], true);
}

#[test]
fn a_snapshot_that_may_not_be_deleted_is_named_and_the_rest_is_gone() {
    stays(&["RegisterImage", "DeleteSnapshot"], &["snapshots"], false);
}

#[test]
fn a_group_that_may_not_be_deleted_is_named_and_the_image_is_done() {
    stays(&["DeleteSecurityGroup"], &["security_groups"], true);
}

/// What cannot be removed is named with the command that removes it, nothing else is left, and
/// `reap` removes it when it may.
fn stays(refusals: &[&str], kinds: &[&str], image_is_done: bool) {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in refusals {
        refuse(&cloud, action, 1);
    }
    let output = build(&cloud, 3);
    assert_told(&cloud, &output, refusals[0]);
    assert_eq!(text(&output.stdout).starts_with("ami-"), image_is_done);
    let image = text(&output.stdout).trim().to_owned();
    let stderr = text(&output.stderr);
    let named = |id: &str| {
        let mut lines = stderr.lines().filter(|l| l.starts_with("left behind: "));
        lines.any(|line| line.matches(id).count() >= 2) // the thing, and its command
    };
    let mut left = cloud.inventory();
    if image_is_done {
        left.remove("snapshots");
    }
    for (kind, things) in &left {
        let new: Vec<&String> = things
            .iter()
            .filter(|id| !before[kind].contains(id) && **id != image)
            .collect();
        assert_eq!(
            kinds.contains(&kind.as_str()),
            !new.is_empty(),
            "{kind}: {new:?}\n{stderr}"
        );
        // Volumes and interfaces go with their instance.
        if kind != "volumes" && kind != "interfaces" {
            assert!(
                new.iter().all(|id| named(id)),
                "{new:?} is not named\n{stderr}"
            );
        }
    }
    cloud.control("clear", Some(json!({})));
    cloud.control("expire", Some(json!({})));
    expect_exit(&mut cloud.amibake(["reap", "--region", "eu-west-1"]), 0);
    match image_is_done {
        true => assert_one_image_more(&before, &cloud.inventory()),
        false => assert_eq!(cloud.inventory(), before, "reaped"),
    }
}

#[test]
fn a_builder_that_is_kept_can_be_logged_in_to_and_is_named_and_reaped() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let manifest = cloud.manifest(&MANIFEST.replace("sleep 3", "false"));
    let mut command = cloud.amibake(["build", "--on-error", "keep"]);
    let output = expect_exit(command.arg(manifest), 3);
    let stderr = text(&output.stderr);
    let kept = cloud.inventory();
    assert_eq!(kept["instances"].len(), 1);
    for id in [
        &kept["instances"][0],
        kept["security_groups"]
            .iter()
            .find(|g| !before["security_groups"].contains(g))
            .unwrap(),
    ] {
        let named = stderr
            .lines()
            .any(|l| l.starts_with("left behind: ") && l.contains(id.as_str()));
        assert!(named, "{id} is not named\n{stderr}");
    }

    let ssh = stderr
        .lines()
        .find(|l| l.starts_with("ssh "))
        .expect(&stderr);
    let login = format!("{ssh} -o BatchMode=yes sudo cat /var/tmp/busy '&&' whoami");
    let told = Command::new("sh").args(["-c", &login]).output().unwrap();
    assert_eq!(
        text(&told.stdout),
        "ubuntu\n",
        "{login}\n{}",
        text(&told.stderr)
    );

    let start = stderr.find("`amibake reap").expect(&stderr) + "`amibake ".len();
    let reap: Vec<&str> = stderr[start..]
        .split('`')
        .next()
        .unwrap()
        .split(' ')
        .collect();
    expect_exit(&mut cloud.amibake(reap), 0);
    assert_eq!(cloud.inventory(), before);
    let state = cloud.folder().join("state/amibake");
    assert_eq!(
        std::fs::read_dir(state).unwrap().count(),
        0,
        "keys of what is gone"
    );
}
