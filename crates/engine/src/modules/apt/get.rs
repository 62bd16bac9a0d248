//! Runs of apt-get (and aptitude, where upgrades use it): their arguments and their reports.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::module::{Context, Failure, Outcome};
use crate::run_command::{Ran, bin_path};

use super::apt_command;

const NOTHING_DONE: &str = "\n0 upgraded, 0 newly installed, 0 to remove";
const NOTHING_DONE_APTITUDE: &str = "\n0 packages upgraded, 0 newly installed, 0 to remove";
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// An apt-get that installs.
pub(super) struct Get {
    options: Vec<String>,
    packages: Vec<String>,
}

impl Get {
    pub(super) fn install(args: &Args, check: bool) -> Self {
        let mut get = Self {
            options: vec!["-y".to_owned()],
            packages: Vec::new(),
        };
        get.options.extend(dpkg_options(args));
        get.flag_if("--only-upgrade", args.bool("only_upgrade"));
        get.flag_if("--force-yes", args.bool("force"));
        get.flag_if("--auto-remove", args.bool("autoremove"));
        get.flag_if("--no-remove", args.bool("fail_on_autoremove"));
        get.flag_if("--simulate", check);
        get.flag_if(
            "--allow-unauthenticated",
            args.bool("allow_unauthenticated"),
        );
        get.flag_if("--allow-downgrades", args.bool("allow_downgrade"));
        get.flag_if(
            "--allow-change-held-packages",
            args.bool("allow_change_held_packages"),
        );
        if let Some(release) = args.str("default_release") {
            get.options.extend(["-t".to_owned(), release.to_owned()]);
        }
        if let Some(recommends) = args.opt_bool("install_recommends") {
            let answer = if recommends { "yes" } else { "no" };
            let option = format!("APT::Install-Recommends={answer}");
            get.options.extend(["-o".to_owned(), option]);
        }
        get
    }

    pub(super) fn flag_if(&mut self, flag: &str, wanted: bool) {
        if wanted {
            self.options.push(flag.to_owned());
        }
    }

    pub(super) fn packages(mut self, packages: Vec<String>) -> Self {
        self.packages = packages;
        self
    }

    pub(super) fn run(self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let ran = self.call("install", args, context)?;
        Ok(report(&ran, true, context.diff))
    }

    fn call(self, verb: &str, args: &Args, context: &mut Context<'_>) -> Result<Ran, Failure> {
        let mut argv = self.options;
        argv.push(verb.to_owned());
        argv.extend(self.packages);
        apt_get(argv, None, args, context)
    }
}

/// Fetches what building needs.
pub(super) fn build_dep(
    names: Vec<String>,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    if names.is_empty() {
        return Ok(Outcome::default());
    }
    let get = Get::install(args, context.check).packages(names);
    let ran = get.call("build-dep", args, context)?;
    Ok(report(
        &ran,
        !ran.stdout.contains(NOTHING_DONE),
        context.diff,
    ))
}

/// Removes or purges packages.
pub(super) fn remove(
    names: Vec<String>,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let mut get = Get {
        options: vec!["-q".to_owned(), "-y".to_owned()],
        packages: Vec::new(),
    };
    get.options.extend(dpkg_options(args));
    get.flag_if("--purge", args.bool("purge"));
    get.flag_if("--force-yes", args.bool("force"));
    get.flag_if("--auto-remove", args.bool("autoremove"));
    get.flag_if("--simulate", context.check);
    get.flag_if(
        "--allow-change-held-packages",
        args.bool("allow_change_held_packages"),
    );
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let named = format!("apt-get remove {}", quoted.join(" "));
    let mut argv = get.options;
    argv.push("remove".to_owned());
    argv.extend(names);
    let ran = apt_get(argv, Some(&named), args, context)?;
    Ok(report(&ran, true, context.diff))
}

/// `autoremove` and `autoclean`, for themselves.
pub(super) fn cleanup(
    operation: &str,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let mut argv = vec!["-y".to_owned()];
    argv.extend(dpkg_options(args));
    for (flag, wanted) in [
        ("--purge", args.bool("purge")),
        ("--force-yes", args.bool("force")),
        (operation, true),
        ("--simulate", context.check),
    ] {
        if wanted {
            argv.push(flag.to_owned());
        }
    }
    let ran = apt_get(argv, Some(&format!("apt-get {operation}")), args, context)?;
    let sign = match operation {
        "autoremove" => "The following packages will be REMOVED",
        _ => "Del ",
    };
    Ok(report(&ran, ran.stdout.contains(sign), context.diff))
}

/// Empties the archive of downloaded packages. Like Ansible, also in check mode.
pub(super) fn clean(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let command = apt_command(["apt-get", "clean"]);
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc != 0 || !ran.stderr.is_empty() {
        let msg = format!("apt-get clean failed: {}", ran.stderr);
        return Err(Failure {
            msg,
            result: ran.fields(),
        });
    }
    let mut outcome = report(&ran, true, context.diff);
    outcome.result.insert("msg".to_owned(), ran.stdout.into());
    Ok(outcome)
}

