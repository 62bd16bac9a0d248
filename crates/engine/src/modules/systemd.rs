//! `systemd`, also called `systemd_service`: units, by `systemctl`.
//!
//! An action rather than a state: `daemon_reload` comes before anything can be read. What is to be
//! done is decided apart, without running anything.

use std::os::unix::fs::MetadataExt;

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::environment::variable;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, required_bin};

use super::sysvinit;

/// `systemd_service`, also called `systemd`.
pub(super) struct Systemd;

impl ActionModule for Systemd {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut run = Run::new(args, context)?;
        for operation in ["daemon-reload", "daemon-reexec"] {
            if args.bool(&operation.replace('-', "_")) && !run.context.check {
                run.daemon(operation)?;
            }
        }
        let unit = args.str("name");
        run.set("name", unit.into());
        run.set("status", Json::Object(Map::new()));
        if let Some(unit) = unit {
            let seen = run.look(unit)?;
            run.set("status", Json::Object(seen.status.clone()));
            run.mask(unit, &seen, args.opt_bool("masked"))?;
            run.enable(unit, &seen, args)?;
            run.change_state(unit, &seen, args.str("state"))?;
        }
        Ok(run.outcome)
    }
}

/// What there is of a unit.
struct Seen {
    /// What `systemctl show` said.
    status: Map<String, Json>,
    is_systemd: bool,
    is_initd: bool,
}

/// One task under way.
struct Run<'r, 'c> {
    systemctl: Vec<String>,
    scope: String,
    outcome: Outcome,
    context: &'r mut Context<'c>,
}

impl<'r, 'c> Run<'r, 'c> {
    fn new(args: &Args, context: &'r mut Context<'c>) -> Result<Self, Failure> {
        if let Some(unit) = args.str("name")
            && let Some(pattern) = ["*", "?", "["].iter().find(|p| unit.contains(**p))
        {
            return Err(Failure::new(format!(
                "This module does not currently support using glob patterns, found '{pattern}' \
                 in service name: {unit}"
            )));
        }
        let scope = args.str("scope").unwrap_or("system").to_owned();
        let mut systemctl = vec![required_bin("systemctl", context)?];
        if scope != "system" {
            systemctl.push(format!("--{scope}"));
        }
        for (flag, name) in [("--no-block", "no_block"), ("--force", "force")] {
            if args.bool(name) {
                systemctl.push(flag.to_owned());
            }
        }
        Ok(Self {
            systemctl,
            scope,
            outcome: Outcome::default(),
            context,
        })
    }

    fn set(&mut self, name: &str, value: Json) {
        self.outcome.result.insert(name.to_owned(), value);
    }

    fn systemctl(&mut self, arguments: &[&str]) -> Result<Ran, Failure> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let mut command = Command::new(self.systemctl.iter().cloned().chain(arguments));
        if variable("XDG_RUNTIME_DIR", &self.context.environment).is_none() {
            let dir = format!("/run/user/{}", nix::unistd::geteuid());
            command = command.env("XDG_RUNTIME_DIR", dir);
        }
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn daemon(&mut self, operation: &str) -> Result<(), Failure> {
        let ran = self.systemctl(&[operation])?;
        if ran.rc == 0 {
            return Ok(());
        }
        if !is_offline(self.context) {
            return Err(Failure::new(format!(
                "failure {} during {operation}: {}",
                ran.rc, ran.stderr
            )));
        }
        self.outcome.warnings.push(format!(
            "{operation} failed, but target is a chroot or systemd is offline. Continuing. \
             Error was: {} / {}",
            ran.rc, ran.stderr
        ));
        Ok(())
    }

    fn look(&mut self, unit: &str) -> Result<Seen, Failure> {
        let ran = self.systemctl(&["show", unit])?;
        let mut seen = Seen {
            status: Map::new(),
            is_systemd: false,
            is_initd: std::path::Path::new("/etc/init.d").join(unit).exists(),
        };
        if ran.rc == 0 && !was_ignored(&ran.stdout) && !was_ignored(&ran.stderr) {
            seen.status = parse_show(&ran.stdout);
            let load = seen.status.get("LoadState").and_then(Json::as_str);
            seen.is_systemd = load.is_some_and(|state| state != "not-found");
            let error = seen.status.get("LoadError").and_then(Json::as_str);
            if let (true, Some(error)) = (seen.is_systemd && load != Some("masked"), error) {
                let msg = format!("Error loading unit file '{unit}': {error}");
                return Err(Failure::new(msg));
            }
        } else if ran.rc == 1 && ran.stderr.contains("Failed to parse bus message") {
            seen.status = parse_show(&ran.stdout);
            seen.is_systemd = self.is_listed(unit)?;
            let active = self.systemctl(&["is-active", unit])?.stdout;
            let active = active.trim_end_matches('\n');
            seen.status.insert("ActiveState".to_owned(), active.into());
        } else {
            seen.is_systemd = self.is_known_offline(unit)?;
        }
        if seen.is_initd && !seen.is_systemd {
            self.outcome.warnings.push(format!(
                "The service ({unit}) is actually an init script but the system is managed by \
                 systemd"
            ));
        }
        Ok(seen)
    }

