//! `prune` and `status`: what they see of an account, and what they leave alone.

use std::path::PathBuf;

use serde_json::json;

use super::build::{Build, client, ssm_client};
use super::child::{LEAPING, Process, Work, amibake};
use super::server::{Account, REGION};
use crate::exit::Exit;
use crate::manifest::Source;

/// Builds so many images of one manifest, a day apart. Returns their ids, the oldest first. None is to fail since this
/// machine is slow.
async fn images(account: &Account, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for day in 0..count {
        let mut build = Build::with(account, ", timeouts: {total: 6h}");
        build.plan.image.name = format!("web-{day}");
        let built = build.run().await.ended(Exit::Done);
        let id = built.image.unwrap().id;
        let made = json!({"image": id, "made": format!("2026-07-{:02}T10:00:00", day + 1)});
        account.control("image-made", made).await;
        ids.push(id);
    }
    ids
}

fn manifest(account: &Account) -> PathBuf {
    account.home().join("manifest.yaml")
}

async fn prune(account: &Account, more: &[&str], code: u8) -> String {
    let path = manifest(account);
    let mut words = vec!["prune", path.to_str().unwrap()];
    words.extend(more);
    let words = words.into_iter().map(str::to_owned).collect();
    // By a clock that leaps no call of it is too late.
    let process = Process::start(account, LEAPING, Work::Command(words), &[]);
    let outcome = process.end().await.ended(code);
    outcome.stdout + &outcome.said
}

/// Returns what is said of an image.
fn line<'t>(told: &'t str, id: &str) -> &'t str {
    let mut lines = told.lines();
    lines
        .find(|line| line.contains(&format!(" {id} in ")))
        .unwrap_or_else(|| panic!("{id}: {told}"))
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn old_images_go_when_that_is_confirmed_but_for_those_that_are_used() {
    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 7).await;
    drop(pace);
    let ec2 = client(&account).await;
    let run = ec2
        .run_instances()
        .image_id(&ids[0])
        .min_count(1)
        .max_count(1);
    run.instance_type("t3.small".into()).send().await.unwrap();
    // Nothing is asked twice because it is not known everywhere yet.
    account.control("delays", json!({"visible": 0})).await;
    template(&account, &ids[2]).await;
    let before = account.inventory().await;

    let told = prune(&account, &["--keep", "1"], 0).await;
    assert!(
        line(&told, &ids[0]).contains("used by instance i-"),
        "{told}"
    );
    assert!(
        line(&told, &ids[1]).contains(&format!("what one goes back to from {}", ids[2])),
        "{told}"
    );
    assert!(
        line(&told, &ids[2]).contains("used by launch template web version 1"),
        "{told}"
    );
    assert!(line(&told, &ids[3]).starts_with("would remove "), "{told}");
    assert!(line(&told, &ids[6]).starts_with("keep "), "{told}");
    assert!(
        told.contains("nothing was removed: --yes does it"),
        "{told}"
    );
    assert_eq!(account.inventory().await, before, "it only looked");

    // What another account may launch is not seen from here.
    let other = aws_sdk_ec2::types::LaunchPermission::builder()
        .user_id("123456789012")
        .build();
    let add = aws_sdk_ec2::types::LaunchPermissionModifications::builder()
        .add(other)
        .build();
    let share = ec2
        .modify_image_attribute()
        .image_id(&ids[5])
        .launch_permission(add);
    share.send().await.unwrap();
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(line(&told, &ids[3]).starts_with("remove "), "{told}");
    assert!(
        line(&told, &ids[5]).contains("account 123456789012, with which it is shared"),
        "{told}"
    );
    let after = account.inventory().await;
    assert!(!after["images"].contains(&ids[3]), "{after:?}");
    assert_eq!(after["images"].len() + 1, before["images"].len());
    assert_eq!(after["snapshots"].len() + 1, before["snapshots"].len());
}

