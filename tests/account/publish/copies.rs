//! Copies in other regions: one however many ask for it, so many at a time, and the others where one region is down.

use std::collections::BTreeSet;

use serde_json::json;

use super::{OTHER, THIRD, account, assert_published, everything, image, images};
use crate::account::build::{Build, client_in, parameters_in};
use crate::account::child::{Process, Work, amibake};
use crate::account::nothing_twice::another_second;
use crate::account::server::{Call, REGION};
use crate::account::{PACE, fast};
use crate::exit::Exit;

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn two_that_repair_at_once_make_one_copy() {
    let account = account().await;
    let pace = fast();
    let wanted = ", regions: [us-east-1], ssm_parameter: /ami/web";
    let built = Build::publishing(&account, wanted).run().await;
    let home = built.ended(Exit::Done).image.unwrap().id;
    drop(pace);
    let copy = image(&account, OTHER).await;
    let gone = client_in(&account, OTHER).await.deregister_image();
    gone.image_id(copy.image_id().unwrap())
        .send()
        .await
        .unwrap();
    account.control("calls/clear", json!({})).await;
    // Each has seen that there is none before one of them may ask for it.
    let both = json!({"times": 2, "seconds": 600});
    account.fault("CopyImage", "hold-before", both).await;
    let manifest = account.home().join("manifest.yaml");
    let words = ["publish", &home, manifest.to_str().unwrap()];
    let words = words.map(str::to_owned).to_vec();
    let begin = || Process::start(&account, PACE, Work::Command(words.clone()), &[]);
    let (one, two) = (begin(), begin());
    let runs = |calls: &[Call]| {
        let asked = calls.iter().filter(|call| call.action == "CopyImage");
        let runs = asked.map(|call| call.params["Description"].clone());
        runs.collect::<BTreeSet<String>>().len()
    };
    let are_held = async || runs(&account.calls().await) == 2;
    account.wait_until("both to ask for a copy", are_held).await;
    account.release().await;
    for process in [one, two] {
        process.end().await.ended(0);
    }
    let copy = image(&account, OTHER).await;
    let calls = account.calls().await;
    let asked: Vec<&Call> = calls.iter().filter(|c| c.action == "CopyImage").collect();
    let first = &asked[0].params["ClientToken"];
    let others = |call: &&&Call| call.params["Description"] != asked[0].params["Description"];
    let theirs = asked.iter().find(others).unwrap();
    assert_eq!(&theirs.params["ClientToken"], first, "{asked:#?}");
    let parameter = parameters_in(&account, OTHER).await.get_parameter();
    let parameter = parameter.name("/ami/web").send().await.unwrap();
    let has = parameter.parameter.and_then(|p| p.value);
    assert_eq!(
        has.as_deref(),
        copy.image_id(),
        "both have published the one copy"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_region_that_is_down_is_told_and_the_others_are_finished_and_resume_goes_on() {
    let _pace = fast();
    let account = account().await;
    let down = json!({"region": OTHER, "times": 9999});
    account.fault("CopyImage", "error", down).await;
    let wanted = everything().replace(OTHER, "us-east-1, eu-central-1");
    let built = Build::publishing(&account, &wanted).run().await;
    let built = built.ended(Exit::LeftBehind);
    account.assert_all_hit().await;
    let home = built.image.as_ref().unwrap().id.clone();
    assert_published(&account, REGION).await;
    assert_published(&account, THIRD).await;
    assert_eq!(images(&account, OTHER).await.len(), 0);
    let left = built.left_behind();
    let [(what, command)] = left[..] else {
        panic!("{left:?}");
    };
    assert!(what.contains(OTHER), "{what}");
    let manifest = account.home().join("manifest.yaml");
    let manifest = manifest.to_str().unwrap();
    assert_eq!(
        command,
        format!("amibake resume --region {REGION} {home} {manifest}")
    );
    account.control("clear", json!({})).await;
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let told = amibake(&account, &words, 0).await;
    assert_eq!(told.stdout, format!("{home}\n"));
    for region in [REGION, OTHER, THIRD] {
        assert_published(&account, region).await;
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn copies_wait_where_a_region_makes_no_more_and_are_made_so_many_at_a_time() {
    let _pace = fast();
    let account = account().await;
    let full = json!({"code": "ResourceLimitExceeded", "times": 2, "status": 400});
    account.fault("CopyImage", "error", full).await;
    let wanted =
        ", regions: [us-east-1, eu-central-1, me-south-1], copies: {at_once: 1, within: 30m}";
    let long = ", timeouts: {total: 1h}";
    let built = Build::whole(&account, long, wanted).run().await;
    built.ended(Exit::Done);
    account.assert_all_hit().await;
    for region in ["us-east-1", "eu-central-1", "me-south-1"] {
        image(&account, region).await;
    }
    let calls = account.calls().await;
    let copies: Vec<&Call> = calls.iter().filter(|c| c.action == "CopyImage").collect();
    assert_eq!(copies.len(), 5);
    assert!(
        copies
            .iter()
            .all(|c| c.params["SnapshotCopyCompletionDurationMinutes"] == "30")
    );
    assert_eq!(account.control("most-copies", json!({})).await, 1);
    // Those that may be made at once are: each takes longer than all of them take to be asked for.
    account.control("delays", json!({"image": 1.0})).await;
    let wanted = wanted.replace("at_once: 1", "at_once: 2");
    another_second().await;
    let built = Build::whole(&account, long, &wanted).run().await;
    built.ended(Exit::Done);
    assert_eq!(account.control("most-copies", json!({})).await, 2);
}

/// Copies take up to hours, in which a lock may be taken over.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_lock_is_looked_at_before_a_parameter_is_set_and_its_loss_told_once() {
    let _pace = fast();
    let account = account().await;
    let hold = json!({"seconds": 600});
    account.fault("CopyImage", "hold-before", hold).await;
    let build = Build::publishing(&account, &everything());
    let taking = async {
        account.wait_until_held().await;
        let ec2 = client_in(&account, REGION).await;
        let all = ec2.describe_launch_templates().send().await.unwrap();
        let all = all.launch_templates.unwrap();
        let is_lock = |name: Option<&str>| name.is_some_and(|n| n.starts_with("amibake-lock-"));
        let lock = all
            .iter()
            .find(|t| is_lock(t.launch_template_name()))
            .unwrap();
        let gone = ec2.delete_launch_template();
        let gone = gone.launch_template_id(lock.launch_template_id().unwrap());
        gone.send().await.unwrap();
        account.release().await;
    };
    let (built, ()) = tokio::join!(build.run(), taking);
    let built = built.ended(Exit::Done);
    assert_eq!(
        built.said.matches("its lock was taken over").count(),
        1,
        "{}",
        built.said
    );
    assert_published(&account, OTHER).await;
}
