//! An image is replaced by its name: the old one makes way when the new one has passed, comes back where
//! that fails, and never goes while something uses it.

use aws_sdk_ec2::types::{Image, RequestLaunchTemplateData};
use serde_json::json;

use super::build::{Build, Built, client, parameters_in};
use super::child::{Process, Work, amibake};
use super::guest::Steps;
use super::publish::{OTHER, images, table};
use super::server::{Account, REGION};
use crate::exit::Exit;

/// What goes into `image:`.
pub(super) const REPLACING: &str = ", name: web, replace: true";

async fn build(account: &Account) -> Built {
    Build::publishing(account, REPLACING).run().await
}

/// Returns the one image of the account.
async fn image(account: &Account) -> Image {
    image_in(account, REGION).await
}

/// Returns the one image of a region.
async fn image_in(account: &Account, region: &'static str) -> Image {
    let mut all = images(account, region).await;
    assert_eq!(all.len(), 1, "{region}: {all:?}");
    all.remove(0)
}

/// What goes into `image:` where another region has a copy.
fn everywhere() -> String {
    format!("{REPLACING}, regions: [{OTHER}], tags: {{Team: web}}")
}

/// Builds in two regions; returns the image and its copy.
async fn build_everywhere(account: &Account) -> (Image, Image) {
    let built = Build::publishing(account, &everywhere()).run().await;
    built.ended(Exit::Done);
    (image(account).await, image_in(account, OTHER).await)
}

/// Runs the command that a build which is not complete names.
async fn go_on(account: &Account, command: &str) {
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    amibake(account, &words, 0).await;
}

