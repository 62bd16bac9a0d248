//! What has passed and was not published is what the next build of its content goes on with; and of two
//! builds that publish in one place, the one that began later has it.

use std::time::Duration;

use aws_sdk_ec2::types::Tag;
use serde_json::json;

use super::build::{Build, Built, client};
use super::child::{Process, amibake};
use super::plan::{changing, planned};
use super::publish::{
    OTHER, account, assert_published, default_version, everything, images, parameter, table,
};
use super::server::{Account, REGION};
use crate::exit::Exit;
use crate::plan::Reuse;
use crate::targets::ec2::Verdict;

/// Builds what every such build makes, and publishes it as a manifest may want everything.
async fn build(account: &Account) -> Built {
    let build = Build::publishing(account, &everything()).of_shared_content();
    build.run().await
}

/// Fails to publish; returns the image that has passed.
async fn unpublished(account: &Account, action: &str) -> String {
    account.deny(action, 1).await;
    let built = build(account).await.ended(Exit::LeftBehind);
    assert!(built.image.is_none(), "{}", built.said);
    account.control("clear", json!({})).await;
    let all = images(account, REGION).await;
    assert_eq!(all.len(), 1, "{}", built.said);
    assert_eq!(table(all[0].tags())["amibake:state"], "passed");
    all[0].image_id().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_next_build_goes_on_with_what_has_passed_and_launches_nothing() {
    let _pace = super::fast();
    for action in ["PutParameter", "RegisterImage"] {
        let account = account().await;
        let passed = unpublished(&account, action).await;
        // Without room for a builder, `preflight` is content: none is launched.
        let full = json!({"quotas": {"L-1216C47A": 1.0}});
        account.control("ways", full).await;
        let next = Build::publishing(&account, &everything()).of_shared_content();
        let checks = next.preflight().await;
        let check = |about: &str| checks.iter().find(|check| check.about == about).unwrap();
        assert!(check("content").detail.starts_with(&passed), "{checks:?}");
        assert_eq!(check("quota").verdict, Verdict::Warning, "{checks:?}");
        account.control("ways", json!({"quotas": {}})).await;
        account.control("clear", json!({})).await;
        let built = build(&account).await.ended(Exit::Done);
        assert!(built.reused, "{}", built.said);
        let told = format!("{passed} in {REGION} has passed before and was not published");
        assert!(built.said.contains(&told), "{}", built.said);
        let asked = account.actions().await;
        assert!(
            !asked.contains(&"RunInstances".to_owned()),
            "{action}: {asked:?}"
        );
        let home = assert_published(&account, REGION).await;
        assert_published(&account, OTHER).await;
        assert_eq!(home.image_id(), built.image.as_ref().map(|i| i.id.as_str()));
        // What was not even registered has another id under its own name.
        assert_eq!(home.image_id() == Some(&passed), action == "PutParameter");
        assert!(home.name().unwrap().starts_with("web-2"));
        let third = build(&account).await.ended(Exit::Done);
        assert!(third.reused && !third.said.contains("has passed before"));
    }
}

/// A copy takes longer than the bake may, or than somebody waits: the image stays, and is named as what is left.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_ended_while_it_is_copied_stays_and_is_told_with_the_command_that_goes_on() {
    let _pace = super::fast();
    for is_cancelled in [false, true] {
        let account = account().await;
        let hold = json!({"seconds": 600});
        account.fault("CopyImage", "hold-before", hold).await;
        let build = match is_cancelled {
            true => Build::publishing(&account, &everything()),
            false => Build::whole(&account, ", timeouts: {total: 2m}", &everything()),
        };
        let build = build.of_shared_content();
        let cancelling = async {
            account.wait_until_held().await;
            if is_cancelled {
                build.interrupt.cancel.cancel();
            }
        };
        let (built, ()) = tokio::join!(build.run(), cancelling);
        let built = built.ended(Exit::LeftBehind);
        let (what, goes_on) = built.left_behind()[0];
        assert!(what.contains("has passed and is not published"), "{what}");
        assert!(goes_on.starts_with("amibake resume --region"), "{goes_on}");
        assert!(
            !built.said.contains("everything temporary is gone"),
            "{}",
            built.said
        );
        account.control("release", json!({})).await;
        account.control("clear", json!({})).await;
        let next = Build::publishing(&account, &everything()).of_shared_content();
        assert!(next.run().await.ended(Exit::Done).reused);
        assert_published(&account, REGION).await;
        assert_published(&account, OTHER).await;
    }
}