/// Upgrades everything: by aptitude where that is installed, unless `force_apt_get`.
pub(super) fn upgrade(
    mode: &str,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let aptitude = bin_path("aptitude", context).is_some() && !args.bool("force_apt_get");
    let by_aptitude = aptitude && mode != "dist";
    let (program, verb): (&str, &[&str]) = match (mode, by_aptitude) {
        ("dist" | "full", false) => ("apt-get", &["dist-upgrade"]),
        ("full", true) => ("aptitude", &["full-upgrade"]),
        (_, true) => ("aptitude", &["safe-upgrade"]),
        (_, false) => ("apt-get", &["upgrade", "--with-new-pkgs"]),
    };
    let mut argv = vec![program.to_owned(), "-y".to_owned()];
    argv.extend(dpkg_options(args));
    let force: &[&str] = if by_aptitude {
        &["--assume-yes", "--allow-untrusted"]
    } else {
        &["--force-yes"]
    };
    for (flags, wanted) in [
        (force, args.bool("force")),
        (
            &["--no-remove"][..],
            args.bool("fail_on_autoremove") && !by_aptitude,
        ),
        (
            &["--allow-unauthenticated"],
            args.bool("allow_unauthenticated"),
        ),
        (
            &["--allow-downgrades"],
            args.bool("allow_downgrade") && !by_aptitude,
        ),
        (&["--simulate"], context.check),
        (verb, true),
        (&["--auto-remove"], args.bool("autoremove") && !by_aptitude),
    ] {
        if wanted {
            argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
        }
    }
    if let Some(release) = args.str("default_release") {
        argv.extend(["-t".to_owned(), release.to_owned()]);
    }
    let named = format!("{program} {}", verb.join(" "));
    let ran = run_apt_get(argv, Some(&named), args, context)?;
    let sign = if by_aptitude {
        NOTHING_DONE_APTITUDE
    } else {
        NOTHING_DONE
    };
    let mut outcome = report(&ran, !ran.stdout.contains(sign), context.diff);
    outcome.result.insert("msg".to_owned(), ran.stdout.into());
    Ok(outcome)
}

/// Returns dpkg's options and the time to wait for its locks.
pub(super) fn dpkg_options(args: &Args) -> Vec<String> {
    let given = args.str("dpkg_options").unwrap_or_default();
    let timeout = args.int("lock_timeout").unwrap_or(60);
    let options = given
        .split(',')
        .filter(|option| !option.is_empty())
        .map(|option| format!("Dpkg::Options::=--{option}"))
        .chain([format!("DPkg::Lock::Timeout={timeout}")]);
    options
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
}

fn apt_get(
    argv: Vec<String>,
    named: Option<&str>,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Ran, Failure> {
    let argv = std::iter::once("apt-get".to_owned()).chain(argv).collect();
    run_apt_get(argv, named, args, context)
}

/// Runs it with the `policy-rc.d` that was asked for; fails with `'NAMED' failed: …`.
pub(super) fn run_apt_get(
    argv: Vec<String>,
    named: Option<&str>,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Ran, Failure> {
    let command = apt_command(argv).streamed();
    let policy = Policy::put(args.int("policy_rc_d"))?;
    let ran = command.run(context).map_err(|e| e.failure(&command));
    drop(policy);
    let ran = ran?;
    if ran.rc == 0 {
        return Ok(ran);
    }
    let named = named.map_or_else(|| command.shown(), str::to_owned);
    let msg = format!("'{named}' failed: {}", ran.stderr);
    Err(Failure {
        msg,
        result: ran.fields(),
    })
}

/// Returns the outcome with what apt-get wrote.
pub(super) fn report(ran: &Ran, changed: bool, diff: bool) -> Outcome {
    let mut outcome = Outcome {
        changed,
        ..Outcome::default()
    };
    let mut set = |name: &str, value: Json| outcome.result.insert(name.to_owned(), value);
    set("stdout", ran.stdout.as_str().into());
    set("stderr", ran.stderr.as_str().into());
    if diff {
        outcome.diff = json!({"prepared": prepared(&ran.stdout)});
    }
    outcome
}

/// Returns the part of apt-get's output that says what changes.
fn prepared(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let marker = |text: &str| lines.iter().position(|line| *line == text);
    let start =
        marker("Resolving dependencies...").or_else(|| marker("Reading state information..."));
    let start = start.map_or(0, |at| at + 1);
    let is_sum = |line: &&str| {
        let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
        digits.len() < line.len()
            && (digits.starts_with(" upgraded") || digits.starts_with(" packages upgraded"))
    };
    let end = lines
        .iter()
        .position(is_sum)
        .map_or(lines.len(), |at| at + 1);
    lines
        .get(start..end.max(start))
        .unwrap_or_default()
        .join("\n")
}

/// A `policy-rc.d` in the place of the system's, until this is dropped.
struct Policy {
    kept: Option<PathBuf>,
}

impl Policy {
    fn put(code: Option<i64>) -> Result<Option<Self>, Failure> {
        let Some(code) = code else {
            return Ok(None);
        };
        let kept = PathBuf::from(format!("{POLICY}.amibake"));
        let had = Path::new(POLICY).exists();
        if had && fs::rename(POLICY, &kept).is_err() {
            let msg = format!("Fail to move {POLICY} to {}", kept.display());
            return Err(Failure::new(msg));
        }
        let policy = Self {
            kept: had.then_some(kept),
        };
        let written = fs::write(POLICY, format!("#!/bin/sh\nexit {code}\n"))
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)));
        written.map_err(|_| Failure::new(format!("Failed to create or chmod {POLICY}")))?;
        Ok(Some(policy))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        // Nobody is left to tell; a file that could not be moved stays beside its place.
        let _ = match &self.kept {
            Some(kept) => fs::rename(kept, POLICY),
            None => fs::remove_file(POLICY),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diff_is_what_stands_between_state_and_sum() {
        let output = "Reading package lists...\nReading state information...\nThe following NEW \
            packages will be installed:\n  sl\n0 upgraded, 1 newly installed.\nInst sl\n";
        let expected =
            "The following NEW packages will be installed:\n  sl\n0 upgraded, 1 newly installed.";
        assert_eq!(prepared(output), expected);
        assert_eq!(prepared("just\nthis"), "just\nthis");
    }
}
