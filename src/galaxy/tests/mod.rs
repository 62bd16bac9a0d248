//! `install` against repositories on this disk and a Galaxy server on loopback that speaks its API.

mod hostile;
mod locks;
mod peer;
mod server;
mod world;

use std::fs;

use tokio_util::sync::CancellationToken;
use world::{World, bytes_of_role, collection_source, role_files};

use super::{Change, LockedSet};
use crate::ansible_config::{AnsibleConfig, with_surroundings};

#[test]
fn roles_come_from_git_archives_folders_and_galaxy_with_what_they_need() {
    let world = World::new();
    let base = world.repository("base", &role_files("base", ""));
    let web = format!(
        "dependencies:\n  - {{src: 'git+{base}', version: v1, name: org.base}}\n  - local\n"
    );
    let web = world.repository("web", &role_files("web", &web));
    let tarball = world.role_archive("packed-1.0", &role_files("packed", "dependencies: []\n"));
    world.write_files("near", &role_files("near", "dependencies:\n- org.db\n"));
    world
        .server
        .role("org.db", "1.0.0", &bytes_of_role("db-1.0.0", "old"));
    world
        .server
        .role("org.db", "1.10.0", &bytes_of_role("db-1.10.0", "new"));
    let done = world.install(&format!(
        "- src: {web}\n  scm: git\n  name: web\n- src: {tarball}\n  name: packed\n- src: ./near\n"
    ));
    let done = done.unwrap();
    let all: Vec<(&str, &str)> = done
        .iter()
        .map(|o| (o.name.as_str(), o.version.as_str()))
        .collect();
    let expected = [
        ("web", ""),
        ("packed", ""),
        ("near", ""),
        ("org.base", "v1"),
        ("org.db", "1.10.0"),
    ];
    assert_eq!(all, expected);
    assert_eq!(world.role_text("org.db", "tasks/main.yml"), "# new\n");
    assert_eq!(world.role_text("web", "tasks/main.yml"), "# web\n");
    assert!(
        done.iter()
            .all(|outcome| outcome.change == Change::Installed)
    );
    let left = fs::read_dir(world.roles()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|e| e.file_name().to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn collections_are_resolved_over_pages_and_servers_and_their_needs() {
    let world = World::new();
    let server = &world.server;
    for minor in 0..7 {
        server.collection("ns.base", &format!("1.{minor}.0"), &[], "base");
    }
    server.collection("ns.base", "2.0.0", &[], "base");
    server.collection("ns.base", "3.0.0-beta.1", &[], "base");
    server.collection(
        "ns.web",
        "1.0.0",
        &[("ns.base", ">=1.0.0,<2.0.0,!=1.6.0")],
        "web",
    );
    let done = world.install("collections:\n- ns.web\n").unwrap();
    let all: Vec<String> = done
        .iter()
        .map(|o| format!("{} {}", o.name, o.version))
        .collect();
    assert_eq!(all, ["ns.base 1.5.0", "ns.web 1.0.0"]);
    let place = world.collection("ns.web");
    assert_eq!(
        fs::read_to_string(place.join("README.md")).unwrap(),
        "web\n"
    );
    let origin = world
        .collections()
        .join("ansible_collections/ns.web-1.0.0.info/GALAXY.yml");
    let origin = fs::read_to_string(origin).unwrap();
    assert!(origin.contains("server: \"http://127.0.0.1:"), "{origin}");
    // No page was left out: the versions come two at a time.
    let asked = world.server.asked("/api/v3/collections/ns/base/versions/?");
    assert!(asked.len() >= 5, "{asked:?}");
}

#[test]
fn collections_come_from_git_archives_and_folders() {
    let world = World::new();
    world.server.collection("ns.base", "1.0.0", &[], "base");
    let one = collection_source("one", "1.2.3", &[("ns.base", "*")]);
    let one = world.repository("one", &one);
    let mut several = Vec::new();
    for name in ["two", "three"] {
        let files = collection_source(name, "2.0.0", &[]);
        several.extend(
            files
                .into_iter()
                .map(|(path, text)| (format!("coll/{name}/{path}"), text)),
        );
    }
    let several = world.repository("several", &several);
    world.write_files("four", &collection_source("four", "4.0.0", &[]));
    let archive = world.path("five.tar.gz");
    fs::write(
        &archive,
        world::collection_archive("ns.five", "5.0.0", &[], "five"),
    )
    .unwrap();
    let done = world.install(&format!(
        "collections:\n- name: git+{one}\n  version: v1\n- git+{several}#/coll/\n- source: ./four\n  type: dir\n- ./five.tar.gz\n"
    ));
    let mut all: Vec<String> = done
        .unwrap()
        .iter()
        .map(|o| format!("{} {}", o.name, o.version))
        .collect();
    all.sort();
    let expected = [
        "ns.base 1.0.0",
        "ns.five 5.0.0",
        "ns.four 4.0.0",
        "ns.one 1.2.3",
        "ns.three 2.0.0",
        "ns.two 2.0.0",
    ];
    assert_eq!(all, expected);
    let one = world.collection("ns.one");
    assert!(one.join("MANIFEST.json").is_file() && one.join("plugins/modules/x.py").is_file());
    for left_out in ["galaxy.yml", ".git", "ignored.txt", "x.pyc"] {
        assert!(!one.join(left_out).exists(), "{left_out}");
    }
}

#[test]
fn what_is_there_stays_unless_it_is_forced_and_what_nobody_installed_is_not_replaced() {
    let world = World::new();
    let web = world.repository("web", &role_files("web", ""));
    let text = format!("- src: git+{web}\n  version: v1\n  name: web\n");
    world.install(&text).unwrap();
    let again = world.install(&text).unwrap();
    assert_eq!(again[0].change, Change::Unchanged);
    fs::write(world.roles().join("web/tasks/main.yml"), "mine").unwrap();
    let forced = world
        .install_so(&text, |request| request.force = true)
        .unwrap();
    assert_eq!(forced[0].change, Change::Replaced);
    assert_eq!(world.role_text("web", "tasks/main.yml"), "# web\n");
    fs::remove_file(world.roles().join("web/meta/.galaxy_install_info")).unwrap();
    let refused = world.install(&text).unwrap_err();
    assert!(
        refused.contains("nothing says that it was installed"),
        "{refused}"
    );
    world
        .install_so(&text, |request| request.force = true)
        .unwrap();
}

#[test]
fn what_is_installed_is_listed_and_removed() {
    let world = World::new();
    world.server.collection("ns.web", "1.0.0", &[], "web");
    let web = world.repository("web", &role_files("web", ""));
    world
        .install(&format!(
            "roles: [{{src: 'git+{web}', version: v1, name: web}}]\ncollections: [ns.web]\n"
        ))
        .unwrap();
    fs::create_dir_all(world.roles().join("own/tasks")).unwrap();
    let search = world.search();
    let listed = || {
        let all = super::installed(&search).into_iter();
        all.map(|one| {
            format!(
                "{} {} {}",
                one.kind,
                one.name,
                one.version.unwrap_or_default()
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(),
        ["role own ", "role web v1", "collection ns.web 1.0.0"]
    );
    super::remove("web", &search, false).unwrap();
    super::remove("ns.web", &search, false).unwrap();
    assert!(super::remove("own", &search, false).is_err());
    assert!(super::remove("none", &search, true).is_err());
    super::remove("own", &search, true).unwrap();
    assert_eq!(listed(), [""; 0]);
    let left = world.collections().join("ansible_collections");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);
}

#[test]
fn every_fault_leaves_the_folders_as_they_were() {
    let world = World::new();
    let web = world.repository("web", &role_files("web", ""));
    let bad = world.repository("bad", &[("README".to_owned(), "no role".to_owned())]);
    world
        .server
        .collection("ns.web", "1.0.0", &[("ns.none", "*")], "web");
    for (text, told) in [
        (
            format!("- git+{web}\n- git+{bad}\n"),
            "role bad could not be had: it is no role: it has no meta/main.yml",
        ),
        (format!("- git+{web},v9\n"), "has no `v9`"),
        (format!("- git+{web}-none\n"), "could not be fetched"),
        ("- org.none\n".to_owned(), "it is not on http://127.0.0.1"),
        (
            "collections: [ns.web]\n".to_owned(),
            "no version of ns.none will do: ns.web 1.0.0 wants *; there is none",
        ),
        (
            "collections: [{name: ns.web, version: '>=2'}]\n".to_owned(),
            "there is 1.0.0",
        ),
        (
            "collections: [{name: ns.web, source: other}]\n".to_owned(),
            "no Galaxy server is called `other`",
        ),
    ] {
        let refused = world.install(&text).unwrap_err();
        assert!(refused.contains(told), "{text}: {refused}");
        for folder in [world.roles(), world.collections()] {
            let count = fs::read_dir(&folder).map_or(0, Iterator::count);
            assert_eq!(count, 0, "{text}: {}", folder.display());
        }
        assert!(!world.path("requirements.yml.lock").exists());
    }
}

#[test]
fn who_interrupts_it_finds_the_folders_as_they_were() {
    let world = World::new();
    let web = world.repository("web", &role_files("web", ""));
    let refused = world.install_so(&format!("- git+{web}\n"), |request| request.cancel.cancel());
    assert_eq!(refused.unwrap_err(), "interrupted");
    assert_eq!(fs::read_dir(world.roles()).unwrap().count(), 0);
}

#[test]
fn a_locked_set_is_made_once_and_whole() {
    let world = World::new();
    let web = world.repository("web", &role_files("web", ""));
    world
        .install(&format!("- {{src: 'git+{web}', name: org.web}}\n"))
        .unwrap();
    let file = world.path("requirements.yml");
    let cache = world.cache();
    let set = LockedSet::of(&file, &cache).unwrap();
    assert!(!set.is_there() && set.lines.len() == 1, "{set:?}");
    let (tell, cancel) = (|_| {}, CancellationToken::new());
    let install = || {
        with_surroundings(|around| {
            set.install(
                &cache,
                &AnsibleConfig::default(),
                around,
                true,
                &cancel,
                &tell,
            )
        })
    };
    install().unwrap();
    let role = set.search().role("org.web").unwrap();
    assert_eq!(
        fs::read_to_string(role.join("tasks/main.yml")).unwrap(),
        "# web\n"
    );
    fs::remove_dir_all(world.path("git")).unwrap();
    install().unwrap();
    let sets = fs::read_dir(world.path("cache/sets")).unwrap().count();
    assert_eq!(sets, 1, "nothing is left beside it");
}
