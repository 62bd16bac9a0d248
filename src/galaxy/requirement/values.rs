//! Values that reach git, a path or an address, each looked at where it stands.

use std::path::{Component, Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::files::normal;
use amibake_playbook::yaml::Node;
use url::Url;

use super::{Address, Place};
use crate::galaxy::git::without_login;

/// Who asks, and so where its paths start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base<'a> {
    /// A file of the user's, in this folder.
    File(&'a Path),
    /// Something that was fetched: its paths would be of a machine that its author does not know.
    Fetched,
}

impl Base<'_> {
    /// Returns where a path leads: from the file, or as `ansible-galaxy` has it from the working folder.
    pub(super) fn path(self, node: &Node, text: &str) -> Result<PathBuf, Diagnostic> {
        match self.found(text) {
            Some(path) => Ok(path),
            None => Err(Diagnostic::new(
                &node.span,
                format!("there is nothing at {text}"),
            )),
        }
    }

    fn found(self, text: &str) -> Option<PathBuf> {
        let home = || std::env::home_dir().filter(|home| home.is_absolute());
        let text = match text.strip_prefix("~/") {
            Some(below) => home()?.join(below),
            None => PathBuf::from(text),
        };
        let from = |folder: &Path| Some(normal(&folder.join(&text))).filter(|path| path.exists());
        match self {
            Self::File(folder) => from(folder).or_else(|| from(&std::env::current_dir().ok()?)),
            Self::Fetched => Some(normal(&text)).filter(|path| path.is_absolute() && path.exists()),
        }
    }
}

/// Refuses what a program could take for an option, or what hides in a line.
pub(super) fn clean(node: &Node, what: &str, text: String) -> Result<String, Diagnostic> {
    let bare = text.trim_start_matches("git+");
    let why = if bare.starts_with('-') {
        "begins with `-`, as an option does"
    } else if text.chars().any(char::is_control) {
        "has a character that cannot be seen"
    } else {
        return Ok(text);
    };
    Err(Diagnostic::new(&node.span, format!("`{what}` {why}")))
}

/// Returns a branch, tag or commit: what git's own names may have, and nothing that git reads as more than a name.
pub(super) fn revision(node: &Node, text: String) -> Result<String, Diagnostic> {
    let forbidden = |c: char| c.is_whitespace() || ":?*[\\".contains(c);
    let is_name = !text.starts_with(['-', '+'])
        && !text.chars().any(forbidden)
        && !text.contains("..")
        && !text.contains("@{");
    match is_name {
        true => Ok(text),
        false => Err(Diagnostic::new(
            &node.span,
            format!("`{text}` is no name of a version"),
        )),
    }
}

/// Returns a repository's address or absolute path, of a kind that runs no program here.
pub(super) fn repository(node: &Node, text: &str, base: Base<'_>) -> Result<Address, Diagnostic> {
    let address = || Address {
        at: text.to_owned(),
        shown: without_login(text),
    };
    let wrong = |why: &str| Diagnostic::new(&node.span, format!("`{text}` {why}"));
    if text.is_empty() || text.starts_with('-') {
        return Err(wrong("is no repository"));
    }
    if text.contains("::") {
        return Err(wrong("would run a program of git's to be fetched"));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        return match scheme {
            "http" | "https" | "ssh" | "git" | "file" if !host.starts_with('-') => Ok(address()),
            _ => Err(wrong("is no address that a repository is fetched from")),
        };
    }
    if let Some(path) = base.found(text) {
        return Ok(Address::file(&path, text));
    }
    // `user@host:path`
    match text.split_once(':') {
        Some((host, _)) if !host.contains('/') && !host.contains("@-") => Ok(address()),
        _ => Err(wrong(
            "is no repository: no address, and no folder that is there",
        )),
    }
}

/// Whether an address can be a repository's alone.
pub(super) fn is_git(text: &str) -> bool {
    let is_address = text.contains("://") || text.contains('@');
    ["git@", "ssh://", "git://"]
        .iter()
        .any(|start| text.starts_with(start))
        || (is_address && text.strip_suffix(".git").is_some())
}

/// Returns an archive's address or path, or a folder's; nothing where a text can only be a name.
pub(super) fn place(node: &Node, text: &str, base: Base<'_>) -> Result<Option<Place>, Diagnostic> {
    let wrong = |why: &str| Diagnostic::new(&node.span, format!("`{text}` {why}"));
    if let Some(path) = text.strip_prefix("file://") {
        let found = base.path(node, path)?;
        return Ok(Some(Place::File(Address::file(&found, text))));
    }
    if text.contains("://") {
        let url: Url = text.parse().map_err(|_| wrong("is no address"))?;
        return match url.scheme() {
            "http" | "https" => Ok(Some(Place::Url(url))),
            _ => Err(wrong("is no address that an archive is fetched from")),
        };
    }
    if let Some(path) = base.found(text) {
        return Ok(Some(Place::File(Address::file(&path, text))));
    }
    let is_path = text.starts_with(['/', '~']) || text.starts_with("./") || text.starts_with("../");
    match is_path || text.ends_with(".tar.gz") {
        true => Err(wrong("is not there")),
        false => Ok(None),
    }
}

/// Returns the name of a role's folder, perhaps in another one, and never above.
pub(super) fn folder_name(node: &Node, name: String) -> Result<String, Diagnostic> {
    let mut parts = Path::new(&name).components();
    let is_inside = parts.all(|part| matches!(part, Component::Normal(_)));
    match is_inside && !name.is_empty() && !name.starts_with(['.', '-']) {
        true => Ok(name),
        false => Err(Diagnostic::new(
            &node.span,
            format!("`{name}` is no name of a role's folder"),
        )),
    }
}

/// Returns where in a repository a collection lies.
pub(super) fn subfolder(node: &Node, text: &str) -> Result<PathBuf, Diagnostic> {
    let path = PathBuf::from(text.trim_matches('/'));
    let mut parts = path.components();
    match parts.all(|part| matches!(part, Component::Normal(name) if name != ".git")) {
        true => Ok(path),
        false => Err(Diagnostic::new(
            &node.span,
            format!("`{text}` is no folder of a repository"),
        )),
    }
}

/// Whether a text is a collection's name, and so two names of folders.
pub(crate) fn is_collection_name(text: &str) -> bool {
    let is_name = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !part.is_empty()
            && part.chars().all(fits)
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 2 && parts.into_iter().all(is_name)
}
