//! Names of files as far as they are known beforehand: texts, and parts that stay open.

use std::path::{Path, PathBuf};

use crate::glob::{Glob, Piece};

/// More ways to read one name than this are not told apart: the name is open.
const MOST_NAMES: usize = 64;

/// A name: texts and open parts in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) Vec<Piece>);

impl Name {
    /// Returns a name that is known.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// Returns a name of which nothing is known.
    pub(super) fn open() -> Self {
        Self(vec![Piece::Any])
    }

    /// Returns the text, if all of it is known.
    pub(super) fn known(&self) -> Option<String> {
        let mut all = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => all.push_str(text),
                Piece::Any | Piece::Inside => return None,
            }
        }
        Some(all)
    }

    /// Returns this name with another behind it.
    fn then(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Returns the name with the wildcards of a shell pattern in its texts as open parts.
    pub(super) fn globbed(&self) -> Self {
        let mut pieces = Vec::new();
        for piece in &self.0 {
            let Piece::Text(text) = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let mut rest = text.as_str();
            while let Some(at) = rest.find(['*', '?', '[']) {
                pieces.push(Piece::Text(rest[..at].to_owned()));
                pieces.push(Piece::Inside);
                rest = match rest[at..].find(']') {
                    Some(end) if rest[at..].starts_with('[') => &rest[at + end + 1..],
                    _ => &rest[at + 1..],
                };
            }
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self(pieces)
    }

    /// Returns the last part of a path; what is open in it stays within a name.
    pub(super) fn base(&self) -> Self {
        let slash = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('/'));
        let from = self.0.iter().rposition(slash).unwrap_or(0);
        let pieces = self.0[from..].iter().map(|piece| match piece {
            Piece::Text(text) => {
                Piece::Text(text.rsplit('/').next().unwrap_or_default().to_owned())
            }
            Piece::Any | Piece::Inside => Piece::Inside,
        });
        Self(pieces.collect())
    }

    /// Returns whether it ends with a slash, if that is known.
    pub(super) fn ends_with_slash(&self) -> Option<bool> {
        match self.0.last()? {
            Piece::Text(text) => Some(text.ends_with('/')),
            Piece::Any | Piece::Inside => None,
        }
    }

    fn starts_with(&self, start: &str) -> bool {
        matches!(self.0.first(), Some(Piece::Text(text)) if text.starts_with(start))
    }

    /// Returns its path components, `.` and `..` resolved by name; `None` if an open part would
    /// have to be left by `..`, or is the beginning.
    fn components(&self) -> Option<Vec<Vec<Piece>>> {
        let mut all: Vec<Vec<Piece>> = vec![Vec::new()];
        for piece in &self.0 {
            let Piece::Text(text) = piece else {
                all.last_mut()?.push(piece.clone());
                continue;
            };
            for (n, part) in text.split('/').enumerate() {
                if n > 0 {
                    all.push(Vec::new());
                }
                if !part.is_empty() {
                    all.last_mut()?.push(Piece::Text(part.to_owned()));
                }
            }
        }
        let mut resolved: Vec<Vec<Piece>> = Vec::new();
        for component in all {
            match Name(component.clone()).known().as_deref() {
                Some("" | ".") => {}
                Some("..") => match resolved.pop() {
                    Some(last) if Name(last.clone()).known().is_none() => return None,
                    _ => {}
                },
                _ => resolved.push(component),
            }
        }
        Some(resolved)
    }
}

/// Returns every `first` followed by every `second`.
pub(super) fn joined(first: &[Name], second: &[Name]) -> Vec<Name> {
    if first.len().saturating_mul(second.len()) > MOST_NAMES {
        return vec![Name::open()];
    }
    let each = first
        .iter()
        .flat_map(|a| second.iter().map(move |b| a.then(b)));
    each.collect()
}

/// Returns the names without repetitions; too many stand for any.
pub(super) fn distinct(mut names: Vec<Name>) -> Vec<Name> {
    names.sort();
    names.dedup();
    if names.len() > MOST_NAMES * 8 {
        return vec![Name::open()];
    }
    names
}

/// Where names lead from.
pub(super) struct Bases<'a> {
    /// Folders that relative names are looked for in, whole and below `files`, `templates`, ….
    pub(super) folders: Vec<PathBuf>,
    /// Folders within those that travel whole: a name that begins with `..` may leave them.
    pub(super) inner: Vec<PathBuf>,
    /// Folders with more in them than a playbook: its own, which may be a home, and homes.
    pub(super) broad: Vec<PathBuf>,
    pub(super) home: Option<&'a Path>,
}

