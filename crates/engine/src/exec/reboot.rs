//! `reboot`: the machine restarts, and the run goes on where it was.
//!
//! This process ends with the machine. Before it, the controller has taken what the run is at
//! (`checkpoint`); when the machine is back it starts another, whose walk comes to this task again and
//! goes into it behind the command. Where nothing ends (a command that restarts something else), this
//! process itself waits for the boot time to change.

use std::io::Write as _;
use std::time::{Duration, Instant};

use amibake_playbook::argspec;
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::ask::{Answer, Ask, Reboot};
use serde_json::{Value as Json, json};

use super::actions::plain;
use super::checkpoint::Since;
use super::eval;
use super::executor::Call;
use super::outcome::Attempt;
use super::own_args;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::deadline;

const PARAMS: &[&str] = &[
    "boot_time_command",
    "connect_timeout",
    "msg",
    "post_reboot_delay",
    "pre_reboot_delay",
    "reboot_command",
    "reboot_timeout",
    "search_paths",
    "test_command",
];
const SEARCH_PATHS: [&str; 5] = ["/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin"];
/// The longest time between two looks at the machine.
const PAUSE: Duration = Duration::from_secs(12);

/// The longest time that is waited for, in seconds: that of a task's `timeout`.
const LONGEST: u64 = 100_000_000;

/// The parameters, read.
struct Settings {
    boot_time_command: String,
    test_command: String,
    /// The command and its arguments, as given.
    reboot_command: Option<String>,
    search_paths: Vec<String>,
    msg: String,
    pre_delay: u64,
    post_delay: u64,
    timeout: u64,
    /// As it was written, which may be less than none.
    shown_timeout: i64,
    connect_timeout: Option<u64>,
}

/// What a command said.
struct Said {
    rc: i64,
    stdout: String,
    stderr: String,
}

/// A reboot under way.
struct UnderWay {
    /// What told the boot before it from others.
    boot_time: String,
    since: Since,
}

