//! `deb`: package files, from here or from the network.

use std::cmp::Ordering;
use std::path::PathBuf;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::args::Args;
use crate::module::{Context, Failure, Outcome};

use super::candidates::Spec;
use super::get::{self, Get};
use super::{apt_command, dpkg, version};

/// Installs package files, separated by commas, unless these versions are installed.
pub(super) fn install(
    debs: &str,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    if args.str("state") != Some("present") {
        return Err(Failure::new("deb only supports state=present"));
    }
    let mut downloaded = None;
    let mut wanted = Vec::new();
    for deb in debs.split(',') {
        let path = if deb.contains("://") {
            download(deb, &mut downloaded, context)?
        } else {
            deb.to_owned()
        };
        match there(&path, context)? {
            Some(Ordering::Equal) => {}
            // dpkg would put the older one in its place.
            Some(Ordering::Greater) if !args.bool("force") && !args.bool("allow_downgrade") => {
                return Err(Failure::new("A later version is already installed"));
            }
            _ => wanted.push(path),
        }
    }
    if wanted.is_empty() {
        let nothing = crate::run_command::Ran {
            rc: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        return Ok(get::report(&nothing, false, false));
    }
    let needed = missing(&wanted, args, context)?;
    let mut before = Outcome::default();
    if !needed.is_empty() {
        let get = Get::install(args, context.check).packages(needed.clone());
        before = get.run(args, context)?;
        if !context.check {
            // As in Ansible they count as asked for.
            let specs: Result<Vec<_>, _> = needed.iter().map(|name| Spec::parse(name)).collect();
            super::keep(&specs?, context)?;
        }
    }
    unpack(&wanted, before, args, context)
}

/// Returns the packages that the files depend on and that are not there: what apt would install
/// beside them.
fn missing(
    paths: &[String],
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Vec<String>, Failure> {
    // apt-get takes a name with a slash for a file.
    let files: Vec<String> = paths
        .iter()
        .map(|path| {
            let absolute = std::path::absolute(path);
            absolute.map_or_else(|_| path.clone(), |path| path.to_string_lossy().into_owned())
        })
        .collect();
    let mut argv = vec!["apt-get", "-y", "--simulate", "--allow-downgrades"];
    if args.opt_bool("install_recommends") != Some(true) {
        argv.push("--no-install-recommends");
    }
    argv.push("install");
    argv.extend(files.iter().map(String::as_str));
    let ran = apt_command(argv).checked(context)?;
    let own = |line: &&str| !line.contains(" local-deb ");
    let chosen = ran.stdout.lines().filter(|line| line.starts_with("Inst "));
    let names = chosen.filter(own).filter_map(|line| line.split(' ').nth(1));
    Ok(names.map(str::to_owned).collect())
}

/// Has dpkg unpack the files and set them up.
fn unpack(
    paths: &[String],
    before: Outcome,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let options = args.str("dpkg_options").unwrap_or_default().split(',');
    let mut argv = vec!["dpkg".to_owned()];
    argv.extend(options.map(|option| format!("--{option}")));
    argv.extend(context.check.then(|| "--simulate".to_owned()));
    argv.extend(args.bool("force").then(|| "--force-all".to_owned()));
    argv.push("-i".to_owned());
    argv.extend(paths.iter().cloned());
    let shown = argv.join(" ");
    let ran = get::run_apt_get(argv, None, args, context).map_err(|mut failure| {
        failure.msg = format!("{shown} failed");
        failure.result.remove("rc");
        failure
    })?;
    let mut outcome = get::report(&ran, true, context.diff);
    for name in ["stdout", "stderr"] {
        let text = |outcome: &Outcome| match outcome.result.get(name) {
            Some(Json::String(text)) => text.clone(),
            _ => String::new(),
        };
        let both = text(&before) + &text(&outcome);
        outcome.result.insert(name.to_owned(), Json::from(both));
    }
    Ok(outcome)
}

/// Fetches with apt's own helper, which knows its proxies and certificates.
fn download(
    url: &str,
    folder: &mut Option<TempDir>,
    context: &mut Context<'_>,
) -> Result<String, Failure> {
    let cannot = |e: std::io::Error| Failure::new(format!("could not download {url}: {e}"));
    if folder.is_none() {
        *folder = Some(tempfile::tempdir().map_err(cannot)?);
    }
    let folder = folder
        .as_ref()
        .map_or_else(PathBuf::new, |dir| dir.path().to_owned());
    let name = url.rsplit('/').next().unwrap_or("package.deb");
    let name = name.split('?').next().filter(|name| !name.is_empty());
    let path = folder.join(name.unwrap_or("package.deb"));
    let path = path.to_string_lossy().into_owned();
    let argv = ["/usr/lib/apt/apt-helper", "download-file", url, &path];
    let ran = apt_command(argv).checked(context);
    ran.map_err(|failure| Failure::new(format!("Failed to download {url}: {}", failure.msg)))?;
    Ok(path)
}

/// Compares what is installed of a file's package with the file; `None` without any.
fn there(path: &str, context: &mut Context<'_>) -> Result<Option<Ordering>, Failure> {
    if let Err(e) = std::fs::File::open(path) {
        let (number, reason) = (e.raw_os_error().unwrap_or_default(), reason_of(&e));
        return Err(Failure::new(format!(
            "Unable to install package: E:Could not open file {path} - open ({number}: {reason})"
        )));
    }
    let argv = [
        "dpkg-deb",
        "--showformat=${Package}\\n${Version}\\n${Architecture}\\n",
        "--show",
        path,
    ];
    let shown = apt_command(argv).checked(context);
    let shown = shown
        .map_err(|failure| Failure::new(format!("Unable to install package: {}", failure.msg)))?;
    let fields: Vec<&str> = shown.stdout.lines().collect();
    let [name, wanted, architecture] = fields[..] else {
        return Err(Failure::new(format!(
            "Unable to install package: {path} says too little"
        )));
    };
    let status = dpkg::status();
    let key = if architecture == "all" {
        name.to_owned()
    } else {
        format!("{name}:{architecture}")
    };
    let installed = status.installed(&key);
    Ok(installed.map(|have| version::compare(have, wanted)))
}

/// The system's words for an error, without Rust's `(os error 2)`.
fn reason_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}
