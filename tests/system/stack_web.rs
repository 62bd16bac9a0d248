//! The stack that ships, deployed from nothing and then again, on real machines, with somebody who asks all the time.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::load::{Load, summary};
use crate::support::site::{Deployed, all};
use crate::support::turns::{Turns, assert_served};
use crate::support::{Cloud, wait_for};

#[test]
fn no_request_fails_while_one_colour_takes_over_and_when_it_is_taken_back() {
    let deployed = Deployed::start();
    let cloud = &deployed.cloud;
    assert_eq!(deployed.answer(), (200, "v1".to_owned()));
    let second = cloud.image_of("v2");

    let load = Load::start(&deployed.site, "/");
    let warm = ["--bake", "3s", "--keep", "5m", "--healthy-within", "80s"];
    let mut deploy = cloud.run(&mut deployed.deploy(&second, &warm));
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
    updates_move_no_traffic(&deployed);

    // The old colour is warm: this is one call.
    let turns = Turns::read(cloud).count();
    let rollback = cloud
        .amibake(["stack", "rollback", "web"])
        .output()
        .unwrap();
    assert_eq!(rollback.status.code(), Some(0), "{}", all(&rollback));
    assert_eq!(Turns::read(cloud).count(), turns + 1);
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
    println!("{}", summary(&answers));
}

/// Somebody updates the stack while both colours run, and once it is rolled back: the template says that blue has
/// the traffic, and green keeps it.
fn updates_move_no_traffic(deployed: &Deployed) {
    let cloud = &deployed.cloud;
    let rules = |colour| deployed.picture(colour)["rules"].clone();
    let before = rules("Green");
    assert_eq!(update(cloud, "30"), "UPDATE_COMPLETE");
    let trouble = json!({"resource": "LogBucket", "action": "UPDATE", "reason": "not today"});
    cloud.control("trouble", Some(trouble));
    assert_eq!(update(cloud, "60"), "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(rules("Green"), before);
    assert_eq!(deployed.answer(), (200, "v2".to_owned()));
}

/// Changes a parameter of the stack by hand; returns the stack's status when that has ended.
fn update(cloud: &Cloud, days: &str) -> String {
    let named = json!({"StackName": "web"});
    let stack = |cloud: &Cloud| {
        let told = cloud.aws("cloudformation", "describe_stacks", named.clone());
        told["Stacks"][0].clone()
    };
    let kept = stack(cloud)["Parameters"].clone();
    let kept = kept.as_array().unwrap().iter().map(|parameter| {
        let key = &parameter["ParameterKey"];
        match key == "LogDays" {
            true => json!({"ParameterKey": key, "ParameterValue": days}),
            false => json!({"ParameterKey": key, "UsePreviousValue": true}),
        }
    });
    let asked = json!({
        "StackName": "web",
        "UsePreviousTemplate": true,
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": kept.collect::<Vec<Json>>(),
    });
    cloud.aws("cloudformation", "update_stack", asked);
    let mut status = String::new();
    wait_for("the update's end", Duration::from_mins(1), || {
        stack(cloud)["StackStatus"]
            .as_str()
            .unwrap()
            .clone_into(&mut status);
        !status.ends_with("_IN_PROGRESS")
    });
    status
}
