//! `service_facts`: services by their scripts and by systemd, as a fact.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path};

pub(super) struct ServiceFacts;

/// What a unit's line says of it that matters more than whether it is active.
const BAD_STATES: &[&str] = &["not-found", "masked", "failed"];

impl ActionModule for ServiceFacts {
    fn run(&self, _: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut scan = Scan {
            services: BTreeMap::new(),
            warnings: Vec::new(),
            context,
        };
        scan.scripts()?;
        scan.units()?;
        let mut outcome = match scan.services.is_empty() {
            false => {
                let facts = json!({"ansible_facts": {"services": scan.services}});
                Outcome::of(false, facts)
            }
            true => Outcome {
                skipped: true,
                ..Outcome::of(
                    false,
                    json!({"msg": "Failed to find any services. This can be due to privileges or some other configuration issue."}),
                )
            },
        };
        outcome.warnings = scan.warnings;
        Ok(outcome)
    }
}

struct Scan<'r, 'c> {
    services: BTreeMap<String, Json>,
    warnings: Vec<String>,
    context: &'r mut Context<'c>,
}

impl Scan<'_, '_> {
    fn program(&self, name: &str) -> Option<String> {
        bin_path(name, self.context).map(|path| path.to_string_lossy().into_owned())
    }

    fn run(&mut self, argv: &[&str]) -> Result<Ran, Failure> {
        let command = Command::new(argv.iter().copied()).parsable();
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    /// Asks `service`, where it is Debian's.
    fn scripts(&mut self) -> Result<(), Failure> {
        let others = ["chkconfig", "rc-status"];
        let service = self.program("service");
        let Some(service) = service.filter(|_| others.iter().all(|p| self.program(p).is_none()))
        else {
            return Ok(());
        };
        let ran = self.run(&[&service, "--status-all"])?;
        if ran.rc == 4 && !Path::new("/etc/init.d").exists() {
            return Ok(());
        }
        if ran.rc != 0 {
            self.warnings.push(format!(
                "Unable to query 'service' tool ({}): {}",
                ran.rc, ran.stderr
            ));
        }
        for (name, runs) in ran.stdout.lines().filter_map(script_line) {
            let state = if runs { "running" } else { "stopped" };
            let service = json!({"name": name, "state": state, "source": "sysv"});
            self.services.insert(name.to_owned(), service);
        }
        Ok(())
    }

    fn units(&mut self) -> Result<(), Failure> {
        let Some(systemctl) = self.program("systemctl").filter(|_| is_systemd_first()) else {
            return Ok(());
        };
        let mut units = self.loaded(&systemctl)?;
        self.add_files(&systemctl, &mut units)?;
        self.services.append(&mut units);
        Ok(())
    }

    /// Returns what systemd has loaded.
    fn loaded(&mut self, systemctl: &str) -> Result<BTreeMap<String, Json>, Failure> {
        let list = [
            "list-units",
            "--no-pager",
            "--type",
            "service",
            "--all",
            "--plain",
        ];
        let ran = self.run(&with(systemctl, &list))?;
        if ran.rc != 0 {
            let warning = format!("Could not list units from systemd: {}", ran.stderr);
            self.warnings.push(warning);
            return Ok(BTreeMap::new());
        }
        let units = ran.stdout.lines().filter_map(unit_line);
        Ok(units
            .map(|unit| (unit.name.to_owned(), unit.json()))
            .collect())
    }

    /// Adds what only has a file, and what the files say of the others.
    fn add_files(
        &mut self,
        systemctl: &str,
        units: &mut BTreeMap<String, Json>,
    ) -> Result<(), Failure> {
        let list = [
            "list-unit-files",
            "--no-pager",
            "--type",
            "service",
            "--all",
        ];
        let ran = self.run(&with(systemctl, &list))?;
        if ran.rc != 0 {
            let warning = format!("Could not get unit files data from systemd: {}", ran.stderr);
            self.warnings.push(warning);
            return Ok(());
        }
        let mut asleep = Vec::new();
        for line in ran.stdout.lines().filter(|line| line.contains(".service")) {
            let mut fields = line.split_whitespace();
            let (Some(name), Some(status)) = (fields.next(), fields.next()) else {
                return Err(Failure::new(format!(
                    "Malformed output discovered from systemd list-unit-files: {line}"
                )));
            };
            match units.get_mut(name) {
                None => asleep.push((name, status)),
                Some(unit) => {
                    let known = unit["status"].as_str().unwrap_or_default();
                    if !BAD_STATES.contains(&known) {
                        unit["status"] = json!(status);
                    }
                }
            }
        }
        let names: Vec<&str> = asleep.iter().map(|(name, _)| *name).collect();
        let states = self.states(systemctl, &names)?;
        for (name, status) in asleep {
            let state = states.get(name).map_or("unknown", String::as_str);
            let unit = json!({"name": name, "state": state, "status": status, "source": "systemd"});
            units.insert(name.to_owned(), unit);
        }
        Ok(())
    }

    /// Returns whether units that have a file only are active. A template's own name is none that
    /// systemd can show; the others are shown by one call.
    fn states(
        &mut self,
        systemctl: &str,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let is_unit = |name: &&&str| !name.contains("@.");
        let names: Vec<&str> = names.iter().filter(is_unit).copied().collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut argv = with(systemctl, &["show", "--property=ActiveState", "--"]);
        argv.extend(names.iter().copied());
        let ran = self.run(&argv)?;
        let shown = active_states(&ran.stdout);
        if ran.rc == 0 && shown.len() == names.len() {
            let named = names.iter().zip(shown);
            return Ok(named
                .map(|(n, s)| ((*n).to_owned(), s.to_owned()))
                .collect());
        }
        let mut states = BTreeMap::new();
        for name in names {
            let ran = self.run(&with(systemctl, &["show", name, "--property=ActiveState"]))?;
            if let (0, [state]) = (ran.rc, &active_states(&ran.stdout)[..]) {
                states.insert(name.to_owned(), (*state).to_owned());
            }
        }
        Ok(states)
    }
}

fn with<'a>(systemctl: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(systemctl)
        .chain(arguments.iter().copied())
        .collect()
}

