//! `debops.debops.dpkg_divert`: what community.general's module of that name began as, with other defaults and answers.

use std::io;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::by_descriptor;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::place::Place;
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct DpkgDivert;

impl ActionModule for DpkgDivert {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let wish = Wish::of(args, context)?;
        let holder = wish.ask("--listpackage", context)?;
        let possible = call(&wish.command(true), context)?.rc == 0;
        match possible || !args.bool("force") || holder.is_empty() {
            true => wish.fulfil(!holder.is_empty(), context),
            false => wish.by_force(&holder, context),
        }
    }
}

/// What is asked for.
struct Wish {
    /// `env LC_ALL=C dpkg-divert`: what it says is read.
    program: Vec<String>,
    path: String,
    present: bool,
    /// Whose diversion it is; `LOCAL` is the administrator's.
    package: String,
    /// Where the package's file goes.
    divert: Option<String>,
    rename: bool,
    delete: bool,
}

impl Wish {
    fn of(args: &Args, context: &Context<'_>) -> Result<Self, Failure> {
        let divert = required_bin("dpkg-divert", context)?;
        let env = required_bin("env", context)?;
        let path = args.required("path")?.to_owned();
        let package = args.str("package").unwrap_or_default().to_owned();
        let by_default = match package.as_str() {
            "LOCAL" => Some(format!("{path}.dpkg-divert")),
            "" => None,
            _ => Some(format!("{path}.distrib")),
        };
        let given = args.str("divert").filter(|divert| !divert.is_empty());
        Ok(Self {
            program: vec![env, "LC_ALL=C".to_owned(), divert],
            present: args.str("state") == Some("present"),
            divert: given.map(str::to_owned).or(by_default),
            rename: args.bool("rename"),
            delete: args.bool("delete"),
            package,
            path,
        })
    }

    fn command(&self, test: bool) -> Vec<String> {
        let mut options = Vec::new();
        if test {
            options.push("--test");
        }
        options.extend(of_holder(&self.package));
        if let Some(divert) = &self.divert {
            options.extend(["--divert", divert]);
        }
        if self.rename {
            options.push("--rename");
        }
        options.push(if self.present { "--add" } else { "--remove" });
        self.with(&options)
    }

    /// Removes the diversion, whoever holds it and wherever it leads.
    fn removal(&self, test: bool) -> Vec<String> {
        let mut options = Vec::new();
        if self.rename {
            options.push("--rename");
        }
        if test {
            options.push("--test");
        }
        options.push("--remove");
        self.with(&options)
    }

    fn with(&self, options: &[&str]) -> Vec<String> {
        let options = options.iter().map(|option| (*option).to_owned());
        let program = self.program.iter().cloned();
        program.chain(options).chain([self.path.clone()]).collect()
    }

    fn ask(&self, what: &str, context: &mut Context<'_>) -> Result<String, Failure> {
        let argv = [self.program[2].clone(), what.to_owned(), self.path.clone()];
        let said = call(&argv, context)?.stdout;
        Ok(said.trim_end().to_owned())
    }

    /// Nothing stands in the way, or nothing but a failure can come of it.
    fn fulfil(&self, is_there: bool, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let deletes = !self.present && is_there && self.delete;
        let argv = self.command(context.check);
        let (stdout, stderr) = if deletes && context.check && Path::new(&self.path).exists() {
            // dpkg-divert's own test fails for the file that would be gone by then.
            (self.told_of_removal(), String::new())
        } else {
            if deletes && !context.check {
                self.make_way()?;
            }
            let ran = Command::new(argv.iter().cloned()).checked(context)?;
            (ran.stdout, ran.stderr)
        };
        let same = stdout.starts_with("Leaving") || stdout.starts_with("No diversion");
        Ok(answer(!same, &stdout, &stderr, &json!(argv.join(" "))))
    }

    fn told_of_removal(&self) -> String {
        let local = if self.package == "LOCAL" {
            " local"
        } else {
            ""
        };
        let divert = self.divert.as_ref().map(|divert| format!(" {divert}"));
        format!(
            "Deleting {path} and removing{local} diversion of {path} to{}",
            divert.unwrap_or_default(),
            path = self.path,
        )
    }

    fn make_way(&self) -> Result<(), Failure> {
        match by_descriptor::remove(Path::new(&self.path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let failure = Failure::new(format!("unlinking failed: {error}"));
                Err(failure.with("path", self.path.as_str()))
            }
            _ => Ok(()),
        }
    }

    /// Removes a diversion that is another, and makes the one that is asked for. `dpkg-divert` changes neither holder
    /// nor place, and overwrites no file.
    fn by_force(&self, holder: &str, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let removal = self.removal(context.check);
        let argv = self.command(context.check);
        let (removing, adding) = (removal.join(" "), argv.join(" "));
        let old = match self.present {
            true => self.ask("--truename", context)?,
            false => String::new(),
        };
        let removed = Command::new(removal).checked(context)?;
        if !self.present {
            return Ok(answer(
                true,
                &removed.stdout,
                &removed.stderr,
                &json!(removing),
            ));
        }
        let commands = json!([removing, adding]);
        if context.check {
            let msg = json!([
                removed.stdout,
                "*** RUNNING IN CHECK MODE ***",
                "The next step can't be actually performed - even dry-run - without error (since the previous removal \
                 didn't happen) but is supposed to achieve the task."
            ]);
            return Ok(Outcome::of(true, json!({"cmd": commands, "msg": msg})));
        }
        let moved = match self.move_along(&old) {
            Ok(moved) => moved,
            Err(error) => {
                self.restore(holder, &old, context)?;
                return Err(Failure::new(format!("could not move {old}: {error}")));
            }
        };
        let ran = call(&argv, context)?;
        if ran.rc == 0 {
            let mut outcome = answer(true, &ran.stdout, &ran.stderr, &commands);
            outcome
                .result
                .insert("msg".to_owned(), json!([removed.stdout, ran.stdout]));
            return Ok(outcome);
        }
        if moved && let Some(new) = &self.divert {
            rename(new, &old)
                .map_err(|e| Failure::new(format!("could not move {new} back: {e}")))?;
        }
        self.restore(holder, &old, context)?;
        let mut failure = Failure::new(ran.stderr.trim_end());
        failure.result = answer(true, &ran.stdout, &ran.stderr, &commands).result;
        Err(failure.with("changed", true))
    }

