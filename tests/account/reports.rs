//! What users of other tools reported of theirs (PEERS2026 2.2, by row), where no other file is about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_ec2::types::ImdsSupportValues;
use aws_types::sdk_config::TimeSource;
use serde_json::json;

use super::build::{Build, client};
use super::child::{Process, Work, amibake};
use super::company::with_profiles;
use super::guest::Steps;
use super::publish::{OTHER, images};
use super::server::{Account, REGION, assert_one_image_more};
use crate::clock::Pace;
use crate::exit::Exit;
use crate::targets::ec2::Ec2;

/// Row 5: an image that takes long is waited for as long as the manifest says, and one that takes longer
/// leaves nothing, although it is pending still.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_takes_long_is_waited_for_as_the_manifest_says() {
    const PACE: u32 = 100;
    let _pace = Pace::set(PACE);
    let eight_minutes = 8.0 * 60.0 / f64::from(PACE);
    for (limit, exit) in [("20m", Exit::Done), ("5m", Exit::Failed)] {
        let account = Account::open().await;
        let before = account.inventory().await;
        account
            .control("delays", json!({"image": eight_minutes}))
            .await;
        let timeouts = format!(", timeouts: {{image: {limit}, total: 2h}}");
        let built = Build::with(&account, &timeouts).run().await.ended(exit);
        if exit == Exit::Done {
            assert_one_image_more(&before, &account.inventory().await);
            continue;
        }
        assert!(built.said.contains("timeouts.image"), "{}", built.said);
        let is_gone = async || account.inventory().await == before;
        account.wait_until("nothing to be left", is_gone).await;
    }
}

/// Row 8: who publishes with an assumed role has it in each region.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_assumed_role_copies_to_other_regions() {
    let account = Account::open().await;
    let built = {
        let _pace = super::fast();
        Build::of(&account).run().await.ended(Exit::Done)
    };
    let id = built.image.unwrap().id;
    Build::publishing(&account, ", regions: [us-east-1]");
    account
        .control("ways", json!({"external_id": "x-17"}))
        .await;
    let mut env = with_profiles(&account);
    env.push(("AWS_PROFILE", "ci"));
    let manifest = account.home().join("manifest.yaml");
    let words = ["publish", &id, manifest.to_str().unwrap()];
    let work = Work::Command(words.map(str::to_owned).to_vec());
    Process::start(&account, 10, work, &env)
        .end()
        .await
        .ended(0);
    assert!(account.actions().await.contains(&"AssumeRole".to_owned()));
    assert_eq!(images(&account, OTHER).await.len(), 1);
}

/// Row 38: a volume more goes with its machine, and its snapshot with the image.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_volume_more_leaves_nothing_of_a_build_that_is_killed() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let more = ", volumes: [{device: /dev/sdb, size_gib: 8}]";
    for action in ["RunInstances", "StopInstances", "CreateImage"] {
        let hold = json!({"seconds": 600});
        account.fault(action, "hold", hold).await;
        let work = Work::build(more, Steps::Done);
        let build = Process::start(&account, super::PACE, work, &[]);
        build.held(&account).await.kill().await;
        account.release().await;
        account.control("clear", json!({})).await;
        assert_ne!(account.inventory().await["volumes"], before["volumes"]);
        account.control("expire", json!({})).await;
        amibake(&account, &["reap", "--region", REGION], 0).await;
        assert_eq!(account.inventory().await, before, "{action}");
    }
}

/// Where an hour goes by when a test says so.
#[derive(Debug, Clone, Default)]
struct Hours(Arc<AtomicU64>);

impl TimeSource for Hours {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(3_600 * self.0.load(Ordering::SeqCst))
    }
}

/// A source of credentials that are good for an hour; those of each hour are a session of its own.
#[derive(Debug, Clone)]
struct Sessions {
    key: String,
    clock: Hours,
    given: Arc<AtomicU32>,
}

impl ProvideCredentials for Sessions {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.given.fetch_add(1, Ordering::SeqCst);
        let token = format!("session-{}", self.clock.0.load(Ordering::SeqCst));
        let ends = self.clock.now() + Duration::from_secs(3_600);
        let given = Credentials::new(&self.key, "test", Some(token), Some(ends), "sessions");
        future::ProvideCredentials::ready(Ok(given))
    }
}

