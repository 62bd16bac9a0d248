//! Patterns of paths: what is left of a file's name when parts of it are known only in the run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::Files;

/// Longer paths than Linux has match nothing.
const MOST_BYTES: usize = 4096;
/// Deeper than this is a circle of links.
const DEPTH_LIMIT: usize = 40;

/// A part of a [`Glob`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// This text.
    Text(String),
    /// Any text, over folders too. Like `*` of a shell it stands for no name that begins with a dot.
    Any,
    /// Any text within one name.
    Inside,
}

/// A pattern of absolute paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(Vec<Piece>);

/// Which offsets of a path the pieces so far can end at.
struct Ends {
    at: Vec<bool>,
    /// Whether a longer path could fit.
    open: bool,
}

impl Ends {
    fn add_text(&mut self, starts: &[bool], bytes: &[u8], text: &[u8]) {
        for from in (0..=bytes.len()).filter(|at| starts[*at]) {
            let rest = &bytes[from..];
            if rest.starts_with(text) {
                self.at[from + text.len()] = true;
            }
            self.open |= text.len() > rest.len() && text.starts_with(rest);
        }
    }

    fn add_open(&mut self, starts: &[bool], bytes: &[u8], inside: bool, filled: bool) {
        let stops = |at: usize| begins_dotfile(bytes, at) || bytes[at] == b'/' && inside;
        // How far what has begun by now can go on, if anything has.
        let mut going = false;
        for (at, begins) in starts.iter().copied().enumerate() {
            if (going || begins && !filled) && !begins_dotfile(bytes, at) {
                self.at[at] = true;
            }
            going |= begins;
            if bytes.get(at).is_some() && stops(at) {
                going = false;
            }
        }
        self.open |= going;
    }
}

impl Glob {
    /// Returns the pattern of these pieces, texts that follow each other joined.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut all: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (all.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (Some(Piece::Any), Piece::Any) => {}
                (_, piece) => all.push(piece),
            }
        }
        if let Some(Piece::Text(text)) = all.last_mut()
            && text.len() > 1
        {
            text.truncate(text.trim_end_matches('/').len());
        }
        Self(all)
    }

    /// Returns the one path there is to it, if no part is open.
    #[must_use]
    pub fn literal(&self) -> Option<&Path> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(Path::new(text)),
            _ => None,
        }
    }

    /// Returns the folder that all of its paths lie in.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        match self.0.first() {
            Some(Piece::Text(text)) if self.0.len() == 1 => folder_of(text.trim_end_matches('/')),
            Some(Piece::Text(text)) => folder_of(text),
            _ => PathBuf::from("/"),
        }
    }

    /// Returns whether `path` is one of these.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let Some(text) = sound(path) else {
            return false;
        };
        self.ends(text, false)
            .at
            .last()
            .is_some_and(|matched| *matched)
    }

    /// Returns whether `path` is one of these, or lies in a folder that is.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        self.matches(path) || sound(path).is_some_and(|text| self.covers_above(text))
    }

    fn covers_above(&self, text: &str) -> bool {
        let ends = self.ends(text, true).at;
        let slashes = text.match_indices('/').map(|(at, _)| at);
        slashes.into_iter().any(|at| at > 0 && ends[at])
    }

    /// Returns whether something below the folder `path` can be one of these.
    fn leads_below(&self, path: &Path) -> bool {
        let below = path.join("");
        sound(&below).is_some_and(|text| {
            let ends = self.ends(text, false);
            ends.open || ends.at.last().is_some_and(|matched| *matched)
        })
    }

    /// Follows the pieces through `path`; those that are open must stand for something if `filled`.
    fn ends(&self, path: &str, filled: bool) -> Ends {
        let bytes = path.as_bytes();
        let mut ends = Ends {
            at: vec![false; bytes.len() + 1],
            open: false,
        };
        ends.at[0] = true;
        for piece in &self.0 {
            let starts = std::mem::replace(&mut ends.at, vec![false; bytes.len() + 1]);
            match piece {
                Piece::Text(text) => ends.add_text(&starts, bytes, text.as_bytes()),
                open => ends.add_open(&starts, bytes, *open == Piece::Inside, filled),
            }
        }
        ends
    }

    /// Calls `found` for files in `files` that fit or lie in a folder that does, and for folders and links that have
    /// nothing in them, until it returns `false`.
    pub fn search(&self, files: &dyn Files, found: &mut dyn FnMut(PathBuf) -> bool) {
        if let Some(path) = self.literal() {
            return tree(files, path, found);
        }
        let enter = |path: &Path| self.leads_below(path) || self.covers(path);
        let fits = |path: &Path| self.covers(path);
        walk(files, &self.folder(), 0, &enter, &fits, found);
    }
}