impl Run<'_> {
    /// Reboots the machine, or goes on with the reboot that interrupted the run.
    pub(super) fn reboot(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let action = &cx.task.action;
        if self.options.local {
            let msg =
                format!("Running {action} with local connection would reboot the control node.");
            return Ok(plain(json!({
                "changed": false, "elapsed": 0, "rebooted": false, "failed": true, "msg": msg,
            })));
        }
        let check = self.keyword_truth("check_mode", cx, |k| k.check_mode.clone())?;
        if check.unwrap_or(self.options.check) {
            return Ok(plain(
                json!({"changed": true, "elapsed": 0, "rebooted": true}),
            ));
        }
        let args = self.args(cx)?;
        own_args::only(action, &args, PARAMS)?;
        let settings = Settings::read(&args)?;
        let interrupted = self.interrupted.take();
        let under_way = match interrupted {
            Some(before) => UnderWay {
                boot_time: before.boot_time().to_owned(),
                since: before.since,
            },
            None => match self.shut_down(cx, &settings)? {
                Ok(under_way) => under_way,
                Err(attempt) => return Ok(*attempt),
            },
        };
        Ok(self.come_back(cx, &settings, &under_way))
    }

    /// Tells the machine to reboot, after the controller has taken what the run is at; returns the task's
    /// failure if that cannot be.
    fn shut_down(
        &self,
        cx: &TaskContext<'_>,
        settings: &Settings,
    ) -> Result<Result<UnderWay, Box<Attempt>>, TaskError> {
        let distribution = self.distribution(cx)?;
        let boot_time = match self.boot_time(cx, settings) {
            Ok(boot_time) => boot_time,
            Err(msg) => {
                let failed = json!({"failed": true, "reboot": false, "msg": msg});
                return Ok(Err(Box::new(plain(failed))));
            }
        };
        let command = self.command(cx, settings, &distribution)?;
        self.keep(cx, settings, &boot_time)?;
        let (start, since) = (utc_now(), Since::ago(Duration::ZERO));
        // What runs it may go down with the machine, as Ansible's connection does.
        let said = self.low_level(cx, &command).ok();
        if let Some(said) = said.filter(|said| said.rc > 0) {
            let msg = format!(
                "Reboot command failed. Error was: '{}, {}'",
                said.stdout.trim(),
                said.stderr.trim()
            );
            return Ok(Err(Box::new(plain(json!({
                "start": start, "failed": true, "rebooted": false, "msg": msg, "elapsed": 0,
            })))));
        }
        deadline::sleep(Duration::from_secs(settings.post_delay));
        Ok(Ok(UnderWay { boot_time, since }))
    }

    /// Has the controller keep what the run is at, and waits until it has.
    fn keep(
        &self,
        cx: &TaskContext<'_>,
        settings: &Settings,
        boot_time: &str,
    ) -> Result<(), TaskError> {
        let failed = |why: String| {
            refused(format!(
                "the machine was not rebooted, since what the run is at could not be kept: {why}"
            ))
        };
        let checkpoint = self
            .checkpoint(boot_time)
            .map_err(|e| failed(e.to_string()))?;
        let spool = tempfile::NamedTempFile::new_in(self.controller.borrow().spool_folder());
        let mut spool = spool.map_err(|e| failed(e.to_string()))?;
        spool
            .write_all(&checkpoint)
            .map_err(|e| failed(e.to_string()))?;
        let ask = Ask::Keep {
            reboot: Reboot {
                index: cx.index,
                timeout: settings.timeout,
                connect_timeout: settings.connect_timeout,
                delay: settings.post_delay,
                recap: self.recap.get(),
            },
            file: spool.path().to_path_buf(),
            size: checkpoint.len() as u64,
        };
        match self.controller.borrow_mut().ask(ask) {
            Answer::Value { .. } => Ok(()),
            Answer::Refused { reason } => Err(failed(reason)),
            Answer::File { .. } => Err(failed("the controller sent a file".to_owned())),
        }
    }

    /// Waits until the machine has another boot time and passes the test.
    fn come_back(
        &self,
        cx: &TaskContext<'_>,
        settings: &Settings,
        under_way: &UnderWay,
    ) -> Attempt {
        let timeout = Duration::from_secs(settings.timeout);
        let gone = under_way
            .since
            .elapsed()
            .saturating_sub(Duration::from_secs(settings.post_delay));
        let booted = self.until(timeout.saturating_sub(gone), || {
            let boot_time = self.boot_time(cx, settings);
            boot_time.is_ok_and(|now| !now.is_empty() && now != under_way.boot_time)
        });
        let ended = match booted {
            false => Err("last boot time check"),
            true => match self.until(timeout, || self.passes(cx, settings)) {
                false => Err("post-reboot test command"),
                true => Ok(()),
            },
        };
        let elapsed = under_way.since.elapsed().as_secs();
        match ended {
            Ok(()) => plain(json!({"rebooted": true, "changed": true, "elapsed": elapsed})),
            Err(what) => {
                let shown = settings.shown_timeout;
                let msg = format!("Timed out waiting for {what} (timeout={shown})");
                plain(json!({"failed": true, "rebooted": true, "msg": msg, "elapsed": elapsed}))
            }
        }
    }

    /// Tries until something holds, ever more seldom; returns whether it did in time.
    fn until(&self, limit: Duration, holds: impl Fn() -> bool) -> bool {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_secs(1);
        while Instant::now() < end && !self.controller.borrow().cancelled() {
            if holds() {
                return true;
            }
            if deadline::at_most(pause).is_zero() {
                return false;
            }
            deadline::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
        false
    }

    fn passes(&self, cx: &TaskContext<'_>, settings: &Settings) -> bool {
        let command = &settings.test_command;
        let said = self.low_level(cx, command).map(|said| said.rc);
        !command.is_empty() && said.is_ok_and(|rc| rc == 0)
    }

    /// Returns what tells this boot from others.
    fn boot_time(&self, cx: &TaskContext<'_>, settings: &Settings) -> Result<String, String> {
        let said = self.low_level(cx, &settings.boot_time_command);
        let said = said.map_err(|e| e.to_string())?;
        match said.rc {
            0 => Ok(said.stdout.trim().to_owned()),
            rc => {
                let why = format!(
                    "{}: failed to get host boot time info, rc: {rc}, stdout: {}, stderr: {}",
                    cx.task.action, said.stdout, said.stderr
                );
                Err(why.trim_end().to_owned())
            }
        }
    }

    /// Returns the line that reboots the machine.
    fn command(
        &self,
        cx: &TaskContext<'_>,
        settings: &Settings,
        distribution: &str,
    ) -> Result<String, TaskError> {
        let (program, arguments) = match &settings.reboot_command {
            Some(command) => match command.split_once(' ') {
                Some((program, arguments)) => (program, arguments.to_owned()),
                None => (command.as_str(), String::new()),
            },
            None => usual_command(distribution, settings),
        };
        if program.is_empty() {
            return Err(refused("Task failed: string index out of range".to_owned()));
        }
        if program.starts_with('/') {
            return Ok(format!("{program} {arguments}"));
        }
        let find = json!({
            "paths": settings.search_paths, "patterns": [program], "file_type": "any",
        });
        let found = self.quietly(cx, "find", &find)?;
        let first = found.pointer("/files/0/path").and_then(Json::as_str);
        match first {
            Some(path) => Ok(format!("{path} {arguments}")),
            None => {
                let paths = settings.search_paths.iter().map(Value::str).collect();
                Err(refused(format!(
                    "Task failed: Unable to find command \"{program}\" in search paths: {}",
                    Value::list(paths)
                )))
            }
        }
    }

    /// Returns the distribution's name, in lower case.
    fn distribution(&self, cx: &TaskContext<'_>) -> Result<String, TaskError> {
        let facts = self.quietly(cx, "setup", &json!({"gather_subset": ["min"]}))?;
        let name = facts.pointer("/ansible_facts/ansible_distribution");
        Ok(name.and_then(Json::as_str).unwrap_or("").to_lowercase())
    }

    /// Runs a line by the shell as the task's user, without the task's environment.
    fn low_level(&self, cx: &TaskContext<'_>, line: &str) -> Result<Said, TaskError> {
        let fields = self.quietly(cx, "raw", &json!({"_raw_params": line}))?;
        let text = |name: &str| {
            let text = fields.get(name).and_then(Json::as_str);
            text.unwrap_or_default().to_owned()
        };
        let Some(rc) = fields.get("rc").and_then(Json::as_i64) else {
            return Err(refused(text("msg"))); // the user's process is gone, say
        };
        Ok(Said {
            rc,
            stdout: text("stdout"),
            stderr: text("stderr"),
        })
    }

    /// Runs a module for this task, which tells nobody; returns the result, also that of a failure.
    fn quietly(&self, cx: &TaskContext<'_>, module: &str, args: &Json) -> Result<Json, TaskError> {
        let spec = argspec::find(module);
        let spec = spec.ok_or_else(|| refused(format!("The module {module} was not found")))?;
        let call = Call {
            name: spec.name,
            args: args.as_object().cloned().unwrap_or_default(),
            check: false,
            diff: false,
            environment: Vec::new(),
            sources: std::collections::BTreeMap::new(),
            fd_limit: None,
            who: self.identity(cx)?,
            limit: self.time_limit(cx)?.map(|limit| limit.time),
        };
        let facts = self.module_facts.borrow().clone();
        let answer = self
            .executor
            .borrow_mut()
            .call(call, &facts, &mut |_, _| {});
        Ok(Json::Object(match answer {
            Ok(outcome) => outcome.result,
            Err(failure) => {
                let mut fields = failure.result;
                fields.insert("msg".to_owned(), Json::from(failure.msg));
                fields
            }
        }))
    }
}

