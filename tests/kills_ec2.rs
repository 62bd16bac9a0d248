//! Whatever dies when, nothing stays in the account.

#![cfg(feature = "ec2")]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use support::{Cloud, expect_exit, text, wait_for};

const MANIFEST: &str = r#"
name: killed
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Take a moment
        ansible.builtin.command: {cmd: sleep 3}
image: {name: "killed-{{ build_time }}"}
"#;

/// Calls whose answer is on its way when the process is killed, in the order of a build; `nth` of
/// that call from the start.
const PLACES: [(&str, u32); 12] = [
    ("GetParameter", 1),
    ("CreateSecurityGroup", 1),
    ("AuthorizeSecurityGroupIngress", 1),
    ("RunInstances", 1),
    ("DescribeInstances", 2),
    ("StopInstances", 1),
    ("CreateImage", 1),
    ("DescribeImages", 3),
    ("RunInstances", 2),
    ("RegisterImage", 1),
    ("DeregisterImage", 1),
    ("TerminateInstances", 1),
];

#[test]
fn killed_anywhere_reap_leaves_the_account_as_it_was() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (action, nth) in PLACES {
        cloud.control("clear", Some(json!({})));
        cloud.fault(action, "hold", json!({"nth": nth, "seconds": 600}));
        let mut build = start(&cloud);
        cloud.wait_until_held(action);
        build.kill().unwrap();
        build.wait().unwrap();
        cloud.control("clear", Some(json!({})));
        reap(&cloud);
        // After RegisterImage nothing but the tag `released` is missing: it is an orphan as well.
        wait_for(
            &format!("the account as before, killed at {action} {nth}"),
            Duration::from_secs(60),
            || {
                let now = cloud.inventory();
                if now != before {
                    reap(&cloud);
                }
                now == before
            },
        );
    }
}

#[test]
fn killed_while_the_builder_is_stopped_reap_takes_it() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // The answer to CreateImage never comes: the builder is stopped by then.
    cloud.fault("CreateImage", "hold-before", json!({"seconds": 600}));
    let mut build = start(&cloud);
    cloud.wait_until_held("CreateImage");
    build.kill().unwrap();
    build.wait().unwrap();
    cloud.control("clear", Some(json!({})));
    wait_for("the account as before", Duration::from_secs(90), || {
        reap(&cloud);
        cloud.inventory() == before
    });
}

#[test]
fn interrupted_it_cleans_up_and_exits_130() {
    for signal in ["INT", "TERM", "HUP"] {
        let cloud = Cloud::start();
        let before = cloud.inventory();
        let mut build = start(&cloud);
        wait_for("the builder", Duration::from_secs(60), || {
            cloud.calls().iter().any(|c| c == "RunInstances")
        });
        send(&build, signal);
        let status = build.wait().unwrap();
        assert_eq!(status.code(), Some(130), "after SIG{signal}");
        assert_eq!(cloud.inventory(), before, "after SIG{signal}");
    }
}

#[test]
fn cancelled_as_github_actions_does_at_most_the_group_is_left_for_reap() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // An interface that lingers keeps the group for longer than the ten seconds.
    cloud.control("delays", Some(json!({"interface": 20})));
    let mut build = start(&cloud);
    wait_for("a running builder", Duration::from_secs(60), || {
        !cloud.machines().is_empty()
    });
    send(&build, "INT");
    std::thread::sleep(Duration::from_millis(2000));
    let calls = cloud.calls();
    assert!(
        calls.iter().any(|c| c == "TerminateInstances"),
        "within 2 s: {calls:?}"
    );
    std::thread::sleep(Duration::from_millis(5500));
    send(&build, "TERM");
    std::thread::sleep(Duration::from_millis(2500));
    let _ = build.kill(); // it may have ended by itself
    build.wait().unwrap();
    let left = cloud.inventory();
    for (kind, things) in &left {
        assert!(
            kind == "security_groups"
                || kind == "interfaces"
                || kind == "instances"
                || things == &before[kind],
            "{kind}: {things:?}"
        );
    }
    wait_for("the account as before", Duration::from_secs(60), || {
        reap(&cloud);
        cloud.inventory() == before
    });
}

#[test]
fn every_refused_call_is_told_and_cleaned_up_after() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in [
        "CreateSecurityGroup",
        "RunInstances",
        "CreateImage",
        "RegisterImage",
    ] {
        cloud.control("clear", Some(json!({})));
        cloud.fault(
            action,
            "error",
            json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "times": 5}),
        );
        let manifest = cloud.manifest(MANIFEST);
        let output = expect_exit(cloud.amibake(["build"]).arg(&manifest), 1);
        let stderr = text(&output.stderr);
        assert!(
            stderr.contains(action) && stderr.contains("UnauthorizedOperation"),
            "{stderr}"
        );
        assert_eq!(text(&output.stdout), "");
        assert_eq!(cloud.inventory(), before, "after {action} was refused");
    }
}

fn start(cloud: &Cloud) -> Child {
    let manifest = cloud.manifest(MANIFEST);
    let mut command = cloud.amibake(["build"]);
    command
        .arg(manifest)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Pays every run's debts, expired or not: the killed run is the only one of this account.
fn reap(cloud: &Cloud) {
    for run in runs(cloud) {
        expect_exit(
            &mut cloud.amibake(["reap", "--region", "eu-west-1", "--run", &run]),
            0,
        );
    }
}

/// Returns the runs that the account's calls name, by their client tokens and tags.
fn runs(cloud: &Cloud) -> Vec<String> {
    let journals = std::fs::read_dir(cloud.folder().join("state/amibake"))
        .into_iter()
        .flatten()
        .flatten();
    journals
        .filter_map(|entry| {
            entry
                .file_name()
                .into_string()
                .ok()?
                .strip_suffix(".journal")
                .map(str::to_owned)
        })
        .collect()
}
