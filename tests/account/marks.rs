//! What an image's tags say when it is released, and that `reap` believes no tag alone.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use super::build::{Build, client};
use super::child::amibake;
use super::server::{Account, REGION};
use crate::exit::Exit;
use crate::run::RunId;

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
        tags = tags.tags(Tag::builder().key(key).value(value).build());
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