impl Settings {
    fn read(args: &Dict) -> Result<Self, TaskError> {
        let shown_timeout = whole(args, "reboot_timeout", 600)?;
        let not_negative = |number: i64| u64::try_from(number).unwrap_or(0).min(LONGEST);
        let boot_time_command = text(args, "boot_time_command")?.filter(|text| !text.is_empty());
        Ok(Self {
            boot_time_command: boot_time_command
                .unwrap_or_else(|| "cat /proc/sys/kernel/random/boot_id".to_owned()),
            test_command: shown(args, "test_command").unwrap_or_else(|| "whoami".to_owned()),
            reboot_command: text(args, "reboot_command")?,
            search_paths: paths(args)?,
            msg: shown(args, "msg").unwrap_or_else(|| "Reboot initiated by Ansible".to_owned()),
            pre_delay: not_negative(whole(args, "pre_reboot_delay", 0)?),
            post_delay: not_negative(whole(args, "post_reboot_delay", 0)?),
            timeout: not_negative(shown_timeout),
            shown_timeout,
            connect_timeout: Some(not_negative(whole(args, "connect_timeout", 0)?))
                .filter(|seconds| *seconds > 0),
        })
    }
}

/// Returns the command of a distribution, and its arguments.
fn usual_command(distribution: &str, settings: &Settings) -> (&'static str, String) {
    let (minutes, message) = (settings.pre_delay / 60, &settings.msg);
    match distribution {
        "alpine" => ("reboot", String::new()),
        "void" => ("shutdown", format!("-r +{minutes} \"{message}\"")),
        _ => ("shutdown", format!("-r {minutes} \"{message}\"")),
    }
}

fn given(args: &Dict, name: &str) -> Option<Value> {
    args.get(name).filter(|value| !matches!(value, Value::None))
}

fn shown(args: &Dict, name: &str) -> Option<String> {
    given(args, name).map(|value| value.to_string())
}

/// Returns a parameter that must be text.
fn text(args: &Dict, name: &str) -> Result<Option<String>, TaskError> {
    match given(args, name) {
        None => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text.to_string())),
        Some(other) => Err(refused(format!(
            "Task failed: Invalid value given for '{name}': '{other}' is not a string and conversion is not allowed."
        ))),
    }
}

pub(super) fn whole(args: &Dict, name: &str, default: i64) -> Result<i64, TaskError> {
    let Some(value) = given(args, name) else {
        return Ok(default);
    };
    eval::number(&value).ok_or_else(|| {
        let shown = value.repr();
        refused(format!(
            "Task failed: invalid literal for int() with base 10: {shown}"
        ))
    })
}

fn paths(args: &Dict) -> Result<Vec<String>, TaskError> {
    let listed = match given(args, "search_paths") {
        None => return Ok(SEARCH_PATHS.map(str::to_owned).to_vec()),
        Some(Value::Str(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::List(list)) => list.items().iter().map(ToString::to_string).collect(),
        Some(other) => {
            return Err(refused(format!(
                "Task failed: 'search_paths' must be a string or flat list of strings, got {other}"
            )));
        }
    };
    Ok(listed)
}

/// Returns the time as Python shows it.
fn utc_now() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    let micros = i128::try_from(now.as_micros()).unwrap_or(0);
    format!(
        "{}+00:00",
        amibake_playbook::value::Moment::naive(micros).value()
    )
}
