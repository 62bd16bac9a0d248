//! The one command for a person with an account, `tests/aws/run`, does what it says: some of its parts against the
//! test EC2, where `tests/aws/here` insists that the account is as it was afterwards. The others are run by command.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{needed, text};

/// Returns what the result has under a word, without how long it took.
fn told<'s>(said: &'s str, word: &str) -> Vec<&'s str> {
    let (_, result) = said.rsplit_once("== result\n").unwrap();
    let lines = result.lines().filter_map(|line| line.strip_prefix(word));
    lines.map(|line| line.split(" (").next().unwrap()).collect()
}

#[test]
fn the_command_for_a_person_with_an_account_passes_here_and_leaves_nothing() {
    let checkout = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let python = needed("AMIBAKE_TEST_PYTHON");
    let tools = Path::new(&python).parent().unwrap().display(); // `aws` is among them
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(checkout.join("tests/aws/here"))
        .args(["--only", "replace,key", "--share", "210987654321"])
        .arg(env!("CARGO_BIN_EXE_amibake"))
        .env("PATH", format!("{tools}:{path}"))
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("It costs at most "), "{said}");
    let passed = [
        "an image without the time in its name",
        "another content: the old image makes way, and its snapshot stays",
        "a KMS key in each region",
        "preflight of it",
        "an image with a customer's key, and a copy with the other region's",
    ];
    assert_eq!(told(&said, "passed: "), passed, "{said}");
    let skipped = ["an image for arm64: Ubuntu 24.04 is not there for arm64"];
    assert_eq!(told(&said, "skipped: "), skipped, "{said}");
    assert!(said.ends_with("nothing is left behind\n"), "{said}");
}
