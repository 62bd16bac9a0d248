//! A collection as it is installed: of a built archive, whose own digests are checked, or of its source, as
//! `ansible-galaxy collection build` makes it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::fnmatch::fnmatch;
use amibake_playbook::yaml::{self, Kind, Node};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::archive::{self, ArchiveError, refusal, stays_inside, unwritable, with_mode};
use super::cache::sha256_of;
use super::requirement::is_collection_name;
use super::version::{NoVersion, Version};

/// Why something is no collection that could be installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectionError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("{file} is not as it should be: {why}")]
    Bad { file: String, why: String },
    #[error("{0}")]
    Yaml(Diagnostic),
    #[error("`{path}` is not what its digest says")]
    Digest { path: String },
    #[error("its version")]
    Version(#[from] NoVersion),
    #[error(
        "it has `manifest` in its galaxy.yml, which is not supported; build it and install the archive"
    )]
    Manifest,
}

/// What a collection says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) namespace: String,
    pub(super) name: String,
    /// None where its source leaves that to whoever builds it.
    pub(super) version: Option<Version>,
    /// By name or address, what it needs.
    pub(super) dependencies: Vec<(String, String)>,
}

impl About {
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// Returns its version as it says it.
    pub(super) fn version_text(&self) -> String {
        let version = self.version.as_ref().map(ToString::to_string);
        version.unwrap_or_else(|| "*".to_owned())
    }

    fn of(info: &Json, file: &str) -> Result<Self, CollectionError> {
        let bad = |why: &str| CollectionError::Bad {
            file: file.to_owned(),
            why: why.to_owned(),
        };
        let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        // They become names of folders.
        if !is_collection_name(&format!("{namespace}.{name}")) {
            return Err(bad("its namespace and name are no names of a collection"));
        }
        let version = match &info["version"] {
            Json::String(text) if text != "*" && !text.is_empty() => Some(text.parse::<Version>()?),
            Json::Null | Json::String(_) => None,
            _ => return Err(bad("its version is no text")),
        };
        let dependencies = info["dependencies"].as_object();
        let dependencies = dependencies.into_iter().flatten();
        let range = |value: &Json| value.as_str().map(str::to_owned);
        Ok(Self {
            namespace,
            name,
            version,
            dependencies: dependencies
                .map(|(name, value)| (name.clone(), range(value).unwrap_or_else(|| "*".into())))
                .collect(),
        })
    }
}

/// Reads what an installed or built collection says of itself.
pub(super) fn about(folder: &Path) -> Result<About, CollectionError> {
    let manifest = json_in(folder, "MANIFEST.json")?;
    About::of(&manifest["collection_info"], "MANIFEST.json")
}

/// Returns the collections in a folder: itself, or those right below it.
pub(super) fn found_in(folder: &Path) -> Result<Vec<PathBuf>, CollectionError> {
    let is_one = |folder: &Path| {
        let mut files = ["galaxy.yml", "MANIFEST.json"].into_iter();
        files.any(|file| folder.join(file).is_file())
    };
    if is_one(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries = fs::read_dir(folder).map_err(|e| archive::unreadable(folder, e))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| is_one(path)).collect();
    found.sort();
    match found.is_empty() {
        true => Err(CollectionError::Missing(
            "galaxy.yml, nor has a folder in it",
        )),
        false => Ok(found),
    }
}

/// Makes a collection's folder of its unpacked archive: what its list of files has, each as its digest says.
pub(super) fn from_archive(unpacked: &Path, into: &Path) -> Result<About, CollectionError> {
    let about = about(unpacked)?;
    let manifest = json_in(unpacked, "MANIFEST.json")?;
    let files = json_in(unpacked, "FILES.json")?;
    let listed = manifest["file_manifest_file"]["chksum_sha256"].as_str();
    check_digest(unpacked, Path::new("FILES.json"), listed)?;
    make_folder(into)?;
    for name in ["MANIFEST.json", "FILES.json"] {
        take(unpacked, into, Path::new(name))?;
    }
    let bad = |why: &str| CollectionError::Bad {
        file: "FILES.json".to_owned(),
        why: why.to_owned(),
    };
    let all = files["files"]
        .as_array()
        .ok_or_else(|| bad("it lists no files"))?;
    for entry in all {
        let name = entry["name"]
            .as_str()
            .ok_or_else(|| bad("a file has no name"))?;
        if name == "." {
            continue;
        }
        let path = below(name)?;
        let place = unpacked.join(&path);
        let found = fs::symlink_metadata(&place);
        let found = found.map_err(|_| CollectionError::Bad {
            file: "the archive".to_owned(),
            why: format!("it lacks {name}, which FILES.json lists"),
        })?;
        match entry["ftype"].as_str() {
            Some("dir") if found.is_dir() => make_folder(&into.join(&path))?,
            Some("dir") if found.is_symlink() => take(unpacked, into, &path)?,
            Some("file") if !found.is_dir() => {
                check_digest(unpacked, &path, entry["chksum_sha256"].as_str())?;
                take(unpacked, into, &path)?;
            }
            _ => return Err(bad("a file is of another kind than it says")),
        }
    }
    archive::check_links(into)?;
    Ok(about)
}

