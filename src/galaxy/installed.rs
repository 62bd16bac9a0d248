//! What is installed: the records that are left with it, putting it there, listing it, removing it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::archive::{ArchiveError, unwritable};
use super::collection;
use super::fetch::{StagedCollection, StagedRole};
use super::lock::Pin;
use super::place::Stage;
use super::requirement::is_collection_name;
use super::role::{self, Record};
use super::server::Release;
use crate::ansible_config::SearchPaths;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Role,
    Collection,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "role",
            Self::Collection => "collection",
        })
    }
}

/// A role or collection that lies where Ansible looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// None of what nothing installed and what does not say it.
    pub(crate) version: Option<String>,
    pub(crate) place: PathBuf,
}

/// Why something was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRemoved {
    #[error("`{0}` is installed nowhere")]
    NotThere(String),
    #[error("{} is there, and nothing says that it was installed", .0.display())]
    NotInstalled(PathBuf),
    #[error(transparent)]
    Failed(#[from] ArchiveError),
}

/// Returns where a collection lies below its root.
pub(super) fn collection_place(root: &Path, name: &str) -> PathBuf {
    let (namespace, bare) = name.split_once('.').unwrap_or((name, ""));
    root.join("ansible_collections").join(namespace).join(bare)
}

/// Returns what is known of an installed role or collection; nothing where nothing installed it.
pub(super) fn record(place: &Path, kind: Kind, name: &str) -> Option<Record> {
    match kind {
        Kind::Role => role::record(place),
        Kind::Collection => {
            let about = collection::about(place).ok()?;
            let info = info_folder(place, name, &about.version_text())?;
            let own = fs::read(info.join(OWN)).ok();
            let own = own.and_then(|text| serde_json::from_slice::<Json>(&text).ok());
            Some(Record {
                version: about.version_text(),
                sha256: own.and_then(|own| own["sha256"].as_str().map(str::to_owned)),
            })
        }
    }
}

/// Whether a folder is a role or collection at all, so that it may be replaced by force.
pub(super) fn is_one(kind: Kind, place: &Path) -> bool {
    let files: &[&str] = match kind {
        Kind::Role => &["meta/main.yml", "meta/main.yaml"],
        Kind::Collection => &["MANIFEST.json", "galaxy.yml"],
    };
    files.iter().any(|file| place.join(file).is_file())
}

/// What this program knows of a collection, in the folder that Ansible keeps beside it.
const OWN: &str = "amibake.json";

/// Returns the folder beside a collection that tells where it is from: `namespace.name-1.0.0.info`.
fn info_folder(place: &Path, name: &str, version: &str) -> Option<PathBuf> {
    let above = place.parent()?.parent()?;
    Some(above.join(format!("{name}-{version}.info")))
}

pub(super) fn put_role(stage: &Stage, role: &StagedRole, place: &Path) -> Result<(), ArchiveError> {
    let Pin {
        version, sha256, ..
    } = &role.pin;
    let now = OffsetDateTime::now_utc();
    let written = role::write_record(&role.folder, version, sha256, now);
    written.map_err(|e| unwritable(&role.folder, e))?;
    stage.put(&role.folder, place)
}

pub(super) fn put_collection(
    stage: &Stage,
    collection: &StagedCollection,
    place: &Path,
) -> Result<(), ArchiveError> {
    let StagedCollection {
        pin,
        folder,
        about,
        release,
    } = collection;
    stage.put(folder, place)?;
    remove_infos(place, &pin.name)?;
    let Some(info) = info_folder(place, &pin.name, &about.version_text()) else {
        return Ok(());
    };
    let own = json!({"sha256": pin.sha256, "commit": pin.commit, "source": pin.source});
    let written = fs::create_dir_all(&info)
        .and_then(|()| fs::write(info.join(OWN), format!("{own:#}\n")))
        .and_then(|()| match &pin.url {
            Some(url) => fs::write(
                info.join("GALAXY.yml"),
                origin(pin, about, url, release.as_ref()),
            ),
            None => Ok(()),
        });
    written.map_err(|e| unwritable(&info, e))
}

/// Returns what `ansible-galaxy` writes of a collection that a server has, for its `verify`.
fn origin(pin: &Pin, about: &collection::About, url: &str, release: Option<&Release>) -> String {
    let told = release.map(|release| release.href.as_str());
    let none = json!([]);
    let signatures = release.map_or(&none, |release| &release.signatures);
    let lines = [
        ("download_url", json!(url)),
        ("format_version", json!("1.0.0")),
        ("name", json!(about.name)),
        ("namespace", json!(about.namespace)),
        ("server", json!(pin.source)),
        ("signatures", signatures.clone()),
        ("version", json!(about.version_text())),
        ("version_url", json!(told)),
    ];
    // JSON's values are YAML's as well.
    lines
        .iter()
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect()
}

/// Removes what tells of versions that were there before.
fn remove_infos(place: &Path, name: &str) -> Result<(), ArchiveError> {
    let Some(above) = place.parent().and_then(Path::parent) else {
        return Ok(());
    };
    let failed = |e| unwritable(above, e);
    for entry in fs::read_dir(above).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        let is_ours = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_suffix(".info"))
            .is_some_and(|rest| rest.starts_with('-'));
        if is_ours {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Returns all roles and collections where Ansible looks, those of one folder by their names.
pub(crate) fn installed(search: &SearchPaths) -> Vec<Installed> {
    let mut all = Vec::new();
    for folder in &search.roles {
        for place in folders(folder) {
            let is_role = ["meta", "tasks"]
                .iter()
                .any(|part| place.join(part).is_dir());
            if is_role {
                let record = role::record(&place);
                let version = record.map(|record| record.version);
                all.push(Installed {
                    kind: Kind::Role,
                    name: name_of(&place),
                    version: version.filter(|version| !version.is_empty()),
                    place,
                });
            }
        }
    }
    for root in &search.collections {
        for namespace in folders(&root.join("ansible_collections")) {
            for place in folders(&namespace) {
                let name = format!("{}.{}", name_of(&namespace), name_of(&place));
                if !is_collection_name(&name) {
                    continue;
                }
                let about = collection::about(&place).ok();
                all.push(Installed {
                    kind: Kind::Collection,
                    name,
                    version: about.map(|about| about.version_text()),
                    place,
                });
            }
        }
    }
    all
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.is_dir() && !name_of(path).starts_with('.'))
        .collect();
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Removes a role or collection from the first folder that has it.
pub(crate) fn remove(
    name: &str,
    search: &SearchPaths,
    force: bool,
) -> Result<Installed, NotRemoved> {
    let mut all = installed(search).into_iter();
    let found = all
        .find(|one| one.name == name)
        .ok_or_else(|| NotRemoved::NotThere(name.to_owned()))?;
    let place = &found.place;
    if record(place, found.kind, name).is_none() && !force {
        return Err(NotRemoved::NotInstalled(place.clone()));
    }
    let failed = |e: io::Error| unwritable(place, e);
    let is_link = place
        .symlink_metadata()
        .is_ok_and(|found| found.is_symlink());
    let gone = match is_link {
        true => fs::remove_file(place),
        false => fs::remove_dir_all(place),
    };
    gone.map_err(failed)?;
    if found.kind == Kind::Collection {
        remove_infos(place, name)?;
        // The namespace goes with its last collection.
        let _has_others = place.parent().map(fs::remove_dir);
    }
    Ok(found)
}
