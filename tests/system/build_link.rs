//! The link to the builder, in whole builds: whom it trusts, and what it survives.

use std::time::Duration;

use serde_json::json;

use crate::support::{Cloud, text, wait_for};

/// Each task leaves a line on the disk, the first before it waits for a while.
const MANIFEST: &str = r#"
name: link
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Before
        ansible.builtin.shell: echo before >> /etc/ran; sleep 8; echo slept >> /etc/ran
      - name: After
        ansible.builtin.shell: echo after >> /etc/ran
image: {name: "link-{{ build_time }}"}
"#;

#[test]
fn a_builder_with_another_host_key_is_refused_before_anything_runs_on_it() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.control("ways", Some(json!({"given_host_keys": false})));
    // Held, so that the machine can be looked at as the build left it.
    cloud.fault("TerminateInstances", "hold-before", json!({"seconds": 600}));
    let mut running = cloud.start_build(MANIFEST);
    cloud.wait_until_held("TerminateInstances");

    let builder = cloud.only_machine();
    let journal = cloud.inside(&builder, "journalctl --no-pager");
    let journal = text(&journal.stdout);
    assert!(journal.contains("sshd"), "a journal was read:\n{journal}");
    assert!(
        !journal.contains("Accepted "),
        "somebody logged in:\n{journal}"
    );
    let left = cloud.inside(&builder, "ls -d /etc/ran /var/lib/amibake /run/amibake");
    assert_eq!(text(&left.stdout), "", "it was provisioned");

    cloud.control("release", None);
    let built = running.wait().ended(1);
    let said = built.stderr;
    assert_eq!(built.stdout, "");
    assert!(said.contains("error: the host key of 10.78."), "{said}");
    assert!(said.contains(": another machine answers there"), "{said}");
    assert!(said.contains("hint: nothing was sent to it"), "{said}");
    assert!(said.contains("left behind: nothing"), "{said}");
    assert_eq!(cloud.inventory(), before, "{said}");
}

#[test]
fn a_build_goes_on_through_a_cut_link_and_each_task_runs_once() {
    let cloud = Cloud::start();
    let mut running = cloud.start_build(MANIFEST);
    let mut ran = None;
    wait_for("the first task", Duration::from_mins(4), || {
        ran = cloud
            .machines()
            .into_iter()
            .find(|(_, m)| std::path::Path::new(&m["root"]).join("etc/ran").exists());
        ran.is_some()
    });
    let (builder, machine) = ran.unwrap();
    cloud.cut(&builder, true);
    // The login's own server processes go too: what the network brings back is no old session.
    let killed = cloud.inside(&builder, "pkill -KILL -u ubuntu sshd");
    assert!(killed.status.success(), "there was a session to kill");
    let ran = std::path::Path::new(&machine["root"]).join("etc/ran");
    wait_for(
        "the task's end, with nobody listening",
        Duration::from_mins(1),
        || std::fs::read_to_string(&ran).unwrap().contains("slept"),
    );
    cloud.cut(&builder, false);

    running.wait().ended(0);
    let snapshots = &cloud.inventory()["snapshots"];
    let ran = cloud.root_of(&snapshots[0]).join("etc/ran");
    assert_eq!(
        std::fs::read_to_string(ran).unwrap(),
        "before\nslept\nafter\n"
    );
}