/// Compares a file with the digest that is told of it. A link's is that of what it names.
fn check_digest(root: &Path, path: &Path, digest: Option<&str>) -> Result<(), CollectionError> {
    let place = root.join(path);
    let is = sha256_of(&place).map_err(|e| archive::unreadable(&place, e))?;
    match digest {
        Some(digest) if digest != is => Err(CollectionError::Digest {
            path: path.display().to_string(),
        }),
        _ => Ok(()),
    }
}

/// Moves a file or link to the same path below another folder, with the modes that collections have.
fn take(from: &Path, into: &Path, path: &Path) -> Result<(), CollectionError> {
    let (source, place) = (from.join(path), into.join(path));
    let folder = place.parent().unwrap_or(into);
    make_folder(folder)?;
    let failed = |e| unwritable(&place, e);
    let found = fs::symlink_metadata(&source).map_err(failed)?;
    fs::rename(&source, &place).map_err(failed)?;
    if !found.is_symlink() {
        let mode = with_mode(mode_of(&found));
        fs::set_permissions(&place, mode).map_err(failed)?;
    }
    Ok(())
}

fn mode_of(found: &fs::Metadata) -> u32 {
    match found.permissions().mode() & 0o100 {
        0 => 0o644,
        _ => 0o755,
    }
}

fn make_folder(path: &Path) -> Result<(), CollectionError> {
    fs::create_dir_all(path).map_err(|e| unwritable(path, e))?;
    Ok(())
}

/// Returns a listed path, which is below the collection.
fn below(name: &str) -> Result<PathBuf, CollectionError> {
    let path = PathBuf::from(name);
    let mut parts = path.components();
    match parts.all(|part| matches!(part, Component::Normal(_))) && !name.is_empty() {
        true => Ok(path),
        false => Err(refusal(name.as_bytes(), "would lie outside the folder").into()),
    }
}

/// What no collection is built with.
const NEVER: [&str; 8] = [
    "MANIFEST.json",
    "FILES.json",
    "galaxy.yml",
    "galaxy.yaml",
    ".git",
    "*.pyc",
    "*.retry",
    "tests/output",
];

/// Folders that belong to tools.
const TOOLS: [&str; 7] = ["CVS", ".bzr", ".hg", ".git", ".svn", "__pycache__", ".tox"];

/// Makes a collection's folder of its source, or of one that is installed elsewhere.
pub(super) fn from_source(source: &Path, into: &Path) -> Result<About, CollectionError> {
    let info = source_info(source)?;
    let about = About::of(&info, "galaxy.yml")?;
    let mut ignored: Vec<String> = NEVER.map(str::to_owned).to_vec();
    ignored.push(format!("{}-{}-*.tar.gz", about.namespace, about.name));
    ignored.extend(texts(&info["build_ignore"]));
    let mut files = vec![entry(".", None)];
    make_folder(into)?;
    copy_folder(source, Path::new(""), into, &ignored, &mut files)?;
    let files = printed(&json!({"files": files, "format": 1}));
    let mut manifest = manifest(&info);
    manifest["file_manifest_file"]["chksum_sha256"] =
        Json::from(hex::encode(Sha256::digest(&files)));
    for (name, text) in [("FILES.json", files), ("MANIFEST.json", printed(&manifest))] {
        let place = into.join(name);
        let written = fs::write(&place, text);
        let written = written.and_then(|()| fs::set_permissions(&place, with_mode(0o644)));
        written.map_err(|e| unwritable(&place, e))?;
    }
    Ok(about)
}

/// Returns what `galaxy.yml`, or the manifest of an installed collection, says.
fn source_info(source: &Path) -> Result<Json, CollectionError> {
    if source.join("MANIFEST.json").is_file() {
        return Ok(json_in(source, "MANIFEST.json")?["collection_info"].take());
    }
    let path = source.join("galaxy.yml");
    let text = fs::read(&path).map_err(|_| CollectionError::Missing("galaxy.yml"))?;
    let document = yaml::parse(&path, &text).map_err(CollectionError::Yaml)?;
    let info = plain(&document.root);
    let bad = |why: String| CollectionError::Bad {
        file: "galaxy.yml".to_owned(),
        why,
    };
    if !info.is_object() {
        return Err(bad("it is no mapping".to_owned()));
    }
    for key in ["namespace", "name", "version", "readme", "authors"] {
        if info.get(key).is_none() {
            return Err(bad(format!("it has no `{key}`")));
        }
    }
    match &info["manifest"] {
        Json::Null => Ok(info),
        _ => Err(CollectionError::Manifest),
    }
}

