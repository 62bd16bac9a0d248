//! Whatever dies when, nothing stays in the account.
//!
//! Builds that are killed, interrupted, refused or not answered, at places spread over a run. A
//! place is a call that the test EC2 holds, or a state that it is in, so each test knows that it
//! hit what it meant to.

#![cfg(feature = "ec2")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Cloud, expect_exit, text, wait_for};

const MANIFEST: &str = r#"
name: killed
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Take a moment
        ansible.builtin.shell: {cmd: touch /var/tmp/busy; sleep 3}
image: {name: "killed-{{ build_time }}"}
"#;

type Inventory = BTreeMap<String, Vec<String>>;

/// A build under way.
struct Build {
    child: Child,
    stderr: std::path::PathBuf,
}

impl Build {
    fn start(cloud: &Cloud) -> Self {
        let manifest = cloud.manifest(MANIFEST);
        let stderr = cloud.folder().join("stderr");
        let child = cloud
            .amibake(["build"])
            .arg(manifest)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stderr }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for a state of the account or a machine that the living build leads to.
    fn wait_for(&mut self, what: &str, mut is_true: impl FnMut() -> bool) {
        wait_for(what, Duration::from_mins(5), || {
            assert!(!self.has_ended(), "{what}: it ended\n{}", self.said());
            is_true()
        });
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Kills it without a chance to do anything.
    fn kill(mut self) {
        assert!(!self.has_ended(), "it was over already\n{}", self.said());
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

// Killed --------------------------------------------------------------------------------------

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

fn reach(cloud: &Cloud, action: &str) -> Build {
    let mut build = Build::start(cloud);
    build.wait_for(action, || cloud.is_held(action));
    build
}

fn is_busy(cloud: &Cloud) -> bool {
    let machines = cloud.machines();
    let mut roots = machines.values().map(|m| &m["root"]);
    roots.any(|root| std::path::Path::new(root).join("var/tmp/busy").exists())
}

fn reap(cloud: &Cloud, by: By, place: Place) {
    let journals = cloud.folder().join("state/amibake");
    let runs: Vec<String> = std::fs::read_dir(&journals)
        .unwrap()
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".journal").map(str::to_owned)
        })
        .collect();
    assert_eq!(runs.len(), 1, "{place:?}: {runs:?}");
    match by {
        By::Name => {
            let mut reap = cloud.amibake(["reap", "--region", "eu-west-1", "--run", &runs[0]]);
            expect_exit(&mut reap, 0);
            let left = std::fs::read_dir(&journals).unwrap().count();
            assert_eq!(left, 0, "{place:?}: the journal of a paid run stays");
        }
        By::Tags => {
            std::fs::remove_dir_all(&journals).unwrap();
            let expired = cloud.control("expire", Some(json!({})));
            assert!(expired.as_u64().unwrap() > 0, "{place:?}");
            expect_exit(&mut cloud.amibake(["reap", "--region", "eu-west-1"]), 0);
        }
    }
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
    let before = cloud.inventory();
    let after = killed(&cloud, Place::Unanswered("CreateTags", 1), By::Tags);
    assert_one_image_more(&before, &after);
}

#[test]
fn what_has_not_expired_is_not_reaped_and_all_regions_are_looked_at() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.fault("RunInstances", "hold", json!({"seconds": 600}));
    reach(&cloud, "RunInstances").kill();
    cloud.control("clear", Some(json!({})));
    let left = cloud.inventory();
    assert_ne!(left, before);
    expect_exit(&mut cloud.amibake(["reap"]), 0);
    assert_eq!(cloud.inventory(), left, "the run may live elsewhere");
    cloud.control("expire", Some(json!({})));
    let told = expect_exit(&mut cloud.amibake(["reap", "--dry-run"]), 0);
    assert!(text(&told.stdout).contains(&left["instances"][0]));
    assert_eq!(cloud.inventory(), left, "a dry run");
    expect_exit(&mut cloud.amibake(["reap"]), 0);
    assert_eq!(cloud.inventory(), before);
}

// Interrupted ---------------------------------------------------------------------------------

#[test]
fn interrupted_it_cleans_up_and_exits_130() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for signal in ["INT", "TERM", "HUP"] {
        cloud.control("clear", Some(json!({})));
        let mut build = Build::start(&cloud);
        build.wait_for("the builder", || {
            cloud.calls().iter().any(|c| c == "RunInstances")
        });
        build.signal(signal);
        assert_eq!(
            build.end().code(),
            Some(130),
            "SIG{signal}\n{}",
            build.said()
        );
        assert_eq!(cloud.inventory(), before, "after SIG{signal}");
    }
}

