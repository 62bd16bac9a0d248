use super::*;
use crate::files::Disk;
use crate::files::tests::project;

fn found_with(dir: &tempfile::TempDir, given: &Given<'_>) -> Found {
    let path = dir.path().join("site.yml");
    let playbook = syntax::parse(&Disk::here(), &path, &given.options).unwrap();
    needed(&Disk::here(), &playbook, given)
}

fn found(dir: &tempfile::TempDir) -> Found {
    found_with(dir, &Given::default())
}

fn names(dir: &tempfile::TempDir, found: &Found) -> Vec<String> {
    let below = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
    found.paths.iter().map(below).collect()
}

/// Returns which of `wanted` do not travel with the play of these tasks.
fn missing(tasks: &str, wanted: &[&str]) -> Vec<String> {
    let play = format!(
        "- hosts: all\n  vars: {{env: prod, base: '{{{{ playbook_dir }}}}/conf', users: [ann, bob]}}\n  tasks:\n{tasks}"
    );
    let mut files: Vec<(&str, &str)> = wanted.iter().map(|name| (*name, "a: 1\n")).collect();
    files.extend([
        ("site.yml", play.as_str()),
        ("secrets.yml", "token: x"),
        ("keys/.token", "x"),
    ]);
    let dir = project(&files);
    let travel = names(&dir, &found(&dir));
    assert!(
        !travel
            .iter()
            .any(|name| name == "secrets.yml" || name == "keys/.token"),
        "{travel:?}"
    );
    let left = wanted
        .iter()
        .filter(|name| !travel.iter().any(|known| known == *name));
    left.map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_names_can_mean_travels() {
    for (task, wanted) in [
        ("copy: {src: keys/a.pub, dest: /x}", &["keys/a.pub"][..]),
        (
            "copy: {src: 'keys/{{ env }}.pub', dest: /x}",
            &["keys/prod.pub"],
        ),
        (
            "copy: {src: 'keys/{{ from_the_run }}', dest: /x}",
            &["keys/a", "keys/b/c"],
        ),
        (
            "copy: {src: '{{ base }}/', dest: /x}",
            &["conf/a", "conf/b/.c"],
        ),
        ("copy: src=conf/{{ env }} dest=/x", &["conf/prod"]),
        (
            "template: {src: '{{ base }}/{{ app }}.j2', dest: /x}",
            &["conf/a.j2"],
        ),
        ("script: 'steps/{{ env }}.sh a b'", &["steps/prod.sh"]),
        ("script: '\"steps/{{ env }}.sh\" a b'", &["steps/prod.sh"]),
        ("include_vars: 'envs/{{ env }}.yml'", &["envs/prod.yml"]),
        (
            "include_vars: {dir: '{{ base }}'}",
            &["conf/a.yml", "conf/b.yml"],
        ),
        (
            "include_tasks: 'steps/{{ ansible_os_family }}.yml'",
            &["steps/Debian.yml", "steps/RedHat.yml"],
        ),
        (
            "include_vars: '{{ ansible_facts.os_family }}.yml'",
            &["Debian.yml"],
        ),
        (
            "debug: {msg: \"{{ lookup('file', 'keys/' ~ x ~ '.pub') }}\"}",
            &["keys/a.pub"],
        ),
        (
            "debug: {msg: \"{{ lookup('template', base ~ '/t.j2') }}\"}",
            &["conf/t.j2"],
        ),
        (
            "debug: {msg: \"{{ query('fileglob', base ~ '/*.txt') }}\"}",
            &["conf/a.txt", "conf/b.txt"],
        ),
        (
            "debug: {msg: \"{{ lookup('first_found', ['no', 'keys/a']) }}\"}",
            &["keys/a"],
        ),
        (
            "debug: {msg: \"{{ lookup('first_found', {'files': ['a', env], 'paths': 'conf'}) }}\"}",
            &["conf/a", "conf/prod"],
        ),
        (
            "debug: {msg: \"{{ 'a/b.txt' if x else 'c/d.txt' }}{{ lookup('file', 'a/b.txt' if x else 'c/d.txt') }}\"}",
            &["a/b.txt", "c/d.txt"],
        ),
        (
            "debug: {msg: \"{{ lookup('file', ['keys', env] | join('/')) }}\"}",
            &["keys/prod"],
        ),
        (
            "debug: {msg: \"{{ lookup('file', (x | default('keys/a')) ) }}\"}",
            &["keys/a"],
        ),
        (
            "uri: {url: 'http://a', src: 'conf/a.json'}",
            &["conf/a.json"],
        ),
        (
            "uri: {url: 'http://a', body_format: form-multipart, body: {f: {filename: conf/a.bin}}}",
            &["conf/a.bin"],
        ),
        (
            "assemble: {src: parts, dest: /x, remote_src: false}",
            &["parts/1", "parts/2"],
        ),
        ("action: template src=conf/a.j2 dest=/x", &["conf/a.j2"]),
    ] {
        assert_eq!(
            missing(&format!("    - {task}\n"), wanted),
            Vec::<String>::new(),
            "{task}"
        );
    }
}

#[test]
fn loops_name_files_one_by_one() {
    for (looped, wanted) in [
        (
            "{src: 'cfg/{{ item }}', dest: /x}\n      loop: [a, b]",
            &["cfg/a", "cfg/b"][..],
        ),
        (
            "{src: '{{ item.src }}', dest: /x}\n      loop: [{src: one/a}, {src: two/b}]",
            &["one/a", "two/b"],
        ),
        (
            "{src: '{{ item }}/key', dest: /x}\n      with_items: ['{{ users }}', eve]",
            &["ann/key", "bob/key", "eve/key"],
        ),
        (
            "{src: '{{ u }}/key', dest: /x}\n      loop: '{{ users }}'\n      loop_control: {loop_var: u}",
            &["ann/key", "bob/key"],
        ),
        (
            "{src: '{{ item.value }}/f', dest: /x}\n      with_dict: {a: one, b: two}",
            &["one/f", "two/f"],
        ),
        (
            "{src: '{{ item }}', dest: /x}\n      with_fileglob: keys/*.pub",
            &["keys/a.pub", "keys/b.pub"],
        ),
        (
            "{src: '{{ item }}', dest: /x}\n      with_fileglob: ['{{ base }}/*']",
            &["conf/a"],
        ),
        (
            "{src: '{{ item }}', dest: /x}\n      with_first_found: ['{{ x }}.conf', 'cfg/{{ env }}', cfg/default]",
            &["cfg/prod", "cfg/default"],
        ),
        (
            "{src: '{{ item }}', dest: /x}\n      with_first_found: [{files: ['{{ x }}.conf', b], paths: [cfg]}]",
            &["cfg/a.conf", "cfg/b"],
        ),
    ] {
        assert_eq!(
            missing(&format!("    - copy: {looped}\n"), wanted),
            Vec::<String>::new(),
            "{looped}"
        );
    }
}

#[test]
fn what_begins_with_the_runs_words_stays_in_the_folders_for_files() {
    let tasks = "    - copy: {src: '{{ r.stdout }}', dest: /x}\n    - include_vars: '{{ r.stdout }}.yml'\n\
                 \x20   - include_tasks: '{{ playbook_dir }}/{{ r.stdout }}'\n";
    assert_eq!(
        missing(tasks, &["files/a", "vars/b.yml"]),
        Vec::<String>::new()
    );
    assert_eq!(missing(tasks, &["other/a", "b.yml"]), ["other/a", "b.yml"]);
}

#[test]
fn a_files_own_words_are_followed() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  tasks: [{include_tasks: 'steps/{{ s }}.yml'}]\n",
        ),
        (
            "steps/one.yml",
            "- include_role: {name: '{{ r }}'}\n  vars: {r: web}\n- template: {src: conf/a.j2, dest: /x}\n",
        ),
        (
            "roles/web/tasks/main.yml",
            "- debug: {msg: \"{{ lookup('file', motd) }}\"}\n",
        ),
        (
            "roles/web/vars/main.yml",
            "motd: \"{{ playbook_dir }}/texts/motd\"\n",
        ),
        ("roles/other/tasks/main.yml", "- debug:\n"),
        ("texts/motd", "hi"),
        (
            "conf/a.j2",
            "{% include 'conf/b.j2' %}{{ lookup('file', 'texts/more') }}",
        ),
        ("conf/b.j2", "x"),
        ("texts/more", "hi"),
    ]);
    assert_eq!(
        names(&dir, &found(&dir)),
        [
            "conf/a.j2",
            "conf/b.j2",
            "roles/web/tasks/main.yml",
            "roles/web/vars/main.yml",
            "site.yml",
            "steps/one.yml",
            "texts/more",
            "texts/motd"
        ]
    );
}

