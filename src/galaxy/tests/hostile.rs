//! What a requirements file, an archive, a repository or a server may not do.

use std::fs;
use std::path::Path;

use tar::{EntryType, Header};

use super::super::Locking;
use super::server::Server;
use super::world::{
    World, archive, bytes_of_role, collection_files, collection_source, gzipped, role_files,
};

/// Nothing lies where something was to be written to.
fn nothing_outside(world: &World) {
    for name in ["out/evil", "evil", "out/roles/evil", "out/roles/web"] {
        assert!(fs::symlink_metadata(world.path(name)).is_err(), "{name}");
    }
    for folder in [world.roles(), world.collections()] {
        let left: Vec<_> = fs::read_dir(&folder)
            .map(|r| r.flatten().collect())
            .unwrap_or_default();
        assert!(
            left.iter().all(|e| e.file_name() == "ansible_collections"),
            "{left:?}"
        );
    }
}

#[test]
fn no_value_becomes_an_option_of_git() {
    let world = World::new();
    let marker = world.path("ran");
    let web = world.repository("web", &role_files("web", ""));
    let program = format!("touch {}", marker.display());
    for text in [
        format!("- src: 'git+--upload-pack={program}'\n  name: web\n"),
        format!("- {{src: '--upload-pack={program}', scm: git, name: web}}\n"),
        format!("- {{src: 'git+{web}', version: '--upload-pack={program}', name: web}}\n"),
        format!(
            "- {{src: 'git+{web}', version: '--output={}', name: web}}\n",
            marker.display()
        ),
        format!("- {{src: 'git+{web}', version: '-c', name: web}}\n"),
        format!("- {{src: 'git+ext::sh -c {program}', name: web}}\n"),
        format!("- {{src: 'git+ssh://-oProxyCommand={program}/x', name: web}}\n"),
        format!("collections:\n- {{name: 'git+--upload-pack={program}'}}\n"),
        format!(
            "collections:\n- {{name: '{web}', type: git, version: '--upload-pack={program}'}}\n"
        ),
        format!("collections:\n- {{name: 'git+{web},--upload-pack={program}'}}\n"),
    ] {
        let refused = world.install(&text);
        assert!(refused.is_err(), "{text}");
        assert!(!marker.exists(), "{text}");
        nothing_outside(&world);
    }
}

#[test]
fn a_role_may_not_need_what_would_run_a_program() {
    let world = World::new();
    let marker = world.path("ran");
    for needed in [
        format!(
            "- {{src: 'git+--upload-pack=touch {}', name: org.x}}",
            marker.display()
        ),
        format!(
            "- {{src: 'git+ext::touch {}', name: org.x}}",
            marker.display()
        ),
        "- {src: 'git+https://h/x', name: ../../evil}".to_owned(),
        "- {src: 'git+../../relative.git', name: org.x}".to_owned(),
    ] {
        let name = format!("web{}", needed.len());
        let web = world.repository(
            &name,
            &role_files("web", &format!("dependencies:\n{needed}\n")),
        );
        let refused = world
            .install(&format!("- {{src: 'git+{web}', name: web}}\n"))
            .unwrap_err();
        assert!(
            refused.contains("what it depends on cannot be read"),
            "{refused}"
        );
        assert!(!marker.exists());
        nothing_outside(&world);
    }
}

#[test]
fn a_repositorys_links_attributes_and_hooks_stay_in_it() {
    let world = World::new();
    let mut files = role_files("web", "");
    files.push((
        ".gitattributes".to_owned(),
        "secret export-ignore\n*.yml filter=evil\n".to_owned(),
    ));
    files.push(("secret".to_owned(), "x".to_owned()));
    let web = world.repository("web", &files);
    let text = format!("- {{src: 'git+{web}', name: web}}\n");
    world.install(&text).unwrap();
    assert!(
        !world.roles().join("web/secret").exists(),
        "as `git archive` leaves it out"
    );
    fs::remove_dir_all(world.path("out")).unwrap();
    std::os::unix::fs::symlink("../../../evil", world.path("git/web/files/link")).unwrap();
    world.commit("web", &[]);
    let refused = world
        .install_so(&text, |r| r.locking = Locking::Upgrade)
        .unwrap_err();
    assert!(
        refused.contains("is a link that leads out of it"),
        "{refused}"
    );
    nothing_outside(&world);
    let folder = world.write_files("git/coll", &collection_source("web", "1.0.0", &[]));
    std::os::unix::fs::symlink("/etc/passwd", folder.join("passwd")).unwrap();
    let coll = world.repository("coll", &[]);
    let refused = world
        .install(&format!("collections: ['git+{coll}']\n"))
        .unwrap_err();
    assert!(
        refused.contains("`passwd` in the archive is a link that leads out of it"),
        "{refused}"
    );
    nothing_outside(&world);
}

