//! What `ansible-galaxy` itself makes of the same requirements: the ways in which public projects write theirs, made
//! anew on repositories and a server of this machine's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use super::super::archive::each_below;
use super::world::{Files, World, bytes_of_role, collection_source, git, role_files};

/// Runs `ansible-galaxy` on the file that is there.
fn by_ansible(world: &World) -> (PathBuf, PathBuf) {
    let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
    let galaxy = Path::new(&python).with_file_name("ansible-galaxy");
    let (roles, collections) = (world.path("peer/roles"), world.path("peer/collections"));
    for folder in [&roles, &collections] {
        fs::create_dir_all(folder).unwrap();
    }
    let output = Command::new(galaxy)
        .args(["install", "-r", "requirements.yml"])
        .current_dir(world.path(""))
        .env("HOME", world.path("peer"))
        .env("ANSIBLE_ROLES_PATH", &roles)
        .env("ANSIBLE_COLLECTIONS_PATH", &collections)
        .env("ANSIBLE_GALAXY_SERVER", world.server.url())
        .env("ANSIBLE_NOCOLOR", "1")
        .env_remove("ANSIBLE_CONFIG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (roles, collections)
}

/// Returns all files below a folder, with their modes and what they hold; what tells of the installation apart.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    each_below(root, &mut |path, kind| {
        let (name, place) = (path.display().to_string(), root.join(path));
        let is_record = name.ends_with(".galaxy_install_info") || name.ends_with("amibake.json");
        // Ansible has no such folder beside what no server has.
        if is_record || path.extension().is_some_and(|it| it == "info") {
            return Ok(());
        }
        let found = fs::symlink_metadata(&place).unwrap();
        let mode = found.permissions().mode() & 0o7777;
        let said = if kind.is_symlink() {
            format!("-> {}", fs::read_link(&place).unwrap().display())
        } else if kind.is_dir() {
            format!("folder {mode:o}")
        } else {
            format!("{mode:o} {}", held(&name, &fs::read(&place).unwrap()))
        };
        all.insert(name, said);
        Ok(())
    })
    .unwrap();
    all
}

/// Returns what a file holds; of lists, whose order is the file system's, their items in one order.
fn held(name: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if name.ends_with("GALAXY.yml") {
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| line.replace(['"', '\''], ""))
            .collect();
        lines.sort();
        return lines.join("\n");
    }
    let Ok(mut json) = serde_json::from_str::<Json>(&text) else {
        return text;
    };
    if let Some(files) = json.get_mut("files").and_then(Json::as_array_mut) {
        files.sort_by_key(ToString::to_string);
    }
    if name.ends_with("MANIFEST.json") {
        // It stands for the order of the other.
        json["file_manifest_file"]["chksum_sha256"] = Json::Null;
    }
    sorted(&json).to_string()
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            serde_json::to_value(fields).unwrap()
        }
        Json::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Installs by both, and compares.
fn equal(world: &World, text: &str) {
    fs::remove_dir_all(world.path("peer")).unwrap_or_default();
    fs::remove_dir_all(world.path("out")).unwrap_or_default();
    fs::remove_file(world.path("requirements.yml.lock")).unwrap_or_default();
    world
        .install(text)
        .unwrap_or_else(|refused| panic!("{text}: {refused}"));
    let (roles, collections) = by_ansible(world);
    for (ours, theirs) in [(world.roles(), roles), (world.collections(), collections)] {
        let (ours, theirs) = (tree(&ours), tree(&theirs));
        let names = |tree: &BTreeMap<String, String>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{text}");
        for (name, said) in &ours {
            assert_eq!(said, &theirs[name], "{name} of {text}");
        }
    }
}