#[test]
fn roles_travel_whole_and_others_do_not() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  roles: [web]\n  tasks:\n    - copy: {src: '../shared/f', dest: /x}\n",
        ),
        ("roles/web/meta/main.yml", "dependencies: [base]\n"),
        ("roles/web/files/.a", "a"),
        ("roles/web/.git/HEAD", "x"),
        (
            "roles/base/tasks/main.yaml",
            "- copy: {src: ../../common/files/c, dest: /x}\n",
        ),
        ("roles/common/files/c", "c"),
        ("roles/unused/tasks/main.yml", "- nonsense\n"),
        ("inventory/group_vars/all.yml", "a: 1"),
    ]);
    assert_eq!(
        names(&dir, &found(&dir)),
        [
            "roles/base/tasks/main.yaml",
            "roles/common/files/c",
            "roles/web/files/.a",
            "roles/web/meta/main.yml",
            "site.yml"
        ]
    );
}

#[test]
fn any_role_may_be_meant_by_an_open_name() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  tasks: [{include_role: {name: 'web-{{ r.stdout }}'}}]\n",
        ),
        ("roles/web-a/tasks/main.yml", "[]"),
        ("roles/db/tasks/main.yml", "[]"),
    ]);
    assert_eq!(
        names(&dir, &found(&dir)),
        ["roles/web-a/tasks/main.yml", "site.yml"]
    );
}

