//! What is told of a template that fails, besides the words that Ansible has for it: where it stands, by way of which
//! variables it was met, and which name may have been meant. An ignored and a rescued failure is told like any other.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

/// Keeps the warnings, each with its place.
#[derive(Default)]
struct Heard(Vec<String>);

impl Controller for Heard {
    fn event(&mut self, event: Event) {
        if let Event::Warning { message, place } = event {
            let place = place.map_or_else(String::new, |at| {
                let file = Path::new(&at.file).file_name().unwrap().to_string_lossy();
                format!("{file}:{}:{}", at.line, at.column)
            });
            self.0.push(format!("{place} {message}"));
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Refused {
            reason: format!("{ask:?}"),
        }
    }
}

/// Returns what is told of these tasks, in a play with some variables that ignores errors.
fn told(tasks: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let vars = "- hosts: localhost
  gather_facts: false
  ignore_errors: true
  vars:
    user_name: bob
    deep: '{{ user_nam }}'
    deeper: '{{ deep }} q'
    dct: {alpha: 1}
    wanted: 80x
    chosen: '{{ wanted }}'
  tasks:
";
    std::fs::write(folder.path().join("site.yml"), format!("{vars}{tasks}")).unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let template = |name: &str, text: &str| {
        std::fs::write(folder.path().join("templates").join(name), text).unwrap();
    };
    template("und.j2", "a\nb {{ user_nam }}\n");
    template("deep.j2", "a\n{% if true %}\nb {{ deeper }}\n{% endif %}\n");
    template("broken.j2", "a\nb {{ user_nam\n");
    let files = Disk::here();
    let project = Project::playbook(&files, folder.path().join("site.yml"));
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        working_folder: PathBuf::from("/"),
        local: true,
        ..Options::default()
    };
    let mut heard = Heard::default();
    exec::run(&project, &options, &mut heard);
    let folder = format!("{}/", folder.path().display());
    heard
        .0
        .iter()
        .map(|line| line.replace(&folder, ""))
        .collect()
}

#[test]
fn an_undefined_variable_is_told_with_its_place_and_the_nearest_name() {
    let near = "; did you mean `user_name`?";
    for (task, expected) in [
        (
            "    - debug: {msg: '{{ user_nam }}'}\n",
            format!("site.yml:12:20 'user_nam' is undefined in `{{{{ user_nam }}}}`{near}"),
        ),
        (
            "    - debug: {msg: x}\n      when: user_nam == 1\n",
            format!(
                "site.yml:13:13 Error while evaluating conditional: 'user_nam' is undefined in `user_nam == 1`{near}"
            ),
        ),
        (
            "    - assert: {that: [user_name is defined, user_nam == 1]}\n",
            format!(
                "site.yml:12:45 Error while evaluating conditional: 'user_nam' is undefined in `user_nam == 1`{near}"
            ),
        ),
        (
            "    - assert:\n        that: user_nam == 1\n",
            format!(
                "site.yml:13:15 Error while evaluating conditional: 'user_nam' is undefined in `user_nam == 1`{near}"
            ),
        ),
        (
            "    - debug: {msg: x}\n      failed_when: [true, user_nam == 1]\n",
            format!(
                "site.yml:13:27 Error while evaluating conditional: 'user_nam' is undefined in `user_nam == 1`{near}"
            ),
        ),
        (
            "    - block: [debug: {msg: '{{ user_nam }}'}]\n      ignore_errors: false\n      rescue: [meta: noop]\n",
            format!("site.yml:12:28 'user_nam' is undefined in `{{{{ user_nam }}}}`{near}"),
        ),
        (
            "    - debug: {msg: x}\n      loop: '{{ user_nam }}'\n",
            format!("site.yml:13:13 'user_nam' is undefined in `{{{{ user_nam }}}}`{near}"),
        ),
        (
            "    - template: {src: und.j2, dest: /nowhere/x}\n",
            format!("und.j2:2:0 'user_nam' is undefined{near}"),
        ),
    ] {
        assert_eq!(told(task), [expected], "{task}");
    }
    let hidden = told("    - debug: {msg: '{{ user_nam }}'}\n      no_log: true\n");
    assert!(hidden.is_empty(), "{hidden:?}");
    let skipped = told("    - debug: {msg: x}\n      loop: '{{ user_nam }}'\n      when: false\n");
    assert!(skipped.is_empty(), "{skipped:?}");
}

