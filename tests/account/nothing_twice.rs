//! An image of a content is made once: whoever builds the same gets it, and nobody who only claims to be
//! it is believed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::build::{Build, Built, client, client_in};
use super::publish;
use super::server::{Account, Call, REGION, assert_one_image_more};
use crate::exit::Exit;
use crate::plan::Reuse;

/// Insists that this was made, or was there before; returns its id.
fn image(built: Built, reused: bool) -> String {
    let built = built.ended(Exit::Done);
    assert_eq!(built.reused, reused, "{}", built.said);
    built.image.unwrap().id
}

async fn build(account: &Account, more: &str) -> Built {
    another_second().await;
    Build::with(account, more).of_shared_content().run().await
}

/// Waits until the polls of builds that have ended are heard no more, and forgets them.
async fn still(account: &Account) {
    loop {
        account.control("clear", json!({})).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        if account.actions().await.is_empty() {
            return;
        }
    }
}

/// Waits until a name that has the second is another.
pub(super) async fn another_second() {
    let left = 1_000_000_000 - OffsetDateTime::now_utc().nanosecond();
    tokio::time::sleep(Duration::from_nanos(left.into())).await;
}

/// So that a scheduled build costs nothing until something changes.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_same_content_is_its_image_within_a_second_and_five_calls() {
    let account = Account::open().await;
    let first = {
        let _pace = super::fast();
        image(build(&account, "").await, false)
    };
    still(&account).await;
    let before = account.inventory().await;
    let again = Build::of(&account).of_shared_content();
    let since = std::time::Instant::now();
    let second = again.run().await;
    let took = since.elapsed();
    assert!(second.said.contains("was made before"), "{}", second.said);
    assert_eq!(image(second, true), first);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let calls = account.actions().await;
    assert!(calls.len() <= 5, "{calls:?}");
    assert_eq!(account.inventory().await, before);
    println!("an image that was there: {} calls, {took:?}", calls.len());
}

/// What each region is asked of an image that is published as everything that a manifest can want: its copy's
/// name, snapshots, two permissions, a parameter and a launch template.
const IN_A_REGION: usize = 6;

