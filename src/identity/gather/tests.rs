//! What makes another image, and what does not.

use std::collections::BTreeMap;
use std::path::Path;

use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::identity::changes::changes;
use crate::manifest::{self, Given, TargetKind};
use crate::plan::{self, OnError};
use crate::provision;

const MANIFEST: &str = r#"
name: web
variables:
  version: {default: "1"}
  token: {default: hunter22, sensitive: true}
source: {ami: ami-0123456789abcdef0}
builder: {instance_type: t3.small, tags: {Built: "{{ build_time }}"}}
provision:
  - tasks:
      - ansible.builtin.debug: {msg: "{{ lookup('env', 'AMIBAKE_NOT_SET') }}"}
    vars: {built: "{{ build_time }}", token: "{{ token }}", version: "{{ version }}"}
  - role: roles/web
  - playbook: site.yaml
test:
  - command: {run: "true"}
image: {name: "web-{{ build_time }}", tags: {Team: web}}
"#;

/// A folder with a manifest and its files.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.write("m/web.yaml", MANIFEST);
        let task = "- ansible.builtin.copy: {src: a.conf, dest: /etc/a.conf}\n";
        project.write("m/roles/web/tasks/main.yml", task);
        project.write("m/roles/web/files/a.conf", "one\n");
        let site =
            "- hosts: all\n  tasks:\n    - ansible.builtin.template: {src: b.j2, dest: /etc/b}\n";
        project.write("m/site.yaml", site);
        project.write("m/templates/b.j2", "{{ lookup('env', 'PATH') }}\n");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {name}");
        self.write(name, &text.replace(from, to));
    }

    fn inputs(&self) -> Inputs {
        self.inputs_at(datetime!(2026-07-27 10:15:00 UTC), Some(&key()))
    }

    fn inputs_at(&self, now: OffsetDateTime, key: Option<&ContentKey>) -> Inputs {
        let path = self.path("m/web.yaml");
        let manifest = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let plan = &plans[0];
        let work = provision::ready(&plan.provision, &path, BTreeMap::new(), &plan.search);
        let work = work.unwrap_or_else(|error| panic!("{error}"));
        inputs(plan, &work, &Engine::with_agent(None), key).unwrap()
    }
}

fn key() -> ContentKey {
    ContentKey::new(b"0123456789abcdef".to_vec()).unwrap()
}

/// Returns which inputs an edit changes.
fn changed(edit: impl FnOnce(&Project)) -> Vec<String> {
    let project = Project::new();
    let before = project.inputs().tag();
    edit(&project);
    let found = changes(&before, &project.inputs()).into_iter();
    found
        .map(|change| format!("{} {}", change.input, change.how.word()))
        .collect()
}

#[test]
fn each_edit_changes_the_input_that_it_is_about() {
    let manifest = |from: &'static str, to: &'static str| {
        changed(move |project| project.edit("m/web.yaml", from, to))
    };
    let file = |name: &'static str| changed(move |project| project.write(name, "other\n"));
    assert_eq!(manifest("name: web\n", "name: app\n"), ["name changed"]);
    assert_eq!(manifest("default: \"1\"", "default: \"2\""), ["1 changed"]);
    assert_eq!(manifest("hunter22", "hunter23"), ["secrets changed"]);
    assert_eq!(manifest("\"true\"", "\"false\""), ["test changed"]);
    assert_eq!(
        manifest("image: {", "image: {ports: [80], "),
        ["gate changed", "1 changed", "2 changed", "3 changed"]
    );
    assert_eq!(
        manifest("builder: {", "builder: {user: admin, "),
        ["login changed"]
    );
    assert_eq!(
        manifest("builder: {", "builder: {volumes: [{size_gib: 20}], "),
        ["volumes changed"]
    );
    assert_eq!(manifest("name: \"web-", "name: \"app-"), ["name changed"]);
    let described = manifest("image: {", "image: {description: another, ");
    assert_eq!(described, ["name changed"]);
    assert_eq!(manifest("msg:", "verbosity: 1, msg:"), ["1 changed"]);
    assert_eq!(manifest("{msg: \"", "{msg: !unsafe \""), ["1 changed"]);
    assert_eq!(file("m/roles/web/files/a.conf"), ["2 changed"]);
    assert_eq!(file("m/roles/web/files/new.conf"), ["2 changed"]);
    assert_eq!(file("m/templates/c.j2"), ["files changed"]);
    let site = changed(|project| project.edit("m/site.yaml", "/etc/b", "/etc/c"));
    assert_eq!(site, ["files changed"]);
}

#[test]
fn what_can_be_mended_or_is_about_the_machine_makes_no_other_image() {
    for (from, to) in [
        ("Team: web", "Team: app"),
        ("t3.small", "t3.large"),
        ("builder: {", "builder: {region: eu-west-1, "),
        ("name: web\n", "# a line more\nname: web\n"),
        ("  - role:", "  # what follows\n\n  - role:"),
        ("  - tasks:\n", "  - tasks:\n\n      # what is asked\n"),
        ("NOT_SET') }}\"}", "NOT_SET') }}\"} # nothing"),
        (
            "      - ansible.builtin.debug",
            "        - ansible.builtin.debug",
        ),
    ] {
        let edit = changed(|project| project.edit("m/web.yaml", from, to));
        assert_eq!(edit, [""; 0], "{to}");
    }
}

