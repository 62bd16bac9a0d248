//! INI files, as Python's `configparser` reads and writes them.

use indexmap::IndexMap;

use crate::value::Value;

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether a key may stand alone, with no value.
    pub allow_no_value: bool,
    /// Whether keys keep their case.
    pub case_sensitive: bool,
}

/// A section's keys in their order; none for a key that stands alone.
pub type Section = IndexMap<String, Option<String>>;

/// A file: what holds for every section, and the sections.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ini {
    pub defaults: Section,
    pub sections: IndexMap<String, Section>,
}

/// A line that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    #[error("File contains no section headers at line {line}: {text}")]
    NoSection { line: usize, text: String },
    #[error("section '{section}' already exists at line {line}")]
    DuplicateSection { section: String, line: usize },
    #[error("option '{key}' in section '{section}' already exists at line {line}")]
    DuplicateKey {
        section: String,
        key: String,
        line: usize,
    },
    #[error("Source contains parsing errors at line {line}: {text}")]
    Parse { line: usize, text: String },
}

/// A value in which `%(name)s` cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    #[error("'%' must be followed by '%' or '(', found: {}", quoted(.rest))]
    Stray { rest: String },
    #[error("bad interpolation variable reference {}", quoted(.rest))]
    Reference { rest: String },
    #[error(
        "Bad value substitution: option '{key}' in section '{section}' contains an interpolation key '{name}' which is not a valid option name. Raw value: {}", quoted(.value)
    )]
    Missing {
        section: String,
        key: String,
        name: String,
        value: String,
    },
    #[error(
        "Recursion limit exceeded in value substitution: option '{key}' in section '{section}' contains an interpolation key which cannot be substituted in {MOST_INTERPOLATIONS} steps. Raw value: {}", quoted(.value)
    )]
    Depth {
        section: String,
        key: String,
        value: String,
    },
}

fn quoted(text: &str) -> String {
    Value::str(text).repr()
}

/// How deep values may name others.
const MOST_INTERPOLATIONS: usize = 10;

/// The section whose keys all others have too.
const DEFAULT: &str = "DEFAULT";

/// Reads lines; a value's are held until it ends.
struct Reader {
    options: Options,
    found: IndexMap<String, IndexMap<String, Option<Vec<String>>>>,
    section: Option<String>,
    key: Option<String>,
    indent: usize,
}

impl Ini {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first line that cannot be, in Python's words.
    pub fn parse(text: &str, options: Options) -> Result<Self, IniError> {
        let mut reader = Reader {
            options,
            found: IndexMap::new(),
            section: None,
            key: None,
            indent: 0,
        };
        for (number, line) in (1..).zip(text.lines()) {
            reader.line(number, line)?;
        }
        let joined = |lines: Vec<String>| lines.join("\n").trim_end().to_owned();
        let mut ini = Self::default();
        for (name, keys) in reader.found {
            let keys = keys
                .into_iter()
                .map(|(key, lines)| (key, lines.map(joined)));
            match name.as_str() {
                DEFAULT => ini.defaults = keys.collect(),
                _ => drop(ini.sections.insert(name, keys.collect())),
            }
        }
        Ok(ini)
    }

    /// Returns what a section has, what holds for all of them included.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Section> {
        let own = self.sections.get(name)?;
        let mut all = self.defaults.clone();
        all.extend(own.clone());
        Some(all)
    }

    /// Returns the value of a section's key, what it names with `%(name)s` in its place.
    ///
    /// # Errors
    /// What cannot be replaced, in Python's words.
    pub fn interpolated(
        section: &str,
        keys: &Section,
        key: &str,
    ) -> Result<Option<String>, InterpolationError> {
        let Some(raw) = keys.get(key).and_then(Option::as_deref) else {
            return Ok(None);
        };
        let interpolation = Interpolation {
            section,
            keys,
            key,
            raw,
        };
        interpolation.replaced(raw, 1).map(Some)
    }

    /// Writes it, each section followed by an empty line.
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = String::new();
        let defaults = Some((DEFAULT, &self.defaults)).filter(|(_, keys)| !keys.is_empty());
        let sections = self
            .sections
            .iter()
            .map(|(name, keys)| (name.as_str(), keys));
        for (name, keys) in defaults.into_iter().chain(sections) {
            out.extend(["[", name, "]\n"]);
            for (key, value) in keys {
                let value = value.as_deref().unwrap_or_default().replace('\n', "\n\t");
                out.extend([key, " = ", value.as_str(), "\n"]);
            }
            out.push('\n');
        }
        out
    }
}

