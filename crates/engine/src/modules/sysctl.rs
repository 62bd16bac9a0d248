//! `sysctl`: a kernel parameter, in a file for the next boot and in the running kernel.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::atomic::How;
use crate::change::{Change, Content};
use crate::module::{Context, Failure, StateModule};
use crate::place;

pub(super) struct Sysctl;

pub(super) struct Want {
    name: String,
    value: String,
    present: bool,
    reload: bool,
    set: bool,
    ignore_errors: bool,
    file: PathBuf,
}

/// The parameter as the kernel has it and the file as it is.
pub(super) struct Now {
    live: Option<String>,
    text: String,
    /// The file a link leads to.
    real: PathBuf,
}

impl StateModule for Sysctl {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, _: &mut Context<'_>) -> Result<Want, Failure> {
        let present = args.str("state") != Some("absent");
        let name = args.required("name")?.trim();
        if name.is_empty() {
            return Err(Failure::new("name cannot be blank"));
        }
        if present && !args.has("value") {
            return Err(Failure::new(
                "state is present but all of the following are missing: value",
            ));
        }
        if present && args.str("value") == Some("") {
            return Err(Failure::new("value cannot be blank"));
        }
        Ok(Want {
            name: name.to_owned(),
            value: value(args.str("value").unwrap_or_default()),
            present,
            reload: args.bool("reload"),
            set: args.bool("sysctl_set"),
            ignore_errors: args.bool("ignoreerrors"),
            file: PathBuf::from(args.required("sysctl_file")?),
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let text = match want.file.is_file() {
            true => std::fs::read(&want.file),
            false => Ok(Vec::new()),
        };
        let failed = |reason: String| {
            Failure::new(format!("Failed to open {}: {reason}", want.file.display()))
        };
        let text = text.map_err(|e| failed(e.to_string()))?;
        Ok(Now {
            live: live(&want.name),
            // What cannot be read could not be written back either.
            text: String::from_utf8(text).map_err(|e| failed(format!("it is not UTF-8: {e}")))?,
            real: place::real(&want.file).map_err(|e| failed(e.to_string()))?,
        })
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        let written = recorded(&now.text, &want.name);
        let rewrite = match (&written, want.present) {
            (None, present) => present,
            (Some(_), false) => true,
            (Some(old), true) => *old != want.value,
        };
        let stale = !same(now.live.as_deref(), &want.value);
        let mut changes = Vec::new();
        // What the kernel does not know is set too, and so fails, as in Ansible.
        if want.set && want.present && stale {
            changes.push(set(want));
        }
        if rewrite {
            changes.push(Change::Write {
                path: now.real.clone(),
                content: Content::text(render(want, &now.text).into_bytes()),
                how: How::default(),
            });
        }
        let reload = rewrite
            || (written.is_some() && want.reload && stale)
            || (want.set && want.present && stale);
        if want.reload && reload {
            changes.push(load(want));
        }
        Ok(changes)
    }

    fn result(&self, _: &Want, _: &Now, _: &Context<'_>) -> Map<String, Json> {
        Map::new()
    }

    /// Ansible's module shows nothing here; the author wants to see it all the same.
    fn diff(&self, want: &Want, now: &Now, plan: &[Change]) -> Json {
        if !plan.iter().any(|c| matches!(c, Change::Write { .. })) {
            return Json::Null;
        }
        let title = want.file.to_string_lossy();
        json!({
            "before_header": title, "before": now.text,
            "after_header": title, "after": render(want, &now.text),
        })
    }
}

fn set(want: &Want) -> Change {
    let mut argv: Vec<String> = want
        .ignore_errors
        .then(|| "-e".to_owned())
        .into_iter()
        .collect();
    argv.push("-w".to_owned());
    argv.push(format!("{}={}", want.name, want.value));
    Change::Sysctl {
        argv,
        failing: format!("setting {} failed", want.name),
    }
}

fn load(want: &Want) -> Change {
    let mut argv: Vec<String> = want
        .ignore_errors
        .then(|| "-e".to_owned())
        .into_iter()
        .collect();
    argv.push("-p".to_owned());
    argv.push(want.file.to_string_lossy().into_owned());
    Change::Sysctl {
        argv,
        failing: "Failed to reload sysctl".to_owned(),
    }
}

/// Truths are written as the kernel writes them.
fn value(given: &str) -> String {
    match given.to_lowercase().as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" => "1".to_owned(),
        "n" | "no" | "off" | "0" | "false" | "f" => "0".to_owned(),
        _ => given.trim().to_owned(),
    }
}

