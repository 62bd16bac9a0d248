//! What stops a run before it begins, what is a warning, what is nothing.

use super::super::{Options, Playbook, parse};
use crate::diagnostic::Diagnostics;
use crate::files::Disk;
use crate::files::tests::project;
use crate::tags::Selection;

/// What becomes of a complaint.
#[derive(Debug, PartialEq, Eq)]
enum Becomes {
    Error,
    Warning,
    Nothing,
}

fn parsed(files: &[(&str, &str)], options: &Options) -> Result<Playbook, Diagnostics> {
    let dir = project(files);
    parse(&Disk::here(), &dir.path().join("site.yml"), options)
}

fn on_debian() -> Options {
    Options {
        facts: [("os_family".to_owned(), "Debian".to_owned())].into(),
        ..Options::default()
    }
}

/// Returns what is made of the word `missing` in a playbook, where its text stands for a module or a parameter.
fn becomes(files: &[(&str, &str)], options: &Options, word: &str) -> Becomes {
    match parsed(files, options) {
        Err(wrong) => {
            assert!(wrong.to_string().contains(word), "{wrong}");
            Becomes::Error
        }
        Ok(playbook) => {
            let all: String = playbook.warnings.iter().map(ToString::to_string).collect();
            match all.contains(word) {
                true => Becomes::Warning,
                false => Becomes::Nothing,
            }
        }
    }
}

fn of_task(task: &str, word: &str) -> Becomes {
    let site = format!("- hosts: all\n  tasks:\n{task}");
    becomes(&[("site.yml", &site)], &on_debian(), word)
}

#[test]
fn what_is_for_other_systems_than_debians_is_said_when_it_is_reached() {
    let made = |when: &str| {
        let site =
            format!("- hosts: all\n  tasks:\n    - pacman: {{name: a}}\n      when: {when}\n");
        becomes(&[("site.yml", &site)], &Options::default(), "pacman")
    };
    assert_eq!(made("ansible_os_family == 'Archlinux'"), Becomes::Nothing);
    assert_eq!(
        made("ansible_pkg_mgr in ['pacman', 'dnf']"),
        Becomes::Nothing
    );
    assert_eq!(made("ansible_os_family != 'RedHat'"), Becomes::Warning);
    assert_eq!(
        made("ansible_distribution == 'Archlinux'"),
        Becomes::Nothing
    );
    assert_eq!(made("ansible_distribution == 'Ubuntu'"), Becomes::Warning);
    let block = "- hosts: all\n  tasks:\n    - when: ansible_system == 'FreeBSD'\n      block: [pacman: {name: a}]\n";
    assert_eq!(
        becomes(&[("site.yml", block)], &Options::default(), "pacman"),
        Becomes::Nothing
    );
}

#[test]
fn a_module_that_is_not_here_stops_what_certainly_reaches_it() {
    for (task, expected) in [
        ("    - pacman: {name: a}\n", Becomes::Error),
        ("    - pacman: {name: a}\n      when: x\n", Becomes::Warning),
        (
            "    - meta: end_play\n    - pacman: {name: a}\n",
            Becomes::Warning,
        ),
        (
            "    - meta: end_host\n      when: x\n    - block: [pacman: {name: a}]\n",
            Becomes::Warning,
        ),
        (
            "    - pacman: {name: a}\n    - meta: end_play\n",
            Becomes::Error,
        ),
        (
            "    - meta: flush_handlers\n    - pacman: {name: a}\n",
            Becomes::Error,
        ),
        (
            "    - meta: end_play\n- hosts: all\n  tasks:\n    - pacman: {name: a}\n",
            Becomes::Error,
        ),
        (
            "    - meta: end_play\n  roles: []\n  pre_tasks:\n    - pacman: {name: a}\n",
            Becomes::Error,
        ),
        (
            "    - pacman: {name: a}\n      when: ansible_os_family == 'Archlinux'\n",
            Becomes::Nothing,
        ),
        (
            "    - pacman: {name: a}\n      ignore_errors: true\n",
            Becomes::Warning,
        ),
        (
            "    - pacman: {name: a}\n      ignore_errors: false\n",
            Becomes::Error,
        ),
        (
            "    - pacman: {name: a}\n      failed_when: false\n",
            Becomes::Warning,
        ),
        (
            "    - pacman: {name: a}\n      loop: '{{ x }}'\n",
            Becomes::Warning,
        ),
        (
            "    - pacman: {name: a}\n      loop: []\n",
            Becomes::Nothing,
        ),
        (
            "    - pacman: {name: a}\n      with_items: [a]\n",
            Becomes::Error,
        ),
        (
            "    - block: [pacman: {name: a}]\n      rescue: [debug: ]\n",
            Becomes::Warning,
        ),
        (
            "    - block: [pacman: {name: a}]\n      always: [debug: ]\n",
            Becomes::Error,
        ),
        (
            "    - block: [debug: ]\n      rescue: [pacman: {name: a}]\n",
            Becomes::Warning,
        ),
        (
            "    - block: [debug: ]\n      always: [pacman: {name: a}]\n",
            Becomes::Error,
        ),
        (
            "    - block: [pacman: {name: a}]\n      when: ansible_os_family != 'Debian'\n",
            Becomes::Nothing,
        ),
        (
            "    - pacman: {name: a}\n      tags: never\n",
            Becomes::Nothing,
        ),
        ("  handlers:\n    - pacman: {name: a}\n", Becomes::Warning),
    ] {
        assert_eq!(
            of_task(task, "community.general.pacman"),
            expected,
            "{task}"
        );
    }
}

