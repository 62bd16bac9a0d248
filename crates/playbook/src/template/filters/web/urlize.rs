//! `urlize`: what looks like an address becomes a link.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::escape;
use crate::pyre::{Flags, Regex};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::filters::Given;
use crate::value::Value;

/// How links are written.
struct Links {
    limit: Option<usize>,
    attributes: String,
    schemes: Vec<String>,
}

pub(super) fn urlize(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut rel: BTreeSet<String> = given
        .optional_text(3)?
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    rel.insert("noopener".to_owned());
    if given.flag(1, false)? {
        rel.insert("nofollow".to_owned());
    }
    let rel: Vec<String> = rel.into_iter().collect();
    let mut attributes = format!(" rel=\"{}\"", escape(&rel.join(" ")));
    if let Some(target) = given.optional_text(2)?.filter(|target| !target.is_empty()) {
        attributes += &format!(" target=\"{}\"", escape(&target));
    }
    let links = Links {
        limit: match given.optional(0) {
            None | Some(Value::None) => None,
            Some(_) => Some(given.size(0, 0)?),
        },
        attributes,
        schemes: match given.optional(4) {
            None | Some(Value::None) => Vec::new(),
            Some(list) => schemes(&machine.items(list)?)?,
        },
    };
    let text = escape(&value.to_string());
    machine.meter.steps(text.len())?;
    let mut out = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        out += &links.word(&rest[..end])?;
        rest = &rest[end..];
        let blank = rest
            .find(|c: char| !c.is_whitespace())
            .unwrap_or(rest.len());
        out += &rest[..blank];
        rest = &rest[blank..];
    }
    machine.meter.bytes(out.len())?;
    Ok(Value::from(out))
}

fn schemes(given: &[Value]) -> Result<Vec<String>, Error> {
    let scheme = |value: &Value| {
        let text = value.to_string();
        let name = text.trim_end_matches('/').strip_suffix(':');
        let slashes = text.len() - text.trim_end_matches('/').len();
        let fits = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
        match name {
            Some(name) if name.chars().count() >= 2 && name.chars().all(fits) && slashes <= 2 => {
                Ok(text)
            }
            _ => Err(Error::failed(format!(
                "{} is not a valid URI scheme prefix.",
                value.repr()
            ))),
        }
    };
    given.iter().map(scheme).collect()
}

fn pattern(cell: &'static OnceLock<Option<Regex>>, text: &str) -> Result<&'static Regex, Error> {
    let flags = Flags {
        ignore_case: true,
        ..Flags::default()
    };
    cell.get_or_init(|| Regex::new(text, flags).ok())
        .as_ref()
        .ok_or_else(|| Error::failed("the pattern of addresses is broken"))
}

fn is_http(word: &str) -> Result<bool, Error> {
    static HTTP: OnceLock<Option<Regex>> = OnceLock::new();
    let text = concat!(
        r"^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})",
        r"|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)",
        r"|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))",
        r"(?::[\d]{1,5})?(?:[/?#]\S*)?$",
    );
    holds(pattern(&HTTP, text)?, word)
}

fn is_email(word: &str) -> Result<bool, Error> {
    static EMAIL: OnceLock<Option<Regex>> = OnceLock::new();
    holds(pattern(&EMAIL, r"^\S+@\w[\w.-]*\.\w+$")?, word)
}

fn holds(regex: &Regex, word: &str) -> Result<bool, Error> {
    regex
        .is_match(word.as_bytes())
        .map_err(|e| Error::failed(e.to_string()))
}

/// Splits off what opens a word and what ends it: brackets, full stops.
fn trimmed(word: &str) -> (&str, String, String) {
    let mut start = 0;
    while let Some(mark) = ["(", "<", "&lt;"]
        .iter()
        .find(|mark| word[start..].starts_with(**mark))
    {
        start += mark.len();
    }
    let (head, middle) = word.split_at(start);
    let mut end = middle.len();
    while let Some(mark) = [")", ">", ".", ",", "&gt;"]
        .iter()
        .find(|mark| middle[..end].ends_with(**mark))
    {
        end -= mark.len();
    }
    let (mut middle, mut tail) = (middle[..end].to_owned(), middle[end..].to_owned());
    // Brackets that an address opens belong to it.
    for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
        let opened = middle.matches(open).count();
        if opened <= middle.matches(close).count() {
            continue;
        }
        for _ in 0..opened.min(tail.matches(close).count()) {
            let Some(at) = tail.find(close) else { break };
            let rest = tail.split_off(at + close.len());
            middle += &tail;
            tail = rest;
        }
    }
    (head, middle, tail)
}

impl Links {
    fn word(&self, word: &str) -> Result<String, Error> {
        let (head, middle, tail) = trimmed(word);
        Ok(format!("{head}{}{tail}", self.link(&middle)?))
    }

    fn link(&self, word: &str) -> Result<String, Error> {
        let attributes = &self.attributes;
        if is_http(word)? {
            let shown = self.shortened(word);
            let scheme = match word.starts_with("https://") || word.starts_with("http://") {
                true => "",
                false => "https://",
            };
            return Ok(format!(
                "<a href=\"{scheme}{word}\"{attributes}>{shown}</a>"
            ));
        }
        if let Some(address) = word.strip_prefix("mailto:")
            && is_email(address)?
        {
            return Ok(format!("<a href=\"{word}\">{address}</a>"));
        }
        let mail = word.contains('@') && !word.starts_with("www.") && !word.contains(':');
        if mail && !word.starts_with('@') && is_email(word)? {
            return Ok(format!("<a href=\"mailto:{word}\">{word}</a>"));
        }
        let of = |scheme: &String| word != scheme && word.starts_with(scheme.as_str());
        Ok(match self.schemes.iter().any(of) {
            true => format!("<a href=\"{word}\"{attributes}>{word}</a>"),
            false => word.to_owned(),
        })
    }

    fn shortened(&self, word: &str) -> String {
        match self.limit {
            Some(limit) if word.chars().count() > limit => {
                word.chars().take(limit).collect::<String>() + "..."
            }
            _ => word.to_owned(),
        }
    }
}
