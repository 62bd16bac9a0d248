//! `plan` says what a build then does, and what changed since the last one.

use aws_sdk_ec2::types::Tag;
use serde_json::{Value as Json, json};

use super::build::{Build, client_in, parameters_in};
use super::child::amibake;
use super::nothing_twice::another_second;
use super::publish::{self, FRIEND, ORGANIZATION, OTHER, everything};
use super::server::{Account, REGION};
use crate::exit::Exit;
use crate::targets::ahead::Ahead;

fn same<'a>(account: &'a Account, more: &str) -> Build<'a> {
    Build::with(account, more).of_shared_content()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_input_that_changed_since_the_last_image_is_named() {
    let _pace = super::fast();
    let account = Account::open().await;
    let ahead = same(&account, "").ahead().await;
    assert!(
        ahead.finished().is_none() && ahead.last.is_none(),
        "{ahead:?}"
    );
    let built = same(&account, "").run().await.ended(Exit::Done);
    let image = built.image.unwrap().id;

    let ahead = same(&account, "").ahead().await;
    assert_eq!(ahead.finished().unwrap().id, image);
    assert!(ahead.last.unwrap().changes.unwrap().is_empty());
    for (more, changed) in [
        (", user: admin", "the login user or the SSH port"),
        (", volumes: [{size_gib: 20}]", "builder.volumes"),
        (", user_data: '#!/bin/true'", "builder.user_data"),
    ] {
        let ahead = same(&account, more).ahead().await;
        assert!(ahead.finished().is_none(), "{ahead:?}");
        let last = ahead.last.unwrap();
        assert_eq!(last.id, image);
        let changes: Vec<&str> = last
            .changes
            .iter()
            .flatten()
            .map(|c| c.what.as_str())
            .collect();
        assert_eq!(changes, [changed]);
    }
    // Nothing is known to have changed where nothing says what it was.
    let inputs = Tag::builder().key("amibake:inputs").build();
    let ec2 = client_in(&account, REGION).await;
    let untag = ec2.delete_tags().resources(&image).tags(inputs);
    untag.send().await.unwrap();
    let ahead = same(&account, ", user: admin").ahead().await;
    assert_eq!(ahead.last.unwrap().changes, None);
    // An old one is shown with the reason.
    let mut impatient = same(&account, "");
    impatient.plan.image.max_age = std::time::Duration::ZERO;
    let ahead = impatient.ahead().await;
    let why = ahead.same_content[0].unfit.clone().unwrap();
    assert!(why.starts_with("it is older than image.max_age"), "{why}");
}

/// Returns the calls that change something, in the order of the alphabet. Beats, renewals and tries at removing are
/// as many as it takes, and count once.
pub(super) async fn changing(account: &Account) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    let mut is_renewed = false;
    for call in account.calls().await {
        let is_template = call.params.contains_key("LaunchTemplateData.ImageId");
        let is_beat = call.action == "CreateLaunchTemplateVersion" && !is_template;
        let repeats = ["DeleteSecurityGroup", "TerminateInstances"];
        let is_look = call.action.starts_with("Describe") || call.action.starts_with("Get");
        let repeats = repeats.contains(&call.action.as_str()) && made.contains(&call.action);
        let renews = call.action == "CreateTags" && call.params.values().any(|v| v == "temporary");
        let repeats = repeats || (renews && std::mem::replace(&mut is_renewed, true));
        if !is_look && !is_beat && !repeats {
            made.push(call.action);
        }
    }
    made.sort();
    made
}

/// Returns the same of a plan, in which one beat is listed where an image is made.
pub(super) fn planned(ahead: &Ahead) -> Vec<String> {
    let mut calls: Vec<String> = ahead.calls.iter().map(|c| (*c).to_owned()).collect();
    if calls.contains(&"RunInstances".to_owned()) {
        let beat = calls
            .iter()
            .position(|c| c == "CreateLaunchTemplateVersion");
        calls.remove(beat.unwrap());
        let again = calls.iter().position(|c| c == "TerminateInstances");
        calls.remove(again.unwrap());
    }
    calls.sort();
    calls
}