#[test]
fn a_name_nobody_knows_is_an_error_but_where_facts_rule_it_out() {
    for (task, expected) in [
        ("    - pacmna: {name: a}\n", Becomes::Error),
        ("    - pacmna: {name: a}\n      when: x\n", Becomes::Error),
        (
            "    - pacmna: {name: a}\n      when: ansible_os_family == 'Archlinux'\n",
            Becomes::Nothing,
        ),
        (
            "    - action: pacmna name=a\n      when: ansible_os_family == 'Archlinux'\n",
            Becomes::Nothing,
        ),
        // Of a collection that is not known nobody can tell.
        (
            "    - my.own.pacmna: {name: a}\n      when: x\n",
            Becomes::Warning,
        ),
        (
            "    - community.general.pacmna: {name: a}\n      when: x\n",
            Becomes::Error,
        ),
    ] {
        assert_eq!(of_task(task, "pacmna"), expected, "{task}");
    }
}

#[test]
fn parameters_that_fail_a_task_are_warned_of_and_stop_a_build() {
    let becomes_of = |task: &str, strict: bool| {
        let site = format!("- hosts: all\n  tasks:\n{task}");
        let options = Options {
            strict,
            ..on_debian()
        };
        becomes(&[("site.yml", &site)], &options, "has no parameter `nam`")
    };
    let plain = "    - group: {nam: a}\n";
    let perhaps = "    - group: {nam: a}\n      when: x\n";
    let caught = "    - group: {nam: a}\n      ignore_errors: true\n";
    let never = "    - group: {nam: a}\n      when: ansible_os_family == 'RedHat'\n";
    for (task, lenient, strict) in [
        (plain, Becomes::Warning, Becomes::Error),
        (perhaps, Becomes::Warning, Becomes::Warning),
        (caught, Becomes::Warning, Becomes::Warning),
        (never, Becomes::Nothing, Becomes::Nothing),
    ] {
        assert_eq!(becomes_of(task, false), lenient, "{task}");
        assert_eq!(becomes_of(task, true), strict, "{task}");
    }
}

#[test]
fn tags_decide_what_is_reached_and_those_of_an_include_are_its_own() {
    let pacman = "- pacman: {name: a}\n";
    let tagged = "- pacman: {name: a}\n  tags: b\n";
    for (task, file, expected) in [
        ("import_tasks: a.yml\n      tags: a", pacman, Becomes::Error),
        ("import_tasks: a.yml", pacman, Becomes::Nothing),
        (
            "import_tasks: a.yml\n      tags: '{{ x }}'",
            pacman,
            Becomes::Warning,
        ),
        (
            "include_tasks: a.yml\n      tags: a",
            pacman,
            Becomes::Nothing,
        ),
        (
            "include_tasks: {file: a.yml, apply: {tags: a}}\n      tags: a",
            pacman,
            Becomes::Error,
        ),
        (
            "include_tasks: a.yml\n      tags: a",
            tagged,
            Becomes::Error,
        ),
        ("include_tasks: a.yml", tagged, Becomes::Nothing),
    ] {
        let site = format!("- hosts: all\n  tasks:\n    - {task}\n");
        let options = Options {
            tags: Selection::new(&["a,b".to_owned()], &[]),
            ..Options::default()
        };
        let files = [("site.yml", site.as_str()), ("a.yml", file)];
        assert_eq!(becomes(&files, &options, "pacman"), expected, "{task}");
    }
}

