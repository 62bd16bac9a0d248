//! Builds what cargo alone cannot: the static agents, and a release with the agents embedded.

#[cfg(test)]
mod imports;

use std::env;
use std::fs;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The architectures an agent is built for.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// What makes a program smaller that aborts when it panics: nothing unwinds its stack, and
/// relocations take bits instead of 24 bytes each.
const SMALL: &str = "-Cforce-unwind-tables=no -Clink-arg=-zpack-relative-relocs";

/// How often zopfli tries again: five take ten seconds.
const ITERATIONS: NonZeroU64 = NonZeroU64::new(5).unwrap();

const USAGE: &str =
    "usage: cargo xtask agent [--quick] [--arch x86_64|aarch64]   builds the static agents, or one
       cargo xtask dist [cargo build arguments]             builds the release with both agents inside
       cargo xtask static [cargo build arguments]           builds it without agents: it is its own

--quick compiles in a third of the time, to a larger and slower agent; programs are static, for
this machine's architecture, unless --target says otherwise";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((task, rest)) if task == "agent" => chosen(rest)
            .and_then(|(profile, found)| agents(profile, &found))
            .map(|_| ()),
        Some((task, rest)) if task == "dist" => dist(rest),
        Some((task, rest)) if task == "static" => lone(rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How an agent is compiled.
#[derive(Clone, Copy)]
enum Profile {
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

/// Reads how and which agents are wanted: those named by `--arch`, else all.
fn chosen(arguments: &[String]) -> Result<(Profile, Vec<&str>), String> {
    let (mut profile, mut found) = (Profile::Agent, Vec::new());
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        match (option.as_str(), rest.clone().next()) {
            ("--quick", _) => profile = Profile::Quick,
            ("--arch", Some(architecture)) => {
                found.push(known(architecture)?);
                rest.next();
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if found.is_empty() {
        found.extend(ARCHITECTURES);
    }
    Ok((profile, found))
}

fn known(architecture: &str) -> Result<&str, String> {
    if ARCHITECTURES.contains(&architecture) {
        return Ok(architecture);
    }
    Err(format!("there is no agent for {architecture}\n{USAGE}"))
}

/// Builds the agents of `architectures` and returns the folder they are in.
fn agents(profile: Profile, architectures: &[&str]) -> Result<PathBuf, String> {
    let folder = target_folder().join("agent");
    for architecture in architectures {
        agent(architecture, profile, &folder)?;
    }
    Ok(folder)
}

fn agent(architecture: &str, profile: Profile, folder: &Path) -> Result<(), String> {
    let triple = format!("{architecture}-unknown-linux-musl");
    let mut build = Command::new(cargo());
    build
        .args(["build", "-p", "amibake-agent", "--profile", profile.name()])
        .args(["--target", &triple, "--target-dir"])
        .arg(folder)
        .current_dir(root())
        .envs(tools(&triple)?);
    if matches!(profile, Profile::Agent) {
        let flags = format!(
            "CARGO_TARGET_{}_RUSTFLAGS",
            variable(&triple).to_uppercase()
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
    Ok(())
}

/// Returns the variables by which cargo finds what compiles and links static programs.
fn tools(triple: &str) -> Result<Vec<(String, String)>, String> {
    require_target(triple)?;
    let variable = variable(triple);
    let linker = format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase());
    let mut tools = vec![(linker, "rust-lld".to_owned())];
    let compiler = c_compiler(triple)?.into_iter();
    tools.extend(compiler.map(|(name, value)| (format!("{name}_{variable}"), value)));
    Ok(tools)
}

/// Returns how variables name a target.
fn variable(triple: &str) -> String {
    triple.replace('-', "_")
}

/// Returns the variables by which C parts (ring) find their compiler: clang, else musl-gcc.
fn c_compiler(triple: &str) -> Result<Vec<(&'static str, String)>, String> {
    if has("clang") {
        let flags = format!(
            "--target={triple} -nostdlibinc -isystem {}",
            musl_headers()?
        );
        return Ok(vec![
            ("CC", "clang".to_owned()),
            ("CFLAGS", flags),
            (
                "AR",
                if has("llvm-ar") { "llvm-ar" } else { "ar" }.to_owned(),
            ),
        ]);
    }
    if triple.starts_with("x86_64") && has("musl-gcc") {
        return Ok(vec![("CC", "musl-gcc".to_owned())]);
    }
    Err(
        "no C compiler for musl was found: install clang and musl-dev \
         (apt-get install clang musl-dev)"
            .to_owned(),
    )
}

/// Returns the folder of musl's headers; those of any architecture do, since ring includes
/// no more than the standard ones.
fn musl_headers() -> Result<String, String> {
    let folders = [
        "/usr/include/x86_64-linux-musl",
        "/usr/include/aarch64-linux-musl",
        "/usr/local/musl/include",
    ];
    folders
        .iter()
        .find(|folder| Path::new(folder).is_dir())
        .map(|folder| (*folder).to_owned())
        .ok_or_else(|| "musl's headers are missing: apt-get install musl-dev".to_owned())
}

fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn require_target(triple: &str) -> Result<(), String> {
    let out = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", triple])
        .current_dir(root())
        .output()
        .map_err(|e| format!("could not run rustc: {e}"))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    if out.status.success() && folder.is_dir() {
        return Ok(());
    }
    Err(format!(
        "Rust's standard library for {triple} is missing: rustup target add {triple}"
    ))
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

/// Builds the release with both agents embedded, as static as they are.
fn dist(arguments: &[String]) -> Result<(), String> {
    let folder = agents(Profile::Agent, &ARCHITECTURES)?;
    let built = build(arguments, Some(&folder))?;
    let program = target_folder().join("dist/amibake");
    let copied =
        fs::create_dir_all(target_folder().join("dist")).and_then(|()| fs::copy(&built, &program));
    let size = copied.map_err(|e| format!("could not copy {}: {e}", built.display()))? / 1024;
    say(&format!("{}: {size} KiB", program.display()));
    Ok(())
}

/// Builds the program without agents, which it then is itself on machines like this one.
fn lone(arguments: &[String]) -> Result<(), String> {
    let built = build(arguments, None)?;
    say(&built.display().to_string());
    Ok(())
}

/// Builds the program and returns where cargo put it: that depends on `--target` and `--profile`, and on
/// cargo's configuration. The target is a static one's, whatever that says, unless `--target` names one.
fn build(arguments: &[String], agents: Option<&Path>) -> Result<PathBuf, String> {
    let mut build = Command::new(cargo());
    build
        .args(["build", "-p", "amibake", "--bin", "amibake"])
        .arg("--message-format=json-render-diagnostics")
        .args(arguments)
        .current_dir(root())
        .env_remove("AMIBAKE_EMBED_AGENTS")
        .stderr(Stdio::inherit());
    if let Some(folder) = agents {
        build.env("AMIBAKE_EMBED_AGENTS", folder);
    }
    if !arguments.iter().any(|a| a.starts_with("--profile")) {
        build.arg("--release");
    }
    let target = value_of("--target", arguments);
    if target.is_none() {
        build.args(["--target", &here()]);
    }
    let target = target.map_or_else(here, str::to_owned);
    if target.ends_with("-musl") {
        build.envs(tools(&target)?);
    }
    let built = build
        .output()
        .map_err(|e| format!("could not run cargo: {e}"))?;
    if !built.status.success() {
        return Err(format!("cargo failed: {}", built.status));
    }
    executable(&String::from_utf8_lossy(&built.stdout))
}

/// Returns the target of static programs for machines like this one.
fn here() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

/// Returns what an option was given, as `--option VALUE` or `--option=VALUE`.
fn value_of<'a>(option: &str, arguments: &'a [String]) -> Option<&'a str> {
    let given = arguments.iter().find_map(|argument| {
        let rest = argument.strip_prefix(option)?;
        rest.strip_prefix('=')
    });
    let apart = arguments.iter().position(|argument| argument == option);
    given.or_else(|| Some(arguments.get(apart? + 1)?.as_str()))
}

/// Finds the program among cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Result<PathBuf, String> {
    let parsed = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let of_ours = |message: serde_json::Value| {
        let program = message["executable"].as_str().map(PathBuf::from);
        program.filter(|_| message["target"]["name"] == "amibake")
    };
    let mut programs: Vec<PathBuf> = parsed.filter_map(of_ours).collect();
    match (programs.pop(), programs.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err("cargo built no amibake: see the arguments".to_owned()),
        (Some(_), false) => Err("cargo built several amibakes: give one --target".to_owned()),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|e| format!("could not run {name}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {status}"))
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Returns the checkout's folder, by the variable that `cargo run` sets: a program that was compiled
/// in one checkout may run in another which shares its target folder.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "xtask".into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_path_buf()
}

fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"executable":{executable}}}"#
        )
    }

    #[test]
    fn an_option_is_read_as_cargo_reads_it() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
            value_of("--target", &words).map(str::to_owned)
        };
        assert_eq!(read(&["--locked", "--target", "a"]).as_deref(), Some("a"));
        assert_eq!(read(&["--target=b"]).as_deref(), Some("b"));
        assert_eq!(read(&["--target-dir", "c"]), None);
        assert_eq!(read(&["--target-dir=c"]), None);
    }

    #[test]
    fn the_program_is_where_cargo_says_that_it_is() {
        let there = "/t/aarch64-unknown-linux-gnu/release/amibake";
        let ours = artifact("amibake", &format!("{there:?}"));
        let others = [
            artifact("serde", "null"),
            artifact("build-script-build", "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let said = format!("{}\n{ours}\n", others.join("\n"));
        assert_eq!(executable(&said), Ok(PathBuf::from(there)));
        let none = executable(&others.join("\n")).unwrap_err();
        assert!(none.contains("no amibake"), "{none}");
        let several = executable(&format!("{ours}\n{ours}\n")).unwrap_err();
        assert!(several.contains("one --target"), "{several}");
    }
}
