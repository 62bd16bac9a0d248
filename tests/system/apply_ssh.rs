//! A playbook is applied over SSH to a machine that is real.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Plain, expect_exit, text, wait_for};

const PLAY: &str = r#"
- hosts: all
  become: true
  tasks:
    - name: Write
      ansible.builtin.copy: {content: "hello\n", dest: /etc/amibake-test, mode: "0640"}
    - name: Another user
      ansible.builtin.command: id -un
      become: true
      become_user: daemon
      register: who
      check_mode: false
      changed_when: false
    - name: It is that user
      ansible.builtin.assert: {that: who.stdout == 'daemon'}
    - name: The same by su
      ansible.builtin.shell: echo "$(id -un) ${SUDO_USER-nobody} $LOGNAME"
      become_user: daemon
      become_method: su
      register: who
      check_mode: false
      changed_when: false
    - name: It has another environment
      ansible.builtin.assert: {that: who.stdout == 'daemon nobody daemon'}
    - name: The same as the one who logs in
      ansible.builtin.command: id -un
      become: false
      remote_user: daemon
      register: who
      check_mode: false
      changed_when: false
    - name: It is that user too
      ansible.builtin.assert: {that: who.stdout == 'daemon'}
    - name: Facts are those of whoever asks
      ansible.builtin.setup: {gather_subset: ["!all", "!min", user, env, local], fact_path: /etc/amibake-facts}
      become_user: daemon
      check_mode: false
      register: facts
    - name: They are that user's
      ansible.builtin.assert:
        that:
          - facts.ansible_facts.ansible_user_id == 'daemon'
          - facts.ansible_facts.ansible_env.USER == 'daemon'
          - facts.ansible_facts.ansible_local.who == 'daemon'
    - name: What takes too long is ended, whoever runs it
      ansible.builtin.shell: sleep 6543 & wait
      become_user: daemon
      timeout: 5
      register: slow
      check_mode: false
      changed_when: false
      ignore_errors: true
    - name: It is told as Ansible tells it
      ansible.builtin.assert: {that: ["'Timed out after 5' in slow.msg", slow is timedout]}
    - name: Nothing of it is left
      ansible.builtin.shell: for p in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$p; echo; done | grep "sleep 654[3]"
      register: left
      check_mode: false
      changed_when: false
      failed_when: left.rc == 0
"#;

const FAILS: &str = r#"
- hosts: all
  tasks:
    - name: Fail
      ansible.builtin.fail: {msg: "as wanted"}
"#;

/// The second task begins after the link was cut; each leaves a line.
const ACROSS_A_CUT: &str = r"
- hosts: all
  become: true
  tasks:
    - name: Before
      ansible.builtin.shell: echo before >> /root/ran; sleep 4
    - name: After
      ansible.builtin.shell: echo after >> /root/ran
";

const SECRETS: &str = r#"
- hosts: all
  become: true
  tasks:
    - name: Hidden
      ansible.builtin.shell: "echo {{ canary }}"
      no_log: true
    - name: Hidden in a loop
      ansible.builtin.command: "echo {{ item }}"
      loop: ["{{ canary }}"]
      no_log: true
"#;

#[test]
fn a_second_apply_changes_nothing_and_check_changes_nothing_at_all() {
    let plain = Plain::start();
    let file = plain.root.join("etc/amibake-test");
    let facts = plain.root.join("etc/amibake-facts");
    std::fs::create_dir(&facts).unwrap();
    std::fs::write(
        facts.join("who.fact"),
        "#!/bin/sh\necho \"\\\"$(id -un)\\\"\"\n",
    )
    .unwrap();
    std::fs::set_permissions(facts.join("who.fact"), PermissionsExt::from_mode(0o755)).unwrap();
    let key = plain.host_key();
    let checked = expect_exit(plain.apply(PLAY).args(["--host-key", &key, "--check"]), 0);
    assert!(
        text(&checked.stdout).contains("changed=1"),
        "{}",
        text(&checked.stdout)
    );
    assert!(!file.exists());

    let first = expect_exit(plain.apply(PLAY).args(["--host-key", &key]), 0);
    assert!(
        text(&first.stdout).contains("ok=13   changed=1"),
        "{}",
        text(&first.stdout)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello\n");

    let second = expect_exit(plain.apply(PLAY).args(["--host-key", &key]), 0);
    assert!(
        text(&second.stdout).contains("ok=13   changed=0"),
        "{}",
        text(&second.stdout)
    );

    let failed = expect_exit(plain.apply(FAILS).args(["--host-key", &key]), 1);
    assert!(
        text(&failed.stdout).contains("as wanted"),
        "{}",
        text(&failed.stdout)
    );
}

#[test]
fn a_machine_with_another_host_key_gets_no_login() {
    let plain = Plain::start();
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let refused = expect_exit(plain.apply(PLAY).args(["--host-key", other]), 1);
    assert!(
        text(&refused.stdout).contains("UNREACHABLE"),
        "{}",
        text(&refused.stdout)
    );
    assert!(!plain.root.join("etc/amibake-test").exists());
}

#[test]
fn a_run_goes_on_through_a_cut_link_and_each_task_runs_once() {
    let plain = Plain::start();
    let key = plain.host_key();
    let mut apply = plain.apply(ACROSS_A_CUT);
    let running = apply
        .args(["--host-key", &key])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = plain.root.join("root/ran");
    wait_for("the first task", Duration::from_mins(1), || ran.exists());
    // The login's own server process goes, as a rebooted router would have it.
    plain.ssh("sudo pkill -KILL -u ubuntu sshd");
    let output = running.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("changed=2"), "{said}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "before\nafter\n");
}

#[test]
fn a_secret_is_in_no_event() {
    let plain = Plain::start();
    let key = plain.host_key();
    let canary = "canary-7f3a91";
    let mut apply = plain.apply(SECRETS);
    apply.args(["--host-key", &key, "--json", "-vvv", "-e"]);
    let output = expect_exit(apply.arg(format!("canary={canary}")), 0);
    assert!(text(&output.stdout).contains("task-finished"));
    for said in [&output.stdout, &output.stderr] {
        assert!(!text(said).contains(canary), "{}", text(said));
    }
    let runs = plain.root.join("run/amibake");
    let left = std::fs::read_dir(runs).map_or(0, Iterator::count);
    assert_eq!(left, 0, "folders of runs that are over");
}
