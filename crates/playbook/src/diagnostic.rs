//! What is wrong with a file, and where: the place, the line itself with a caret, a hint.
//!
//! Everything that reads the author's YAML (plays, roles, the manifest) complains through this.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file as it was read, kept for as long as something points into it.
#[derive(PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    /// Empty for a file that may not be shown (decrypted).
    text: String,
}

impl Source {
    /// Returns the text of the file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            text: text.into(),
        })
    }

    /// Returns a file whose lines are never shown: it was decrypted.
    #[must_use]
    pub fn hidden(path: impl Into<PathBuf>) -> Arc<Self> {
        Self::new(path, "")
    }

    /// Returns the path on the controller.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the line with this number, from 1.
    #[must_use]
    pub fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.text.lines().nth(index)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

/// A place in a file.
#[derive(Clone)]
pub struct Span {
    pub source: Arc<Source>,
    /// Line, from 1; 0 means the file as a whole.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Span {
    /// Returns the file at `path` as a whole, as the place of something it lacks.
    #[must_use]
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::hidden(path),
            line: 0,
            column: 0,
        }
    }

    /// Returns the path of the file on the controller.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.source.path()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file().display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        (self.line, self.column) == (other.line, other.column) && self.file() == other.file()
    }
}

impl Eq for Span {}

/// One complaint. Displays as place and message, the line with a caret, and the hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: a lower-case fragment.
    pub message: String,
    pub span: Span,
    /// Where else the same is wrong.
    pub also: Vec<Span>,
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Returns a complaint without a hint.
    pub fn new(span: &Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: span.clone(),
            also: Vec::new(),
            hint: None,
        }
    }

    /// Returns complaints each of which is there once, with all its places.
    #[must_use]
    pub fn merged(all: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for one in all {
            let same = |known: &&mut Self| known.message == one.message && known.hint == one.hint;
            let Some(known) = merged.iter_mut().find(same) else {
                merged.push(one);
                continue;
            };
            for span in std::iter::once(one.span).chain(one.also) {
                if known.span != span && !known.also.contains(&span) {
                    known.also.push(span);
                }
            }
        }
        merged
    }

    /// Adds what the author can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds something to the hint, if there is one.
    #[must_use]
    pub fn and_hint(self, hint: &str) -> Self {
        match &self.hint {
            Some(known) if known.ends_with('?') => {
                let both = format!("{known} {hint}");
                self.hint(both)
            }
            Some(known) => {
                let both = format!("{known}; {hint}");
                self.hint(both)
            }
            None => self.hint(hint),
        }
    }

    /// Adds "did you mean" if one of `known` is near to `name`.
    #[must_use]
    pub fn nearest<'a>(mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some(near) = nearest(name, known) {
            self.hint = Some(format!("did you mean `{near}`?"));
        }
        self
    }

    /// Returns place and message on one line.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{}: {}", self.span, self.message)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        if let Some(line) = self.span.source.line(self.span.line) {
            write_line(f, self.span.line, self.span.column, line)?;
        }
        write_others(f, &self.span, &self.also)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// How much of a line is shown on either side of the caret.
const SHOWN: usize = 100;

fn write_line(f: &mut fmt::Formatter<'_>, number: u32, column: u32, line: &str) -> fmt::Result {
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let from = column.saturating_sub(SHOWN);
    // Tabs and control characters would put the caret elsewhere.
    let shown: String = line
        .chars()
        .skip(from)
        .take(2 * SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let gutter = number.to_string();
    let pad = " ".repeat(gutter.len());
    let caret = " ".repeat(column - 1 - from.min(column - 1));
    write!(f, "\n {gutter} | {}\n {pad} | {caret}^", shown.trim_end())
}

/// Writes further places, each file once.
fn write_others(f: &mut fmt::Formatter<'_>, first: &Span, others: &[Span]) -> fmt::Result {
    let mut file = first.file();
    for (index, span) in others.iter().enumerate() {
        f.write_str(if index == 0 { "\nalso at " } else { ", " })?;
        match span.file() == file && span.line > 0 {
            true => write!(f, ":{}:{}", span.line, span.column)?,
            false => write!(f, "{span}")?,
        }
        file = span.file();
    }
    Ok(())
}

/// Complaints that came up together; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(diagnostic, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

/// Returns the one of `known` that `name` is most likely a misspelling of.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(name.len()) / 4)
        // Of equally near ones, the one that looks most alike.
        .max_by(|(a, x), (b, y)| {
            let alike = |k: &str| strsim::jaro_winkler(&name, k);
            b.cmp(a).then(alike(x).total_cmp(&alike(y)))
        })
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_shows_the_line_and_points_at_it() {
        let span = Span {
            source: Source::new("/p/site.yml", "- hosts: all\n  rolse: []\n"),
            line: 2,
            column: 3,
        };
        let shown = Diagnostic::new(&span, "unknown keyword `rolse`")
            .nearest("rolse", ["tasks", "roles"])
            .to_string();
        assert_eq!(
            shown,
            "/p/site.yml:2:3: unknown keyword `rolse`\n 2 |   rolse: []\n   |   ^\nhint: did you mean `roles`?"
        );
    }

    #[test]
    fn what_is_nothing_alike_is_not_suggested() {
        assert_eq!(nearest("frobnicate", ["copy", "file"]), None);
    }
}
