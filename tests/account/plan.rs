//! `plan` says what a build then does, and what changed since the last one.

use serde_json::Value as Json;

use super::build::Build;
use super::child::amibake;
use super::server::Account;
use crate::exit::Exit;

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
    assert!(ahead.last.unwrap().changes.is_empty());
    for (more, changed) in [
        (", user: admin", "the login user or the SSH port"),
        (", volumes: [{size_gib: 20}]", "builder.volumes"),
        (", user_data: '#!/bin/true'", "builder.user_data"),
    ] {
        let ahead = same(&account, more).ahead().await;
        assert!(ahead.finished().is_none(), "{ahead:?}");
        let last = ahead.last.unwrap();
        assert_eq!(last.id, image);
        let changes: Vec<&str> = last.changes.iter().map(|c| c.what.as_str()).collect();
        assert_eq!(changes, [changed]);
    }
    // An old one is shown with the reason.
    let mut impatient = same(&account, "");
    impatient.plan.image.max_age = std::time::Duration::ZERO;
    let ahead = impatient.ahead().await;
    let why = ahead.same_content[0].unfit.clone().unwrap();
    assert!(why.starts_with("it is older than image.max_age"), "{why}");
}

/// It is no list that somebody has to remember.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_calls_that_are_planned_are_those_that_a_build_makes() {
    let _pace = super::fast();
    let account = Account::open().await;
    account
        .control("delays", serde_json::json!({"visible": 0}))
        .await;
    let build = same(&account, "");
    let ahead = build.ahead().await;
    account.control("clear", serde_json::json!({})).await;
    build.run().await.ended(Exit::Done);
    let changes = |action: &String| !action.starts_with("Describe") && !action.starts_with("Get");
    let mut made: Vec<String> = account.actions().await;
    made.retain(changes);
    // Beats and tries at removing are as many as it takes.
    let once = |calls: Vec<String>| {
        let mut once: Vec<String> = Vec::new();
        for call in calls {
            let repeats = [
                "CreateLaunchTemplateVersion",
                "DeleteSecurityGroup",
                "TerminateInstances",
            ];
            if !(repeats.contains(&call.as_str()) && once.contains(&call)) {
                once.push(call);
            }
        }
        once.sort();
        once
    };
    let planned = ahead.calls.iter().map(|call| (*call).to_owned()).collect();
    assert_eq!(once(planned), once(made));
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
