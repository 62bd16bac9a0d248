//! `set_stats`: figures of the author's own. They are in the task's result; Ansible's recap shows them only
//! to who asks for that.

use amibake_playbook::names::is_variable_name;
use amibake_playbook::value::{Dict, Key, Value};

use super::actions::plain;
use super::eval;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use serde_json::json;

impl Run<'_> {
    /// `set_stats`.
    pub(super) fn set_stats(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let known = ["aggregate", "data", "per_host"];
        let names = args.keys().into_iter().map(|key| key.to_string());
        let mut unknown: Vec<String> = names.filter(|name| !known.contains(&&**name)).collect();
        unknown.sort();
        if !unknown.is_empty() {
            let unknown = unknown.join(",");
            return Err(refused(format!("Invalid options for set_stats: {unknown}")));
        }
        let data = args.get("data").unwrap_or_else(|| Value::Dict(Dict::new()));
        let Value::Dict(data) = data else {
            return Err(refused("The 'data' option needs to be a dictionary/hash"));
        };
        let kept = Dict::new();
        for (key, value) in data.entries() {
            let name = self.arg_name(cx, key)?.value().to_string();
            if !is_variable_name(&name) {
                return Err(TaskError::VariableName(name));
            }
            kept.insert(Key::from(name.as_str()), eval::without_omitted(&value));
        }
        let truth = |name: &str, default: bool| match args.get(name) {
            None | Some(Value::None) => Value::Bool(default),
            Some(given) => Value::Bool(eval::truth(&given).unwrap_or(false)),
        };
        let stats = Value::dict([
            ("data", Value::Dict(kept)),
            ("per_host", truth("per_host", false)),
            ("aggregate", truth("aggregate", true)),
        ]);
        let mut attempt = plain(json!({"changed": false}));
        attempt.put("ansible_stats", &stats);
        Ok(attempt)
    }
}
