//! `package_facts`: what is installed, as a fact.
//!
//! dpkg's own file says what there is; `apt-cache` adds where each version comes from. Other
//! package managers are known by name only.

mod origins;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::apt::dpkg;
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, bin_path, required_bin, together};

pub(super) struct PackageFacts;

/// Managers in the order in which Ansible tries them, and the program of each.
const MANAGERS: &[(&str, &str)] = &[
    ("apk", "apk"),
    ("apt", "apt-get"),
    ("pacman", "pacman"),
    ("pkg", "pkg"),
    ("pkg_info", "pkg_info"),
    ("portage", "qlist"),
    ("rpm", "rpm"),
];
/// Other names of some of them.
const ALIASES: &[(&str, &str)] = &[
    ("dnf", "rpm"),
    ("dnf5", "rpm"),
    ("yum", "rpm"),
    ("zypper", "rpm"),
    ("pkg5", "pkg"),
    ("pkgng", "pkg"),
    ("openbsd_pkg", "pkg_info"),
];

impl ActionModule for PackageFacts {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let asked: Vec<String> = args
            .list("manager")
            .into_iter()
            .map(str::to_owned)
            .collect();
        let managers = managers(&asked)?;
        let first_only = args.str("strategy") != Some("all");
        let mut warnings = Vec::new();
        let mut packages = BTreeMap::new();
        let mut seen: Vec<&str> = Vec::new();
        for name in &managers {
            if first_only && !packages.is_empty() {
                break;
            }
            let alias = ALIASES.iter().find(|(alias, _)| alias == name);
            let manager = alias.map_or(name.as_str(), |(_, manager)| manager);
            if seen.contains(&manager) {
                continue;
            }
            seen.push(manager);
            let missing = missing(manager, context);
            match missing {
                None => {
                    packages = by_apt(context)?;
                    if packages.is_empty() {
                        warnings.push("Found \"apt\" but no associated packages".to_owned());
                    }
                }
                Some(why) if asked.iter().any(|asked| asked == manager) => warnings.push(format!(
                    "Requested package manager {manager} was not usable by this module: {why}"
                )),
                Some(_) => {}
            }
        }
        if packages.is_empty() {
            return Err(nothing(&managers, &warnings));
        }
        Ok(Outcome {
            warnings,
            ..Outcome::of(false, json!({"ansible_facts": {"packages": packages}}))
        })
    }
}

fn nothing(managers: &[String], warnings: &[String]) -> Failure {
    let quoted: Vec<String> = managers.iter().map(|name| format!("'{name}'")).collect();
    let failure = Failure::new(format!(
        "Could not detect a supported package manager from the following list: [{}], or the \
         required Python library is not installed. Check warnings for details.",
        quoted.join(", ")
    ));
    match warnings.is_empty() {
        true => failure,
        false => failure.with("warnings", json!(warnings)),
    }
}

/// Returns the names to be tried: `auto` is all of them, after those that were named.
fn managers(asked: &[String]) -> Result<Vec<String>, Failure> {
    let known = MANAGERS.iter().chain(ALIASES).map(|(name, _)| *name);
    let mut managers: Vec<String> = asked.iter().map(|name| name.to_lowercase()).collect();
    if let Some(at) = managers.iter().position(|name| name == "auto") {
        managers.extend(known.clone().map(str::to_owned));
        managers.remove(at);
    }
    let is_known = |name: &String| known.clone().any(|known| known == name);
    let unknown: Vec<String> = managers.iter().filter(|n| !is_known(n)).cloned().collect();
    if unknown.is_empty() {
        return Ok(managers);
    }
    let msg = match asked.iter().any(|name| name == "auto") {
        true => {
            "Could not auto detect a usable package manager, check warnings for details.".to_owned()
        }
        false => format!(
            "Unsupported package managers requested: {}",
            unknown.join(", ")
        ),
    };
    Err(Failure::new(msg))
}

/// Returns why a manager cannot be asked.
fn missing(manager: &str, context: &Context<'_>) -> Option<String> {
    // dpkg's file is read whatever `PATH` the task has.
    if manager == "apt" && Path::new(dpkg::STATUS).exists() {
        return None;
    }
    let program = MANAGERS.iter().find(|(name, _)| *name == manager)?.1;
    Some(match required_bin(program, context) {
        Err(failure) => failure.msg,
        Ok(_) => "only apt's packages are read here".to_owned(),
    })
}

fn by_apt(context: &mut Context<'_>) -> Result<BTreeMap<String, Json>, Failure> {
    let status = dpkg::status();
    let present = status.present();
    let names = present.keys().cloned().collect();
    let named = present.iter();
    let versions = named.map(|(name, package)| format!("{name}={}", package.version));
    let asked = [("policy", names), ("show", versions.collect())];
    let [policy, records] = apt_cache(asked, context)?;
    let files = first_files(&policy);
    let origins = match origins::read(files.values(), Path::new(origins::LISTS)) {
        Some(origins) => origins,
        None => {
            let [files] = apt_cache([("policy", Vec::new())], context)?;
            release_origins(&files)
        }
    };
    let origins = Origins { files, origins };
    let sections = sections(&records);
    let entry = |(name, package): (String, &dpkg::Package)| {
        let key = (bare(&name).to_owned(), package.architecture.clone());
        let entry = json!([{
            "name": name, "version": package.version, "arch": package.architecture,
            "category": sections.get(&key).unwrap_or(&package.section),
            "origin": origins.of(&name).unwrap_or_default(), "source": "apt",
        }]);
        (name, entry)
    };
    Ok(present.into_iter().map(entry).collect())
}

