//! Whether a task can be reached, as far as facts known beforehand tell: three-valued logic over
//! comparisons with constants. Anything else is undecided.

use std::collections::BTreeMap;

use crate::yaml::{Kind, Node};

/// Whether something is reached; ordered so that `and` is the minimum and `or` the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reachability {
    No,
    Undecided,
    Yes,
}

impl Reachability {
    fn of(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Undecided => Self::Undecided,
            Self::Yes => Self::No,
        }
    }
}

type Facts = BTreeMap<String, String>;

/// Decides a `when`: a condition or a list of them.
pub(super) fn when(node: &Node, facts: &Facts) -> Reachability {
    match &node.kind {
        Kind::Bool(truth) => Reachability::of(*truth),
        Kind::Str(text) => condition(text, facts),
        Kind::Seq(items) => items
            .iter()
            .map(|item| when(item, facts))
            .min()
            .unwrap_or(Reachability::Yes),
        _ => Reachability::Undecided,
    }
}

fn condition(text: &str, facts: &Facts) -> Reachability {
    let Some(tokens) = tokens(text) else {
        return Reachability::Undecided;
    };
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        facts,
    };
    let reach = reader.or(0);
    if reader.at == tokens.len() {
        reach
    } else {
        Reachability::Undecided
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Text(String),
    Word(String),
    Sign(&'static str),
}

const SIGNS: &[&str] = &[
    "==", "!=", ">=", "<=", "(", ")", "[", "]", ",", "|", ".", "<", ">", "+", "-", "*", "/", "~",
    "{", "}", ":", "%",
];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        if matches!(c, '"' | '\'') {
            let end = rest[1..].find(c)? + 1;
            out.push(Token::Text(rest[1..end].to_owned()));
            rest = &rest[end + 1..];
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
            out.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
        rest = rest.trim_start();
    }
    Some(out)
}

/// Deeper than this nobody nests conditions by hand.
const DEPTH_LIMIT: usize = 50;

struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
    facts: &'t Facts,
}

impl Reader<'_> {
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Reachability {
        let mut reach = self.and(depth);
        while self.word("or") {
            reach = reach.max(self.and(depth));
        }
        reach
    }

    fn and(&mut self, depth: usize) -> Reachability {
        let mut reach = self.not(depth);
        while self.word("and") {
            reach = reach.min(self.not(depth));
        }
        reach
    }

    fn not(&mut self, depth: usize) -> Reachability {
        let mut negated = false;
        while self.word("not") {
            negated = !negated;
        }
        let reach = self.atom(depth);
        if negated { reach.not() } else { reach }
    }

    /// Reads a group, or everything up to the next `and`, `or` or closing parenthesis.
    fn atom(&mut self, depth: usize) -> Reachability {
        let from = self.at;
        if depth < DEPTH_LIMIT && self.tokens.get(self.at) == Some(&Token::Sign("(")) {
            self.at += 1;
            let reach = self.or(depth + 1);
            let closed = self.tokens.get(self.at) == Some(&Token::Sign(")"));
            self.at += 1;
            if closed && self.ended() {
                return reach;
            }
            self.at = from;
        }
        let mut open = 0_usize;
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Sign("(" | "[" | "{") => open += 1,
                Token::Sign(")" | "]" | "}") if open == 0 => break,
                Token::Sign(")" | "]" | "}") => open -= 1,
                Token::Word(w) if open == 0 && (w == "and" || w == "or") => break,
                _ => {}
            }
            self.at += 1;
        }
        self.compare(&self.tokens[from..self.at])
    }

    fn ended(&self) -> bool {
        match self.tokens.get(self.at) {
            None | Some(Token::Sign(")")) => true,
            Some(Token::Word(w)) => w == "and" || w == "or",
            _ => false,
        }
    }

    fn compare(&self, tokens: &[Token]) -> Reachability {
        if let [Token::Word(word)] = tokens {
            return match word.as_str() {
                "true" | "True" => Reachability::Yes,
                "false" | "False" => Reachability::No,
                _ => Reachability::Undecided,
            };
        }
        let Some((fact, rest)) = self.fact(tokens) else {
            return Reachability::Undecided;
        };
        let equal = |token: &Token| text(token).map(|text| *fact == *text);
        let among = |rest: &[Token]| {
            let all: Option<Vec<bool>> = rest
                .iter()
                .filter(|token| **token != Token::Sign(","))
                .map(equal)
                .collect();
            all.map(|all| all.contains(&true))
        };
        let answer = match rest {
            [Token::Sign("=="), value] => equal(value),
            [Token::Sign("!="), value] => equal(value).map(|e| !e),
            [
                Token::Word(word),
                Token::Sign("[" | "("),
                inner @ ..,
                Token::Sign("]" | ")"),
            ] if word == "in" => among(inner),
            [
                Token::Word(not),
                Token::Word(word),
                Token::Sign("[" | "("),
                inner @ ..,
                Token::Sign("]" | ")"),
            ] if not == "not" && word == "in" => among(inner).map(|a| !a),
            _ => None,
        };
        answer.map_or(Reachability::Undecided, Reachability::of)
    }

    /// Reads `ansible_os_family`, `ansible_facts.os_family`, `ansible_facts['os_family']`.
    fn fact<'t>(&self, tokens: &'t [Token]) -> Option<(&String, &'t [Token])> {
        let (name, rest) = match tokens {
            [
                Token::Word(all),
                Token::Sign("."),
                Token::Word(name),
                rest @ ..,
            ] if all == "ansible_facts" => (name.as_str(), rest),
            [
                Token::Word(all),
                Token::Sign("["),
                Token::Text(name),
                Token::Sign("]"),
                rest @ ..,
            ] if all == "ansible_facts" => (name.as_str(), rest),
            [Token::Word(name), rest @ ..] => (name.strip_prefix("ansible_")?, rest),
            _ => return None,
        };
        Some((self.facts.get(name)?, rest))
    }
}

fn text(token: &Token) -> Option<&str> {
    match token {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_known_facts_are_decided_and_others_are_not() {
        let facts = [("os_family", "Debian"), ("distribution", "Ubuntu")];
        let facts = facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, reach) in [
            ("ansible_os_family == 'RedHat'", Reachability::No),
            (
                "ansible_facts['os_family'] == \"Debian\"",
                Reachability::Yes,
            ),
            (
                "ansible_facts.distribution in ['Debian', 'Ubuntu']",
                Reachability::Yes,
            ),
            (
                "ansible_distribution not in ['Debian', 'Ubuntu']",
                Reachability::No,
            ),
            (
                "x is defined and ansible_os_family == 'RedHat'",
                Reachability::No,
            ),
            (
                "x is defined or ansible_os_family == 'RedHat'",
                Reachability::Undecided,
            ),
            (
                "not (ansible_os_family == 'RedHat' or false)",
                Reachability::Yes,
            ),
            (
                "ansible_os_family | lower == 'debian'",
                Reachability::Undecided,
            ),
            (
                "(x or y) and ansible_os_family != 'Debian'",
                Reachability::No,
            ),
            ("'a' in b", Reachability::Undecided),
            ("", Reachability::Undecided),
        ] {
            assert_eq!(condition(text, &facts), reach, "{text}");
        }
        assert_eq!(
            condition("ansible_os_family == 'RedHat'", &Facts::new()),
            Reachability::Undecided
        );
    }
}
