//! What of a registered `diff` is shown, as Ansible's callbacks read it.

use amibake_protocol::event::Diff;
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Returns what is shown of a result's `diff`: one mapping or a list of them.
pub(super) fn shown(diff: Option<&Json>) -> Vec<Diff> {
    match diff {
        Some(Json::Object(diff)) => one(diff).into_iter().collect(),
        Some(Json::Array(diffs)) => diffs
            .iter()
            .filter_map(Json::as_object)
            .filter_map(one)
            .collect(),
        _ => Vec::new(),
    }
}

fn one(diff: &Map<String, Json>) -> Option<Diff> {
    let text = |name: &str| match diff.get(name) {
        Some(Json::String(text)) => text.clone(),
        Some(mapping @ Json::Object(_)) => pretty_json(mapping),
        _ => String::new(),
    };
    if diff.contains_key("prepared") {
        return Some(Diff {
            after: text("prepared"),
            ..Diff::default()
        });
    }
    // One side alone stands where the other is not a text, or too much of one.
    let side = |name: &str, of: &str| match () {
        () if diff.contains_key(&format!("{of}_binary")) => "(content is not text)\n".to_owned(),
        () if diff.contains_key(&format!("{of}_larger")) => {
            "(content is too large to be shown)\n".to_owned()
        }
        () => text(name),
    };
    let sides = ["before", "after", "src_binary", "src_larger"];
    sides
        .iter()
        .any(|name| diff.contains_key(*name))
        .then(|| Diff {
            before_header: text("before_header"),
            after_header: text("after_header"),
            before: side("before", "dst"),
            after: side("after", "src"),
        })
}

/// Writes `value` as Ansible shows mappings in a diff: sorted, four spaces.
fn pretty_json(value: &Json) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    let sorted = sorted(value);
    if sorted.serialize(&mut serializer).is_err() {
        return String::new();
    }
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .map(|k| (k.clone(), sorted(&map[k])))
                .collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_are_shown_as_sorted_json_and_headers_alone_not_at_all() {
        let diff = json!([
            {"before": {"mode": "0644", "a": 1}, "after": {}, "before_header": "x"},
            {"before_header": "y", "after_header": "y"},
        ]);
        let shown = shown(Some(&diff));
        assert_eq!(shown.len(), 1);
        assert_eq!(
            shown[0].before,
            "{\n    \"a\": 1,\n    \"mode\": \"0644\"\n}\n"
        );
        assert_eq!((&*shown[0].after, &*shown[0].before_header), ("{}\n", "x"));
    }

    #[test]
    fn what_is_no_text_is_named_instead() {
        let diff = json!({"dst_binary": 1, "after": "a"});
        let shown = shown(Some(&diff));
        assert_eq!(shown[0].before, "(content is not text)\n");
        assert_eq!(shown[0].after, "a");
    }
}
