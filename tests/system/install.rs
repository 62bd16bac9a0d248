//! `install`, `list`, `remove`, and who finds what they installed, by the program itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::support::{amibake, text};

/// A home with a project in it, and a repository of a role elsewhere.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let tasks = "- name: Say it\n  ansible.builtin.debug: {msg: one}\n";
        project.write("git/meta/main.yml", "dependencies: []\n");
        project.write("git/tasks/main.yml", tasks);
        project.git(&["init", "-q", "-b", "main"]);
        project.commit();
        let roles = format!(
            "- {{src: 'git+{}', name: org.web}}\n",
            project.path("git").display()
        );
        project.write("project/requirements.yml", &roles);
        project.write(
            "project/site.yml",
            "- hosts: all\n  gather_facts: false\n  roles: [org.web]\n",
        );
        let manifest = "name: web\nsource: {ubuntu: \"24.04\"}\nprovision: [{role: org.web}]\n";
        project.write("project/web.yaml", manifest);
        let manifest = format!("{manifest}requirements: requirements.yml\n");
        project.write("project/own.yaml", &manifest);
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn git(&self, words: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        let ended = git.args(words).current_dir(self.path("git")).status();
        assert!(ended.unwrap().success(), "{words:?}");
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "x"]);
    }

    /// Runs a command in the project's folder. Returns its exit code, what it printed and what it told.
    fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = amibake(self.0.path(), line.split(' '));
        let output = command.current_dir(self.path("project")).output().unwrap();
        let home = format!("{}/", self.0.path().display());
        let said = |bytes: &[u8]| text(bytes).replace(&home, "~/");
        let code = output.status.code().unwrap();
        (code, said(&output.stdout), said(&output.stderr))
    }

    fn good(&self, line: &str) -> String {
        let (code, printed, told) = self.run(line);
        assert_eq!(code, 0, "{line}: {printed}{told}");
        printed
    }
}

#[test]
fn what_is_installed_is_listed_found_and_removed() {
    let project = Project::new();
    let (code, _, told) = project.run("validate web.yaml");
    assert_eq!(code, 2);
    assert!(
        told.contains(
            "as the name of a role it was looked for in ~/project/roles, ~/.ansible/roles"
        ),
        "{told}"
    );
    let installed = project.good("install");
    assert_eq!(
        installed,
        "installed role org.web in ~/.ansible/roles/org.web\n"
    );
    let again = project.good("install --locked --offline");
    assert_eq!(
        again,
        "unchanged role org.web in ~/.ansible/roles/org.web\n"
    );
    assert_eq!(
        project.good("list"),
        "role        org.web  -  ~/.ansible/roles\n"
    );
    project.good("validate web.yaml");
    let listed = project.good("apply site.yml --local --list-tasks");
    assert!(listed.contains("org.web : Say it"), "{listed}");
    let removed = project.good("remove org.web");
    assert_eq!(
        removed,
        "removed role org.web from ~/.ansible/roles/org.web\n"
    );
    assert_eq!(project.run("remove org.web").0, 2);
    assert_eq!(project.run("validate web.yaml").0, 2);
}

#[test]
fn ansible_cfg_and_the_environment_say_where() {
    let project = Project::new();
    project.write(
        "project/ansible.cfg",
        "[defaults]\nroles_path = deps/roles\ncollections_path = deps\n",
    );
    let installed = project.good("install");
    assert_eq!(
        installed,
        "installed role org.web in ~/project/deps/roles/org.web\n"
    );
    project.good("validate web.yaml");
    let elsewhere = project.path("elsewhere");
    let mut command = amibake(project.0.path(), ["install"]);
    command.current_dir(project.path("project"));
    let output = command
        .env("ANSIBLE_ROLES_PATH", &elsewhere)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(elsewhere.join("org.web/tasks/main.yml").is_file());
}

#[test]
fn a_manifests_requirements_are_fetched_as_its_lock_file_says_and_are_part_of_its_content() {
    let project = Project::new();
    let (code, _, told) = project.run("plan --offline own.yaml");
    assert_eq!(code, 2);
    assert!(
        told.contains("there is no lock file ~/project/requirements.yml.lock"),
        "{told}"
    );
    project.good("install");
    project.good("remove org.web");
    let (code, _, told) = project.run("validate own.yaml");
    assert_eq!(code, 2);
    assert!(
        told.contains("`amibake plan` and `amibake build` fetch it"),
        "{told}"
    );
    let inputs = |project: &Project| {
        let plan = project.good("plan --offline --json own.yaml");
        let plan: Json = serde_json::from_str(&plan).unwrap();
        plan["images"][0]["inputs"].clone()
    };
    let first = inputs(&project);
    assert!(first["reqs"].is_string(), "{first}");
    project.good("validate own.yaml");
    assert!(!project.path(".ansible/roles/org.web").exists());
    assert!(is_below(
        &project.path(".cache/amibake/galaxy/sets"),
        "roles/org.web/tasks/main.yml"
    ));
    // A commit more changes nothing until the lock file has it.
    project.write("git/README.md", "more\n");
    project.commit();
    assert_eq!(inputs(&project), first);
    project.good("install --upgrade");
    assert_ne!(inputs(&project)["reqs"], first["reqs"]);
}

/// Whether one of the folders in a folder has a file.
fn is_below(folder: &Path, file: &str) -> bool {
    let mut folders = std::fs::read_dir(folder).unwrap().flatten();
    folders.any(|entry| entry.path().join(file).is_file())
}
