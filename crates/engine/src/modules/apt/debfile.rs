//! `deb`: package files, from here or from the network.

use std::cmp::Ordering;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::args::Args;
use crate::module::{Context, Failure, Outcome};

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
        if !is_installed(&path, context)? {
            wanted.push(path);
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
    // apt-get takes a name with a slash for a file, and fetches what it depends on.
    let files = wanted.iter().map(|path| {
        std::path::absolute(path)
            .map_or_else(|_| path.clone(), |path| path.to_string_lossy().into_owned())
    });
    Get::install(args, context.check)
        .packages(files.collect())
        .run(args, context)
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

fn is_installed(path: &str, context: &mut Context<'_>) -> Result<bool, Failure> {
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
    Ok(installed.is_some_and(|have| version::compare(have, wanted) == Ordering::Equal))
}