/// Reads the parameter where `sysctl -n` reads it: dots are slashes, and the other way round.
fn live(name: &str) -> Option<String> {
    let separator = name.find(['.', '/']).map(|at| &name[at..=at]);
    let below: String = match separator {
        Some("/") => name.to_owned(),
        _ => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
    };
    let path = Path::new("/proc/sys").join(below.trim_start_matches('/'));
    std::fs::read_to_string(path).ok()
}

/// Compares by words: the kernel separates some with tabs.
fn same(live: Option<&str>, value: &str) -> bool {
    live.is_some_and(|live| live.split_whitespace().eq(value.split_whitespace()))
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim(), value.trim()))
}

/// Returns the last value the file has for `name`.
fn recorded(text: &str, name: &str) -> Option<String> {
    let mut found = text
        .lines()
        .filter_map(assignment)
        .filter(|(known, _)| *known == name);
    found.next_back().map(|(_, value)| value.to_owned())
}

/// Writes the file anew: one line a parameter, comments kept, the first of several kept.
fn render(want: &Want, text: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::new();
    let mut push = |line: &str| {
        out.push_str(line);
        out.push('\n');
    };
    for line in text.lines() {
        let Some((name, value)) = assignment(line) else {
            push(line.trim());
            continue;
        };
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if name != want.name {
            push(&format!("{name}={value}"));
        } else if want.present {
            push(&format!("{name}={}", want.value));
        }
    }
    if want.present && !seen.contains(&want.name.as_str()) {
        push(&format!("{}={}", want.name, want.value));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(value: &str, present: bool) -> Want {
        Want {
            name: "kernel.kptr_restrict".to_owned(),
            value: value.to_owned(),
            present,
            reload: true,
            set: true,
            ignore_errors: false,
            file: PathBuf::from("/etc/sysctl.conf"),
        }
    }

    fn plan(want: &Want, live: &str, text: &str) -> Vec<Change> {
        let now = Now {
            live: Some(live.to_owned()),
            text: text.to_owned(),
            real: want.file.clone(),
        };
        Sysctl.plan(want, &now).unwrap()
    }

    #[test]
    fn a_file_that_is_not_utf_8_fails_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sysctl.conf");
        std::fs::write(&path, b"# caf\xe9\n").unwrap();
        let args =
            serde_json::json!({"name": "a.b", "value": "1", "sysctl_file": path, "reload": false});
        let failure = crate::modules::tests::run("ansible.posix.sysctl", args).unwrap_err();
        assert!(failure.msg.contains("not UTF-8"), "{}", failure.msg);
        assert_eq!(std::fs::read(&path).unwrap(), b"# caf\xe9\n");
    }

    #[test]
    fn a_parameter_that_is_written_and_live_needs_nothing() {
        assert!(plan(&want("2", true), "2\n", "kernel.kptr_restrict = 2\n").is_empty());
    }

    #[test]
    fn a_parameter_that_is_not_live_is_set_and_loaded() {
        let changes = plan(&want("2", true), "1\n", "kernel.kptr_restrict=2\n");
        assert!(matches!(
            changes[..],
            [Change::Sysctl { .. }, Change::Sysctl { .. }]
        ));
    }

    #[test]
    fn comments_stay_and_repeated_lines_go() {
        let text = "# x\nkernel.kptr_restrict=1\na = b\nkernel.kptr_restrict=0\n";
        let new = render(&want("2", true), text);
        assert_eq!(new, "# x\nkernel.kptr_restrict=2\na=b\n");
        assert_eq!(render(&want("", false), text), "# x\na=b\n");
    }

    #[test]
    fn names_lead_to_proc_either_way() {
        assert!(live("kernel.ostype").is_some_and(|v| v.trim() == "Linux"));
        assert!(live("kernel/ostype").is_some());
        assert_eq!(live("kernel.nothing_like_that"), None);
    }
}
