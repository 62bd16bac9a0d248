//! What an image's tags say when it is released, and that `reap` believes no tag alone.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use serde_json::json;

use super::build::{Build, client};
use super::child::amibake;
use super::server::{Account, REGION, assert_one_image_more};
use crate::exit::Exit;
use crate::run::{RunId, parse_rfc3339};

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_released_image_and_its_snapshot_expire_never_and_are_nobody_s_any_more() {
    let _pace = super::fast();
    let account = Account::open().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let image = built.image.unwrap().id;
    let snapshot = account.inventory().await["snapshots"][0].clone();
    for id in [image, snapshot] {
        let tags = tags_of(&account, &id).await;
        let said = ["amibake:state", "amibake:expires"].map(|key| tags[key].as_str());
        assert_eq!(said, ["released", "never"], "{id}: {tags:?}");
    }
}

async fn tags_of(account: &Account, id: &str) -> BTreeMap<String, String> {
    let filter = Filter::builder().name("resource-id").values(id).build();
    let request = client(account).await.describe_tags().filters(filter);
    let tags = request.send().await.unwrap().tags.unwrap_or_default();
    let pairs = tags
        .into_iter()
        .map(|tag| (tag.key.unwrap(), tag.value.unwrap()));
    pairs.collect()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn until_it_is_released_an_image_has_no_tag_that_anybody_picks_by() {
    let _pace = super::fast();
    let account = Account::open().await;
    let mut build = Build::of(&account);
    let pair = |key: &str| (key.to_owned(), "x".to_owned());
    build.plan.builder.tags = BTreeMap::from([pair("Cost")]);
    build.plan.image.tags = BTreeMap::from([pair("Team")]);
    // The first renews the run's expiry.
    let hold = json!({"nth": 2, "seconds": 600});
    account.fault("CreateTags", "hold-before", hold).await;
    let has = async || {
        let held = account.inventory().await;
        let mut has = Vec::new();
        for id in held["images"].iter().chain(&held["snapshots"]) {
            let tags = tags_of(&account, id).await;
            has.push(["Cost", "Team", "Name"].map(|key| tags.contains_key(key)));
        }
        has
    };
    let looking = async {
        account.wait_until_held().await;
        let before = has().await;
        account.release().await;
        before
    };
    let (built, before) = tokio::join!(build.run(), looking);
    built.ended(Exit::Done);
    assert_eq!(before, [[true, false, false]; 2]);
    assert_eq!(has().await, [[true; 3]; 2]);
}

/// Nothing is renewed any more while the image is released, and that may take its time.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_made_late_does_not_expire_before_the_build_must_be_over() {
    let _pace = super::fast();
    let account = Account::open().await;
    let build = Build::with(&account, ", timeouts: {total: 9h}");
    let least = time::OffsetDateTime::now_utc() + time::Duration::hours(8);
    build.run().await.ended(Exit::Done);
    let calls = account.calls().await;
    for action in ["CreateImage", "CreateTags", "RegisterImage"] {
        let first = calls.iter().find(|call| call.action == action).unwrap();
        let keys = first.params.iter().filter(|(_, v)| *v == "amibake:expires");
        let values = keys.map(|(key, _)| &first.params[&key.replace("Key", "Value")]);
        let values: Vec<_> = values.map(|value| parse_rfc3339(value).unwrap()).collect();
        assert!(!values.is_empty(), "{action}: {first:?}");
        assert!(
            values.iter().all(|expires| *expires > least),
            "{action}: {values:?}"
        );
    }
}

/// Whoever can write tags, and nothing else, has `reap` remove no image that was released.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_released_stays_whatever_its_tags_say() {
    let _pace = super::fast();
    let account = Account::open().await;
    // All lists come in pages of one thing, and an empty one first.
    // PEERS2026 2.2 row 2: a cleaner that handled the first of several results.
    let pages = json!({"page": 1, "empty_pages": true});
    account.control("ways", pages).await;
    let before = account.inventory().await;
    let build = Build::of(&account);
    build.run().await.ended(Exit::Done);
    let built = account.inventory().await;
    assert_one_image_more(&before, &built);
    let (images, snapshots) = (&built["images"], &built["snapshots"]);
    let own = build.plan.run.as_str();
    let other = RunId::new(time::OffsetDateTime::now_utc()).unwrap();
    for (ids, run) in [
        ([&images[..], snapshots].concat(), own),
        (snapshots.clone(), own),
        ([&images[..], snapshots].concat(), other.as_str()),
        (snapshots.clone(), other.as_str()),
    ] {
        let forged = client(&account).await.create_tags();
        let forged = forged.set_resources(Some(ids));
        let forged = forged.tags(tag("amibake:run", run));
        let forged = forged.tags(tag("amibake:state", "temporary"));
        let forged = forged.tags(tag("amibake:expires", "2020-01-01T00:00:00Z"));
        forged.send().await.unwrap();
        for words in [&["reap"][..], &["reap", "--run", run]] {
            let told = amibake(&account, words, 0).await;
            assert_eq!(account.inventory().await, built, "{}", told.stdout);
        }
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Somebody who may write tags, and launch, marks a machine as a dead run's.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_machine_that_others_marked_as_a_run_s_is_not_reaped() {
    let account = Account::open().await;
    // Begun just now, so that its age tells nothing.
    let run = RunId::new(time::OffsetDateTime::now_utc()).unwrap();
    let run = run.as_str();
    let mut tags = TagSpecification::builder().resource_type(ResourceType::Instance);
    for (key, value) in [
        ("amibake:run", run),
        ("amibake:role", "builder"),
        ("amibake:state", "temporary"),
        ("amibake:attempt", "1"),
        ("amibake:expires", "2020-01-01T00:00:00Z"),
    ] {
        tags = tags.tags(tag(key, value));
    }
    let client = client(&account).await;
    let image = client.describe_images().owners("099720109477").send().await;
    let image = image.unwrap().images()[0].image_id().unwrap().to_owned();
    let request = client
        .run_instances()
        .image_id(image)
        .min_count(1)
        .max_count(1);
    let request = request
        .client_token("theirs")
        .tag_specifications(tags.build());
    request.send().await.unwrap();
    let before = account.inventory().await;
    for words in [
        &["reap", "--region", REGION][..],
        &["reap", "--region", REGION, "--run", run],
    ] {
        let said = amibake(&account, words, 0).await;
        assert_eq!(account.inventory().await, before, "{}", said.stdout);
    }
}
