//! README's two commands on a machine that has nothing yet, up to the point where they would
//! install something.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::text;

/// Programs of a machine that lacks every package and can do all that is asked of it.
const STUBS: [(&str, &str); 5] = [
    ("apt-get", "exit 100"),
    ("dpkg-query", "exit 1"),
    ("stat", "echo ext2/ext3"),
    ("sudo", "[ \"$1\" = -v ] || exec \"$@\""),
    ("unshare", "exit 0"),
];

/// Runs a command of the checkout until it installs packages, which fails; returns what it said.
fn said_by(script: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    let stubs = temp.path().join("stubs");
    std::fs::create_dir(&stubs).unwrap();
    for (name, body) in STUBS {
        let file = stubs.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let checkout = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(Path::new(&checkout).join(script))
        .env("PATH", format!("{}:{path}", stubs.display()))
        .env("XDG_CACHE_HOME", temp.path())
        .env("CARGO_TARGET_DIR", temp.path().join("target"))
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(100), "{said}");
    assert_eq!(text(&output.stdout), "");
    said
}

#[test]
fn both_commands_say_how_long_they_take_and_what_is_done_as_root_before_they_ask_for_it() {
    for script in ["try", "test"] {
        let said = said_by(script);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains(" minutes on 2 cores"), "{said}");
        assert!(lines[1].contains("compiling runs as you"), "{said}");
        assert!(lines[1].contains("need root"), "{said}");
    }
}

/// Both make a root of Debian, by the keys that Ubuntu does not have by itself.
#[test]
fn both_commands_install_what_debian_s_packages_are_checked_with() {
    for script in ["try", "test"] {
        let said = said_by(script);
        let installed = said
            .lines()
            .find_map(|line| line.strip_prefix("==> installing with apt (as root): "))
            .unwrap_or_else(|| panic!("nothing was installed:\n{said}"));
        let packages: Vec<&str> = installed.split(' ').collect();
        for package in ["mmdebstrap", "debian-archive-keyring", "gpg"] {
            assert!(packages.contains(&package), "{script} lacks {package}");
        }
    }
}

/// Runs a part of ./test with a cargo that compiles all, knows no nextest and finds no test.
fn run_checks(script: &str) -> std::process::Output {
    let temp = tempfile::tempdir().unwrap();
    let cargo = temp.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\n[ \"$1\" != nextest ]\n").unwrap();
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let sourced = "set -euo pipefail; source scripts/setup.sh; source scripts/checks.sh";
    Command::new("bash")
        .args(["-c", &format!("{sourced}; {script}")])
        .current_dir(std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .env("PATH", format!("{}:{path}", temp.path().display()))
        .env("AMIBAKE_TEST_PYTHON", "/bin/false")
        .output()
        .unwrap()
}

#[test]
fn a_name_that_no_test_has_fails() {
    let run = |names: &str| {
        run_checks(&format!(
            "start_accounts() {{ :; }}; run_tests {names}; conclude"
        ))
    };
    let typo = run("misspelt");
    let said = text(&typo.stderr);
    assert_eq!(typo.status.code(), Some(1), "{said}");
    assert!(said.contains("no test's name has: misspelt"), "{said}");
}

#[test]
fn a_test_ec2_that_does_not_start_is_told() {
    let output = run_checks("start_accounts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the test EC2 did not start"), "{said}");
}

#[test]
fn a_check_beside_the_rest_fails_with_what_it_said() {
    let output = run_checks("beside slow sh -c 'echo its words; exit 3'; await_beside; conclude");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("its words"), "{said}");
    assert!(said.contains("==> failed: 1\n  slow\n"), "{said}");
    let output = run_checks("beside slow true; await_beside; conclude");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
