//! How requirements are written, and what is refused in them.

use super::*;

fn read(text: &str) -> Result<Requirements, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["near", "role.tar.gz"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let file = folder.path().join("requirements.yml");
    std::fs::write(&file, text).unwrap();
    let home = format!("{}/", folder.path().display());
    Requirements::read(&file).map_err(|wrong| wrong.to_string().replace(&home, ""))
}

fn lines(text: &str) -> Vec<String> {
    let all = read(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
    all.lines().into_iter().collect()
}

#[test]
fn a_role_is_read_in_all_the_ways_that_it_is_written_in() {
    for (text, line) in [
        (
            "- geerlingguy.nginx",
            "role geerlingguy.nginx geerlingguy.nginx *",
        ),
        (
            "- geerlingguy.nginx,3.1.0,web",
            "role web geerlingguy.nginx 3.1.0",
        ),
        (
            "- src: geerlingguy.nginx\n  version: 3.1",
            "role geerlingguy.nginx geerlingguy.nginx 3.1",
        ),
        ("- name: a.b", "role a.b a.b *"),
        ("roles: [{role: a.b, version: v1}]", "role a.b a.b v1"),
        (
            "- src: https://github.com/x/ansible-role-y",
            "role ansible-role-y git+https://github.com/x/ansible-role-y *",
        ),
        (
            "- src: https://github.com/x/y/archive/1.0.tar.gz\n  name: y",
            "role y https://github.com/x/y/archive/1.0.tar.gz *",
        ),
        (
            "- git+https://h/x/y.git,v2",
            "role y git+https://h/x/y.git v2",
        ),
        (
            "- src: git@h:x/y.git\n  scm: git\n  version: main\n  name: z",
            "role z git+git@h:x/y.git main",
        ),
        (
            "- {src: 'git+ssh://git:pw@h/x/y.git', name: y}",
            "role y git+ssh://git@h/x/y.git *",
        ),
        (
            "- {src: 'https://u:pw@h/x.tar.gz'}",
            "role x https://h/x.tar.gz *",
        ),
    ] {
        assert_eq!(lines(text), [line], "{text}");
    }
    let near = lines("- src: ./role.tar.gz\n- src: ./folder\n");
    assert_eq!(
        near,
        ["role folder ./folder *", "role role ./role.tar.gz *"]
    );
}

#[test]
fn a_collection_is_read_in_all_the_ways_that_it_is_written_in() {
    for (text, line) in [
        ("[a.b]", "collection a.b *"),
        (
            "[{name: a.b, version: '>=1.0,<2'}]",
            "collection a.b >=1.0,<2",
        ),
        (
            "[{name: a.b, source: 'https://hub'}]",
            "collection a.b from https://hub *",
        ),
        (
            "[{name: 'git+https://t:k@h/x.git#/c/d', version: v1}]",
            "collection git+https://h/x.git#c/d v1",
        ),
        ("['git@h:x/y.git,dev']", "collection git+git@h:x/y.git dev"),
        (
            "[{source: 'https://h/x.git', type: git}]",
            "collection git+https://h/x.git *",
        ),
        (
            "[{name: 'https://h/a-b-1.0.0.tar.gz', type: url}]",
            "collection https://h/a-b-1.0.0.tar.gz *",
        ),
    ] {
        assert_eq!(lines(&format!("collections: {text}")), [line], "{text}");
    }
}

#[test]
fn what_could_be_an_option_a_program_or_a_folder_above_is_refused() {
    for text in [
        "- src: git+--upload-pack=touch x",
        "- src: --upload-pack=touch x\n  scm: git\n  name: x",
        "- {src: 'git+https://h/x', version: '--output=/etc/x'}",
        "- git+https://h/x,--orphan",
        "- {src: 'git+https://h/x', version: 'a:b'}",
        "- {src: 'git+https://h/x', version: '+a'}",
        "- {src: 'git+https://h/x', version: 'a..b'}",
        "- {src: 'git+ext::sh -c touch% x', name: x}",
        "- {src: 'git+ssh://-oProxyCommand=touch/x', name: x}",
        "- {src: 'git+ssh://u@-oProxyCommand=touch/x', name: x}",
        "- {src: 'git@-oProxyCommand=x:y', scm: git, name: x}",
        "- {src: 'git+fd://3/x', name: x}",
        "- {src: 'ftp://h/x.tar.gz'}",
        "- {src: 'git+https://h/x', name: ../../etc}",
        "- {src: 'git+https://h/x', name: /etc/cron.d}",
        "- {src: 'git+https://h/x', name: -x}",
        "- {src: 'git+https://h/..', version: v1}",
        "- {src: a.b, name: .ssh}",
        "- {src: \"git+https://h/x\\n--y\", name: x}",
        "- {src: 'https://h/x', scm: hg}",
        "- {src: nothing}",
        "collections: [{name: 'git+https://h/x#../../y'}]",
        "collections: [{name: 'git+https://h/x#.git/hooks'}]",
        "collections: [{name: '--config=x', type: git}]",
        "collections: [{name: 'https://h/x', type: git, version: '-b'}]",
        "collections: [{name: a.b, version: latest}]",
        "collections: [{name: a.b, version: '--pre'}]",
        "collections: [{name: a.b.c}]",
        "collections: [{name: ../a.b}]",
        "collections: [{name: a.b, signatures: [x]}]",
        "collections: [{name: a.b, type: zip}]",
        "things: []",
        "{src: a.b}",
    ] {
        let refused = read(text);
        assert!(refused.is_err(), "{text}: {refused:?}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let wrong = read("roles:\n  - src: a.b\n  - src: git+--upload-pack=x\n").unwrap_err();
    assert!(
        wrong.starts_with("requirements.yml:3:10: `src` begins with `-`"),
        "{wrong}"
    );
    let twice = read("- {src: a.b, version: v1}\n- {src: a.b, version: v2}\n").unwrap_err();
    assert!(
        twice.contains("the role `a.b` is asked for in two ways"),
        "{twice}"
    );
    assert_eq!(lines("- a.b\n- a.b\n").len(), 1);
}