/// It is no list that somebody has to remember.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_calls_that_are_planned_are_those_that_a_build_makes() {
    let _pace = super::fast();
    for image in [String::new(), everything()] {
        let account = publish::account().await;
        account.control("delays", json!({"visible": 0})).await;
        let build = || Build::publishing(&account, &image).of_shared_content();
        let ahead = build().ahead().await;
        let is_quiet = ahead.notes.is_empty() && ahead.problems.is_empty();
        assert!(is_quiet, "{ahead:#?}");
        account.control("clear", json!({})).await;
        build().run().await.ended(Exit::Done);
        assert_eq!(planned(&ahead), changing(&account).await, "{ahead:#?}");
        // What is there as it should be is neither made nor published again.
        let ahead = build().ahead().await;
        assert!(ahead.finished().is_some());
        assert!(
            ahead.calls.is_empty() && ahead.resources.is_empty(),
            "{ahead:#?}"
        );
        assert!(ahead.publication.is_empty() && ahead.problems.is_empty());
    }
}

/// What became of it since is told as it is mended.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_a_build_would_mend_of_an_image_that_is_there_is_planned_and_done() {
    let _pace = super::fast();
    let account = publish::account().await;
    let build = || Build::publishing(&account, &everything()).of_shared_content();
    let made = build().run().await.ended(Exit::Done).image.unwrap();
    let ssm = parameters_in(&account, REGION).await;
    let gone = ssm.delete_parameter().name("/ami/web");
    gone.send().await.unwrap();
    let ec2 = client_in(&account, OTHER).await;
    let copy = made.copies[OTHER].as_str();
    let off = ec2.disable_image_deregistration_protection().image_id(copy);
    off.send().await.unwrap();
    ec2.deregister_image().image_id(copy).send().await.unwrap();
    let ahead = build().ahead().await;
    assert_eq!(ahead.finished().unwrap().id, made.id);
    let told: Vec<String> = ahead
        .publication
        .iter()
        .map(|done| format!("{}: {}", done.region, done.change))
        .collect();
    assert_eq!(
        told[0],
        format!("{REGION}: make the parameter /ami/web with {}", made.id)
    );
    assert_eq!(told[1], format!("{OTHER}: copy the image"));
    let shared = format!("{OTHER}: share the copy with account {FRIEND}, {ORGANIZATION}");
    assert!(told.contains(&shared), "{told:#?}");
    let resources = ["a copy of the image in us-east-1 and its snapshots, which stay"];
    assert!(
        ahead.resources.iter().any(|r| r == resources[0]),
        "{ahead:#?}"
    );
    account.control("clear", json!({})).await;
    build().run().await.ended(Exit::Done);
    let mut asked = changing(&account).await;
    // The token of a copy that is gone is answered with that one: it is asked for anew.
    let first = asked.iter().position(|call| call == "CopyImage");
    asked.remove(first.unwrap());
    assert_eq!(planned(&ahead), asked, "{ahead:#?}");
}

/// In each of its regions; the spare of what makes way is a call too.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_makes_way_is_planned_with_its_calls() {
    let _pace = super::fast();
    let account = Account::open().await;
    account.control("delays", json!({"visible": 0})).await;
    let image = format!(", name: web, replace: true, regions: [{REGION}, {OTHER}]");
    let build = || Build::publishing(&account, &image);
    let old = build().run().await.ended(Exit::Done).image.unwrap();
    let next = build();
    let ahead = next.ahead().await;
    let told = [(REGION, &old.id), (OTHER, &old.copies[OTHER])];
    let told = told.map(|(region, id)| format!("{id} in {region} makes way; its snapshots stay"));
    assert_eq!(ahead.notes, told);
    account.control("clear", json!({})).await;
    next.run().await.ended(Exit::Done);
    assert_eq!(planned(&ahead), changing(&account).await, "{ahead:#?}");
}

