//! `vars_prompt`: variables that a play asks for. Who began the run was asked before it; here the answers, or
//! what stands in for them, become the play's.

use std::rc::Rc;

use amibake_playbook::value::{Dict, Text, Value};

use super::eval;
use super::model::{Enclosing, Play};
use super::run::{Run, Stop};

/// What makes a hash of an answer.
const HASHED: &str = "{{ it | password_hash(kind, salt, salt_size) }}";

impl Run<'_> {
    /// Gives a play the variables of its `vars_prompt`, unless `-e` has them.
    pub(super) fn take_prompted(&self, play: &Play, enclosing: &Rc<Enclosing>) -> Result<(), Stop> {
        for prompt in &play.prompts {
            let scope = self.vars.scope_of_play();
            let rendered = self.render(prompt, &scope, enclosing);
            let rendered = rendered.map_err(|e| Stop::new(e.to_string()))?;
            let Some(prompt) = rendered.as_dict() else {
                continue;
            };
            let name = prompt.get("name").unwrap_or_default().to_string();
            if self.vars.extra.has(&name) {
                continue;
            }
            let answer = self.answer(play, &name, prompt);
            let answer = self.encrypted(answer, prompt, enclosing)?;
            self.vars.play.set(&name, answer);
        }
        Ok(())
    }

    /// Returns what was typed, or else the default, as text. Without either Ansible has the word `None`.
    fn answer(&self, play: &Play, name: &str, prompt: &Dict) -> Value {
        let place = format!("{}:{}", play.place.file, play.place.line);
        let typed = self.options.prompted.get(&place);
        let typed = typed
            .and_then(|all| all.get(name))
            .and_then(serde_json::Value::as_str);
        if typed.is_none() {
            let said = "Not prompting as we are not in interactive mode";
            self.warn(said, Some(&play.place));
        }
        let default = prompt
            .get("default")
            .filter(|default| !matches!(default, Value::None));
        let text = match (typed, default) {
            (None | Some(""), Some(default)) => default.to_string(),
            (typed, _) => typed.unwrap_or("None").to_owned(),
        };
        let is_unsafe = prompt.get("unsafe").as_ref().and_then(eval::truth);
        match is_unsafe.unwrap_or(false) {
            true => Value::str(text),
            false => Value::authored(&text, None),
        }
    }

    fn encrypted(
        &self,
        answer: Value,
        prompt: &Dict,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Value, Stop> {
        let Some(kind) = prompt.get("encrypt").filter(Value::truthy) else {
            return Ok(answer);
        };
        let kind = kind.to_string();
        let kind = kind.strip_suffix("_crypt").unwrap_or(&kind).to_owned();
        let scope = self.vars.scope_of_play();
        let plain = match &answer {
            Value::Template(source) => Value::str(&source.text),
            other => other.clone(),
        };
        for (name, value) in [
            ("it", plain),
            ("kind", Value::from(kind)),
            ("salt", prompt.get("salt").unwrap_or_default()),
            ("salt_size", prompt.get("salt_size").unwrap_or_default()),
        ] {
            scope.local.set(name, value);
        }
        let hash = self.render(&Value::authored(HASHED, None), &scope, enclosing);
        let hash = hash.map_err(|e| {
            Stop::new(format!(
                "could not encrypt what was prompted for: {}",
                e.message
            ))
        })?;
        Ok(Value::Str(Text::authors(&hash.to_string())))
    }
}
