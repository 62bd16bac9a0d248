//! `pause`: whoever waits for a time waits here; whoever waits for a key does not, since nobody is asked.

use std::time::{Duration, Instant};

use amibake_playbook::argspec::why_not;
use amibake_playbook::value::{Dict, Value, float_repr};
use serde_json::json;

use super::actions::plain;
use super::eval;
use super::outcome::Attempt;
use super::own_args::PAUSE;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::deadline;

const NOBODY: &str = "Not waiting for response to prompt as stdin is not interactive";

/// What a time is told in, and how many seconds that is.
#[derive(Clone, Copy)]
struct Unit(&'static str, i64);

const MINUTES: Unit = Unit("minutes", 60);
const SECONDS: Unit = Unit("seconds", 1);

impl Run<'_> {
    pub(super) fn pause_action(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let (echo, length, unit) = read(&args)?;
        PAUSE.check(&cx.task.action, &args)?;
        let since = Instant::now();
        match length {
            Some(seconds) => deadline::sleep(Duration::from_secs(seconds)),
            None => self.warn(NOBODY, Some(&cx.task.place)),
        }
        let took = since.elapsed();
        let in_units = match unit.1 {
            1 => took.as_secs_f64(),
            _ => took.as_secs_f64() / 60.0,
        };
        let shown = float_repr((in_units * 100.0).round() / 100.0);
        let mut attempt = plain(json!({
            "changed": false, "rc": 0, "stderr": "", "echo": echo, "delta": took.as_secs(), "user_input": "",
            "stdout": format!("Paused for {shown} {}", unit.0),
        }));
        if length.is_none() {
            attempt
                .fields
                .insert("warnings".to_owned(), json!([NOBODY]));
        }
        Ok(attempt)
    }
}

/// Returns whether keys are echoed, how many seconds to wait, and in what that is told.
fn read(args: &Dict) -> Result<(bool, Option<u64>, Unit), TaskError> {
    if args.has("minutes") && args.has("seconds") {
        return Err(refused(
            "parameters are mutually exclusive: minutes|seconds",
        ));
    }
    let echo = echo(args)?;
    let (length, unit) = match (whole(args, "minutes")?, whole(args, "seconds")?) {
        (None, Some(seconds)) => (Some(seconds), SECONDS),
        (minutes, _) => (minutes, MINUTES),
    };
    // As in Ansible, who waits waits a second at least.
    let seconds = length.map(|length| length.saturating_mul(unit.1).max(1));
    Ok((echo, seconds.and_then(|s| u64::try_from(s).ok()), unit))
}

fn echo(args: &Dict) -> Result<bool, TaskError> {
    match args.get("echo") {
        None | Some(Value::None) => Ok(true),
        Some(value) => eval::truth(&value)
            .ok_or_else(|| wrong("echo", &value, "bool", &why_not("bool", &value))),
    }
}

/// Returns a number as Python's `int` makes it, which cuts what is behind a point.
fn whole(args: &Dict, name: &str) -> Result<Option<i64>, TaskError> {
    let Some(value) = args.get(name) else {
        return Ok(None);
    };
    match (eval::number(&value), &value) {
        (Some(number), _) => Ok(Some(number)),
        (None, Value::None) => Ok(None),
        (None, Value::Str(text)) => {
            let why = format!("invalid literal for int() with base 10: '{text}'");
            Err(wrong(name, &value, "int", &why))
        }
        (None, other) => {
            let kind = other.type_name();
            let why = format!(
                "int() argument must be a string, a bytes-like object or a real number, not '{kind}'"
            );
            Err(wrong(name, &value, "int", &why))
        }
    }
}

fn wrong(name: &str, value: &Value, kind: &str, why: &str) -> TaskError {
    refused(format!(
        "argument '{name}' is of type {} and we were unable to convert to {kind}: {why}",
        value.type_name()
    ))
}
