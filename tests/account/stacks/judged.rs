//! Alarms that follow the health of targets: which of them keep a deploy from beginning.

use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::server::Account;
use super::deploy::deploy;
use super::rollout::{assert_settled, live, status};
use super::{BASE_IMAGE, amibake_leaping, another_image, outputs};
use crate::clock::leaping;

/// Returns the alarms that fire, without what CloudFormation adds to their names.
async fn firing(account: &Account) -> Vec<String> {
    let told = status(account).await;
    let names = told["alarms"].as_array().unwrap().iter();
    let names = names.filter_map(Json::as_str);
    let plain = names.map(|name| name.split('-').nth(1).unwrap_or(name).to_owned());
    plain.collect()
}

/// Deploys an image that is never healthy, and keeps its instances.
async fn keep_failed(account: &Account, image: &str) {
    let words = ["--ami", image, "--keep-failed", "--healthy-within", "1m"];
    deploy(account, &words, 4).await;
    assert_eq!(firing(account).await, ["UnhealthyGreen"]);
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn what_is_kept_of_a_failed_deploy_keeps_nothing_else_from_being_done() {
    leaping::run(async {
        let account = live().await;
        let image = another_image(&account).await;
        let ill = json!([{"image": image, "health": 500, "status": 500}]);
        account.control("answers", ill).await;
        keep_failed(&account, &image).await;
        amibake_leaping(&account, &["stack", "rollback", "web"], 0).await;
        assert_settled(&account, "Blue").await;
        assert_eq!(firing(&account).await, Vec::<String>::new());
        keep_failed(&account, &image).await;
        // What both colours have changes, and what the new one has.
        let words = ["--ami", "current", "--param", "MaxSize=5"];
        let words = [&words[..], &["--param", "InstanceType=t3.large"]].concat();
        deploy(&account, &words, 0).await;
        assert_settled(&account, "Green").await;
        assert_eq!(firing(&account).await, Vec::<String>::new());
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_live_colour_that_is_ill_is_mended_by_a_deploy_that_is_told_to_begin() {
    leaping::run(async {
        let account = live().await;
        let image = another_image(&account).await;
        // Its group would launch others in their place, which would be as ill.
        let asg = aws_sdk_autoscaling::Client::new(&settings(&account).load().await);
        let blue = &outputs(&account, "web").await["GroupBlue"];
        let asked = asg.suspend_processes().auto_scaling_group_name(blue);
        let asked = asked.scaling_processes("ReplaceUnhealthy");
        asked.send().await.unwrap();
        let ill = json!([{"image": BASE_IMAGE, "health": 500, "status": 500}]);
        account.control("answers", ill).await;
        account
            .wait_until("its alarm", async || {
                firing(&account).await == ["UnhealthyBlue"]
            })
            .await;
        for more in [&[][..], &["--param", "MaxSize=5"]] {
            let words = [&["--ami", &image][..], more].concat();
            let said = deploy(&account, &words, 1).await.said;
            assert!(said.contains("UnhealthyBlue"), "{said}");
            assert!(said.contains("at once with --despite-alarms"), "{said}");
        }
        let words = ["--ami", &image, "--param", "MaxSize=5", "--despite-alarms"];
        let said = deploy(&account, &words, 0).await.said;
        let told = "alarms fire already, and do not count until they have ended: web-UnhealthyBlue";
        assert!(said.contains(told), "{said}");
        assert_settled(&account, "Green").await;
    });
}
