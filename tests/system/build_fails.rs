//! Builds that fail say why, where and what is left, and leave nothing.

use crate::support::Cloud;
use crate::support::running::Built;

const MANIFEST: &str = r#"
name: fails
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
image: {name: "fails-{{ build_time }}"}
"#;

/// Builds, and insists that the account is as before.
fn fails(cloud: &Cloud, rest: &str, code: i32) -> Built {
    let before = cloud.inventory();
    let built = cloud
        .start_build(&format!("{MANIFEST}{rest}"))
        .wait()
        .ended(code);
    let said = &built.stderr;
    assert_eq!(built.stdout, "", "nothing was made");
    assert!(
        said.contains("left behind: nothing (everything temporary is gone)"),
        "{said}"
    );
    assert_eq!(cloud.inventory(), before, "{said}");
    assert!(!cloud.calls().contains(&"RegisterImage".to_owned()));
    built
}

/// The lines from `error:` on.
fn error(built: &Built) -> Vec<&str> {
    let lines = built.stderr.lines();
    lines.skip_while(|l| !l.starts_with("error:")).collect()
}

#[test]
fn a_failed_task_is_named_with_its_machine_its_place_and_its_last_words() {
    let cloud = Cloud::start();
    let provision = r#"
provision:
  - tasks:
      - name: This works
        ansible.builtin.command: {cmd: "true"}
      - name: Check the configuration
        ansible.builtin.shell: "echo 'line 12: Bad configuration option: Foo' >&2; exit 255"
"#;
    let built = fails(&cloud, provision, 1);
    let manifest = cloud.folder().join("manifest.yaml");
    let error = error(&built);
    let first = error[0];
    assert!(
        first.contains(" `Check the configuration` failed on i-")
            && first.ends_with(&format!("({}:11)", manifest.display())),
        "{first}"
    );
    assert_eq!(
        error[1],
        "  caused by: exit status 255: line 12: Bad configuration option: Foo"
    );
    assert!(error[2].starts_with("hint: `--on-error keep`"), "{error:?}");
    assert!(error[3].contains("/failed/"), "{error:?}");
    assert_eq!(error.len(), 5, "{error:?}");
}

#[test]
fn an_image_that_fails_its_test_is_not_published() {
    let cloud = Cloud::start();
    let tests = r#"
provision: []
test:
  - command: {run: "echo it is broken >&2; exit 3", status: 0}
"#;
    let built = fails(&cloud, tests, 4);
    let error = error(&built);
    assert!(
        error[0].starts_with("error: the candidate failed test 1 of 1 on i-")
            && error[0].contains(": `echo it is broken >&2; exit 3` ends with 0 (")
            && error[0].ends_with("/manifest.yaml:9)"),
        "{error:?}"
    );
    assert_eq!(
        error[1], "  caused by: exit status 3: it is broken",
        "{error:?}"
    );
    assert!(cloud.calls().contains(&"CreateImage".to_owned()));
}

/// A unit of the image that puts a key back, after sealing has taken every key there was.
#[test]
fn an_image_that_lets_somebody_in_again_fails_its_gate() {
    let cloud = Cloud::start();
    let provision = r#"
provision:
  - tasks:
      - ansible.builtin.copy:
          dest: /etc/systemd/system/back-door.service
          mode: "0644"
          content: |
            [Service]
            Type=oneshot
            ExecStart=/bin/sh -c 'mkdir -p /root/.ssh; echo ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ > /root/.ssh/authorized_keys'
            [Install]
            WantedBy=multi-user.target
      - ansible.builtin.systemd_service: {name: back-door, enabled: true, daemon_reload: true}
"#;
    let built = fails(&cloud, provision, 4);
    let first = error(&built)[0];
    assert_eq!(
        first,
        "error: the image failed its gate: authorized-keys: /root/.ssh/authorized_keys:1: a key that is not this machine's own"
    );
}

/// What sealing cannot remove is found by its own last look: no image is made at all.
#[test]
fn a_host_key_that_would_not_go_fails_the_gate_before_there_is_an_image() {
    let cloud = Cloud::start();
    let provision = r"
provision:
  - tasks:
      - name: Keep a host key and a login key whatever comes
        ansible.builtin.shell: |
          set -e
          for file in /etc/ssh/ssh_host_ecdsa_key /root/.ssh/authorized_keys2; do
            mkdir -p $(dirname $file); echo kept > $file; mount --bind $file $file
          done
";
    let built = fails(&cloud, provision, 4);
    let error = error(&built);
    let kept = ["/etc/ssh/ssh_host_ecdsa_key", "/root/.ssh/authorized_keys2"];
    assert_eq!(error[0], "error: the image failed its gate in 2 places:");
    for (line, file) in error[1..].iter().zip(kept) {
        let told = format!("builder-residue: {file} is still there after sealing");
        assert_eq!(line.trim(), told, "{error:?}");
    }
    assert!(!cloud.calls().contains(&"CreateImage".to_owned()));
}
