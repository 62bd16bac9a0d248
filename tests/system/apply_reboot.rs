//! Machines that a playbook reboots: those that are applied to, and builders.

use std::path::{Path, PathBuf};

use crate::support::here::Here;
use crate::support::recording::Recording;
use crate::support::runs::task_differences;
use crate::support::twins::{Carrier, Kept, Twins};
use crate::support::{expect_exit, text};

/// A builder that reboots has its timer, and apt is held: what lives in memory only was made again. The play
/// ends by a failure, since its image is none of the test's business.
const MANIFEST: &str = r"
name: reboots
source: SOURCE
builder: BUILDER
provision:
  - tasks:
      - name: Before
        ansible.builtin.shell: touch /run/only-this-boot; cat /proc/sys/kernel/random/boot_id
        register: before
      - name: Reboot
        ansible.builtin.reboot:
      - name: After
        ansible.builtin.shell: |
          test ! -e /run/only-this-boot || echo it is the same boot
          test $(cat /proc/sys/kernel/random/boot_id) != {{ before.stdout }} || echo it has the same id
          systemctl list-units --plain --no-legend 'amibake-deadman*.timer' | grep -q . || echo it has no timer
          test $(systemctl is-enabled apt-daily.timer) = masked-runtime || echo apt is not held
          systemctl list-units --plain --no-legend 'amibake-r*' | grep -c .
        register: after
      - name: All is well
        ansible.builtin.assert: {that: after.stdout == '1'}
      - name: The end
        ansible.builtin.fail: {msg: as wanted}
image: {name: reboots}
";

fn manifest(source: &str, builder: &str) -> String {
    MANIFEST
        .replace("SOURCE", source)
        .replace("BUILDER", builder)
}

#[test]
fn a_reboot_is_as_ansibles_and_the_play_goes_on() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
    let playbook = here.join("reboot/reboot.yml");
    let paths: Vec<PathBuf> = vec![playbook.clone(), here.join("volatile")];
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let recording = Recording::new("reboot", &[], &paths);
    let found = Twins::compare(&recording, Carrier::Pipelining, Kept::Results, |twins| {
        let (theirs, ours) = twins.play(&playbook, &[]);
        assert!(!theirs.tasks.is_empty(), "Ansible said: {}", theirs.said());
        task_differences(&theirs, &ours)
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_container_is_rebooted_in_the_middle_of_its_build() {
    let here = Here::new();
    let manifest = here.manifest(&manifest("{debian: bookworm}", "{}"));
    let output = expect_exit(&mut here.build(&manifest), 1);
    let said = text(&output.stderr);
    assert!(said.contains("as wanted"), "{said}");
    assert!(here.debts().is_empty(), "the journal goes with the debts");
}

#[cfg(feature = "ec2")]
#[test]
fn a_builder_is_rebooted_in_the_middle_of_its_build() {
    let cloud = crate::support::Cloud::start();
    let builder = "{region: eu-west-1, instance_type: [t3.small], connect: private-ip}";
    let manifest = cloud.manifest(&manifest("{ubuntu: \"24.04\"}", builder));
    let output = expect_exit(cloud.amibake(["build"]).arg(&manifest), 1);
    let said = text(&output.stderr);
    assert!(said.contains("as wanted"), "{said}");
}
