//! Builds in an account whose things are counted: how they end, and what is there afterwards.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Cloud, expect_exit, wait_for};

pub(crate) type Inventory = BTreeMap<String, Vec<String>>;

pub(crate) const MANIFEST: &str = r#"
name: killed
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Take a moment
        ansible.builtin.shell: {cmd: touch /var/tmp/busy; sleep 3}
image: {name: "killed-{{ build_time }}"}
"#;

/// A build under way.
pub(crate) struct Build {
    child: Child,
    stderr: std::path::PathBuf,
}

impl Build {
    pub(crate) fn start(cloud: &Cloud) -> Self {
        Self::of(cloud, MANIFEST)
    }

    pub(crate) fn of(cloud: &Cloud, manifest: &str) -> Self {
        let manifest = cloud.manifest(manifest);
        let stderr = cloud.folder().join("stderr");
        let child = cloud
            .amibake(["build"])
            .arg(manifest)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stderr }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for a state of the account or a machine that the living build leads to.
    pub(crate) fn wait_for(&mut self, what: &str, mut is_true: impl FnMut() -> bool) {
        wait_for(what, Duration::from_mins(5), || {
            assert!(!self.has_ended(), "{what}: it ended\n{}", self.said());
            is_true()
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Kills it without a chance to do anything.
    pub(crate) fn kill(mut self) {
        assert!(!self.has_ended(), "it was over already\n{}", self.said());
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

pub(crate) fn reach(cloud: &Cloud, action: &str) -> Build {
    let mut build = Build::start(cloud);
    build.wait_for(action, || cloud.is_held(action));
    build
}

pub(crate) fn is_busy(cloud: &Cloud) -> bool {
    let machines = cloud.machines();
    let mut roots = machines.values().map(|m| &m["root"]);
    roots.any(|root| std::path::Path::new(root).join("var/tmp/busy").exists())
}

/// What a build may ask of EC2 that changes something, and how often; what removes something is
/// asked as often as it takes.
pub(crate) const CHANGES: [(&str, usize); 8] = [
    ("AuthorizeSecurityGroupIngress", 1),
    ("CreateImage", 1),
    ("CreateSecurityGroup", 1),
    ("CreateTags", 1),
    ("ModifyImageAttribute", 1),
    ("RegisterImage", 1),
    ("RunInstances", 2),
    ("StopInstances", 1),
];
pub(crate) const REMOVALS: [&str; 3] = [
    "DeleteSecurityGroup",
    "DeregisterImage",
    "TerminateInstances",
];

pub(crate) fn build(cloud: &Cloud, code: i32) -> Output {
    let manifest = cloud.manifest(MANIFEST);
    expect_exit(cloud.amibake(["build"]).arg(manifest), code)
}

pub(crate) fn assert_all_hit(cloud: &Cloud) {
    for fault in cloud.control("faults", None).as_array().unwrap() {
        assert!(fault["hit"].as_u64().unwrap() > 0, "not reached: {fault}");
    }
}

pub(crate) fn assert_one_image_more(before: &Inventory, after: &Inventory) {
    for (kind, had) in before {
        let more = usize::from(kind == "images" || kind == "snapshots");
        assert_eq!(
            after[kind].len(),
            had.len() + more,
            "{kind}: {:?}",
            after[kind]
        );
    }
}

/// Lets the time of all runs pass, and reaps by tags alone: the journals are lost.
pub(crate) fn reap_by_tags(cloud: &Cloud) {
    std::fs::remove_dir_all(cloud.folder().join("state/amibake")).unwrap();
    let expired = cloud.control("expire", Some(json!({})));
    assert!(expired.as_u64().unwrap() > 0);
    expect_exit(&mut cloud.amibake(["reap", "--region", "eu-west-1"]), 0);
}
