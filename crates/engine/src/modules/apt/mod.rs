//! `apt`: Debian packages. Asks neither python-apt nor any program when there is nothing to do.
//!
//! Here: the order of things. What dpkg knows is in [`dpkg`], what apt offers in [`candidates`],
//! package files in [`debfile`], the run of apt-get and its reports in [`get`].

mod candidates;
mod debfile;
pub(super) mod dpkg;
mod get;
pub(super) mod update;
mod version;

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::Command;

use candidates::{Offer, Spec, Wanted};
use get::Get;

/// `apt`.
pub(super) struct Apt;
/// `package`: on this family of systems, `apt`.
pub(super) struct Package;

impl ActionModule for Apt {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let packages: Vec<&str> = args.list("package").into_iter().map(str::trim).collect();
        let upgrade = args.str("upgrade").filter(|mode| *mode != "no");
        let alone = packages.is_empty() && upgrade.is_none() && !args.has("deb");
        if args.bool("clean") {
            let outcome = get::clean(context)?;
            if alone {
                return Ok(outcome);
            }
        }
        let cache = update::refresh(args, context)?;
        if alone && (args.bool("update_cache") || args.int("cache_valid_time").unwrap_or(0) != 0) {
            return Ok(cache.report(Outcome {
                changed: cache.updated,
                ..Outcome::default()
            }));
        }
        if let Some(mode) = upgrade {
            return with_warnings(get::upgrade(mode, args, context), cache.warnings);
        }
        if let Some(debs) = args.str("deb") {
            return with_warnings(debfile::install(debs, args, context), cache.warnings);
        }
        let everything = packages.contains(&"*");
        let packages: Vec<&str> = packages.into_iter().filter(|name| *name != "*").collect();
        let state = args.str("state").unwrap_or("present");
        if everything && state == "latest" {
            if packages.is_empty() {
                return get::upgrade("yes", args, context);
            }
            let msg = "unable to install additional packages when upgrading all installed packages";
            return Err(Failure::new(msg));
        }
        if packages.is_empty() {
            for operation in ["autoclean", "autoremove"] {
                if args.bool(operation) {
                    return get::cleanup(operation, args, context);
                }
            }
        }
        if state == "absent" {
            return remove(&packages, args, context);
        }
        let outcome = install(&packages, state, args, context);
        match outcome {
            Ok(outcome) => Ok(cache.report(outcome)),
            // As in Ansible a name that is none says nothing of the cache.
            Err(failure) if is_about_names(&failure) => Err(failure),
            Err(failure) => Err(failure
                .with("cache_updated", cache.updated)
                .with("cache_update_time", cache.time)),
        }
    }
}

impl ActionModule for Package {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let wanted = args.str("use").unwrap_or("auto");
        if !matches!(
            wanted,
            "auto" | "apt" | "ansible.builtin.apt" | "ansible.legacy.apt"
        ) {
            return Err(Failure::new(format!(
                "Could not find a matching action for the \"{wanted}\" package manager."
            )));
        }
        let mut given: Map<String, Json> = args.all().clone();
        given.remove("use");
        let spec = amibake_playbook::argspec::find("ansible.builtin.apt")
            .ok_or_else(|| Failure::new("there is no module apt"))?;
        Apt.run(&Args::coerce(spec, given)?, context)
    }
}

/// Returns a command of apt's with the environment that keeps it from asking.
pub(super) fn apt_command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Command {
    Command::new(argv)
        .parsable()
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBIAN_PRIORITY", "critical")
        .env("NEEDRESTART_MODE", "a")
}

fn with_warnings(
    outcome: Result<Outcome, Failure>,
    warnings: Vec<String>,
) -> Result<Outcome, Failure> {
    let mut outcome = outcome?;
    outcome.warnings.extend(warnings);
    Ok(outcome)
}

fn install(
    packages: &[&str],
    state: &str,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    if state == "build-dep" {
        let names = packages.iter().map(|name| (*name).to_owned()).collect();
        return get::build_dep(names, args, context);
    }
    let specs = candidates::expand(packages, context)?;
    let chosen = choose(&specs, state == "latest", args, context)?;
    let mut outcome = Outcome::default();
    if !chosen.is_empty() {
        let mut get = Get::install(args, context.check);
        get.flag_if("--fix-broken", state == "fixed");
        outcome = get.packages(chosen).run(args, context)?;
    }
    if !context.check {
        keep(&specs, context)?;
    }
    Ok(outcome)
}

