//! What becomes of an image once it has passed: copies, tags, shares, parameters, launch templates, in
//! every region; and what of that stays where something of it fails. What drifts is in `drift`, who may use it in
//! `shares`, other regions in `copies`.

mod copies;
mod drift;
mod shares;

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    CreateVolumePermission, Filter, Image, ImageAttributeName, RequestLaunchTemplateData,
    SnapshotAttributeName, Tag,
};
use serde_json::json;

use super::build::{Build, client_in, parameters_in};
use super::child::amibake;
use super::server::{Account, Call, REGION};
use crate::exit::Exit;
use crate::targets::ec2;

pub(super) const OTHER: &str = "us-east-1";
const THIRD: &str = "eu-central-1";
pub(super) const ORGANIZATION: &str =
    "arn:aws:organizations::123456789012:organization/o-abcde12345";
/// What the launch template launches before.
pub(super) const FORMER: &str = "ami-00000000";
pub(super) const FRIEND: &str = "210987654321";

/// Everything that a manifest can want in two regions.
pub(super) fn everything() -> String {
    format!(
        ", encrypt: {{kms_key: alias/ami}}, tags: {{Team: web}}, regions: [{REGION}, {OTHER}], \
         share: {{accounts: ['{FRIEND}'], organizations: ['{ORGANIZATION}'], snapshots: true}}, \
         ssm_parameter: /ami/web, launch_template: {{name: web, set_default: true}}, \
         deprecate_after: 90d, deregistration_protection: true"
    )
}

/// Opens an account that has the launch template, in which another image is.
pub(super) async fn account() -> Account {
    let account = Account::open().await;
    for region in [REGION, OTHER, THIRD] {
        let data = RequestLaunchTemplateData::builder()
            .image_id(FORMER)
            .instance_type("t3.small".into());
        let made = client_in(&account, region).await.create_launch_template();
        let made = made
            .launch_template_name("web")
            .launch_template_data(data.build());
        made.send().await.unwrap();
    }
    account.control("calls/clear", json!({})).await;
    account
}

/// Returns the account's images of a region.
pub(super) async fn images(account: &Account, region: &'static str) -> Vec<Image> {
    let asked = client_in(account, region).await.describe_images();
    let listed = asked.owners("self").send().await.unwrap();
    listed.images.unwrap_or_default()
}

/// Returns the one image of a region.
async fn image(account: &Account, region: &'static str) -> Image {
    let mut all = images(account, region).await;
    assert_eq!(all.len(), 1, "{region}: {all:?}");
    all.remove(0)
}

pub(super) fn table(tags: &[Tag]) -> BTreeMap<&str, &str> {
    tags.iter()
        .map(|tag| (tag.key().unwrap(), tag.value().unwrap()))
        .collect()
}

pub(super) fn snapshot(image: &Image) -> &str {
    let disk = image.block_device_mappings()[0].ebs().unwrap();
    disk.snapshot_id().unwrap()
}

/// Returns who may launch an image, in words.
pub(super) async fn shared_with(
    account: &Account,
    region: &'static str,
    image: &str,
) -> Vec<String> {
    let asked = client_in(account, region).await.describe_image_attribute();
    let asked = asked
        .image_id(image)
        .attribute(ImageAttributeName::LaunchPermission);
    let told = asked
        .send()
        .await
        .unwrap()
        .launch_permissions
        .unwrap_or_default();
    let mut told: Vec<String> = told
        .into_iter()
        .map(|p| {
            let everybody = p.group.map(|group| group.as_str().to_owned());
            let unit = p.organizational_unit_arn;
            everybody
                .or(p.user_id)
                .or(p.organization_arn)
                .or(unit)
                .unwrap()
        })
        .collect();
    told.sort();
    told
}

async fn volumes_of(account: &Account, region: &'static str, snapshot: &str) -> Vec<String> {
    let told = permissions_of(account, region, snapshot).await;
    told.into_iter().filter_map(|p| p.user_id).collect()
}

/// Returns who may make a volume of a snapshot.
async fn permissions_of(
    account: &Account,
    region: &'static str,
    snapshot: &str,
) -> Vec<CreateVolumePermission> {
    let asked = client_in(account, region)
        .await
        .describe_snapshot_attribute();
    let asked = asked
        .snapshot_id(snapshot)
        .attribute(SnapshotAttributeName::CreateVolumePermission);
    let told = asked.send().await.unwrap();
    told.create_volume_permissions.unwrap_or_default()
}

pub(super) async fn parameter(account: &Account, region: &'static str) -> Option<String> {
    let asked = parameters_in(account, region).await.get_parameter();
    let told = asked.name("/ami/web").send().await.ok()?;
    told.parameter?.value
}

