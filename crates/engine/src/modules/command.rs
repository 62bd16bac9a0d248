//! `command` and `shell`: runs what the author wrote.

use std::path::Path;

use glob::MatchOptions;
use jiff::Zoned;
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::Command as Program;
use crate::shlex;

/// `command`: a program and its arguments, no shell.
pub(super) struct Command;
/// `shell`: text for `/bin/sh` or another shell.
pub(super) struct Shell;

impl ActionModule for Command {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let argv = match text(args) {
            Some(text) => shlex::split(text).map_err(Failure::new)?,
            None => args.list("argv").into_iter().map(str::to_owned).collect(),
        };
        if argv.is_empty() {
            return Err(Failure::new(
                "one of the following is required: _raw_params, cmd, argv",
            ));
        }
        let expanded = if args.opt_bool("expand_argument_vars") == Some(false) {
            argv.clone()
        } else {
            let expand = |arg: &String| shlex::expand(arg, &context.environment);
            argv.iter().map(expand).collect()
        };
        let mut outcome = execute(args, json!(argv), expanded, context)?;
        if let Some(executable) = args.str("executable") {
            outcome.warnings.push(format!(
                "As of Ansible 2.4, the parameter 'executable' is no longer supported with the \
                 'command' module. Not using '{executable}'."
            ));
        }
        Ok(outcome)
    }
}

impl ActionModule for Shell {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let script = match text(args) {
            Some(text) => text.to_owned(),
            None => {
                let quoted = args
                    .list("argv")
                    .into_iter()
                    .map(amibake_playbook::shell::quote);
                quoted.collect::<Vec<_>>().join(" ")
            }
        };
        if script.is_empty() {
            return Err(Failure::new(
                "one of the following is required: _raw_params, cmd, argv",
            ));
        }
        let shell = args.str("executable").unwrap_or("/bin/sh");
        let argv = vec![shell.to_owned(), "-c".to_owned(), script.clone()];
        let shown = if text(args).is_some() {
            Json::from(script)
        } else {
            json!(args.list("argv"))
        };
        execute(args, shown, argv, context)
    }
}

/// The command as text, if it was given so.
fn text(args: &Args) -> Option<&str> {
    let given = args.str("_raw_params").filter(|text| !text.is_empty());
    given
        .or_else(|| args.str("cmd"))
        .filter(|text| !text.is_empty())
}

fn execute(
    args: &Args,
    shown: Json,
    argv: Vec<String>,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let mut result = blank(shown);
    let chdir = args.str("chdir");
    if let Some(chdir) = chdir
        && std::fs::read_dir(chdir).is_err()
        && !Path::new(chdir).is_dir()
    {
        let msg = "Unable to change directory before execution.";
        return Err(Failure {
            msg: msg.to_owned(),
            result,
        });
    }
    if let Some((msg, stdout)) = needless(args, context.check) {
        set(&mut result, "msg", msg);
        set(&mut result, "stdout", stdout);
        set(&mut result, "rc", 0);
        return Ok(Outcome {
            result,
            ..Outcome::default()
        });
    }
    if context.check {
        return Ok(in_check_mode(args, result));
    }
    run_program(args, argv, result, context)
}

fn blank(cmd: Json) -> Map<String, Json> {
    let mut result = Map::new();
    set(&mut result, "cmd", cmd);
    for name in ["stdout", "stderr", "msg"] {
        set(&mut result, name, "");
    }
    for name in ["rc", "start", "end", "delta"] {
        set(&mut result, name, Json::Null);
    }
    result
}

fn set(result: &mut Map<String, Json>, name: &str, value: impl Into<Json>) {
    result.insert(name.to_owned(), value.into());
}

/// Returns message and output when `creates` or `removes` say that there is nothing to do.
fn needless(args: &Args, check: bool) -> Option<(String, String)> {
    let would = if check { "Would" } else { "Did" };
    let (path, state) = match (args.str("creates"), args.str("removes")) {
        (Some(path), _) if matches_any(path, args.str("chdir")) => (path, "exists"),
        (_, Some(path)) if !matches_any(path, args.str("chdir")) => (path, "does not exist"),
        _ => return None,
    };
    Some((
        format!("{would} not run command since '{path}' {state}"),
        format!("skipped, since {path} {state}"),
    ))
}

/// Returns whether anything matches `pattern`, as Python's `glob.glob` sees it from `chdir`.
fn matches_any(pattern: &str, chdir: Option<&str>) -> bool {
    let pattern = match chdir {
        Some(dir) if !pattern.starts_with('/') => {
            format!("{}/{pattern}", glob::Pattern::escape(dir))
        }
        _ => pattern.to_owned(),
    };
    if !pattern.contains(['*', '?', '[']) {
        return std::fs::symlink_metadata(&pattern).is_ok();
    }
    let options = MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..MatchOptions::default()
    };
    glob::glob_with(&pattern, options).is_ok_and(|mut found| found.any(|path| path.is_ok()))
}