#[test]
fn a_test_tells_what_is_there_and_brings_nothing() {
    let dir = project(&[(
        "site.yml",
        "- hosts: all\n  tasks:\n    - debug:\n      when: (playbook_dir ~ '/a') is file and '/etc' is directory and '/etc/passwd' is exists\n",
    )]);
    std::fs::write(dir.path().join("a"), "").unwrap();
    let found = found(&dir);
    let here = dir.path().join("a");
    assert_eq!(
        found.tested,
        [Path::new("/etc"), Path::new("/etc/passwd"), here.as_path()].map(Path::to_path_buf)
    );
    assert_eq!(names(&dir, &found), ["site.yml"]);
    let reads = &found.reads;
    assert!(reads.tells(Path::new("/etc/passwd")) && !reads.permits(Path::new("/etc/passwd")));
    assert!(!reads.tells(Path::new("/etc/shadow")));
}

#[test]
fn nothing_else_may_be_read() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  tasks:\n    - copy: {src: 'cfg/{{ x }}', dest: /etc/shadow}\n    - copy: {src: '/srv/keys/{{ x }}', dest: /y}\n",
        ),
        ("cfg/a", ""),
    ]);
    let reads = found(&dir).reads;
    let below = |name: &str| dir.path().join(name);
    for (path, may) in [
        (below("cfg/a"), true),
        (below("cfg/later/b"), true),
        (below("site.yml"), true),
        (below("files/later"), true),
        (PathBuf::from("/srv/keys/a"), true),
        (below("cfg/../secrets.yml"), false),
        (below("cfg/.a"), false),
        (below("secrets.yml"), false),
        (PathBuf::from("/etc/shadow"), false),
        (PathBuf::from("/srv/keys/../../etc/shadow"), false),
        (PathBuf::from("srv/keys/a"), false),
    ] {
        assert_eq!(reads.permits(&path), may, "{}", path.display());
    }
    assert!(reads.is_own(&below("secrets.yml")));
    assert!(!reads.is_own(&below(".ssh/id")) && !reads.is_own(Path::new("/etc/shadow")));
}

#[test]
fn variables_from_elsewhere_count() {
    let dir = project(&[
        (
            "site.yml",
            "- hosts: all\n  tasks: [{copy: {src: '{{ where }}/a', dest: /x}}]\n",
        ),
        ("here/a", ""),
        ("there/a", ""),
    ]);
    let vars = serde_json::json!({"where": "here"});
    let given = Given {
        vars: vec![vars.as_object().unwrap()],
        ..Given::default()
    };
    assert_eq!(
        names(&dir, &found_with(&dir, &given)),
        ["here/a", "site.yml"]
    );
}

#[test]
fn folders_that_are_empty_and_links_that_lead_nowhere_travel() {
    let dir = project(&[(
        "site.yml",
        "- hosts: all\n  tasks:\n    - copy: {src: a, dest: /b}\n",
    )]);
    std::fs::create_dir_all(dir.path().join("files/a/empty")).unwrap();
    for (name, target) in [("gone", "nowhere"), ("round", "..")] {
        std::os::unix::fs::symlink(target, dir.path().join("files/a").join(name)).unwrap();
    }
    assert_eq!(
        names(&dir, &found(&dir)),
        ["files/a/empty", "files/a/gone", "files/a/round", "site.yml"]
    );
}

