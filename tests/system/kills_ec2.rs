//! A killed build leaves nothing that `reap` does not remove.
//!
//! Builds that are killed at places spread over a run. A place is a call that the test EC2 holds, or
//! a state that it is in, so each test knows that it hit what it meant to.

use std::time::Duration;

use serde_json::json;

use crate::support::account::{
    Build, Inventory, MANIFEST, assert_one_image_more, build, is_busy, reach, reap_by_tags,
};
use crate::support::{Cloud, expect_exit, text, wait_for};

/// Where a build is when it is killed.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// EC2 has done what the `nth` call of this action asks; the answer is on its way.
    Unanswered(&'static str, u32),
    /// EC2 has the call and does it when the build is dead.
    Late(&'static str),
    /// A task runs on the builder.
    Busy,
    /// The candidate is pending, and its snapshot listed.
    Pending,
}

/// What `reap` goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Tags alone: the journal is lost, and the run is not named; it has expired.
    Tags,
    /// The run's name, before it expires; the journal goes with its debts.
    Name,
}

/// Kills a build at a place, reaps, and returns what the account holds then.
fn killed(cloud: &Cloud, place: Place, by: By) -> Inventory {
    let before = cloud.inventory();
    cloud.control("clear", Some(json!({})));
    let mut build = match place {
        Place::Unanswered(action, nth) => {
            cloud.fault(action, "hold", json!({"nth": nth, "seconds": 600}));
            reach(cloud, action)
        }
        Place::Late(action) => {
            cloud.fault(action, "hold-before", json!({"seconds": 600}));
            reach(cloud, action)
        }
        Place::Busy => {
            let mut build = Build::start(cloud);
            build.wait_for("the task", || is_busy(cloud));
            build
        }
        Place::Pending => {
            let mut build = Build::start(cloud);
            build.wait_for("a pending image with its snapshot", || {
                !cloud.inventory()["snapshots"].is_empty()
            });
            build
        }
    };
    assert!(!build.has_ended());
    build.kill();
    cloud.control("release", Some(json!({})));
    wait_for("the held call", Duration::from_mins(1), || {
        let faults = cloud.control("faults", None);
        faults.as_array().unwrap().iter().all(|f| f["done"] == 1)
    });
    assert_ne!(cloud.inventory(), before, "{place:?}: nothing was made");
    reap(cloud, by, place);
    cloud.inventory()
}

fn reap(cloud: &Cloud, by: By, place: Place) {
    let run = the_run(cloud);
    match by {
        By::Name => {
            let mut reap = cloud.amibake(["reap", "--region", "eu-west-1", "--run", &run]);
            expect_exit(&mut reap, 0);
            let left = std::fs::read_dir(journals(cloud)).unwrap().count();
            assert_eq!(left, 0, "{place:?}: the journal of a paid run stays");
        }
        By::Tags => {
            reap_by_tags(cloud);
        }
    }
}

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
fn killed_while_it_launches_and_provisions() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (place, by) in [
        (Place::Unanswered("CreateSecurityGroup", 1), By::Tags),
        (
            Place::Unanswered("AuthorizeSecurityGroupIngress", 1),
            By::Name,
        ),
        (Place::Late("RunInstances"), By::Tags),
        (Place::Unanswered("RunInstances", 1), By::Tags),
        (Place::Busy, By::Tags),
    ] {
        assert_eq!(killed(&cloud, place, by), before, "{place:?}");
    }
}

#[test]
fn killed_while_the_builder_stops_or_is_stopped() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (place, by) in [
        (Place::Unanswered("StopInstances", 1), By::Tags),
        (Place::Late("CreateImage"), By::Tags),
    ] {
        assert_eq!(killed(&cloud, place, by), before, "{place:?}");
    }
}

#[test]
fn killed_while_the_image_is_pending_and_its_snapshot_not_there_yet() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.control("delays", Some(json!({"image": 120, "snapshot": 15})));
    let place = Place::Unanswered("CreateImage", 1);
    assert_eq!(killed(&cloud, place, By::Tags), before);
}

#[test]
fn killed_while_the_image_is_pending() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.control("delays", Some(json!({"image": 120})));
    assert_eq!(killed(&cloud, Place::Pending, By::Name), before);
}

