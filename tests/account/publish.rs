//! What becomes of an image once it has passed: copies, tags, shares, parameters, launch templates, in
//! every region; and what of that stays where something of it fails.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, CreateVolumePermission, EbsBlockDevice, Filter, Image,
    ImageAttributeName, LaunchPermission, LaunchPermissionModifications, RequestLaunchTemplateData,
    SnapshotAttributeName, Tag,
};
use serde_json::json;

use super::build::{Build, client_in, parameters_in};
use super::child::{Process, Work, amibake};
use super::nothing_twice::another_second;
use super::server::{Account, Call, REGION};
use crate::exit::Exit;

pub(super) const OTHER: &str = "us-east-1";
const THIRD: &str = "eu-central-1";
pub(super) const ORGANIZATION: &str =
    "arn:aws:organizations::123456789012:organization/o-abcde12345";
/// What the launch template launches before.
pub(super) const FORMER: &str = "ami-00000000";
pub(super) const FRIEND: &str = "210987654321";
/// How the description ends of an image that is not released.
const RUN: &str = "(amibake run 20260727t101500z-0a1b2c3d4e5f6071)";
const UNIT: &str = "arn:aws:organizations::123456789012:ou/o-abcde12345/ou-ab12-cdefgh34";

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

async fn is_everybodys(account: &Account, region: &'static str, snapshot: &str) -> bool {
    let told = permissions_of(account, region, snapshot).await;
    told.iter().any(|p| p.group.is_some())
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

/// Publishes again by the command; returns what was asked that changes something.
async fn publish(account: &Account, image: &str) -> Vec<String> {
    account.control("calls/clear", json!({})).await;
    let manifest = account.home().join("manifest.yaml");
    let words = ["publish", image, manifest.to_str().unwrap()];
    let told = amibake(account, &words, 0).await;
    assert_eq!(told.stdout, format!("{image}\n"));
    let asked = account.actions().await.into_iter();
    let is_change = |action: &String| !action.starts_with("Describe") && !action.starts_with("Get");
    asked.filter(is_change).collect()
}

/// Registers an image of a snapshot that is nobody's build's.
async fn former_image(ec2: &aws_sdk_ec2::Client, snapshot: &str) -> String {
    let root = EbsBlockDevice::builder().snapshot_id(snapshot).build();
    let root = BlockDeviceMapping::builder()
        .device_name("/dev/sda1")
        .ebs(root);
    let former = ec2.register_image().name("former");
    let former = former.root_device_name("/dev/sda1");
    let former = former.block_device_mappings(root.build());
    former.send().await.unwrap().image_id.unwrap()
}

/// Makes a version of the launch template by hand, and returns its number.
async fn version_tried(ec2: &aws_sdk_ec2::Client) -> i64 {
    let data = RequestLaunchTemplateData::builder()
        .image_id(FORMER)
        .instance_type("t3.small".into());
    let tried = ec2
        .create_launch_template_version()
        .launch_template_name("web");
    let tried = tried.launch_template_data(data.build()).send().await;
    let version = tried.unwrap().launch_template_version.unwrap();
    version.version_number.unwrap()
}

/// Points in which somebody changes by hand what was published, in the copy's region.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_drifted_is_repaired_point_by_point_and_nothing_is_launched() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::publishing(&account, &everything()).run().await;
    let home = built.ended(Exit::Done).image.unwrap().id;
    assert_eq!(
        publish(&account, &home).await,
        [""; 0],
        "nothing is to be done"
    );
    let ec2 = client_in(&account, OTHER).await;
    let ssm = parameters_in(&account, OTHER).await;
    let copy = image(&account, OTHER).await;
    let (id, disk) = (copy.image_id().unwrap(), snapshot(&copy));

    let lost = Tag::builder().key("Team").build();
    let lost = ec2.delete_tags().resources(disk).tags(lost);
    lost.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["CreateTags"]);

    let friend = LaunchPermission::builder().user_id(FRIEND).build();
    let other = LaunchPermission::builder().user_id("333333333333").build();
    let change = LaunchPermissionModifications::builder()
        .add(other)
        .remove(friend);
    let share = ec2.modify_image_attribute().image_id(id);
    share
        .launch_permission(change.build())
        .send()
        .await
        .unwrap();
    let both = ["ModifyImageAttribute", "ModifyImageAttribute"];
    assert_eq!(publish(&account, &home).await, both);

    let described = copy.description().unwrap();
    let words = AttributeValue::builder().value(format!("{described} {RUN}"));
    let unreleased = ec2.modify_image_attribute().image_id(id);
    let unreleased = unreleased.description(words.build());
    unreleased.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["ModifyImageAttribute"]);

    let other = Tag::builder().key("Team").value("others").build();
    let other = ec2.create_tags().resources(id).tags(other);
    other.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["CreateTags"]);

    let change = ec2.modify_snapshot_attribute().snapshot_id(disk);
    let change = change.operation_type("remove".into()).user_ids(FRIEND);
    change.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["ModifySnapshotAttribute"]);

    ssm.delete_parameter()
        .name("/ami/web")
        .send()
        .await
        .unwrap();
    assert_eq!(publish(&account, &home).await, ["PutParameter"]);

    let former = former_image(&ec2, disk).await;
    let put = ssm.put_parameter().name("/ami/web").value(&former);
    let put = put.r#type("String".into()).data_type("aws:ec2:image");
    put.overwrite(true).send().await.unwrap();
    let is_put = async || parameter(&account, OTHER).await.as_ref() == Some(&former);
    account.wait_until("the parameter", is_put).await;
    assert_eq!(publish(&account, &home).await, ["PutParameter"]);
    ec2.deregister_image()
        .image_id(&former)
        .send()
        .await
        .unwrap();

    let back = ec2.modify_launch_template().launch_template_name("web");
    back.default_version("1").send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["ModifyLaunchTemplate"]);

    // A version that somebody tries out is the newest, and not what everybody gets.
    let number = version_tried(&ec2).await;
    assert_eq!(publish(&account, &home).await, [""; 0]);
    let default = ec2.modify_launch_template().launch_template_name("web");
    let default = default.default_version(number.to_string());
    default.send().await.unwrap();
    let anew = ["CreateLaunchTemplateVersion", "ModifyLaunchTemplate"];
    assert_eq!(publish(&account, &home).await, anew);

    let off = ec2.disable_image_deregistration_protection().image_id(id);
    off.send().await.unwrap();
    let on = ["EnableImageDeregistrationProtection"];
    assert_eq!(publish(&account, &home).await, on);

    let later = aws_smithy_types::DateTime::from_secs(4_102_444_800);
    let later = ec2
        .enable_image_deprecation()
        .image_id(id)
        .deprecate_at(later);
    later.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["EnableImageDeprecation"]);

    let state = Tag::builder()
        .key("amibake:state")
        .value("temporary")
        .build();
    let state = ec2.create_tags().resources(id).tags(state);
    state.send().await.unwrap();
    assert_eq!(publish(&account, &home).await, ["CreateTags"]);

    let off = ec2.disable_image_deregistration_protection().image_id(id);
    off.send().await.unwrap();
    ec2.deregister_image().image_id(id).send().await.unwrap();
    let asked = publish(&account, &home).await;
    assert_eq!(asked[0], "CopyImage");
    assert!(!asked.contains(&"RunInstances".to_owned()));
    assert_published(&account, REGION).await;
    assert_published(&account, OTHER).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn two_that_repair_at_once_make_one_copy() {
    let account = account().await;
    let pace = super::fast();
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
    let begin = || Process::start(&account, super::PACE, Work::Command(words.clone()), &[]);
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
    let _pace = super::fast();
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

/// The last call of all that can be taken back is refused.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_others_could_act_on_is_taken_back_and_the_image_stays_as_one_that_has_passed() {
    let _pace = super::fast();
    let account = account().await;
    // An older image is where this one is to be.
    let older = Build::publishing(&account, &everything()).run().await;
    let older = older.ended(Exit::Done).image.unwrap().id;
    let before = account.inventory().await;
    // The first renews, the second writes the user's tags, and the third releases.
    let refused = json!({"region": REGION, "nth": 3, "times": 1});
    account.fault("CreateTags", "denied", refused).await;
    let wanted = everything().replace(&format!("{REGION}, {OTHER}"), REGION);
    let built = Build::publishing(&account, &wanted).run().await;
    let built = built.ended(Exit::LeftBehind);
    account.assert_all_hit().await;
    assert!(built.image.is_none(), "it is not published");
    let images = images(&account, REGION).await;
    let new = images
        .iter()
        .find(|i| i.image_id() != Some(&older))
        .unwrap();
    let id = new.image_id().unwrap();
    let tags = table(new.tags());
    assert_eq!(tags["amibake:state"], "passed");
    assert!(
        !tags.contains_key("Team") && !tags.contains_key("Name"),
        "{tags:?}"
    );
    assert!(new.description().unwrap().contains("(amibake run "));
    assert_eq!(shared_with(&account, REGION, id).await, [""; 0]);
    assert_eq!(volumes_of(&account, REGION, snapshot(new)).await, [""; 0]);
    let now = account.inventory().await;
    for kind in ["parameters", "template_versions"] {
        assert_eq!(now[kind], before[kind], "{}", built.said);
    }
    let named = built.left_behind();
    assert!(named.iter().any(|(what, _)| what.contains(id)), "{named:?}");
    assert!(
        built.said.contains("others may have used"),
        "{}",
        built.said
    );

    // Until it expires `reap` leaves it, and the command goes on.
    amibake(&account, &["reap", "--region", REGION], 0).await;
    let command = named[0].1.to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    amibake(&account, &words, 0).await;
    assert_eq!(parameter(&account, REGION).await.as_deref(), Some(id));
    assert_eq!(
        shared_with(&account, REGION, id).await,
        [FRIEND, ORGANIZATION]
    );
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

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_somebody_else_made_is_published_too_and_stays_as_it_is_described() {
    let _pace = super::fast();
    let account = account().await;
    let built = Build::of(&account).run().await.ended(Exit::Done);
    let id = built.image.unwrap().id;
    let ec2 = client_in(&account, REGION).await;
    let image_of = image(&account, REGION).await;
    let ours: Vec<Tag> = image_of.tags().to_vec();
    let gone = ec2.delete_tags().resources(&id).set_tags(Some(ours));
    gone.send().await.unwrap();
    let words = aws_sdk_ec2::types::AttributeValue::builder()
        .value("by Packer")
        .build();
    let described = ec2
        .modify_image_attribute()
        .image_id(&id)
        .description(words);
    described.send().await.unwrap();
    let build = Build::publishing(&account, &everything());
    build.publish(&id).await.ended(Exit::Done);
    let home = image(&account, REGION).await;
    assert_eq!(home.description(), Some("by Packer"));
    assert_eq!(
        image(&account, OTHER).await.description(),
        Some("by Packer")
    );
    assert_eq!(
        parameter(&account, OTHER).await.as_deref(),
        image(&account, OTHER).await.image_id()
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn copies_wait_where_a_region_makes_no_more_and_are_made_so_many_at_a_time() {
    let _pace = super::fast();
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

/// An image that everybody may launch is not encrypted; and the account must let one become public.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_is_public_and_a_unit_s_in_every_region_and_is_taken_back_by_the_manifest() {
    let _pace = super::fast();
    let account = account().await;
    let free = json!({"public_access": "unblocked", "public_snapshots": "unblocked"});
    account.control("ways", free).await;
    let wanted =
        |share: &str| format!(", encrypt: false, regions: [{REGION}, {OTHER}], share: {{{share}}}");
    let open = format!(
        "public: true, confirm_public: web, organizational_units: ['{UNIT}'], snapshots: true"
    );
    let build = Build::publishing(&account, &wanted(&open)).of_shared_content();
    build.run().await.ended(Exit::Done);
    for region in [REGION, OTHER] {
        let image = image(&account, region).await;
        let id = image.image_id().unwrap();
        assert_eq!(shared_with(&account, region, id).await, ["all", UNIT]);
        assert!(is_everybodys(&account, region, snapshot(&image)).await);
    }
    let build = Build::publishing(&account, &wanted("")).of_shared_content();
    let again = build.run().await.ended(Exit::Done);
    assert!(again.reused, "{}", again.said);
    for region in [REGION, OTHER] {
        let image = image(&account, region).await;
        let id = image.image_id().unwrap();
        assert_eq!(shared_with(&account, region, id).await, [""; 0]);
        assert!(!is_everybodys(&account, region, snapshot(&image)).await);
    }
}

/// A region fails when its parameter was set; meanwhile somebody has set it, to the same image.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_parameter_that_somebody_has_set_since_is_not_taken_back() {
    let _pace = super::fast();
    let account = account().await;
    let hold = json!({"seconds": 600});
    account
        .fault("ModifyLaunchTemplate", "hold-before", hold)
        .await;
    // The first renews, the second writes the user's tags, and the third releases.
    let refused = json!({"nth": 3, "times": 1});
    account.fault("CreateTags", "denied", refused).await;
    let wanted = everything().replace(&format!("{REGION}, {OTHER}"), REGION);
    let build = Build::publishing(&account, &wanted);
    let setting = async {
        account.wait_until_held().await;
        let id = parameter(&account, REGION).await.unwrap();
        let put = parameters_in(&account, REGION).await.put_parameter();
        let put = put.name("/ami/web").value(&id).overwrite(true);
        let put = put.r#type("String".into()).data_type("aws:ec2:image");
        let version = put.send().await.unwrap().version;
        let is_set = async || version_of(&account).await == version;
        account.wait_until("the parameter", is_set).await;
        account.release().await;
        id
    };
    let (built, id) = tokio::join!(build.run(), setting);
    let built = built.ended(Exit::LeftBehind);
    assert!(built.image.is_none(), "{}", built.said);
    assert_eq!(parameter(&account, REGION).await, Some(id));
}

async fn version_of(account: &Account) -> i64 {
    let asked = parameters_in(account, REGION).await.get_parameter();
    let told = asked.name("/ami/web").send().await.unwrap();
    told.parameter.unwrap().version
}

/// Copies take up to hours, in which a lock may be taken over.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_lock_is_looked_at_before_a_parameter_is_set_and_its_loss_told_once() {
    let _pace = super::fast();
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
