//! Finds the lookups in a text as its author wrote them: as it stands in a template, and as YAML reads it, where
//! quotes are doubled, characters escaped and lines folded.

use std::collections::BTreeSet;
use std::path::Path;

use amibake_playbook::names::bare;
use amibake_playbook::yaml::{self, Kind, Node};

/// A lookup as the author wrote it.
#[derive(Debug, PartialEq)]
pub(super) struct Written<'t> {
    pub(super) line: u32,
    pub(super) plugin: &'t str,
    /// The positional arguments, if all of them are literal texts.
    pub(super) literal: Option<Vec<&'t str>>,
}

/// Returns whether `word` stands in `text` by itself, not as a part of a longer name or path.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part)
        })
}

/// Returns the name by which a lookup of Ansible's is known here.
pub(super) fn short(plugin: &str) -> &str {
    let plugin = bare(plugin);
    plugin.strip_prefix("community.general.").unwrap_or(plugin)
}

/// A text of the author's, and what YAML makes of it, if it is YAML.
pub(super) struct AuthorsText<'t> {
    raw: &'t str,
    read: Option<Node>,
}

impl<'t> AuthorsText<'t> {
    pub(super) fn of(raw: &'t str) -> Self {
        // Without these there is no lookup.
        let may_have = ["{{", "{%", "with_", "\\"]
            .iter()
            .any(|sign| raw.contains(sign));
        let read = may_have.then(|| yaml::parse(Path::new(""), raw.as_bytes()));
        let read = read.and_then(|read| Some(read.ok()?.root));
        Self {
            raw,
            read: read.filter(|root| matches!(root.kind, Kind::Seq(_) | Kind::Map(_))),
        }
    }

    /// Finds every lookup. Of a text that YAML reads otherwise than it stands there, what was read counts alone.
    pub(super) fn lookups(&self) -> Vec<Written<'_>> {
        let Some(read) = &self.read else {
            return written(self.raw).collect();
        };
        let lines: Vec<&str> = self.raw.lines().collect();
        // A template may be YAML by chance, with lookups in its comments.
        let mut found: Vec<Written<'_>> = written(self.raw)
            .filter(|lookup| is_the_same_in_yaml(lookup, &lines))
            .collect();
        add_read(read, &mut found);
        found
    }

    /// Returns whether `word` stands there by itself.
    pub(super) fn has_word(&self, word: &str) -> bool {
        let read = self.read.as_ref();
        has_word(self.raw, word) || read.is_some_and(|root| node_has_word(root, word))
    }
}

/// Returns whether YAML has nothing to replace on the line of a lookup, or to fold in its terms.
fn is_the_same_in_yaml(lookup: &Written<'_>, lines: &[&str]) -> bool {
    let line = lines.get(lookup.line.saturating_sub(1) as usize);
    let replaced = line.is_some_and(|line| line.contains("''") || line.contains('\\'));
    let mut terms = lookup.literal.iter().flatten();
    !replaced && !terms.any(|term| term.contains('\n'))
}

/// Adds the lookups of a YAML value, each with the line that it begins on.
fn add_read<'n>(node: &'n Node, found: &mut Vec<Written<'n>>) {
    match &node.kind {
        Kind::Str(text) => found.extend(calls(text).map(|lookup| Written {
            line: node.span.line.saturating_add(lookup.line - 1),
            ..lookup
        })),
        Kind::Seq(items) => items.iter().for_each(|item| add_read(item, found)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                add_read(key, found);
                add_read(value, found);
                found.extend(key.as_str().and_then(|key| loop_over(key, value)));
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Timestamp(_) => {}
    }
}

/// Reads `with_env: …`: the terms, if all of them are texts without templates.
fn loop_over<'n>(key: &'n str, value: &'n Node) -> Option<Written<'n>> {
    let plugin = key.strip_prefix("with_")?;
    let items = value.as_seq().unwrap_or(std::slice::from_ref(value));
    let literal = |item: &'n Node| item.as_str().filter(|text| !text.contains("{{"));
    Some(Written {
        line: value.span.line,
        plugin: short(plugin),
        literal: items.iter().map(literal).collect(),
    })
}

fn node_has_word(node: &Node, word: &str) -> bool {
    match &node.kind {
        Kind::Str(text) => has_word(text, word),
        Kind::Seq(items) => items.iter().any(|item| node_has_word(item, word)),
        Kind::Map(entries) => entries
            .iter()
            .any(|(key, value)| node_has_word(key, word) || node_has_word(value, word)),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Timestamp(_) => false,
    }
}

/// Finds every lookup in a text as it stands, one after the other: `lookup('env', …)`, `query(…)`, `q(…)`,
/// `with_env: …`. A text may have many, and what is found shares it.
fn written(text: &str) -> impl Iterator<Item = Written<'_>> {
    let keywords = (1..).zip(text.lines()).filter_map(|(line, content)| {
        let (plugin, rest) = with_keyword(content)?;
        let literal = literal_text(rest.trim()).map(|term| vec![term]);
        Some(Written {
            line,
            plugin: short(plugin),
            literal,
        })
    });
    keywords.chain(calls(text))
}

/// Finds the calls alone.
fn calls(text: &str) -> impl Iterator<Item = Written<'_>> {
    let homes = found(text, "expanduser").map(|(line, _)| Written {
        line,
        plugin: "env",
        literal: Some(vec!["HOME"]),
    });
    let calls = ["lookup(", "query(", "q("]
        .into_iter()
        .flat_map(move |name| {
            found(text, name).filter_map(move |(line, at)| {
                let longer = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                let (plugin, literal) = call(&text[at + name.len()..]).filter(|_| !longer)?;
                Some(Written {
                    line,
                    plugin,
                    literal,
                })
            })
        });
    homes.chain(calls)
}