/// Calls `found` for all that lies at or below `path` and `fits`, until it returns `false`.
pub fn tree(files: &dyn Files, path: &Path, found: &mut dyn FnMut(PathBuf) -> bool) {
    walk(files, path, 0, &|_| true, &|_| true, found);
}

fn walk(
    files: &dyn Files,
    path: &Path,
    depth: usize,
    enter: &dyn Fn(&Path) -> bool,
    fits: &dyn Fn(&Path) -> bool,
    found: &mut dyn FnMut(PathBuf) -> bool,
) -> bool {
    if files.link(path).is_some() || files.is_file(path) {
        return !fits(path) || found(path.to_path_buf());
    }
    if depth >= DEPTH_LIMIT || !files.is_dir(path) || !enter(path) {
        return true;
    }
    let names = files.list(path).unwrap_or_default();
    if names.is_empty() && fits(path) {
        return found(path.to_path_buf());
    }
    let names = names.iter().filter(|name| *name != ".git");
    names
        .into_iter()
        .all(|name| walk(files, &path.join(name), depth + 1, enter, fits, found))
}

fn begins_dotfile(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b'.') && (at == 0 || bytes[at - 1] == b'/')
}

fn sound(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.len() <= MOST_BYTES)
}

fn folder_of(text: &str) -> PathBuf {
    let end = text.rfind('/').unwrap_or(0);
    PathBuf::from(if end == 0 { "/" } else { &text[..end] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        let mut pieces = Vec::new();
        for (n, part) in text.split('*').enumerate() {
            if n > 0 {
                pieces.push(Piece::Any);
            }
            pieces.push(Piece::Text(part.to_owned()));
        }
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Glob::new(pieces)
    }

    #[test]
    fn an_open_part_is_any_name_below_but_none_with_a_dot() {
        let keys = glob("/p/keys/*.pub");
        for (path, fits) in [
            ("/p/keys/a.pub", true),
            ("/p/keys/b/a.pub", true),
            ("/p/keys/.pub", false),
            ("/p/keys/.ssh/a.pub", false),
            ("/p/keys/a/.b.pub", false),
            ("/p/keys/a/.pub", false),
            ("/p/keys/a.key", false),
            ("/p/a.pub", false),
        ] {
            assert_eq!(keys.matches(Path::new(path)), fits, "{path}");
        }
        assert_eq!(keys.folder(), Path::new("/p/keys"));
        assert!(glob("/p/*/.profile").matches(Path::new("/p/a/.profile")));
    }

    #[test]
    fn what_is_in_a_folder_that_fits_belongs_to_it_with_its_dotfiles() {
        let folder = glob("/p/cfg/*");
        assert!(folder.covers(Path::new("/p/cfg/web/.htaccess")));
        assert!(!folder.covers(Path::new("/p/cfg/.secret")));
        assert!(!folder.covers(Path::new("/p/other")));
        let literal = glob("/p/cfg/");
        assert!(literal.covers(Path::new("/p/cfg/.secret")));
        assert!(!literal.covers(Path::new("/p/cfg2")));
    }

    #[test]
    fn a_part_within_a_name_does_not_leave_it() {
        let one = Glob::new([
            Piece::Text("/p/".to_owned()),
            Piece::Inside,
            Piece::Text("/vars.yml".to_owned()),
        ]);
        assert!(one.matches(Path::new("/p/prod/vars.yml")));
        assert!(!one.matches(Path::new("/p/a/b/vars.yml")));
    }

    #[test]
    fn a_long_path_of_a_stranger_takes_no_time() {
        let many = glob("/*a*a*a*a*a*b");
        assert!(!many.covers(Path::new(&format!("/{}", "a".repeat(4000)))));
    }

    #[test]
    fn a_search_enters_only_what_can_fit() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["cfg/a.yml", "cfg/b/c.yml", "cfg/.d.yml", "other/e.yml"] {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = temp.path().display();
        let mut all = Vec::new();
        glob(&format!("{root}/cfg/*.yml")).search(&crate::files::Disk::here(), &mut |path| {
            all.push(path.strip_prefix(temp.path()).unwrap().to_owned());
            true
        });
        assert_eq!(all, [Path::new("cfg/a.yml"), Path::new("cfg/b/c.yml")]);
    }
}
