//! `sysvinit`: services by their scripts in `/etc/init.d`.
//!
//! Whether a service runs is guessed from what its script says, in the order of Ansible's guesses.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::deadline;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path, required_bin};
use crate::shlex;

pub(super) struct SysVInit;

impl ActionModule for SysVInit {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let name = args.required("name")?.to_owned();
        let script = match name.starts_with('/') {
            true => name.clone(),
            false => format!("/etc/init.d/{name}"),
        };
        if !Path::new(&script).exists() {
            let msg = format!("Could not find the requested service {name}: ");
            return Err(Failure::new(msg));
        }
        let mut run = Run {
            name,
            script,
            args,
            warnings: Vec::new(),
            context,
        };
        let is_started = run.is_started()?;
        let (enabled, enabling) = run.enable()?;
        let (state, acting) = run.act(is_started)?;
        let mut status = Map::new();
        status.insert("enabled".to_owned(), enabled);
        status.insert(args.str("state").unwrap_or("null").to_owned(), state);
        let fields = json!({"name": run.name, "status": status});
        Ok(Outcome {
            warnings: run.warnings,
            ..Outcome::of(enabling || acting, fields)
        })
    }
}

/// Returns whether links of a runlevel, or of any, start `name`.
pub(super) fn is_enabled(name: &str, runlevel: Option<&str>) -> bool {
    let folder = match Path::new("/etc/rc0.d/").is_dir() {
        true => "/etc",
        false => "/etc/init.d",
    };
    let runlevel = runlevel.map_or_else(|| "?".to_owned(), glob::Pattern::escape);
    let name = glob::Pattern::escape(name);
    let pattern = format!("{folder}/rc{runlevel}.d/S??{name}");
    glob::glob(&pattern).is_ok_and(|mut found| found.next().is_some())
}

struct Run<'r, 'c> {
    name: String,
    script: String,
    args: &'r Args,
    warnings: Vec<String>,
    context: &'r mut Context<'c>,
}

