//! What a task came to: the result of one execution, that of the whole task, what of it may leave.

use amibake_playbook::value::{Dict, Key, Value};
use amibake_protocol::event::{Diff, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::kept;
use super::task_error::TaskError;
use super::vars::NewVars;
use crate::censor::{self, NO_LOG};

/// The fields of a result.
pub(super) type Fields = Map<String, Json>;

/// What one execution of a task (one item of its loop), or all of them, came to.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) fields: Fields,
    pub(super) diff: Vec<Diff>,
    /// Whether nothing of it may be shown.
    pub(super) censored: bool,
    pub(super) ignored: bool,
    /// Whether the task failed by itself, whatever its module would answer: then nothing but `ignore_errors` and
    /// `rescue` has a say in it.
    pub(super) raised: bool,
    /// Handlers it notifies if the task changed something.
    pub(super) notify: Vec<String>,
    /// What includes found to include, in the order of the loop.
    pub(super) includes: Vec<Found>,
    /// How many of those could not be read.
    pub(super) unread: u32,
    /// Variables that it sets, in the order of the loop.
    pub(super) sets: Vec<NewVars>,
    pub(super) own: Own,
}

/// Fields of a result that the executor made itself, as values: JSON does not say whose a text is.
/// What a machine sent is never among them.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(super) struct Own {
    #[serde(with = "kept::named")]
    fields: Vec<(String, Value)>,
    /// Those of each item of a loop.
    pub(super) items: Vec<Own>,
}

impl Own {
    /// Returns the value of a result.
    fn value(&self, result: &Fields) -> Value {
        let field = |(name, json): (&String, &Json)| {
            let own = self.fields.iter().find(|(own, _)| own == name);
            let value = match (own, json) {
                (Some((_, value)), _) => value.clone(),
                (None, Json::Array(items)) if name == "results" => self.results(items),
                (None, json) => Value::from_json(json),
            };
            (Key::from(name.as_str()), value)
        };
        Value::Dict(result.iter().map(field).collect())
    }

    fn results(&self, items: &[Json]) -> Value {
        let item = |(at, json): (usize, &Json)| match (self.items.get(at), json) {
            (Some(own), Json::Object(fields)) => own.value(fields),
            (_, json) => Value::from_json(json),
        };
        Value::list(items.iter().enumerate().map(item).collect())
    }
}