fn copy_folder(
    source: &Path,
    folder: &Path,
    into: &Path,
    ignored: &[String],
    files: &mut Vec<Json>,
) -> Result<(), CollectionError> {
    let here = source.join(folder);
    let entries = fs::read_dir(&here).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|e| archive::unreadable(&here, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for found in entries {
        let path = folder.join(found.file_name());
        let shown = path.to_string_lossy();
        let (from, to) = (source.join(&path), into.join(&path));
        let failed = |e| archive::unreadable(&from, e);
        let kind = found.file_type().map_err(failed)?;
        let is_folder = from.is_dir();
        let is_tool = is_folder
            && TOOLS
                .iter()
                .any(|tool| OsStr::new(tool) == found.file_name());
        if is_tool || ignored.iter().any(|pattern| fnmatch(pattern, &shown)) {
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(failed)?;
            if !stays_inside(&path, &target) {
                // As Ansible passes over a folder's link; a file's would name another machine's file.
                let why = "is a link that leads out of it";
                return Err(refusal(path.as_os_str().as_bytes(), why).into());
            }
            symlink(&target, &to).map_err(|e| unwritable(&to, e))?;
        } else if kind.is_dir() {
            make_folder(&to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to).map_err(|e| unwritable(&to, e))?;
            let found = from.metadata().map_err(failed)?;
            let mode = with_mode(mode_of(&found));
            fs::set_permissions(&to, mode).map_err(|e| unwritable(&to, e))?;
        } else {
            let why = "is neither file nor folder";
            return Err(refusal(path.as_os_str().as_bytes(), why).into());
        }
        match is_folder {
            true => files.push(entry(&shown, None)),
            false => files.push(entry(&shown, Some(sha256_of(&from).map_err(failed)?))),
        }
        if kind.is_dir() {
            copy_folder(source, &path, into, ignored, files)?;
        }
    }
    Ok(())
}

fn entry(name: &str, sha256: Option<String>) -> Json {
    json!({
        "name": name,
        "ftype": if sha256.is_some() { "file" } else { "dir" },
        "chksum_type": sha256.as_ref().map(|_| "sha256"),
        "chksum_sha256": sha256,
        "format": 1,
    })
}

/// Returns the manifest that `ansible-galaxy` writes of a `galaxy.yml`.
fn manifest(info: &Json) -> Json {
    let list = |key: &str| Json::from(texts(&info[key]));
    let text = |key: &str| info.get(key).cloned().unwrap_or(Json::Null);
    let license_file = match &info["license_file"] {
        Json::String(file) if file.is_empty() => Json::Null,
        other => other.clone(),
    };
    let dependencies = match &info["dependencies"] {
        Json::Null => json!({}),
        given => given.clone(),
    };
    let version = match &info["version"] {
        Json::Null => Json::from("*"),
        given => given.clone(),
    };
    json!({
        "collection_info": {
            "namespace": text("namespace"),
            "name": text("name"),
            "version": version,
            "authors": list("authors"),
            "readme": text("readme"),
            "tags": list("tags"),
            "description": text("description"),
            "license": list("license"),
            "license_file": license_file,
            "dependencies": dependencies,
            "repository": text("repository"),
            "documentation": text("documentation"),
            "homepage": text("homepage"),
            "issues": text("issues"),
        },
        "file_manifest_file": {
            "name": "FILES.json",
            "ftype": "file",
            "chksum_type": "sha256",
            "chksum_sha256": null,
            "format": 1,
        },
        "format": 1,
    })
}

/// Returns a list of texts; one text is a list of one.
fn texts(value: &Json) -> Vec<String> {
    let text = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    match value {
        Json::Array(items) => items.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// Prints as Python's `json.dumps(…, indent=True)` does.
fn printed(value: &Json) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(value, &mut writer).expect("JSON is written to memory");
    text
}

fn json_in(folder: &Path, name: &'static str) -> Result<Json, CollectionError> {
    let text = fs::read(folder.join(name)).map_err(|_| CollectionError::Missing(name))?;
    serde_json::from_slice(&text).map_err(|error| CollectionError::Bad {
        file: name.to_owned(),
        why: error.to_string(),
    })
}

/// Returns YAML as JSON has it.
fn plain(node: &Node) -> Json {
    match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(truth) => Json::Bool(*truth),
        Kind::Str(text) => Json::String(text.clone()),
        Kind::Int(number) => number.to_string().parse().map_or(Json::Null, Json::Number),
        Kind::Float(number) => Json::from(*number),
        Kind::Timestamp(_) => node.scalar_text().map_or(Json::Null, Json::String),
        Kind::Seq(items) => items.iter().map(plain).collect(),
        Kind::Map(pairs) => {
            let pair =
                |(key, value): &(Node, Node)| (key.scalar_text().unwrap_or_default(), plain(value));
            let pairs: BTreeMap<String, Json> = pairs.iter().map(pair).collect();
            Json::Object(pairs.into_iter().collect())
        }
    }
}
