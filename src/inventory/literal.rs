//! Python's literals, as `ast.literal_eval` takes them: what values in INI inventories are.
//!
//! A text that is none stays a text. What no variable can be becomes what Ansible makes of it: tuples and sets are lists, bytes
//! are texts, `...` and imaginary numbers are the texts that Python shows.

use amibake_playbook::template::unescaped;
use amibake_playbook::value::tagged;
use serde_json::Value as Json;

/// Beyond this nesting a text is no literal.
const DEPTH_LIMIT: usize = 90;

/// Returns what Python's `literal_eval` makes of a text, or the text.
pub(super) fn literal(text: &str) -> Json {
    let mut reader = Reader {
        rest: text,
        depth: 0,
    };
    match reader.expression() {
        Some(value) if reader.next().is_none() => value,
        _ => Json::String(text.to_owned()),
    }
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Reader<'t> {
    /// Takes a value, or values with commas between them: a tuple needs no parentheses.
    fn expression(&mut self) -> Option<Json> {
        let first = self.value()?;
        if self.next() != Some(',') {
            return Some(first);
        }
        let mut items = vec![first];
        while self.take(',') && self.next().is_some() {
            items.push(self.value()?);
        }
        Some(Json::Array(items))
    }

    fn value(&mut self) -> Option<Json> {
        match self.next()? {
            '\'' | '"' => self.strings(),
            open @ ('[' | '(' | '{') => self.container(open),
            '+' => self.signed('+'),
            '-' => self.signed('-'),
            '0'..='9' | '.' => self.unsigned(),
            _ => self.named(),
        }
    }

    /// Returns the next character that is no space.
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        self.rest.chars().next()
    }

    /// Takes `wanted` if it is next.
    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.next() == Some(wanted);
        if is_next {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        is_next
    }

    /// Takes as many bytes as `length`.
    fn split(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn signed(&mut self, sign: char) -> Option<Json> {
        self.take(sign);
        self.next()?;
        let number = self.split(number_length(self.rest));
        number_of(number, sign == '-')
    }

    fn unsigned(&mut self) -> Option<Json> {
        if let Some(rest) = self.rest.strip_prefix("...") {
            self.rest = rest;
            return Some(Json::from("..."));
        }
        let number = self.split(number_length(self.rest));
        number_of(number, false)
    }

    fn named(&mut self) -> Option<Json> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if rest.starts_with(['\'', '"']) {
            return self.strings();
        }
        self.rest = rest;
        match name {
            "True" => Some(Json::Bool(true)),
            "False" => Some(Json::Bool(false)),
            "None" => Some(Json::Null),
            "set" if self.take('(') && self.take(')') => Some(Json::Array(Vec::new())),
            _ => None,
        }
    }

    /// Takes strings that stand beside one another, which are one.
    fn strings(&mut self) -> Option<Json> {
        let (mut all, is_bytes) = self.string()?;
        while self.is_string() {
            let (text, also_bytes) = self.string()?;
            if also_bytes != is_bytes {
                return None;
            }
            all.push_str(&text);
        }
        Some(Json::String(all))
    }

    fn is_string(&mut self) -> bool {
        self.next().is_some() && self.rest[prefix_length(self.rest)..].starts_with(['\'', '"'])
    }

    /// Takes a string, and returns whether it is of bytes.
    fn string(&mut self) -> Option<(String, bool)> {
        let prefix = self.split(prefix_length(self.rest)).to_ascii_lowercase();
        let quote = ["'''", "\"\"\"", "'", "\""];
        let quote = quote.into_iter().find(|q| self.rest.starts_with(q))?;
        self.split(quote.len());
        let inside = self.split(closing(self.rest, quote)?);
        self.split(quote.len());
        let (is_raw, is_bytes) = match prefix.as_str() {
            "" | "u" => (false, false),
            "r" => (true, false),
            "b" => (false, true),
            "br" | "rb" => (true, true),
            _ => return None,
        };
        let text = match is_raw {
            true => inside.to_owned(),
            false => unescaped(inside),
        };
        // Bytes that are no ASCII are no text either.
        (!is_bytes || text.is_ascii()).then_some((text, is_bytes))
    }

    fn container(&mut self, open: char) -> Option<Json> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return None;
        }
        self.take(open);
        let value = match open {
            '[' => Json::Array(self.items(']')?.0),
            '(' => match self.items(')')? {
                (mut items, false) if items.len() == 1 => items.remove(0),
                (items, _) => Json::Array(items),
            },
            _ => self.set_or_mapping()?,
        };
        self.depth -= 1;
        Some(value)
    }

    /// Takes values up to `close`, and returns whether there was a comma.
    fn items(&mut self, close: char) -> Option<(Vec<Json>, bool)> {
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take(close) {
            items.push(self.value()?);
            match self.take(',') {
                true => comma = true,
                false if self.next() == Some(close) => {}
                false => return None,
            }
        }
        Some((items, comma))
    }

    fn set_or_mapping(&mut self) -> Option<Json> {
        if self.take('}') {
            return Some(tagged::mapping(Vec::new()));
        }
        let first = self.key()?;
        match self.take(':') {
            true => self.mapping(first),
            false => self.set(first),
        }
    }

    /// Takes what can be a key or an element of a set.
    fn key(&mut self) -> Option<Json> {
        match self.next()? {
            '[' | '{' => None,
            _ => self.value(),
        }
    }

    fn mapping(&mut self, first: Json) -> Option<Json> {
        let mut pairs = vec![(first, self.value()?)];
        while !self.ends()? {
            let key = self.key()?;
            let value = self.take(':').then(|| self.value())??;
            pairs.push((key, value));
        }
        Some(tagged::mapping(pairs))
    }

    fn set(&mut self, first: Json) -> Option<Json> {
        let mut items = vec![first];
        while !self.ends()? {
            let item = self.key()?;
            if !items.contains(&item) {
                items.push(item);
            }
        }
        Some(Json::Array(items))
    }

    /// Returns whether a set or mapping ends here; otherwise a comma is taken.
    fn ends(&mut self) -> Option<bool> {
        let comma = self.take(',');
        match self.take('}') {
            true => Some(true),
            false => comma.then_some(false),
        }
    }
}

