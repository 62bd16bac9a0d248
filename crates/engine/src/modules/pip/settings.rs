//! What of pip's settings leaves it doing nothing where nothing is to be done.
//!
//! A setting that is not known here (`upgrade`, `target`, `constraint`, …) means that pip is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep440_rs::Version;

use super::site::Site;
use crate::environment::variable;

/// Settings about how pip fetches and speaks, as its files spell them.
const HARMLESS: &[&str] = &[
    "cache-dir",
    "cert",
    "default-timeout",
    "disable-pip-version-check",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-cache-dir",
    "no-color",
    "no-input",
    "no-warn-script-location",
    "prefer-binary",
    "progress-bar",
    "quiet",
    "retries",
    "root-user-action",
    "timeout",
    "trusted-host",
];
/// The setting against PEP 668.
const BREAK: &str = "break-system-packages";
/// The first pip that knows [`BREAK`].
const BREAK_SINCE: &str = "23.0.1";
/// Variables that change where a Python looks.
const PATHS: &[&str] = &["PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE"];

/// Returns whether neither variables nor files make pip look or install elsewhere, or do more.
pub(super) fn are_plain(
    home: &Path,
    environment: Option<&Path>,
    variables: &[(String, String)],
) -> bool {
    let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let given = variables.iter().map(|(name, _)| name.clone());
    let foreign = own.chain(given).any(|name| {
        let option = name.strip_prefix("PIP_");
        let option = option.map(|option| option.to_lowercase().replace('_', "-"));
        PATHS.contains(&name.as_str())
            || option.is_some_and(|option| option != BREAK && !is_harmless(&option))
    });
    let config = variable("XDG_CONFIG_HOME", variables);
    let config = config.map_or_else(|| home.join(".config"), PathBuf::from);
    let mut files = vec![
        PathBuf::from("/etc/pip.conf"),
        PathBuf::from("/etc/xdg/pip/pip.conf"),
        config.join("pip/pip.conf"),
        home.join(".pip/pip.conf"),
    ];
    files.extend(environment.map(|environment| environment.join("pip.conf")));
    !foreign && files.iter().all(|file| is_plain(file))
}

/// Returns whether pip may be called for this `site` with these arguments, and does nothing more
/// because of them.
pub(super) fn allow(
    extra: &[String],
    break_system: bool,
    site: &Site,
    variables: &[(String, String)],
) -> bool {
    let option = |argument: &String| {
        let option = argument.strip_prefix("--")?;
        Some(option.split('=').next().unwrap_or(option).to_owned())
    };
    let options: Option<Vec<String>> = extra.iter().map(option).collect();
    let Some(options) = options else {
        return false;
    };
    let breaks = options.iter().any(|option| option == BREAK);
    let known = options
        .iter()
        .all(|option| option == BREAK || (is_flag(option) && is_harmless(option)));
    let told = variable("PIP_BREAK_SYSTEM_PACKAGES", variables);
    let told = told.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes" | "on"));
    known
        && (!breaks || knows_break(site))
        && (!site.is_managed() || breaks || break_system || told)
}

/// Returns whether an option takes no word after it, which would be read as a requirement here.
fn is_flag(option: &str) -> bool {
    option.starts_with("no-") || option.starts_with("disable-") || option == "quiet"
}

fn is_harmless(option: &str) -> bool {
    HARMLESS.contains(&option)
}

fn knows_break(site: &Site) -> bool {
    let since = Version::from_str(BREAK_SINCE).ok();
    let found = site.version("pip").map(Version::from_str);
    matches!((found, since), (Some(Ok(found)), Some(since)) if found >= since)
}

/// Returns whether a file of settings has harmless ones only; one that is not there has none.
fn is_plain(file: &Path) -> bool {
    let Ok(text) = fs::read_to_string(file) else {
        return !file.exists();
    };
    let lines = text.lines().map(str::trim_end);
    let mut names = lines
        .filter(|line| !line.starts_with([' ', '\t', '[', '#', ';']) && !line.is_empty())
        .map(|line| line.split(['=', ':']).next().unwrap_or(line).trim());
    names.all(|name| is_harmless(&name.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_settings_is_plain_as_long_as_they_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pip.conf");
        assert!(is_plain(&file), "none");
        fs::write(&file, "[global]\nindex-url = https://x\n  y\n# z\n").unwrap();
        assert!(is_plain(&file));
        fs::write(&file, "[install]\nupgrade = true\n").unwrap();
        assert!(!is_plain(&file));
    }

    #[test]
    fn variables_may_send_pip_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let plain =
            |name: &str| are_plain(folder.path(), None, &[(name.to_owned(), "x".to_owned())]);
        assert!(plain("PIP_INDEX_URL"));
        assert!(!plain("PIP_TARGET"));
        assert!(!plain("PYTHONPATH"));
    }

    #[test]
    fn arguments_that_are_not_known_are_left_to_pip() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("lib/python3.11/site-packages");
        fs::create_dir_all(site.join("pip-23.0.dist-info")).unwrap();
        fs::write(root.path().join("pyvenv.cfg"), "").unwrap();
        let old = Site::of_environment(root.path()).unwrap();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(allow(&words("--no-cache-dir --quiet"), false, &old, &[]));
        assert!(!allow(&words("--upgrade"), false, &old, &[]));
        assert!(!allow(&words("--index-url x"), false, &old, &[]));
        assert!(!allow(&words("-U"), false, &old, &[]));
        let breaks = words("--break-system-packages");
        assert!(
            !allow(&breaks, false, &old, &[]),
            "this pip does not know it"
        );
        fs::create_dir_all(site.join("pip-23.0.1.dist-info")).unwrap();
        fs::remove_dir(site.join("pip-23.0.dist-info")).unwrap();
        let new = Site::of_environment(root.path()).unwrap();
        assert!(allow(&breaks, false, &new, &[]));
    }
}
