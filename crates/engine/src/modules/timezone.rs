//! `community.general.timezone`: the time zone and what the hardware clock keeps, by `timedatectl`
//! where systemd answers, else by Debian's files.

use std::path::{Path, PathBuf};

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json, json};

use super::text_file;
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, bin_path, required_bin};

pub(super) struct Timezone;

const ZONES: &str = "/usr/share/zoneinfo";
const LOCALTIME: &str = "/etc/localtime";

impl ActionModule for Timezone {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let planned: Vec<(&str, &str)> = ["hwclock", "name"]
            .into_iter()
            .filter_map(|key| Some((key, args.str(key)?)))
            .collect();
        let check = context.check;
        let mut clock = Clock::find(context)?;
        if let Some(zone) = args.str("name") {
            clock.zone_file(zone)?;
        }
        let before = clock.all(&planned, true)?;
        let mut after: Map<String, Json> = planned
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        if !check {
            for (key, value) in &planned {
                if before[*key] != *value {
                    clock.set(key, value)?;
                }
            }
            let reached = clock.all(&planned, false)?;
            if reached != after {
                return Err(clock.abort(&format!(
                    "still not desired state, though changes have made - planned: {}, after: {}",
                    Json::Object(after),
                    Json::Object(reached)
                )));
            }
            after = reached;
        }
        let mut fields = json!({"diff": {"before": before, "after": after}});
        if !clock.done.is_empty() {
            fields["msg"] = json!(clock.done.join("\n"));
        }
        Ok(Outcome::of(before != after, fields))
    }
}

/// How the clock is read and set.
struct Clock<'r, 'c> {
    /// `timedatectl`, if it works.
    timedatectl: Option<String>,
    /// What was done, in Ansible's words.
    done: Vec<String>,
    context: &'r mut Context<'c>,
}

impl<'r, 'c> Clock<'r, 'c> {
    fn find(context: &'r mut Context<'c>) -> Result<Self, Failure> {
        let mut timedatectl =
            bin_path("timedatectl", context).map(|path| path.to_string_lossy().into_owned());
        if let Some(program) = &timedatectl {
            let command = Command::new([program.as_str()]);
            if command.run(context).map_err(|e| e.failure(&command))?.rc != 0 {
                timedatectl = None;
            }
        }
        Ok(Self {
            timedatectl,
            done: Vec::new(),
            context,
        })
    }

    fn abort(&self, msg: &str) -> Failure {
        let mut lines = vec!["Error message:", msg];
        if !self.done.is_empty() {
            lines.push("Other message(s):");
            lines.extend(self.done.iter().map(String::as_str));
        }
        Failure::new(lines.join("\n"))
    }

    fn execute(&mut self, argv: &[&str], tell: bool) -> Result<String, Failure> {
        let ran = Command::new(argv.iter().copied()).checked(self.context)?;
        if tell {
            self.done.push(format!("executed `{}`", argv.join(" ")));
        }
        Ok(ran.stdout)
    }

    fn zone_file(&self, zone: &str) -> Result<PathBuf, Failure> {
        let file = PathBuf::from(format!("{ZONES}/{zone}"));
        match file.is_file() {
            true => Ok(file),
            false => Err(self.abort(&format!("given timezone \"{zone}\" is not available"))),
        }
    }

    fn all(&mut self, planned: &[(&str, &str)], first: bool) -> Result<Map<String, Json>, Failure> {
        let mut found = Map::new();
        for (key, value) in planned {
            let now = match self.timedatectl.clone() {
                Some(program) => self.told(&program, key)?,
                None => self.configured(key, value, first)?,
            };
            found.insert((*key).to_owned(), json!(now));
        }
        Ok(found)
    }

    /// Asks systemd.
    fn told(&mut self, program: &str, key: &str) -> Result<String, Failure> {
        let status = self.execute(&[program, "status"], false)?;
        let pattern = match key {
            "hwclock" => r"(?m)^\s*RTC in local TZ\s*:\s*([^\s]+)",
            _ => r"(?m)^\s*Time ?zone\s*:\s*([^\s]+)",
        };
        let value = first_group(pattern, &status)
            .ok_or_else(|| self.abort(&format!("`{program} status` says nothing of the {key}")))?;
        Ok(match (key, value.as_str()) {
            ("hwclock", "yes") => "local".to_owned(),
            ("hwclock", _) => "UTC".to_owned(),
            _ => value,
        })
    }

    /// Reads Debian's files, and what `/etc/localtime` really is.
    fn configured(&self, key: &str, planned: &str, first: bool) -> Result<String, Failure> {
        let value = self.in_file(key, first)?;
        if value != planned {
            return Ok(value);
        }
        match key {
            "hwclock" => self.in_file("adjtime", first),
            _ => Ok(real_zone(planned)),
        }
    }

