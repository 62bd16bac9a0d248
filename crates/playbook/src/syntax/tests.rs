//! Whole playbooks: those that are refused, and why; those that are not.

use super::*;
use crate::files::Disk;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn parsed(files: &[(&str, &str)]) -> Result<Playbook, Diagnostics> {
    let dir = project(files);
    parse(
        &Disk::here(),
        &dir.path().join("site.yml"),
        &Options::default(),
    )
}

fn message(text: &str) -> String {
    parsed(&[("site.yml", text)]).unwrap_err().to_string()
}

#[test]
fn a_misspelt_keyword_is_named_with_its_place() {
    let shown = message("- hosts: all\n  taks: []\n");
    assert!(
        shown.contains("site.yml:2:3: `taks` is not a keyword of a play"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `tasks`?"), "{shown}");
}

#[test]
fn a_misspelt_parameter_and_a_choice_that_is_none_are_both_named() {
    let shown = message("- hosts: all\n  tasks:\n    - group: {nam: a, state: presnt}\n");
    assert!(shown.contains("has no parameter `nam`"), "{shown}");
    assert!(shown.contains("did you mean `present`?"), "{shown}");
}

#[test]
fn a_module_that_is_missing_is_an_error_unless_facts_rule_it_out() {
    let text =
        "- hosts: all\n  tasks:\n    - dnf: {name: x}\n      when: ansible_os_family == 'RedHat'\n";
    let dir = project(&[("site.yml", text)]);
    let site = dir.path().join("site.yml");
    let undecided = parse(&Disk::here(), &site, &Options::default()).unwrap();
    assert_eq!(undecided.warnings.len(), 1);
    let with = |family: &str| Options {
        facts: [("os_family".to_owned(), family.to_owned())].into(),
        ..Options::default()
    };
    assert!(
        parse(&Disk::here(), &site, &with("Debian"))
            .unwrap()
            .warnings
            .is_empty()
    );
    let shown = parse(&Disk::here(), &site, &with("RedHat"))
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("`ansible.builtin.dnf` is not in amibake yet"),
        "{shown}"
    );
}

#[test]
fn imports_roles_and_their_dependencies_are_walked_and_bundled() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  tags: t\n  roles: [{role: web, tags: [w], port: 80}]\n  tasks:\n    - import_tasks: more.yml\n      tags: m\n",
        ),
        ("more.yml", "- debug: msg=hi\n- meta: flush_handlers\n"),
        ("roles/web/meta/main.yml", "dependencies: [base]\n"),
        (
            "roles/web/tasks/main.yml",
            "- name: say\n  debug: {msg: hi}\n",
        ),
        ("roles/web/files/a.txt", "a"),
        ("roles/web/.git/HEAD", "x"),
        ("roles/base/tasks/main.yaml", "- command: ls\n"),
        ("roles/unused/tasks/main.yml", "- nonsense\n"),
    ]);
    let playbook = parse(
        &Disk::here(),
        &dir.path().join("site.yml"),
        &Options::default(),
    )
    .unwrap();
    let listed: Vec<String> = list(&playbook.plays[0])
        .into_iter()
        .map(|l| {
            format!(
                "{} {}",
                l.name,
                l.tags.into_iter().collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    assert_eq!(listed, ["base : command t,w", "web : say t,w", "debug m,t"]);
    let bundled = sources(&Disk::here(), &playbook, SIZE_LIMIT).unwrap();
    let below: Vec<_> = bundled
        .iter()
        .map(|p| p.strip_prefix(dir.path()).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        below,
        [
            "more.yml",
            "roles/base/tasks/main.yaml",
            "roles/web/files/a.txt",
            "roles/web/meta/main.yml",
            "roles/web/tasks/main.yml",
            "site.yml"
        ]
    );
    let SourcesError::TooBig { biggest, .. } = sources(&Disk::here(), &playbook, 10).unwrap_err();
    assert!(biggest.ends_with("site.yml"));
}

#[test]
fn a_circle_of_dependencies_is_refused() {
    let shown = parsed(&[
        ("site.yml", "- hosts: all\n  roles: [a]\n"),
        ("roles/a/meta/main.yml", "dependencies: [b]\n"),
        ("roles/b/meta/main.yml", "dependencies: [a]\n"),
    ])
    .unwrap_err()
    .to_string();
    assert!(shown.contains("depends on itself"), "{shown}");
}
