//! Interrupted, a build leaves nothing in the account.

#![cfg(feature = "ec2")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Cloud, wait_for};

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

#[test]
fn interrupted_it_cleans_up_and_exits_130() {
    for signal in ["INT", "TERM", "HUP"] {
        let cloud = Cloud::start();
        let before = cloud.inventory();
        let mut build = start(&cloud);
        wait_for("the builder", Duration::from_mins(1), || {
            cloud.calls().iter().any(|c| c == "RunInstances")
        });
        send(&build, signal);
        let status = build.wait().unwrap();
        assert_eq!(status.code(), Some(130), "after SIG{signal}");
        assert_eq!(cloud.inventory(), before, "after SIG{signal}");
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
