//! `module: k=v k2="v v" free text`: Ansible's `split_args` and `parse_kv`.

/// Parameters of `command` and its like that may stand before or after their free text.
const COMMAND_PARAMS: &[&str] = &[
    "creates",
    "removes",
    "chdir",
    "executable",
    "warn",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
];

/// Quotes or a template that do not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quotes or a template block are not closed")]
pub struct Unbalanced;

/// Splits `text` into pairs and free text (the latter under `_raw_params`, last). With `raw`
/// (`command`, `shell`) only their own parameters count as pairs.
pub fn parse_kv(text: &str, raw: bool) -> Result<Vec<(String, String)>, Unbalanced> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut free = Vec::new();
    for word in split_args(text)? {
        let decoded = decode_escapes(&word);
        match unescaped_equals(&decoded) {
            Some(at) if !raw || COMMAND_PARAMS.contains(&&decoded[..at]) => {
                let key = decoded[..at].trim().to_owned();
                let value = unquote(decoded[at + 1..].trim()).to_owned();
                pairs.retain(|(known, _)| *known != key);
                pairs.push((key, value));
            }
            None if decoded.contains('=') => free.push(decoded.replace("\\=", "=")),
            Some(_) | None => free.push(word),
        }
    }
    if !free.is_empty() {
        pairs.push(("_raw_params".to_owned(), join_args(&free)));
    }
    Ok(pairs)
}

/// Splits a text into its first word, which may be a template with spaces in it, and what follows.
#[must_use]
pub fn module_and_rest(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ' ' | '\n' if depth == 0 => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// Returns the first `=` that is neither the first character nor behind a backslash.
fn unescaped_equals(text: &str) -> Option<usize> {
    text.match_indices('=')
        .map(|(at, _)| at)
        .find(|at| *at > 0 && !text[..*at].ends_with('\\'))
}

fn unquote(text: &str) -> &str {
    let mut chars = text.chars();
    match (chars.next(), chars.next_back()) {
        (Some(first @ ('"' | '\'')), Some(last))
            if first == last && !text[..text.len() - 1].ends_with('\\') =>
        {
            &text[1..text.len() - 1]
        }
        _ => text,
    }
}

fn decode_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let kind = after.chars().next();
        let hex = |from: usize, digits: usize| {
            let body = after.get(from..from + digits)?;
            char::from_u32(u32::from_str_radix(body, 16).ok()?).map(|c| (c, from + digits))
        };
        let simple = |c: char| Some((c, 1));
        let decoded = match kind {
            Some('U') => hex(1, 8),
            Some('u') => hex(1, 4),
            Some('x') => hex(1, 2),
            Some(c @ ('\\' | '\'' | '"')) => simple(c),
            Some('a') => simple('\u{7}'),
            Some('b') => simple('\u{8}'),
            Some('f') => simple('\u{c}'),
            Some('n') => simple('\n'),
            Some('r') => simple('\r'),
            Some('t') => simple('\t'),
            Some('v') => simple('\u{b}'),
            _ => None,
        };
        if let Some((c, length)) = decoded {
            out.push(c);
            rest = &after[length..];
        } else {
            out.push('\\');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn join_args(words: &[String]) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Splits on blanks, but keeps together what quotes or template blocks hold together.
pub fn split_args(text: &str) -> Result<Vec<String>, Unbalanced> {
    let mut splitter = Splitter::default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let items: Vec<&str> = text.split('\n').collect();
    for (index, item) in items.iter().enumerate() {
        let mut continued = false;
        for (position, token) in item.split(' ').enumerate() {
            continued |= splitter.token(token, position);
        }
        if index + 1 < items.len() && !continued {
            splitter.last().push('\n');
        }
    }
    if splitter.depths.iter().any(|depth| *depth > 0) || splitter.quote.is_some() {
        return Err(Unbalanced);
    }
    Ok(splitter.params)
}

const BLOCKS: [(&str, &str); 3] = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];

#[derive(Default)]
struct Splitter {
    params: Vec<String>,
    quote: Option<char>,
    depths: [usize; 3],
}

impl Splitter {
    fn last(&mut self) -> &mut String {
        if self.params.is_empty() {
            self.params.push(String::new());
        }
        let last = self.params.len() - 1;
        &mut self.params[last]
    }

    /// Takes what stands between two blanks. Returns whether it continues the line.
    fn token(&mut self, token: &str, position: usize) -> bool {
        if token.is_empty() && position > 0 {
            self.last().push(' ');
            return false;
        }
        let was_quoted = self.quote.is_some();
        if token == "\\" && !was_quoted {
            return true;
        }
        self.quote = quote_state(token, self.quote);
        let quoted = self.quote.is_some();
        let within = self.depths.iter().any(|depth| *depth > 0);
        let mut appended = false;
        if quoted && !was_quoted && !within {
            self.params.push(token.to_owned());
            appended = true;
        } else if within || quoted || was_quoted {
            let spaced = position > 0;
            let last = self.last();
            if spaced {
                last.push(' ');
            }
            last.push_str(token);
            appended = true;
        }
        for (depth, (open, close)) in self.depths.iter_mut().zip(BLOCKS) {
            let (opened, closed) = (token.matches(open).count(), token.matches(close).count());
            let before = *depth;
            *depth = (before + opened).saturating_sub(closed);
            if *depth != before && !appended {
                self.params.push(token.to_owned());
                appended = true;
            }
        }
        let within = self.depths.iter().any(|depth| *depth > 0);
        if !within && !quoted && !appended && !token.is_empty() {
            self.params.push(token.to_owned());
        }
        false
    }
}

fn quote_state(token: &str, mut quote: Option<char>) -> Option<char> {
    let mut before = None;
    for c in token.chars() {
        if matches!(c, '"' | '\'') && before != Some('\\') {
            quote = match quote {
                Some(open) if open == c => None,
                Some(open) => Some(open),
                None => Some(c),
            };
        }
        before = Some(c);
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(text: &str, raw: bool) -> Vec<(String, String)> {
        parse_kv(text, raw).unwrap()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn pairs_keep_quotes_and_templates_together() {
        assert_eq!(
            kv("src=a dest=\"b c\" mode={{ m | default('x y') }}", false),
            owned(&[
                ("src", "a"),
                ("dest", "b c"),
                ("mode", "{{ m | default('x y') }}")
            ])
        );
    }

    #[test]
    fn a_command_keeps_its_text_and_gives_up_its_own_parameters() {
        assert_eq!(
            kv("echo a=b \"c  d\" chdir=/tmp", true),
            owned(&[("chdir", "/tmp"), ("_raw_params", "echo a=b \"c  d\"")])
        );
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        assert_eq!(split_args("a='b"), Err(Unbalanced));
    }
}
