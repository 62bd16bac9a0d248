//! The wait for the first boot, on machines with a real cloud-init.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Cloud, expect_exit, text};

/// A module fails early, and what the user asked for last takes its time.
const MANIFEST: &str = r#"
name: boot
source: {ubuntu: "24.04"}
builder:
  region: eu-west-1
  instance_type: [t3.small]
  connect: private-ip
  user_data: |
    #cloud-config
    write_files: [{path: /proc/cannot/be, content: made}]
    runcmd: [[sh, -c, "sleep 20; echo done > /etc/first-boot"]]
provision:
  - tasks:
      - name: What the first boot left
        ansible.builtin.command: cat /etc/first-boot
image: {name: "boot-{{ build_time }}"}
"#;

#[test]
fn a_module_that_failed_does_not_end_the_wait_for_what_comes_after_it() {
    let cloud = Cloud::start();
    // The builder alone matters.
    let no = json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "nth": 2});
    cloud.fault("RunInstances", "error", no);
    let manifest = cloud.manifest(MANIFEST);
    let output = expect_exit(cloud.amibake(["build"]).arg(manifest), 1);
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("[WARNING]: cloud-init ended with errors: "),
        "{stderr}"
    );
    assert!(stderr.contains("write-files"), "{stderr}");
    assert!(stderr.contains("RunInstances was refused"), "{stderr}");
    assert!(cloud.calls().contains(&"CreateImage".to_owned()));
}

/// Builds with `more` in `builder:`; returns what is said of the failure.
fn fails(cloud: &Cloud, more: &str) -> String {
    let start = MANIFEST.find("  user_data").unwrap();
    let end = MANIFEST.find("provision:").unwrap();
    let mut manifest = MANIFEST.to_owned();
    manifest.replace_range(start..end, &format!("{more}\n"));
    let manifest = cloud.manifest(&manifest);
    let before = cloud.inventory();
    let since = Instant::now();
    let output = expect_exit(cloud.amibake(["build"]).arg(manifest), 1);
    let stderr = text(&output.stderr);
    assert!(since.elapsed() < Duration::from_mins(2), "{stderr}");
    assert_eq!(cloud.inventory(), before, "{stderr}");
    stderr
}

#[test]
fn a_machine_that_ends_in_its_first_boot_is_told_with_ec2_s_reason() {
    let cloud = Cloud::start();
    let power_off = "  user_data: |\n    #!/bin/sh\n    sleep 4; systemctl poweroff";
    let stderr = fails(&cloud, power_off);
    let error = stderr.lines().find(|line| line.starts_with("error: "));
    let error = error.expect(&stderr);
    assert!(error.starts_with("error: i-"), "{stderr}");
    assert!(
        error.contains("Client.InstanceInitiatedShutdown"),
        "{stderr}"
    );
}

#[test]
fn a_user_whom_the_image_does_not_let_in_is_told_by_the_key_of_the_manifest() {
    let cloud = Cloud::start();
    let stderr = fails(&cloud, "  user: admin");
    assert!(stderr.contains("error: admin@10."), "{stderr}");
    assert!(stderr.contains("name it in builder.user"), "{stderr}");
    assert!(!stderr.contains("--identity"), "{stderr}");
    let stderr = fails(&cloud, "  user: root");
    let said = "Please login as the user \"ubuntu\" rather than the user \"root\"";
    assert!(stderr.contains(said), "{stderr}");
    let hint = "hint: name that user in builder.user";
    assert!(stderr.contains(hint), "{stderr}");
}
