//! What a deploy is refused for before anything changes.

use serde_json::json;

use super::super::server::Account;
use super::deploy::{deploy, first};
use super::{BASE_IMAGE, amibake_leaping, another_image, certificate_for, open, outputs};
use crate::stack::template;

/// Insists that nothing was changed.
async fn assert_unchanged(account: &Account) {
    let asked = account.actions().await;
    let reads = |action: &&String| action.starts_with("Describe") || action.starts_with("Get");
    let changed: Vec<_> = asked.iter().filter(|a| !reads(a)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_is_not_there_or_does_not_boot_is_refused_before_anything_changes() {
    let account = open().await;
    let refused = async |more: &[&str], code| first(&account, more, code).await.said;
    let said = deploy(&account, &[], 2).await.said;
    assert!(
        said.contains("no AMI id came; did the build fail?"),
        "{said}"
    );
    let said = deploy(&account, &["--ami", "current"], 2).await.said;
    assert!(
        said.contains("there is no stack web in eu-west-1 whose image could be kept"),
        "{said}"
    );
    let said = deploy(&account, &["--ami", BASE_IMAGE], 2).await.said;
    assert!(
        said.contains("a new stack needs a value for CertificateArn"),
        "{said}"
    );
    assert!(said.contains("`amibake cert`"), "{said}");
    let said = deploy(&account, &["--ami", "ami-0123456789abcdef0"], 2)
        .await
        .said;
    assert!(
        said.contains("ami-0123456789abcdef0 does not exist in eu-west-1"),
        "{said}"
    );
    account.control("calls/clear", json!({})).await;
    let said = refused(&["--param", "InstanceType=m6g.large"], 2).await;
    assert!(
        said.contains("m6g.large is for arm64, and the image is for x86_64"),
        "{said}"
    );
    let said = refused(&["--param", "InstanceTypeGreen=t3.small"], 2).await;
    assert!(said.contains("--param InstanceType=…"), "{said}");
    let nowhere = "arn:aws:acm:eu-west-1:123456789012:certificate/0123";
    let nowhere = format!("CertificateArn={nowhere}");
    let said = deploy(&account, &["--ami", BASE_IMAGE, "--param", &nowhere], 2).await;
    assert!(
        said.said.contains("there is no certificate arn:aws:acm:"),
        "{}",
        said.said
    );
    let soon = format!("CertificateArn={}", certificate_for(&account, 12).await);
    let said = deploy(&account, &["--ami", BASE_IMAGE, "--param", &soon], 1).await;
    assert!(said.said.contains("ends at 20"), "{}", said.said);
    account.control("image", json!({"state": "pending"})).await;
    let said = refused(&["--param", "InstanceType=m6g.large"], 1).await;
    assert!(said.contains("2 things stand in the way"), "{said}");
    let said = refused(&[], 1).await;
    assert!(said.contains(&format!("{BASE_IMAGE} is pending")), "{said}");
    let mut asked = account.actions().await;
    let reads = |action: &str| action.starts_with("Describe") || action.starts_with("Get");
    asked.retain(|action| !reads(action) && action != "ImportCertificate");
    assert_eq!(asked, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_template_of_one_s_own_is_refused_with_what_it_lacks() {
    let account = open().await;
    let path = account.home().join("mine.yaml");
    let words =
        |path: &std::path::Path| vec!["--template".to_owned(), path.to_str().unwrap().to_owned()];
    let refused = async |text: &str| {
        std::fs::write(&path, text).unwrap();
        let words = words(&path);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        first(&account, &words, 2).await.said
    };
    let said = refused(&template::WEB.replace("  Listener:", "  TheListener:")).await;
    assert!(
        said.contains("mine.yaml lacks what a rollout needs: no output Listener"),
        "{said}"
    );
    let said = refused(&(template::WEB.to_owned() + &"#".repeat(30_000))).await;
    assert!(
        said.contains("CloudFormation takes 51200 in a call"),
        "{said}"
    );
    let said = refused("Resources: [").await;
    assert!(said.contains("mine.yaml cannot be read"), "{said}");

    // One that has all of it is taken, and may have more.
    let more = template::WEB.replace(
        "  LogDays:\n",
        "  Nothing: {Type: String, Default: \"\"}\n  LogDays:\n",
    );
    std::fs::write(&path, more).unwrap();
    let words = words(&path);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    first(&account, &words, 0).await;
    // The same again is nothing to do.
    account.control("calls/clear", json!({})).await;
    let again = [&["--ami", "current"][..], &words].concat();
    deploy(&account, &again, 0).await;
    assert_unchanged(&account).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_alarm_that_fires_already_refuses_the_deploy() {
    let account = open().await;
    first(&account, &[], 0).await;
    let alarms = outputs(&account, "web").await["Alarms"].clone();
    let watch =
        aws_sdk_cloudwatch::Client::new(&super::super::build::settings(&account).load().await);
    let alarm = alarms.split(',').next().unwrap();
    let fire = watch
        .set_alarm_state()
        .alarm_name(alarm)
        .state_value("ALARM".into());
    fire.state_reason("a test").send().await.unwrap();
    account.control("calls/clear", json!({})).await;
    let said = deploy(&account, &["--ami", "current", "--param", "MaxSize=5"], 1)
        .await
        .said;
    assert!(
        said.contains(&format!("alarms fire before the deploy begins: {alarm}")),
        "{said}"
    );
    assert_unchanged(&account).await;
    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_rollback_to_a_colour_whose_image_is_gone_is_refused_before_anything_changes() {
    let account = open().await;
    let one = another_image(&account).await;
    first(&account, &[], 0).await;
    deploy(&account, &["--ami", &one], 0).await;
    deploy(&account, &["--ami", BASE_IMAGE], 0).await;
    let ec2 = aws_sdk_ec2::Client::new(&super::super::build::settings(&account).load().await);
    let gone = ec2.deregister_image().image_id(&one).send();
    gone.await.unwrap();
    account.control("calls/clear", json!({})).await;
    let said = amibake_leaping(&account, &["stack", "rollback", "web"], 2).await;
    let said = said.said;
    let told =
        format!("green cannot be gone back to: its instances are gone, and so is its image, {one}");
    assert!(said.contains(&told), "{said}");
    let hint = "nothing was changed; deploy another image instead: amibake stack deploy web --region eu-west-1 --ami";
    assert!(said.contains(hint), "{said}");
    // The lock is beside the stack, and gone again.
    let mut asked = account.actions().await;
    let reads = |action: &str| action.starts_with("Describe") || action.starts_with("Get");
    asked.retain(|action| !reads(action) && !action.contains("LaunchTemplate"));
    assert_eq!(asked, Vec::<String>::new());
    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
}