/// Tags find it and prove nothing, as with a released one.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_only_its_tags_call_passed_is_not_gone_on_with() {
    let _pace = super::fast();
    let account = account().await;
    let passed = unpublished(&account, "PutParameter").await;
    let ec2 = client(&account).await;
    let words = aws_sdk_ec2::types::AttributeValue::builder().value("web, theirs");
    let described = ec2.modify_image_attribute().image_id(&passed);
    described.description(words.build()).send().await.unwrap();
    let built = build(&account).await.ended(Exit::Done);
    assert!(!built.reused, "{}", built.said);
    assert_ne!(built.image.unwrap().id, passed);
}

/// `plan` says so beforehand.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_plan_tells_that_a_build_would_go_on_with_it_and_how() {
    let _pace = super::fast();
    for action in ["PutParameter", "RegisterImage"] {
        let account = account().await;
        let passed = unpublished(&account, action).await;
        let mut next = Build::publishing(&account, &everything()).of_shared_content();
        let ahead = next.ahead().await;
        assert_eq!(ahead.passed().unwrap().id, passed);
        assert!(ahead.finished().is_none() && ahead.problems.is_empty());
        account.control("clear", json!({})).await;
        next.run().await.ended(Exit::Done);
        let told = format!("{action}: {ahead:#?}");
        assert_eq!(planned(&ahead), changing(&account).await, "{told}");
        // Who wants another one does not go on with it.
        next.plan.reuse = Reuse::Never;
        let ahead = next.ahead().await;
        assert!(ahead.passed().is_none() && ahead.finished().is_none());
        assert_eq!(ahead.same_content[0].unfit.as_deref(), Some("--force"));
        assert!(ahead.calls.contains(&"RunInstances"));
    }
}

/// The names of runs have seconds.
async fn a_second_later() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}

/// Two commits, the older of which takes longer to build.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_older_build_does_not_win_by_ending_last() {
    let _pace = super::fast();
    let account = account().await;
    let older = Build::publishing(&account, &everything());
    a_second_later().await;
    let newer = Build::publishing(&account, &everything());
    let hold = json!({"seconds": 600});
    account.fault("RegisterImage", "hold-before", hold).await;
    let newer_first = async {
        account.wait_until_held().await;
        let built = newer.run().await.ended(Exit::Done);
        account.release().await;
        built
    };
    let (older, newer) = tokio::join!(older.run(), newer_first);
    let older = older.ended(Exit::Done);
    let (old, new) = (older.image.unwrap(), newer.image.unwrap());
    let ids = |image: &crate::targets::Finished| [image.id.clone(), image.copies[OTHER].clone()];
    for (region, id) in [REGION, OTHER].into_iter().zip(ids(&new)) {
        assert_eq!(parameter(&account, region).await, Some(id.clone()));
        assert_eq!(default_version(&account, region).await.0, id);
        for what in ["the parameter /ami/web", "launch template lt-"] {
            let told = older.said.lines().find(|line| {
                line.contains(what) && line.contains(&format!("in {region} stays with {id}"))
            });
            assert!(told.is_some(), "{what}: {}", older.said);
        }
    }
    let manifest = account.home().join("manifest.yaml");
    let manifest = manifest.to_str().unwrap();
    // `resume` goes on with the older build; `publish` is somebody's wish.
    amibake(&account, &["resume", &old.id, manifest], 0).await;
    assert_eq!(parameter(&account, REGION).await.as_ref(), Some(&new.id));
    amibake(&account, &["publish", &old.id, manifest], 0).await;
    for (region, id) in [REGION, OTHER].into_iter().zip(ids(&old)) {
        assert_eq!(parameter(&account, region).await, Some(id.clone()));
        assert_eq!(default_version(&account, region).await.0, id);
    }
}

