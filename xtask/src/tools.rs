//! What compiles and links static programs, and whether all of it is here before anything is compiled.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::root;

/// What a release takes: 6.8 GiB for the largest crate of the AWS SDK, and what is compiled beside it.
const RELEASE_KIB: u64 = 8 << 20;

/// How much memory compiling takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// What every machine has.
    Any,
    /// What the AWS SDK takes.
    OfRelease,
}

/// Something that is missing: its name, the command that gets it, and the words that this ends in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Missing {
    what: String,
    command: &'static str,
    names: String,
}

/// Makes sure that everything is here by which programs for `targets` are compiled.
///
/// # Errors
/// Names all that is missing, and the commands that get it.
pub(crate) fn check(targets: &[String], memory: Memory) -> Result<(), String> {
    let mut missing: BTreeSet<Missing> = targets
        .iter()
        .flat_map(|target| missing_for(target))
        .collect();
    if !has("cc") {
        missing.insert(package(
            "cc, by which cargo links what it runs itself",
            "build-essential",
        ));
    }
    if memory == Memory::OfRelease {
        missing.extend(lack_of_memory(
            &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        ));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(told(&missing))
}

fn told(missing: &BTreeSet<Missing>) -> String {
    let mut lines = vec!["nothing is compiled yet, since this is missing:".to_owned()];
    lines.extend(missing.iter().map(|one| format!("  {}", one.what)));
    let commands: BTreeSet<&str> = missing.iter().map(|one| one.command).collect();
    for command in commands {
        let of_it = missing.iter().filter(|one| one.command == command);
        let names: BTreeSet<&str> = of_it.map(|one| one.names.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        lines.push(format!("hint: {command}{}", names.join(" ")));
    }
    lines.join("\n")
}

fn package(what: &str, name: &str) -> Missing {
    Missing {
        what: what.to_owned(),
        command: "sudo apt-get install --yes ",
        names: name.to_owned(),
    }
}

fn missing_for(target: &str) -> Vec<Missing> {
    let mut missing = Vec::new();
    if !has_target(target) {
        missing.push(Missing {
            what: format!("Rust's standard library for {target}"),
            command: "rustup target add ",
            names: target.to_owned(),
        });
    }
    if !target.ends_with("-musl") {
        return missing;
    }
    if !has_linker() {
        missing.push(Missing {
            what: "rust-lld, the linker, which comes with Rust from https://rustup.rs".to_owned(),
            command: "rustup toolchain install ",
            names: "stable".to_owned(),
        });
    }
    let compiler = c_compiler(target);
    if compiler.is_none() {
        missing.push(package("a C compiler for musl", "clang"));
    }
    if !matches!(compiler, Some(Compiler::MuslGcc)) && musl_headers().is_none() {
        missing.push(package("the headers of musl", "musl-dev"));
    }
    missing
}

/// Whether the linker is where rustc looks for it: among its own programs, else in the path.
fn has_linker() -> bool {
    let own = |folder: PathBuf| folder.join("../bin/rust-lld").is_file();
    has("rust-lld") || libraries(None).is_some_and(own)
}

fn has_target(triple: &str) -> bool {
    libraries(Some(triple)).is_some_and(|folder| folder.is_dir())
}

/// Returns where rustc has the libraries of a target, or of this machine.
fn libraries(target: Option<&str>) -> Option<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir"]).current_dir(root());
    rustc.args(target.into_iter().flat_map(|target| ["--target", target]));
    let out = rustc.output().ok().filter(|out| out.status.success())?;
    Some(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()))
}