/// Makes a launch template that names an image in its first version alone.
async fn template(account: &Account, image: &str) {
    let data = |image: &str| {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder();
        data.image_id(image)
            .instance_type("t3.small".into())
            .build()
    };
    let ec2 = client(account).await;
    let make = ec2.create_launch_template().launch_template_name("web");
    make.launch_template_data(data(image)).send().await.unwrap();
    let next = ec2
        .create_launch_template_version()
        .launch_template_name("web");
    next.launch_template_data(data("ami-0123456789abcdef0"))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_a_use_cannot_be_looked_for_nothing_goes() {
    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 2).await;
    drop(pace);
    let before = account.inventory().await;
    for action in [
        "DescribeLaunchTemplates",
        "DescribeAutoScalingGroups",
        "DescribeLaunchConfigurations",
        "DescribeParameters",
        "DescribeStacks",
    ] {
        account.deny(action, 1).await;
        let told = prune(&account, &["--keep", "1", "--yes"], 1).await;
        assert!(
            told.contains("nothing was removed") && told.contains(action),
            "{told}"
        );
        assert!(!told.contains("no released image"), "{told}");
        assert_eq!(account.inventory().await, before, "{action}");
        account.control("clear", json!({})).await;
    }
    let told = prune(&account, &["--older-than", "3650d", "--yes"], 0).await;
    assert!(!told.contains("remove "), "{told}");

    // A script's own parameter, of no type that EC2 knows, and an old version that a template resolves.
    let ssm = ssm_client(&account).await;
    for value in [&ids[0], "ami-0123456789abcdef0"] {
        let put = ssm
            .put_parameter()
            .name("/mine/web")
            .value(value)
            .overwrite(true);
        put.r#type("String".into()).send().await.unwrap();
    }
    account.control("delays", json!({"visible": 0})).await;
    template(&account, "resolve:ssm:/mine/web:1").await;
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(
        line(&told, &ids[0]).contains("used by launch template web version 1"),
        "{told}"
    );
    let put = ssm
        .put_parameter()
        .name("/mine/web")
        .value(&ids[0])
        .overwrite(true);
    put.send().await.unwrap();
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(
        line(&told, &ids[0]).contains("SSM parameter /mine/web"),
        "{told}"
    );
    assert_eq!(account.inventory().await["images"], before["images"]);
    let told = prune(&account, &[], 2).await;
    assert!(
        told.contains("how many images of web are kept is not said"),
        "{told}"
    );
}

/// Nothing runs: a group that is as large as nothing launches by what it has when it grows.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_a_launch_configuration_or_an_auto_scaling_group_launches_is_used() {
    use aws_sdk_autoscaling::types::{
        LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, MixedInstancesPolicy,
    };

    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 6).await;
    drop(pace);
    account.control("delays", json!({"visible": 0})).await;
    let settings = super::build::settings(&account).load().await;
    let scaling = aws_sdk_autoscaling::Client::new(&settings);
    let configuration = scaling.create_launch_configuration();
    let configuration = configuration.launch_configuration_name("old-web");
    let configuration = configuration.image_id(&ids[0]).instance_type("t3.small");
    configuration.send().await.unwrap();
    template(&account, &ids[2]).await;
    let specification = LaunchTemplateSpecification::builder();
    let specification = specification.launch_template_name("web").version("2");
    let overridden = LaunchTemplateOverrides::builder().image_id(&ids[4]);
    let launched = LaunchTemplate::builder()
        .launch_template_specification(specification.build())
        .overrides(overridden.instance_type("t3.small").build());
    let policy = MixedInstancesPolicy::builder().launch_template(launched.build());
    let group = scaling.create_auto_scaling_group();
    let group = group
        .auto_scaling_group_name("site")
        .min_size(0)
        .max_size(3);
    let group = group.availability_zones("eu-west-1a");
    let group = group.mixed_instances_policy(policy.build());
    group.send().await.unwrap();
    let before = account.inventory().await;
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    for (id, by) in [
        (&ids[0], "launch configuration old-web"),
        (&ids[2], "launch template web version 1"),
        (&ids[4], "auto scaling group site"),
    ] {
        let used = format!(": used by {by}");
        assert!(line(&told, id).ends_with(&used), "{told}");
    }
    assert_eq!(account.inventory().await, before, "{told}");

    // What is not used any more goes, and what one goes back to from it.
    let gone = scaling.delete_launch_configuration();
    let gone = gone.launch_configuration_name("old-web");
    gone.send().await.unwrap();
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(line(&told, &ids[0]).starts_with("remove "), "{told}");
    assert!(!account.inventory().await["images"].contains(&ids[0]));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn snapshots_that_stay_when_their_image_is_gone_are_named_and_the_others_go() {
    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 3).await;
    drop(pace);
    let snapshot_of = async |id: &str| {
        let asked = client(&account).await.describe_images().image_ids(id);
        let found = asked.send().await.unwrap();
        super::publish::snapshot(&found.images()[0]).to_owned()
    };
    let (first, second) = (snapshot_of(&ids[0]).await, snapshot_of(&ids[1]).await);
    account
        .fault("DeleteSnapshot", "denied", json!({"times": 1}))
        .await;
    let told = prune(&account, &["--keep", "1", "--yes"], 3).await;
    let left = format!(
        "left behind: snapshot {first} in {REGION}, whose image {} is gone (aws ec2 delete-snapshot --region {REGION} --snapshot-id {first})",
        ids[0]
    );
    assert!(told.contains(&left), "{told}");
    assert_eq!(told.matches("left behind: ").count(), 1, "{told}");
    let after = account.inventory().await;
    assert_eq!(after["images"], [ids[2].as_str()], "{told}");
    assert!(after["snapshots"].contains(&first) && !after["snapshots"].contains(&second));
}