/// A commit that is taken back while the one before it is still built: what it was before is there already.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_build_that_began_later_has_it_by_an_older_image_too() {
    let _pace = super::fast();
    let account = account().await;
    let first = build(&account).await.ended(Exit::Done).image.unwrap();
    a_second_later().await;
    let between = Build::publishing(&account, &everything()).run().await;
    between.ended(Exit::Done);
    a_second_later().await;
    let older = Build::publishing(&account, &everything());
    let hold = json!({"seconds": 600});
    account.fault("RegisterImage", "hold-before", hold).await;
    let newer_first = async {
        account.wait_until_held().await;
        a_second_later().await;
        let again = build(&account).await.ended(Exit::Done);
        assert!(again.reused, "{}", again.said);
        account.release().await;
    };
    let (older, ()) = tokio::join!(older.run(), newer_first);
    let older = older.ended(Exit::Done);
    let ids = [first.id.clone(), first.copies[OTHER].clone()];
    for (region, id) in [REGION, OTHER].into_iter().zip(ids) {
        assert_eq!(parameter(&account, region).await, Some(id.clone()));
        assert_eq!(default_version(&account, region).await.0, id);
        let left = format!("in {region} stays with {id}: the build that put it");
        assert_eq!(older.said.matches(&left).count(), 2, "{}", older.said);
    }
}

/// A manifest that was taken back: its older image is there, and is what is wanted now.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_older_image_that_the_manifest_wants_again_is_published_again() {
    let _pace = super::fast();
    let account = account().await;
    let first = build(&account).await.ended(Exit::Done).image.unwrap();
    a_second_later().await;
    let other = Build::publishing(&account, &everything()).run().await;
    let other = other.ended(Exit::Done).image.unwrap();
    assert_eq!(parameter(&account, REGION).await, Some(other.id));
    a_second_later().await;
    let again = build(&account).await.ended(Exit::Done);
    assert!(again.reused, "{}", again.said);
    assert_eq!(parameter(&account, REGION).await, Some(first.id));
}

