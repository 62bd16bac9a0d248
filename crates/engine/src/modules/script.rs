//! `raw` and `script`: a line for the shell, and a file of the controller's run here.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use amibake_playbook::shell::quote;
use serde_json::{Map, Value as Json};
use tempfile::{Builder, TempDir};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::Command;
use crate::shlex;

/// `raw`: text for the shell, without the task's `environment`.
pub(super) struct Raw;
/// `script`: a file from the controller, copied here, run and removed.
pub(super) struct Script;

impl ActionModule for Raw {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(Outcome {
                skipped: true,
                ..Outcome::default()
            });
        }
        let line = args.str("_raw_params").unwrap_or_default();
        let shell = args.str("executable").unwrap_or("/bin/sh");
        let environment = std::mem::take(&mut context.environment);
        let ran = finish(&Command::new([shell, "-c", line]).streamed(), context);
        let ignored = !environment.is_empty();
        context.environment = environment;
        let mut outcome = ran?;
        if ignored {
            let warning = "raw module does not support the environment keyword";
            outcome.warnings.push(warning.to_owned());
        }
        Ok(outcome)
    }
}

impl ActionModule for Script {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if let Some(reason) = needless(args) {
            return Ok(skip(reason));
        }
        if let Some(chdir) = args.str("chdir").filter(|dir| !dir.starts_with('/')) {
            return Err(Failure::new(format!(
                "chdir {chdir} must be an absolute path for a Unix-aware remote node"
            )));
        }
        if context.check {
            return Ok(in_check_mode(args));
        }
        let line = args.str("_raw_params").or_else(|| args.str("cmd"));
        let line = line.unwrap_or_default().trim();
        let name = shlex::split(line).map_err(Failure::new)?;
        let name = name.first().map(String::as_str).unwrap_or_default();
        let (_home, command) = place(args, name, context)?;
        let rest = line.find(name).map_or("", |at| &line[at + name.len()..]);
        let rest = rest.trim_start_matches(['"', '\'']);
        let mut command = Command::new(["/bin/sh", "-c", &format!("{command}{rest}")]).streamed();
        if let Some(chdir) = args.str("chdir") {
            command = command.cwd(chdir);
        }
        finish(&command, context)
    }
}

fn finish(command: &Command, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let ran = command.run(context).map_err(|e| e.failure(command))?;
    let mut result = ran.fields();
    if ran.rc == 0 {
        return Ok(Outcome {
            changed: true,
            result,
            ..Outcome::default()
        });
    }
    result.insert("changed".to_owned(), Json::from(true));
    Err(Failure {
        msg: "non-zero return code".to_owned(),
        result,
    })
}

fn needless(args: &Args) -> Option<String> {
    let there = |path: &str| Path::new(path).exists();
    match (args.str("creates"), args.str("removes")) {
        (Some(path), _) if there(path) => Some(format!("{path} exists, matching creates option")),
        (_, Some(path)) if !there(path) => {
            Some(format!("{path} does not exist, matching removes option"))
        }
        _ => None,
    }
}

fn skip(msg: String) -> Outcome {
    let mut result = Map::new();
    result.insert("msg".to_owned(), Json::from(msg));
    Outcome {
        skipped: true,
        result,
        ..Outcome::default()
    }
}

fn in_check_mode(args: &Args) -> Outcome {
    if args.has("creates") || args.has("removes") {
        return Outcome {
            changed: true,
            ..Outcome::default()
        };
    }
    skip("Check mode is not supported for this task.".to_owned())
}

/// Puts the script into a folder of its own, and returns that with the command that runs it.
fn place(args: &Args, name: &str, context: &Context<'_>) -> Result<(TempDir, String), Failure> {
    let source = context.sources.values().next();
    let source =
        source.ok_or_else(|| Failure::new(format!("could not find or access '{name}'")))?;
    let cannot = |e: std::io::Error| Failure::new(format!("could not copy {name} here: {e}"));
    let mut content = Vec::new();
    source.write_to(&mut content).map_err(cannot)?;
    let home = Builder::new()
        .prefix("amibake-script-")
        .tempdir()
        .map_err(cannot)?;
    let file = Path::new(name).file_name().unwrap_or("script".as_ref());
    let path = home.path().join(file);
    let mut out = std::fs::File::create(&path).map_err(cannot)?;
    out.write_all(&content).map_err(cannot)?;
    out.set_permissions(PermissionsExt::from_mode(0o700))
        .map_err(cannot)?;
    let path = quote(&path.to_string_lossy());
    let command = match args.str("executable") {
        Some(executable) => format!("{executable} {path}"),
        None => format!("{}{path}", interpreter(&content)),
    };
    Ok((home, command))
}

/// Returns the interpreter that `#!` names, with a space after it, so that the script also runs
/// from a folder mounted `noexec`. Empty for a program in machine code.
fn interpreter(content: &[u8]) -> String {
    let first = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    match first.strip_prefix("#!") {
        Some(line) => {
            let line = line.trim();
            let (program, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match argument.trim() {
                "" => format!("{} ", quote(program)),
                argument => format!("{} {} ", quote(program), quote(argument)),
            }
        }
        None if content.starts_with(b"\x7fELF") => String::new(),
        None => "/bin/sh ".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::tests::{check, run, run_with_source};
    use serde_json::json;

    #[test]
    fn a_script_runs_with_its_arguments_and_interpreter() {
        let args = json!({"_raw_params": "files/greet.sh 'a b' c"});
        let outcome = run_with_source("script", args, "#!/bin/sh -e\necho \"$1-$2\"\n").unwrap();
        assert_eq!(outcome.result["stdout"], "a b-c\n");
        assert!(outcome.changed);
    }

    #[test]
    fn a_script_that_would_create_what_exists_is_skipped() {
        let outcome = run("script", json!({"cmd": "x", "creates": "/etc"})).unwrap();
        assert!(outcome.skipped);
        assert_eq!(
            outcome.result["msg"],
            "/etc exists, matching creates option"
        );
    }

    #[test]
    fn raw_text_goes_to_the_shell_and_check_mode_skips_it() {
        let outcome = run("raw", json!({"_raw_params": "echo a | tr a b"})).unwrap();
        assert_eq!(outcome.result["stdout"], "b\n");
        assert!(
            check("raw", json!({"_raw_params": "exit 1"}))
                .unwrap()
                .skipped
        );
    }
}