#[test]
fn a_source_on_the_target_is_not_looked_for_here() {
    for (task, ours) in [
        ("copy: {src: a, dest: /b}", true),
        ("copy: {src: a, dest: /b, remote_src: true}", false),
        ("assemble: {src: a, dest: /b}", false),
        ("assemble: {src: a, dest: /b, remote_src: 'no'}", true),
        ("unarchive: {src: a/1, dest: /b}", true),
        ("unarchive: {src: a/1, dest: /b, copy: false}", false),
    ] {
        let left = missing(&format!("    - {task}\n"), &["a/1"]);
        assert_eq!(left.is_empty(), ours, "{task}");
    }
}

#[test]
fn what_is_only_copied_names_nothing_and_what_is_included_too_does() {
    let more = "- copy: {src: keys/a, dest: /x}\n";
    let travels = |tasks: &str| {
        let play = format!("- hosts: all\n  tasks:\n{tasks}");
        let files = [("site.yml", play.as_str()), ("conf/more.yml", more)];
        let dir = project(&[&files[..], &[("keys/a", "x")]].concat());
        names(&dir, &found(&dir))
    };
    let copied = "  - copy: {src: conf/, dest: /x}\n";
    assert_eq!(travels(copied), ["conf/more.yml", "site.yml"]);
    let whole = ["conf/more.yml", "keys/a", "site.yml"];
    for included in [
        "  - include_tasks: conf/more.yml\n",
        "  - include_tasks: conf/{{ from_the_run }}.yml\n",
        "  - include_vars: {dir: conf}\n",
    ] {
        assert_eq!(travels(&format!("{copied}{included}")), whole, "{included}");
    }
}

#[test]
fn a_path_is_known_beyond_the_links_that_the_playbook_resolves() {
    let play = "- hosts: all
  vars: {root: '{{ inventory_dir | realpath }}', secret: \"{{ (root ~ '/../secret') | realpath }}\"}
  tasks:
    - debug: {msg: \"{{ lookup('file', secret ~ '/key') }}\"}
";
    let dir = project(&[
        ("site.yml", play),
        ("far/inventory/hosts", ""),
        ("far/secret/key", "x"),
    ]);
    let base = dir.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("far/inventory", base.join("here")).unwrap();
    let vars = serde_json::json!({"inventory_dir": base.join("here")});
    let given = Given {
        vars: vec![vars.as_object().unwrap()],
        ..Given::default()
    };
    let found = found_with(&dir, &given);
    assert_eq!(names(&dir, &found), ["far/secret/key", "site.yml"]);
    for (path, told) in [
        ("here", true),
        ("far/inventory/../secret", true),
        ("far/secret", true),
        ("here/../secret", false),
        ("far", false),
        ("far/inventory/hosts", false),
    ] {
        assert_eq!(found.reads.resolves(&base.join(path)), told, "{path}");
    }
}

/// What a manifest gives is what a variable is; of defaults, each may be meant.
#[test]
fn what_is_checked_out_is_told_as_far_as_it_is_written() {
    let task = "- git: {repo: '{{ repository }}', dest: /x, version: '{{ version }}'}\n- git: {repo: https://example.org/b.git, dest: /y}\n- ansible.builtin.git:\n    name: '{{ said.stdout }}'\n    dest: /z\n    version: v1\n";
    let dir = project(&[
        ("site.yml", "- hosts: all\n  roles: [web]\n"),
        ("roles/web/tasks/main.yml", task),
        (
            "roles/web/defaults/main.yml",
            "repository: https://example.org/a.git\nversion: main\n",
        ),
        ("roles/web/vars/main.yml", "version: stable\n"),
    ]);
    let told = |given: &Given<'_>| {
        let found = found_with(&dir, given);
        let told = found.checkouts.into_iter().map(|checkout| {
            let open = || "?".to_owned();
            let repository = checkout.repository.unwrap_or_else(open);
            format!("{repository} {}", checkout.version.unwrap_or_else(open))
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(&Given::default()),
        [
            "? v1",
            "https://example.org/a.git main",
            "https://example.org/a.git stable",
            "https://example.org/b.git HEAD",
        ]
    );
    let vars = Map::from_iter([("version".to_owned(), Json::from("v2"))]);
    let given = Given {
        vars: vec![&vars],
        ..Given::default()
    };
    assert_eq!(
        told(&given)[1..],
        [
            "https://example.org/a.git v2",
            "https://example.org/b.git HEAD"
        ]
    );
}