/// A value that is read.
struct Interpolation<'a> {
    section: &'a str,
    keys: &'a Section,
    key: &'a str,
    raw: &'a str,
}

impl Interpolation<'_> {
    fn replaced(&self, text: &str, depth: usize) -> Result<String, InterpolationError> {
        if depth > MOST_INTERPOLATIONS {
            return Err(InterpolationError::Depth {
                section: self.section.to_owned(),
                key: self.key.to_owned(),
                value: self.raw.to_owned(),
            });
        }
        let (mut out, mut left) = (String::new(), text);
        while let Some((before, after)) = left.split_once('%') {
            out.push_str(before);
            let rest = || left[before.len()..].to_owned();
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                left = after;
                continue;
            }
            let inner = after.strip_prefix('(');
            let inner = inner.ok_or_else(|| InterpolationError::Stray { rest: rest() })?;
            let named = inner.split_once(")s");
            let named = named.filter(|(name, _)| !name.is_empty() && !name.contains(')'));
            let (name, after) =
                named.ok_or_else(|| InterpolationError::Reference { rest: rest() })?;
            out.push_str(&self.other(&name.to_lowercase(), depth)?);
            left = after;
        }
        Ok(out + left)
    }

    fn other(&self, name: &str, depth: usize) -> Result<String, InterpolationError> {
        match self.keys.get(name).and_then(Option::as_deref) {
            Some(other) => self.replaced(other, depth + 1),
            None => Err(InterpolationError::Missing {
                section: self.section.to_owned(),
                key: self.key.to_owned(),
                name: name.to_owned(),
                value: self.raw.to_owned(),
            }),
        }
    }
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), IniError> {
        let value = line.trim();
        if value.starts_with(['#', ';']) {
            return Ok(());
        }
        if value.is_empty() {
            if let Some(lines) = self.open_value() {
                lines.push(String::new());
            }
            return Ok(());
        }
        let indent = line.len() - line.trim_start().len();
        if self.key.is_some() && indent > self.indent {
            if let Some(lines) = self.open_value() {
                lines.push(value.to_owned());
            }
            return Ok(());
        }
        self.indent = indent;
        let header = value
            .strip_prefix('[')
            .and_then(|rest| rest.rsplit_once(']'));
        match header.filter(|(name, _)| !name.is_empty()) {
            Some((name, _)) => self.open_section(number, name),
            None => self.option(number, line, value),
        }
    }

    fn open_value(&mut self) -> Option<&mut Vec<String>> {
        let section = self.found.get_mut(self.section.as_ref()?)?;
        section.get_mut(self.key.as_ref()?)?.as_mut()
    }

    fn open_section(&mut self, line: usize, name: &str) -> Result<(), IniError> {
        if name != DEFAULT && self.found.contains_key(name) {
            let section = name.to_owned();
            return Err(IniError::DuplicateSection { section, line });
        }
        self.found.entry(name.to_owned()).or_default();
        self.section = Some(name.to_owned());
        self.key = None;
        Ok(())
    }

    fn option(&mut self, line: usize, whole: &str, text: &str) -> Result<(), IniError> {
        let Some(section) = &self.section else {
            let text = whole.to_owned();
            return Err(IniError::NoSection { line, text });
        };
        let (key, value) = match text.split_once(['=', ':']) {
            Some((key, value)) => (key.trim_end(), Some(vec![value.trim().to_owned()])),
            None if self.options.allow_no_value => (text, None),
            None => ("", None),
        };
        if key.is_empty() {
            let text = whole.to_owned();
            return Err(IniError::Parse { line, text });
        }
        let key = match self.options.case_sensitive {
            true => key.to_owned(),
            false => key.to_lowercase(),
        };
        let keys = self.found.entry(section.clone()).or_default();
        if keys.contains_key(&key) {
            let section = section.clone();
            return Err(IniError::DuplicateKey { section, key, line });
        }
        keys.insert(key.clone(), value);
        self.key = Some(key);
        Ok(())
    }
}
