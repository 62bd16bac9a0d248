//! A manifest becomes an AMI, against an EC2 whose instances are real machines.

use std::path::Path;

use serde_json::json;

use crate::support::account::assert_one_image_more;
use crate::support::sealed::{assert_boots_alone, residue};
use crate::support::{Cloud, expect_exit, text};

/// Has the permissions that a build needs, each between backticks.
const PERMISSIONS: &str = include_str!("../../docs/security.md");

const MANIFEST: &str = r#"
name: marked
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Leave a mark
        ansible.builtin.copy: {content: "baked\n", dest: /etc/mark, mode: "0644"}
test:
  - command: {run: "cat /etc/mark", contains: baked}
image: {name: "marked-{{ build_time }}"}
"#;

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
    assert_one_image_more(&before, &after);
    assert_eq!(after["images"], [image]);

    for call in cloud.calls() {
        let named = PERMISSIONS.contains(&format!(":{call}`"))
            || PERMISSIONS.contains(&format!("`{call}`"));
        assert!(named, "{call} is no permission of docs/security.md");
    }

    let root = cloud.root_of(&after["snapshots"][0]);
    assert_eq!(
        std::fs::read_to_string(root.join("etc/mark")).unwrap(),
        "baked\n"
    );
    assert_eq!(residue(&root), [""; 0]);
    assert_boots_alone(&root);
    assert_stdout_is_for_ids(&cloud, &manifest, &stdout);
}

/// PEERS2026 2.2 row 32: `amibake build … > id` has an id a line and nothing else, or nothing and a status
/// that says so. The image of `manifest` is there: no machine is started.
fn assert_stdout_is_for_ids(cloud: &Cloud, manifest: &Path, id: &str) {
    let again = expect_exit(cloud.amibake(["build"]).arg(manifest), 0);
    assert_eq!(text(&again.stdout), id);

    let other = cloud.folder().join("other.yaml");
    std::fs::write(&other, MANIFEST.replace("marked", "other")).unwrap();
    let denied = json!({"times": 99});
    cloud.fault("RunInstances", "denied", denied);
    let failed = expect_exit(cloud.amibake(["build"]).arg(&other), 1);
    assert_eq!(text(&failed.stdout), "");
    let both = expect_exit(
        cloud.amibake(["build"]).args([manifest, other.as_path()]),
        1,
    );
    assert_eq!(text(&both.stdout), id);

    cloud.control("clear", Some(json!({})));
    let hold = json!({"seconds": 600});
    cloud.fault("CreateSecurityGroup", "hold-before", hold);
    let mut cancelled = cloud.run(cloud.amibake(["build"]).arg(&other));
    cloud.wait_until_held("CreateSecurityGroup");
    cancelled.interrupt();
    cloud.control("release", Some(json!({})));
    assert_eq!(cancelled.wait().ended(130).stdout, "");
}
