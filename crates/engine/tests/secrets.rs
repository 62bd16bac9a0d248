//! What `no_log` hides is in no event: names, labels, messages, warnings, diffs, failures, output.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;
use amibake_protocol::mask::Mask;

const SECRET: &str = "hunter2-canary";

/// Keeps every event as it would leave.
#[derive(Default)]
struct Wire(Vec<String>);

impl Controller for Wire {
    fn event(&mut self, event: Event) {
        self.0.push(serde_json::to_string(&event).unwrap());
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Refused {
            reason: format!("{ask:?}"),
        }
    }
}

/// Runs a play of these tasks and returns what left.
fn leaving(play: &str, secrets: Mask) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yml");
    let text = format!("- hosts: all\n  gather_facts: false\n  vars: {{secret: {SECRET}}}\n{play}");
    std::fs::write(&path, text).unwrap();
    let files = Disk::here();
    let project = Project::playbook(&files, path);
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        diff: true,
        secrets,
        ..Options::default()
    };
    let mut wire = Wire::default();
    exec::run(&project, &options, &mut wire);
    wire.0
}

/// Tasks that tell the secret in every way there is.
const TASKS: &[&str] = &[
    "name: 'uses {{ secret }}'\n      debug: {msg: a}",
    "name: 'fails with {{ secret }} and {{ nothing }}'\n      debug: {msg: a}",
    "debug: {msg: '{{ secret }}'}",
    "debug: {var: secret}",
    "command: 'echo {{ secret }}'",
    "shell: 'echo {{ secret }} >&2; exit 3'",
    "command: '/no/such/{{ secret }}'",
    "fail: {msg: '{{ secret }}'}",
    "assert: {that: secret == 'x', fail_msg: '{{ secret }}'}",
    "debug: {msg: '{{ secret.nothing.here }}'}",
    "debug: {msg: \"{{ [secret] | first | int('x') + secret }}\"}",
    "debug: {msg: a}\n      when: \"{{ secret }}\"",
    "debug: {msg: a}\n      when: secret",
    "debug: {msg: a}\n      failed_when: secret ~ 'x'",
    "debug: {msg: a}\n      when: (secret | from_json) == 1",
    "debug: {msg: a}\n      loop: ['{{ secret }}', b]",
    "debug: {msg: a}\n      loop: '{{ secret }}'",
    "debug: {msg: a}\n      with_sequence: 'count={{ secret }}'",
    "debug: {msg: a}\n      loop: [1]\n      loop_control: {label: '{{ secret }}'}",
    "debug: {msg: a}\n      loop: [1]\n      loop_control: {label: '{{ secret.nothing }}'}",
    "command: 'false'\n      environment: {A: '{{ secret.nothing }}'}",
    "command: sleep 60\n      timeout: '{{ secret }}'",
    "command: 'true'\n      changed_when: true\n      notify: '{{ secret }}'",
    "command: 'true'\n      become: '{{ secret }}'",
    "command: 'true'\n      become: true\n      become_user: '{{ secret }}'",
    "command: 'true'\n      delegate_to: '{{ secret }}'",
    "copy: {content: '{{ secret }}', dest: '{{ playbook_dir }}/copied'}",
    "lineinfile: {path: '{{ playbook_dir }}/site.yml', line: '# {{ secret }}'}",
    "set_fact: {other: '{{ secret }}'}",
    "set_fact: {'{{ secret }}': 1}",
    "include_vars: '{{ secret }}.yml'",
    "include_tasks: '{{ secret }}.yml'",
    "include_role: {name: '{{ secret }}'}",
    "meta: '{{ secret }}'",
    "meta: noop\n      when: secret.nothing",
    "debug: {msg: a}\n      tags: '{{ secret.nothing }}'",
    "import_tasks: '{{ secret }}.yml'",
    "import_role: {name: '{{ secret }}'}",
    "user: {name: '{{ secret }}', uid: '{{ secret }}'}",
    "command: 'false'\n      until: secret == 1\n      retries: 1\n      delay: 0",
];

#[test]
fn options_of_a_mount_are_hidden_where_they_are_said_to_be_a_secret() {
    let shown = |hides: bool| {
        let args = "{path: /srv/x, src: //h/x, fstype: cifs, state: present";
        let play = format!(
            "  tasks:\n    - ansible.posix.mount: {args}, opts: 'password={{{{ secret }}}}', \
             fstab: '{{{{ playbook_dir }}}}/fstab', opts_no_log: {hides}}}\n"
        );
        let events = leaving(&play, Mask::default());
        assert!(
            events.iter().any(|event| event.contains("backup_file")),
            "{events:?}"
        );
        events.iter().any(|event| event.contains(SECRET))
    };
    assert!(shown(false));
    assert!(!shown(true));
}

#[test]
fn what_no_log_hides_is_in_no_event() {
    for task in TASKS {
        for play in [
            format!("  tasks:\n    - {task}\n      no_log: true\n"),
            format!(
                "  tasks:\n    - no_log: true\n      block:\n        - {}\n",
                task.replace("\n      ", "\n          ")
            ),
            format!("  no_log: true\n  tasks:\n    - {task}\n"),
        ] {
            let left = leaving(&play, Mask::default());
            let told = left.iter().find(|event| event.contains(SECRET));
            assert_eq!(told, None, "{play}");
            assert!(left.last().unwrap().contains("finished"), "{left:?}");
        }
    }
}

#[test]
fn a_secret_of_the_author_is_in_no_event() {
    for task in TASKS {
        let play = format!("  name: 'with {{{{ secret }}}}'\n  tasks:\n    - {task}\n");
        let left = leaving(&play, Mask::from_iter([SECRET]));
        let told = left.iter().find(|event| event.contains(SECRET));
        assert_eq!(told, None, "{play}");
        assert!(left.last().unwrap().contains("finished"), "{left:?}");
    }
}

#[test]
fn without_no_log_it_is_all_told() {
    let play = "  tasks:\n    - name: 'uses {{ secret }}'\n      debug: {msg: '{{ secret }}'}\n";
    let left = leaving(play, Mask::default());
    let told = left.iter().filter(|event| event.contains(SECRET)).count();
    assert_eq!(told, 2);
}

#[test]
fn a_play_under_no_log_is_called_as_written() {
    let left = leaving(
        "  name: 'for {{ secret }}'\n  no_log: true\n  tasks: []\n",
        Mask::default(),
    );
    assert!(left[0].contains("for {{ secret }}"), "{}", left[0]);
}