/// What is printed is what has become of them.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn no_image_goes_where_a_manifest_is_wrong_and_one_that_would_not_go_is_said_to_stay() {
    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 3).await;
    drop(pace);
    let before = account.inventory().await;
    let wrong = account.home().join("wrong.yaml");
    std::fs::write(&wrong, "name: web\nsuorce: {ubuntu: '24.04'}\n").unwrap();
    let more = ["--keep", "1", "--yes", wrong.to_str().unwrap()];
    let told = prune(&account, &more, 2).await;
    assert!(told.contains("suorce"), "{told}");
    assert_eq!(account.inventory().await, before, "{told}");

    account
        .fault("DeregisterImage", "denied", json!({"times": 1}))
        .await;
    let told = prune(&account, &["--keep", "1", "--yes"], 1).await;
    let stays = line(&told, &ids[0]);
    assert!(stays.starts_with("keep "), "{told}");
    assert!(stays.ends_with(": it could not be removed"), "{told}");
    assert!(line(&told, &ids[1]).starts_with("remove "), "{told}");
    let there = account.inventory().await["images"].clone();
    assert_eq!(there.len(), 2, "{told}");
    assert!(there.contains(&ids[0]) && there.contains(&ids[2]), "{told}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_parameter_that_names_no_image_is_told_by_its_name_and_not_by_what_it_holds() {
    let _pace = super::fast();
    let account = Account::open().await;
    let ssm = ssm_client(&account).await;
    for (value, told) in [
        ("hello", "does not hold the id of an image"),
        ("ami-0123456789abcdef1", "names no image of use"),
    ] {
        let put = ssm.put_parameter().name("/txt").value(value);
        let put = put.r#type("String".into()).overwrite(true);
        put.send().await.unwrap();
        let mut build = Build::of(&account);
        build.plan.source = Source::Ssm("/txt".into());
        let built = build.run().await.ended(Exit::Usage);
        let told = format!("the SSM parameter /txt in {REGION} {told}");
        assert!(built.said.contains(&told), "{}", built.said);
        assert!(!built.said.contains("hello"), "{}", built.said);
    }
}

