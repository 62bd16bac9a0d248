//! `community.general.supervisorctl`: programs under supervisord, by `supervisorctl`.

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path, required_bin};

pub(super) struct Supervisorctl;

impl ActionModule for Supervisorctl {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let given = args.required("name")?;
        let name = given.trim_end_matches(':').to_owned();
        let mut run = Run {
            argv: program(args, context)?,
            is_group: given.ends_with(':'),
            state: args.required("state")?.to_owned(),
            name,
            context,
        };
        if run.state == "restarted" {
            // Ansible's module does this in check mode too; here nothing changes then.
            if !run.context.check {
                run.checked(&["update"])?;
            }
        }
        let processes = run.processes()?;
        match run.state.as_str() {
            "absent" => run.absent(&processes, args.bool("stop_before_removing")),
            "present" => run.present(&processes),
            _ if processes.is_empty() => {
                Err(Failure::new("ERROR (no such process)").with("name", run.name.as_str()))
            }
            "restarted" => run.act(&processes, |_| true, "restart", "started"),
            "started" => run.act(&processes, |status| !is_up(status), "start", "started"),
            "stopped" => run.act(&processes, is_up, "stop", "stopped"),
            _ => {
                let verb = format!("signal {}", args.required("signal")?);
                run.act(&processes, |status| status == "RUNNING", &verb, "signalled")
            }
        }
    }
}

struct Run<'r, 'c> {
    argv: Vec<String>,
    name: String,
    is_group: bool,
    state: String,
    context: &'r mut Context<'c>,
}

/// A process and its status, as `supervisorctl status` lists them.
type Process = (String, String);

fn is_up(status: &str) -> bool {
    matches!(status, "RUNNING" | "STARTING")
}

fn program(args: &Args, context: &Context<'_>) -> Result<Vec<String>, Failure> {
    let program = match args.str("supervisorctl_path") {
        None => required_bin("supervisorctl", context)?,
        Some(path) => {
            let found = bin_path(path, context).ok_or_else(|| {
                Failure::new(format!(
                    "Provided path to supervisorctl does not exist or isn't executable: {path}"
                ))
            })?;
            found.to_string_lossy().into_owned()
        }
    };
    let mut argv = vec![program];
    for (flag, name) in [
        ("-c", "config"),
        ("-s", "server_url"),
        ("-u", "username"),
        ("-p", "password"),
    ] {
        if let Some(value) = args.str(name).filter(|value| !value.is_empty()) {
            argv.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    Ok(argv)
}

impl Run<'_, '_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let command = Command::new(self.argv.iter().cloned().chain(arguments));
        let names = ["LANG", "LC_ALL", "LC_MESSAGES", "LC_CTYPE"];
        names
            .into_iter()
            .fold(command, |command, name| command.env(name, "C"))
    }

    fn call(&mut self, arguments: &[&str]) -> Result<Ran, Failure> {
        let command = self.command(arguments);
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn checked(&mut self, arguments: &[&str]) -> Result<Ran, Failure> {
        self.command(arguments).checked(self.context)
    }

    fn processes(&mut self) -> Result<Vec<Process>, Failure> {
        let listed = self.call(&["status"])?.stdout;
        Ok(matching(&listed, &self.name, self.is_group))
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let mut result = Map::new();
        result.insert("name".to_owned(), self.name.as_str().into());
        result.insert("state".to_owned(), self.state.as_str().into());
        Outcome {
            changed,
            result,
            ..Outcome::default()
        }
    }

    fn would_change() -> Outcome {
        Outcome {
            changed: true,
            ..Outcome::default()
        }
    }

    fn present(&mut self, processes: &[Process]) -> Result<Outcome, Failure> {
        if !processes.is_empty() {
            return Ok(self.outcome(false));
        }
        self.regroup("add", "added")
    }

    fn absent(&mut self, processes: &[Process], stop_first: bool) -> Result<Outcome, Failure> {
        if processes.is_empty() {
            return Ok(self.outcome(false));
        }
        if stop_first && !self.context.check {
            self.act(processes, is_up, "stop", "stopped")?;
        }
        self.regroup("remove", "removed")
    }

    /// Adds or removes the process group, once supervisord has read its configuration.
    fn regroup(&mut self, verb: &str, done: &str) -> Result<Outcome, Failure> {
        if self.context.check {
            return Ok(Self::would_change());
        }
        self.checked(&["reread"])?;
        let name = self.name.clone();
        let ran = self.call(&[verb, &name])?;
        if ran
            .stdout
            .contains(&format!("{name}: {done} process group"))
        {
            return Ok(self.outcome(true));
        }
        let failure = Failure::new(ran.stdout).with("name", name);
        Err(failure.with("state", self.state.as_str()))
    }

    fn act(
        &mut self,
        processes: &[Process],
        concerns: impl Fn(&str) -> bool,
        verb: &str,
        expected: &str,
    ) -> Result<Outcome, Failure> {
        let concerned = processes.iter().filter(|(_, status)| concerns(status));
        let names: Vec<&str> = concerned.map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return Ok(self.outcome(false));
        }
        if self.context.check {
            return Ok(Self::would_change());
        }
        for name in &names {
            let ran = self.checked(&[verb, name])?;
            if !ran.stdout.contains(&format!("{name}: {expected}")) {
                return Err(Failure::new(ran.stdout));
            }
        }
        let mut outcome = self.outcome(true);
        let affected: Json = json!(names);
        outcome.result.insert("affected".to_owned(), affected);
        Ok(outcome)
    }
}

