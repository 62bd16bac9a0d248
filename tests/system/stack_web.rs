//! The stack that ships, deployed from nothing and then again, on real machines, with somebody who asks all the time.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::load::{Client, Load, Site};
use crate::support::site::{Turns, all, assert_served};
use crate::support::{Cloud, expect_exit, text, wait_for};

/// Bake times as short as the test EC2's checks, where a second of AWS is less than half of one.
const PACE: [&str; 6] = ["--bake", "3s", "--keep", "1s", "--healthy-within", "80s"];

/// A stack of one instance a colour, with its first image live.
struct Deployed {
    cloud: Cloud,
    site: Site,
    outputs: Json,
}

impl Deployed {
    fn start() -> Self {
        let cloud = Cloud::start();
        cloud.control("stacks", Some(json!({"second": 0.4})));
        let (certificate, pem) = cloud.certificate();
        let image = cloud.image_of("v1");
        let mut first = cloud.amibake(["stack", "deploy", "web", "--ami", &image]);
        let given = format!("CertificateArn={certificate}");
        first
            .args(["--param", &given, "--param", "MinSize=1"])
            .args(PACE);
        let told = text(&expect_exit(&mut first, 0).stdout);
        let told: Json = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        assert!(told.to_string().contains("https://"), "{told}");
        let site = cloud.site(&pem);
        let outputs = cloud.outputs("web");
        Self {
            cloud,
            site,
            outputs,
        }
    }

    fn group(&self, colour: &str) -> &str {
        self.outputs[format!("TargetGroup{colour}")]
            .as_str()
            .unwrap()
    }

    /// Returns what one client is answered now.
    fn answer(&self) -> (u16, String) {
        Client::new(&self.site).ask("/").what.unwrap()
    }
}

#[test]
fn no_request_fails_while_one_colour_takes_over_and_when_it_is_taken_back() {
    let deployed = Deployed::start();
    let cloud = &deployed.cloud;
    assert_eq!(deployed.answer(), (200, "v1".to_owned()));
    let second = cloud.image_of("v2");

    let load = Load::start(&deployed.site, "/");
    let mut deploy = cloud.amibake(["stack", "deploy", "web", "--ami", &second]);
    let mut deploy =
        cloud.run(deploy.args(["--bake", "3s", "--keep", "5m", "--healthy-within", "80s"]));
    wait_for(
        "all traffic for the new version",
        Duration::from_mins(3),
        || {
            assert!(deploy.runs(), "{}", deploy.said());
            Turns::read(cloud).last() == [deployed.group("Green")]
        },
    );
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(deployed.answer(), (200, "v2".to_owned()));
    let after_deploy = load.count();

    // The old colour is warm: this is one call.
    let rollback = cloud
        .amibake(["stack", "rollback", "web"])
        .output()
        .unwrap();
    assert_eq!(rollback.status.code(), Some(0), "{}", all(&rollback));
    assert_eq!(deployed.answer(), (200, "v1".to_owned()));
    let ended = deploy.wait().ended(1);
    let taken_over = "has taken this rollout over";
    assert!(ended.stderr.contains(taken_over), "{}", ended.stderr);
    let answers = load.end();
    assert!(
        after_deploy > 100 && answers.len() > after_deploy,
        "{}",
        answers.len()
    );

    let turns = Turns::read(cloud);
    assert!(turns.count() >= 4, "{turns:?}");
    let colours = [
        ("v1", deployed.group("Blue")),
        ("v2", deployed.group("Green")),
    ];
    assert_served(&answers, &turns, &colours);
    println!("{} requests, none failed", answers.len());
}