    /// Asks by name, as some releases of systemd cannot show a unit.
    fn is_listed(&mut self, unit: &str) -> Result<bool, Failure> {
        let search = match unit.split_once('@') {
            Some((base, _)) => format!("{base}@"),
            None => unit.to_owned(),
        };
        let listed = self.systemctl(&["list-unit-files", &format!("{search}*")])?;
        Ok(listed.stdout.contains(&search))
    }

    /// Asks what works without a running systemd.
    fn is_known_offline(&mut self, unit: &str) -> Result<bool, Failure> {
        const STATES: &[&str] = &[
            "enabled",
            "enabled-runtime",
            "linked",
            "linked-runtime",
            "masked",
            "masked-runtime",
            "static",
            "indirect",
            "disabled",
            "generated",
            "transient",
        ];
        let ran = self.systemctl(&["is-enabled", unit])?;
        if STATES.contains(&ran.stdout.trim()) {
            return Ok(true);
        }
        if self.systemctl(&["list-unit-files", unit])?.rc == 0 {
            return Ok(true);
        }
        let ran = self.systemctl(&[])?;
        if ran.rc == 0 {
            return Ok(false);
        }
        let failure = Failure {
            msg: ran.stderr.trim_end().to_owned(),
            result: ran.fields(),
        };
        Err(failure.with("cmd", self.systemctl.join(" ")))
    }

    fn mask(&mut self, unit: &str, seen: &Seen, wanted: Option<bool>) -> Result<(), Failure> {
        let Some(wanted) = wanted else {
            return Ok(());
        };
        let masked = self.systemctl(&["is-enabled", unit])?.stdout.trim() == "masked";
        if masked == wanted {
            return Ok(());
        }
        self.outcome.changed = true;
        if self.context.check {
            return Ok(());
        }
        let action = if wanted { "mask" } else { "unmask" };
        let ran = self.systemctl(&[action, unit])?;
        if ran.rc == 0 {
            return Ok(());
        }
        fail_if_missing(unit, seen)?;
        let stderr = ran.stderr.trim();
        Err(Failure::new(format!(
            "Failed to {action} the service ({unit}): {stderr}"
        )))
    }

    fn enable(&mut self, unit: &str, seen: &Seen, args: &Args) -> Result<(), Failure> {
        let Some(wanted) = args.opt_bool("enabled") else {
            return Ok(());
        };
        fail_if_missing(unit, seen)?;
        let ran = self.systemctl(&["is-enabled", unit, "-l"])?;
        let enabled = is_enabled(&ran)
            || (ran.rc == 1
                && self.scope == "system"
                && seen.is_initd
                && !ran.stdout.trim().ends_with("disabled")
                && sysvinit::is_enabled(unit, None));
        self.set("enabled", wanted.into());
        if enabled == wanted {
            return Ok(());
        }
        self.outcome.changed = true;
        if self.context.check {
            return Ok(());
        }
        let action = if wanted { "enable" } else { "disable" };
        let ran = self.systemctl(&[action, unit])?;
        if ran.rc == 0 {
            return Ok(());
        }
        let said = ran.stdout + &ran.stderr;
        Err(Failure::new(format!(
            "Unable to {action} service {unit}: {said}"
        )))
    }

    fn change_state(
        &mut self,
        unit: &str,
        seen: &Seen,
        wanted: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(wanted) = wanted else {
            return Ok(());
        };
        fail_if_missing(unit, seen)?;
        let Some(active) = seen.status.get("ActiveState").and_then(Json::as_str) else {
            self.set("state", wanted.into());
            return self.without_state(seen);
        };
        let reached = if wanted == "stopped" {
            "stopped"
        } else {
            "started"
        };
        self.set("state", reached.into());
        let Some(verb) = verb(wanted, active) else {
            return Ok(());
        };
        self.outcome.changed = true;
        if self.context.check {
            return Ok(());
        }
        let ran = self.systemctl(&[verb, unit])?;
        if ran.rc == 0 {
            return Ok(());
        }
        let stderr = ran.stderr;
        Err(Failure::new(format!(
            "Unable to {verb} service {unit}: {stderr}"
        )))
    }