#[test]
fn a_file_that_a_task_includes_is_judged_when_it_is() {
    for (when, strict, expected) in [
        ("true", false, Becomes::Warning),
        ("true", true, Becomes::Error),
        ("x", false, Becomes::Warning),
        ("x", true, Becomes::Warning),
        ("ansible_os_family == 'RedHat'", true, Becomes::Nothing),
    ] {
        let site =
            format!("- hosts: all\n  tasks:\n    - include_tasks: a.yml\n      when: {when}\n");
        let options = Options {
            strict,
            ..on_debian()
        };
        for file in [
            "- pacmna: {name: a}\n",
            "- debug:\n  lop: [pacmna]\n",
            "- 'pacmna\n",
            "- import_tasks: pacmna.yml\n",
        ] {
            let files = [("site.yml", site.as_str()), ("a.yml", file)];
            let word = if file.contains("lop") { "lop" } else { "a.yml" };
            assert_eq!(
                becomes(&files, &options, word),
                expected,
                "{when} {strict}: {file}"
            );
        }
    }
}

#[test]
fn a_role_that_is_not_there_fails_its_include_and_refuses_its_import() {
    for (task, strict, expected) in [
        ("include_role: {name: gone}", false, Becomes::Warning),
        ("include_role: {name: gone}", true, Becomes::Error),
        ("import_role: {name: gone}", false, Becomes::Error),
    ] {
        let site = format!("- hosts: all\n  tasks:\n    - {task}\n");
        let options = Options {
            strict,
            ..on_debian()
        };
        let files = [("site.yml", site.as_str())];
        assert_eq!(becomes(&files, &options, "gone"), expected, "{task}");
    }
}

#[test]
fn what_is_missing_in_several_places_is_told_once() {
    let site = "- hosts: all\n  tasks:\n    - pacman: {name: a}\n    - include_tasks: a.yml\n    - pacman: {name: b}\n";
    let wrong = parsed(
        &[("site.yml", site), ("a.yml", "- pacman: {name: c}\n")],
        &Options::default(),
    );
    let shown = wrong.unwrap_err().to_string();
    assert_eq!(shown.matches("is not in amibake yet").count(), 1, "{shown}");
    let also = shown
        .lines()
        .find(|line| line.starts_with("also at "))
        .unwrap();
    assert!(
        also.ends_with("a.yml:1:3, ") || also.contains("a.yml:1:3, /"),
        "{also}"
    );
    assert!(also.ends_with("site.yml:5:7"), "{also}");
}

#[test]
fn a_module_in_python_that_is_brought_along_is_told_by_its_owner_and_file() {
    let files = |site: &'static str| {
        [
            ("site.yml", site),
            ("roles/web/library/ours.py", ""),
            ("roles/web/library/copy.py", ""),
            ("roles/web/tasks/main.yml", "- ours: {a: 1}\n"),
            ("roles/shadow/library/copy.py", ""),
            (
                "roles/shadow/tasks/main.yml",
                "- copy: {dest: /a, content: ''}\n  when: x\n",
            ),
            (
                "collections/ansible_collections/my/own/plugins/modules/ours.py",
                "",
            ),
        ]
    };
    let shown = |site| {
        parsed(&files(site), &Options::default())
            .unwrap_err()
            .to_string()
    };
    let web = shown("- hosts: all\n  roles: [web]\n");
    assert!(
        web.contains("`ours` is a Python module of the role web's own ("),
        "{web}"
    );
    assert!(web.contains("roles/web/library/ours.py)"), "{web}");
    let shadow = shown("- hosts: all\n  roles: [shadow]\n");
    assert!(
        shadow.contains("`copy` is a Python module of the role shadow's own"),
        "{shadow}"
    );
    let own = shown("- hosts: all\n  tasks: [my.own.ours: {}]\n");
    assert!(own.contains("is a Python module of my.own's own"), "{own}");
}