#[test]
fn killed_while_the_candidate_is_looked_at() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (place, by) in [
        (Place::Unanswered("RunInstances", 2), By::Tags),
        (Place::Unanswered("TerminateInstances", 1), By::Tags),
    ] {
        assert_eq!(killed(&cloud, place, by), before, "{place:?}");
    }
}

/// An image that has its final name, and not the tag that it is released, is an orphan too.
#[test]
fn killed_before_the_image_is_released() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (place, by) in [
        (Place::Unanswered("RegisterImage", 1), By::Tags),
        (Place::Unanswered("DeregisterImage", 1), By::Name),
    ] {
        assert_eq!(killed(&cloud, place, by), before, "{place:?}");
    }
}

#[test]
fn killed_after_the_image_is_released_it_stays_and_nothing_else() {
    let cloud = Cloud::start();
    for last in ["CreateTags", "ModifyImageAttribute"] {
        let before = cloud.inventory();
        let after = killed(&cloud, Place::Unanswered(last, 1), By::Tags);
        assert_one_image_more(&before, &after);
    }
    let released = own(&cloud, "DescribeImages");
    assert!(released.contains("killed, baked by amibake"), "{released}");
    assert!(!released.contains("amibake run"), "{released}");
}

/// Returns what the account's own images or snapshots are like.
fn own(cloud: &Cloud, action: &str) -> String {
    cloud.ask(action, &[("Owner.1", "self")])
}

#[test]
fn until_it_is_released_an_image_has_no_tag_that_anybody_picks_by() {
    let cloud = Cloud::start();
    let manifest = MANIFEST
        .replace("private-ip}", "private-ip, tags: {Cost: ci}}")
        .replace("image: {", "image: {tags: {Team: web}, ");
    cloud.fault("CreateTags", "hold-before", json!({"seconds": 600}));
    let mut build = Build::of(&cloud, &manifest);
    build.wait_for("the release", || cloud.is_held("CreateTags"));
    let tags = |action| {
        let listed = own(&cloud, action);
        ["Cost", "Team", "Name"].map(|key| listed.contains(&format!("<key>{key}</key>")))
    };
    for action in ["DescribeImages", "DescribeSnapshots"] {
        assert_eq!(tags(action), [true, false, false], "{action}");
    }
    cloud.control("release", Some(json!({})));
    assert!(build.end().success(), "{}", build.said());
    for action in ["DescribeImages", "DescribeSnapshots"] {
        assert_eq!(tags(action), [true; 3], "{action}");
    }
}

/// Whoever can write tags, and nothing else, has `reap` remove no image that was released.
#[test]
fn what_is_released_stays_whatever_its_tags_say() {
    let cloud = Cloud::start();
    // All lists come in pages of one thing, and an empty one first.
    cloud.control("ways", Some(json!({"page": 1, "empty_pages": true})));
    let before = cloud.inventory();
    build(&cloud, 0);
    let built = cloud.inventory();
    assert_one_image_more(&before, &built);
    let new = |kind: &str| {
        let mut things = built[kind].iter();
        things
            .find(|id| !before[kind].contains(id))
            .unwrap()
            .clone()
    };
    let (image, snapshot) = (new("images"), new("snapshots"));
    let forged = [
        ("ResourceId.1", image.as_str()),
        ("ResourceId.2", snapshot.as_str()),
        ("Tag.1.Key", "amibake:state"),
        ("Tag.1.Value", "temporary"),
        ("Tag.2.Key", "amibake:expires"),
        ("Tag.2.Value", "2020-01-01T00:00:00Z"),
    ];
    cloud.ask("CreateTags", &forged);
    let told = expect_exit(&mut cloud.amibake(["reap"]), 0);
    assert_eq!(cloud.inventory(), built, "{}", text(&told.stdout));
    cloud.control("ways", Some(json!({"page": 1000, "empty_pages": false})));
    let listed = own(&cloud, "DescribeImages");
    let run = listed.split("<key>amibake:run</key>").nth(1).unwrap();
    let run = run.split(['<', '>']).nth(2).unwrap();
    expect_exit(&mut cloud.amibake(["reap", "--run", run]), 0);
    assert_eq!(cloud.inventory(), built, "the run is named");
}

#[test]
fn what_a_killed_build_left_is_due_on_its_host_at_once_and_elsewhere_when_it_expires() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.fault("RunInstances", "hold", json!({"seconds": 600}));
    reach(&cloud, "RunInstances").kill();
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
    let next = expect_exit(cloud.amibake(["build"]).arg(manifest), 1);
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