/// Returns how often each region is asked.
fn by_region(calls: &[Call]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.region.as_str()).or_default() += 1;
    }
    counts
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_is_published_is_looked_at_by_a_few_more_calls_a_region_all_at_once() {
    let account = publish::account().await;
    let build = || Build::publishing(&account, &publish::everything()).of_shared_content();
    let first = {
        let _pace = super::fast();
        image(build().run().await, false)
    };
    still(&account).await;
    let again = build();
    let since = std::time::Instant::now();
    assert_eq!(image(again.run().await, true), first);
    let took = since.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    let calls = account.calls().await;
    let counts = by_region(&calls);
    assert_eq!(counts[publish::OTHER], IN_A_REGION, "{calls:#?}");
    assert!(counts[REGION] < 5 + IN_A_REGION, "{calls:#?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
    println!("an image that was published: {counts:?} calls, {took:?}");

    // One answer that does not come keeps nothing else waiting, neither in its region nor elsewhere.
    for slow in [
        "DescribeImageAttribute",
        "DescribeSnapshotAttribute",
        "GetParameter",
    ] {
        still(&account).await;
        let hold = json!({"region": publish::OTHER, "seconds": 600});
        account.fault(slow, "hold-before", hold).await;
        let again = build();
        let letting_go = async {
            account.wait_until_held().await;
            let all = async || by_region(&account.calls().await) == counts;
            account.wait_until("all other calls", all).await;
            account.release().await;
        };
        let (again, ()) = tokio::join!(again.run(), letting_go);
        assert_eq!(image(again, true), first, "{slow}");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn another_content_an_old_image_and_force_make_another_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let first = image(build(&account, "").await, false);
    let other = image(build(&account, ", user: admin").await, false);
    assert_ne!(other, first);
    another_second().await;
    let mut forced = Build::of(&account).of_shared_content();
    forced.plan.reuse = Reuse::Never;
    let forced = image(forced.run().await, false);
    assert_ne!(forced, first);
    // The newest is as good as any.
    assert_eq!(image(build(&account, "").await, true), forced);
    for id in [&first, &forced] {
        let old = json!({"image": id, "creation_date": "2020-01-01T00:00:00"});
        account.control("image", old).await;
    }
    let young = image(build(&account, "").await, false);
    assert!(![first, forced, other].contains(&young), "{young}");
}

/// Whoever can write tags, and nothing else, has nobody launch what they made.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_with_our_tags_that_we_did_not_make_is_not_used() {
    let _pace = super::fast();
    let account = Account::open().await;
    let ours = image(build(&account, "").await, false);
    let ec2 = client(&account).await;
    let there = ec2.describe_images().image_ids(&ours).send().await.unwrap();
    let there = there.images()[0].clone();
    // Theirs is newer, has all of our tags, and a description of their own.
    let snapshot = there.block_device_mappings()[0]
        .ebs()
        .unwrap()
        .snapshot_id()
        .unwrap();
    let disk = aws_sdk_ec2::types::EbsBlockDevice::builder().snapshot_id(snapshot);
    let mapping = aws_sdk_ec2::types::BlockDeviceMapping::builder()
        .device_name("/dev/sda1")
        .ebs(disk.build());
    let poisoned = ec2
        .register_image()
        .name("theirs")
        .description("web, baked by amibake")
        .root_device_name("/dev/sda1")
        .block_device_mappings(mapping.build())
        .send()
        .await
        .unwrap();
    let poisoned = poisoned.image_id.unwrap();
    // Nobody may be told of it too early.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let tag = ec2.create_tags().resources(&poisoned);
    let tag = tag.set_tags(Some(there.tags().to_vec()));
    tag.send().await.unwrap();
    assert_eq!(image(build(&account, "").await, true), ours);

    // And where ours is gone, theirs does not take its place; nor does one of ours of another content.
    let other = image(build(&account, ", user: admin").await, false);
    let tag = ec2.create_tags().resources(&other);
    let tag = tag.set_tags(Some(there.tags().to_vec()));
    tag.send().await.unwrap();
    ec2.deregister_image().image_id(&ours).send().await.unwrap();
    let anew = image(build(&account, "").await, false);
    assert!(![ours, poisoned, other].contains(&anew), "{anew}");
}

/// One that is withdrawn, or is not released to the end, is no result until it is.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_is_not_released_is_released_before_it_is_used() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    // Its last call is refused, and it cannot be removed.
    account.deny("ModifyImageAttribute", 1).await;
    account.deny("DeregisterImage", 2).await;
    let stays = build(&account, "").await.ended(Exit::LeftBehind);
    account.control("clear", json!({})).await;
    let left = account.inventory().await["images"].clone();
    assert_eq!(left.len(), 1, "{}", stays.said);
    let ended = image(build(&account, "").await, true);
    assert_eq!(ended, left[0]);
    let described = account.description(&ended).await;
    assert!(described.ends_with(']'), "{described}");
    account.control("expire", json!({})).await;
    super::child::amibake(&account, &["reap", "--region", super::server::REGION], 0).await;
    assert_one_image_more(&before, &account.inventory().await);
}

/// They are no part of the content: an organisation demands another, and nothing is built for that.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn tags_of_all_that_is_made_come_to_an_image_that_is_used_again() {
    let _pace = super::fast();
    let account = Account::open().await;
    let regions = format!(
        ", regions: [{REGION}, {}], tags: {{Owner: web}}",
        publish::OTHER
    );
    let with = |more: &str| Build::whole(&account, more, &regions).of_shared_content();
    let first = image(with(", tags: {Owner: ci}").run().await, false);
    another_second().await;
    let more = ", tags: {Owner: ci, CostCenter: '17'}";
    assert_eq!(image(with(more).run().await, true), first);
    for region in [REGION, publish::OTHER] {
        let images = publish::images(&account, region).await;
        let [image] = &images[..] else {
            panic!("{images:?}");
        };
        let snapshot = publish::snapshot(image);
        let ec2 = client_in(&account, region).await;
        let found = ec2.describe_snapshots().snapshot_ids(snapshot);
        let found = found.send().await.unwrap();
        for tags in [image.tags(), found.snapshots()[0].tags()] {
            let tags = publish::table(tags);
            // What the image's own say goes first.
            assert_eq!(
                (tags["CostCenter"], tags["Owner"]),
                ("17", "web"),
                "{region}"
            );
        }
    }
    account.control("calls/clear", json!({})).await;
    assert_eq!(image(with(more).run().await, true), first);
    let changes = super::plan::changing(&account).await;
    assert_eq!(changes, [""; 0], "nothing is to be done");
}
