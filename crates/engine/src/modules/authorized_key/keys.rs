//! The lines of a file of authorized keys: options, type, key, comment. What is none stays as it is.

/// Types that a key can be of; what stands before one on a line are options.
const TYPES: &[&str] = &[
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-dss",
    "ssh-rsa",
    "ssh-xmss@openssh.com",
    "ssh-xmss-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "ssh-dss-cert-v01@openssh.com",
];

/// An option, with its value if it has one.
type KeyOption = (String, Option<String>);

#[derive(Debug, Clone)]
pub(super) struct Key {
    options: Vec<KeyOption>,
    kind: String,
    /// In base 64.
    body: String,
    comment: String,
}

impl Key {
    /// Reads a line; `None` if it is no key.
    pub(super) fn read(line: &str) -> Option<Self> {
        let line = line.replace("\\#", "#");
        let words: Vec<&str> = line
            .split([' ', '\t', '\r', '\n'])
            .filter(|w| !w.is_empty())
            .collect();
        if words.first() == Some(&"#") {
            return None;
        }
        let at = words.iter().position(|word| TYPES.contains(word))?;
        Some(Self {
            options: options(&words[..at].join(" ")),
            kind: words[at].to_owned(),
            body: (*words.get(at + 1)?).to_owned(),
            comment: words[at + 2..].join(" "),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.body
    }

    pub(super) fn set_options(&mut self, text: &str) {
        self.options = options(text);
    }

    pub(super) fn set_comment(&mut self, comment: &str) {
        comment.clone_into(&mut self.comment);
    }

    /// Returns whether two keys are the same with all that belongs to them; the order of options
    /// does not count.
    fn same(&self, other: &Self) -> bool {
        let sorted = |key: &Self| {
            let mut options = key.options.clone();
            options.sort_by(|a, b| a.0.cmp(&b.0));
            options
        };
        let of = |key: &Self| (key.kind.clone(), key.body.clone(), key.comment.clone());
        of(self) == of(other) && sorted(self) == sorted(other)
    }

    fn line(&self) -> String {
        let options = self.options.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        let mut options = options.collect::<Vec<_>>().join(",");
        if !options.is_empty() {
            options.push(' ');
        }
        format!("{options}{} {} {}\n", self.kind, self.body, self.comment)
    }
}

/// Splits options at the commas that are in no quotes.
fn options(text: &str) -> Vec<KeyOption> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, ',') => parts.push(String::new()),
            (open, c) => {
                quote = match open {
                    None if matches!(c, '"' | '\'') => Some(c),
                    Some(end) if end == c => None,
                    open => open,
                };
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
        .into_iter()
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (part, None),
        })
        .collect()
}

/// A line, known by its key, or by itself if it is none.
struct Line {
    id: String,
    key: Option<Key>,
    /// Where it is written; of those of equal rank, the earlier first.
    rank: usize,
}

pub(super) struct Keys(Vec<Line>);

impl Keys {
    /// Reads a file. Of equal lines the last counts.
    pub(super) fn read(text: &str) -> Self {
        let mut keys = Self(Vec::new());
        for (rank, line) in text.split_inclusive('\n').enumerate() {
            let key = Key::read(line);
            let id = key.as_ref().map_or(line, |key| key.id()).to_owned();
            keys.set(Line { id, key, rank });
        }
        keys
    }

    fn set(&mut self, line: Line) {
        match self.0.iter_mut().find(|old| old.id == line.id) {
            Some(old) => *old = line,
            None => self.0.push(line),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts a key in, in the place of another of the same body; returns whether it was another.
    pub(super) fn put(&mut self, key: Key, rank: usize) -> bool {
        let old = self.0.iter().find(|line| line.id == key.id());
        let old = old.and_then(|line| line.key.as_ref());
        if old.is_some_and(|old| old.same(&key)) {
            return false;
        }
        self.0.retain(|line| line.id != key.id());
        let id = key.id().to_owned();
        self.0.push(Line {
            id,
            key: Some(key),
            rank,
        });
        true
    }

    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let before = self.0.len();
        self.0.retain(|line| line.id != key.id());
        self.0.len() < before
    }

    /// Removes all but these, comments too.
    pub(super) fn keep_only(&mut self, ids: &[String]) -> bool {
        let before = self.0.len();
        self.0.retain(|line| ids.contains(&line.id));
        self.0.len() < before
    }

    pub(super) fn render(&self) -> String {
        let mut lines: Vec<&Line> = self.0.iter().collect();
        lines.sort_by_key(|line| line.rank);
        let text = |line: &&Line| line.key.as_ref().map_or(line.id.clone(), Key::line);
        lines.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_outside_of_quotes_and_kept_in_order() {
        let line = "command=\"a, b\",no-pty,environment=\"A=1\" ssh-rsa AAAA me@here too\n";
        let key = Key::read(line).unwrap();
        assert_eq!(key.options.len(), 3);
        assert_eq!(key.line(), line);
    }

    #[test]
    fn what_is_no_key_stays_and_equal_lines_become_one() {
        let text = "# mine\n\nssh-rsa AAAA a\nnonsense\n\n";
        let keys = Keys::read(text);
        assert_eq!(keys.render(), "# mine\nssh-rsa AAAA a\nnonsense\n\n");
    }

    #[test]
    fn a_key_with_other_options_replaces_the_old_at_the_end() {
        let mut keys = Keys::read("ssh-rsa AAAA a\nssh-rsa BBBB b\n");
        let mut key = Key::read("ssh-rsa AAAA a").unwrap();
        assert!(!keys.put(key.clone(), 2));
        key.set_options("no-pty");
        assert!(keys.put(key, 2));
        assert_eq!(
            keys.render(),
            "ssh-rsa BBBB b \nno-pty ssh-rsa AAAA a\n".replace("b \n", "b\n")
        );
    }
}
