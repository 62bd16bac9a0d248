//! Finds the lookups in a text as its author wrote them.

use std::collections::BTreeSet;

use amibake_playbook::names::bare;

/// A lookup as the author wrote it.
#[derive(Debug, PartialEq)]
pub(super) struct Written<'t> {
    pub(super) line: u32,
    pub(super) plugin: &'t str,
    /// The positional arguments, if all of them are literal texts.
    pub(super) literal: Option<Vec<&'t str>>,
}

/// Returns whether `word` stands in `text` by itself, not as a part of a longer name or path.
pub(super) fn has_word(text: &str, word: &str) -> bool {
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

/// Finds every lookup in a text, one after the other: `lookup('env', …)`, `query(…)`, `q(…)`,
/// `with_env: …`. A text may have many, and what is found shares it.
pub(super) fn written(text: &str) -> impl Iterator<Item = Written<'_>> {
    let keywords = (1..).zip(text.lines()).filter_map(|(line, content)| {
        let (plugin, rest) = with_keyword(content)?;
        let literal = literal_text(rest.trim()).map(|term| vec![term]);
        Some(Written {
            line,
            plugin: short(plugin),
            literal,
        })
    });
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
    keywords.chain(homes).chain(calls)
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
pub(crate) struct Environment<'t> {
    /// Those that it names.
    pub(crate) literal: BTreeSet<&'t str>,
    /// Whether it computes the names of others.
    pub(crate) computed: bool,
}

/// Returns what the `env` lookups of a text read.
pub(crate) fn environment(text: &str) -> Environment<'_> {
    let mut environment = Environment::default();
    for lookup in written(text).filter(|lookup| lookup.plugin == "env") {
        match lookup.literal {
            Some(names) => environment.literal.extend(names),
            None => environment.computed = true,
        }
    }
    environment
}
