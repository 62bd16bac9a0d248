//! Whole playbooks: those that are refused, and why; those that are not.

use super::*;
use crate::diagnostic::Diagnostic;
use crate::files::Disk;
use crate::files::tests::project;
use crate::hosts::{Groups, Matched};
use crate::tags::Selection;

fn parsed(files: &[(&str, &str)]) -> Result<Playbook, Diagnostics> {
    let dir = project(files);
    parse(
        &Disk::here(),
        &dir.path().join("site.yml"),
        &Options::default(),
    )
}

fn everything() -> Selection {
    Selection::new(&[], &[])
}

fn message(text: &str) -> String {
    let dir = project(&[("site.yml", text)]);
    let options = Options {
        strict: true,
        ..Options::default()
    };
    let parsed = parse(&Disk::here(), &dir.path().join("site.yml"), &options);
    parsed.unwrap_err().to_string()
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
    // Without facts it is taken for a task of another system, of which nothing is said beforehand.
    let undecided = parse(&Disk::here(), &site, &Options::default()).unwrap();
    assert_eq!(undecided.warnings.len(), 0);
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
            "- hosts: all\n  tags: t\n  roles: [{role: web, tags: [w], http_port: 80}]\n  tasks:\n    - import_tasks: more.yml\n      tags: m\n",
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
    let listed: Vec<String> = list(&playbook.plays[0], &everything())
        .into_iter()
        .map(|l| {
            format!(
                "{} {}",
                l.name,
                l.tags.into_iter().collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    assert_eq!(
        listed,
        ["command t,w", "web : say t,w", "debug m,t", "meta m,t"]
    );
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

#[test]
fn what_is_not_supported_is_a_warning_where_only_the_run_can_tell_whether_it_is_reached() {
    let text = "- hosts: all\n  tasks:\n    - command: ls\n      delegate_to: localhost\n      when: x | bool\n";
    let playbook = parsed(&[("site.yml", text)]).unwrap();
    let shown = playbook.warnings[0].to_string();
    assert!(
        shown.contains("site.yml:4:20: `delegate_to: localhost` is not supported"),
        "{shown}"
    );
    assert!(
        shown.contains("the run fails if this is reached"),
        "{shown}"
    );
}

#[test]
fn with_local_this_machine_is_the_target() {
    let text = "- hosts: all\n  connection: local\n  tasks:\n    - local_action: command ls\n";
    let dir = project(&[("site.yml", text)]);
    let options = Options {
        local: true,
        ..Options::default()
    };
    let site = dir.path().join("site.yml");
    let playbook = parse(&Disk::here(), &site, &options).unwrap();
    assert!(playbook.warnings.is_empty(), "{:?}", playbook.warnings);
}

#[test]
fn what_makes_hosts_wait_for_one_another_is_told_apart() {
    let text = "- hosts: all\n  max_fail_percentage: 30\n  throttle: 2\n  tasks:\n    - debug:\n      run_once: true\n";
    let playbook = parsed(&[("site.yml", text)]).unwrap();
    let shown: Vec<String> = playbook
        .one_host
        .iter()
        .map(|(_, wrong)| wrong.message.clone())
        .collect();
    let words = "is not supported for several hosts: each runs by itself";
    assert_eq!(shown, [format!("`max_fail_percentage` {words}")]);
}

#[test]
fn what_has_no_effect_is_said() {
    let text = "- hosts: all\n  gather_timeout: 5\n  ignore_unreachable: false\n  tasks: []\n";
    let playbook = parsed(&[("site.yml", text)]).unwrap();
    let [warning] = &playbook.warnings[..] else {
        panic!("{:?}", playbook.warnings);
    };
    assert!(
        warning
            .to_string()
            .contains("site.yml:2:19: `gather_timeout` has no effect")
    );
}

#[test]
fn an_imported_play_has_the_tags_and_variables_of_its_import() {
    let playbook = parsed(&[
        (
            "site.yml",
            "- import_playbook: b.yml\n  tags: t\n  vars: {a: 1, b: 1}\n",
        ),
        (
            "b.yml",
            "- hosts: all\n  vars: {b: 2}\n  tasks: [debug: ]\n",
        ),
    ])
    .unwrap();
    let tags = &list(&playbook.plays[0], &everything())[0].tags;
    assert!(tags.contains("t"));
    let vars = playbook.plays[0].keywords.iter().find(|(k, _)| k == "vars");
    let vars = &vars.unwrap().1;
    let number = |name: &str| vars.get(name).and_then(crate::yaml::Node::as_i64);
    assert_eq!((number("a"), number("b")), (Some(1), Some(2)));
}

#[test]
fn a_file_read_by_itself_says_of_a_task_why_it_cannot_run() {
    let text =
        "- block:\n    - debug: {msg: a}\n  port: 1\n- dnf: {name: a}\n  when: x\n- debug:\n";
    let dir = project(&[("tasks.yml", text)]);
    let path = dir.path().join("tasks.yml");
    let read = read_task_file(&Disk::here(), &path, &Options::default()).unwrap();
    let why = |step: &Step| match step {
        Step::Task(task) => task.refused.as_ref().map(|wrong| wrong.message.clone()),
        Step::Block(block) => match &block.block[0] {
            Step::Task(task) => task.refused.as_ref().map(|wrong| wrong.message.clone()),
            Step::Block(_) => None,
        },
    };
    let all: Vec<Option<String>> = read.it.iter().map(why).collect();
    assert_eq!(
        all,
        [
            Some("`port` is not supported".to_owned()),
            Some("`dnf` is not a module that amibake has".to_owned()),
            None
        ]
    );
}

proptest::proptest! {
    /// Arbitrary keys and values where a playbook has its own.
    #[test]
    fn any_playbook_is_parsed_or_refused(
        words in proptest::collection::vec(
            "(hosts|tasks|block|rescue|when|loop|vars|roles|debug|command|meta|include_tasks|import_role|action|local_action|args|\
              tags|name|become|delegate_to|serial|async|poll|[a-z{}%'\"=/ .:,-]{0,12})",
            2..24,
        ),
        shape in proptest::collection::vec(0_u8..6, 24),
    ) {
        let mut text = String::from("- hosts: all\n  tasks:\n");
        for (word, shape) in words.iter().zip(shape) {
            let quoted = word.replace('\'', "''");
            text += &match shape {
                0 => format!("    - '{quoted}': \n"),
                1 => format!("      '{quoted}': x\n"),
                2 => format!("    - {word}: [a, '{quoted}']\n"),
                3 => format!("      {word}: {{'{quoted}': 1}}\n"),
                4 => format!("    - {word}\n"),
                _ => format!("  {word}: '{quoted}'\n"),
            };
        }
        let dir = project(&[("site.yml", &text)]);
        let site = dir.path().join("site.yml");
        let _ = parse(&Disk::here(), &site, &Options::default());
        let _ = read_playbook(&Disk::here(), &site, &Options::default());
    }
}

#[test]
fn values_that_are_not_supported_are_refused_by_name() {
    for (task, complaint) in [
        (
            "service: {name: a, use: openrc}",
            "`use: openrc` of ansible.builtin.service is not supported",
        ),
        (
            "template: {src: a, dest: /b, output_encoding: iso-8859-1}",
            "`output_encoding: iso-8859-1` of ansible.builtin.template is not supported",
        ),
        (
            "get_url: {url: 'https://a', dest: /b, ciphers: [A, B]}",
            "`ciphers: A,B` of ansible.builtin.get_url is not supported",
        ),
        (
            "uri: {url: 'https://a', use_gssapi: true}",
            "`use_gssapi: True` of ansible.builtin.uri is not supported",
        ),
        (
            "uri: {url: 'http://a', unix_socket: /s}",
            "`unix_socket: /s` of ansible.builtin.uri is not supported",
        ),
        (
            "git: {repo: a, dest: /b, gpg_whitelist: [AB]}",
            "`gpg_whitelist: AB` of ansible.builtin.git is not supported",
        ),
        (
            "user: {name: a, local: true}",
            "`local: True` of ansible.builtin.user is not supported",
        ),
    ] {
        let text = format!("- hosts: all\n  tasks:\n    - {task}\n");
        let told = message(&text);
        assert!(told.contains(complaint), "{told}");
        // On the target the task carries it.
        let when = format!("{text}      when: ansible_os_family == 'Debian'\n");
        let dir = project(&[("site.yml", when.as_str())]);
        let path = dir.path().join("site.yml");
        let playbook = parse(&Disk::here(), &path, &Options::default()).unwrap();
        assert!(format!("{:?}", playbook.warnings).contains(complaint));
    }
}

#[test]
fn links_of_a_folder_that_are_to_stay_links_are_refused() {
    for (src, refused) in [("a", true), ("a/1", false)] {
        let tasks = format!("    - copy: {{src: {src}, dest: /b, local_follow: false}}\n");
        let playbook = format!("- hosts: all\n  tasks:\n{tasks}");
        let files = [("site.yml", playbook.as_str()), ("files/a/1", "one")];
        assert_eq!(parsed(&files).is_err(), refused, "{src}");
    }
}

#[test]
fn a_play_for_localhost_beside_others_is_refused_by_name() {
    let refused = |text: &str| {
        parsed(&[("site.yml", text)])
            .unwrap()
            .localhost_beside_others()
    };
    let shown = |text: &str| {
        let wrong = refused(text);
        wrong.iter().map(ToString::to_string).collect::<String>()
    };
    let play = |hosts: &str| format!("- {{hosts: {hosts}, tasks: []}}\n");
    let beside = shown(&(play("web") + &play("localhost")));
    assert!(
        beside.contains("site.yml:2:11: a play for `localhost`"),
        "{beside}"
    );
    assert!(shown(&play("[web, 127.0.0.1]")).contains("site.yml:1"));
    assert!(
        shown(&(play("localhost") + &play("'{{ group }}'") + &play("all"))).contains("site.yml:1")
    );
    assert_eq!(shown(&(play("localhost") + &play("localhost"))), "");
    assert_eq!(shown(&(play("web") + &play("all:!localhost"))), "");
}

#[test]
fn the_hosts_of_plays_are_judged_against_an_inventory() {
    let text = "- {hosts: web, tasks: []}\n- {hosts: localhost, tasks: []}\n- {hosts: 'wbe:web', tasks: []}\n\
                - {hosts: '~(', tasks: []}\n- {hosts: '{{ x }}', tasks: []}\n";
    let playbook = parsed(&[("site.yml", text)]).unwrap();
    let host = || vec!["one".to_owned()];
    let groups: Groups = [("all".to_owned(), host()), ("web".to_owned(), host())].into();
    let lines = |wrong: Vec<Diagnostic>| wrong.iter().map(|w| w.span.line).collect::<Vec<_>>();
    let (wrong, in_vain) = playbook.check_hosts(&groups);
    assert_eq!((lines(wrong), lines(in_vain)), (vec![4], vec![3]));
}

#[test]
fn whom_plays_are_for_is_known_before_the_run_as_far_as_it_can_be() {
    let text = "- {hosts: web, tasks: []}\n- {hosts: localhost, tasks: []}\n\
                - {hosts: '{{ x }}', vars: {x: ['{{ y }}', localhost]}, tasks: []}\n- {hosts: '{{ z }}', tasks: []}\n";
    let plays = parsed(&[("site.yml", text)]).unwrap().plays;
    let extra = serde_json::Map::from_iter([("y".to_owned(), "web".into())]);
    let groups: Groups = [("all", vec!["a", "b"]), ("web", vec!["b"])]
        .map(|(name, hosts)| {
            (
                name.to_owned(),
                hosts.into_iter().map(str::to_owned).collect(),
            )
        })
        .into();
    let told = |among: &Among<'_>| {
        let of_play = |play: Option<Matched>| match play {
            Some(matched) => format!("{} {}", matched.hosts.join(","), matched.controller),
            None => "?".to_owned(),
        };
        let plays = play_hosts(&plays, among, &extra).into_iter().map(of_play);
        plays.collect::<Vec<_>>()
    };
    let of_inventory = told(&Among::Inventory(&groups));
    assert_eq!(of_inventory, ["b false", " true", "b true", "?"]);
    let named = told(&Among::Named(&["one".to_owned()]));
    assert_eq!(named, ["one false", " true", "one true", "?"]);
    let local = told(&Among::Local("localhost"));
    assert_eq!(local, ["localhost false"; 4]);
    // Without plays for others, those for `localhost` are for whatever was named.
    let alone = parsed(&[("site.yml", "- {hosts: localhost, tasks: []}\n")])
        .unwrap()
        .plays;
    let alone = play_hosts(&alone, &Among::Named(&["one".to_owned()]), &extra);
    assert_eq!(alone[0].as_ref().unwrap().hosts, ["one"]);
}
