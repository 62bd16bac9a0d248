//! The agents: one static program for each architecture, compressed as it is shipped.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{cargo, musl, root, run, say, target_folder};
use crate::tools;

/// What makes a program smaller that aborts when it panics: nothing unwinds its stack, and
/// relocations take bits instead of 24 bytes each.
const SMALL: &str = "-Cforce-unwind-tables=no -Clink-arg=-zpack-relative-relocs";

/// How often zopfli tries again: five take ten seconds.
const ITERATIONS: NonZeroU64 = NonZeroU64::new(5).unwrap();

/// How an agent is compiled.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Small and fast: what is shipped.
    Agent,
    /// Soon there.
    Quick,
}

impl Profile {
    /// Returns its name in the workspace's manifest.
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Quick => "quick",
        }
    }
}

/// Builds the agents of these architectures and returns where they are.
pub(crate) fn build(profile: Profile, architectures: &[&str]) -> Result<Vec<PathBuf>, String> {
    let folder = target_folder().join("agent");
    let built = architectures.iter();
    built
        .map(|architecture| build_agent(architecture, profile, &folder))
        .collect()
}

fn build_agent(architecture: &str, profile: Profile, folder: &Path) -> Result<PathBuf, String> {
    let triple = musl(architecture);
    let mut build = Command::new(cargo());
    build
        .args(["build", "-p", "amibake-agent", "--profile", profile.name()])
        .args(["--target", &triple, "--target-dir"])
        .arg(folder)
        .current_dir(root())
        .envs(tools::variables(&triple)?);
    if matches!(profile, Profile::Agent) {
        let flags = format!(
            "CARGO_TARGET_{}_RUSTFLAGS",
            tools::variable(&triple).to_uppercase()
        );
        build.env(flags, SMALL);
    }
    run(&mut build)?;
    let built = folder
        .join(&triple)
        .join(profile.name())
        .join("amibake-agent");
    let named = folder.join(format!("amibake-agent-{architecture}"));
    fs::copy(&built, &named).map_err(|e| format!("could not copy {}: {e}", built.display()))?;
    let packed = pack(&named, profile)?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len() / 1024);
    say(&format!(
        "{}: {} KiB, {} KiB compressed",
        named.display(),
        size(&named),
        size(&packed)
    ));
    Ok(named)
}

/// Compresses as the targets can unpack it: `gzip -d` is everywhere. What is shipped takes a while
/// to be a twentieth smaller.
fn pack(file: &Path, profile: Profile) -> Result<PathBuf, String> {
    let packed = PathBuf::from(format!("{}.gz", file.display()));
    let failed = |e| format!("could not compress {}: {e}", file.display());
    let out = fs::File::create(&packed).map_err(failed)?;
    match profile {
        Profile::Quick => run(Command::new("gzip")
            .args(["-1nc"])
            .arg(file)
            .stdout(Stdio::from(out)))?,
        Profile::Agent => {
            let program = fs::read(file).map_err(failed)?;
            let options = zopfli::Options {
                iteration_count: ITERATIONS,
                ..zopfli::Options::default()
            };
            zopfli::compress(options, zopfli::Format::Gzip, &program[..], out).map_err(failed)?;
        }
    }
    Ok(packed)
}