/// Insists that a region's image is a released copy of another, under the name.
fn assert_copied(copy: &Image, home: &Image) {
    assert_eq!((copy.name(), home.name()), (Some("web"), Some("web")));
    assert_eq!(copy.source_image_id(), home.image_id());
    for image in [copy, home] {
        let tags = table(image.tags());
        assert_eq!((tags["amibake:state"], tags["Team"]), ("released", "web"));
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_old_image_makes_way_when_the_new_one_has_passed_and_its_snapshots_stay() {
    let _pace = super::fast();
    let account = Account::open().await;
    let old = build(&account).await.ended(Exit::Done).image.unwrap().id;
    let before = account.inventory().await;
    account.control("calls/clear", json!({})).await;
    let built = build(&account).await.ended(Exit::Done);
    let new = image(&account).await;
    let finished = built.image.unwrap();
    assert_eq!(
        (new.name(), new.image_id()),
        (Some("web"), Some(finished.id.as_str()))
    );
    assert_ne!(finished.id, old);
    let told = format!(
        "{old} in {REGION} makes way for another image of the name web; its snapshots stay: {}",
        before["snapshots"][0]
    );
    assert!(built.said.contains(&told), "{}", built.said);
    let after = account.inventory().await;
    assert_eq!(after["snapshots"].len(), 2);
    assert!(after["snapshots"].contains(&before["snapshots"][0]));
    // The name is free for one call.
    let asked = account.actions().await;
    let of_images = |a: &&String| *a == "RegisterImage" || *a == "DeregisterImage";
    let asked: Vec<&String> = asked.iter().filter(of_images).collect();
    assert_eq!(
        asked[..3],
        ["RegisterImage", "DeregisterImage", "RegisterImage"]
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_the_new_one_is_not_registered_the_old_one_comes_back_and_resume_replaces_it() {
    let _pace = super::fast();
    let account = Account::open().await;
    let first = Build::publishing(&account, &format!("{REPLACING}, tags: {{Team: web}}"));
    let first = first.run().await.ended(Exit::Done).image.unwrap().id;
    let old = image(&account).await;
    // The first registers the spare, the second the new one, and the third the old one again.
    let refused = json!({"nth": 2, "times": 1});
    account.fault("RegisterImage", "denied", refused).await;
    let built = build(&account).await.ended(Exit::LeftBehind);
    account.assert_all_hit().await;
    let told = "is registered again: with another id, shared with nobody";
    assert!(built.said.contains(told), "{}", built.said);
    let all = images(&account, REGION).await;
    let named = |name: &str| all.iter().find(|i| i.name().unwrap().starts_with(name));
    let (again, candidate) = (named("web").unwrap(), named("amibake-candidate-").unwrap());
    assert_eq!(all.len(), 2, "{all:?}");
    assert_ne!(again.image_id(), Some(first.as_str()));
    assert_eq!(table(again.tags()), table(old.tags()));
    for part in [
        |i: &Image| i.description.clone(),
        |i: &Image| i.root_device_name.clone(),
        |i: &Image| Some(format!("{:?}", i.block_device_mappings())),
        |i: &Image| {
            Some(format!(
                "{:?} {:?} {:?}",
                i.boot_mode, i.imds_support, i.ena_support
            ))
        },
    ] {
        assert_eq!(part(again), part(&old));
    }
    assert_eq!(table(candidate.tags())["amibake:state"], "passed");
    let command = built.left_behind()[0].1.to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let told = amibake(&account, &words, 0).await;
    let new = image(&account).await;
    assert_eq!(told.stdout, format!("{}\n", new.image_id().unwrap()));
    assert_eq!(new.name(), Some("web"));
}

/// Nobody is to find out by a launch that fails.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_used_or_not_ours_is_not_replaced_and_nothing_is_made() {
    let _pace = super::fast();
    let account = Account::open().await;
    let old = build(&account).await.ended(Exit::Done).image.unwrap().id;
    let ec2 = client(&account).await;
    let refused = async |told: &str, exit: Exit| {
        let before = account.inventory().await;
        let built = build(&account).await.ended(exit);
        assert!(built.said.contains(told), "{told}: {}", built.said);
        assert_eq!(account.inventory().await, before);
        let checks = Build::publishing(&account, REPLACING).preflight().await;
        let mut about_name = checks.iter().filter(|check| check.about == "name");
        assert!(
            about_name.any(|check| check.detail.contains(told)),
            "{checks:#?}"
        );
    };

    let launched = ec2.run_instances().image_id(&old).min_count(1).max_count(1);
    let launched = launched.send().await.unwrap().instances.unwrap();
    let id = launched[0].instance_id().unwrap();
    refused(&format!("is used by instance {id}"), Exit::Failed).await;
    ec2.terminate_instances()
        .instance_ids(id)
        .send()
        .await
        .unwrap();
    let is_gone = async || account.inventory().await["instances"].is_empty();
    account.wait_until("the instance to end", is_gone).await;

    let data = RequestLaunchTemplateData::builder().image_id(&old).build();
    let template = ec2.create_launch_template().launch_template_name("web");
    template.launch_template_data(data).send().await.unwrap();
    refused("is used by launch template web version 1", Exit::Failed).await;
    let gone = ec2.delete_launch_template().launch_template_name("web");
    gone.send().await.unwrap();

    let ssm = parameters_in(&account, REGION).await;
    let put = ssm.put_parameter().name("/somebody/s").value(&old);
    put.r#type("String".into()).send().await.unwrap();
    refused("is used by SSM parameter /somebody/s", Exit::Failed).await;
    ssm.delete_parameter()
        .name("/somebody/s")
        .send()
        .await
        .unwrap();

    account.deny("DescribeAutoScalingGroups", 1).await;
    refused(
        "cannot be told without autoscaling:DescribeAutoScalingGroups",
        Exit::Failed,
    )
    .await;
    account.control("clear", json!({})).await;

    let protect = ec2.enable_image_deregistration_protection().image_id(&old);
    protect.send().await.unwrap();
    refused("is protected against deregistration", Exit::Usage).await;
    let free = ec2.disable_image_deregistration_protection().image_id(&old);
    free.send().await.unwrap();

    let words = aws_sdk_ec2::types::AttributeValue::builder().value("by Packer");
    let described = ec2.modify_image_attribute().image_id(&old);
    described.description(words.build()).send().await.unwrap();
    refused("is no image that this manifest has released", Exit::Usage).await;
}

/// The new one is there and cannot be released: it waits for `resume`, and the old one with it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_the_new_one_is_not_published_the_old_one_comes_back_when_nobody_goes_on() {
    let _pace = super::fast();
    for goes_on in [false, true] {
        let account = Account::open().await;
        let old = build(&account).await.ended(Exit::Done).image.unwrap();
        let before = account.inventory().await;
        account.deny("ModifyImageAttribute", 1).await;
        let built = build(&account).await.ended(Exit::LeftBehind);
        account.control("clear", json!({})).await;
        let all = images(&account, REGION).await;
        let states: Vec<&str> = all
            .iter()
            .map(|i| table(i.tags())["amibake:state"])
            .collect();
        assert_eq!(states, ["passed"; 2], "{}", built.said);
        amibake(&account, &["reap", "--region", REGION], 0).await;
        assert_eq!(images(&account, REGION).await.len(), 2, "they are kept");
        if goes_on {
            let command = built.left_behind()[0].1.to_owned();
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            amibake(&account, &words, 0).await;
            let new = image(&account).await;
            assert_eq!(new.name(), Some("web"));
            assert_ne!(new.image_id(), Some(old.id.as_str()));
        } else {
            account.control("expire", json!({})).await;
            amibake(&account, &["reap", "--region", REGION], 0).await;
            let again = image(&account).await;
            assert_eq!(again.name(), Some("web"));
            assert_eq!(account.inventory().await["snapshots"], before["snapshots"]);
        }
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn in_each_region_the_old_one_makes_way_for_the_image_and_its_copy() {
    let _pace = super::fast();
    let account = Account::open().await;
    let (old, old_copy) = build_everywhere(&account).await;
    let before = account.inventory().await;
    let checks = Build::publishing(&account, &everywhere()).preflight().await;
    for (old, region) in [(&old, REGION), (&old_copy, OTHER)] {
        let told = format!("{} in {region} is replaced", old.image_id().unwrap());
        assert!(
            checks.iter().any(|c| c.detail == told),
            "{told}: {checks:#?}"
        );
    }
    account.control("calls/clear", json!({})).await;
    let (new, copy) = build_everywhere(&account).await;
    assert_ne!(new.image_id(), old.image_id());
    assert_ne!(copy.image_id(), old_copy.image_id());
    assert_copied(&copy, &new);
    let after = account.inventory().await;
    assert_eq!(after["snapshots"].len(), 4);
    for kept in &before["snapshots"] {
        assert!(after["snapshots"].contains(kept), "{after:?}");
    }
    // The name is free for one call there, too.
    let calls = account.calls().await;
    let there = calls.iter().filter(|call| call.region == OTHER);
    let there = there.map(|call| call.action.as_str());
    let of_images = ["CopyImage", "DeregisterImage", "RegisterImage"];
    let mut there: Vec<&str> = there.filter(|action| of_images.contains(action)).collect();
    there.dedup(); // what is not known everywhere yet is asked again
    let wanted = ["RegisterImage", "DeregisterImage", "CopyImage"];
    assert_eq!(there[..3], wanted);
}

/// The old copy is back at once, and `resume` replaces it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_a_region_makes_no_copy_its_old_image_comes_back_and_resume_replaces_it() {
    let _pace = super::fast();
    let account = Account::open().await;
    let (_, old_copy) = build_everywhere(&account).await;
    let before = account.inventory().await;
    account.deny("CopyImage", 1).await;
    let built = Build::publishing(&account, &everywhere()).run().await;
    let built = built.ended(Exit::LeftBehind);
    account.control("clear", json!({})).await;
    let new = image(&account).await;
    assert_eq!(built.image.as_ref().unwrap().id, new.image_id().unwrap());
    let again = image_in(&account, OTHER).await;
    assert_eq!(again.name(), Some("web"));
    assert_ne!(again.image_id(), old_copy.image_id());
    assert_eq!(table(again.tags()), table(old_copy.tags()));
    assert_eq!(again.description(), old_copy.description());
    let now = account.inventory().await;
    for kept in &before["snapshots"] {
        assert!(now["snapshots"].contains(kept), "{now:?}");
    }
    go_on(&account, built.left_behind()[0].1).await;
    assert_copied(&image_in(&account, OTHER).await, &new);
}

/// The copy is there and cannot be released: the spare of the old one waits with it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_a_copy_is_not_published_the_old_one_comes_back_when_nobody_goes_on() {
    let _pace = super::fast();
    for goes_on in [false, true] {
        let account = Account::open().await;
        let (_, old_copy) = build_everywhere(&account).await;
        let refused = json!({"region": OTHER, "times": 999});
        account
            .fault("ModifyImageAttribute", "denied", refused)
            .await;
        let built = Build::publishing(&account, &everywhere()).run().await;
        let built = built.ended(Exit::LeftBehind);
        account.assert_all_hit().await;
        account.control("clear", json!({})).await;
        let new = image(&account).await;
        let there = images(&account, OTHER).await;
        let states = there.iter().map(|i| table(i.tags())["amibake:state"]);
        assert_eq!(states.collect::<Vec<_>>(), ["passed"; 2], "{}", built.said);
        if goes_on {
            go_on(&account, built.left_behind()[0].1).await;
            assert_copied(&image_in(&account, OTHER).await, &new);
        } else {
            account.control("expire", json!({})).await;
            amibake(&account, &["reap"], 0).await;
            let again = image_in(&account, OTHER).await;
            assert_eq!(table(again.tags()), table(old_copy.tags()));
            assert_eq!(image(&account).await.image_id(), new.image_id());
        }
    }
}

/// Killed while it copies: `reap` gives the other region its old image back, and what has passed waits.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn killed_while_it_copies_the_old_one_comes_back_and_resume_goes_on() {
    let account = Account::open().await;
    let (old, old_copy) = {
        let _pace = super::fast();
        build_everywhere(&account).await
    };
    let hold = json!({"seconds": 600});
    account.fault("CopyImage", "hold", hold).await;
    let work = Work::Build {
        more: String::new(),
        image: everywhere(),
        steps: Steps::Done,
        silent: false,
        shared: false,
    };
    let build = Process::start(&account, super::PACE, work, &[]);
    build.held(&account).await.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    amibake(&account, &["reap"], 0).await;
    let again = image_in(&account, OTHER).await;
    assert_eq!(again.name(), Some("web"));
    assert_eq!(table(again.tags()), table(old_copy.tags()));
    // What has passed has the name, and the old one's spare is beside it.
    let here = images(&account, REGION).await;
    assert_eq!(here.len(), 2, "{here:?}");
    let passed = here.iter().find(|i| i.name() == Some("web")).unwrap();
    assert_ne!(passed.image_id(), old.image_id());
    let manifest = account.home().join("manifest.yaml");
    let id = passed.image_id().unwrap();
    amibake(&account, &["resume", id, manifest.to_str().unwrap()], 0).await;
    let (home, copy) = (image(&account).await, image_in(&account, OTHER).await);
    assert_eq!(home.image_id(), Some(id));
    assert_copied(&copy, &home);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_copy_that_is_used_is_not_replaced_and_nothing_is_made() {
    let _pace = super::fast();
    let account = Account::open().await;
    let (_, old_copy) = build_everywhere(&account).await;
    let used = old_copy.image_id().unwrap();
    let data = RequestLaunchTemplateData::builder().image_id(used).build();
    let ec2 = super::build::client_in(&account, OTHER).await;
    let template = ec2.create_launch_template().launch_template_name("web");
    template.launch_template_data(data).send().await.unwrap();
    let before = account.inventory().await;
    let built = Build::publishing(&account, &everywhere()).run().await;
    let built = built.ended(Exit::Failed);
    let told = format!("{used} in {OTHER} has the name web and is used by launch template web");
    assert!(built.said.contains(&told), "{}", built.said);
    assert_eq!(account.inventory().await, before);
}