/// Declares what would happen; without `creates` or `removes` nobody knows, and the task skips.
fn in_check_mode(args: &Args, mut result: Map<String, Json>) -> Outcome {
    set(&mut result, "rc", 0);
    set(
        &mut result,
        "msg",
        "Command would have run if not in check mode",
    );
    let known = args.has("creates") || args.has("removes");
    Outcome {
        changed: known,
        skipped: !known,
        result,
        ..Outcome::default()
    }
}

fn run_program(
    args: &Args,
    argv: Vec<String>,
    mut result: Map<String, Json>,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let mut program = Program::new(argv).streamed();
    if let Some(chdir) = args.str("chdir") {
        program = program.cwd(chdir);
    }
    if let Some(stdin) = args.str("stdin").filter(|text| !text.is_empty()) {
        let newline = if args.bool("stdin_add_newline") {
            "\n"
        } else {
            ""
        };
        program = program.stdin(format!("{stdin}{newline}"));
    }
    let start = Zoned::now();
    let ran = program.run(context).map_err(|e| e.failure(&program))?;
    let end = Zoned::now();
    let strip = args.bool("strip_empty_ends");
    set(&mut result, "stdout", stripped(&ran.stdout, strip));
    set(&mut result, "stderr", stripped(&ran.stderr, strip));
    set(&mut result, "rc", ran.rc);
    set(&mut result, "start", moment(&start));
    set(&mut result, "end", moment(&end));
    set(
        &mut result,
        "delta",
        span(end.timestamp().as_microsecond() - start.timestamp().as_microsecond()),
    );
    if ran.rc != 0 {
        set(&mut result, "changed", true);
        return Err(Failure {
            msg: "non-zero return code".to_owned(),
            result,
        });
    }
    Ok(Outcome {
        changed: true,
        result,
        ..Outcome::default()
    })
}

fn stripped(text: &str, strip: bool) -> &str {
    if strip {
        text.trim_end_matches(['\r', '\n'])
    } else {
        text
    }
}

/// Returns a local time as Python's `str(datetime.now())`.
pub(super) fn moment(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

/// Returns microseconds as Python's `str(timedelta)`.
pub(super) fn span(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let prefix = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let (hours, minutes, seconds) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{prefix}{hours}:{minutes:02}:{seconds:02}.{micros:06}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{check, run};

    #[test]
    fn arguments_are_split_and_expanded_without_a_shell() {
        let outcome = run("command", json!({"_raw_params": "echo 'a  b' $HOME ;"})).unwrap();
        let home = std::env::var("HOME").unwrap();
        assert_eq!(outcome.result["stdout"], format!("a  b {home} ;"));
        assert_eq!(outcome.result["cmd"], json!(["echo", "a  b", "$HOME", ";"]));
        assert!(outcome.changed);
    }

    #[test]
    fn a_status_other_than_zero_fails_with_all_the_fields() {
        let failure = run("shell", json!({"cmd": "echo a; echo b >&2; exit 2"})).unwrap_err();
        assert_eq!(failure.msg, "non-zero return code");
        assert_eq!(failure.result["rc"], 2);
        assert_eq!(failure.result["stdout"], "a");
        assert_eq!(failure.result["stderr"], "b");
        assert_eq!(failure.result["changed"], true);
    }

    #[test]
    fn creates_and_removes_say_why_nothing_ran() {
        let outcome = run("command", json!({"cmd": "false", "creates": "/et*"})).unwrap();
        assert_eq!(
            outcome.result["msg"],
            "Did not run command since '/et*' exists"
        );
        assert_eq!(outcome.result["stdout"], "skipped, since /et* exists");
        assert!(!outcome.changed && !outcome.skipped);
        let args = json!({"cmd": "false", "removes": "passwd-of-nobody", "chdir": "/etc"});
        let outcome = run("command", args).unwrap();
        assert_eq!(outcome.result["rc"], 0);
    }

    #[test]
    fn check_mode_skips_unless_creates_or_removes_decide() {
        assert!(check("shell", json!({"cmd": "exit 1"})).unwrap().skipped);
        let args = json!({"cmd": "exit 1", "creates": "/no/such/file"});
        let outcome = check("shell", args).unwrap();
        assert!(outcome.changed && !outcome.skipped);
    }

    #[test]
    fn stdin_gets_a_newline_unless_told_otherwise() {
        let args = json!({"cmd": "cat", "stdin": "x", "strip_empty_ends": false});
        assert_eq!(run("command", args).unwrap().result["stdout"], "x\n");
        let args = json!({"cmd": "cat", "stdin": "x", "stdin_add_newline": false, "strip_empty_ends": false});
        assert_eq!(run("command", args).unwrap().result["stdout"], "x");
    }

    #[test]
    fn a_missing_directory_fails_before_anything_runs() {
        let args = json!({"cmd": "echo", "chdir": "/no/such/dir"});
        let failure = run("command", args).unwrap_err();
        assert_eq!(failure.msg, "Unable to change directory before execution.");
        assert!(failure.result["rc"].is_null());
    }

    #[test]
    fn spans_of_time_are_written_as_python_does() {
        assert_eq!(span(9_307), "0:00:00.009307");
        assert_eq!(span(90_061_000_001), "1 day, 1:01:01.000001");
    }
}
