//! The options that choose tasks choose those that real Ansible chooses, on twin machines, and
//! `--list-tasks` and `--list-tags` print what it prints.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::inventory::IgnoreList;
use crate::support::recording::Recording;
use crate::support::runs::Run;
use crate::support::twins::{Carrier, Kept, Twins};
use crate::support::{amibake, expect_exit, needed, text};

const FILES: &[(&str, &str)] = &[
    (
        "site.yml",
        "
- name: First
  hosts: all
  become: true
  gather_facts: false
  tags: [site]
  vars: {x: 1}
  pre_tasks:
    - name: Before
      ansible.builtin.debug: {msg: before}
      tags: always
  roles:
    - app
    - {role: base, tags: [late]}
  tasks:
    - name: One
      ansible.builtin.copy: {content: 'one {{ n | default(1) }}', dest: /etc/one, mode: '0644'}
      tags: [one, alpha]
      notify: Told
    - debug: {msg: without a name}
    - name: Block
      tags: blocky
      block:
        - name: In {{ x }}
          ansible.builtin.debug: {msg: in a block}
        - ansible.builtin.include_tasks: included.yml
          tags: inc
        - ansible.builtin.import_tasks: imported.yml
          tags: imp
        - name: A block in a block
          block:
            - name: Fails
              ansible.builtin.command: 'false'
              changed_when: false
              tags: fails
      rescue:
        - name: Rescue
          ansible.builtin.debug: {msg: rescued}
      always:
        - name: Always part
          ansible.builtin.debug: {msg: at last}
          tags: never
    - name: Role at run time
      ansible.builtin.include_role: {name: base}
    - name: Role by import
      ansible.builtin.import_role: {name: base}
      tags: st
    - ansible.builtin.meta: flush_handlers
    - name: Never
      ansible.builtin.copy: {content: never, dest: /etc/never, mode: '0644'}
      tags: [never, rare]
    - name: Never and always
      ansible.builtin.debug: {msg: always wins}
      tags: [never, always]
  post_tasks:
    - name: After
      ansible.builtin.debug: {msg: after}
  handlers:
    - name: Told
      ansible.builtin.copy: {content: 'told {{ n | default(1) }}', dest: /etc/told, mode: '0644'}
- hosts: [all, '!db']
  become: true
  gather_facts: false
  tasks:
    - name: Second play
      ansible.builtin.command: touch /etc/second
      args: {creates: /etc/second}
      tags: two
    - name: Without tags
      ansible.builtin.debug: {msg: none}
- ansible.builtin.import_playbook: other.yml
  tags: pb
",
    ),
    (
        "other.yml",
        "
- name: Other
  hosts: all
  gather_facts: false
  tasks:
    - name: Of the other
      ansible.builtin.debug: {msg: other}
      tags: o
",
    ),
    (
        "included.yml",
        "- name: Included\n  ansible.builtin.debug: {msg: included}\n",
    ),
    (
        "imported.yml",
        "
- name: Imported
  ansible.builtin.debug: {msg: imported}
- name: Imported too
  ansible.builtin.debug: {msg: imported too}
  tags: deep
",
    ),
    (
        "roles/app/tasks/main.yml",
        "
- name: Role task
  ansible.builtin.debug: {msg: of the role}
  tags: rt
- ansible.builtin.debug: {msg: without a name}
",
    ),
    ("roles/app/meta/main.yml", "dependencies: [{role: base}]\n"),
    (
        "roles/base/tasks/main.yml",
        "- name: Base task\n  ansible.builtin.debug: {msg: base}\n",
    ),
];

/// Writes the playbook and what it reaches, and returns where it is.
fn project(folder: &Path) -> PathBuf {
    for (name, content) in FILES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder.join("site.yml")
}

/// What ran, and how it ended. That a block rescued it, Ansible tells in the recap alone.
fn tasks(run: &Run) -> Vec<(&str, &str)> {
    let tasks = run.tasks.iter().map(|task| match &*task.status {
        "rescued" => (&*task.name, "failed"),
        status => (&*task.name, status),
    });
    tasks.collect()
}

/// What the recorded answers depend on beside the options, which stand beside them.
fn texts() -> Vec<&'static str> {
    FILES
        .iter()
        .flat_map(|(name, content)| [*name, content])
        .collect()
}