    fn in_file(&self, key: &str, first: bool) -> Result<String, Failure> {
        let (path, pattern) = file_of(key);
        let none = if key == "adjtime" { "UTC" } else { "n/a" };
        let text = text_file::read(Path::new(path)).map_err(|_| {
            self.abort(&format!(
                "tried to configure {key} using a file \"{path}\", but could not read it"
            ))
        })?;
        let Some(text) = text else {
            return Ok(none.to_owned());
        };
        match (first_group(pattern, &text), key) {
            (Some(value), "name") => Ok(value),
            (Some(value), "hwclock") if is_true(&value) => Ok("UTC".to_owned()),
            (Some(_), "hwclock") => Ok("local".to_owned()),
            (Some(value), _) if value == "UTC" => Ok(value),
            (Some(value), _) => Ok(value.to_lowercase()),
            (None, "name") if !first => Err(self.abort(&format!(
                "tried to configure {key} using a file \"{path}\", but could not find a valid value in it"
            ))),
            (None, _) => Ok(none.to_owned()),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match (self.timedatectl.clone(), key) {
            (Some(program), "hwclock") => {
                let local = if value == "local" { "yes" } else { "no" };
                self.execute(&[&program, "set-local-rtc", local], true)?;
            }
            (Some(program), _) => {
                self.execute(&[&program, "set-timezone", value], true)?;
            }
            (None, "hwclock") => {
                let (option, utc) = match value {
                    "local" => ("--localtime", "no"),
                    _ => ("--utc", "yes"),
                };
                let hwclock = required_bin("hwclock", self.context)?;
                self.edit("hwclock", &format!("UTC={utc}\n"))?;
                self.execute(&[&hwclock, "--systohc", option], true)?;
            }
            (None, _) => {
                self.edit("name", &format!("{value}\n"))?;
                let file = self.zone_file(value)?;
                let file = file.to_string_lossy();
                let link = required_bin("ln", self.context)?;
                self.execute(&[&link, "-sf", &file, LOCALTIME], false)?;
                let configure = required_bin("dpkg-reconfigure", self.context)?;
                let argv = [configure.as_str(), "--frontend", "noninteractive", "tzdata"];
                self.execute(&argv, false)?;
            }
        }
        Ok(())
    }

    /// Puts `line` in the place of the first line that has the value, and removes others.
    fn edit(&mut self, key: &str, line: &str) -> Result<(), Failure> {
        let (path, pattern) = file_of(key);
        let failed = |verb: &str| {
            format!("tried to configure {key} using a file \"{path}\", but could not {verb} it")
        };
        let text = text_file::read(Path::new(path)).map_err(|_| self.abort(&failed("read")))?;
        let (text, removed) = with_line(&text.unwrap_or_default(), pattern, line);
        text_file::write(Path::new(path), &text, self.context)
            .map_err(|_| self.abort(&failed("write to")))?;
        let done = format!("Added 1 line and deleted {removed} line(s) on {path}");
        self.done.push(done);
        Ok(())
    }
}

/// Returns where a value is kept, and how it is found there.
fn file_of(key: &str) -> (&'static str, &'static str) {
    match key {
        "hwclock" => ("/etc/default/rcS", r"(?m)^UTC\s*=\s*([^\s]+)"),
        "adjtime" => ("/etc/adjtime", r"(?m)^(UTC|LOCAL)$"),
        _ => ("/etc/timezone", r"(?m)^([^\s]+)"),
    }
}

fn first_group(pattern: &str, text: &str) -> Option<String> {
    let regex = Regex::new(pattern, Flags::default()).ok()?;
    let groups = regex.search(text.as_bytes(), 0).ok()??;
    text.get(groups.get(1)?).map(str::to_owned)
}

fn with_line(text: &str, pattern: &str, line: &str) -> (String, usize) {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let matches = |line: &&str| first_group(pattern, line).is_some();
    let at = lines.iter().position(matches).unwrap_or(0);
    let mut kept: Vec<&str> = lines
        .iter()
        .filter(|line| !matches(line))
        .copied()
        .collect();
    let removed = lines.len() - kept.len();
    kept.insert(at.min(kept.len()), line);
    (kept.concat(), removed)
}

fn is_true(value: &str) -> bool {
    matches!(
        value.to_lowercase().as_str(),
        "y" | "yes" | "on" | "1" | "true" | "t"
    )
}

/// Returns which zone `/etc/localtime` is, where the file of its name says it is `planned`.
fn real_zone(planned: &str) -> String {
    let local = Path::new(LOCALTIME);
    let none = "n/a".to_owned();
    if let Ok(target) = local.read_link() {
        let target = target.to_string_lossy().into_owned();
        let zone = ["/usr/share/zoneinfo/", "/etc/zoneinfo/"]
            .iter()
            .find_map(|folder| target.split_once(folder));
        return match zone {
            Some((_, zone)) if local.exists() => zone.to_owned(),
            _ => none,
        };
    }
    let same = std::fs::read(local)
        .and_then(|now| Ok(now == std::fs::read(format!("{ZONES}/{planned}"))?));
    match same {
        Ok(true) => planned.to_owned(),
        _ => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn the_first_line_with_a_value_is_replaced_and_others_go() {
        let (_, pattern) = file_of("hwclock");
        let text = "# x\nUTC=no\nFOO=1\nUTC = yes\n";
        let (edited, removed) = with_line(text, pattern, "UTC=yes\n");
        assert_eq!((&*edited, removed), ("# x\nUTC=yes\nFOO=1\n", 2));
        assert_eq!(with_line("a\n", pattern, "UTC=no\n").0, "UTC=no\na\n");
    }

    #[test]
    fn a_zone_that_is_not_there_is_named() {
        let failure = run("timezone", json!({"name": "Mars/Olympus"})).unwrap_err();
        let msg = "Error message:\ngiven timezone \"Mars/Olympus\" is not available";
        assert_eq!(failure.msg, msg);
    }
}