/// Returns the image of the default version of the launch template, and what else that has.
pub(super) async fn default_version(account: &Account, region: &'static str) -> (String, String) {
    let asked = client_in(account, region)
        .await
        .describe_launch_template_versions();
    let asked = asked.launch_template_name("web").versions("$Default");
    let told = asked
        .send()
        .await
        .unwrap()
        .launch_template_versions
        .unwrap();
    let data = told[0].launch_template_data().unwrap();
    let kind = data.instance_type().unwrap().as_str().to_owned();
    (data.image_id().unwrap().to_owned(), kind)
}

/// Insists that a region has an image that is published as [`everything`] wants it; returns it.
pub(super) async fn assert_published(account: &Account, region: &'static str) -> Image {
    let image = image(account, region).await;
    let id = image.image_id().unwrap();
    let tags = table(image.tags());
    let told = ["Team", "amibake:state", "amibake:expires"].map(|key| tags.get(key).copied());
    assert_eq!(
        told,
        [Some("web"), Some("released"), Some("never")],
        "{region}"
    );
    assert_eq!(tags.get("Name").copied(), image.name(), "{region}");
    let asked = client_in(account, region).await.describe_snapshots();
    let found = asked.snapshot_ids(snapshot(&image)).send().await.unwrap();
    let tags = table(found.snapshots()[0].tags());
    assert_eq!((tags["Team"], tags["amibake:state"]), ("web", "released"));
    let description = image.description().unwrap();
    assert!(!description.contains("(amibake"), "{description}");
    let shares = shared_with(account, region, id).await;
    assert_eq!(shares, [FRIEND, ORGANIZATION], "{region}");
    assert_eq!(
        volumes_of(account, region, snapshot(&image)).await,
        [FRIEND]
    );
    assert_eq!(parameter(account, region).await.as_deref(), Some(id));
    let (default, kind) = default_version(account, region).await;
    assert_eq!(
        (default.as_str(), kind.as_str()),
        (id, "t3.small"),
        "{region}"
    );
    assert!(image.deprecation_time().is_some(), "{region}");
    assert_eq!(
        image.deregistration_protection(),
        Some("enabled-without-cooldown")
    );
    image
}

