//! A small build, and what an account holds after one.

use std::collections::BTreeMap;

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