/// Returns how long the letters before a string's quote are.
fn prefix_length(text: &str) -> usize {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic);
    letters.count()
}

/// Returns where `quote` is that no backslash stands before.
fn closing(text: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = !escaped && text[at..].starts_with(quote);
        escaped = !escaped && c == '\\';
        ends.then_some(at)
    })
}

/// Returns how long a number at the start of `text` is: a sign behind an exponent's `e` is its own.
fn number_length(text: &str) -> usize {
    let radix = radix_of(text).is_some();
    let mut before = ' ';
    let end = text.find(|c: char| {
        let signed = !radix && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
        before = c;
        !(signed || c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
    });
    end.unwrap_or(text.len())
}

fn radix_of(number: &str) -> Option<u32> {
    match number.as_bytes() {
        [b'0', b'x' | b'X', ..] => Some(16),
        [b'0', b'o' | b'O', ..] => Some(8),
        [b'0', b'b' | b'B', ..] => Some(2),
        _ => None,
    }
}

fn number_of(written: &str, negative: bool) -> Option<Json> {
    if let Some(radix) = radix_of(written) {
        let digits = written[2..].strip_prefix('_').unwrap_or(&written[2..]);
        return tagged::integer(&without_underscores(digits)?, radix, negative);
    }
    let digits = without_underscores(written)?;
    if let Some(imaginary) = digits.strip_suffix(['j', 'J']) {
        let shown = shown_float(float_of(imaginary)?);
        return Some(Json::String(match negative {
            true => format!("(-0-{shown}j)"),
            false => format!("{shown}j"),
        }));
    }
    if digits.bytes().all(|c| c.is_ascii_digit()) {
        // Python has no decimal numbers with leading zeros: `0644` stays text.
        let is_padded = digits.starts_with('0') && digits.bytes().any(|c| c != b'0');
        return (!is_padded)
            .then(|| tagged::integer(&digits, 10, negative))
            .flatten();
    }
    let number = float_of(&digits)?;
    Some(tagged::float(if negative { -number } else { number }))
}

/// Returns a number's digits without the underscores that may stand between two of them.
fn without_underscores(number: &str) -> Option<String> {
    let between = |part: &str| !part.is_empty();
    let fits = !number.contains('_')
        || number.split('_').all(between)
            && !["_.", "._", "_e", "_E", "e_", "E_", "_j", "_J"]
                .iter()
                .any(|wrong| number.contains(wrong));
    fits.then(|| number.replace('_', ""))
}

fn float_of(digits: &str) -> Option<f64> {
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    digits
        .chars()
        .all(is_plain)
        .then(|| digits.parse().ok())
        .flatten()
}

/// Returns a part of a complex number as Python shows it.
fn shown_float(number: f64) -> String {
    let shown = amibake_playbook::value::float_repr(number);
    shown.strip_suffix(".0").unwrap_or(&shown).to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::super::tests::{listing_of_ansible, python};
    use super::*;

    /// Texts, none of which Ansible fails with.
    const TEXTS: &[&str] = &[
        "True",
        "None",
        "none",
        "yes",
        "1",
        "-1",
        "+1",
        "- 1",
        "--1",
        "0644",
        "00",
        "0x1F",
        "0o17",
        "0b101",
        "0b102",
        "1_000",
        "1__0",
        "_1",
        "0x_f",
        "1.",
        ".5",
        "1e3",
        "1E-3",
        "1_0.0_1",
        "1._0",
        "1.2.3",
        "127.0.0.1",
        "1j",
        "-1.5j",
        "...",
        "....",
        "'single'",
        "\"double\"",
        "b'bytes'",
        "rb'a\\n'",
        "u'x'",
        "r'a\\n'",
        "'a\\n'",
        "'it\\'s'",
        "'a' 'b'",
        "'a'b'c'",
        "'a' b",
        "'''three'''",
        "f'x'",
        "'open",
        "''",
        "x'y'",
        "[1, 2]",
        "[1, 2,]",
        "[,]",
        "[1 2]",
        "[]",
        "()",
        "(1)",
        "(1,)",
        "(1, 2)",
        "{}",
        "{\"a\": \"b\"}",
        "{'a': [1, {'b': None}],}",
        "{1, 2}",
        "{1, 1}",
        "set()",
        "set(1)",
        "{'a'}",
        "{(1, 2)}",
        "{'a': 1, 'b'}",
        "{{ x }}",
        "[{{ x }}]",
        "[..., 1j, set(), {1, 2}, b'x']",
        "plain words",
        "host-01.internal",
        "[yes]",
        "[True, null]",
        "123456789012345678901234567890",
        "['{{ x }}', 'y']",
        "1 + 1",
        "a=b",
        "~/x",
        "@x",
        "1,2",
        "1,",
        ",1",
        "1,,2",
        "1 , [2], 'a' 'b',",
        "a,b",
        "1,b",
        "- 1j",
        "\u{e4}",
    ];

    /// Prints each variable of the host `h` as Python writes it, without the mark of texts that were bytes.
    const REPRS: &str = "import json, sys\n\
        def plain(v):\n\
        \x20   if isinstance(v, list): return [plain(i) for i in v]\n\
        \x20   if not isinstance(v, dict): return v\n\
        \x20   return v.get('__ansible_unsafe', {k: plain(i) for k, i in v.items()})\n\
        listed = json.loads(sys.argv[1])['_meta']['hostvars']['h']\n\
        print(json.dumps({k: repr(plain(v)) for k, v in listed.items()}))";

    #[test]
    #[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
    fn a_value_is_what_python_reads_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let lines = TEXTS
            .iter()
            .enumerate()
            .map(|(at, text)| format!("v{at:03}={text}\n"));
        std::fs::write(
            &path,
            format!("h\n[all:vars]\n{}", lines.collect::<String>()),
        )
        .unwrap();
        let listing = listing_of_ansible(&[path.display().to_string()]);
        let out = Command::new(python())
            .args(["-c", REPRS, &listing])
            .output();
        let theirs: Json = serde_json::from_slice(&out.unwrap().stdout).unwrap();
        for (at, text) in TEXTS.iter().enumerate() {
            let ours = amibake_playbook::value::Value::from_authored_json(&literal(text));
            assert_eq!(theirs[format!("v{at:03}")], ours.repr(), "{text}");
        }
    }

    #[test]
    fn literals_and_what_is_none() {
        for (text, value) in [
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("0644", json!("0644")),
            ("b'x'", json!("x")),
            ("(1, [None])", json!([1, [null]])),
            ("{1, 2}", json!([1, 2])),
            ("{'a': True}", json!({"a": true})),
            ("1j", json!("1j")),
            ("...", json!("...")),
            ("{{ x }}", json!("{{ x }}")),
            ("{{ 'x' }}", json!("{{ 'x' }}")),
            ("'a' 'b'", json!("ab")),
            (&"[".repeat(1000), json!("[".repeat(1000))),
        ] {
            assert_eq!(literal(text), value, "{text}");
        }
    }
}