/// EC2 has the call, and acts only when nobody waits for the answer any more: it makes the group,
/// which is then deleted; it refuses to start the builder in a group that is gone.
#[test]
fn interrupted_between_a_call_and_its_answer_it_hears_the_answer() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in ["CreateSecurityGroup", "RunInstances"] {
        cloud.control("clear", Some(json!({})));
        cloud.fault(action, "hold-before", json!({"seconds": 600}));
        let mut build = reach(&cloud, action);
        build.signal("INT");
        std::thread::sleep(Duration::from_secs(5));
        assert!(!build.has_ended(), "an answer is owed\n{}", build.said());
        let since = Instant::now();
        cloud.control("release", Some(json!({})));
        assert_eq!(build.end().code(), Some(130), "{}", build.said());
        let took = since.elapsed();
        assert!(
            took < Duration::from_secs(40),
            "{took:?}: it need not look for what it knows"
        );
        let deleted = cloud.calls().iter().any(|c| c == "DeleteSecurityGroup");
        assert!(deleted, "{action}: {:?}", cloud.calls());
        assert_eq!(cloud.inventory(), before, "{action}");
    }
}

#[test]
fn cancelled_as_github_actions_does_at_most_the_group_is_left_for_reap() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // An interface that lingers keeps the group for longer than the ten seconds.
    cloud.control("delays", Some(json!({"interface": 20, "image": 120})));
    let mut build = Build::start(&cloud);
    build.wait_for("a pending image", || {
        !cloud.inventory()["snapshots"].is_empty()
    });
    let calls = cloud.calls().len();
    build.signal("INT");
    std::thread::sleep(Duration::from_secs(2));
    let after_two = cloud.calls().split_off(calls);
    for call in [
        "TerminateInstances",
        "DeregisterImage",
        "DeleteSnapshot",
        "DeleteSecurityGroup",
    ] {
        assert!(
            after_two.iter().any(|c| c == call),
            "{call} within 2 s: {after_two:?}"
        );
    }
    std::thread::sleep(Duration::from_millis(5500));
    build.signal("TERM");
    std::thread::sleep(Duration::from_millis(2500));
    build.kill();
    let left = cloud.inventory();
    for (kind, things) in &left {
        assert!(
            kind == "security_groups" || *things == before[kind],
            "{kind}: {things:?}"
        );
    }
    assert_eq!(
        left["security_groups"].len(),
        before["security_groups"].len() + 1
    );
    reap(&cloud, By::Tags, Place::Pending);
    assert_eq!(cloud.inventory(), before);
}

#[test]
fn a_second_signal_of_the_same_kind_aborts_and_one_of_another_kind_does_not() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    cloud.control("delays", Some(json!({"interface": 600})));
    let mut build = Build::start(&cloud);
    build.wait_for("the task", || is_busy(&cloud));
    build.signal("INT");
    build.wait_for("the group's turn", || {
        cloud.calls().iter().any(|c| c == "DeleteSecurityGroup")
    });
    build.signal("TERM");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!build.has_ended(), "{}", build.said());
    build.signal("INT");
    wait_for("its end", Duration::from_secs(10), || build.has_ended());
    assert_eq!(build.end().code(), Some(130), "{}", build.said());
    let group = cloud.inventory()["security_groups"]
        .iter()
        .find(|id| !before["security_groups"].contains(id))
        .cloned()
        .unwrap();
    let remedy = format!("aws ec2 delete-security-group --region eu-west-1 --group-id {group}");
    let said = build.said();
    let named =
        format!("left behind: security group {group} in eu-west-1 (remove it with `{remedy}`)");
    assert!(said.contains(&named), "{said}");
}

// Refused -------------------------------------------------------------------------------------

/// What a build may ask of EC2 that changes something, and how often; what removes something is
/// asked as often as it takes.
const CHANGES: [(&str, usize); 7] = [
    ("AuthorizeSecurityGroupIngress", 1),
    ("CreateImage", 1),
    ("CreateSecurityGroup", 1),
    ("CreateTags", 1),
    ("RegisterImage", 1),
    ("RunInstances", 2),
    ("StopInstances", 1),
];
const REMOVALS: [&str; 3] = [
    "DeleteSecurityGroup",
    "DeregisterImage",
    "TerminateInstances",
];