    /// Moves the file that was diverted to the new place, if nothing is there; returns whether it was moved.
    fn move_along(&self, old: &str) -> io::Result<bool> {
        let Some(new) = &self.divert else {
            return Ok(false);
        };
        if !self.rename || !Path::new(old).is_file() || Path::new(new).is_file() {
            return Ok(false);
        }
        rename(old, new).map(|()| true)
    }

    fn restore(&self, holder: &str, old: &str, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut options = Vec::new();
        if self.rename {
            options.push("--rename");
        }
        options.extend(of_holder(holder));
        options.extend(["--divert", old]);
        Command::new(self.with(&options)).checked(context)?;
        Ok(())
    }
}

fn call(argv: &[String], context: &mut Context<'_>) -> Result<Ran, Failure> {
    let command = Command::new(argv.iter().cloned());
    command.run(context).map_err(|e| e.failure(&command))
}

fn of_holder(package: &str) -> Vec<&str> {
    match package {
        "LOCAL" => vec!["--local"],
        "" => Vec::new(),
        package => vec!["--package", package],
    }
}

fn rename(from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (Place::of(Path::new(from))?, Place::of(Path::new(to))?);
    std::fs::rename(from.path(), to.path())
}

fn answer(changed: bool, stdout: &str, stderr: &str, cmd: &Json) -> Outcome {
    let fields = json!({"stdout": stdout, "stderr": stderr, "cmd": cmd});
    Outcome::of(changed, fields)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::modules::tests::run_in;
    use crate::run_command::tests::with_context;

    /// One that knows of a diversion of a package's, and writes down what it is told.
    const DPKG_DIVERT: &str = "#!/bin/sh\n\
        folder=${0%/*}; echo \"$*\" >> $folder/told\n\
        case \"$*\" in\n\
        --listpackage*held) echo branding;;\n\
        --listpackage*) ;;\n\
        --truename*) echo $folder/old;;\n\
        *--add*held) [ -e $folder/removed ] || { echo clash >&2; exit 2; }; echo Adding;;\n\
        --rename\\ --remove*held) echo Removing; : > $folder/removed;;\n\
        *--remove*) echo No diversion, nothing to do;;\n\
        *) echo Adding;;\n\
        esac\n";

    /// Runs the module, and returns its answer and what dpkg-divert was told, `DIR` for the folder of the test.
    fn run(args: Json) -> (Result<Outcome, Failure>, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dpkg-divert");
        std::fs::write(&program, DPKG_DIVERT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.path().join("old"), "distributed").unwrap();
        let here = folder.path().to_string_lossy().into_owned();
        let args = serde_json::from_str(&args.to_string().replace("DIR", &here)).unwrap();
        let run = |context: &mut Context<'_>| {
            context.environment = vec![("PATH".to_owned(), format!("{here}:/usr/bin:/bin"))];
            run_in("debops.debops.dpkg_divert", args, context)
        };
        let outcome = with_context(run).0;
        let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
        (outcome, told.replace(&here, "DIR"), folder)
    }

    #[test]
    fn a_diversion_is_renamed_and_local_unless_told_otherwise() {
        let (outcome, told, _folder) = run(json!({"name": "DIR/file"}));
        assert!(outcome.unwrap().changed);
        let command = "--local --divert DIR/file.dpkg-divert --rename --add DIR/file";
        assert_eq!(
            told,
            format!("--listpackage DIR/file\n--test {command}\n{command}\n")
        );
        let asked = json!({"path": "DIR/file", "package": "mine", "rename": false});
        let (_, told, _folder) = run(asked);
        assert!(told.ends_with("\n--package mine --divert DIR/file.distrib --add DIR/file\n"));
    }

    #[test]
    fn what_is_not_diverted_need_not_be_reverted() {
        let (outcome, ..) = run(json!({"path": "DIR/file", "state": "absent"}));
        assert!(!outcome.unwrap().changed);
    }

    #[test]
    fn anothers_diversion_is_replaced_by_force_alone_and_the_file_moves_along() {
        let (outcome, ..) = run(json!({"path": "DIR/held"}));
        assert_eq!(outcome.unwrap_err().msg, "clash");
        let (outcome, told, folder) = run(json!({"path": "DIR/held", "force": true}));
        let outcome = outcome.unwrap();
        assert!(outcome.changed);
        assert_eq!(outcome.result["msg"], json!(["Removing\n", "Adding\n"]));
        let told: Vec<&str> = told.lines().skip(2).collect();
        let add = "--local --divert DIR/held.dpkg-divert --rename --add DIR/held";
        assert_eq!(
            told,
            ["--truename DIR/held", "--rename --remove DIR/held", add]
        );
        let moved = std::fs::read_to_string(folder.path().join("held.dpkg-divert")).unwrap();
        assert_eq!(moved, "distributed");
    }
}
