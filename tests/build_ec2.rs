//! A manifest becomes an AMI, against an EC2 whose instances are real machines.

#![cfg(feature = "ec2")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Cloud, expect_exit, text, wait_for};

const MANIFEST: &str = r#"
name: small
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Leave a mark
        ansible.builtin.copy: {content: "baked\n", dest: /etc/mark, mode: "0644"}
test:
  - command: {run: "cat /etc/mark", contains: baked}
image: {name: "small-{{ build_time }}"}
"#;

/// Everything in a sealed root that must not be there, by path.
const ABSENT: [&str; 8] = [
    "root/.ssh/authorized_keys",
    "home/ubuntu/.ssh/authorized_keys",
    "var/lib/amibake",
    "run/amibake",
    "var/lib/cloud/instance",
    "var/lib/cloud/instances",
    "etc/ssh/ssh_host_ed25519_key",
    "var/lib/systemd/random-seed",
];

#[test]
fn a_manifest_becomes_one_image_and_nothing_else() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let manifest = cloud.manifest(MANIFEST);
    let output = expect_exit(cloud.amibake(["build"]).arg(&manifest), 0);

    let stdout = text(&output.stdout);
    let image = stdout.trim_end_matches('\n');
    assert!(
        image.starts_with("ami-") && !image.contains('\n'),
        "stdout: {stdout:?}"
    );

    let after = cloud.inventory();
    for (kind, had) in &before {
        let more = usize::from(kind == "images" || kind == "snapshots");
        assert_eq!(
            after[kind].len(),
            had.len() + more,
            "{kind}: {:?}",
            after[kind]
        );
    }
    assert_eq!(after["images"], [image]);

    let root = cloud.root_of(&after["snapshots"][0]);
    assert_eq!(
        std::fs::read_to_string(root.join("etc/mark")).unwrap(),
        "baked\n"
    );
    assert_sealed(&root);
    assert_boots_alone(&root);
}

/// Looks into the image's disk, offline.
fn assert_sealed(root: &Path) {
    for path in ABSENT {
        assert!(
            root.join(path).symlink_metadata().is_err(),
            "{path} is in the image"
        );
    }
    let machine_id = std::fs::read(root.join("etc/machine-id")).unwrap();
    assert!(machine_id.is_empty(), "machine-id: {machine_id:?}");
    let found = Command::new("grep")
        .args(["-rIl", "amibake"])
        .arg(root.join("etc"))
        .arg(root.join("var/log"))
        .arg(root.join("root"))
        .output()
        .unwrap();
    assert_eq!(text(&found.stdout), "", "files that speak of amibake");
}

/// Boots a copy of the disk without any user data, and sees it make itself new host keys.
fn assert_boots_alone(root: &Path) {
    let copy = tempfile::tempdir().unwrap();
    let disk = copy.path().join("root");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(root)
        .arg(&disk)
        .status()
        .unwrap();
    assert!(copied.success());
    let mut machine = Command::new("systemd-nspawn")
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--private-network",
            "--console=pipe",
        ])
        .arg("--directory")
        .arg(&disk)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("new host keys", Duration::from_secs(240), || {
        disk.join("etc/ssh/ssh_host_ed25519_key").exists()
    });
    assert!(machine.try_wait().unwrap().is_none(), "it is up");
    Command::new("kill")
        .args(["-TERM", &machine.id().to_string()])
        .status()
        .unwrap();
    machine.wait().unwrap();
}