/// Whether this machine has less memory, with its swap, than a release takes.
fn lack_of_memory(meminfo: &str) -> Option<Missing> {
    let field = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let here = field("MemAvailable:")? + field("SwapFree:").unwrap_or(0);
    if here >= RELEASE_KIB {
        return None;
    }
    let gib = |kib: u64| format!("{}.{} GiB", kib >> 20, ((kib & 0xf_ffff) * 10) >> 20);
    Some(Missing {
        what: format!(
            "memory: {} are free, and {} are needed",
            gib(here),
            gib(RELEASE_KIB)
        ),
        command: "sudo sh -c 'fallocate -l 8G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile'",
        names: String::new(),
    })
}

/// What compiles C.
enum Compiler {
    Clang,
    MuslGcc,
}

/// Returns what compiles the C parts (ring): clang, else musl-gcc.
fn c_compiler(triple: &str) -> Option<Compiler> {
    if has("clang") {
        return Some(Compiler::Clang);
    }
    (triple.starts_with("x86_64") && has("musl-gcc")).then_some(Compiler::MuslGcc)
}

/// Returns the variables by which cargo finds what compiles and links static programs.
pub(crate) fn variables(triple: &str) -> Result<Vec<(String, String)>, String> {
    let variable = variable(triple);
    let linker = format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase());
    let mut variables = vec![(linker, "rust-lld".to_owned())];
    let absent = || told(&missing_for(triple).into_iter().collect());
    let of_c = match c_compiler(triple).ok_or_else(absent)? {
        Compiler::MuslGcc => vec![("CC", "musl-gcc".to_owned())],
        Compiler::Clang => {
            let headers = musl_headers().ok_or_else(absent)?;
            let flags = format!("--target={triple} -nostdlibinc -isystem {headers}");
            let archiver = if has("llvm-ar") { "llvm-ar" } else { "ar" };
            vec![
                ("CC", "clang".to_owned()),
                ("CFLAGS", flags),
                ("AR", archiver.to_owned()),
            ]
        }
    };
    let of_c = of_c.into_iter();
    variables.extend(of_c.map(|(name, value)| (format!("{name}_{variable}"), value)));
    Ok(variables)
}

/// Returns how variables name a target.
pub(crate) fn variable(triple: &str) -> String {
    triple.replace('-', "_")
}

/// Returns the folder of musl's headers; those of any architecture do, since ring includes
/// no more than the standard ones.
fn musl_headers() -> Option<&'static str> {
    let folders = [
        "/usr/include/x86_64-linux-musl",
        "/usr/include/aarch64-linux-musl",
        "/usr/local/musl/include",
    ];
    folders
        .into_iter()
        .find(|folder| Path::new(folder).is_dir())
}

fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once_with_the_commands_that_get_it() {
        let targets = ["x86_64-unknown-linux-none", "aarch64-unknown-linux-none"];
        let mut missing: BTreeSet<Missing> = targets.into_iter().flat_map(missing_for).collect();
        missing.insert(package("a C compiler for musl", "clang"));
        missing.insert(package("the headers of musl", "musl-dev"));
        let said = told(&missing);
        assert!(said.starts_with("nothing is compiled yet"), "{said}");
        for line in [
            "  Rust's standard library for aarch64-unknown-linux-none",
            "  the headers of musl",
            "hint: rustup target add aarch64-unknown-linux-none x86_64-unknown-linux-none",
            "hint: sudo apt-get install --yes clang musl-dev",
        ] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
    }

    #[test]
    fn memory_that_a_release_does_not_find_is_told_with_its_size() {
        let of = |free: u64, swap: u64| {
            let meminfo =
                format!("MemTotal: 9 kB\nMemAvailable:  {free} kB\nSwapFree: {swap} kB\n");
            lack_of_memory(&meminfo).map(|missing| missing.what)
        };
        assert_eq!(of(RELEASE_KIB, 0), None);
        assert_eq!(of(RELEASE_KIB / 2, RELEASE_KIB / 2), None);
        let said = of(3 << 19, 0).unwrap();
        assert!(said.starts_with("memory: 1.5 GiB are free"), "{said}");
        assert_eq!(lack_of_memory(""), None, "what cannot be told is no reason");
    }
}
