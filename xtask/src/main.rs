//! Builds what cargo alone cannot: the static agents, and a release with the agents embedded.

mod agent;
mod common;
#[cfg(test)]
mod imports;
mod program;
mod tools;

use std::env;
use std::process::ExitCode;

use agent::Profile;
use common::{musl, say, target_folder};

/// The architectures an agent is built for.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

const USAGE: &str =
    "usage: cargo xtask agent [--quick] [--arch x86_64|aarch64]   builds the static agents, or one
       cargo xtask dist [--arch x86_64|aarch64] [cargo build arguments]
                                                            builds the release with both agents inside, or one
       cargo xtask static [cargo build arguments]           builds it without agents: it is its own

--quick compiles in a third of the time, to a larger and slower agent; --arch names the machines that the agent
is for; programs are static, for this machine's architecture, unless --target says otherwise";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((task, rest)) if task == "agent" => agents(rest),
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

/// Builds the agents that are named, else all.
fn agents(arguments: &[String]) -> Result<(), String> {
    let (chosen, rest) = architectures(arguments)?;
    let profile = match rest[..] {
        [] => Profile::Agent,
        ["--quick"] => Profile::Quick,
        _ => return Err(USAGE.to_owned()),
    };
    tools::check(
        &chosen.iter().map(|arch| musl(arch)).collect::<Vec<_>>(),
        tools::Memory::Any,
    )?;
    agent::build(profile, &chosen).map(|_| ())
}

/// Builds the release with agents embedded, as static as they are.
fn dist(arguments: &[String]) -> Result<(), String> {
    let (chosen, rest) = architectures(arguments)?;
    let agents: Vec<String> = chosen.iter().map(|arch| musl(arch)).collect();
    let target = program::target(&rest);
    tools::check(&[&agents[..], &[target]].concat(), memory(&rest))?;
    let agents = agent::build(Profile::Agent, &chosen)?;
    let built = program::build(&rest, &agents)?;
    let program = target_folder().join("dist/amibake");
    let copied = std::fs::create_dir_all(target_folder().join("dist"))
        .and_then(|()| std::fs::copy(&built, &program));
    let size = copied.map_err(|e| format!("could not copy {}: {e}", built.display()))? / 1024;
    say(&format!("{}: {size} KiB", program.display()));
    Ok(())
}

/// Builds the program without agents, which it then is itself on machines like this one.
fn lone(arguments: &[String]) -> Result<(), String> {
    let rest: Vec<&str> = arguments.iter().map(String::as_str).collect();
    tools::check(&[program::target(&rest)], memory(&rest))?;
    say(&program::build(&rest, &[])?.display().to_string());
    Ok(())
}

fn memory(arguments: &[&str]) -> tools::Memory {
    match program::is_release(arguments) {
        true => tools::Memory::OfRelease,
        false => tools::Memory::Any,
    }
}

/// Takes `--arch` out of the arguments: the architectures it names, else all, and the other arguments.
fn architectures(arguments: &[String]) -> Result<(Vec<&str>, Vec<&str>), String> {
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--arch") {
            Some("") => chosen.push(known(rest.next().ok_or(USAGE)?)?),
            Some(given) if given.starts_with('=') => chosen.push(known(&given[1..])?),
            _ => others.push(argument),
        }
    }
    if chosen.is_empty() {
        chosen.extend(ARCHITECTURES);
    }
    Ok((chosen, others))
}

fn known(architecture: &str) -> Result<&str, String> {
    if ARCHITECTURES.contains(&architecture) {
        return Ok(architecture);
    }
    Err(format!("there is no agent for {architecture}\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_named_as_other_options_are() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
            let read = architectures(&words);
            read.map(|(chosen, rest)| (chosen.join(" "), rest.join(" ")))
        };
        let both = ("x86_64 aarch64".to_owned(), "--locked".to_owned());
        assert_eq!(read(&["--locked"]), Ok(both));
        let one = ("aarch64".to_owned(), "--locked".to_owned());
        assert_eq!(read(&["--arch", "aarch64", "--locked"]), Ok(one.clone()));
        assert_eq!(read(&["--locked", "--arch=aarch64"]), Ok(one));
        assert!(
            read(&["--arch", "riscv64"])
                .unwrap_err()
                .contains("no agent for riscv64")
        );
        assert!(read(&["--arch"]).unwrap_err().contains("usage"));
    }
}
