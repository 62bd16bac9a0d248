//! `community.general.dpkg_divert`: another place for a package's file, by `dpkg-divert`.

use std::path::Path;

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::by_descriptor;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::place::Place;
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct DpkgDivert;

/// A diversion as it is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diversion {
    path: String,
    present: bool,
    /// Where the package's file goes.
    divert: Option<String>,
    /// Whose diversion it is; `LOCAL` is the administrator's.
    holder: Option<String>,
}

impl ActionModule for DpkgDivert {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let program = required_bin("dpkg-divert", context)?;
        let no_rename = version(&program, context)? >= (1, 19, 1);
        let want = Diversion::wanted(args)?;
        let before = Diversion::read(&program, &want.path, context)?;
        let mut run = Run {
            argv: main_command(&program, args, &want, no_rename),
            program,
            rename: args.bool("rename"),
            force: args.bool("force"),
            no_rename,
            want,
            before,
            context,
        };
        run.run()
    }
}

impl Diversion {
    fn wanted(args: &Args) -> Result<Self, Failure> {
        let path = args.required("path")?.to_owned();
        if args.str("state") == Some("absent") {
            return Ok(Self::none(path));
        }
        let holder = args.str("holder").filter(|holder| !holder.is_empty());
        let divert = args.str("divert").filter(|divert| !divert.is_empty());
        let by_default = format!("{path}.distrib");
        Ok(Self {
            present: true,
            divert: Some(divert.map_or(by_default, str::to_owned)),
            holder: Some(holder.unwrap_or("LOCAL").to_owned()),
            path,
        })
    }

    fn none(path: String) -> Self {
        Self {
            path,
            present: false,
            divert: None,
            holder: None,
        }
    }

    fn read(program: &str, path: &str, context: &mut Context<'_>) -> Result<Self, Failure> {
        let mut ask = |what: &str| {
            let ran = Command::new([program, what, path]).checked(context)?;
            Ok::<_, Failure>(ran.stdout.trim_end().to_owned())
        };
        let holder = ask("--listpackage")?;
        if holder.is_empty() {
            return Ok(Self::none(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            present: true,
            divert: Some(ask("--truename")?),
            holder: Some(holder),
        })
    }

    fn json(&self) -> Json {
        let state = if self.present { "present" } else { "absent" };
        json!({"path": self.path, "state": state, "divert": self.divert, "holder": self.holder})
    }
}

/// Returns the parts of dpkg's version.
fn version(program: &str, context: &mut Context<'_>) -> Result<(u32, u32, u32), Failure> {
    let said = Command::new([program, "--version"])
        .checked(context)?
        .stdout;
    let version = parse_version(said.lines().next().unwrap_or_default())
        .ok_or_else(|| Failure::new(format!("`{program} --version` says no version: {said}")))?;
    if version < (1, 15, 0) {
        return Err(Failure::new("Unsupported dpkg version (<1.15.0)."));
    }
    Ok(version)
}

fn parse_version(line: &str) -> Option<(u32, u32, u32)> {
    let regex = Regex::new(
        r"(?:^|\s)([0-9]+)[.]([0-9]+)(?:[.]([0-9]+))?",
        Flags::default(),
    )
    .ok()?;
    let groups = regex.search(line.as_bytes(), 0).ok()??;
    let part = |index| line.get(groups.get(index)?)?.parse().ok();
    Some((part(1)?, part(2)?, part(3).unwrap_or(0)))
}

fn main_command(program: &str, args: &Args, want: &Diversion, no_rename: bool) -> Vec<String> {
    let mut argv = vec![program];
    match (args.bool("rename"), no_rename) {
        (true, _) => argv.push("--rename"),
        (false, true) => argv.push("--no-rename"),
        (false, false) => {}
    }
    match want.holder.as_deref() {
        Some("LOCAL") => argv.push("--local"),
        Some(holder) => argv.extend(["--package", holder]),
        None => {}
    }
    if let Some(divert) = args.str("divert").filter(|d| want.present && !d.is_empty()) {
        argv.extend(["--divert", divert]);
    }
    argv.extend([if want.present { "--add" } else { "--remove" }, &want.path]);
    argv.into_iter().map(str::to_owned).collect()
}

struct Run<'r, 'c> {
    /// What makes it true, where nothing stands in the way.
    argv: Vec<String>,
    program: String,
    rename: bool,
    force: bool,
    no_rename: bool,
    want: Diversion,
    before: Diversion,
    context: &'r mut Context<'c>,
}

impl Run<'_, '_> {
    fn run(&mut self) -> Result<Outcome, Failure> {
        let check = self.context.check;
        let mut commands = vec![self.argv.join(" ")];
        // As in Ansible looked at before anything is done.
        let blocked = self.rename && exists(&self.want.path) && self.is_blocked();
        if check || self.want == self.before {
            self.argv.insert(1, "--test".to_owned());
        }
        let ran = self.call(&self.argv.clone())?;
        let messages = if ran.rc == 0 {
            vec![ran.stdout.trim_end().to_owned()]
        } else if self.want.present != self.before.present {
            vec![self.by_force(&ran, &commands[0], blocked)?]
        } else {
            let (both, messages) = self.anew()?;
            commands = both;
            messages
        };
        let after = match check {
            true => self.want.clone(),
            false => Diversion::read(&self.program, &self.want.path, self.context)?,
        };
        if after != self.want {
            let msg = "Unexpected error: see stdout and stderr for details.";
            let command = commands.last().map_or("", String::as_str);
            let failure = failure(msg, &ran, command, &after);
            return Err(failure.with("changed", after != self.before));
        }
        let diff = match self.context.diff {
            true => json!({"before": self.before.json(), "after": after.json()}),
            false => json!({}),
        };
        let fields = json!({
            "diversion": after.json(), "commands": commands, "messages": messages, "diff": diff,
        });
        Ok(Outcome::of(after != self.before, fields))
    }

