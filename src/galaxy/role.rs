//! A role that was unpacked: where in its archive it begins, what it depends on, and the record that is left with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::{self, Node};
use time::OffsetDateTime;

use super::archive::{self, ArchiveError};
use super::requirement::{self, Base, RoleRequirement};

/// Why something is no role.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoleError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it has no meta/main.yml, as a role has")]
    NoMeta,
    #[error("{} could not be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("what it depends on cannot be read: {0}")]
    Dependencies(Diagnostic),
}

/// Where Ansible's own tools, and these, look for what was installed.
const RECORD: &str = "meta/.galaxy_install_info";

/// Returns the folder of an unpacked archive that is the role: the highest one with `meta/main.yml`.
pub(super) fn top(unpacked: &Path) -> Result<PathBuf, RoleError> {
    let mut tops: Vec<PathBuf> = Vec::new();
    let is_meta = |path: &Path| path.ends_with("meta/main.yml") || path.ends_with("meta/main.yaml");
    archive::each_below(unpacked, &mut |path, _| {
        if is_meta(path) {
            tops.extend(path.ancestors().nth(2).map(Path::to_path_buf));
        }
        Ok(())
    })?;
    let top = tops.into_iter().min_by_key(|top| top.as_os_str().len());
    let top = unpacked.join(top.ok_or(RoleError::NoMeta)?);
    archive::check_links(&top)?;
    Ok(top)
}

/// Removes folders in which nothing is, as `ansible-galaxy` does not make them.
pub(super) fn without_empty_folders(root: &Path) -> Result<(), RoleError> {
    let mut folders = Vec::new();
    archive::each_below(root, &mut |path, kind| {
        folders.extend(kind.is_dir().then(|| root.join(path)));
        Ok(())
    })?;
    // Those within others come later, and go first.
    for folder in folders.iter().rev() {
        let _has_something = fs::remove_dir(folder);
    }
    Ok(())
}

/// Returns the roles that a role needs and that do not lie beside it: of its `meta/main.yml`, then of its
/// `meta/requirements.yml`.
pub(super) fn dependencies(role: &Path) -> Result<Vec<RoleRequirement>, RoleError> {
    let mut all = Vec::new();
    if let Some(meta) = document(role, "main")? {
        let listed = meta.get("dependencies").filter(|listed| !listed.is_null());
        if let Some(listed) = listed {
            add(listed, &mut all).map_err(RoleError::Dependencies)?;
        }
    }
    if let Some(listed) = document(role, "requirements")? {
        // A mapping has collections too, which `ansible-galaxy` does not take from there.
        let roles = match listed.as_map() {
            Some(_) => listed.get("roles"),
            None => Some(&listed),
        };
        if let Some(roles) = roles.filter(|roles| !roles.is_null()) {
            add(roles, &mut all).map_err(RoleError::Dependencies)?;
        }
    }
    Ok(all)
}

fn add(listed: &Node, all: &mut Vec<RoleRequirement>) -> Result<(), Diagnostic> {
    for node in listed.expect_seq("a role's dependencies")? {
        if requirement::is_elsewhere(node) {
            all.push(requirement::role(node, Base::Fetched)?);
        }
    }
    Ok(())
}

fn document(role: &Path, stem: &str) -> Result<Option<Node>, RoleError> {
    for ending in ["yml", "yaml"] {
        let path = role.join(format!("meta/{stem}.{ending}"));
        match fs::read(&path) {
            Ok(text) => {
                let document = yaml::parse(&path, &text);
                let document = document.map_err(RoleError::Dependencies)?;
                return Ok(Some(document.root));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(RoleError::Unreadable { path, source }),
        }
    }
    Ok(None)
}

/// What is left with a role: Ansible's own two lines, and what tells one version from another of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) version: String,
    pub(super) sha256: Option<String>,
}

/// Returns what is known of a role's folder, if something installed it.
pub(super) fn record(role: &Path) -> Option<Record> {
    let path = role.join(RECORD);
    let root = yaml::parse(&path, &fs::read(&path).ok()?).ok()?.root;
    let text = |key: &str| root.get(key).and_then(Node::scalar_text);
    Some(Record {
        version: text("version").unwrap_or_default(),
        sha256: text("sha256"),
    })
}

/// Leaves the record in a role's folder.
pub(super) fn write_record(
    role: &Path,
    version: &str,
    sha256: &str,
    now: OffsetDateTime,
) -> io::Result<()> {
    let date = time::macros::format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let date = now.format(date).map_err(io::Error::other)?;
    fs::create_dir_all(role.join("meta"))?;
    // JSON's quotes are YAML's as well.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = format!(
        "install_date: {}\nsha256: {sha256}\nversion: {}\n",
        quoted(&date),
        quoted(version)
    );
    fs::write(role.join(RECORD), text)
}