/// Row 6: the credentials end while an image is waited for, and their source has new ones: the build goes on
/// with these, and so does the clean-up of one that fails.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn credentials_that_end_while_an_image_is_waited_for_are_asked_for_again() {
    let _pace = super::fast();
    for fails in [false, true] {
        let account = Account::open().await;
        let before = account.inventory().await;
        let clock = Hours::default();
        let sessions = Sessions {
            key: account.key_id(),
            clock: clock.clone(),
            given: Arc::default(),
        };
        let mut build = Build::of(&account);
        let settings = build.settings().credentials_provider(sessions.clone());
        let ec2 = Ec2::with(settings.time_source(clock.clone())).await;
        build.beside = Some(Box::new(ec2.unwrap()));
        if fails {
            build.steps = Steps::TestFails;
        }
        let hold = json!({"seconds": 600});
        account.fault("CreateImage", "hold", hold).await;
        let ending = async {
            account.wait_until_held().await;
            let before = sessions.given.load(Ordering::SeqCst);
            let ended = json!({"ended_token": "session-0"});
            account.control("ways", ended).await;
            clock.0.store(2, Ordering::SeqCst);
            account.release().await;
            before
        };
        let (built, asked) = tokio::join!(build.run(), ending);
        let now = account.inventory().await;
        if fails {
            built.ended(Exit::GateFailed);
            assert_eq!(now, before);
        } else {
            built.ended(Exit::Done);
            assert_one_image_more(&before, &now);
        }
        assert!(
            sessions.given.load(Ordering::SeqCst) > asked,
            "it was asked again"
        );
    }
}

/// Row 31: a manifest that is silent of IMDS in an account that would let machines answer the old version:
/// the builder, the candidate's machine and the image state the new one.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn imds_v2_is_stated_of_each_machine_and_of_the_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let calls = account.calls().await;
    for (action, times, what, wanted) in [
        ("RunInstances", 2, "MetadataOptions.HttpTokens", "required"),
        ("RegisterImage", 1, "ImdsSupport", "v2.0"),
    ] {
        let of = calls.iter().filter(|call| call.action == action);
        let stated = of.map(|call| call.params.get(what).map(String::as_str));
        let stated: Vec<_> = stated.collect();
        assert!(stated.len() >= times, "{action}");
        assert!(stated.iter().all(|s| *s == Some(wanted)), "{stated:?}");
    }
    let image = built.image.unwrap().id;
    let asked = client(&account).await.describe_images().image_ids(image);
    let images = asked.send().await.unwrap().images.unwrap();
    let says = images[0].imds_support.as_ref();
    assert_eq!(says.map(ImdsSupportValues::as_str), Some("v2.0"));
}

/// Row 33: an image that has no snapshot at first: its tags come with the call that makes both, and nothing
/// without a name is tagged.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn snapshots_that_are_not_there_yet_have_their_tags_from_the_first() {
    let _pace = super::fast();
    let account = Account::open().await;
    // By the build's clock that is twenty seconds, in which it looks ten times.
    account.control("delays", json!({"snapshot": 1.0})).await;
    let without = async {
        let ec2 = client(&account).await;
        loop {
            let listed = ec2.describe_images().owners("self").send().await.unwrap();
            if let Some(image) = listed.images().first() {
                let disk = image.block_device_mappings().first();
                return disk.and_then(|d| d.ebs()?.snapshot_id().map(str::to_owned));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let build = Build::of(&account);
    let (built, first) = tokio::join!(build.run(), without);
    let built = built.ended(Exit::Done);
    assert_eq!(first, None, "the test is about an image without a snapshot");
    let calls = account.calls().await;
    let polls = calls.iter().filter(|c| c.action == "DescribeImages");
    assert!(polls.count() >= 5);
    let made = calls.iter().find(|c| c.action == "CreateImage").unwrap();
    let kinds = made
        .params
        .iter()
        .filter(|(key, _)| key.ends_with(".ResourceType"));
    let mut kinds: Vec<&str> = kinds.map(|(_, kind)| kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["image", "snapshot"]);
    let tagged = calls.iter().filter(|c| c.action == "CreateTags");
    for (key, id) in tagged.flat_map(|call| &call.params) {
        let is_named = ["ami-", "i-", "sg-", "snap-"]
            .iter()
            .any(|k| id.starts_with(k));
        assert!(!key.starts_with("ResourceId.") || is_named, "{key}: {id:?}");
    }
    let image = built.image.unwrap().id;
    let ec2 = client(&account).await;
    let asked = ec2.describe_images().image_ids(image).send().await.unwrap();
    let disk = asked.images()[0].block_device_mappings()[0].ebs().unwrap();
    let snapshot = ec2
        .describe_snapshots()
        .snapshot_ids(disk.snapshot_id().unwrap());
    let snapshot = snapshot.send().await.unwrap().snapshots.unwrap();
    let tags = super::publish::table(snapshot[0].tags());
    assert_eq!(tags["amibake:state"], "released");
}
