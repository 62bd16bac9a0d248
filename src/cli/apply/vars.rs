//! `-e`: `k=v k2=v2`, JSON or YAML in braces, `@file`.

use std::path::Path;

use amibake_playbook::syntax::free_form;
use serde_json::Value as Json;

use crate::exit::Failure;
use crate::inventory::{Vars, vars_file, vars_text};
use crate::vault::Opened;

/// Merges all that was given; later ones win.
pub(super) fn merge(given: &[String], files: &Opened) -> Result<Vars, Failure> {
    let mut vars = Vars::new();
    for text in given {
        vars.extend(parse(text, files)?);
    }
    Ok(vars)
}

fn parse(text: &str, files: &Opened) -> Result<Vars, Failure> {
    if let Some(file) = text.strip_prefix('@') {
        return vars_file(Path::new(file), files).map_err(Failure::usage);
    }
    if text.starts_with(['{', '[']) {
        return vars_text(text).map_err(Failure::usage);
    }
    let pairs = free_form::parse_kv(text, false)
        .map_err(|_| Failure::usage(format!("-e `{text}`: a quotation mark is not closed")))?;
    let is_pair = |(name, _): &(String, String)| !name.starts_with('_');
    if pairs.is_empty() || !pairs.iter().all(is_pair) {
        return Err(Failure::usage(format!(
            "-e `{text}` is not k=v, JSON or @file"
        )));
    }
    let strings = pairs
        .into_iter()
        .map(|(name, value)| (name, Json::String(value)));
    Ok(strings.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn later_variables_win_and_keep_their_types() {
        let given = ["a=1 b='x y'", r#"{"a": 2, "l": [1]}"#].map(str::to_owned);
        let vars = Json::Object(merge(&given, &Opened::default()).unwrap());
        assert_eq!(vars, json!({"a": 2, "b": "x y", "l": [1]}));
        assert!(merge(&["nonsense".to_owned()], &Opened::default()).is_err());
    }
}
