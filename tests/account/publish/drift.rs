//! What somebody changes by hand of what was published is mended, and what somebody has set since is left.

use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, EbsBlockDevice, LaunchPermission,
    LaunchPermissionModifications, RequestLaunchTemplateData, Tag,
};
use serde_json::json;

use super::{
    FORMER, FRIEND, OTHER, account, assert_published, everything, image, parameter, snapshot,
};
use crate::account::build::{Build, client_in, parameters_in};
use crate::account::child::amibake;
use crate::account::fast;
use crate::account::server::{Account, REGION};
use crate::exit::Exit;

/// How the description ends of an image that is not released.
const RUN: &str = "(amibake run 20260727t101500z-0a1b2c3d4e5f6071)";

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
    let _pace = fast();
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
async fn an_image_that_somebody_else_made_is_published_too_and_stays_as_it_is_described() {
    let _pace = fast();
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

/// A region fails when its parameter was set; meanwhile somebody has set it, to the same image.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_parameter_that_somebody_has_set_since_is_not_taken_back() {
    let _pace = fast();
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