#[test]
fn tags_and_the_first_task_choose_what_ansible_chooses() {
    let recording = Recording::new("options", &texts(), &[]);
    let found = Twins::compare(&recording, Carrier::Mitogen, Kept::Ends, chosen_otherwise);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn chosen_otherwise(twins: &mut Twins) -> Vec<String> {
    let site = project(twins.folder());
    let ignored = IgnoreList::reviewed();
    twins.prepare("true"); // the first `sudo` leaves a file
    let mut found = Vec::new();
    // How many tasks run is written down, lest both run none.
    for (options, ran) in [
        (&["-t", "rt,imp", "-D"][..], 5),
        (&["-t", "alpha", "-t", "two", "--skip-tags", "rt"], 5),
        (&["--skip-tags", "site"], 3),
        (&["--skip-tags", "always,blocky", "-C"], 13),
        (&["-t", "all,rare", "--skip-tags", "inc,fails"], 19),
        (&["-t", "tagged"], 21),
        (&["-t", "untagged,deep"], 4),
        (&["-t", "fails"], 2),
        (&["--start-at-task", "One", "-e", "n=2", "-C", "-D"], 17),
        (&["--start-at-task", "Imported*", "-e", "n=3", "-D"], 12),
    ] {
        let (theirs, ours) = twins.play(&site, options);
        let (theirs, ours) = (tasks(&theirs), tasks(&ours));
        if theirs != ours {
            found.push(format!(
                "{options:?}:\n  ours:   {ours:?}\n  theirs: {theirs:?}"
            ));
        }
        if theirs.len() != ran {
            found.push(format!("{options:?}: not {ran} tasks: {theirs:?}"));
        }
        let differ = twins.differences(&ignored).into_iter();
        found.extend(differ.map(|line| format!("{options:?}: {line}")));
    }
    found
}

#[test]
fn tasks_and_tags_are_listed_as_ansible_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let found =
        Recording::new("lists", &texts(), &[]).differences(|recorded: Option<Vec<Listed>>| {
            let theirs = recorded.unwrap_or_else(|| {
                let lists = LISTS.iter();
                lists
                    .map(|options| listed_by_ansible(folder.path(), options))
                    .collect()
            });
            let ours = LISTS.iter().map(|options| {
                let mut apply = amibake(folder.path(), ["apply", "site.yml"]);
                listed(options, apply.args(*options))
            });
            let ours: Vec<Listed> = ours.collect();
            let pairs = ours
                .iter()
                .zip(&theirs)
                .filter(|(ours, theirs)| ours != theirs);
            let mut found: Vec<String> = pairs.map(|pair| format!("{pair:#?}")).collect();
            if ours.len() != theirs.len() {
                found.push(format!("{} lists, not {}", ours.len(), theirs.len()));
            }
            (found, theirs)
        });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

const LISTS: &[&[&str]] = &[
    &["--list-tasks"],
    &["--list-tags"],
    &["--list-tasks", "--list-tags"],
    &["--list-tasks", "-t", "one"],
    &["--list-tags", "-t", "one"],
    &["--list-tasks", "--tags", "rt,imp"],
    &["--list-tasks", "--skip-tags", "site"],
    &["--list-tasks", "--skip-tags", "always,blocky"],
    &["--list-tasks", "-t", "never"],
    &["--list-tasks", "-t", "all,rare"],
    &["--list-tasks", "-t", "untagged"],
    &["--list-tasks", "-t", "nobody-has-this"],
];

/// Options and the lines that are printed for them.
type Listed = (String, Vec<String>);

fn listed_by_ansible(folder: &Path, options: &[&str]) -> Listed {
    let python = PathBuf::from(needed("AMIBAKE_TEST_PYTHON"));
    let mut ansible = Command::new(python.with_file_name("ansible-playbook"));
    ansible
        .current_dir(folder)
        .args(["-i", "localhost,", "site.yml"])
        .args(options)
        .env("ANSIBLE_HOME", folder.join("ansible"));
    listed(options, &mut ansible)
}

fn listed(options: &[&str], command: &mut Command) -> Listed {
    let said = text(&expect_exit(command, 0).stdout);
    (
        options.join(" "),
        said.split('\n').map(str::to_owned).collect(),
    )
}

const STEPS: &str = "
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: One
      ansible.builtin.command: touch /etc/step-one
    - name: Two
      ansible.builtin.command: touch /etc/step-two
    - name: Three
      ansible.builtin.command: touch /etc/step-three
    - name: Four
      ansible.builtin.command: touch /etc/step-four
";

#[test]
fn step_asks_before_each_task_as_ansible_does() {
    let twins = Twins::start(Carrier::Pipelining, Kept::Ends, None);
    let site = twins.folder().join("site.yml");
    std::fs::write(&site, STEPS).unwrap();
    let answers = [
        ["TASK: One (N)o/(y)es/(c)ontinue: ", "y"],
        ["TASK: Two (N)o/(y)es/(c)ontinue: ", ""],
        ["TASK: Three (N)o/(y)es/(c)ontinue: ", "c"],
    ];
    let (theirs, ours) = twins.play_on_terminal(&site, &["--step"], &answers);
    let both = [(theirs, twins.theirs().unwrap()), (ours, &twins.ours)];
    for (output, machine) in both {
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("TASK: Four (N)o"), "{said}");
        let files = text(&machine.ssh("ls /etc | grep step-").stdout);
        assert_eq!(files, "step-four\nstep-one\nstep-three\n", "{said}");
    }
}