fn tarball(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let meta = [("r/meta/main.yml", EntryType::Regular, "{}\n")];
    for (name, kind, text) in meta.iter().chain(entries) {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_file = *kind == EntryType::Regular;
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        if !is_file {
            gnu.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        let text = if is_file { text } else { "" };
        header.set_size(text.len() as u64);
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }
    gzipped(&builder.into_inner().unwrap())
}

#[test]
fn an_archive_stays_in_its_folder() {
    let world = World::new();
    let url = Server::url(&world.server);
    let cases: [(&[(&str, EntryType, &str)], &str); 7] = [
        (
            &[("r/../../../evil", EntryType::Regular, "x")],
            "would lie outside the folder",
        ),
        (
            &[("/tmp/evil", EntryType::Regular, "x")],
            "would lie outside the folder",
        ),
        (
            &[("r/l", EntryType::Symlink, "../../evil")],
            "is a link that leads out of it",
        ),
        (
            &[("r/l", EntryType::Symlink, "/etc")],
            "is a link that leads out of it",
        ),
        // Inside the archive, and outside of the role.
        (
            &[
                ("x", EntryType::Regular, "x"),
                ("r/l", EntryType::Symlink, "../x"),
            ],
            "is a link that leads out of it",
        ),
        (&[("r/l", EntryType::Link, "/etc/passwd")], "is a hard link"),
        (
            &[
                ("r/l", EntryType::Symlink, "."),
                ("r/l/evil", EntryType::Regular, "x"),
            ],
            "is there twice",
        ),
    ];
    for (number, (entries, told)) in cases.iter().enumerate() {
        let path = format!("/{number}.tar.gz");
        world.server.file(&path, &tarball(entries));
        let refused = world
            .install(&format!("- {{src: {url}{path}, name: web}}\n"))
            .unwrap_err();
        assert!(refused.contains(told), "{number}: {refused}");
        nothing_outside(&world);
    }
    world.server.file("/no.tar.gz", b"<html>no archive</html>");
    assert!(
        world
            .install(&format!("- {{src: {url}/no.tar.gz, name: web}}\n"))
            .is_err()
    );
    nothing_outside(&world);
}

#[test]
fn a_collection_is_what_it_says_and_lies_where_its_name_says() {
    let world = World::new();
    let with = |change: &dyn Fn(&mut Vec<(String, String)>)| {
        let mut files = collection_files("ns.web", "1.0.0", &[], "web");
        change(&mut files);
        archive("", &files)
    };
    let edit = |file: usize, from: &'static str, to: &'static str| {
        with(&move |files: &mut Vec<(String, String)>| {
            assert!(files[file].1.contains(from), "{}", files[file].1);
            files[file].1 = files[file].1.replace(from, to);
        })
    };
    let cases = [
        (
            edit(0, "\"ns\"", "\"../../../out\""),
            "are no names of a collection",
        ),
        (
            edit(0, "\"web\"", "\"../evil\""),
            "are no names of a collection",
        ),
        (edit(0, "\"1.0.0\"", "\"2.0.0\""), "is ns.web 2.0.0"),
        (edit(0, "\"web\"", "\"other\""), "is ns.other 1.0.0"),
        (
            edit(1, "README.md", "../../READM"),
            "is not what its digest says",
        ),
        (
            edit(2, "web", "evil"),
            "`README.md` is not what its digest says",
        ),
        (with(&|files| files.truncate(3)), "it lacks plugins"),
        (
            with(&|files| _ = files.remove(0)),
            "it has no MANIFEST.json",
        ),
    ];
    for (number, (bytes, told)) in cases.iter().enumerate() {
        world.server.collection_of("ns.web", "1.0.0", &[], bytes);
        let refused = world.install("collections: [ns.web]\n").unwrap_err();
        assert!(refused.contains(told), "{number}: {refused}");
        nothing_outside(&world);
    }
    // What the server said of the bytes is not what came.
    world.server.collection("ns.web", "1.0.0", &[], "web");
    world
        .server
        .file("/download/ns-web-1.0.0.tar.gz", &edit(2, "web", "evil"));
    let refused = world.install("collections: [ns.web]\n").unwrap_err();
    assert!(refused.contains("has the SHA-256"), "{refused}");
    nothing_outside(&world);
}

#[test]
fn a_login_goes_to_its_own_host_alone_and_is_told_nobody() {
    let world = World::new();
    let other = Server::start();
    world.server.wants("Token hunter22");
    *world.config.lock().unwrap() = format!(
        "server_list = hub\n[galaxy_server.hub]\nurl = {}/api/\ntoken = hunter22\n",
        world.server.url()
    );
    world.server.collection("ns.web", "1.0.0", &[], "web");
    let bytes = super::world::collection_archive("ns.web", "1.0.0", &[], "web");
    other.file("/elsewhere.tar.gz", &bytes);
    let download = "/download/ns-web-1.0.0.tar.gz";
    world
        .server
        .redirect(download, &format!("{}/elsewhere.tar.gz", other.url()));
    world.install("collections: [ns.web]\n").unwrap();
    let here = world.server.asked("/");
    assert!(
        here.iter()
            .all(|asked| asked.authorization.as_deref() == Some("Token hunter22"))
    );
    let there = other.asked("/");
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].authorization, None);
    // A server that sends its whole API elsewhere gets no login there either.
    let next = "/api/v3/collections/ns/other/versions/?limit=100";
    world
        .server
        .redirect(next, &format!("{}{next}", other.url()));
    let refused = world.install("collections: [ns.other]\n").unwrap_err();
    assert!(
        other
            .asked("/")
            .iter()
            .all(|asked| asked.authorization.is_none())
    );
    for text in [
        refused,
        world.told.lock().unwrap().join("\n"),
        kept(&world.path("")),
    ] {
        assert!(!text.contains("hunter22"), "{text}");
    }
}