/// Returns where the nth call of an action stands among all of a region.
fn place(calls: &[Call], action: &str, has: &str) -> usize {
    let is_it =
        |call: &&Call| call.action == action && call.params.keys().any(|key| key.starts_with(has));
    let found = calls
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{action} {has}"));
    calls
        .iter()
        .position(|call| std::ptr::eq(call, found))
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_is_published_in_every_region_in_the_order_that_can_be_taken_back() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::publishing(&account, &everything()).run().await;
    let built = built.ended(Exit::Done);
    let home = assert_published(&account, REGION).await;
    let copy = assert_published(&account, OTHER).await;
    let finished = built.image.unwrap();
    assert_eq!(Some(finished.id.as_str()), home.image_id());
    let copies: Vec<_> = finished.copies.iter().collect();
    let copy_id = copy.image_id().unwrap().to_owned();
    assert_eq!(copies, [(&OTHER.to_owned(), &copy_id)]);
    // PEERS2026 2.2 row 10: the build's own region is listed, and is no copy.
    assert_eq!(copy.source_image_id(), home.image_id());
    assert_eq!(copy.name(), home.name());
    let calls = account.calls().await;
    let copied = calls
        .iter()
        .filter(|call| call.action == "CopyImage")
        .count();
    assert_eq!(copied, 1);
    for region in [REGION, OTHER] {
        let calls: Vec<Call> = calls
            .iter()
            .filter(|c| c.region == region)
            .cloned()
            .collect();
        let described = place(&calls, "ModifyImageAttribute", "Description");
        let order = [
            place(&calls, "ModifyImageAttribute", "LaunchPermission"),
            place(&calls, "ModifySnapshotAttribute", "CreateVolumePermission"),
            place(&calls, "PutParameter", "Name"),
            place(
                &calls,
                "CreateLaunchTemplateVersion",
                "LaunchTemplateData.ImageId",
            ),
            place(&calls, "ModifyLaunchTemplate", ""),
            described,
            place(&calls, "EnableImageDeprecation", ""),
            place(&calls, "EnableImageDeregistrationProtection", ""),
        ];
        assert!(order.is_sorted(), "{region}: {order:?}");
        let tagged: Vec<usize> = (0..calls.len())
            .filter(|at| calls[*at].action == "CreateTags")
            .collect();
        let [.., before, released] = tagged[..] else {
            panic!("{region}: {tagged:?}");
        };
        assert!(before < order[0], "{region}: tags come first");
        let is_last = order[4] < released && released < described;
        assert!(
            is_last,
            "{region}: released comes after all that can be taken back"
        );
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_has_passed_and_that_nobody_goes_on_with_is_reaped_when_it_expires() {
    let _pace = super::fast();
    let account = account().await;
    let before = account.inventory().await;
    account
        .fault("PutParameter", "denied", json!({"times": 999}))
        .await;
    let built = Build::publishing(&account, &everything()).run().await;
    built.ended(Exit::LeftBehind);
    account.control("clear", json!({})).await;
    amibake(&account, &["reap"], 0).await;
    assert_ne!(account.inventory().await, before, "it is kept for a while");
    account.control("expire", json!({})).await;
    amibake(&account, &["reap"], 0).await;
    assert_eq!(account.inventory().await, before);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_candidate_that_could_not_be_registered_is_kept_and_gets_its_name_later() {
    let _pace = super::fast();
    let account = account().await;
    account.deny("RegisterImage", 1).await;
    let built = Build::publishing(&account, &everything()).run().await;
    let built = built.ended(Exit::LeftBehind);
    let candidate = image(&account, REGION).await;
    let name = candidate.name().unwrap();
    assert!(name.starts_with("amibake-candidate-"), "{name}");
    assert_eq!(table(candidate.tags())["amibake:state"], "passed");
    account.control("clear", json!({})).await;
    let command = built.left_behind()[0].1.to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let told = amibake(&account, &words, 0).await;
    let image = assert_published(&account, REGION).await;
    assert_eq!(told.stdout, format!("{}\n", image.image_id().unwrap()));
    assert!(image.name().unwrap().starts_with("web-2"));
    assert_published(&account, OTHER).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_candidate_that_has_not_passed_is_not_published() {
    let _pace = super::fast();
    let account = Account::open().await;
    let hold = json!({"nth": 2, "seconds": 600});
    account.fault("RunInstances", "hold-before", hold).await;
    let build = Build::of(&account);
    let refusing = async {
        account.wait_until_held().await;
        let candidate = image(&account, REGION).await;
        let id = candidate.image_id().unwrap();
        let manifest = account.home().join("manifest.yaml");
        let words = ["publish", id, manifest.to_str().unwrap()];
        let told = amibake(&account, &words, 2).await;
        account.release().await;
        told.said
    };
    let (built, said) = tokio::join!(build.run(), refusing);
    built.ended(Exit::Done);
    assert!(said.contains("has not passed its gate"), "{said}");
}

/// Whoever picks the newest image by its name or by a tag, at any moment.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn whoever_picks_by_name_or_by_tag_never_sees_an_image_that_has_not_passed() {
    let _pace = super::fast();
    let account = account().await;
    let build = Build::publishing(&account, &everything());
    let picking = async {
        let mut first = BTreeMap::new();
        for region in [REGION, OTHER].into_iter().cycle() {
            let ec2 = client_in(&account, region).await;
            for (name, value) in [
                ("name", "web-*"),
                ("tag:Team", "web"),
                ("tag:Name", "web-*"),
            ] {
                let filter = Filter::builder().name(name).values(value).build();
                let found = ec2.describe_images().owners("self").filters(filter);
                let found = found.send().await.unwrap().images.unwrap_or_default();
                let now = std::time::SystemTime::UNIX_EPOCH
                    .elapsed()
                    .unwrap()
                    .as_secs_f64();
                if !found.is_empty() {
                    first.entry((region, name)).or_insert(now);
                }
            }
            if first.len() == 6 {
                break;
            }
        }
        first
    };
    let (built, first) = tokio::join!(build.run(), picking);
    built.ended(Exit::Done);
    // The candidate's machine is asked to go when the gate has passed.
    let calls = account.calls().await;
    let passed = calls
        .iter()
        .find(|c| c.action == "RegisterImage")
        .unwrap()
        .time;
    for (how, seen) in first {
        assert!(seen >= passed, "{how:?} {seen} {passed}");
    }
    let register = calls
        .iter()
        .position(|c| c.action == "RegisterImage")
        .unwrap();
    let dismissed = calls
        .iter()
        .position(|c| c.action == "TerminateInstances")
        .unwrap();
    assert!(dismissed < register);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_is_there_is_looked_at_and_nothing_of_that_stays() {
    let _pace = super::fast();
    let account = Account::open().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let id = built.image.unwrap().id;
    let before = account.inventory().await;
    let tested = Build::of(&account).test(&id).await.ended(Exit::Done);
    assert_eq!(tested.image.unwrap().id, id);
    assert_eq!(account.inventory().await, before);
    let mut build = Build::of(&account);
    build.steps = super::guest::Steps::TestFails;
    build.test(&id).await.ended(Exit::GateFailed);
    assert_eq!(account.inventory().await, before);
}

/// Last night's image is there: a region that is not enabled, or that there is none of, is no region that is down.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_region_that_is_none_of_the_account_s_is_told_of_a_new_image_and_of_one_that_is_there() {
    let _pace = super::fast();
    let account = account().await;
    let with = |regions: &str| {
        let image = format!(", regions: [{regions}], ssm_parameter: /ami/web");
        Build::publishing(&account, &image)
    };
    let there = with(REGION).of_shared_content().run().await;
    let there = there.ended(Exit::Done).image.unwrap();
    let regions = json!({REGION: "opt-in-not-required", "us-east-2": "opt-in-not-required", "ap-east-1": "not-opted-in"});
    account.control("ways", json!({"regions": regions})).await;
    let nobody = json!({"region": OTHER, "times": 9999});
    for action in ["DescribeImages", "GetParameter"] {
        account.fault(action, "drop", nobody.clone()).await;
    }
    let before = account.inventory().await;
    for (region, told) in [
        (
            "ap-east-1",
            "the region ap-east-1 is not enabled for this account",
        ),
        (OTHER, "there is no region us-east-1"),
    ] {
        let again = with(region).of_shared_content();
        let checks = again.preflight().await;
        let is_told = |c: &ec2::Check| c.about == "name" && c.detail.contains(told);
        assert!(checks.iter().any(is_told), "{checks:#?}");
        // Once: what else is asked there tells no more.
        let of_region = checks.iter().filter(|c| c.detail.contains(region));
        assert_eq!(of_region.count(), 1, "{checks:#?}");
        let problems = again.ahead().await.problems;
        assert!(
            problems.iter().any(|p| p.told.contains(told)),
            "{problems:?}"
        );
        let again = again.run().await.ended(Exit::Usage);
        assert!(again.said.contains(told), "{}", again.said);
        let anew = with(region).run().await.ended(Exit::Usage);
        assert!(anew.said.contains(told), "{}", anew.said);
        assert_eq!(
            anew.said.contains("did you mean us-east-2?"),
            region == OTHER
        );
        let manifest = account.home().join("manifest.yaml");
        let words = ["publish", &there.id, manifest.to_str().unwrap()];
        let published = amibake(&account, &words, 2).await;
        assert!(published.said.contains(told), "{}", published.said);
    }
    assert_eq!(account.inventory().await, before);

    // Whose credentials have ended is told that, and not of regions.
    account.control("clear", json!({})).await;
    let ended = json!({"region": THIRD, "code": "AuthFailure", "times": 9999});
    account
        .control(
            "ways",
            json!({"regions": {REGION: "opted-in", THIRD: "opted-in"}}),
        )
        .await;
    account.fault("DescribeImages", "error", ended).await;
    let again = with(THIRD).of_shared_content().run().await;
    let again = again.ended(Exit::LeftBehind);
    assert!(
        again.said.contains("credentials are not valid"),
        "{}",
        again.said
    );
}

/// What another region would refuse is found before a machine is launched (rank 15 of PACKER.md).
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_no_region_would_publish_is_found_before_anything_is_made() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::publishing(&account, ", regions: [us-east-1]");
    let built = built.run().await.ended(Exit::Done);
    let name = built.image.unwrap().name;
    let put = parameters_in(&account, OTHER).await.put_parameter();
    let put = put
        .name("/ami/text")
        .value("a text")
        .r#type("String".into());
    put.send().await.unwrap();
    let gone = client_in(&account, REGION).await.deregister_image();
    let home = image(&account, REGION).await;
    gone.image_id(home.image_id().unwrap())
        .send()
        .await
        .unwrap();
    for (wanted, told) in [
        (
            ", regions: [us-east-1]",
            format!("in us-east-1 has the name {name} already"),
        ),
        (
            ", regions: [ap-east-1]",
            "the region ap-east-1 is not enabled for this account".to_owned(),
        ),
        (
            ", regions: [us-east-1], ssm_parameter: /ami/text",
            "the parameter /ami/text in us-east-1 is of the data type text".to_owned(),
        ),
        (
            ", launch_template: nobody",
            "there is no launch template nobody in eu-west-1".to_owned(),
        ),
    ] {
        account.control("calls/clear", json!({})).await;
        let mut build = Build::publishing(&account, wanted);
        if told.contains("has the name") {
            build.plan.image.name.clone_from(&name);
        }
        let built = build.run().await.ended(Exit::Usage);
        assert!(built.said.contains(&told), "{}", built.said);
        let asked = account.actions().await;
        let is_change = |a: &&String| !a.starts_with("Describe") && !a.starts_with("Get");
        assert_eq!(asked.iter().find(is_change), None);
    }
}
