//! What somebody else does to a stack in the middle of a rollout, and what is left when CloudFormation's work is
//! interrupted.

use aws_sdk_cloudformation::types::Parameter;
use rustix::process::Signal;
use serde_json::json;

use super::super::child::{Outcome, amibake};
use super::super::server::Account;
use super::deploy::first_words;
use super::rollout::{DEPLOY, assert_settled, start};
use super::{certificate, cfn, described, open};
use crate::clock::Pace;

/// Changes one parameter of the stack `web` by hand, and does not wait for the end of it.
pub(super) async fn change_by_hand(account: &Account, name: &str, value: &str) {
    let kept = described(account, "web").await.parameters.unwrap();
    let kept = kept.into_iter().map(|p| {
        let key = p.parameter_key.unwrap();
        let of = Parameter::builder().parameter_key(&key);
        match key == name {
            true => of.parameter_value(value).build(),
            false => of.use_previous_value(true).build(),
        }
    });
    let asked = cfn(account)
        .await
        .update_stack()
        .stack_name("web")
        .use_previous_template(true)
        .set_parameters(Some(kept.collect()));
    let asked = asked.capabilities("CAPABILITY_IAM".into());
    asked.send().await.unwrap();
}

async fn wait_until_it_is(account: &Account, wanted: &str) {
    account
        .wait_until(wanted, async || {
            let asked = cfn(account).await.describe_stacks().stack_name("web");
            let told = asked.send().await.ok().and_then(|told| told.stacks);
            let stack = told.and_then(|mut all| all.pop());
            let status = stack.and_then(|stack| stack.stack_status);
            status.is_some_and(|status| status.as_str() == wanted)
        })
        .await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn interrupted_while_cloudformation_works_it_says_so_and_the_same_command_goes_on() {
    let _pace = Pace::set(50);
    let account = open().await;
    let slow = |resource, action, seconds| json!({"resource": resource, "action": action, "seconds": seconds});
    account
        .control("trouble", slow("GroupBlue", "CREATE", 600))
        .await;
    let certificate = certificate(&account).await;
    let words = first_words(&certificate);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let deploy = start(&account, &words);
    wait_until_it_is(&account, "CREATE_IN_PROGRESS").await;
    deploy.signal(Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    let told = "CloudFormation goes on making stack web, and no traffic has moved: the same command goes on from there";
    assert!(said.contains(told), "{said}");
    account.control("troubles/clear", json!({})).await;
    amibake(&account, &words, 0).await;
    assert_settled(&account, "Blue").await;

    account
        .control("trouble", slow("LaunchTemplateGreen", "UPDATE", 600))
        .await;
    let deploy = start(&account, &DEPLOY);
    wait_until_it_is(&account, "UPDATE_IN_PROGRESS").await;
    deploy.signal(Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    assert!(
        said.contains("the traffic is blue 100 %, green 0 %"),
        "{said}"
    );
    assert!(
        said.contains("go on: ") && said.contains("go back: "),
        "{said}"
    );
    account.control("troubles/clear", json!({})).await;
    amibake(&account, &DEPLOY, 0).await;
    assert_settled(&account, "Green").await;
}