    fn call(&mut self, argv: &[String]) -> Result<Ran, Failure> {
        let command = Command::new(argv.iter().cloned());
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    /// Whether a file is where the renamed one would go.
    fn is_blocked(&self) -> bool {
        let there = match self.want.present {
            true => &self.want.divert,
            false => &self.before.divert,
        };
        there.as_deref().is_some_and(exists)
    }

    /// Removes the file that a renamed one would go to, and tries again.
    fn by_force(&mut self, ran: &Ran, command: &str, blocked: bool) -> Result<String, Failure> {
        let refused = |msg: &str| failure(msg, ran, command, &self.before);
        if !blocked {
            return Err(refused(
                "Unexpected error while changing state of the diversion.",
            ));
        }
        if !self.force {
            return Err(refused(
                "Set 'force' param to True to force renaming of files.",
            ));
        }
        if self.context.check {
            return Ok(ran.stdout.trim_end().to_owned());
        }
        let in_the_way = self.want.divert.as_ref().unwrap_or(&self.want.path);
        by_descriptor::remove(Path::new(in_the_way))
            .map_err(|e| refused(&format!("Failed to remove {in_the_way}: {e}")))?;
        let again = Command::new(self.argv.iter().cloned()).checked(self.context)?;
        Ok(again.stdout.trim_end().to_owned())
    }

    /// Removes a diversion and makes it again: `dpkg-divert` changes neither holder nor place.
    fn anew(&mut self) -> Result<(Vec<String>, Vec<String>), Failure> {
        let mut remove = vec![self.program.clone()];
        if self.no_rename {
            remove.push("--no-rename".to_owned());
        }
        remove.extend(["--remove".to_owned(), self.want.path.clone()]);
        let mut add = self.argv.clone();
        if self.rename {
            add.retain(|argument| argument != "--rename");
            if self.no_rename {
                add.insert(1, "--no-rename".to_owned());
            }
        } else {
            // Ansible names it as it was before it became a test.
            add.retain(|argument| argument != "--test");
        }
        let commands = vec![remove.join(" "), add.join(" ")];
        if self.context.check {
            remove.insert(1, "--test".to_owned());
        }
        let removed = Command::new(remove).checked(self.context)?.stdout;
        let removed = removed.trim_end().to_owned();
        if self.context.check {
            return Ok((commands, vec![removed, "Running in check mode".to_owned()]));
        }
        let added = Command::new(add).checked(self.context)?.stdout;
        self.move_along();
        Ok((commands, vec![removed, added.trim_end().to_owned()]))
    }

    /// Moves a file that was diverted to the new place, if it can be; not to do so is no failure.
    fn move_along(&self) {
        if let (Some(old), Some(new)) = (&self.before.divert, &self.want.divert)
            && old != new
            && exists(old)
            && !exists(new)
        {
            let places =
                Place::of(Path::new(old)).and_then(|o| Ok((o, Place::of(Path::new(new))?)));
            if let Ok((old, new)) = places {
                let _ = std::fs::rename(old.path(), new.path());
            }
        }
    }
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

fn failure(msg: &str, ran: &Ran, command: &str, diversion: &Diversion) -> Failure {
    Failure {
        msg: msg.to_owned(),
        result: ran.fields(),
    }
    .with("cmd", command)
    .with("diversion", diversion.json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkgs_version_is_the_first_number_with_a_dot() {
        let line = "Debian dpkg-divert version 1.21.22 (amd64).";
        assert_eq!(parse_version(line), Some((1, 21, 22)));
        assert_eq!(parse_version("dpkg-divert 1.22 (x)"), Some((1, 22, 0)));
        assert_eq!(parse_version("Debian"), None);
    }
}