/// The sweeps below have a case for each: a new call needs one too.
#[test]
fn a_build_changes_the_account_by_the_calls_that_are_swept() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    // Nothing is asked twice because it is not known everywhere yet.
    cloud.control("delays", Some(json!({"visible": 0})));
    let output = build(&cloud, 0);
    assert!(text(&output.stdout).starts_with("ami-"));
    assert_one_image_more(&before, &cloud.inventory());
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for call in cloud.calls() {
        *made.entry(call).or_default() += 1;
    }
    made.retain(|call, _| !call.starts_with("Describe") && !call.starts_with("Get"));
    for removal in REMOVALS {
        assert!(made.remove(removal).is_some(), "{removal} was not called");
    }
    let changes: Vec<(&str, usize)> = made.iter().map(|(c, n)| (c.as_str(), *n)).collect();
    assert_eq!(changes, CHANGES);
}

#[test]
fn a_refused_launch_is_told_and_cleaned_up_after() {
    refused(&[
        ("CreateSecurityGroup", 1),
        ("AuthorizeSecurityGroupIngress", 1),
        ("RunInstances", 1),
    ]);
}

#[test]
fn a_refused_capture_is_told_and_cleaned_up_after() {
    refused(&[("StopInstances", 1), ("CreateImage", 1)]);
}

#[test]
fn a_refused_candidate_is_told_and_cleaned_up_after() {
    refused(&[("RunInstances", 2), ("RegisterImage", 1)]);
}

#[test]
fn a_refused_release_is_told_and_cleaned_up_after() {
    refused(&[("CreateTags", 1)]);
}

fn refused(calls: &[(&str, u32)]) {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (action, nth) in calls {
        cloud.control("clear", Some(json!({})));
        refuse(&cloud, action, *nth);
        let output = build(&cloud, 1);
        assert_told(&cloud, &output, action);
        assert_eq!(text(&output.stdout), "", "{action}");
        assert_eq!(cloud.inventory(), before, "after {action} was refused");
    }
}

fn refuse(cloud: &Cloud, action: &str, nth: u32) {
    let no = json!({"code": "UnauthorizedOperation", "message": "no", "status": 403, "times": 99, "nth": nth});
    cloud.fault(action, "error", no);
}

fn assert_told(cloud: &Cloud, output: &Output, action: &str) {
    let faults = cloud.control("faults", None);
    assert!(
        faults[0]["hit"].as_u64().unwrap() > 0,
        "{action} was not reached"
    );
    let stderr = text(&output.stderr);
    let told = format!("{action} was refused in eu-west-1: UnauthorizedOperation");
    assert!(stderr.contains(&told), "{stderr}");
}

#[test]
fn an_instance_that_may_not_be_ended_is_named_with_its_group_and_the_rest_is_gone() {
    let kinds = ["instances", "volumes", "interfaces", "security_groups"];
    stays(&["TerminateInstances"], &kinds, true);
}

#[test]
fn a_candidate_that_may_not_be_deregistered_is_named_and_the_image_is_done() {
    stays(&["DeregisterImage"], &["images"], true);
}

#[test]
fn a_snapshot_that_may_not_be_deleted_is_named_and_the_rest_is_gone() {
    stays(&["RegisterImage", "DeleteSnapshot"], &["snapshots"], false);
}

#[test]
fn a_group_that_may_not_be_deleted_is_named_and_the_image_is_done() {
    stays(&["DeleteSecurityGroup"], &["security_groups"], true);
}