/// What `build` would stop at before it launches anything, all of it at once.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_keeps_an_image_from_being_published_is_a_problem_of_the_plan() {
    let _pace = super::fast();
    let account = publish::account().await;
    let built = Build::publishing(&account, &format!(", regions: [{REGION}, {OTHER}]"));
    let built = built.run().await.ended(Exit::Done).image.unwrap();
    another_second().await;
    let put = parameters_in(&account, OTHER).await.put_parameter();
    let put = put.name("/ami/text").value("a text");
    put.r#type("String".into()).send().await.unwrap();
    let wanted = format!(
        ", regions: [{OTHER}, ap-east-1], ssm_parameter: /ami/text, launch_template: nobody"
    );
    let mut build = Build::publishing(&account, &wanted);
    let ahead = build.ahead().await;
    for told in [
        "there is no launch template nobody in eu-west-1",
        "the parameter /ami/text in us-east-1 is of the data type text",
        "the region ap-east-1 is not enabled for this account",
    ] {
        let is_told = ahead
            .problems
            .iter()
            .any(|problem| problem.told.contains(told));
        assert!(is_told, "{told}: {:#?}", ahead.problems);
    }
    let manifest = account.home().join("manifest.yaml");
    let words = ["plan", manifest.to_str().unwrap()];
    let said = amibake(&account, &words, Exit::Usage.code()).await;
    assert!(
        said.stdout
            .contains("problem     there is no launch template nobody"),
        "{}",
        said.stdout
    );
    build.plan.image.name.clone_from(&built.name);
    let ahead = build.ahead().await;
    for region in [REGION, OTHER] {
        let told = format!("in {region} has the name {} already", built.name);
        let is_told = ahead
            .problems
            .iter()
            .any(|problem| problem.told.contains(&told));
        assert!(is_told, "{told}: {:#?}", ahead.problems);
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_command_shows_source_steps_and_what_is_not_pinned_and_offline_asks_nobody() {
    let account = Account::open().await;
    let manifest = account.home().join("web.yaml");
    let text = "name: web\nsource: {ubuntu: '24.04'}\nbuilder: {region: eu-west-1}\nprovision:\n  - tasks:\n      - ansible.builtin.apt: {name: curl}\n      - ansible.builtin.debug: {msg: \"{{ lookup('env', 'PATH') }}\"}\n";
    std::fs::write(&manifest, text).unwrap();
    let manifest = manifest.to_str().unwrap();

    let offline = amibake(&account, &["plan", manifest, "--offline"], 0).await;
    assert!(account.actions().await.is_empty());
    assert!(
        offline.stdout.contains("1. tasks: 3 tasks"),
        "{}",
        offline.stdout
    );
    assert!(
        offline
            .stdout
            .contains("not pinned  ansible.builtin.apt at "),
        "{}",
        offline.stdout
    );
    assert!(
        offline.said.contains("the environment variable `PATH`"),
        "{}",
        offline.said
    );

    let json = amibake(&account, &["plan", manifest, "--offline", "--json"], 0).await;
    let plan: Json = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(plan["images"][0]["source"]["ubuntu"], "24.04", "{plan}");
    assert!(account.actions().await.is_empty());

    let asked = amibake(&account, &["plan", manifest], 0).await;
    assert!(
        asked
            .stdout
            .contains("source      ami-0ba5e0ba5e0ba5e00 (ubuntu/"),
        "{}",
        asked.stdout
    );
    assert!(
        asked.stdout.contains("result      a new image, web-amd64-"),
        "{}",
        asked.stdout
    );

    let json = amibake(&account, &["plan", manifest, "--json"], 0).await;
    let plan: Json = serde_json::from_str(&json.stdout).unwrap();
    let plan = &plan["images"][0];
    assert_eq!(plan["region"], "eu-west-1", "{plan}");
    assert_eq!(plan["content"].as_str().map(str::len), Some(40), "{plan}");
    assert_eq!(plan["tasks"], 3, "{plan}");
    assert_eq!(plan["source"]["ubuntu"], "24.04", "{plan}");
    assert_eq!(
        plan["source_image"]["id"], "ami-0ba5e0ba5e0ba5e00",
        "{plan}"
    );
    assert_eq!(
        plan["not_pinned"][0]["what"], "ansible.builtin.apt",
        "{plan}"
    );
    assert!(account.inventory().await["launch_templates"].is_empty());
}
