//! `--allow-replacement`: what has the traffic is made anew, traffic follows to it, and nothing of before stays: no rule, no
//! target group that a rule keeps.

use serde_json::json;

use super::super::build::settings;
use super::super::server::Account;
use super::deploy::{deploy, first};
use super::rollout::{assert_settled, status, traffic};
use super::{
    BASE_IMAGE, amibake_leaping, another_image, open, outputs, settled, start_leaping, unlock,
};
use crate::stack::template;

const OTHER_PORT: [&str; 4] = ["--ami", "current", "--param", "ApplicationPort=9090"];

/// Makes a stack whose green colour serves: the template's own rule would lead to blue.
async fn green() -> Account {
    let account = open().await;
    first(&account, &[], 0).await;
    let image = another_image(&account).await;
    deploy(&account, &["--ami", &image], 0).await;
    assert_settled(&account, "Green").await;
    account
}

async fn target_groups(account: &Account) -> Vec<String> {
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let told = elb.describe_target_groups().send().await.unwrap();
    let groups = told.target_groups.unwrap_or_default().into_iter();
    let mut groups: Vec<String> = groups.filter_map(|group| group.target_group_arn).collect();
    groups.sort();
    groups
}

/// Insists that the stack's target groups are all that there are, and that green has all of the traffic by them.
async fn assert_whole(account: &Account) {
    let told = outputs(account, "web").await;
    let mut own = ["TargetGroupBlue", "TargetGroupGreen"].map(|name| told[name].clone());
    own.sort();
    assert_eq!(target_groups(account).await, own);
    assert_serves(account).await;
}

async fn assert_serves(account: &Account) {
    assert_settled(account, "Green").await;
    let told = status(account).await;
    assert_eq!(traffic(&told), (0, 100), "{told}");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn target_groups_are_replaced_with_leave_alone_and_traffic_follows_to_the_new_ones() {
    let account = green().await;
    let before = target_groups(&account).await;
    let said = deploy(&account, &OTHER_PORT, 2).await.said;
    assert!(
        said.contains("this would take away what has the traffic of stack web"),
        "{said}"
    );
    assert_eq!(target_groups(&account).await, before);

    let words = [&OTHER_PORT[..], &["--allow-replacement"]].concat();
    let said = deploy(&account, &words, 0).await.said;
    assert!(
        said.contains("traffic follows to the target groups that are new"),
        "{said}"
    );
    assert!(!said.contains("DELETE_FAILED"), "{said}");
    let after = target_groups(&account).await;
    assert!(after.iter().all(|arn| !before.contains(arn)), "{after:?}");
    assert_whole(&account).await;

    // The next one rolls out as ever.
    deploy(&account, &["--ami", BASE_IMAGE], 0).await;
    assert_settled(&account, "Blue").await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_replacement_that_is_rolled_back_leaves_traffic_and_groups_as_they_were() {
    let account = green().await;
    let before = target_groups(&account).await;
    let trouble =
        json!({"resource": "GroupGreen", "action": "UPDATE", "reason": "the quota is used up"});
    account.control("trouble", trouble).await;
    let words = [&OTHER_PORT[..], &["--allow-replacement"]].concat();
    let said = deploy(&account, &words, 1).await.said;
    assert!(said.contains("the quota is used up"), "{said}");
    assert_eq!(settled(&account, "web").await, "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(target_groups(&account).await, before);
    assert_whole(&account).await;
}

/// CloudFormation gives the old target groups up while the rule that keeps them is about to move, or between two looks at
/// what it does.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn where_the_rule_moves_too_late_traffic_follows_and_the_target_groups_that_stay_are_named() {
    for late in ["ModifyRule", "DescribeStackEvents"] {
        let account = green().await;
        let before = target_groups(&account).await;
        let held = json!({"seconds": 600});
        account.fault(late, "hold-before", held).await;
        let words = ["stack", "deploy", "web", "--allow-replacement"];
        let words = [&words[..], &OTHER_PORT].concat();
        let deploy = start_leaping(&account, &words).held(&account).await;
        assert_eq!(settled(&account, "web").await, "UPDATE_COMPLETE");
        account.release().await;
        let said = deploy.end().await.ended(0).said;
        let told = "traffic follows to the target groups that are new";
        assert!(said.contains(told), "{late}: {said}");
        for arn in &before {
            let told = format!("{arn} is no longer the stack's and stays");
            assert!(said.contains(&told), "{late}: {told}: {said}");
        }
        assert_serves(&account).await;
    }
}

/// Whoever comes next finds a rule that leads to groups of before, and has traffic follow.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_deploy_that_is_killed_before_traffic_has_followed_is_gone_on_with() {
    for then in ["deploy", "rollback"] {
        let account = green().await;
        account
            .fault("ModifyRule", "hang", json!({"times": 9}))
            .await;
        let words = ["stack", "deploy", "web", "--allow-replacement"];
        let words = [&words[..], &OTHER_PORT].concat();
        let killed = start_leaping(&account, &words).held(&account).await;
        killed.kill().await;
        account.release().await;
        account.control("clear", json!({})).await;
        unlock(&account).await;
        assert_eq!(settled(&account, "web").await, "UPDATE_COMPLETE");
        match then {
            "deploy" => {
                let words = ["--ami", "current"];
                let plan = [&words[..], &["--plan"]].concat();
                let plan = deploy(&account, &plan, 0).await.stdout;
                assert!(
                    plan.contains("traffic follows to the target groups"),
                    "{plan}"
                );
                deploy(&account, &words, 0).await;
                assert_serves(&account).await;
            }
            _ => {
                amibake_leaping(&account, &["stack", "rollback", "web"], 0).await;
                assert_settled(&account, "Blue").await;
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_listener_that_is_replaced_leaves_no_rule_and_the_new_one_leads_to_the_colour_that_serves()
 {
    let account = green().await;
    let before = outputs(&account, "web").await["Listener"].clone();
    let path = account.home().join("other listener.yaml");
    let port = "      Port: 443\n      Protocol: HTTPS\n";
    assert!(template::WEB.contains(port));
    let other = template::WEB.replace("HttpsListener", "SecureListener");
    let other = other.replace(port, &port.replace("443", "8443"));
    std::fs::write(&path, other).unwrap();
    let words = ["--ami", "current", "--template", path.to_str().unwrap()];
    let said = deploy(&account, &words, 2).await.said;
    assert!(said.contains("HttpsListener would be removed"), "{said}");
    let words = [&words[..], &["--allow-replacement"]].concat();
    deploy(&account, &words, 0).await;
    let after = outputs(&account, "web").await["Listener"].clone();
    assert_ne!(before, after);
    assert_whole(&account).await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(&account).load().await);
    let gone = elb.describe_rules().listener_arn(&before).send().await;
    assert!(gone.is_err(), "{gone:?}");
}
