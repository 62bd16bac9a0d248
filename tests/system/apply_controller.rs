//! What a playbook takes from the controller over SSH, and what it leaves there, beside real Ansible; then, on the
//! same machine, what an inventory and a terminal say, and where secrets do not get.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::inventory::IgnoreList;
use crate::support::recording::Recording;
use crate::support::runs::status_differences;
use crate::support::twins::{Carrier, Kept, Twins};
use crate::support::{Plain, amibake, expect_exit, on_terminal, text};

#[test]
fn what_the_controller_has_and_gets_is_as_with_ansible() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
    let paths = ["controller", "volatile", "ignore", "days"].map(|name| here.join(name));
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let recording = Recording::new("controller", &[], &paths);
    let found = Twins::compare(&recording, Carrier::Pipelining, Kept::Ends, |twins| {
        let folder = twins.folder().join("controller");
        let copied = Command::new("cp")
            .args(["-r", &here.join("controller").display().to_string()])
            .arg(&folder)
            .status();
        assert!(copied.unwrap().success());
        let (theirs, ours) = twins.play(&folder.join("site.yml"), &[]);
        assert!(!theirs.tasks.is_empty(), "Ansible said: {}", theirs.said());
        let mut found = status_differences(&theirs, &ours);
        found.extend(twins.differences(&IgnoreList::reviewed()));
        if found.is_empty() {
            hosts_know_of_each_other(&twins.ours);
            a_terminal_is_asked(&twins.ours);
            secrets_stay_where_they_are_meant(&twins.ours);
        }
        found
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

const HOSTVARS: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ inventory_hostname }}: {{ hostvars.one.color }} {{ hostvars['two']['color'] }} {{ groups.db }}\n"
        dest: "/tmp/hostvars-{{ inventory_hostname }}"
        mode: "0644"
"#;

/// Two names of one machine; `--limit @FILE` takes one of them.
fn hosts_know_of_each_other(plain: &Plain) {
    let at = plain.folder();
    let address = &plain.address;
    let inventory = format!(
        "[web]\none ansible_host={address} color=green\n[db]\ntwo ansible_host={address} color='{{{{ mixed }}}}'\n\
         [all:vars]\nansible_user=ubuntu\nmixed=blue\n"
    );
    std::fs::write(at.join("hosts"), inventory).unwrap();
    std::fs::write(at.join("play.yml"), HOSTVARS).unwrap();
    std::fs::write(at.join("again"), "two\n").unwrap();
    let mut apply = amibake(at, ["apply", "play.yml", "-i", "hosts", "-l", "@again"]);
    apply.arg("--identity").arg(plain.key());
    let output = expect_exit(apply.args(["--host-key", &plain.host_key()]), 0);
    let said = text(&output.stdout);
    assert!(said.contains("two ") && !said.contains("one  "), "{said}");
    let written = plain.ssh("cat /tmp/hostvars-*");
    assert_eq!(text(&written.stdout), "two: green blue ['two']\n");
}

const PROMPTS: &str = r#"
- hosts: all
  gather_facts: false
  vars_prompt:
    - {name: shown, prompt: What is shown, private: false, default: nothing}
    - {name: hidden, prompt: What is hidden, confirm: true}
    - {name: hashed, prompt: What is hashed, encrypt: sha512_crypt, salt: saltsalt}
  tasks:
    - ansible.builtin.copy:
        content: "{{ shown }} {{ hidden | length }} {{ hashed == ('pw' | password_hash('sha512', 'saltsalt')) }}\n"
        dest: /tmp/prompted
        mode: "0644"
      diff: false
"#;

fn a_terminal_is_asked(plain: &Plain) {
    let mut apply = plain.apply(PROMPTS);
    apply.args(["--host-key", &plain.host_key()]);
    let answers = [
        ["What is shown [nothing]: ", ""],
        ["What is hidden: ", "canary-typed"],
        ["confirm What is hidden: ", "canary-typed"],
        ["What is hashed: ", "pw"],
    ];
    let output = expect_exit(&mut on_terminal(&apply, &answers), 0);
    let said = text(&output.stdout);
    assert!(!said.contains("canary-typed"), "{said}");
    assert_eq!(plain.read("tmp/prompted"), "nothing 12 True\n");
}

const SECRETS: &str = r#"
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - name: A secret on the machine
      ansible.builtin.copy: {content: "{{ canary }}", dest: /root/secret, mode: "0600"}
      no_log: true
    - name: It comes back
      ansible.builtin.fetch: {src: /root/secret, dest: fetched}
    - name: A password of the controller's
      ansible.builtin.command: {cmd: "echo {{ lookup('ansible.builtin.password', 'passwords/web', length=30) }}"}
      no_log: true
    - name: A job that says it
      ansible.builtin.shell: echo {{ canary }}; echo {{ canary }} >&2
      async: 60
      poll: 0
      no_log: true
      register: job
    - name: A job with a secret parameter
      ansible.builtin.uri: {url: "http://127.0.0.1:9/{{ canary }}", url_username: me, url_password: "{{ canary }}"}
      async: 60
      poll: 0
      register: request
    - name: Its result is censored as a task's is
      ansible.builtin.async_status: {jid: "{{ request.ansible_job_id }}"}
      register: requested
      until: requested is finished
      retries: 60
      delay: 1
      ignore_errors: true
    - name: It was made, and failed
      ansible.builtin.assert: {that: requested is failed and requested.finished and 'refused' in requested.msg | lower}
    - name: What the first one said
      ansible.builtin.async_status: {jid: "{{ job.ansible_job_id }}"}
      no_log: true
      register: ended
      until: ended is finished
      retries: 60
      delay: 1
    - name: It was there for the play
      ansible.builtin.assert: {that: canary in ended.stdout, quiet: true}
      no_log: true
    - name: Both go
      ansible.builtin.async_status: {jid: "{{ item }}", mode: cleanup}
      loop: ["{{ job.ansible_job_id }}", "{{ request.ansible_job_id }}"]
    - name: What fails with it
      ansible.builtin.fetch: {src: "/root/{{ canary }}", dest: fetched}
      no_log: true
      ignore_errors: true
    - name: Nothing but the file is left
      ansible.builtin.shell: grep -rlsF "$CANARY" /etc /root /home /run /tmp /var /dev/shm | grep -vx /root/secret
      environment: {CANARY: "{{ canary }}"}
      register: left
      failed_when: left.rc == 0
"#;

fn secrets_stay_where_they_are_meant(plain: &Plain) {
    let canary = "canary-8d20b7";
    let mut apply = plain.apply(SECRETS);
    let host_key = plain.host_key();
    apply.args(["--host-key", &host_key, "--json", "-vvv", "--diff", "-e"]);
    let output = expect_exit(apply.arg(format!("canary={canary}")), 0);
    let fetched = plain
        .folder()
        .join(format!("fetched/{}/root/secret", plain.address));
    assert_eq!(std::fs::read_to_string(fetched).unwrap(), canary);
    let password = std::fs::read_to_string(plain.folder().join("passwords/web")).unwrap();
    let password = password.trim();
    assert_eq!(password.len(), 30);
    for said in [&output.stdout, &output.stderr] {
        let said = text(said);
        assert!(!said.contains(canary), "{said}");
        assert!(!said.contains(password), "{said}");
    }
}