/// Repositories, roles and collections that the projects' files name.
fn market(world: &World) -> BTreeMap<&'static str, String> {
    let mut files: Files = role_files("docker", "dependencies: []\n");
    files.push((
        ".gitattributes".to_owned(),
        "tests export-ignore\n".to_owned(),
    ));
    files.push(("tests/test.yml".to_owned(), "[]\n".to_owned()));
    let docker = world.repository("ansible-role-docker", &files);
    let folder = world.path("git/ansible-role-docker");
    fs::set_permissions(
        folder.join("files/run.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("run.sh", folder.join("files/start")).unwrap();
    world.commit("ansible-role-docker", &[]);
    git(&folder, &["tag", "-a", "-m", "x", "7.6.0"]);
    let commit = world.commit("ansible-role-docker", &role_files("later", ""));
    git(&folder, &["branch", "stable/rocky", "v1"]);
    let base = format!(
        "dependencies:\n- {{src: 'git+{docker}', version: 7.6.0, name: org.docker}}\n- beside\n"
    );
    let aux = world.repository("aux", &role_files("aux", &base));
    let requirements =
        format!("- {{src: 'git+{aux}', name: org.aux, version: v1}}\n- org.ntp,1.0.0\n");
    let mut files = role_files(
        "web",
        "dependencies:\n  - role: org.ntp\n    version: 1.0.0\n",
    );
    files.push(("meta/requirements.yml".to_owned(), requirements));
    let web = world.repository("web", &files);
    for (role, versions) in [
        ("org.ntp", &["1.0.0", "2.3.1", "2.10.0"][..]),
        ("org.swap-file", &["v2.0.36", "v2.0.4"]),
        ("Org.interfaces", &["v1.11.1"]),
    ] {
        for version in versions {
            let folder = format!("ansible-{role}-{version}");
            world
                .server
                .role(role, version, &bytes_of_role(&folder, version));
        }
    }
    let server = &world.server;
    for version in ["1.0.0", "1.4.0", "2.5.0", "2.6.1", "3.0.0-rc.1"] {
        server.collection("ns.utils", version, &[], version);
    }
    server.collection(
        "ns.posix",
        "1.6.2",
        &[("ns.utils", ">=1.0.0,<2.0.0")],
        "posix",
    );
    server.collection("ns.posix", "2.0.0", &[("ns.utils", ">=2.0.0")], "posix2");
    server.collection("ns.general", "10.0.1", &[("ns.posix", "*")], "general");
    let template = collection_source("template", "3.0.1", &[("ns.utils", ">=2.5.0")]);
    let template = world.repository("ansible-config_template", &template);
    let mut plugins: Files = Vec::new();
    for name in ["first", "second"] {
        let files = collection_source(name, "1.0.0", &[]);
        plugins.extend(
            files
                .into_iter()
                .map(|(path, text)| (format!("collections/{name}/{path}"), text)),
        );
    }
    let plugins = world.repository("plugins", &plugins);
    server.file(
        "/files/master.tar.gz",
        &bytes_of_role("nginx-master", "nginx"),
    );
    let built = super::world::collection_archive("ns.built", "0.9.0", &[], "built");
    server.file("/files/ns-built-0.9.0.tar.gz", &built);
    fs::write(world.path("ns-built-0.9.0.tar.gz"), built).unwrap();
    world.write_files(
        "own",
        &collection_source("own", "1.0.0", &[("ns.utils", "<2")]),
    );
    world.role_archive("packed-1.0", &role_files("packed", ""));
    BTreeMap::from([
        ("docker", docker),
        ("aux", aux),
        ("web", web),
        ("template", template),
        ("plugins", plugins),
        ("commit", commit),
        ("server", world.server.url()),
    ])
}

/// As public projects write them, told by what is theirs: a row for each.
const PROJECTS: [(&str, &str); 14] = [
    (
        "a self-hosted Matrix: git+ in each src, tags and commits, names without the prefix",
        "- src: git+DOCKER\n  version: 7.6.0\n  name: docker\n- src: git+DOCKER\n  version: COMMIT\n  name: docker_later\n- src: git+AUX\n  version: v1\n  name: auxiliary\n",
    ),
    (
        "OpenStack-Ansible's roles: scm, a branch with a slash, a key that nobody knows",
        "- name: hardening\n  scm: git\n  src: DOCKER\n  version: stable/rocky\n  trackbranch: stable/rocky\n- name: aux\n  scm: git\n  src: AUX\n  version: v1\n  trackbranch:\n",
    ),
    (
        "OpenStack-Ansible's collections: a name beside a source and a type",
        "collections:\n- name: ns.template\n  source: TEMPLATE\n  type: git\n  version: v1\n- name: ns.posix\n  version: 2.0.0\n",
    ),
    (
        "ceph-ansible: a collection by its address, ranges, some of any version",
        "---\ncollections:\n  - name: TEMPLATE\n    version: v1\n    type: git\n  - name: ns.utils\n    version: '>=2.5.0'\n  - name: ns.general\n  - name: ns.posix\n",
    ),
    (
        "Trellis: names for roles of Galaxy's, each pinned",
        "---\nroles:\n  - name: ntp\n    src: org.ntp\n    version: 2.3.1\n\n  - name: swapfile\n    src: org.swap-file\n    version: v2.0.36\n  - src: Org.interfaces\n    version: v1.11.1\n",
    ),
    (
        "a playbook for a Mac: roles and collections by name alone",
        "---\nroles:\n  - name: org.ntp\n  - name: org.swap-file\n\ncollections:\n  - name: ns.utils\n",
    ),
    (
        "Kayobe: the old list of roles of Galaxy's",
        "---\n- src: org.ntp\n  version: 1.0.0\n- src: Org.interfaces\n  version: v1.11.1\n",
    ),
    (
        "an internet monitor: collections as words",
        "---\ncollections:\n  - ns.posix\n  - ns.general\n",
    ),
    (
        "a NAS: names with versions of roles, which is also how a role's dependencies stand",
        "---\n- name: org.ntp\n  version: 2.10.0\n- name: org.swap-file\n  version: v2.0.4\n",
    ),
    (
        "the examples of Ansible's own guide: an archive of a web server, one in a file, git with an options string",
        "- src: SERVER/files/master.tar.gz\n  name: http-role\n- src: ./packed-1.0.tar.gz\n  name: packed\n- git+AUX,v1,named\n",
    ),
    (
        "a role with roles that need others, by meta/main.yml and meta/requirements.yml",
        "roles:\n- src: git+WEB\n  name: web\n",
    ),
    (
        "several collections of one repository, and one by its folder",
        "collections:\n- name: git+PLUGINS#/collections/\n  version: v1\n",
    ),
    (
        "one collection of a repository of several",
        "collections:\n- git+PLUGINS#/collections/second,v1\n",
    ),
    (
        "archives of collections by address and file, and one's own beside the playbook",
        "collections:\n- name: SERVER/files/ns-built-0.9.0.tar.gz\n- source: ./own\n  type: dir\n- name: ns.posix\n  version: '>=1.0.0,<2.0.0'\n  source: SERVER\n",
    ),
];

#[test]
#[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
fn what_is_installed_is_what_ansible_galaxy_installs() {
    let world = World::new();
    let names = market(&world);
    for (project, text) in PROJECTS {
        let mut text = text.to_owned();
        for (name, value) in &names {
            text = text.replace(&name.to_uppercase(), value);
        }
        println!("{project}");
        equal(&world, &text);
    }
}

#[test]
#[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
fn ansible_galaxy_knows_what_was_installed_and_verifies_it() {
    let world = World::new();
    let names = market(&world);
    world
        .install(&format!(
            "roles: [{{src: 'git+{}', version: v1, name: aux}}]\ncollections: [ns.utils]\n",
            names["aux"]
        ))
        .unwrap();
    let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
    let galaxy = |words: &[&str]| {
        let output = Command::new(Path::new(&python).with_file_name("ansible-galaxy"))
            .args(words)
            .current_dir(world.path(""))
            .env("HOME", world.path("peer"))
            .env("ANSIBLE_ROLES_PATH", world.roles())
            .env("ANSIBLE_COLLECTIONS_PATH", world.collections())
            .env("ANSIBLE_GALAXY_SERVER", world.server.url())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    fs::create_dir_all(world.path("peer")).unwrap();
    assert!(galaxy(&["role", "list"]).contains("- aux, v1"));
    let listed = galaxy(&["collection", "list"]);
    let is_it = |line: &str| line.split_whitespace().eq(["ns.utils", "2.6.1"]);
    assert!(listed.lines().any(is_it), "{listed}");
    galaxy(&["collection", "verify", "ns.utils"]);
    let text = "roles: []\ncollections: [ns.utils]\n";
    fs::write(world.path("again.yml"), text).unwrap();
    assert!(galaxy(&["install", "-r", "again.yml"]).contains("Nothing to do"));
}
