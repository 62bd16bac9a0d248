//! One entry of a requirements file, or of what something that was fetched needs.

use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;

use super::values::{
    Base, clean, folder_name, is_collection_name, is_git, place, repository, revision, subfolder,
};
use super::{CollectionRequirement, CollectionSource, Place, Range, RoleRequirement, RoleSource};

/// Reads an entry of `roles`, or of a role's dependencies.
pub(crate) fn role(node: &Node, base: Base<'_>) -> Result<RoleRequirement, Diagnostic> {
    let text = |key| match node.get(key) {
        Some(value) if !value.is_null() => {
            let text = value.expect_text(&format!("`{key}`"))?;
            clean(value, key, text).map(Some)
        }
        _ => Ok(None),
    };
    let (mut name, mut src, version, scm);
    if node.as_map().is_some() {
        (name, src) = (text("role")?.or(text("name")?), text("src")?);
        (version, scm) = (text("version")?, text("scm")?);
        if node.get("role").is_some() {
            // The old way has its source in its name.
            src = src.or_else(|| name.clone());
        }
    } else {
        let whole = clean(node, "a role", node.expect_text("a role")?)?;
        let mut parts = whole.split(',').map(|part| part.trim().to_owned());
        (src, version, name) = (parts.next(), parts.next(), parts.next());
        scm = None;
        if parts.next().is_some() {
            return Err(
                Diagnostic::new(&node.span, format!("`{whole}` has too many commas"))
                    .hint("a role is `src`, `src,version` or `src,version,name`"),
            );
        }
    }
    let missing = || Diagnostic::new(&node.span, "a role needs its `src` or its `name`");
    let src = src.or_else(|| name.clone()).ok_or_else(missing)?;
    let source = role_source(node, &src, scm.as_deref(), base)?;
    let usual = || name_of_repository(src.trim_start_matches("git+")).to_owned();
    let name = name.take().unwrap_or_else(usual);
    let name = match &source {
        // A path is no name.
        RoleSource::Folder(address) | RoleSource::Archive(Place::File(address)) if name == src => {
            name_of_file(address.path())
        }
        _ => name,
    };
    Ok(RoleRequirement {
        name: folder_name(node, name)?,
        source,
        version: version
            .filter(|version| !version.is_empty())
            .map(|version| revision(node, version))
            .transpose()?,
    })
}

fn role_source(
    node: &Node,
    src: &str,
    scm: Option<&str>,
    base: Base<'_>,
) -> Result<RoleSource, Diagnostic> {
    let wrong = |why: String| Diagnostic::new(&node.span, why);
    let (scm, src) = match (scm, src.split_once('+')) {
        (None, Some((scm @ ("git" | "hg"), rest))) => (Some(scm), rest),
        (Some(_), Some(("git", rest))) => (scm, rest),
        _ => (scm, src),
    };
    match scm {
        None => {}
        Some("git") => return Ok(RoleSource::Git(repository(node, src, base)?)),
        Some(other) => return Err(wrong(format!("`scm: {other}` is not supported, only git"))),
    }
    let of_github = src.contains("github.com") && src.contains("http");
    if is_git(src) || (of_github && !src.ends_with(".tar.gz")) {
        return Ok(RoleSource::Git(repository(node, src, base)?));
    }
    match place(node, src, base)? {
        // A folder is named by a path: `owner.role` may well lie beside the file, installed.
        Some(Place::File(address)) if address.path().is_dir() && src.contains('/') => {
            return Ok(RoleSource::Folder(address));
        }
        Some(Place::File(address)) if address.path().is_dir() => {}
        Some(place) => return Ok(RoleSource::Archive(place)),
        None => {}
    }
    let is_name = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        !part.is_empty() && part.chars().all(fits)
    };
    match src.split('.').count() >= 2 && src.split('.').all(is_name) {
        true => Ok(RoleSource::Galaxy(src.to_owned())),
        false => Err(wrong(format!(
            "`{src}` is no role: no file, no address, no `owner.role`"
        ))),
    }
}

/// Returns a role's name as `ansible-galaxy` takes it from its address.
fn name_of_repository(address: &str) -> &str {
    if !address.contains("://") && !address.contains('@') {
        return address;
    }
    let last = address.rsplit('/').next().unwrap_or(address);
    let last = last.strip_suffix(".git").unwrap_or(last);
    let last = last.strip_suffix(".tar.gz").unwrap_or(last);
    last.split(',').next().unwrap_or(last)
}

