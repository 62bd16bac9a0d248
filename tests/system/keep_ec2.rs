//! `--on-error keep`: a failed builder can be logged in to, as the build says.

use std::process::Command;

use crate::support::account::MANIFEST;
use crate::support::{Cloud, expect_exit, text};

#[test]
fn a_builder_that_is_kept_can_be_logged_in_to_and_is_named_and_reaped() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let manifest = cloud.manifest(&MANIFEST.replace("sleep 3", "false"));
    let mut command = cloud.amibake(["build", "--on-error", "keep"]);
    let output = expect_exit(command.arg(manifest), 3);
    let stderr = text(&output.stderr);
    let kept = cloud.inventory();
    assert_eq!(kept["instances"].len(), 1);
    for id in [
        &kept["instances"][0],
        kept["security_groups"]
            .iter()
            .find(|g| !before["security_groups"].contains(g))
            .unwrap(),
    ] {
        let named = stderr
            .lines()
            .any(|l| l.starts_with("left behind: ") && l.contains(id.as_str()));
        assert!(named, "{id} is not named\n{stderr}");
    }

    let ssh = stderr
        .lines()
        .find(|l| l.starts_with("ssh "))
        .expect(&stderr);
    let login = format!("{ssh} -o BatchMode=yes sudo cat /var/tmp/busy '&&' whoami");
    let told = Command::new("sh").args(["-c", &login]).output().unwrap();
    assert_eq!(
        text(&told.stdout),
        "ubuntu\n",
        "{login}\n{}",
        text(&told.stderr)
    );

    let start = stderr.find("`amibake reap").expect(&stderr) + "`amibake ".len();
    let reap: Vec<&str> = stderr[start..]
        .split('`')
        .next()
        .unwrap()
        .split(' ')
        .collect();
    expect_exit(&mut cloud.amibake(reap), 0);
    assert_eq!(cloud.inventory(), before);
    let state = cloud.folder().join("state/amibake");
    let left = std::fs::read_dir(state).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    // What is known of the failure stays, keys of what is gone do not.
    assert_eq!(left, ["failed"]);
}