fn bare(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// Runs `apt-cache`, which may not be there, with each of these at once; it fails for nothing but a
/// name that it does not know.
fn apt_cache<const N: usize>(
    asked: [(&str, Vec<String>); N],
    context: &Context<'_>,
) -> Result<[String; N], Failure> {
    let own = Path::new("/usr/bin/apt-cache");
    let program = bin_path("apt-cache", context);
    let program = program.or_else(|| own.exists().then(|| own.to_owned()));
    let mut said = [const { String::new() }; N];
    let Some(program) = program else {
        return Ok(said);
    };
    let program = program.to_string_lossy().into_owned();
    let commands = asked.map(|(what, names)| {
        let argv = [program.clone(), what.to_owned()].into_iter().chain(names);
        Command::new(argv).parsable()
    });
    let ran = together(&commands, context).into_iter().zip(&commands);
    for (said, (ran, command)) in said.iter_mut().zip(ran) {
        *said = ran.map_err(|e| e.failure(command))?.stdout;
    }
    Ok(said)
}

/// Where installed versions come from.
struct Origins {
    /// The first file that has a package's version, as `apt-cache policy` writes it.
    files: BTreeMap<String, String>,
    /// The `Origin` of a file's release.
    origins: BTreeMap<String, String>,
}

impl Origins {
    /// Returns the origin of a package's installed version, if a repository has it.
    fn of(&self, name: &str) -> Option<&str> {
        let file = self.files.get(name)?;
        self.origins.get(file).map(String::as_str)
    }
}

/// Reads the first line below `*** VERSION` of each package.
fn first_files(policy: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let (mut name, mut below) = ("", false);
    for line in policy.lines() {
        if !line.starts_with(' ') {
            name = line.trim_end().trim_end_matches(':');
        } else if below {
            files.insert(name.to_owned(), without_priority(line).to_owned());
        }
        below = line.starts_with(" *** ");
    }
    files
}

/// Reads the `o=` of each file's release line; what is on this machine only has none.
fn release_origins(policy: &str) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    let mut file = "";
    for line in policy.lines() {
        let Some(release) = line.trim_start().strip_prefix("release ") else {
            file = without_priority(line);
            continue;
        };
        let parts = release.split(',');
        let mut origin = parts.filter_map(|part| part.strip_prefix("o="));
        if !file.starts_with('/') {
            let origin = origin.next().unwrap_or_default();
            origins.insert(file.to_owned(), origin.to_owned());
        }
    }
    origins
}

fn without_priority(line: &str) -> &str {
    let line = line.trim();
    line.split_once(' ')
        .map_or(line, |(_, file)| file.trim_start())
}

/// Returns the sections in the archive, which may differ from the package's own.
fn sections(records: &str) -> BTreeMap<(String, String), String> {
    let sections = records.split("\n\n").filter_map(|record| {
        let field = |name: &str| {
            let mut found = record.lines().filter_map(|line| line.strip_prefix(name));
            found.next().map(|value| value.trim().to_owned())
        };
        let key = (field("Package:")?, field("Architecture:")?);
        Some((key, field("Section:")?))
    });
    sections.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn the_first_file_with_the_installed_version_counts() {
        let policy = "a:\n  Installed: 1\n  Candidate: 2\n  Version table:\n     2 500\n        \
            500 http://x y/main amd64 Packages\n *** 1 100\n        100 /var/lib/dpkg/status\n\
            libb:i386:\n  Installed: 3\n  Version table:\n *** 3 500\n        \
            500 http://x y/main i386 Packages\n        100 /var/lib/dpkg/status\n";
        let files = first_files(policy);
        assert_eq!(files["a"], "/var/lib/dpkg/status");
        assert_eq!(files["libb:i386"], "http://x y/main i386 Packages");
    }

    #[test]
    fn a_release_without_an_origin_has_an_empty_one() {
        let policy = "Package files:\n 100 /var/lib/dpkg/status\n     release a=now\n \
            500 http://x y/main amd64 Packages\n     release v=12,o=Debian,a=stable\n     \
            origin x\n 500 http://z ./ Packages\n     release c=\n";
        let origins = release_origins(policy);
        assert_eq!(origins.len(), 2);
        assert_eq!(origins["http://x y/main amd64 Packages"], "Debian");
        assert_eq!(origins["http://z ./ Packages"], "");
    }

    #[test]
    fn only_apt_is_read_and_others_are_named() {
        let failure = run("package_facts", json!({"manager": "brew"})).unwrap_err();
        assert_eq!(failure.msg, "Unsupported package managers requested: brew");
        let failure = run("package_facts", json!({"manager": "pkgng"})).unwrap_err();
        assert!(failure.msg.contains("['pkgng']"), "{}", failure.msg);
    }

    #[test]
    fn what_dpkg_knows_is_a_fact() {
        let outcome = run("package_facts", json!({})).unwrap();
        let dpkg = &outcome.result["ansible_facts"]["packages"]["dpkg"][0];
        assert_eq!(dpkg["source"], "apt");
        assert!(dpkg["version"].as_str().is_some_and(|v| !v.is_empty()));
    }
}
