//! `expect`: runs a program on a terminal of its own, and answers what it asks.

mod split;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use amibake_playbook::pyre::{Flags, Regex};
use amibake_playbook::value::Value;
use jiff::Zoned;
use serde_json::{Map, Value as Json, json};

use super::command::{moment, span};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::terminal::{HEARD_BYTES, Heard, Program, Terminal};

pub(super) struct Expect;

/// What the program may ask, and what it is told then.
struct Answer {
    question: String,
    pattern: Regex,
    answers: Answers,
}

enum Answers {
    Always(Vec<u8>),
    /// One at a time.
    Each(VecDeque<Vec<u8>>),
}

/// How a conversation went.
struct Talked {
    output: Vec<u8>,
    /// None where a signal ended it: ours, once it had been silent for too long, or another's.
    rc: Option<i32>,
}

impl ActionModule for Expect {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(skipped());
        }
        let silence = silence(args.raw("timeout"))?;
        let mut answers = answers(args.raw("responses"))?;
        let command = args.required("command")?;
        if command.trim().is_empty() {
            return Err(Failure::new("no command given").with("rc", 256));
        }
        let folder = args.str("chdir");
        if let Some(stdout) = needless(args, folder) {
            return Ok(Outcome::of(
                false,
                json!({"cmd": command, "stdout": stdout, "rc": 0}),
            ));
        }
        let program = Program {
            argv: split::split(command),
            folder,
            echo: args.bool("echo"),
        };
        let start = Zoned::now();
        let mut terminal = Terminal::start(&program, context)?;
        let talked = talk(&mut terminal, &mut answers, silence)?;
        result(command, &talked, &start)
    }
}

fn skipped() -> Outcome {
    let msg = "remote module (ansible.builtin.expect) does not support check mode";
    Outcome {
        skipped: true,
        ..Outcome::of(false, json!({"msg": msg}))
    }
}

/// The longest silence that is waited through, in seconds.
const LONGEST: i64 = 100_000_000;

/// Reads for how long the program may say nothing that is expected; without end where it is null.
fn silence(given: Option<&Json>) -> Result<Option<Duration>, Failure> {
    let seconds = match given {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Bool(one)) => Some(i64::from(*one)),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_i64(),
    };
    // pexpect's own default stands for its -1.
    let seconds = seconds.map(|seconds| {
        if seconds == -1 {
            30
        } else {
            seconds.clamp(0, LONGEST)
        }
    });
    let wrong = || {
        let given = given.cloned().unwrap_or_default();
        let kind = match given {
            Json::String(_) => "str",
            Json::Array(_) => "list",
            Json::Object(_) => "dict",
            _ => "float",
        };
        let shown = Value::from_json(&given).repr();
        Failure::new(format!(
            "argument 'timeout' is of type <class '{kind}'> and we were unable to convert to int: \
             \"{shown}\" cannot be converted to an int"
        ))
    };
    let seconds = seconds.ok_or_else(wrong)?;
    Ok(Some(Duration::from_secs(seconds.unsigned_abs())))
}

fn answers(given: Option<&Json>) -> Result<Vec<Answer>, Failure> {
    let none = Map::new();
    let given = given.and_then(Json::as_object).unwrap_or(&none);
    let flags = Flags {
        dot_all: true,
        bytes: true,
        ..Flags::default()
    };
    let answer = |(question, told): (&String, &Json)| {
        let pattern = Regex::new(question, flags)
            .map_err(|e| Failure::new(format!("Task failed: Module failed: {e}")))?;
        Ok(Answer {
            question: question.clone(),
            pattern,
            answers: match told {
                Json::Array(each) => Answers::Each(each.iter().map(line).collect()),
                always => Answers::Always(line(always)),
            },
        })
    };
    given.iter().map(answer).collect()
}

/// Returns what is typed: one line.
fn line(told: &Json) -> Vec<u8> {
    let text = Value::from_json(told).to_string();
    format!("{}\n", text.trim_end_matches('\n')).into_bytes()
}

/// Returns what is shown where `creates` or `removes` say that there is nothing to do.
fn needless(args: &Args, folder: Option<&str>) -> Option<String> {
    let there = |path: &str| Path::new(folder.unwrap_or(".")).join(path).exists();
    match (args.str("creates"), args.str("removes")) {
        (Some(path), _) if there(path) => Some(format!("skipped, since {path} exists")),
        (_, Some(path)) if !there(path) => Some(format!("skipped, since {path} does not exist")),
        _ => None,
    }
}

fn talk(
    terminal: &mut Terminal,
    answers: &mut [Answer],
    silence: Option<Duration>,
) -> Result<Talked, Failure> {
    let mut output = Vec::new();
    loop {
        let heard = terminal.hear(silence, |said| first(answers, said))?;
        let (which, said) = match heard {
            Heard::Question(which, said) => (which, said),
            Heard::Nothing(rest) | Heard::End(rest) => {
                output.extend(rest);
                let rc = terminal.end();
                return Ok(Talked { output, rc });
            }
        };
        let Answer {
            question, answers, ..
        } = &mut answers[which];
        match answers {
            Answers::Always(line) => terminal.say(line)?,
            Answers::Each(lines) => match lines.pop_front() {
                Some(line) => terminal.say(&line)?,
                None => return Err(at_a_loss(question, said)),
            },
        }
        output.extend(said);
        if output.len() > HEARD_BYTES {
            terminal.end();
            let msg = format!("the command said more than {HEARD_BYTES} bytes");
            return Err(Failure::new(msg));
        }
    }
}