    fn without_state(&mut self, seen: &Seen) -> Result<(), Failure> {
        if is_offline(self.context) {
            let warning = "Target is a chroot or systemd is offline. This can lead to false \
                           positives or prevent the init system tools from working.";
            self.outcome.warnings.push(warning.to_owned());
            return Ok(());
        }
        let status = Json::Object(seen.status.clone());
        Err(Failure::new("Service is in unknown state").with("status", status))
    }
}

/// Returns what to tell systemctl so that `active` becomes `wanted`.
fn verb(wanted: &str, active: &str) -> Option<&'static str> {
    let running = matches!(active, "active" | "activating");
    match (wanted, running) {
        ("started", true) => None,
        ("stopped", false) if active != "deactivating" => None,
        ("stopped", _) => Some("stop"),
        ("restarted", true) => Some("restart"),
        ("reloaded", true) => Some("reload"),
        _ => Some("start"),
    }
}

/// Reads `is-enabled`; for what is half enabled systemd is asked to enable it.
fn is_enabled(ran: &Ran) -> bool {
    let half = ["enabled-runtime", "indirect", "alias"];
    ran.rc == 0 && !half.contains(&ran.stdout.trim_end())
}

fn fail_if_missing(unit: &str, seen: &Seen) -> Result<(), Failure> {
    if seen.is_systemd || seen.is_initd {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Could not find the requested service {unit}: host"
    )))
}

fn was_ignored(said: &str) -> bool {
    !said.contains('=') && (said.contains("ignoring request") || said.contains("ignoring command"))
}

/// Reads `systemctl show`: values of `Exec…` in braces may span lines.
fn parse_show(text: &str) -> Map<String, Json> {
    let mut parsed = Map::new();
    let mut open: Option<(String, Vec<&str>)> = None;
    for line in text.lines() {
        if let Some((_, lines)) = &mut open {
            lines.push(line);
            if line.trim_end().ends_with('}')
                && let Some((name, lines)) = open.take()
            {
                parsed.insert(name, lines.join("\n").trim().into());
            }
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let braced = name.starts_with("Exec") && value.trim_start().starts_with('{');
        if braced && !value.trim_end().ends_with('}') {
            open = Some((name.to_owned(), vec![value]));
        } else {
            parsed.insert(name.to_owned(), value.trim().into());
        }
    }
    parsed
}

/// Returns whether no systemd of this root can answer.
fn is_offline(context: &Context<'_>) -> bool {
    if variable("SYSTEMD_OFFLINE", &context.environment).as_deref() == Some("1") {
        return true;
    }
    if variable("debian_chroot", &context.environment).is_some_and(|name| !name.is_empty()) {
        return true;
    }
    let same =
        |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (std::fs::metadata("/"), std::fs::metadata("/proc/1/root/.")) {
        (Ok(own), Ok(first)) => !same(own, first),
        (Ok(own), Err(_)) => own.ino() != 2,
        (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_needs_its_verb() {
        for (wanted, active, expected) in [
            ("started", "active", None),
            ("started", "activating", None),
            ("started", "failed", Some("start")),
            ("stopped", "inactive", None),
            ("stopped", "deactivating", Some("stop")),
            ("stopped", "active", Some("stop")),
            ("restarted", "active", Some("restart")),
            ("restarted", "inactive", Some("start")),
            ("reloaded", "active", Some("reload")),
            ("reloaded", "failed", Some("start")),
        ] {
            assert_eq!(verb(wanted, active), expected, "{wanted} from {active}");
        }
    }

    #[test]
    fn what_is_shown_is_read_also_over_several_lines() {
        let text = "Id=a.service\nExecStart={ path=/bin/a ; argv[]=a\nb }\nDescription={ x\n";
        let shown = parse_show(text);
        assert_eq!(shown["ExecStart"], "{ path=/bin/a ; argv[]=a\nb }");
        assert_eq!(shown["Description"], "{ x");
    }

    #[test]
    fn half_enabled_is_not_enabled() {
        let ran = |rc, stdout: &str| Ran {
            rc,
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        assert!(is_enabled(&ran(0, "enabled\n")));
        assert!(is_enabled(&ran(0, "static\n")));
        assert!(!is_enabled(&ran(0, "alias\n")));
        assert!(!is_enabled(&ran(1, "disabled\n")));
    }
}
