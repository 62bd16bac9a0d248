//! The lock file: what it pins, what it refuses, and how it is brought up to date.

use std::fs;

use serde_json::Value as Json;

use super::super::{Change, Locking};
use super::server::Server;
use super::world::{World, bytes_of_role, collection_source, role_files};

fn lock(world: &World) -> Json {
    let text = fs::read(world.path("requirements.yml.lock")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn pins(world: &World) -> Vec<String> {
    let lock = lock(world);
    let all = lock["roles"].as_array().unwrap().iter();
    let all = all.chain(lock["collections"].as_array().unwrap());
    let text = |pin: &Json, key: &str| pin[key].as_str().unwrap_or("-").to_owned();
    all.map(|pin| {
        format!(
            "{} {} {}",
            text(pin, "name"),
            text(pin, "version"),
            text(pin, "origin")
        )
    })
    .collect()
}

fn clear(world: &World) {
    fs::remove_dir_all(world.path("out")).unwrap();
}

/// A branch, a range and an archive, and how they are asked for.
fn project(world: &World) -> String {
    let web = world.repository("web", &role_files("one", ""));
    let source = collection_source("git", "1.0.0", &[]);
    let collection = world.repository("collection", &source);
    world.server.collection("ns.base", "1.0.0", &[], "base");
    world
        .server
        .file("/packed.tar.gz", &bytes_of_role("packed", "packed"));
    format!(
        "roles:\n- {{src: 'git+{web}', version: main, name: web}}\n- src: {}/packed.tar.gz\n\
         collections:\n- {{name: ns.base, version: '>=1.0.0'}}\n- {{name: 'git+{collection}', version: main}}\n",
        world.server.url()
    )
}

#[test]
fn a_lock_file_has_commits_and_digests_and_is_the_whole_answer() {
    let world = World::new();
    let text = project(&world);
    world.install(&text).unwrap();
    let expected = [
        "packed - archive",
        "web main git",
        "ns.base 1.0.0 galaxy",
        "ns.git 1.0.0 git",
    ];
    assert_eq!(
        pins(&world)
            .iter()
            .map(|pin| pin.replace("  ", " - "))
            .collect::<Vec<_>>(),
        expected
    );
    let first = lock(&world);
    for pin in [
        &first["roles"][0],
        &first["roles"][1],
        &first["collections"][1],
    ] {
        assert_eq!(pin["sha256"].as_str().unwrap().len(), 64);
    }
    assert_eq!(first["roles"][1]["commit"].as_str().unwrap().len(), 40);
    // All moves on; the lock file does not.
    world.commit("web", &role_files("two", ""));
    world.server.collection("ns.base", "1.1.0", &[], "newer");
    let asked = world.server.asked("/api").len();
    clear(&world);
    world
        .install_so(&text, |r| r.locking = Locking::Locked)
        .unwrap();
    assert_eq!(world.role_text("web", "tasks/main.yml"), "# one\n");
    assert_eq!(world.server.asked("/api").len(), asked, "nobody was asked");
    assert_eq!(lock(&world), first);
    world
        .install_so(&text, |r| r.locking = Locking::Upgrade)
        .unwrap();
    assert_eq!(world.role_text("web", "tasks/main.yml"), "# two\n");
    assert_eq!(pins(&world)[2], "ns.base 1.1.0 galaxy");
}

#[test]
fn what_is_added_is_found_out_and_the_rest_stays_where_it_was() {
    let world = World::new();
    let text = project(&world);
    world.install(&text).unwrap();
    let before = lock(&world);
    world.commit("web", &role_files("two", ""));
    let source = collection_source("git", "1.5.0", &[]);
    world.commit("collection", &source);
    world.server.collection("ns.base", "1.1.0", &[], "newer");
    world
        .server
        .collection("ns.more", "1.0.0", &[("ns.base", "*")], "more");
    world.install(&format!("{text}- ns.more\n")).unwrap();
    let after = lock(&world);
    assert_eq!(before["roles"], after["roles"]);
    assert_eq!(before["collections"][0], after["collections"][0]);
    assert_eq!(before["collections"][1], after["collections"][1]);
    assert_eq!(after["collections"][2]["name"], "ns.more");
    // And what is gone is gone.
    world
        .install("collections:\n- {name: ns.base, version: '>=1.0.0'}\n")
        .unwrap();
    assert_eq!(pins(&world), ["ns.base 1.0.0 galaxy"]);
}

#[test]
fn locked_refuses_what_is_not_there_or_is_another() {
    let world = World::new();
    let text = project(&world);
    let locked = |text: &str| world.install_so(text, |r| r.locking = Locking::Locked);
    assert!(locked(&text).unwrap_err().contains("there is no lock file"));
    world.install(&text).unwrap();
    let refused = locked(&format!("{text}- ns.more\n")).unwrap_err();
    assert!(
        refused.ends_with("new is `collection ns.more *`"),
        "{refused}"
    );
    let refused = locked(&text.replace(">=1.0.0", ">=1.1.0")).unwrap_err();
    assert!(
        refused.contains("gone is `collection ns.base >=1.0.0`"),
        "{refused}"
    );
    clear(&world);
    fs::remove_dir_all(world.path("cache")).unwrap();
    // The same version, with other bytes.
    world.server.collection("ns.base", "1.0.0", &[], "evil");
    let refused = locked(&text).unwrap_err();
    assert!(
        refused.starts_with("ns.base is not what the lock file says: its SHA-256 is"),
        "{refused}"
    );
    assert!(!world.collection("ns.base").exists());
    let refused = world.install(&text).unwrap_err();
    assert!(
        refused.starts_with("ns.base is not what the lock file says"),
        "{refused}"
    );
    world
        .install_so(&text, |r| r.locking = Locking::Upgrade)
        .unwrap();
}

#[test]
fn a_commit_that_is_gone_is_told_and_nothing_else_is_taken() {
    let world = World::new();
    let web = world.repository("web", &role_files("one", ""));
    let text = format!("- {{src: 'git+{web}', version: main, name: web}}\n");
    world.install(&text).unwrap();
    clear(&world);
    fs::remove_dir_all(world.path("cache")).unwrap();
    fs::remove_dir_all(world.path("git/web")).unwrap();
    world.repository("web", &role_files("two", ""));
    let refused = world.install(&text).unwrap_err();
    assert!(refused.contains("is not in file://"), "{refused}");
    assert!(!world.roles().join("web").exists());
}

#[test]
fn offline_everything_comes_from_the_cache_with_a_lock_file_and_without() {
    let world = World::new();
    let text = project(&world);
    let offline = |text: &str| world.install_so(text, |r| r.offline = true);
    assert!(offline(&text).unwrap_err().contains("--offline"));
    world.install(&text).unwrap();
    let known = lock(&world);
    let asked = world.server.asked("/").len();
    fs::rename(world.path("git"), world.path("elsewhere")).unwrap();
    for with_lock in [true, false] {
        clear(&world);
        if !with_lock {
            fs::remove_file(world.path("requirements.yml.lock")).unwrap();
        }
        let done = offline(&text).unwrap();
        assert!(
            done.iter()
                .all(|outcome| outcome.change == Change::Installed)
        );
        assert_eq!(lock(&world), known);
    }
    assert_eq!(world.server.asked("/").len(), asked);
    let refused = offline(&format!("{text}- ns.more\n")).unwrap_err();
    assert!(refused.contains("is not in the cache"), "{refused}");
}

#[test]
fn a_folder_may_change_unless_the_lock_file_is_all_that_counts() {
    let world = World::new();
    world.write_files("near", &role_files("one", ""));
    let text = "- {src: ./near, name: near}\n";
    world.install(text).unwrap();
    let before = lock(&world);
    world.write_files("near", &role_files("two", ""));
    clear(&world);
    let refused = world
        .install_so(text, |r| r.locking = Locking::Locked)
        .unwrap_err();
    assert!(
        refused.starts_with("near is not what the lock file says"),
        "{refused}"
    );
    world.install(text).unwrap();
    assert_eq!(world.role_text("near", "tasks/main.yml"), "# two\n");
    assert_ne!(lock(&world), before);
}

#[test]
fn a_requirements_file_that_moves_has_the_same_lock_file() {
    let world = World::new();
    world.write_files("near", &role_files("one", ""));
    world.install("- {src: ./near, name: near}\n").unwrap();
    let text = fs::read_to_string(world.path("requirements.yml.lock")).unwrap();
    assert!(!text.contains(world.path("").to_str().unwrap()), "{text}");
}

#[test]
fn something_that_fails_for_a_moment_is_tried_again() {
    let world = World::new();
    world
        .server
        .file("/packed.tar.gz", &bytes_of_role("packed", "packed"));
    world.server.fail("/packed.tar.gz", 503, 2);
    let text = format!("- src: {}/packed.tar.gz\n", Server::url(&world.server));
    world.install(&text).unwrap();
    assert_eq!(world.server.asked("/packed").len(), 3);
    world.server.fail("/packed.tar.gz", 403, 1);
    fs::remove_dir_all(world.path("cache")).unwrap();
    let refused = world.install_so(&text, |r| {
        r.locking = Locking::Upgrade;
        r.force = true;
    });
    assert!(refused.unwrap_err().ends_with("answered 403"));
}