/// What cannot be removed is named with the command that removes it, nothing else is left, and
/// `reap` removes it when it may.
fn stays(refusals: &[&str], kinds: &[&str], image_is_done: bool) {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for action in refusals {
        refuse(&cloud, action, 1);
    }
    let output = build(&cloud, 3);
    assert_told(&cloud, &output, refusals[0]);
    assert_eq!(text(&output.stdout).starts_with("ami-"), image_is_done);
    let image = text(&output.stdout).trim().to_owned();
    let stderr = text(&output.stderr);
    let named = |id: &str| {
        let mut lines = stderr.lines().filter(|l| l.starts_with("left behind: "));
        lines.any(|line| line.matches(id).count() >= 2) // the thing, and its command
    };
    let mut left = cloud.inventory();
    if image_is_done {
        left.remove("snapshots");
    }
    for (kind, things) in &left {
        let new: Vec<&String> = things
            .iter()
            .filter(|id| !before[kind].contains(id) && **id != image)
            .collect();
        assert_eq!(
            kinds.contains(&kind.as_str()),
            !new.is_empty(),
            "{kind}: {new:?}\n{stderr}"
        );
        // Volumes and interfaces go with their instance.
        if kind != "volumes" && kind != "interfaces" {
            assert!(
                new.iter().all(|id| named(id)),
                "{new:?} is not named\n{stderr}"
            );
        }
    }
    cloud.control("clear", Some(json!({})));
    cloud.control("expire", Some(json!({})));
    expect_exit(&mut cloud.amibake(["reap", "--region", "eu-west-1"]), 0);
    match image_is_done {
        true => assert_one_image_more(&before, &cloud.inventory()),
        false => assert_eq!(cloud.inventory(), before, "reaped"),
    }
}

// Not answered --------------------------------------------------------------------------------

/// EC2 acts, and the connection is closed before its answer: every changing call once.
#[test]
fn when_every_answer_is_lost_once_the_build_goes_on() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    for (action, times) in CHANGES {
        for nth in 1..=times {
            // The call that follows a lost answer is the same again.
            cloud.fault(action, "drop", json!({"nth": nth}));
        }
    }
    for action in REMOVALS {
        cloud.fault(action, "drop", json!({}));
    }
    let output = build(&cloud, 0);
    assert!(text(&output.stdout).starts_with("ami-"));
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
}

#[test]
fn what_was_made_and_never_answered_is_found_and_removed() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let slower = json!({"code": "RequestLimitExceeded", "message": "slower", "status": 503, "times": 99, "nth": 2});
    let (no_answer, throttled) = ("got no answer", "RequestLimitExceeded");
    for (action, told) in [
        ("CreateSecurityGroup", no_answer),
        ("RunInstances", throttled),
        ("CreateImage", throttled),
        ("RegisterImage", no_answer),
    ] {
        cloud.control("clear", Some(json!({})));
        if told == throttled {
            // The last try is refused; the first was done.
            cloud.fault(action, "drop", json!({}));
            cloud.fault(action, "error", slower.clone());
        } else {
            cloud.fault(action, "drop", json!({"times": 99}));
        }
        let output = build(&cloud, 1);
        assert_all_hit(&cloud);
        let stderr = text(&output.stderr);
        let first = stderr.lines().find(|line| line.contains(action));
        assert!(first.is_some_and(|line| line.contains(told)), "{stderr}");
        assert_eq!(text(&output.stdout), "", "{action}");
        assert_eq!(cloud.inventory(), before, "after {action} was not answered");
    }
}

#[test]
fn throttled_it_goes_on() {
    let cloud = Cloud::start();
    let before = cloud.inventory();
    let often = ["DescribeInstances", "DescribeImages", "DescribeSubnets"];
    for action in CHANGES
        .map(|(action, _)| action)
        .iter()
        .chain(&REMOVALS)
        .chain(&often)
    {
        let slower =
            json!({"code": "RequestLimitExceeded", "message": "slower", "status": 503, "times": 2});
        cloud.fault(action, "error", slower);
    }
    build(&cloud, 0);
    assert_all_hit(&cloud);
    assert_one_image_more(&before, &cloud.inventory());
}

fn build(cloud: &Cloud, code: i32) -> Output {
    let manifest = cloud.manifest(MANIFEST);
    expect_exit(cloud.amibake(["build"]).arg(manifest), code)
}

fn assert_all_hit(cloud: &Cloud) {
    for fault in cloud.control("faults", None).as_array().unwrap() {
        assert!(fault["hit"].as_u64().unwrap() > 0, "not reached: {fault}");
    }
}

fn assert_one_image_more(before: &Inventory, after: &Inventory) {
    for (kind, had) in before {
        let more = usize::from(kind == "images" || kind == "snapshots");
        assert_eq!(
            after[kind].len(),
            had.len() + more,
            "{kind}: {:?}",
            after[kind]
        );
    }
}

// Kept ----------------------------------------------------------------------------------------

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
    assert_eq!(
        std::fs::read_dir(state).unwrap().count(),
        0,
        "keys of what is gone"
    );
}
