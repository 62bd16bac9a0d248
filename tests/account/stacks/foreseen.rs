//! What a rollout would be refused for is refused before the stack changes, by a deploy and by its plan alike: what is
//! wrong with the listener's rules, with the image on what launches it, with sizes, and with the stack's own template.

use aws_sdk_cloudformation::types::{Capability, Parameter};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, HttpHeaderConditionConfig, RuleCondition,
};
use serde_json::json;

use super::super::build::settings;
use super::super::server::Account;
use super::deploy::{changing_calls, deploy, first};
use super::meddling::change_by_hand;
use super::{BASE_IMAGE, another_image, certificate, cfn, open, outputs, settled, start_leaping};
use crate::stack::template;

/// Tries a deploy and its plan, which are to say the same and to change nothing.
async fn refused(account: &Account, words: &[&str], code: u8) -> String {
    let mut said = Vec::new();
    for more in [&[][..], &["--plan"]] {
        account.control("calls/clear", json!({})).await;
        let words = [words, more].concat();
        said.push(deploy(account, &words, code).await.said);
        assert_eq!(
            changing_calls(account).await,
            [""; 0],
            "{words:?}: {said:?}"
        );
    }
    let (deploy, plan) = (&said[0], &said[1]);
    let last = |said: &str| said.lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(deploy), last(plan));
    said.swap_remove(0)
}

fn assert_says(said: &str, told: &str) {
    assert!(said.contains(told), "{told:?} is not in:\n{said}");
}

