//! A manifest becomes an AMI, against an EC2 whose instances are real machines.

use crate::support::account::assert_one_image_more;
use crate::support::sealed::{assert_boots_alone, residue};
use crate::support::{Cloud, expect_exit, text};

/// Has the permissions that a build needs, each between backticks.
const PERMISSIONS: &str = include_str!("../../docs/security.md");

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
}