/// Who goes back by `publish` alone has it until the next night, and that is said.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_build_that_takes_back_what_publish_has_set_says_so() {
    let _pace = super::fast();
    let account = account().await;
    let older = Build::publishing(&account, &everything()).run().await;
    let older = older.ended(Exit::Done).image.unwrap();
    a_second_later().await;
    let newer = build(&account).await.ended(Exit::Done);
    assert!(
        !newer.said.contains("until the next build"),
        "{}",
        newer.said
    );
    let newer = newer.image.unwrap();
    let manifest = account.home().join("manifest.yaml");
    let back = ["publish", &older.id, manifest.to_str().unwrap()];
    let told = amibake(&account, &back, 0).await;
    assert!(!told.said.contains("until the next build"), "{}", told.said);
    assert_eq!(parameter(&account, REGION).await.as_ref(), Some(&older.id));
    // `publish` ran by a clock that goes as fast.
    a_second_later().await;
    let again = build(&account).await.ended(Exit::Done);
    assert!(again.reused, "{}", again.said);
    assert_eq!(parameter(&account, REGION).await.as_ref(), Some(&newer.id));
    for (region, old, new) in [
        (REGION, &older.id, &newer.id),
        (OTHER, &older.copies[OTHER], &newer.copies[OTHER]),
    ] {
        let set = format!("{region}: set /ami/web from {old} to {new}: what somebody");
        assert!(again.said.contains(&set), "{set}: {}", again.said);
        let version = format!("with {new}, the default one: what somebody");
        assert!(again.said.contains(&version), "{version}: {}", again.said);
    }
    let third = build(&account).await.ended(Exit::Done);
    assert!(
        !third.said.contains("until the next build"),
        "{}",
        third.said
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_has_passed_is_shown_as_one_that_waits_for_its_publication() {
    let _pace = super::fast();
    let account = account().await;
    let passed = unpublished(&account, "PutParameter").await;
    let told = amibake(&account, &["status", "--region", REGION], 0).await;
    let is_it = |line: &str| {
        line.starts_with("passed    ")
            && line.contains(&passed)
            && line.ends_with("; `amibake resume` publishes it")
    };
    assert!(told.stdout.lines().any(is_it), "{}", told.stdout);
    assert!(!told.stdout.contains("alive "), "{}", told.stdout);
    let json = ["status", "--json", "--region", REGION];
    let told = amibake(&account, &json, 0).await.stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let all = told["account"].as_array().unwrap();
    assert!(
        all.iter().all(|held| held["standing"] == "passed"),
        "{all:?}"
    );
}

/// A tag that says of another image that it is of a later build is believed no further than its own age.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_build_in_the_future_takes_no_parameter() {
    let _pace = super::fast();
    let account = account().await;
    let first = build(&account).await.ended(Exit::Done).image.unwrap();
    let run = Tag::builder().key("amibake:run");
    let run = run.value("20991231t101500z-0a1b2c3d4e5f6071").build();
    let tag = client(&account).await.create_tags().resources(&first.id);
    tag.tags(run).send().await.unwrap();
    a_second_later().await;
    let next = Build::publishing(&account, &everything()).run().await;
    let next = next.ended(Exit::Done).image.unwrap();
    assert_eq!(parameter(&account, REGION).await, Some(next.id));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_parameter_of_another_type_is_refused_by_publish_before_anything_is_done() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let id = built.image.unwrap().id;
    let put = super::build::parameters_in(&account, OTHER)
        .await
        .put_parameter();
    let put = put.name("/ami/web").value("a text").r#type("String".into());
    put.send().await.unwrap();
    let before = account.inventory().await;
    Build::publishing(&account, &everything());
    let manifest = account.home().join("manifest.yaml");
    let words = ["publish", &id, manifest.to_str().unwrap()];
    let told = amibake(&account, &words, 2).await;
    let wrong = "the parameter /ami/web in us-east-1 is of the data type text";
    assert!(told.said.contains(wrong), "{}", told.said);
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_of_another_architecture_is_published_nowhere() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let id = built.image.unwrap().id;
    let before = account.inventory().await;
    let manifest = account.home().join("arm.yaml");
    let text = format!(
        "name: web\nsource: {{ubuntu: '24.04', arch: arm64}}\nbuilder: {{region: {REGION}}}\nimage: {{ssm_parameter: '/ami/{{{{ arch }}}}'}}\n"
    );
    std::fs::write(&manifest, text).unwrap();
    for command in ["publish", "resume", "test"] {
        let told = amibake(&account, &[command, &id, manifest.to_str().unwrap()], 2).await;
        let wrong = format!("the manifest wants an image of arm64, and {id} is of amd64");
        assert!(told.said.contains(&wrong), "{command}: {}", told.said);
    }
    assert_eq!(account.inventory().await, before);
}

/// Its journal says that nobody works any more: nobody waits ten minutes for it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_lock_of_a_build_that_was_killed_on_this_host_is_taken_over_at_once() {
    let _pace = super::fast();
    let account = Account::open().await;
    account
        .fault("StopInstances", "hold-before", json!({"seconds": 600}))
        .await;
    let first = Process::same_build(&account, super::PACE);
    first.held(&account).await.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    let second = Build::of(&account).of_shared_content().run().await;
    let second = second.ended(Exit::Done);
    let told = "ended on this host without paying its debts: its lock is taken over";
    assert!(second.said.contains(told), "{}", second.said);
    assert!(!second.said.contains("waiting for run"), "{}", second.said);
}