#[test]
fn neither_the_time_nor_the_place_counts() {
    let (one, other) = (Project::new(), Project::new());
    let later = datetime!(2026-07-28 11:16:01 UTC);
    assert_eq!(one.inputs(), other.inputs_at(later, Some(&key())));
    // As a checkout with another umask has it.
    let file = other.path("m/roles/web/files/a.conf");
    let mode =
        |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0o600).unwrap();
    assert_eq!(one.inputs(), other.inputs());
    mode(0o755).unwrap();
    assert_ne!(one.inputs(), other.inputs(), "it is a program");
}

#[test]
fn what_is_secret_enters_by_a_key_or_not_at_all_and_is_told() {
    let project = Project::new();
    let now = datetime!(2026-07-27 10:15:00 UTC);
    let with_key = project.inputs();
    assert_eq!(with_key.unkeyed(), None);
    let without = project.inputs_at(now, None);
    let warning = without.unkeyed().unwrap();
    assert!(
        warning
            .contains("the sensitive variable `token`, the environment variable `PATH` does not"),
        "{warning}"
    );
    let other_key = ContentKey::new(b"another key of the user's".to_vec()).unwrap();
    assert_ne!(project.inputs_at(now, Some(&other_key)), with_key);
    project.edit("m/web.yaml", "hunter22", "hunter23");
    assert_eq!(project.inputs_at(now, None), without);
    assert_ne!(project.inputs(), with_key);
}

#[test]
fn a_file_is_where_the_manifest_sees_it() {
    let places = Places {
        manifest: PathBuf::from("/ci/1/repo/images"),
        above: 1,
        home: Some(PathBuf::from("/root")),
        requirements: None,
    };
    for (path, shown) in [
        ("/ci/1/repo/images/site.yaml", "site.yaml"),
        (
            "/ci/1/repo/roles/web/tasks/main.yml",
            "../roles/web/tasks/main.yml",
        ),
        ("/ci/1/repo/images/../roles/web", "../roles/web"),
        ("/root/.ssh/config", "~/.ssh/config"),
        ("/usr/share/ansible/roles/x", "/usr/share/ansible/roles/x"),
        ("/ci/1/repo/images", ""),
    ] {
        assert_eq!(places.shown(Path::new(path)), shown);
    }
}

#[test]
fn what_the_lock_file_of_requirements_says_is_an_input_of_its_own() {
    let project = Project::new();
    let lock = |commit: &str| {
        let (commit, sha256) = (commit.repeat(40), "0".repeat(64));
        let pin = format!(
            r#"{{"name": "web", "origin": "git", "source": "https://h/web", "version": "v1", "commit": "{commit}", "sha256": "{sha256}"}}"#
        );
        format!(r#"{{"lock": 1, "requested": [], "roles": [{pin}], "collections": []}}"#)
    };
    let before = project.inputs().tag();
    project.write("m/requirements.yml", "[]\n");
    project.write("m/requirements.yml.lock", &lock("a"));
    project.edit(
        "m/web.yaml",
        "name: web\n",
        "name: web\nrequirements: requirements.yml\n",
    );
    let named = project.inputs();
    let told = |before: &str, now: &Inputs| {
        let changes = changes(before, now).into_iter();
        changes
            .map(|c| format!("{} {}", c.what, c.how.word()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&before, &named),
        ["the lock file of requirements is new"]
    );
    project.write("m/requirements.yml.lock", &lock("b"));
    assert_eq!(
        told(&named.tag(), &project.inputs()),
        ["the lock file of requirements changed"]
    );
}

#[test]
fn a_role_of_the_requirements_counts_by_its_place_among_them() {
    let project = Project::new();
    project.write("m/requirements.yml", "[]\n");
    let lock = r#"{"lock": 1, "requested": [], "roles": [], "collections": []}"#;
    project.write("m/requirements.yml.lock", lock);
    let now = datetime!(2026-07-27 10:15:00 UTC);
    let inputs = |folder: &str| {
        project.write(&format!("{folder}/roles/other/tasks/main.yml"), "[]\n");
        let path = project.path("m/web.yaml");
        let manifest = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let mut plan = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now)
            .unwrap()
            .remove(0);
        let mut set = crate::galaxy::LockedSet::of(
            &project.path("m/requirements.yml"),
            &crate::galaxy::Cache::at(project.path("cache")),
        )
        .unwrap();
        set.folder = project.path(folder);
        plan.provision.push(manifest::Step {
            provision: Provision::Role {
                path: set.folder.join("roles/other"),
                vars: serde_json::Map::new(),
            },
            hardening: None,
            span: plan.provision[0].span.clone(),
        });
        plan.requirements = Some(set);
        let work = provision::ready(&plan.provision, &path, BTreeMap::new(), &plan.search);
        let work = work.unwrap_or_else(|error| panic!("{error}"));
        super::inputs(&plan, &work, &Engine::with_agent(None), None).unwrap()
    };
    let (one, other) = (inputs("cache/one"), inputs("far/away/in/a/cache/other"));
    assert_eq!(one, other);
    assert_eq!(one.steps()[3], "role requirements/roles/other");
}