#[test]
fn a_collection_that_is_installed_hides_no_module_of_ours() {
    let modules = crate::argspec::all().map(|spec| spec.name);
    let foreign: Vec<&str> = modules
        .filter(|name| !name.starts_with("ansible.builtin."))
        .collect();
    assert!(foreign.len() > 15, "{foreign:?}");
    for name in foreign {
        let (collection, short) = name.rsplit_once('.').unwrap();
        let folder = format!(
            "collections/ansible_collections/{}",
            collection.replace('.', "/")
        );
        let role = format!("- {short}: {{}}\n  when: x\n");
        let site = format!(
            "- hosts: all\n  tasks:\n    - {name}: {{}}\n      when: x\n    - include_role: {{name: {collection}.r}}\n"
        );
        let files = [
            ("site.yml", site.as_str()),
            (&format!("{folder}/plugins/modules/{short}.py"), ""),
            (&format!("{folder}/roles/r/tasks/main.yml"), &role),
        ];
        let options = Options::default();
        let told = match parsed(&files, &options) {
            Ok(playbook) => playbook.warnings.iter().map(ToString::to_string).collect(),
            Err(error) => error.to_string(),
        };
        assert!(!told.contains("Python module"), "{name}: {told}");
    }
}

#[test]
fn only_what_is_there_is_proposed() {
    let shown = |task: &str| {
        let site = format!("- hosts: all\n  tasks:\n    - {task}\n");
        parsed(&[("site.yml", &site)], &Options::default())
            .unwrap_err()
            .to_string()
    };
    // `subversion` and `rpm_key` are Ansible's, and not here.
    for task in ["subvresion: {repo: a}", "rpm_kye: {}"] {
        assert!(!shown(task).contains("did you mean"), "{}", shown(task));
    }
    assert!(shown("lineinfle: {path: /a}").contains("did you mean `lineinfile`?"));
}

#[test]
fn statements_take_their_parameters_and_variables_their_names() {
    let shown = |task: &str| {
        let site = format!("- hosts: all\n  tasks:\n    - {task}\n");
        let files = [
            ("site.yml", site.as_str()),
            ("a.yml", "- debug:\n"),
            ("roles/r/tasks/main.yml", ""),
        ];
        parsed(&files, &Options::default())
            .map_or_else(|wrong| wrong.to_string(), |_| String::new())
    };
    for (task, complaint) in [
        (
            "include_tasks: {file: a.yml, bogus: 1}",
            "Invalid options for include_tasks: bogus",
        ),
        (
            "import_tasks: a.yml bogus=1",
            "Invalid options for import_tasks: bogus",
        ),
        (
            "import_tasks: {file: a.yml, apply: {tags: x}}",
            "Invalid options for import_tasks: apply",
        ),
        (
            "include_role: {name: r, bogus: 1}",
            "Invalid options for include_role: bogus",
        ),
        (
            "include_role: {name: r, tasks_from: [a]}",
            "`tasks_from` must be text",
        ),
        (
            "include_role: {name: r, apply: x}",
            "`apply` must be a mapping of keywords",
        ),
        (
            "include_role: {name: r, apply: {bogus: x}}",
            "`bogus` is not a keyword of a block",
        ),
        ("include_tasks: {file: a.yml, apply: {tags: x}}", ""),
        ("import_role: {name: r, public: true}", ""),
        ("{debug: , vars: [{a: 1}]}", "`vars` must be a mapping"),
        ("{debug: , vars: '{{ x }}'}", "`vars` must be a mapping"),
        (
            "{debug: , vars: {a-b: 1}}",
            "`a-b` cannot be the name of a variable",
        ),
        (
            "{debug: , vars: {1: 1}}",
            "`1` cannot be the name of a variable",
        ),
        (
            "{debug: , vars: {none: 1}}",
            "`none` cannot be the name of a variable",
        ),
        ("{debug: , vars: {for: 1}}", ""),
        (
            "{debug: , register: a-b}",
            "`a-b` cannot be the name of a variable",
        ),
        (
            "{debug: , with_items: }",
            "`with_items` has nothing to loop over",
        ),
        ("{debug: , loop: }", ""),
    ] {
        let told = shown(task);
        assert!(
            told.contains(complaint) && (complaint.is_empty() == told.is_empty()),
            "{task}: {told}"
        );
    }
}

