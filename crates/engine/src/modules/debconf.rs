//! `debconf`: answers to the questions that packages ask when they are configured.

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path, required_bin};

pub(super) struct Debconf;

impl ActionModule for Debconf {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let package = args.required("name")?;
        let known = answers(package, context)?;
        let unchanged = json!({"msg": "", "current": known});
        let Some(question) = args.str("question") else {
            return Ok(Outcome::of(false, unchanged));
        };
        let kind = args.required("vtype")?;
        let known_answer = known.get(question).and_then(Json::as_str);
        let mut answer = Answer::read(args.raw("value"), kind)?;
        if known_answer.is_some() {
            // As in Ansible only what was compared is written in order.
            answer.sort();
        }
        let fits = match (known_answer, kind) {
            (None, _) => false,
            (Some(_), "password") => answer.is(&password(package, question, context)?, kind),
            (Some(known), _) => answer.is(known, kind),
        };
        if fits {
            return Ok(Outcome::of(false, unchanged));
        }
        let mut msg = String::new();
        if !context.check {
            let line = format!("{package} {question} {kind} {}\n", answer.text());
            msg = set(line, args.bool("unseen"), context)?;
        }
        // As in Ansible the answer is a list until it is written.
        let current = match context.check {
            true => answer.json(),
            false => json!(answer.text()),
        };
        let previous = match known_answer {
            Some(answer) => Map::from_iter([(question.to_owned(), json!(answer))]),
            None => {
                let mut known = known.clone();
                known.insert(question.to_owned(), json!(""));
                known
            }
        };
        let mut after = previous.clone();
        after.insert(question.to_owned(), current.clone());
        let diff = match context.diff {
            true => json!({"before": previous, "after": after}),
            false => json!({}),
        };
        let fields = json!({
            "msg": msg, "current": {question: current}, "previous": previous, "diff": diff,
        });
        Ok(Outcome::of(true, fields))
    }
}

/// What a question is answered.
enum Answer {
    One(String),
    /// Of a multiselect.
    Several(Vec<String>),
}

impl Answer {
    fn read(value: Option<&Json>, kind: &str) -> Result<Self, Failure> {
        if let (Some(Json::Array(items)), "multiselect") = (value, kind) {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            let texts: Option<Vec<String>> = texts.collect();
            let msg = "Invalid value provided for 'multiselect': its choices must be texts";
            return texts.map(Self::Several).ok_or_else(|| Failure::new(msg));
        }
        let text = value.map(plain).unwrap_or_default();
        Ok(Self::One(match kind {
            "boolean" => text.to_lowercase(),
            _ => text,
        }))
    }

    fn sort(&mut self) {
        if let Self::Several(items) = self {
            items.sort();
        }
    }

    /// Whether it is what debconf has; several are sorted.
    fn is(&self, known: &str, kind: &str) -> bool {
        match self {
            Self::One(text) if kind == "boolean" => *text == known.to_lowercase(),
            Self::One(text) => text == known,
            Self::Several(items) => {
                let mut known: Vec<&str> = known.split(',').map(str::trim).collect();
                known.sort_unstable();
                *items == known
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Several(items) => items.join(", "),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::One(text) => json!(text),
            Self::Several(items) => json!(items),
        }
    }
}

/// Returns a scalar as Python's `str` writes it.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

fn call(argv: &[&str], stdin: Option<String>, context: &mut Context<'_>) -> Result<Ran, Failure> {
    let mut command = Command::new(argv.iter().copied());
    if let Some(text) = stdin {
        command = command.stdin(text);
    }
    command.run(context).map_err(|e| e.failure(&command))
}

/// Returns a package's questions and their answers.
fn answers(package: &str, context: &mut Context<'_>) -> Result<Map<String, Json>, Failure> {
    let show = required_bin("debconf-show", context)?;
    let ran = call(&[&show, package], None, context)?;
    if ran.rc != 0 {
        return Err(Failure::new(ran.stderr));
    }
    let line = |line: &str| {
        let (question, answer) = line.split_once(':')?;
        let question = question.trim_matches('*').trim();
        Some((question.to_owned(), json!(answer.trim())))
    };
    Ok(ran.stdout.lines().filter_map(line).collect())
}

/// Returns a password, which `debconf-show` hides. `debconf-get-selections` is of a package that
/// not every machine has; `debconf-communicate` is everywhere.
fn password(package: &str, question: &str, context: &mut Context<'_>) -> Result<String, Failure> {
    if let Some(program) = bin_path("debconf-get-selections", context) {
        let ran = call(&[&program.to_string_lossy()], None, context)?;
        if ran.rc != 0 {
            return Err(Failure::new(format!(
                "Failed to get the value '{question}' from '{package}': {}",
                ran.stderr
            )));
        }
        let mut lines = ran
            .stdout
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>());
        let found = lines.find(|fields| {
            matches!(fields[..], [owner, asked, "password", _, ..] if owner.starts_with(package) && asked == question)
        });
        return Ok(found.map_or_else(String::new, |fields| fields[3].to_owned()));
    }
    let program = required_bin("debconf-communicate", context)?;
    let ran = call(
        &[&program, package],
        Some(format!("GET {question}\n")),
        context,
    )?;
    let answer = ran
        .stdout
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("0 "));
    Ok(answer.unwrap_or_default().to_owned())
}

fn set(line: String, unseen: bool, context: &mut Context<'_>) -> Result<String, Failure> {
    let program = required_bin("debconf-set-selections", context)?;
    let argv: &[&str] = match unseen {
        true => &[&program, "-u"],
        false => &[&program],
    };
    let ran = call(argv, Some(line), context)?;
    match ran.rc {
        0 => Ok(ran.stdout),
        _ => Err(Failure::new(ran.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(value: &Json, kind: &str, known: &str) -> bool {
        let mut answer = Answer::read(Some(value), kind).unwrap();
        answer.sort();
        answer.is(known, kind)
    }

    #[test]
    fn answers_are_compared_as_debconf_writes_them() {
        assert!(fits(&json!(true), "boolean", "true"));
        assert!(fits(&json!("False"), "boolean", "false"));
        assert!(fits(&json!(["b", "a"]), "multiselect", "a, b"));
        assert!(!fits(&json!(["b"]), "multiselect", "a, b"));
        assert!(fits(&json!("a, b"), "multiselect", "a, b"));
        assert!(fits(&json!(5), "string", "5"));
        assert!(!fits(&json!("x"), "select", "X"));
        assert!(Answer::read(Some(&json!(["a", 1])), "multiselect").is_err());
    }
}