/// Makes a rule that leads to green, as nobody of ours makes one.
async fn foreign_rule(account: &Account) -> String {
    let outputs = outputs(account, "web").await;
    let header = HttpHeaderConditionConfig::builder()
        .http_header_name("X-Team")
        .values("api")
        .build();
    let condition = RuleCondition::builder().field("http-header");
    let action = Action::builder().r#type(ActionTypeEnum::Forward);
    let action = action.target_group_arn(&outputs["TargetGroupGreen"]);
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let asked = elb
        .create_rule()
        .listener_arn(&outputs["Listener"])
        .priority(7)
        .conditions(condition.http_header_config(header).build())
        .actions(action.build());
    let made = asked.send().await.unwrap().rules.unwrap().pop();
    made.unwrap().rule_arn.unwrap()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn rules_of_others_are_refused_before_the_stack_changes() {
    let account = open().await;
    first(&account, &[], 0).await;
    let rule = foreign_rule(&account).await;
    for parameter in ["MaxSize=6", "InstanceType=t3.large"] {
        let words = ["--ami", "current", "--param", parameter];
        let said = refused(&account, &words, 2).await;
        assert_says(&said, "other rules of the listener lead to a colour");
        assert_says(&said, &rule);
        assert_says(&said, "nothing was changed");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn which_image_is_meant_after_an_interrupted_deploy_is_asked_before_the_stack_changes() {
    let account = open().await;
    first(&account, &[], 0).await;
    let image = another_image(&account).await;
    account
        .fault("ModifyRule", "hold-before", json!({"seconds": 600}))
        .await;
    let words = ["stack", "deploy", "web", "--ami", &image];
    let killed = start_leaping(&account, &words).held(&account).await;
    killed.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    let words = ["--ami", "current", "--param", "MaxSize=6"];
    let said = refused(&account, &words, 2).await;
    assert_says(&said, "which image is current is not clear");
    assert_says(&said, "nothing was changed");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn smoke_tests_that_cannot_reach_it_are_refused_before_the_stack_is_made_or_changed() {
    let account = open().await;
    let path = account.home().join("smoke.yaml");
    std::fs::write(&path, "- path: /\n").unwrap();
    let path = path.to_str().unwrap();
    let certificate = format!("CertificateArn={}", certificate(&account).await);
    let internal = ["--param", "Scheme=internal", "--param", &certificate];
    let told = "smoke tests cannot reach the load balancer";
    let words = [&["--ami", BASE_IMAGE, "--smoke", path], &internal[..]].concat();
    let said = refused(&account, &words, 2).await;
    assert_says(&said, told);
    assert_says(&said, "nothing was changed");

    let words = [&["--ami", BASE_IMAGE], &internal[..]].concat();
    deploy(&account, &words, 0).await;
    let words = ["--ami", "current", "--smoke", path, "--param", "MaxSize=6"];
    let words = [&words[..], &["--param", "InstanceType=t3.large"]].concat();
    assert_says(&refused(&account, &words, 2).await, told);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_image_is_looked_at_on_the_type_that_launches_it() {
    let account = open().await;
    first(&account, &[], 0).await;
    // What is live stays, on another type.
    let words = ["--ami", "current", "--param", "InstanceType=m6g.large"];
    let said = refused(&account, &words, 2).await;
    assert_says(&said, "m6g.large is for arm64, and the image is for x86_64");

    // The idle colour's own type launches nothing: it gets what the live one has.
    change_by_hand(&account, "InstanceTypeGreen", "m6g.large").await;
    assert_eq!(settled(&account, "web").await, "UPDATE_COMPLETE");
    let image = another_image(&account).await;
    let arm = json!({"image": image, "architecture": "arm64"});
    account.control("image", arm).await;
    let said = refused(&account, &["--ami", &image], 2).await;
    assert_says(&said, "t3.small is for x86_64, and the image is for arm64");
    let words = ["--ami", &image, "--param", "InstanceType=m6g.large"];
    let plan = deploy(&account, &[&words[..], &["--plan"]].concat(), 0).await;
    assert_says(&plan.stdout, "ImageIdGreen");
    account
        .control("image", json!({"image": image, "architecture": "x86_64"}))
        .await;
    deploy(&account, &["--ami", &image], 0).await;

    // What is live may be gone by now, and then nothing launches it anew.
    account
        .control("image", json!({"image": image, "state": "failed"}))
        .await;
    let words = ["--ami", "current", "--param", "InstanceType=t3.large"];
    let said = refused(&account, &words, 1).await;
    assert_says(&said, &format!("{image} is failed"));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn sizes_that_do_not_agree_are_refused_before_a_change_set_is_made() {
    let account = open().await;
    let certificate = format!("CertificateArn={}", certificate(&account).await);
    let new = ["--ami", BASE_IMAGE, "--param", &certificate];
    let words = [&new[..], &["--param", "MinSize=5"]].concat();
    let said = refused(&account, &words, 2).await;
    assert_says(&said, "MinSize is 5 and MaxSize is 4, which is less");
    deploy(&account, &new, 0).await;
    for (sizes, told) in [
        (
            vec!["MaxSize=1"],
            "MinSize is 2 and MaxSize is 1, which is less",
        ),
        (
            vec!["MaxSize=1", "MinSize=1"],
            "2 instances are to serve, and MaxSize is 1",
        ),
        (
            vec!["MaxSize=1", "MinSize=1", "InstanceType=t3.large"],
            "2 instances are to serve, and MaxSize is 1",
        ),
    ] {
        let sizes = sizes.into_iter().flat_map(|size| ["--param", size]);
        let words: Vec<&str> = ["--ami", "current"].into_iter().chain(sizes).collect();
        assert_says(&refused(&account, &words, 2).await, told);
    }
}

/// Makes a stack of another template by hand.
async fn make_of(account: &Account, body: String) {
    let pairs = [
        ("ImageIdBlue", BASE_IMAGE.to_owned()),
        ("ImageIdGreen", BASE_IMAGE.to_owned()),
        ("CertificateArn", certificate(account).await),
    ];
    let parameter = |(key, value): (&str, String)| {
        let parameter = Parameter::builder().parameter_key(key);
        parameter.parameter_value(value).build()
    };
    let asked = cfn(account).await.create_stack().stack_name("web");
    let asked = asked
        .template_body(body)
        .capabilities(Capability::CapabilityIam)
        .set_parameters(Some(pairs.map(parameter).into()));
    asked.send().await.unwrap();
    assert_eq!(settled(account, "web").await, "CREATE_COMPLETE");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_stack_of_a_template_that_a_rollout_cannot_work_with_is_refused_before_it_changes() {
    let policy = "    UpdatePolicy:\n";
    let rolling = format!("{policy}      AutoScalingRollingUpdate: {{MinInstancesInService: 1}}\n");
    let weight = "              - {TargetGroupArn: !Ref TargetGroupGreen, Weight: 0}\n";
    let group = "      TargetGroupARNs: [!Ref TargetGroupGreen]\n";
    for (changes, told) in [
        (
            vec![(policy, rolling.as_str())],
            "has the UpdatePolicy AutoScalingRollingUpdate",
        ),
        (
            vec![(weight, ""), (group, "")],
            "no listener or rule forwards to both target groups",
        ),
    ] {
        let account = open().await;
        let mut body = template::WEB.to_owned();
        for (from, to) in changes {
            assert!(body.contains(from), "{from}");
            body = body.replacen(from, to, 1);
        }
        make_of(&account, body).await;
        for words in [
            &["--ami", BASE_IMAGE][..],
            &["--ami", "current", "--param", "MaxSize=6"],
        ] {
            let said = refused(&account, words, 2).await;
            assert_says(&said, "stack web lacks what a rollout needs");
            assert_says(&said, told);
        }
        // Another one mends it.
        let path = account.home().join("web.yaml");
        std::fs::write(&path, template::WEB).unwrap();
        let words = ["--ami", BASE_IMAGE, "--template", path.to_str().unwrap()];
        deploy(&account, &words, 0).await;
    }
}