impl Run<'_, '_> {
    fn run(&mut self, argv: &[&str]) -> Result<Ran, Failure> {
        let command = Command::new(argv.iter().copied());
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn program(&self, name: &str) -> Option<String> {
        bin_path(name, self.context).map(|path| path.to_string_lossy().into_owned())
    }

    fn is_started(&mut self) -> Result<bool, Failure> {
        if let Some(pattern) = self.args.str("pattern").filter(|p| !p.is_empty()) {
            let found = self.is_among_processes(pattern)?;
            if !found {
                self.warn_of_unknown();
            }
            return Ok(found);
        }
        let (service, name, script) = (
            self.program("service"),
            self.name.clone(),
            self.script.clone(),
        );
        let ran = match &service {
            Some(service) => self.run(&[service, &name, "status"])?,
            None => self.run(&[&script, "status"])?,
        };
        if let Some(started) = said(&name, &ran) {
            return Ok(started);
        }
        if self.is_among_processes(&name)? {
            self.warnings.push(
                "Used ps output to match service name and determine it is up, this is very \
                 unreliable"
                    .to_owned(),
            );
            return Ok(true);
        }
        self.warn_of_unknown();
        Ok(false)
    }

    fn warn_of_unknown(&mut self) {
        let warning = "Unable to determine if service is up, assuming it is down";
        self.warnings.push(warning.to_owned());
    }

    fn is_among_processes(&mut self, pattern: &str) -> Result<bool, Failure> {
        let ps = required_bin("ps", self.context)?;
        let ran = self.run(&[&ps, "auxww"])?;
        Ok(ran.rc == 0 && ran.stdout.lines().any(|line| line.contains(pattern)))
    }

    /// Brings the links of the runlevels in order; returns what was done, and whether anything.
    fn enable(&mut self) -> Result<(Json, bool), Failure> {
        let wanted = self.args.opt_bool("enabled");
        let runlevels: Vec<String> = self
            .args
            .list("runlevels")
            .into_iter()
            .map(String::from)
            .collect();
        let changed = match runlevels.is_empty() {
            true => wanted.is_some_and(|wanted| wanted != is_enabled(&self.name, None)),
            // Ansible takes a list without `enabled` for one that is to be disabled.
            false => runlevels
                .iter()
                .any(|level| wanted != Some(is_enabled(&self.name, Some(level)))),
        };
        let mut status = json!({"changed": changed, "rc": null, "stdout": null, "stderr": null});
        if !runlevels.is_empty() {
            status["runlevels"] = json!(runlevels);
        }
        if changed && !self.context.check {
            let ran = self.set_enabled(wanted == Some(true), &runlevels)?;
            let refused = ran.stderr.contains("illegal runlevel specified");
            fill(&mut status, ran);
            if refused {
                let msg = format!(
                    "Illegal runlevel specified for enable operation on service {}",
                    self.name
                );
                let failure = Failure::new(msg).with("name", self.name.as_str());
                return Err(failure.with("status", json!({"enabled": status})));
            }
        }
        Ok((status, changed))
    }

    fn set_enabled(&mut self, on: bool, runlevels: &[String]) -> Result<Ran, Failure> {
        let name = self.name.clone();
        if let Some(program) = self.program("update-rc.d") {
            let verb = match (runlevels.is_empty(), on) {
                (false, true) => "enable",
                (true, true) => "defaults",
                (_, false) => "disable",
            };
            let mut argv = vec![program.as_str(), &name, verb];
            argv.extend(runlevels.iter().map(String::as_str));
            return self.run(&argv);
        }
        let program = required_bin("chkconfig", self.context)?;
        let levels = runlevels.concat();
        let mut argv = vec![program.as_str()];
        if !levels.is_empty() {
            argv.extend(["--level", &levels]);
        }
        argv.extend([name.as_str(), if on { "on" } else { "off" }]);
        self.run(&argv)
    }

    /// Brings the service into its state; returns what was done, and whether anything.
    fn act(&mut self, is_started: bool) -> Result<(Json, bool), Failure> {
        let wanted = self.args.str("state");
        let verbs: &[&str] = match wanted {
            None => &[],
            Some("restarted") => &["stop", "start"],
            Some("started") if is_started => &[],
            Some("started") => &["start"],
            Some("stopped") if !is_started => &[],
            Some("stopped") => &["stop"],
            // Whether it runs or not.
            Some(_) => &["reload"],
        };
        let mut status =
            json!({"changed": !verbs.is_empty(), "rc": null, "stdout": null, "stderr": null});
        if !self.context.check {
            let pause = self.args.int("sleep").unwrap_or(1).max(0).unsigned_abs();
            for verb in verbs {
                let ran = self.call_script(verb)?;
                if wanted == Some("restarted") {
                    deadline::sleep(Duration::from_secs(pause));
                }
                fill(&mut status, ran);
            }
        }
        Ok((status, !verbs.is_empty()))
    }

    fn call_script(&mut self, verb: &str) -> Result<Ran, Failure> {
        let mut argv = vec![self.script.clone(), verb.to_owned()];
        let arguments = self.args.str("arguments").unwrap_or_default();
        let words = shlex::split(arguments)
            .map_err(|e| Failure::new(format!("`arguments` cannot be split into words: {e}")))?;
        argv.extend(words);
        let command = match self.args.bool("daemonize") {
            true => {
                let detach = ["setsid", "--wait"].map(str::to_owned);
                Command::new(detach.into_iter().chain(argv)).cwd("/")
            }
            false => Command::new(argv),
        };
        let ran = command.run(self.context).map_err(|e| e.failure(&command))?;
        if ran.rc == 0 {
            return Ok(ran);
        }
        let wanted = self.args.str("state").unwrap_or_default();
        let action = wanted.trim_end_matches("ed");
        let action = match wanted {
            "stopped" => "stop",
            _ => action,
        };
        let msg = format!("Failed to {action} service: {}", self.name);
        Err(Failure {
            msg,
            result: ran.fields(),
        })
    }
}

fn fill(status: &mut Json, ran: Ran) {
    status["rc"] = json!(ran.rc);
    status["stdout"] = json!(ran.stdout);
    status["stderr"] = json!(ran.stderr);
}

/// Returns whether a script's answer to `status` says that its service runs, if it says either.
fn said(name: &str, ran: &Ran) -> Option<bool> {
    if name == "iptables" && ran.stdout.contains("ACCEPT") {
        return Some(true);
    }
    if ran.stdout.matches('\n').count() <= 1 {
        let said = ran.stdout.to_lowercase().replace(&name.to_lowercase(), "");
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if has(&[
            "stop",
            "is dead ",
            "dead but ",
            "could not access pid file",
            "inactive",
        ]) {
            return Some(false);
        }
        if has(&["run", "start", "active"]) && !said.contains("not ") {
            return Some(true);
        }
    }
    match ran.rc {
        0 => Some(true),
        1 | 2 | 3 | 4 | 69 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str, rc: i32) -> Option<bool> {
        let ran = Ran {
            rc,
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        said("cron", &ran)
    }

    #[test]
    fn words_weigh_more_than_the_exit_status() {
        assert_eq!(answer("cron is running.\n", 3), Some(true));
        assert_eq!(answer("cron is not running ... failed!\n", 0), Some(true));
        assert_eq!(answer("cron is not running ... failed!\n", 3), Some(false));
        assert_eq!(answer("cron is stopped.\n", 0), Some(false));
    }

    #[test]
    fn without_words_the_exit_status_decides() {
        assert_eq!(answer("", 0), Some(true));
        assert_eq!(answer("one\ntwo\nstopped\n", 4), Some(false));
        assert_eq!(answer("", 150), None);
    }
}