/// Returns the processes that `name` means: one, those of a group, or `all`.
fn matching(listed: &str, name: &str, is_group: bool) -> Vec<Process> {
    let fits = |process: &str| {
        if is_group {
            process
                .split_once(':')
                .is_some_and(|(group, _)| group == name)
        } else {
            process == name || name == "all"
        }
    };
    let processes = listed.lines().filter_map(|line| {
        let mut fields = line.split(' ').filter(|field| !field.is_empty());
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    processes.filter(|(process, _)| fits(process)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{check, run};
    use std::os::unix::fs::PermissionsExt;

    const STATUS: &str = "web  RUNNING   pid 1, uptime 0:01\nq:q_00  STOPPED  Not started\n\
                          q:q_01  RUNNING  pid 2, uptime 0:02\n";

    #[test]
    fn a_name_means_a_process_a_group_or_all() {
        let names = |name: &str, group: bool| {
            let found = matching(STATUS, name, group);
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("web", false), ["web"]);
        assert_eq!(names("q", true), ["q:q_00", "q:q_01"]);
        assert_eq!(names("all", false).len(), 3);
        assert!(names("q", false).is_empty());
    }

    /// A supervisorctl that lists STATUS and agrees to everything else.
    fn fake(folder: &tempfile::TempDir) -> String {
        let path = folder.path().join("supervisorctl");
        let script = format!(
            "#!/bin/sh\ncase $1 in\nstatus) printf '{STATUS}' ;;\nstop) echo \"$2: stopped\" ;;\n\
             start|restart) echo \"$2: started\" ;;\nadd) echo \"$2: added process group\" ;;\nesac\n"
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn only_processes_in_another_state_are_acted_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = fake(&folder);
        let args = |name: &str, state: &str| json!({"name": name, "state": state, "supervisorctl_path": path.as_str()});
        let outcome = run("supervisorctl", args("q:", "started")).unwrap();
        assert_eq!(outcome.result["affected"], json!(["q:q_00"]));
        assert!(
            !run("supervisorctl", args("web", "started"))
                .unwrap()
                .changed
        );
        assert!(
            run("supervisorctl", args("new", "present"))
                .unwrap()
                .changed
        );
        assert!(
            check("supervisorctl", args("web", "stopped"))
                .unwrap()
                .changed
        );
        let failure = run("supervisorctl", args("nope", "started")).unwrap_err();
        assert_eq!(failure.msg, "ERROR (no such process)");
    }
}
