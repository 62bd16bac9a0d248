//! The program itself: how cargo is asked for it, and where it put it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{cargo, musl, root};
use crate::tools;

/// Builds the program and returns where cargo put it: that depends on `--target` and `--profile`, and on
/// cargo's configuration. The target is a static one's, whatever that says, unless `--target` names one.
pub(crate) fn build(arguments: &[&str], agents: &[PathBuf]) -> Result<PathBuf, String> {
    let mut build = Command::new(cargo());
    build
        .args(["build", "-p", "amibake", "--bin", "amibake"])
        .arg("--message-format=json-render-diagnostics")
        .args(arguments)
        .current_dir(root())
        .env_remove("AMIBAKE_EMBED_AGENTS")
        .stderr(Stdio::inherit());
    if !agents.is_empty() {
        let agents = env::join_paths(agents).map_err(|e| format!("the agents: {e}"))?;
        build.env("AMIBAKE_EMBED_AGENTS", agents);
    }
    if is_release(arguments) {
        build.arg("--release");
    }
    let target = target(arguments);
    if value_of("--target", arguments).is_none() {
        build.args(["--target", &target]);
    }
    if target.ends_with("-musl") {
        build.envs(tools::variables(&target)?);
    }
    let built = build
        .output()
        .map_err(|e| format!("could not run cargo: {e}"))?;
    if !built.status.success() {
        return Err(format!("cargo failed: {}", built.status));
    }
    executable(&String::from_utf8_lossy(&built.stdout))
}

/// Returns what it is compiled for: a static program for machines like this one, unless told otherwise.
pub(crate) fn target(arguments: &[&str]) -> String {
    let given = value_of("--target", arguments);
    given.map_or_else(|| musl(env::consts::ARCH), str::to_owned)
}

/// Whether it is compiled as it is released, which takes memory.
pub(crate) fn is_release(arguments: &[&str]) -> bool {
    value_of("--profile", arguments).is_none()
}

/// Returns what an option was given, as `--option VALUE` or `--option=VALUE`.
fn value_of<'a>(option: &str, arguments: &[&'a str]) -> Option<&'a str> {
    let given = arguments.iter().find_map(|argument| {
        let rest = argument.strip_prefix(option)?;
        rest.strip_prefix('=')
    });
    let apart = arguments.iter().position(|argument| *argument == option);
    given.or_else(|| arguments.get(apart? + 1).copied())
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
        let read = |words: &[&str]| value_of("--target", words).map(str::to_owned);
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