/// Returns the question that comes first in what was said, and where it ends.
fn first(answers: &[Answer], said: &[u8]) -> Option<(usize, usize)> {
    let found = answers.iter().enumerate().filter_map(|(which, answer)| {
        let found = answer.pattern.search(said, 0).ok().flatten()?.whole();
        Some((found.start, which, found.end))
    });
    found
        .min_by_key(|(start, which, _)| (*start, *which))
        .map(|(_, which, end)| (which, end))
}

fn at_a_loss(question: &str, said: Vec<u8>) -> Failure {
    let said = Value::Bytes(said.into()).repr();
    Failure::new(format!(
        "No remaining responses for '{question}', output was '{said}'"
    ))
}

fn result(command: &str, talked: &Talked, start: &Zoned) -> Result<Outcome, Failure> {
    let end = Zoned::now();
    let stdout = std::str::from_utf8(&talked.output).map_err(|_| not_utf8(&talked.output))?;
    let took = end.timestamp().as_microsecond() - start.timestamp().as_microsecond();
    let outcome = Outcome::of(
        true,
        json!({
            "cmd": command,
            "stdout": stdout.trim_end_matches(['\r', '\n']),
            "rc": talked.rc,
            "start": moment(start),
            "end": moment(&end),
            "delta": span(took),
        }),
    );
    let msg = match talked.rc {
        Some(0) => return Ok(outcome),
        Some(_) => "non-zero return code",
        None => "command exceeded timeout",
    };
    Err(Failure {
        msg: msg.to_owned(),
        result: outcome.result,
    }
    .with("changed", true))
}

/// Complains as Ansible does of a result that is no UTF-8, which it has with a surrogate for each
/// byte that is none.
fn not_utf8(output: &[u8]) -> Failure {
    let mut at = 0;
    let mut stray = &[][..];
    for chunk in output.utf8_chunks() {
        at += chunk.valid().chars().count();
        stray = chunk.invalid();
        if !stray.is_empty() {
            break;
        }
    }
    let what = match stray {
        [byte] => format!("character '\\udc{byte:02x}' in position {at}"),
        _ => format!("characters in position {at}-{}", at + stray.len() - 1),
    };
    Failure::new(format!(
        "Task failed: Refusing to deserialize an invalid UTF8 string value: 'utf-8' codec can't \
         encode {what}: surrogates not allowed"
    ))
}

#[cfg(test)]
mod tests {
    use crate::modules::tests::{check, run};
    use serde_json::json;

    const ASKS_TWICE: &str =
        "/bin/sh -c 'printf \"name: \"; read a; printf \"name: \"; read b; echo \"$a and $b\"'";

    #[test]
    fn the_same_answer_is_given_to_the_same_question() {
        let args = json!({"command": ASKS_TWICE, "responses": {"name:": "Anna"}});
        let outcome = run("expect", args).unwrap();
        assert!(outcome.changed);
        assert_eq!(outcome.result["rc"], 0);
        assert_eq!(outcome.result["stdout"], "name: name: Anna and Anna");
    }

    #[test]
    fn a_list_is_given_one_at_a_time_and_may_run_out() {
        let answered = json!({"command": ASKS_TWICE, "responses": {"(?i)NAME: ": ["a", 2]}});
        assert_eq!(
            run("expect", answered).unwrap().result["stdout"],
            "name: name: a and 2"
        );
        let short = json!({"command": ASKS_TWICE, "responses": {"name: ": ["a"]}});
        assert_eq!(
            run("expect", short).unwrap_err().msg,
            "No remaining responses for 'name: ', output was 'b'name: ''"
        );
    }

    #[test]
    fn what_is_typed_is_shown_where_echo_is_asked_for() {
        let args = json!({"command": ASKS_TWICE, "responses": {"name: ": "x"}, "echo": true});
        assert_eq!(
            run("expect", args).unwrap().result["stdout"],
            "name: x\r\nname: x\r\nx and x"
        );
    }

    #[test]
    fn a_program_that_waits_for_ever_is_ended() {
        let args = json!({"command": "sleep 600", "responses": {"x": "y"}, "timeout": 1});
        let failure = run("expect", args).unwrap_err();
        assert_eq!(failure.msg, "command exceeded timeout");
        assert_eq!(failure.result["rc"], serde_json::Value::Null);
    }

    #[test]
    fn it_has_a_terminal_of_its_own_and_its_status_is_kept() {
        let args = json!({"command": "/bin/sh -c 'test -t 0 && : </dev/tty && exit 3'",
            "responses": {}});
        let failure = run("expect", args).unwrap_err();
        assert_eq!(failure.msg, "non-zero return code");
        assert_eq!(failure.result["rc"], 3);
    }

    #[test]
    fn output_that_is_no_text_is_refused_as_ansible_does() {
        let args = json!({"command": "printf 'a\\351b'", "responses": {}});
        assert_eq!(
            run("expect", args).unwrap_err().msg,
            "Task failed: Refusing to deserialize an invalid UTF8 string value: 'utf-8' codec can't \
             encode character '\\udce9' in position 1: surrogates not allowed"
        );
    }

    #[test]
    fn what_cannot_run_is_said_and_what_need_not_does_not() {
        let missing = json!({"command": "no-such-program x", "responses": {}});
        assert_eq!(
            run("expect", missing).unwrap_err().msg,
            "The command was not found or was not executable: no-such-program."
        );
        let there = json!({"command": "false", "responses": {}, "creates": "/etc"});
        assert_eq!(
            run("expect", there).unwrap().result["stdout"],
            "skipped, since /etc exists"
        );
        let never = json!({"command": "x", "responses": {}, "timeout": "soon"});
        assert_eq!(
            run("expect", never).unwrap_err().msg,
            "argument 'timeout' is of type <class 'str'> and we were unable to convert to int: \
             \"'soon'\" cannot be converted to an int"
        );
        let checked = check("expect", json!({"command": "false", "responses": {}})).unwrap();
        assert!(checked.skipped);
    }
}