#[test]
fn what_is_left_of_a_task_that_was_commented_out_is_passed_over() {
    let playbook = parsed(
        &[("site.yml", "- hosts: all\n  tasks:\n    -\n    - debug:\n")],
        &Options::default(),
    );
    assert_eq!(playbook.unwrap().plays[0].tasks.len(), 1);
}

#[test]
fn filters_and_lookups_are_judged_where_they_stand() {
    let of = |task: &str, template: &str, strict: bool| {
        let site = format!("- hosts: all\n  tasks:\n{task}");
        let files = [("site.yml", site.as_str()), ("templates/a.j2", template)];
        let options = Options {
            strict,
            ..on_debian()
        };
        becomes(&files, &options, "community.general.jc")
    };
    let missing = "{{ x | community.general.jc }}";
    let msg = format!("    - debug: {{msg: '{missing}'}}\n");
    for (task, expected) in [
        (msg.clone(), Becomes::Error),
        (format!("{msg}      when: x\n"), Becomes::Warning),
        (
            format!("{msg}      when: ansible_os_family == 'RedHat'\n"),
            Becomes::Nothing,
        ),
        (
            "    - debug:\n      when: x | community.general.jc\n".to_owned(),
            Becomes::Warning,
        ),
        (
            format!("    - debug:\n      vars: {{a: '{missing}'}}\n"),
            Becomes::Warning,
        ),
        (
            format!("    - debug:\n      name: '{missing}'\n"),
            Becomes::Nothing,
        ),
        (
            format!("    - debug: {{msg: !unsafe '{missing}'}}\n"),
            Becomes::Nothing,
        ),
        (
            "    - debug: {var: x | community.general.jc}\n".to_owned(),
            Becomes::Error,
        ),
        (
            "    - assert: {that: [x | community.general.jc]}\n".to_owned(),
            Becomes::Error,
        ),
    ] {
        assert_eq!(of(&task, "", false), expected, "{task}");
    }
    let render = "    - template: {src: a.j2, dest: /a}\n";
    assert_eq!(of(render, missing, false), Becomes::Error);
    assert_eq!(of(render, "no template", false), Becomes::Nothing);
    let wrong = parsed(
        &[
            ("site.yml", &format!("- hosts: all\n  tasks:\n{render}")),
            ("templates/a.j2", "a\n{{ x | community.general.jc }}\n"),
        ],
        &Options::default(),
    );
    let shown = wrong.unwrap_err().to_string();
    assert!(shown.contains("templates/a.j2:2:"), "{shown}");
    // What nobody knows, Ansible finds out when the task runs.
    let unknown = |strict| {
        let site = "- hosts: all\n  tasks:\n    - debug: {msg: '{{ x | uper }}'}\n";
        let options = Options {
            strict,
            ..Options::default()
        };
        becomes(
            &[("site.yml", site)],
            &options,
            "No filter named 'uper'. Did you mean 'upper'?",
        )
    };
    assert_eq!(
        (unknown(false), unknown(true)),
        (Becomes::Warning, Becomes::Error)
    );
}

#[test]
fn a_survey_lists_what_is_used_and_how_it_is_supported() {
    let site = "- hosts: all\n  tasks:\n    - pacman: {name: '{{ a | upper }}'}\n    - copy: {content: \"{{ lookup('env', 'X') }}\", dest: /a}\n      when: x is defined\n    - dnf: {name: a}\n      when: ansible_os_family == 'RedHat'\n    - copy: {content: x, dest: /b}\n";
    let options = Options {
        survey: true,
        ..on_debian()
    };
    let playbook = parsed(&[("site.yml", site)], &options).unwrap();
    let used = playbook.used.iter();
    let listed: Vec<String> = used
        .map(|(kind, name, how, places)| format!("{kind:?} {name} {how:?} {}", places.len()))
        .collect();
    assert_eq!(
        listed,
        [
            "Module ansible.builtin.copy Works 2",
            "Module community.general.pacman Missing 1",
            "Filter ansible.builtin.upper Works 1",
            "Test ansible.builtin.defined Works 1",
            "Lookup ansible.builtin.env Works 1",
        ]
    );
    assert_eq!(playbook.wrong.len(), 1);
}
