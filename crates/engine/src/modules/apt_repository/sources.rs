//! apt's files of one line a source: read, changed and written whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::change::Change;
use crate::module::Failure;
use crate::modules::apt_key::files_in;
use crate::modules::text_file;

/// A line of such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) is_valid: bool,
    pub(super) is_enabled: bool,
    /// The source, with one space between its words; of another line, its text.
    pub(super) source: String,
    comment: String,
    /// What was left to be read when it was found to be valid or not.
    pub(super) text: String,
}

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim();
        let is_enabled = !line.starts_with('#');
        let line = line.strip_prefix('#').unwrap_or(line);
        let (text, comment) = match line.find('#').filter(|at| *at > 0) {
            Some(at) => (&line[..at], line[at + 1..].trim()),
            None => (line, ""),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_valid = matches!(words.first(), Some(&("deb" | "deb-src")));
        Self {
            is_valid,
            is_enabled,
            source: match is_valid {
                true => words.join(" "),
                false => text.trim().to_owned(),
            },
            comment: comment.to_owned(),
            text: text.to_owned(),
        }
    }

    fn render(&self) -> String {
        let mark = if self.is_enabled { "" } else { "# " };
        let comment = match self.comment.is_empty() {
            true => String::new(),
            false => format!(" # {}", self.comment),
        };
        format!("{mark}{}{comment}\n", self.source)
    }
}

/// All files of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    /// apt's folder.
    folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<Line>>,
    /// What was in the files when they were read.
    texts: BTreeMap<PathBuf, String>,
}

impl Sources {
    /// Reads those below apt's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let mut sources = Self {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
            texts: BTreeMap::new(),
        };
        let mut paths = files_in(&folder.join("sources.list.d"), &["list"]);
        paths.push(folder.join("sources.list"));
        for path in paths {
            let failed = |e| Failure::new(format!("could not read {}: {e}", path.display()));
            if let Some(text) = text_file::read(&path).map_err(failed)? {
                let lines = text.lines().map(Line::parse).collect();
                sources.files.insert(path.clone(), lines);
                sources.texts.insert(path, text);
            }
        }
        Ok(sources)
    }

    pub(super) fn has_enabled(&self, source: &str) -> bool {
        let mut lines = self.files.values().flatten();
        lines.any(|line| line.is_valid && line.is_enabled && line.source == source)
    }

    /// Enables the source wherever it is; returns the file it was added to if it was nowhere.
    pub(super) fn add(&mut self, source: &str, name: &str) -> Option<PathBuf> {
        let mut found = false;
        for line in self.files.values_mut().flatten() {
            if line.is_valid && line.source == source {
                line.is_enabled = true;
                found = true;
            }
        }
        if found {
            return None;
        }
        let path = match name.contains('/') {
            true => PathBuf::from(name),
            false => self.folder.join("sources.list.d").join(name),
        };
        let lines = self.files.entry(path.clone()).or_default();
        lines.push(Line::parse(source));
        Some(path)
    }

    /// Takes the source out wherever it is enabled.
    pub(super) fn remove(&mut self, source: &str) {
        for lines in self.files.values_mut() {
            lines.retain(|line| !(line.is_valid && line.is_enabled && line.source == source));
        }
    }

    /// Returns what the files are to hold; one without a line is to go.
    pub(super) fn rendered(&self) -> BTreeMap<PathBuf, String> {
        let there = self.files.iter().filter(|(_, lines)| !lines.is_empty());
        there
            .map(|(path, lines)| (path.clone(), lines.iter().map(Line::render).collect()))
            .collect()
    }

    /// Returns which files there are in `other` only, and which here only.
    pub(super) fn difference(&self, other: &Self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (ours, theirs) = (self.rendered(), other.rendered());
        let added = theirs.keys().filter(|path| !ours.contains_key(*path));
        let removed = ours.keys().filter(|path| !theirs.contains_key(*path));
        (added.cloned().collect(), removed.cloned().collect())
    }

    /// Plans what makes the files so. As Ansible's module writes all of them, their lines are all in
    /// its form afterwards.
    pub(super) fn changes(&self) -> Result<Vec<Change>, Failure> {
        let wanted = self.rendered();
        let differing = wanted
            .iter()
            .filter(|(path, text)| self.texts.get(*path) != Some(text));
        let mut changes = differing
            .map(|(path, text)| text_file::replacement(path, text))
            .collect::<Result<Vec<_>, _>>()?;
        let gone = self.texts.keys().filter(|path| !wanted.contains_key(*path));
        changes.extend(gone.map(|path| Change::Remove { path: path.clone() }));
        Ok(changes)
    }

    /// Plans what makes the files as they were read, after those of `changed` were written.
    pub(super) fn restoration(&self, changed: &Self) -> Result<Vec<Change>, Failure> {
        let written = changed.rendered();
        let differing = self
            .texts
            .iter()
            .filter(|(path, text)| written.get(*path) != Some(text));
        let mut changes = differing
            .map(|(path, text)| text_file::replacement(path, text))
            .collect::<Result<Vec<_>, _>>()?;
        let new = written
            .keys()
            .filter(|path| !self.texts.contains_key(*path));
        changes.extend(new.map(|path| Change::Remove { path: path.clone() }));
        Ok(changes)
    }
}