/// Makes a stack with these parameters, or gives it others.
#[cfg(feature = "stack")]
pub(super) async fn stack(account: &Account, name: &str, parameters: &[(&str, &str)]) {
    use aws_sdk_cloudformation::types::Parameter;

    let settings = super::build::settings(account).load().await;
    let formation = aws_sdk_cloudformation::Client::new(&settings);
    let declared: serde_json::Map<_, _> = parameters
        .iter()
        .map(|(key, _)| ((*key).to_owned(), json!({"Type": "String"})))
        .collect();
    let network = json!({"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}});
    let outputs: serde_json::Map<_, _> = parameters
        .iter()
        .map(|(key, _)| ((*key).to_owned(), json!({"Value": {"Ref": key}})))
        .collect();
    let body = json!({"Parameters": declared, "Resources": {"Vpc": network}, "Outputs": outputs});
    let given = parameters.iter().map(|(key, value)| {
        let given = Parameter::builder().parameter_key(*key);
        given.parameter_value(*value).build()
    });
    let given = Some(given.collect());
    let make = formation.create_stack().stack_name(name);
    let make = make
        .template_body(body.to_string())
        .set_parameters(given.clone());
    if let Err(refused) = make.send().await {
        let refused = refused.into_service_error();
        assert!(refused.is_already_exists_exception(), "{refused:?}");
        let change = formation.update_stack().stack_name(name);
        let change = change.template_body(body.to_string()).set_parameters(given);
        change.send().await.unwrap();
    }
    account
        .wait_until("the stack", async || {
            let told = formation
                .describe_stacks()
                .stack_name(name)
                .send()
                .await
                .unwrap();
            let status = told.stacks()[0].stack_status().unwrap().as_str().to_owned();
            status == "CREATE_COMPLETE" || status == "UPDATE_COMPLETE"
        })
        .await;
}

#[cfg(feature = "stack")]
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_a_stack_has_as_a_parameter_is_used() {
    let pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 4).await;
    drop(pace);
    account.control("stacks", json!({"page": 1})).await;
    stack(&account, "first", &[("Other", "x")]).await;
    stack(
        &account,
        "site",
        &[("ImageIdBlue", &ids[2]), ("ImageIdGreen", &ids[1])],
    )
    .await;
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(
        line(&told, &ids[1]).contains("used by stack site as ImageIdGreen"),
        "{told}"
    );
    assert!(
        line(&told, &ids[2]).contains("used by stack site as ImageIdBlue"),
        "{told}"
    );
    assert!(
        line(&told, &ids[0]).contains("what one goes back to from"),
        "{told}"
    );
    stack(
        &account,
        "site",
        &[("ImageIdBlue", &ids[3]), ("ImageIdGreen", &ids[2])],
    )
    .await;
    let told = prune(&account, &["--keep", "1", "--yes"], 0).await;
    assert!(line(&told, &ids[0]).starts_with("remove "), "{told}");
    assert!(
        line(&told, &ids[1]).contains("what one goes back to from"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_there_is_shown_with_what_becomes_of_it() {
    let pace = super::fast();
    let account = Account::open().await;
    let status = async || {
        amibake(&account, &["status", "--region", REGION], 0)
            .await
            .stdout
    };
    assert_eq!(status().await, "nothing is there\n");
    account.deny("DescribeImages", 1).await;
    let told = amibake(&account, &["status", "--region", REGION], 1).await;
    assert_eq!(told.stdout, "", "what was not looked at is not known");
    account.control("clear", json!({})).await;
    let ids = images(&account, 1).await;
    account
        .fault("StopInstances", "hold", json!({"seconds": 600}))
        .await;
    let process = Process::build(&account, super::PACE).held(&account).await;
    drop(pace);
    let told = status().await;
    assert!(
        told.contains(&format!(
            "released  image {} in {REGION} (web-0): manifest web",
            ids[0]
        )),
        "{told}"
    );
    assert!(
        told.lines().any(|l| l.starts_with("running   run ")),
        "{told}"
    );
    assert!(
        told.lines()
            .any(|l| l.starts_with("alive     builder instance i-")),
        "{told}"
    );
    process.kill().await;
    account.release().await;
    account.control("expire", json!({})).await;
    let told = status().await;
    assert!(
        told.lines()
            .any(|l| l.starts_with("expired   builder instance i-")),
        "{told}"
    );
    assert!(
        told.lines().any(|l| l.starts_with("left      by run ")),
        "{told}"
    );
    let json = amibake(&account, &["status", "--json", "--region", REGION], 0)
        .await
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["here"]["owing"].as_array().unwrap().len(), 1);
    account.control("clear", json!({})).await;
    amibake(&account, &["reap", "--region", REGION], 0).await;
    let told = status().await;
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn another_manifest_s_newest_released_image_is_what_a_build_starts_from() {
    let _pace = super::fast();
    let account = Account::open().await;
    let ids = images(&account, 2).await;
    // One with our tags and another's description is none.
    let poisoned = json!({"image": ids[1], "description": "the one in production"});
    account.control("image", poisoned).await;
    account.control("clear", json!({})).await;
    let mut build = Build::of(&account);
    build.plan.source = Source::Manifest("web".into());
    build.plan.image.name = "above-web".into();
    build.run().await.ended(Exit::Done);
    let calls = account.calls().await;
    let launch = calls
        .iter()
        .find(|call| call.action == "RunInstances")
        .unwrap();
    assert_eq!(launch.params["ImageId"], ids[0]);

    let mut build = Build::of(&account);
    build.plan.source = Source::Manifest("nobody".into());
    let built = build.run().await.ended(Exit::Usage);
    let told = "the manifest nobody has no released amd64 image in eu-west-1";
    assert!(built.said.contains(told), "{}", built.said);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_has_passed_and_is_named_already_is_not_reaped() {
    let account = Account::open().await;
    // The second CreateTags releases it.
    account
        .fault("CreateTags", "hang", json!({"nth": 2, "times": 9}))
        .await;
    let process = Process::build(&account, super::PACE).held(&account).await;
    let told = amibake(&account, &["reap", "--region", REGION], 0)
        .await
        .stdout;
    assert!(!told.contains("remove "), "{told}");
    process.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    // The host is gone, and its journal with it.
    std::fs::remove_dir_all(account.state_folder()).unwrap();
    let id = account.inventory().await["images"][0].clone();
    let ssm = ssm_client(&account).await;
    let put = ssm
        .put_parameter()
        .name("/ami/web")
        .value(&id)
        .r#type("String".into());
    put.send().await.unwrap();
    account.control("expire", json!({})).await;
    let told = amibake(&account, &["reap", "--region", REGION], 0)
        .await
        .stdout;
    let kept = format!(
        "keep image {id} in {REGION}, which is not released: it is named by SSM parameter /ami/web"
    );
    assert!(told.contains(&kept), "{told}");
    assert!(account.inventory().await["images"].contains(&id));
    ssm.delete_parameter()
        .name("/ami/web")
        .send()
        .await
        .unwrap();
    amibake(&account, &["reap", "--region", REGION], 0).await;
    assert_eq!(account.inventory().await["images"], Vec::<String>::new());
    assert_eq!(account.inventory().await["snapshots"], Vec::<String>::new());
}

/// A machine whose clock is ahead ends nobody's build.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn expiries_are_judged_by_aws_s_clock() {
    let account = Account::open().await;
    account
        .fault("StopInstances", "hold", json!({"seconds": 600}))
        .await;
    let process = Process::build(&account, super::PACE).held(&account).await;
    std::fs::rename(account.state_folder(), account.home().join("elsewhere")).unwrap();
    account
        .control("ways", json!({"clock_skew": -7_200.0}))
        .await;
    let reap = async || amibake(&account, &["reap", "--region", REGION], 0).await;
    let outcome = reap().await;
    assert!(outcome.said.contains("min off AWS's"), "{}", outcome.said);
    assert!(!outcome.stdout.contains("remove "), "{}", outcome.stdout);
    account
        .control("ways", json!({"clock_skew": 7_200.0}))
        .await;
    let outcome = reap().await;
    assert!(
        outcome.stdout.contains("remove builder instance"),
        "{}",
        outcome.stdout
    );
    process.kill().await;
    account.release().await;
}

/// PEERS2026 2.2 row 43.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_release_that_is_not_there_is_told_with_those_that_are() {
    let _pace = super::fast();
    let account = Account::open().await;
    let mut build = Build::of(&account);
    build.plan.source = Source::Ubuntu("27.10".into());
    let built = build.run().await.ended(Exit::Usage);
    assert!(
        built
            .said
            .contains("Canonical has no Ubuntu 27.10 for amd64 in eu-west-1"),
        "{}",
        built.said
    );
    assert!(
        built.said.contains("hint: there are 24.04"),
        "{}",
        built.said
    );
}