/// Returns what to tell apt-get to install; empty if all is there as wanted.
fn choose(
    specs: &[Spec],
    latest: bool,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Vec<String>, Failure> {
    let status = dpkg::status();
    let only_upgrade = args.bool("only_upgrade");
    let open: Vec<&Spec> = specs
        .iter()
        .filter(|s| !s.is_settled(&status, latest))
        .collect();
    let names: Vec<&str> = open.iter().map(|spec| spec.name.as_str()).collect();
    let offers = candidates::offers(&names, args.str("default_release"), context)?;
    let mut chosen = Vec::new();
    for spec in open {
        let offer = offers.get(&spec.name);
        let installed = status.installed(&spec.name);
        let real = installed.is_some() || offer.is_some_and(|o| !o.versions.is_empty());
        let choice = if real {
            choose_real(spec, offer, installed, latest, only_upgrade)?
        } else {
            choose_virtual(spec, only_upgrade, context)?
        };
        chosen.extend(choice);
    }
    Ok(chosen)
}

fn choose_real(
    spec: &Spec,
    offer: Option<&Offer>,
    installed: Option<&str>,
    latest: bool,
    only_upgrade: bool,
) -> Result<Option<String>, Failure> {
    if installed.is_none() && only_upgrade {
        return Ok(None);
    }
    let fits = installed.is_some_and(|version| spec.accepts(version));
    let best = offer.and_then(|offer| match (&spec.wanted, installed) {
        // Ansible holds only what is installed against a minimum.
        (Wanted::AtLeast(_), None) => offer.candidate.clone(),
        _ => spec.best(offer),
    });
    let best = best.filter(|best| installed != Some(best.as_str()));
    match best {
        Some(best) if !fits || latest => Ok(Some(format!("{}={best}", spec.name))),
        // Ansible's old behaviour: a pattern that also fits something newer is passed on.
        Some(_) => Ok(match &spec.wanted {
            Wanted::Equal(version) => Some(format!("{}={version}", spec.name)),
            Wanted::Any | Wanted::AtLeast(_) => None,
        }),
        None if fits => Ok(None),
        None => Err(no_candidate(spec)),
    }
}

fn is_about_names(failure: &Failure) -> bool {
    let about = [
        "No package matching ",
        "No package(s) matching ",
        "invalid package spec",
    ];
    about.iter().any(|about| failure.msg.starts_with(about))
}

fn no_candidate(spec: &Spec) -> Failure {
    let text = match &spec.wanted {
        Wanted::Any => spec.name.clone(),
        Wanted::Equal(version) => format!("{}={version}", spec.name),
        Wanted::AtLeast(version) => format!("{}>={version}", spec.name),
    };
    Failure::new(format!("no available installation candidate for {text}"))
}

/// A package that others provide is there if its only provider is; else apt-get chooses.
fn choose_virtual(
    spec: &Spec,
    only_upgrade: bool,
    context: &mut Context<'_>,
) -> Result<Option<String>, Failure> {
    let providers = candidates::providers(&spec.name, context)?;
    let status = dpkg::status();
    match &providers[..] {
        [] => {
            let msg = format!("No package matching '{}' is available", spec.name);
            Err(Failure::new(msg))
        }
        [only] if status.installed(only).is_some() => Ok(None),
        _ if only_upgrade => Ok(None),
        _ => Ok(Some(spec.name.clone())),
    }
}

/// Marks packages that only were dependencies so far as wanted for themselves.
fn keep(specs: &[Spec], context: &mut Context<'_>) -> Result<(), Failure> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let automatic = dpkg::automatic(&names);
    if automatic.is_empty() {
        return Ok(());
    }
    let command = apt_command(["apt-mark", "manual"].into_iter().chain(automatic));
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc == 0 {
        return Ok(());
    }
    let msg = format!("'{}' failed: {}", command.shown(), ran.stderr);
    Err(Failure {
        msg,
        result: ran.fields(),
    })
}

fn remove(packages: &[&str], args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let specs = candidates::expand(packages, context)?;
    let status = dpkg::status();
    let purge = args.bool("purge");
    let there = |spec: &&Spec| {
        let installed = status
            .installed(&spec.name)
            .is_some_and(|v| spec.accepts(v));
        installed || (purge && status.has_files(&spec.name))
    };
    let names: Vec<String> = specs.iter().filter(there).map(|s| s.name.clone()).collect();
    if names.is_empty() {
        return Ok(Outcome::default());
    }
    get::remove(names, args, context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::run;
    use serde_json::json;

    fn offer(candidate: &str) -> Offer {
        Offer {
            candidate: Some(candidate.to_owned()),
            versions: vec![candidate.to_owned()],
        }
    }

    fn choose(text: &str, candidate: &str, installed: Option<&str>, latest: bool) -> String {
        let spec = Spec::parse(text).unwrap();
        match choose_real(&spec, Some(&offer(candidate)), installed, latest, false) {
            Ok(choice) => choice.unwrap_or_default(),
            Err(failure) => failure.msg,
        }
    }

    #[test]
    fn what_is_installed_stays_unless_the_latest_is_wanted() {
        assert_eq!(choose("a", "2", Some("1"), false), "");
        assert_eq!(choose("a", "2", Some("1"), true), "a=2");
        assert_eq!(choose("a", "2", Some("2"), true), "");
        assert_eq!(choose("a", "2", None, false), "a=2");
    }

    #[test]
    fn versions_that_are_not_on_offer_fail() {
        let none = "no available installation candidate for a=3";
        assert_eq!(choose("a=3", "2", Some("1"), false), none);
        assert_eq!(choose("a>=2", "2", Some("1"), false), "a=2");
        assert_eq!(choose("a=1*", "1.2", Some("1.1"), false), "a=1*");
    }

    #[test]
    fn installed_packages_need_no_program() {
        let outcome = run("apt", json!({"name": ["dpkg", "apt"]})).unwrap();
        assert!(!outcome.changed);
        assert_eq!(outcome.result["cache_updated"], false);
    }

    #[test]
    fn a_package_that_is_not_there_is_absent() {
        let args = json!({"name": "no-such-package", "state": "absent", "purge": true});
        assert!(!run("package", args).unwrap().changed);
    }
}