/// Returns the line and the offset of each place where `name` stands; lines are counted once.
fn found<'t>(text: &'t str, name: &'static str) -> impl Iterator<Item = (u32, usize)> + 't {
    let (mut line, mut counted) = (1_u32, 0);
    text.match_indices(name).map(move |(at, _)| {
        let more = text[counted..at].matches('\n').count();
        line = line.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        counted = at;
        (line, at)
    })
}

fn with_keyword(line: &str) -> Option<(&str, &str)> {
    line.trim_start()
        .trim_start_matches("- ")
        .strip_prefix("with_")?
        .split_once(':')
}

/// Returns a plain or quoted YAML scalar without templates.
fn literal_text(text: &str) -> Option<&str> {
    if text.is_empty() || text.contains("{{") || text.starts_with(['[', '{', '|', '>', '*', '&']) {
        return None;
    }
    let bare = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    Some(bare('"').or_else(|| bare('\'')).unwrap_or(text))
}

/// Reads `'plugin', 'term', …)`: the plugin, and the terms if all of them are literal.
fn call(text: &str) -> Option<(&str, Option<Vec<&str>>)> {
    let (plugin, mut rest) = string(text)?;
    let plugin = short(plugin);
    let mut terms = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.starts_with(')') {
            return Some((plugin, Some(terms)));
        }
        let Some(after) = rest.strip_prefix(',') else {
            return Some((plugin, None));
        };
        match string(after) {
            Some((term, after)) => {
                terms.push(term);
                rest = after;
            }
            None if is_keyword(after) => return Some((plugin, Some(terms))),
            None => return Some((plugin, None)),
        }
    }
}

fn is_keyword(text: &str) -> bool {
    let name = text.trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    end.is_some_and(|end| end > 0 && name[end..].trim_start().starts_with('='))
}

/// Reads a Jinja string; one with escapes is not taken for literal.
fn string(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let text = text.strip_prefix('\\').unwrap_or(text); // inside a double-quoted YAML scalar
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inner, after) = text[1..].split_once(quote)?;
    let inner = inner.strip_suffix('\\').unwrap_or(inner);
    (!inner.contains('\\')).then_some((inner, after))
}

/// The environment variables that a text reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Those that it names.
    pub(crate) literal: BTreeSet<String>,
    /// Whether it computes the names of others.
    pub(crate) computed: bool,
}

/// Returns what the `env` lookups of a text read.
pub(crate) fn environment(text: &str) -> Environment {
    let mut environment = Environment::default();
    let text = AuthorsText::of(text);
    let all = text.lookups().into_iter();
    for lookup in all.filter(|lookup| lookup.plugin == "env") {
        match lookup.literal {
            Some(names) => environment
                .literal
                .extend(names.into_iter().map(str::to_owned)),
            None => environment.computed = true,
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups(text: &str) -> Vec<(u32, String, Option<Vec<String>>)> {
        let text = AuthorsText::of(text);
        let owned = |terms: Vec<&str>| terms.into_iter().map(str::to_owned).collect();
        let all = text.lookups().into_iter();
        all.map(|found| {
            (
                found.line,
                found.plugin.to_owned(),
                found.literal.map(owned),
            )
        })
        .collect()
    }

    #[test]
    fn a_lookup_is_what_yaml_reads() {
        for (text, plugin, term) in [
            ("- '{{ lookup(''env'', ''HOME'') }}'", "env", "HOME"),
            (r#"- "{{ lookup('\x65nv', 'H\u004fME') }}""#, "env", "HOME"),
            (r#"- "{{ lookup(\"env\", \"HOME\") }}""#, "env", "HOME"),
            (r#"- "{{ \x6cookup('env', 'HOME') }}""#, "env", "HOME"),
            (
                "- >-\n  {{ lookup('pipe', 'echo\n  hi') }}",
                "pipe",
                "echo hi",
            ),
            (
                "a: '{{ lookup(''pipe'',\n  ''echo\n  hi'') }}'",
                "pipe",
                "echo hi",
            ),
            ("with_pipe: 'echo ''a b'''", "pipe", "echo 'a b'"),
            (r#"with_env: "H\x4fME""#, "env", "HOME"),
        ] {
            let line = if text.contains(">-") { 2 } else { 1 };
            let expected = (line, plugin.to_owned(), Some(vec![term.to_owned()]));
            assert_eq!(lookups(text), [expected], "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_yaml_is_read_as_it_stands() {
        let all = |line, plugin: &str, term: &str| {
            [(line, plugin.to_owned(), Some(vec![term.to_owned()]))]
        };
        let template = "{{ lookup('pipe', \"echo ''\") }} is: here: {";
        assert_eq!(lookups(template), all(1, "pipe", "echo ''"));
        let template = "# {{ lookup('env', 'USER') }}\na: 1\n";
        assert_eq!(lookups(template), all(1, "env", "USER"));
    }

    #[test]
    fn the_lines_of_a_block_are_its_own() {
        let text = "a: 1\nb: |\n  x\n  {{ lookup('env', 'A') }}\n";
        let lines: Vec<u32> = lookups(text).iter().map(|(line, ..)| *line).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| (3..=4).contains(line)),
            "{lines:?}"
        );
    }

    #[test]
    fn variables_in_single_quotes_are_named_and_not_computed() {
        let read = environment("- '{{ lookup(\"env\", ''HOME'') ~ lookup(''env'', ''B'') }}'");
        assert_eq!(
            read.literal,
            BTreeSet::from(["B", "HOME"].map(str::to_owned))
        );
        assert!(!read.computed);
    }
}