impl Bases<'_> {
    /// Returns the paths that `name` can stand for. One that begins with an open part stands for
    /// none here: it is looked for below the folders that travel whole.
    pub(super) fn globs(&self, name: &Name) -> Vec<Glob> {
        if name.starts_with("/") {
            return self.glob(name).into_iter().collect();
        }
        if name.starts_with("~") {
            let home = self.home.filter(|_| name.starts_with("~/"));
            let Some((home, Piece::Text(text))) = home.zip(name.0.first()) else {
                return Vec::new();
            };
            let mut pieces = vec![Piece::Text(format!("{}{}", home.display(), &text[1..]))];
            pieces.extend_from_slice(&name.0[1..]);
            return self.glob(&Name(pieces)).into_iter().collect();
        }
        if !matches!(name.0.first(), Some(Piece::Text(_))) {
            return Vec::new();
        }
        let below = |folder: &PathBuf| Name::text(format!("{}/", folder.display())).then(name);
        let leaves = name.starts_with("../");
        let inner = self.inner.iter().filter(|_| leaves);
        let all = self.folders.iter().chain(inner).map(below);
        all.filter_map(|name| self.glob(&name)).collect()
    }

    /// Returns the folders of roles in `folder` that `name` can stand for.
    pub(super) fn role_glob(folder: &Path, name: &Name) -> Option<Glob> {
        let mut name = Name::text(format!("{}/", folder.display())).then(name);
        for piece in &mut name.0 {
            if *piece == Piece::Any {
                *piece = Piece::Inside;
            }
        }
        let components = name.components()?;
        Some(absolute(components))
    }

    /// Returns whether a folder is of the system rather than of anybody's files: `/`, `/etc`.
    pub(super) fn is_system(folder: &Path) -> bool {
        folder.components().count() < 3
    }

    fn glob(&self, name: &Name) -> Option<Glob> {
        let mut components = name.components()?;
        let is_open = |component: &Vec<Piece>| Name(component.clone()).known().is_none();
        if let Some(at) = components.iter().position(is_open) {
            let folder = path_of(&components[..at]);
            if self.is_broad(&folder) {
                let literal = matches!(components[at].first(), Some(Piece::Text(_)));
                let named = components[at + 1..].iter().any(|c| !is_open(c));
                if !literal && !named {
                    return None;
                }
                for piece in &mut components[at] {
                    if *piece == Piece::Any {
                        *piece = Piece::Inside;
                    }
                }
            }
        }
        Some(absolute(components)).filter(|glob| *glob != Glob::new([]))
    }

    /// Returns whether a folder holds more than what any playbook is about.
    fn is_broad(&self, folder: &Path) -> bool {
        Self::is_system(folder) || self.broad.iter().any(|path| path.starts_with(folder))
    }
}

fn absolute(components: Vec<Vec<Piece>>) -> Glob {
    let slash = || std::iter::once(Piece::Text("/".to_owned()));
    Glob::new(
        components
            .into_iter()
            .flat_map(|component| slash().chain(component)),
    )
}

fn path_of(components: &[Vec<Piece>]) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in components {
        path.push(Name(component.clone()).known().unwrap_or_default());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        let mut pieces = Vec::new();
        for (n, part) in text.split('*').enumerate() {
            if n > 0 {
                pieces.push(Piece::Any);
            }
            if !part.is_empty() {
                pieces.push(Piece::Text(part.to_owned()));
            }
        }
        Name(pieces)
    }

    fn leads(pattern: &str, path: &str) -> bool {
        let bases = Bases {
            folders: vec![PathBuf::from("/home/ann/site")],
            inner: Vec::new(),
            broad: vec![PathBuf::from("/home/ann/site"), PathBuf::from("/home/ann")],
            home: Some(Path::new("/home/ann")),
        };
        let globs = bases.globs(&name(pattern));
        let path = Path::new(path);
        globs
            .iter()
            .any(|glob| match Bases::is_system(&glob.folder()) {
                true => glob.matches(path),
                false => glob.covers(path),
            })
    }

    #[test]
    fn what_stays_open_is_a_glob_of_its_literal_parts() {
        assert!(leads("cfg/*", "/home/ann/site/cfg/a/b"));
        assert!(leads("vars-*.yml", "/home/ann/site/vars-prod.yml"));
        assert!(leads("../shared/*.txt", "/home/ann/shared/a.txt"));
        assert!(leads("/srv/keys/*.pub", "/srv/keys/a.pub"));
        assert!(leads("~/keys/*", "/home/ann/keys/a"));
        assert!(leads("~/.cache/id.pub", "/home/ann/.cache/id.pub"));
        assert!(leads(
            "/home/ann/site/*/vars.yml",
            "/home/ann/site/prod/vars.yml"
        ));
    }

    #[test]
    fn nothing_open_leads_to_a_folder_as_a_whole() {
        for (pattern, path) in [
            ("*", "/home/ann/site/secrets.yml"),
            ("*.yml", "/home/ann/site/secrets.yml"),
            ("/home/ann/site/*", "/home/ann/site/secrets.yml"),
            ("/home/ann/site/*.yml", "/home/ann/site/secrets.yml"),
            ("/home/ann/site/*/*.yml", "/home/ann/site/a/secrets.yml"),
            ("cfg/../*", "/home/ann/site/secrets.yml"),
            ("cfg/*/../../*", "/home/ann/site/secrets.yml"),
            ("~/*", "/home/ann/notes"),
            ("/*", "/etc/shadow"),
            ("/etc/*", "/etc/shadow"),
            ("/etc/s*", "/etc/ssh/ssh_host_key"),
            ("cfg/*", "/home/ann/site/cfg/.token"),
        ] {
            assert!(!leads(pattern, path), "{pattern} {path}");
        }
    }
}