/// Returns whether systemd is process 1.
fn is_systemd_first() -> bool {
    let booted = [
        "/run/systemd/system/",
        "/dev/.run/systemd/",
        "/dev/.systemd/",
    ];
    booted.iter().any(|path| Path::new(path).exists())
        || std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() == "systemd")
}

/// Reads ` [ + ]  cron`.
fn script_line(line: &str) -> Option<(&str, bool)> {
    let rest = line.trim_start().strip_prefix("[ ")?;
    let (mark, name) = rest.split_once(" ]")?;
    let runs = match mark {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let bare = name.trim_start();
    (bare.len() < name.len() && !bare.is_empty()).then_some((bare, runs))
}

/// A line of `list-units`.
struct Unit<'a> {
    name: &'a str,
    state: &'static str,
    status: &'a str,
}

impl Unit<'_> {
    fn json(&self) -> Json {
        json!({"name": self.name, "state": self.state, "status": self.status, "source": "systemd"})
    }
}

fn unit_line(line: &str) -> Option<Unit<'_>> {
    if !line.contains(".service") {
        return None;
    }
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, _, active, sub, ..] = fields[..] else {
        return None;
    };
    // As in Ansible all words but the description's last are looked at.
    let words = &fields[..fields.len() - 1];
    let bad = BAD_STATES.iter().find(|bad| words.contains(bad));
    Some(Unit {
        name,
        state: if sub == "running" {
            "running"
        } else {
            "stopped"
        },
        status: bad.copied().unwrap_or(active),
    })
}

fn active_states(shown: &str) -> Vec<&str> {
    let lines = shown.lines();
    lines
        .filter_map(|line| line.strip_prefix("ActiveState="))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_up_or_down_and_one_that_cannot_say_is_left_out() {
        assert_eq!(script_line(" [ + ]  cron"), Some(("cron", true)));
        assert_eq!(
            script_line(" [ - ]  x11 common"),
            Some(("x11 common", false))
        );
        assert_eq!(script_line(" [ ? ]  hwclock.sh"), None);
    }

    #[test]
    fn a_unit_that_is_bad_is_told_so_whatever_its_activity() {
        let unit = unit_line("cron.service loaded active running Regular programs").unwrap();
        assert_eq!((unit.state, unit.status), ("running", "active"));
        let unit = unit_line("a.service not-found inactive dead a.service").unwrap();
        assert_eq!((unit.state, unit.status), ("stopped", "not-found"));
        let unit = unit_line("b.service loaded failed failed It failed").unwrap();
        assert_eq!((unit.state, unit.status), ("stopped", "failed"));
        assert!(unit_line("12 loaded units listed.").is_none());
    }
}
