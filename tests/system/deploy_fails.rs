//! Deploys that come to nothing, on real machines behind the stack that ships: images that do not do, an alarm, a
//! certificate that ends. Each says what was wrong, and whoever asks the site meanwhile sees nothing of it. What failed may
//! be kept, and what is live may be ill: neither keeps a deploy from mending it.

use std::time::Duration;

use serde_json::json;

use crate::support::load::{Load, summary};
use crate::support::running::{Built, RunningBuild};
use crate::support::site::{DOMAIN, Deployed, Does, PACE};
use crate::support::turns::{Turns, assert_served};
use crate::support::{expect_exit, text, wait_for};

/// Calls that make and remove a stack's lock; nothing else is changed by them.
const LOCK: [&str; 4] = [
    "CreateLaunchTemplate",
    "CreateLaunchTemplateVersion",
    "DeleteLaunchTemplate",
    "CreateTags",
];

impl Deployed {
    /// Has a deploy fail; returns what it said. Blue is as it was, has the traffic, and nothing is left of the way.
    fn fails(&self, image: &str, more: &[&str], code: i32) -> String {
        self.leaves_blue_alone(|| {
            let output = expect_exit(&mut self.deploy(image, more), code);
            assert_eq!(text(&output.stdout), "");
            text(&output.stderr)
        })
    }

    fn leaves_blue_alone(&self, work: impl FnOnce() -> String) -> String {
        let before = self.picture("Blue");
        let said = work();
        assert_eq!(self.picture("Blue"), before, "{said}");
        assert_eq!(self.answer(), (200, "v1".to_owned()), "{said}");
        said
    }

    /// Has a deploy fail before it changes anything but its lock.
    fn refuses(&self, image: &str, more: &[&str], code: i32) -> String {
        let calls = self.cloud.calls().len();
        let said = self.fails(image, more, code);
        let mut changing = self.cloud.calls().split_off(calls);
        let reads = ["Describe", "Get", "List", "Simulate"];
        changing.retain(|call| !reads.iter().any(|verb| call.starts_with(verb)));
        changing.retain(|call| !LOCK.contains(&call.as_str()));
        assert_eq!(changing, [""; 0], "{said}");
        said
    }

    /// Insists that green has the one instance that failed, and that its alarm does what it does after some minutes.
    fn keeps_what_failed(&self) {
        let green = self.picture("Green");
        assert_eq!(green["instances"].as_array().unwrap().len(), 1, "{green}");
        assert_eq!(green["health"][0][1], "unhealthy", "{green}");
        self.alarm_on("UnhealthyGreen", "ALARM");
    }

    fn wait_until_green_is_empty(&self) {
        wait_for("the end of what was kept", Duration::from_mins(1), || {
            let green = self.picture("Green");
            green["instances"] == json!([]) && green["sizes"] == json!([0, 0, 4])
        });
    }

