//! Keeps secrets out of what leaves: Ansible's `remove_values`, and passwords in URLs.

use amibake_playbook::argspec::{ModuleSpec, Param};
use serde_json::{Map, Value as Json};

use crate::args::truth;

/// What stands for a whole secret value.
const WHOLE: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/// What a task under `no_log` shows instead of its result.
pub(crate) const NO_LOG: &str =
    "the output has been hidden due to the fact that 'no_log: true' was specified for this result";

/// Texts that must not leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Collects what of a module's arguments must not leave.
    pub(crate) fn of(spec: &ModuleSpec, args: &Map<String, Json>) -> Self {
        let mut secrets = Self::default();
        for (name, value) in args {
            let is_secret = |param: &Param| {
                let flag = param.no_log_if.and_then(|flag| args.get(flag));
                param.no_log || flag.is_some_and(|flag| truth(flag) == Some(true))
            };
            if spec.param(name).is_some_and(is_secret) {
                secrets.add(value);
            }
        }
        secrets
    }

    /// Adds every text in `value`.
    pub(crate) fn add(&mut self, value: &Json) {
        match value {
            Json::String(text) if !text.is_empty() => self.0.push(text.clone()),
            Json::Number(n) => self.0.push(n.to_string()),
            Json::Array(items) => items.iter().for_each(|item| self.add(item)),
            Json::Object(map) => map.values().for_each(|item| self.add(item)),
            Json::String(_) | Json::Null | Json::Bool(_) => {}
        }
        // Longer ones first: one may hold another.
        self.0.sort_by_key(|text| std::cmp::Reverse(text.len()));
        self.0.dedup();
    }

    /// Removes them from a text.
    pub(crate) fn text(&self, text: &str) -> String {
        if self.0.iter().any(|secret| secret == text) {
            return WHOLE.to_owned();
        }
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "********")
        })
    }

    /// Removes them from every text and number in a value.
    pub(crate) fn value(&self, value: &mut Json) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Json::String(text) => *text = self.text(text),
            Json::Number(n) => {
                let shown = n.to_string();
                if self.0.iter().any(|secret| shown.contains(secret.as_str())) {
                    *value = Json::from(WHOLE);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Json::Object(map) => self.fields(map),
            Json::Null | Json::Bool(_) => {}
        }
    }

    /// Removes them from every field of a result.
    pub(crate) fn fields(&self, fields: &mut Map<String, Json>) {
        if self.0.is_empty() {
            return;
        }
        fields.iter_mut().for_each(|(_, item)| self.value(item));
    }
}

/// Removes passwords of URLs from every text in a value.
pub(crate) fn hide_url_passwords(value: &mut Json) {
    match value {
        Json::String(text) if text.contains("://") => *text = without_url_passwords(text),
        Json::Array(items) => items.iter_mut().for_each(hide_url_passwords),
        Json::Object(map) => map
            .iter_mut()
            .for_each(|(_, item)| hide_url_passwords(item)),
        _ => {}
    }
}

/// Replaces the password of every `scheme://user:password@` in a text.
fn without_url_passwords(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>'))
            .unwrap_or(after.len());
        let authority = &after[..end];
        match authority
            .rsplit_once('@')
            .and_then(|(login, host)| Some((login.split_once(':')?.0, host)))
        {
            Some((user, host)) => {
                out.push_str(user);
                out.push_str(":********@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_removed_whole_and_inside_other_texts() {
        let mut secrets = Secrets::default();
        secrets.add(&json!("hunter2"));
        let mut result = json!({"a": "hunter2", "b": ["x hunter2 y", 3, true], "c": null});
        secrets.value(&mut result);
        let expected = json!({"a": WHOLE, "b": ["x ******** y", 3, true], "c": null});
        assert_eq!(result, expected);
    }

    #[test]
    fn the_longer_of_two_secrets_goes_first() {
        let mut secrets = Secrets::default();
        secrets.add(&json!(["abc", "abcdef"]));
        assert_eq!(secrets.text("(abcdef)"), "(********)");
    }

    #[test]
    fn a_password_in_a_url_is_hidden() {
        let hidden =
            without_url_passwords("from https://ann:s3cr3t@example.org/x?y and http://b.org:80/");
        assert_eq!(
            hidden,
            "from https://ann:********@example.org/x?y and http://b.org:80/"
        );
    }
}