#[test]
fn a_login_in_an_address_is_kept_and_told_nowhere() {
    let world = World::new();
    world.server.wants("Basic YW5uOmh1bnRlcjIy");
    world
        .server
        .file("/web.tar.gz", &bytes_of_role("web", "web"));
    let url = world
        .server
        .url()
        .replace("http://", "http://ann:hunter22@");
    let text = format!("- {{src: {url}/web.tar.gz, name: web}}\n");
    world.install(&text).unwrap();
    fs::remove_dir_all(world.path("out")).unwrap();
    fs::remove_dir_all(world.path("cache")).unwrap();
    // With the lock file, which has none, it is let in too.
    world
        .install_so(&text, |r| r.locking = Locking::Locked)
        .unwrap();
    let refused = world
        .install(&text.replace("web.tar", "none.tar"))
        .unwrap_err();
    fs::remove_file(world.path("requirements.yml")).unwrap();
    for text in [
        refused,
        world.told.lock().unwrap().join("\n"),
        kept(&world.path("")),
    ] {
        assert!(!text.contains("hunter22"), "{text}");
    }
}

/// Returns the texts of all files below a folder.
fn kept(folder: &Path) -> String {
    let mut text = String::new();
    super::super::archive::each_below(folder, &mut |path, kind| {
        if kind.is_file() {
            text += &String::from_utf8_lossy(&fs::read(folder.join(path)).unwrap());
        }
        Ok(())
    })
    .unwrap();
    text
}

#[test]
fn a_lock_file_is_looked_at_as_what_it_is() {
    let world = World::new();
    let marker = world.path("ran");
    let web = world.repository("web", &role_files("web", ""));
    let text = format!("- {{src: 'git+{web}', version: v1, name: web}}\n");
    world.install(&text).unwrap();
    let path = world.path("requirements.yml.lock");
    let lock = fs::read_to_string(&path).unwrap();
    let (_, commit) = lock.split_once("\"commit\": \"").unwrap();
    let commit = &commit[..40];
    let evil = format!("--upload-pack=touch {}", marker.display());
    for changed in [
        lock.replace(
            &format!("\"source\": \"{web}"),
            &format!("\"source\": \"{evil}"),
        ),
        lock.replace(commit, &evil),
        lock.replace("\"name\": \"web\"", "\"name\": \"../../evil\""),
        lock.replace("\"sha256\": \"", "\"sha256\": \"../../"),
        lock.replace("\"lock\": 1", "\"lock\": 2"),
        lock.replace("\"lock\": 1", "\"lock\": 1, \"more\": 1"),
    ] {
        assert_ne!(changed, lock);
        fs::write(&path, &changed).unwrap();
        fs::remove_dir_all(world.path("out")).unwrap_or_default();
        assert!(world.install(&text).is_err(), "{changed}");
        assert!(!marker.exists());
        nothing_outside(&world);
    }
}