    /// Writes smoke tests that want answers of this version.
    fn smoke(&self, version: &str) -> String {
        let path = self.cloud.folder().join("smoke.yaml");
        let tests = format!("- path: /healthz\n- {{path: /, contains: {version}, times: 3}}\n");
        std::fs::write(&path, tests).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Waits until green has part of the traffic.
    fn wait_for_part(&self, deploy: &mut RunningBuild) {
        wait_for("10 % of the traffic", Duration::from_mins(3), || {
            assert!(deploy.runs(), "{}", deploy.said());
            let turns = Turns::read(&self.cloud);
            turns.last().len() == 2
        });
    }
}

fn assert_says(said: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
}

#[test]
fn what_is_not_to_be_deployed_leaves_the_live_colour_and_its_requests_alone() {
    let deployed = Deployed::start();
    let load = Load::start(&deployed.site, "/");
    is_refused(&deployed);
    does_not_boot(&deployed);
    answers_health_checks_with_500(&deployed);
    an_alarm_fires(&deployed);

    let turns = Turns::read(&deployed.cloud);
    let colours = [
        ("v1", deployed.group("Blue")),
        ("v2", deployed.group("Green")),
    ];
    let answers = load.end();
    assert_served(&answers, &turns, &colours);
    assert!(answers.iter().any(|one| one.is_of("v2")), "v2 had 10 %");
    println!("{}", summary(&answers));
}

/// The wrong architecture, a certificate that ends too soon, and an alarm that fires already.
fn is_refused(deployed: &Deployed) {
    let cloud = &deployed.cloud;
    let image = cloud.image_of("arm");
    let is_arm = json!({"image": image, "architecture": "arm64"});
    cloud.control("image", Some(is_arm));
    let said = deployed.refuses(&image, &PACE, 2);
    assert_says(
        &said,
        &["t3.small is for x86_64, and the image is for arm64"],
    );

    let mut soon = cloud.amibake(["cert", "soon", "--domain", DOMAIN, "--valid-for", "2h"]);
    let soon = expect_exit(soon.args(["--renew-before", "1h"]), 0);
    let soon = format!("CertificateArn={}", text(&soon.stdout).trim());
    let said = deployed.refuses("current", &["--param", &soon], 1);
    assert_says(&said, &["ends at 20", "and a deploy wants it valid for "]);

    let alarm = deployed.alarm("ALARM");
    let image = cloud.image_of("quiet");
    let said = deployed.refuses(&image, &PACE, 1);
    let told = format!("alarms fire before anything is begun: {alarm}");
    assert_says(&said, &[&told, "nothing was changed"]);
    deployed.alarm("OK");
}

/// With options by which what failed stays, once it was waited for so long.
fn kept(healthy_within: &str) -> [&str; 5] {
    [
        "--keep-failed",
        "--bake",
        "3s",
        "--healthy-within",
        healthy_within,
    ]
}

/// It stays to be looked at, and goes with a rollback.
fn does_not_boot(deployed: &Deployed) {
    let image = deployed.cloud.image_that("dead", Does::NotBoot);
    let said = deployed.fails(&image, &kept("25s"), 4);
    let wanted = [
        "0 of 1 instances became healthy in time: i-",
        "is unhealthy: Target.FailedHealthChecks (Health checks failed)",
        "all traffic is with blue, as before",
        "console:\n",
        "Kernel panic - not syncing: No working init found.",
    ];
    assert_says(&said, &wanted);
    deployed.keeps_what_failed();
    let end = deployed.leaves_blue_alone(|| {
        let mut rollback = deployed.cloud.amibake(["stack", "rollback", "web"]);
        text(&expect_exit(&mut rollback, 0).stdout)
    });
    assert_says(&end, &[r#"{"ended":"is-back","live":"blue"}"#]);
    deployed.wait_until_green_is_empty();
}

/// It stays too, and goes with the next deploy.
fn answers_health_checks_with_500(deployed: &Deployed) {
    let image = deployed.cloud.image_that("ill", Does::FailAfter(0));
    // It boots within that where others compile beside.
    let said = deployed.fails(&image, &kept("40s"), 4);
    let wanted = [
        "0 of 1 instances became healthy in time: i-",
        "is unhealthy: Target.ResponseCodeMismatch (Health checks failed with these codes: [500])",
        "all traffic is with blue, as before",
        "console:\n",
        "web: the database does not answer",
    ];
    assert_says(&said, &wanted);
    deployed.keeps_what_failed();
}

/// While the new colour is watched with its 10 %. Who deploys at the same time is told of it.
fn an_alarm_fires(deployed: &Deployed) {
    let image = deployed.cloud.image_of("v2");
    let said = deployed.leaves_blue_alone(|| {
        let long = ["--bake", "10m", "--healthy-within", "80s"];
        let mut deploy = deployed.cloud.run(&mut deployed.deploy(&image, &long));
        deployed.wait_for_part(&mut deploy);
        let second = expect_exit(&mut deployed.deploy(&image, &long), 1);
        let told = "stack web is being deployed or rolled back by run ";
        assert_says(&text(&second.stderr), &[told, ", since 20"]);
        let alarm = deployed.alarm("ALARM");
        let Built { stderr, .. } = deploy.wait().ended(4);
        deployed.alarm("OK");
        assert_says(&stderr, &[&format!("alarms fire: {alarm}")]);
        stderr
    });
    assert_says(&said, &["all traffic is with blue, as before"]);
}

#[test]
fn what_fails_under_smoke_tests_or_traffic_goes_back_and_what_was_killed_or_is_ill_is_mended() {
    let deployed = Deployed::start();
    let load = Load::start(&deployed.site, "/");
    fails_smoke_tests(&deployed);
    fails_under_traffic(&deployed);
    goes_on_after_a_kill(&deployed);
    mends_what_is_ill(&deployed);

    let turns = Turns::read(&deployed.cloud);
    let colours = [
        ("v1", deployed.group("Blue")),
        ("tires", deployed.group("Green")),
        ("v3", deployed.group("Green")),
        ("v4", deployed.group("Blue")),
    ];
    let answers = load.end();
    assert_served(&answers, &turns, &colours);
    println!("{}", summary(&answers));
}

/// The idle colour is asked, before anybody else reaches it.
fn fails_smoke_tests(deployed: &Deployed) {
    let image = deployed.cloud.image_of("v2");
    let smoke = deployed.smoke("v3");
    let turns = Turns::read(&deployed.cloud).count();
    let more = ["--smoke", &smoke, "--bake", "3s", "--healthy-within", "80s"];
    let said = deployed.fails(&image, &more, 4);
    let wanted = [
        r#"a smoke test failed: GET / answered without "v3": "v2""#,
        "all traffic is with blue, as before",
    ];
    assert_says(&said, &wanted);
    let after = Turns::read(&deployed.cloud);
    assert_eq!(after.count(), turns, "nothing moved: {after:?}");
}

/// It is well while it is idle, and no more once it has answered some requests.
fn fails_under_traffic(deployed: &Deployed) {
    let image = deployed.cloud.image_that("tires", Does::FailAfter(20));
    let more = ["--bake", "10m", "--healthy-within", "80s"];
    let said = deployed.fails(&image, &more, 4);
    let wanted = [
        "traffic: blue 90 %, green 10 %",
        "is unhealthy: Target.ResponseCodeMismatch (Health checks failed with these codes: [500])",
        "traffic: blue 100 %, green 0 %",
        "all traffic is with blue, as before",
        "web: the database does not answer",
    ];
    assert_says(&said, &wanted);
}

/// A zone has no room, which is told, and the other one has; smoke tests pass, and then the deploy is killed with
/// 10 % of the traffic at the new colour. The same command goes on from there.
fn goes_on_after_a_kill(deployed: &Deployed) {
    let cloud = &deployed.cloud;
    let image = cloud.image_of("v3");
    let full = json!({"full_zones": ["eu-west-1a"]});
    cloud.control("stacks", Some(full));
    let smoke = deployed.smoke("v3");
    let calls = cloud.calls().len();
    let more = [&["--smoke", smoke.as_str()][..], &PACE].concat();
    let long = [
        "--smoke",
        &smoke,
        "--bake",
        "10m",
        "--healthy-within",
        "80s",
    ];
    let mut deploy = cloud.run(&mut deployed.deploy(&image, &long));
    deployed.wait_for_part(&mut deploy);
    deploy.kill();
    let wanted = [
        "We currently do not have sufficient t3.small capacity in the Availability Zone you requested (eu-west-1a)",
        "green gets the smoke tests' requests",
        "traffic: blue 90 %, green 10 %",
    ];
    assert_says(&deploy.said(), &wanted);
    assert_tested_first(&cloud.calls().split_off(calls));

    // Ten minutes later.
    cloud.control("ways", Some(json!({"clock_skew": 601})));
    let output = expect_exit(&mut deployed.deploy(&image, &more), 0);
    let said = text(&output.stderr);
    assert_says(
        &said,
        &["its lock is taken over", "traffic: blue 0 %, green 100 %"],
    );
    assert!(!said.contains("green gets the smoke tests"), "{said}");
    assert_eq!(deployed.answer(), (200, "v3".to_owned()));
}

/// The rule of the smoke tests was made, and removed, before the traffic's rule was changed.
fn assert_tested_first(calls: &[String]) {
    let first = |name: &str| calls.iter().position(|call| call == name);
    let [made, removed, moved] = ["CreateRule", "DeleteRule", "ModifyRule"].map(first);
    let in_order = made.is_some() && made < removed && removed < moved;
    assert!(in_order, "{made:?} {removed:?} {moved:?}");
}

/// What is live fails its health checks, of which its alarm tells: a deploy is refused, and goes past that when it is told
/// to. Requests are answered all the while, since a load balancer asks everybody where nobody is healthy.
fn mends_what_is_ill(deployed: &Deployed) {
    let cloud = &deployed.cloud;
    let green = deployed.picture("Green");
    let ill = green["instances"][0][0].as_str().unwrap();
    assert!(cloud.inside(ill, "touch /run/ill").status.success());
    wait_for("its checks to fail", Duration::from_mins(1), || {
        deployed.picture("Green")["health"] == json!([[ill, "unhealthy"]])
    });
    let alarm = deployed.alarm_on("UnhealthyGreen", "ALARM");
    let image = cloud.image_of("v4");
    let said = text(&expect_exit(&mut deployed.deploy(&image, &PACE), 1).stderr);
    let told = format!("alarms fire before anything is begun: {alarm}");
    assert_says(&said, &[&told, "nothing was changed", "--despite-alarms"]);
    assert_eq!(deployed.answer(), (200, "v3".to_owned()));

    let despite = [&PACE[..], &["--despite-alarms"]].concat();
    let said = text(&expect_exit(&mut deployed.deploy(&image, &despite), 0).stderr);
    let told = format!("do not count until they have ended: {alarm}");
    assert_says(&said, &[&told, "traffic: blue 100 %, green 0 %"]);
    assert_eq!(deployed.answer(), (200, "v4".to_owned()));
}