/// Returns the name that a file has after its source: without options, protocol and credentials.
pub(super) fn file_name(source: &str) -> String {
    let words: Vec<String> = without_protocols(&without_options(source))
        .split_whitespace()
        .filter(|word| !matches!(*word, "deb" | "deb-src"))
        .map(str::to_owned)
        .collect();
    let address = words.first().map_or("", String::as_str);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest);
    let words = address.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// Takes out what stands in brackets.
fn without_options(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(open) = rest.find('[') {
        match rest[open..].find(']') {
            Some(close) if close > 1 => {
                out.push_str(&rest[..open]);
                rest = &rest[open + close + 1..];
            }
            _ => {
                out.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
    }
    out + rest
}

fn without_protocols(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(at) = rest.find("://") {
        let before = &rest[..at];
        let kept = before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        out.push_str(if kept.len() < before.len() {
            kept
        } else {
            &rest[..at + 3]
        });
        rest = &rest[at + 3..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# Main\ndeb  http://a/ s main # first\n\n#deb http://b/ s main\n";

    fn sources(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        std::fs::write(folder.path().join("sources.list"), text).unwrap();
        let sources = Sources::read(folder.path()).unwrap();
        (folder, sources)
    }

    #[test]
    fn lines_are_written_in_ansibles_form() {
        let (folder, sources) = sources(LIST);
        let written = &sources.rendered()[&folder.path().join("sources.list")];
        assert_eq!(
            written,
            "# Main\ndeb http://a/ s main # first\n\n# deb http://b/ s main\n"
        );
    }

    #[test]
    fn a_source_that_is_there_is_enabled_and_no_file_is_made() {
        let (folder, mut sources) = sources(LIST);
        assert_eq!(sources.add("deb http://b/ s main", "b.list"), None);
        assert!(sources.has_enabled("deb http://b/ s main"));
        let made = sources.add("deb http://c/ s main", "c.list");
        assert_eq!(made, Some(folder.path().join("sources.list.d/c.list")));
    }

    #[test]
    fn a_file_whose_last_source_goes_goes_too_and_comes_back() {
        let (folder, before) = sources("deb http://a/ s main\n");
        let mut after = before.clone();
        after.remove("deb http://a/ s main");
        let path = folder.path().join("sources.list");
        let gone = [Change::Remove { path: path.clone() }];
        assert_eq!(after.changes().unwrap(), gone);
        assert_eq!(before.difference(&after).1, [path]);
        let back = before.restoration(&after).unwrap();
        assert!(matches!(back[..], [Change::Write { .. }]), "{back:?}");
    }

    #[test]
    fn files_are_named_after_the_address() {
        for (source, name) in [
            (
                "deb http://dl.google.com/linux/chrome/deb/ stable main",
                "dl_google_com_linux_chrome_deb",
            ),
            (
                "deb [arch=amd64 signed-by=/a] https://u:p@x.org/y s main",
                "x_org_y",
            ),
            ("deb [ ] ftp://x.org s", "x_org"),
            ("ppa:nginx/stable_jammy", "ppa_nginx_stable_jammy"),
        ] {
            assert_eq!(file_name(source), name, "{source}");
        }
    }
}
