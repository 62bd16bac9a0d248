//! `group_by`: puts the host into a group that the run makes.

use amibake_playbook::value::{Source, Value};
use serde_json::json;

use super::actions::plain;
use super::eval;
use super::magic;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::TaskError;

impl Run<'_> {
    /// `group_by`.
    pub(super) fn group_by(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let Some(key) = args.get("key") else {
            let msg = "the 'key' param is required when using group_by";
            return Ok(plain(json!({"failed": true, "changed": false, "msg": msg})));
        };
        let named = |text: String| text.replace(' ', "-");
        let group = named(key.to_string());
        let parents = args
            .get("parents")
            .map_or_else(|| vec!["all".to_owned()], |parents| eval::texts(&parents));
        let parents: Vec<String> = parents.into_iter().map(named).collect();
        let mut attempt = plain(json!({
            "add_group": group, "parent_groups": parents,
        }));
        let written = self.written_args(cx)?.get("key");
        let changed = {
            let mut grouping = self.grouping.borrow_mut();
            grouping.note_name(written.as_ref().and_then(pattern_of));
            let is_member = self.options.group_names.contains(&group);
            grouping.join(&group, parents) && !is_member
        };
        magic::regroup(self);
        attempt.fields.insert("changed".to_owned(), json!(changed));
        Ok(attempt)
    }
}

/// Returns the shell pattern of what a template can give, if some of it is written.
fn pattern_of(written: &Value) -> Option<String> {
    let Value::Template(source) = written else {
        return None;
    };
    let Source { text, .. } = &**source;
    let mut pattern = String::new();
    let mut rest: &str = text;
    while let Some((before, after)) = rest.split_once("{{") {
        pattern.push_str(before);
        pattern.push('*');
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    pattern.push_str(rest);
    let pattern = pattern.replace(' ', "-");
    (!pattern.trim_matches('*').is_empty()).then_some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_what_is_written_of_a_key() {
        let pattern = |text: &str| pattern_of(&Value::authored(text, None));
        assert_eq!(pattern("os_{{ a }}"), Some("os_*".to_owned()));
        assert_eq!(pattern("{{ a }} {{ b }}x"), Some("*-*x".to_owned()));
        assert_eq!(pattern("{{ a }}"), None);
        assert_eq!(pattern("plain"), None);
    }
}