fn name_of_file(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let endings = [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar"];
    let bare = endings.iter().find_map(|ending| name.strip_suffix(ending));
    bare.unwrap_or(&name).to_owned()
}

/// Whether a role's dependency can be had at all: one without a point is a role that lies beside it.
pub(crate) fn is_elsewhere(node: &Node) -> bool {
    let text = |key: &str| node.get(key).and_then(Node::scalar_text);
    let (name, src, scm) = match node.as_map() {
        Some(_) => (
            text("role").or_else(|| text("name")),
            text("src"),
            text("scm"),
        ),
        None => (node.scalar_text(), None, None),
    };
    let has_point = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        text.contains('.') || text.contains("git+")
    };
    scm.is_some() || has_point(&name) || has_point(&src)
}

/// Reads an entry of `collections`.
pub(crate) fn collection(node: &Node, base: Base<'_>) -> Result<CollectionRequirement, Diagnostic> {
    if node.as_map().is_none() {
        let name = node.expect_text("a collection")?;
        return collection_at(
            node,
            &clean(node, "a collection", name)?,
            None,
            None,
            None,
            base,
        );
    }
    let text = |key| match node.get(key) {
        Some(value) if !value.is_null() => {
            let text = value.expect_text(&format!("`{key}`"))?;
            clean(value, key, text).map(Some)
        }
        _ => Ok(None),
    };
    if let Some(signatures) = node.get("signatures") {
        let unsupported = "`signatures` is not supported: nothing would verify them";
        return Err(Diagnostic::new(&signatures.span, unsupported)
            .hint("the lock file holds the SHA-256 of each collection"));
    }
    let (name, version, source) = (text("name")?, text("version")?, text("source")?);
    let kind = text("type")?;
    // Of what is no server's, `name` may stand in place of `source`.
    let (name, source) = match (kind.as_deref(), name, source) {
        (Some("galaxy") | None, Some(name), source) => (name, source),
        (_, _, Some(source)) => (source, None),
        (_, Some(name), None) => (name, None),
        (_, None, None) => {
            return Err(Diagnostic::new(
                &node.span,
                "a collection needs its `name` or `source`",
            ));
        }
    };
    collection_at(node, &name, version, source, kind.as_deref(), base)
}

/// Returns what is asked for by a name, an address or a path.
pub(crate) fn collection_at(
    node: &Node,
    name: &str,
    version: Option<String>,
    server: Option<String>,
    kind: Option<&str>,
    base: Base<'_>,
) -> Result<CollectionRequirement, Diagnostic> {
    let wrong = |why: String| Diagnostic::new(&node.span, why);
    let version = version.filter(|version| !version.is_empty());
    let kind = match kind {
        Some(kind @ ("galaxy" | "git" | "url" | "file" | "dir" | "subdirs")) => kind,
        Some(other) => {
            return Err(wrong(format!("`{other}` is no type of a collection"))
                .hint("galaxy, git, url, file, dir or subdirs"));
        }
        None if is_collection_name(name) => "galaxy",
        None if name.starts_with("git+") || is_git(name) => "git",
        None => "file",
    };
    let (source, version) = match kind {
        "galaxy" if is_collection_name(name) => {
            let version = version.unwrap_or_else(|| "*".to_owned());
            let range = version
                .parse::<Range>()
                .map_err(|e| wrong(format!("{e}")))?;
            let name = name.to_owned();
            (
                CollectionSource::Galaxy {
                    name,
                    range,
                    server,
                },
                version,
            )
        }
        "git" => {
            let (name, comma) = match name.split_once(',') {
                Some((name, version)) => (name, Some(version.to_owned())),
                None => (name, None),
            };
            let (address, folder) = name.split_once('#').unwrap_or((name, ""));
            let address = address.strip_prefix("git+").unwrap_or(address);
            let version = comma.or(version).filter(|version| version != "*");
            let version = version.map(|version| revision(node, version)).transpose()?;
            let source = CollectionSource::Git {
                address: repository(node, address, base)?,
                folder: subfolder(node, folder)?,
            };
            (source, version.unwrap_or_else(|| "*".to_owned()))
        }
        _ => match place(node, name, base)? {
            Some(Place::File(address)) if address.path().is_dir() => {
                let folder = PathBuf::new();
                (CollectionSource::Folder { address, folder }, "*".into())
            }
            Some(place) => (CollectionSource::Archive(place), "*".into()),
            None => {
                let what = format!("`{name}` is no collection: no file, no folder, no address");
                return Err(wrong(what).hint("the name of one is `namespace.name`"));
            }
        },
    };
    Ok(CollectionRequirement { source, version })
}
