//! The wait for the first boot, on machines with a real cloud-init.

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
