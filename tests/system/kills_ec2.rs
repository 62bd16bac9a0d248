//! What amibake says of a build that was killed before. What it left, and that `reap` removes it, is
//! `tests/account`'s.

use serde_json::json;

use crate::support::account::MANIFEST;
use crate::support::{Cloud, expect_exit, text};

fn journals(cloud: &Cloud) -> std::path::PathBuf {
    cloud.folder().join("state/amibake")
}

/// Returns the only run that has a journal.
fn the_run(cloud: &Cloud) -> String {
    let files = std::fs::read_dir(journals(cloud)).unwrap();
    let runs = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".journal").map(str::to_owned)
    });
    let runs: Vec<String> = runs.collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

#[test]
fn what_a_killed_build_left_is_due_on_its_host_at_once_and_elsewhere_when_it_expires() {
    let cloud = Cloud::start();
    // What is new is seen at once: `reap` elsewhere would otherwise miss the machine.
    cloud.control("delays", Some(json!({"visible": 0.0})));
    let before = cloud.inventory();
    cloud.fault("RunInstances", "hold", json!({"seconds": 600}));
    let mut running = cloud.start_build(MANIFEST);
    cloud.wait_until_held("RunInstances");
    running.kill();
    cloud.control("clear", Some(json!({})));
    let left = cloud.inventory();
    assert_ne!(left, before);
    let run = the_run(&cloud);

    let elsewhere = |arguments: &[&str]| {
        let mut reap = cloud.amibake(arguments);
        reap.env("XDG_STATE_HOME", cloud.folder().join("another-host"));
        text(&expect_exit(&mut reap, 0).stdout)
    };
    let told = elsewhere(&["reap"]);
    assert_eq!(cloud.inventory(), left, "the run may go on where it began");
    let at_once = format!("`amibake reap --run {run} --region eu-west-1` removes it now");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(
        lines[0].contains(&left["instances"][0]) && lines[0].contains(&at_once),
        "{told}"
    );

    let manifest = cloud.manifest(MANIFEST);
    refuse_launch(&cloud);
    // It would wait for the killed one's lock otherwise.
    let next = expect_exit(cloud.amibake(["build", "--force"]).arg(manifest), 1);
    let said = format!("run {run} ended without cleaning up; `amibake reap`");
    assert!(text(&next.stderr).contains(&said), "{}", text(&next.stderr));

    let told = expect_exit(&mut cloud.amibake(["reap", "--dry-run"]), 0);
    assert!(text(&told.stdout).contains(&left["instances"][0]));
    assert_eq!(cloud.inventory(), left, "a dry run");
    expect_exit(&mut cloud.amibake(["reap"]), 0);
    assert_eq!(cloud.inventory(), before);
    let told = expect_exit(&mut cloud.amibake(["reap"]), 0);
    assert_eq!(text(&told.stdout), "nothing to remove\n");
}

fn refuse_launch(cloud: &Cloud) {
    let no = json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "times": 99});
    cloud.fault("CreateSecurityGroup", "error", no);
}
