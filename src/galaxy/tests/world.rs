//! A folder with repositories, archives, a cache and places to install to; a server beside it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::{Cache, Locking, Outcome, Request, install};
use super::server::Server;
use crate::ansible_config::{AnsibleConfig, SearchPaths, Surroundings};

pub(super) type Files = Vec<(String, String)>;

pub(super) struct World {
    folder: tempfile::TempDir,
    pub(super) server: Server,
    pub(super) config: Mutex<String>,
    /// What was told.
    pub(super) told: Mutex<Vec<String>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: Server::start(),
            config: Mutex::default(),
            told: Mutex::default(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn roles(&self) -> PathBuf {
        self.path("out/roles")
    }

    pub(super) fn collections(&self) -> PathBuf {
        self.path("out/collections")
    }

    pub(super) fn collection(&self, name: &str) -> PathBuf {
        let (namespace, name) = name.split_once('.').unwrap();
        self.collections()
            .join("ansible_collections")
            .join(namespace)
            .join(name)
    }

    pub(super) fn search(&self) -> SearchPaths {
        SearchPaths {
            roles: vec![self.roles()],
            collections: vec![self.collections()],
        }
    }

    pub(super) fn role_text(&self, role: &str, file: &str) -> String {
        fs::read_to_string(self.roles().join(role).join(file)).unwrap()
    }

    pub(super) fn cache(&self) -> Cache {
        Cache::at(self.path("cache"))
    }

    /// Installs what a requirements file with this text asks for. A refusal comes with all its causes.
    pub(super) fn install(&self, text: &str) -> Result<Vec<Outcome>, String> {
        self.install_so(text, |_| {})
    }

    pub(super) fn install_so(
        &self,
        text: &str,
        change: impl FnOnce(&mut Request),
    ) -> Result<Vec<Outcome>, String> {
        fs::write(self.path("requirements.yml"), text).unwrap();
        let mut request = Request {
            file: self.path("requirements.yml"),
            roles: self.roles(),
            collections: self.collections(),
            locking: Locking::Follow,
            force: false,
            dependencies: true,
            prereleases: false,
            offline: false,
            at_once: NonZeroUsize::new(4).unwrap(),
            server: None,
            pause: Duration::from_millis(1),
            cancel: CancellationToken::new(),
        };
        change(&mut request);
        let config = format!(
            "[galaxy]\nserver = {}\n{}",
            self.server.url(),
            self.config.lock().unwrap()
        );
        let config = AnsibleConfig::read(&self.path("ansible.cfg"), &config);
        let around = Surroundings {
            home: Some(&self.path("home")),
            working_folder: self.folder.path(),
            variable: &|_| None,
        };
        let tell = |line| self.told.lock().unwrap().push(line);
        install(&request, &self.cache(), &config, &around, &tell)
            .map_err(|error| crate::exit::chain(&error))
    }

    pub(super) fn write_files(&self, folder: &str, files: &[(String, String)]) -> PathBuf {
        let folder = self.path(folder);
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// Returns the address of a repository whose one commit is tagged `v1`.
    pub(super) fn repository(&self, name: &str, files: &[(String, String)]) -> String {
        let folder = self.write_files(&format!("git/{name}"), files);
        git(&folder, &["init", "-q", "-b", "main"]);
        self.commit(name, &[]);
        git(&folder, &["tag", "v1"]);
        format!("file://{}", folder.display())
    }

    /// Commits what a repository's files are now. Returns the commit.
    pub(super) fn commit(&self, name: &str, files: &[(String, String)]) -> String {
        let folder = self.write_files(&format!("git/{name}"), files);
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(&folder, &["rev-parse", "HEAD"])
    }

    /// Returns the path of a role's archive with a folder of this name in it.
    pub(super) fn role_archive(&self, folder: &str, files: &[(String, String)]) -> String {
        let path = self.path(&format!("{folder}.tar.gz"));
        fs::write(&path, archive(folder, files)).unwrap();
        path.display().to_string()
    }
}

/// Returns the files of a role whose tasks are a comment.
pub(super) fn role_files(task: &str, meta: &str) -> Files {
    [
        (
            "meta/main.yml",
            format!("galaxy_info: {{author: a}}\n{meta}"),
        ),
        ("tasks/main.yml", format!("# {task}\n")),
        ("files/run.sh", "#!/bin/sh\n".to_owned()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .to_vec()
}

pub(super) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(super) fn bytes_of_role(folder: &str, task: &str) -> Vec<u8> {
    archive(folder, &role_files(task, ""))
}

/// Returns the files of a collection of `ns` as its author has them.
pub(super) fn collection_source(name: &str, version: &str, needs: &[(&str, &str)]) -> Files {
    let needs: serde_json::Map<_, _> = needs
        .iter()
        .map(|(n, r)| ((*n).to_owned(), json!(r)))
        .collect();
    let galaxy = format!(
        "namespace: ns\nname: {name}\nversion: {version}\nreadme: README.md\nauthors: [A <a@example.org>]\n\
         license: GPL-3.0-or-later\ntags: [x]\nbuild_ignore: [ignored.txt, 'docs/*.tmp']\ndependencies: {}\n",
        json!(needs)
    );
    [
        ("galaxy.yml", galaxy.as_str()),
        ("README.md", "read\n"),
        ("plugins/modules/x.py", "#!/usr/bin/python\n"),
        ("roles/r/tasks/main.yml", "[]\n"),
        ("docs/a.tmp", ""),
        ("docs/a.md", "ä\n"),
        ("ignored.txt", ""),
        ("x.pyc", ""),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

pub(super) fn archive(folder: &str, files: &[(String, String)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    // Whoever packs names folders, too, and `ansible-galaxy` looks for them.
    let above = |path: &str| Some(path.rsplit_once('/')?.0.to_owned());
    let folders: BTreeSet<String> = files.iter().filter_map(|(path, _)| above(path)).collect();
    for path in folders {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o775);
        let path = Path::new(folder).join(path);
        builder.append_data(&mut header, path, &[][..]).unwrap();
    }
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(if text.starts_with("#!") { 0o775 } else { 0o664 });
        let path = match folder {
            "" => path.clone(),
            folder => format!("{folder}/{path}"),
        };
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    gzipped(&builder.into_inner().unwrap())
}

pub(super) fn gzipped(plain: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(plain).unwrap();
    packed.finish().unwrap()
}

/// Returns a built collection whose README is a word.
pub(super) fn collection_archive(
    name: &str,
    version: &str,
    needs: &[(&str, &str)],
    word: &str,
) -> Vec<u8> {
    let files = collection_files(name, version, needs, word);
    archive("", &files)
}

pub(super) fn collection_files(
    full_name: &str,
    version: &str,
    needs: &[(&str, &str)],
    word: &str,
) -> Files {
    let (namespace, name) = full_name.split_once('.').unwrap();
    let readme = format!("{word}\n");
    let digest = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
    let file = |path: &str, text: &str| json!({"name": path, "ftype": "file", "chksum_type": "sha256", "chksum_sha256": digest(text), "format": 1});
    let folder = |path: &str| json!({"name": path, "ftype": "dir", "chksum_type": null, "chksum_sha256": null, "format": 1});
    let listed = json!({"format": 1, "files": [
        folder("."), file("README.md", &readme), folder("plugins"), file("plugins/run.py", "#!/usr/bin/python\n"),
    ]});
    let listed = listed.to_string();
    let needs: serde_json::Map<_, _> = needs
        .iter()
        .map(|(n, r)| ((*n).to_owned(), json!(r)))
        .collect();
    let manifest = json!({
        "collection_info": {
            "namespace": namespace, "name": name, "version": version, "authors": ["a"], "readme": "README.md",
            "tags": [], "description": null, "license": ["MIT"], "license_file": null, "dependencies": needs,
            "repository": null, "documentation": null, "homepage": null, "issues": null,
        },
        "file_manifest_file": {
            "name": "FILES.json", "ftype": "file", "chksum_type": "sha256", "chksum_sha256": digest(&listed), "format": 1,
        },
        "format": 1,
    });
    [
        ("MANIFEST.json", manifest.to_string()),
        ("FILES.json", listed),
        ("README.md", readme),
        ("plugins/run.py", "#!/usr/bin/python\n".to_owned()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .to_vec()
}