/// What an include is about to run.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) what: What,
    /// The label of the item of the loop.
    pub(super) label: Option<String>,
    /// Variables of the include: its `vars`, and its loop's.
    #[serde(with = "kept::dict")]
    pub(super) params: Dict,
    /// `apply`: keywords for everything included.
    #[serde(with = "kept::dict")]
    pub(super) apply: Dict,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) enum What {
    Tasks(String),
    /// By the parameters of `include_role`.
    Role(#[serde(with = "kept::dict")] Dict),
}

impl Attempt {
    /// Returns a failure that says `msg`.
    pub(super) fn failed(msg: impl Into<String>) -> Self {
        let mut fields = Fields::new();
        fields.insert("failed".to_owned(), json!(true));
        fields.insert("msg".to_owned(), json!(msg.into()));
        fields.insert("changed".to_owned(), json!(false));
        Self {
            fields,
            ..Self::default()
        }
    }

    pub(super) fn is(&self, flag: &str) -> bool {
        truth(&self.fields, flag)
    }

    /// Returns whether it failed, or never came to the machine.
    pub(super) fn is_lost(&self) -> bool {
        self.has_failed() || self.is("unreachable")
    }

    /// Returns whether it counts as a failure: `failed_when` has the last word, also over an `until` that was
    /// used up.
    pub(super) fn has_failed(&self) -> bool {
        const JUDGED: &str = "failed_when_result";
        let says = |judged: &Json| judged.as_bool().unwrap_or(true);
        if let Some(judged) = self.fields.get(JUDGED) {
            return says(judged);
        }
        let items = self.fields.get("results").and_then(Json::as_array);
        let judged = items
            .into_iter()
            .flatten()
            .filter_map(|item| item.get(JUDGED));
        let judged: Vec<bool> = judged.map(says).collect();
        match judged.is_empty() {
            true => self.is("failed"),
            false => judged.contains(&true),
        }
    }

    /// Sets a field that is our own word, which keeps its marks.
    pub(super) fn put(&mut self, name: &str, value: &Value) {
        self.fields.insert(name.to_owned(), raw_json(value));
        self.own.fields.retain(|(known, _)| known != name);
        if let Ok(value) = value.to_plain() {
            self.own.fields.push((name.to_owned(), value));
        }
    }

    /// Returns the result as variables hold it.
    pub(super) fn value(&self) -> Value {
        self.own.value(&self.fields)
    }
}

impl From<Fields> for Attempt {
    fn from(fields: Fields) -> Self {
        Self {
            fields,
            ..Self::default()
        }
    }
}

impl From<TaskError> for Attempt {
    fn from(error: TaskError) -> Self {
        if let TaskError::Unreachable(_) = error {
            let mut fields = Fields::new();
            fields.insert("unreachable".to_owned(), json!(true));
            fields.insert("msg".to_owned(), json!(error.to_string()));
            fields.insert("changed".to_owned(), json!(false));
            return Self {
                fields,
                raised: true,
                ..Self::default()
            };
        }
        Self {
            raised: true,
            ..Self::failed(error.to_string())
        }
    }
}

/// Returns a value as JSON; what cannot be becomes its text.
pub(super) fn raw_json(value: &Value) -> Json {
    value.to_json().unwrap_or_else(|e| Json::from(e.0))
}

/// Returns whether a field is true.
pub(super) fn truth(fields: &Fields, flag: &str) -> bool {
    match fields.get(flag) {
        Some(Json::Bool(truth)) => *truth,
        Some(Json::String(text)) => {
            matches!(text.to_lowercase().as_str(), "true" | "yes" | "1" | "on")
        }
        Some(Json::Number(n)) => n.as_i64() != Some(0),
        _ => false,
    }
}

/// Returns the result of a task whose condition does not hold.
pub(super) fn skipped(condition: &Value) -> Attempt {
    let mut fields = Fields::new();
    fields.insert("changed".to_owned(), json!(false));
    fields.insert("skipped".to_owned(), json!(true));
    fields.insert(
        "skip_reason".to_owned(),
        json!("Conditional result was False"),
    );
    let mut attempt = Attempt::from(fields);
    let written = match condition {
        Value::Template(source) => Value::authored(&source.text, source.place.clone()),
        other => other.clone(),
    };
    attempt.put("false_condition", &written);
    attempt
}

/// What of a result may leave. A `diff` does where one was asked for.
pub(super) fn shown(attempt: &Attempt) -> Fields {
    shown_but(attempt, "")
}

/// Does the same without the field of that name.
pub(super) fn shown_but(attempt: &Attempt, name: &str) -> Fields {
    let (fields, censored) = (&attempt.fields, attempt.censored);
    if censored {
        let mut hidden = Fields::new();
        hidden.insert("censored".to_owned(), json!(NO_LOG));
        for kept in ["changed", "attempts", "retries"] {
            if let Some(value) = fields.get(kept) {
                hidden.insert(kept.to_owned(), value.clone());
            }
        }
        return hidden;
    }
    let is_shown = |field: &str| match field {
        // There is none, and those are the event's status.
        "exception" | "failed_when_suppressed_exception" | "failed" | "skipped" => false,
        "diff" => !attempt.diff.is_empty(),
        field => field != name,
    };
    let shown = fields.iter().filter(|(field, _)| is_shown(field));
    let mut shown: Fields = shown
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    shown
        .iter_mut()
        .for_each(|(_, value)| censor::hide_url_passwords(value));
    shown
}

/// Likewise of diffs.
pub(super) fn shown_diff(diff: &[Diff], censored: bool) -> Vec<Diff> {
    if censored { Vec::new() } else { diff.to_vec() }
}

/// Returns what an item of a loop came to.
pub(super) fn item_status(attempt: &Attempt) -> Status {
    match () {
        () if attempt.is_lost() && attempt.ignored => Status::Ignored,
        () if attempt.is_lost() => Status::Failed,
        () if attempt.is("skipped") => Status::Skipped,
        () if attempt.is("changed") => Status::Changed,
        () => Status::Ok,
    }
}