#[test]
fn variables_in_variables_are_told_one_by_one() {
    let of = "'user_nam' is undefined in `{{ user_nam }}`, the variable `deep`, used in `deeper` (site.yml:7:13)";
    let near = "; did you mean `user_name`?";
    assert_eq!(
        told("    - debug: {msg: '{{ deeper }}'}\n"),
        [format!(
            "site.yml:6:11 {of}, used for `msg` (site.yml:12:20){near}"
        )]
    );
    assert_eq!(
        told("    - template: {src: deep.j2, dest: /nowhere/x}\n"),
        [format!(
            "site.yml:6:11 {of}, used in the file (templates/deep.j2:3){near}"
        )]
    );
}

#[test]
fn the_nearest_key_is_told() {
    for (expression, near) in [
        ("dct.alhpa", "alpha"),
        ("dct['alhpa']", "alpha"),
        ("groups['ungroupd']", "ungrouped"),
        ("(dct | combine({'beta': 2})).alhpa", "alpha"),
        ("none | default(dct.alhpa, true)", "alpha"),
    ] {
        let told = told(&format!(
            "    - debug: {{msg: \"{{{{ {expression} }}}}\"}}\n"
        ));
        let hint = format!("; did you mean `{near}`?");
        assert!(
            told.iter().any(|line| line.ends_with(&hint)),
            "{expression}: {told:?}"
        );
    }
    let far = told("    - debug: {msg: '{{ dct.something_else }}'}\n");
    assert!(!far[0].contains("did you mean"), "{far:?}");
}

#[test]
fn a_syntax_error_is_told_with_its_file() {
    let of_template = told("    - template: {src: broken.j2, dest: /nowhere/x}\n");
    assert!(
        of_template[0].starts_with("broken.j2:2:0 Syntax error"),
        "{of_template:?}"
    );
    let of_task = told("    - debug: {msg: \"{{ lookup('template', 'x') if }}\"}\n");
    let failed: Vec<&String> = of_task
        .iter()
        .filter(|line| line.contains(" in `{{"))
        .collect();
    assert_eq!(failed.len(), 1, "{of_task:?}");
    assert!(failed[0].starts_with("site.yml:12:20 "), "{of_task:?}");
}

#[test]
fn a_value_that_a_module_does_not_take_is_told_with_the_variables_it_came_from() {
    assert_eq!(
        told("    - wait_for: {port: '{{ wanted }}', timeout: 1}\n"),
        ["site.yml:12:24 `port` is what `{{ wanted }}` gave; `wanted` is from the play's vars"]
    );
    assert_eq!(
        told("    - file: {path: /nowhere, state: '{{ chosen }}'}\n      vars: {wanted: fiel}\n"),
        [
            "site.yml:12:37 `state` is what `{{ chosen }}` gave; `chosen` is from the play's vars (site.yml:10:13)"
        ]
    );
    let set =
        "    - set_fact: {number: many}\n    - wait_for: {port: '{{ number }}', timeout: 1}\n";
    assert_eq!(
        told(set),
        [
            "site.yml:13:24 `port` is what `{{ number }}` gave; `number` is from set_fact or register"
        ]
    );
    let hidden = told("    - wait_for: {port: '{{ wanted }}', timeout: 1}\n      no_log: true\n");
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn variables_with_reserved_names_are_told_as_ansible_tells_them() {
    let task =
        "    - debug: {msg: '{{ port }}'}\n      vars: {port: 1, prot: 3}\n      register: tags\n";
    assert_eq!(
        told(task),
        [
            "site.yml:13:14 Found variable using reserved name 'port'.",
            "site.yml:14:17 Found variable using reserved name 'tags'."
        ]
    );
    assert_eq!(
        told("    - set_fact: {timeout: 1}\n"),
        ["site.yml:12:27 Found variable using reserved name 'timeout'."]
    );
}
