//! What a deploy does with each state that a stack can be found in.

use serde_json::json;

use aws_sdk_cloudformation::types::ChangeSetType;

use super::super::server::Account;
use super::deploy::{deploy, first};
use super::meddling::change_by_hand;
use super::{amibake_leaping, another_image, cfn, open, settled};

/// A template with next to nothing in it.
const SMALL: &str = "Parameters: {Name: {Type: String, Default: one}}\nResources: {Gateway: {Type: 'AWS::EC2::InternetGateway', Properties: {Tags: [{Key: Name, Value: !Ref Name}]}}}";

/// Makes a change set for a stack that is not there.
pub(super) async fn review(account: &Account, change_set: &str) {
    let asked = cfn(account).await.create_change_set().stack_name("web");
    let asked = asked
        .change_set_name(change_set)
        .change_set_type(ChangeSetType::Create);
    asked.template_body(SMALL).send().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_review_of_another_s_is_left_alone_and_one_of_ours_is_gone_on_with() {
    let account = open().await;
    review(&account, "somebody-s").await;
    for more in [&[][..], &["--plan"]] {
        let said = first(&account, more, 1).await.said;
        assert!(
            said.contains("somebody is to look at its change set somebody-s"),
            "{said}"
        );
    }
    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
    review(&account, "amibake-20260727t101500z-0a1b2c3d4e5f6071-0a1b").await;
    first(&account, &["--plan"], 0).await;
    amibake_leaping(&account, &["stack", "history", "web"], 2).await; // it is gone
    review(&account, "amibake-20260727t101500z-0a1b2c3d4e5f6071-0a1b").await;
    first(&account, &[], 0).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_was_never_whole_is_made_anew_where_that_is_said() {
    let account = open().await;
    let trouble = json!({"resource": "Gateway", "action": "CREATE", "reason": "no"});
    account.control("trouble", trouble).await;
    let asked = cfn(&account)
        .await
        .create_stack()
        .stack_name("web")
        .template_body(SMALL);
    asked.send().await.unwrap();
    assert_eq!(settled(&account, "web").await, "ROLLBACK_COMPLETE");
    for more in [&[][..], &["--plan"]] {
        let said = first(&account, more, 1).await.said;
        assert!(
            said.contains("stack web is ROLLBACK_COMPLETE: it was never whole"),
            "{said}"
        );
        assert!(
            said.contains("--recreate deletes what there is of it"),
            "{said}"
        );
    }
    first(&account, &["--recreate"], 0).await;
    assert_eq!(settled(&account, "web").await, "CREATE_COMPLETE");
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_could_not_go_back_is_told_how_to_go_on() {
    let account = open().await;
    first(&account, &[], 0).await;
    let trouble = json!({"resource": "LogBucket", "action": "UPDATE", "reason": "no", "times": 2});
    account.control("trouble", trouble).await;
    let said = deploy(&account, &["--ami", "current", "--param", "LogDays=30"], 1)
        .await
        .said;
    assert!(said.contains("is UPDATE_ROLLBACK_FAILED"), "{said}");
    account.control("calls/clear", json!({})).await;
    let said = deploy(&account, &["--ami", "current", "--param", "LogDays=30"], 1)
        .await
        .said;
    assert!(
        said.contains("stack web is UPDATE_ROLLBACK_FAILED and cannot be changed"),
        "{said}"
    );
    assert!(
        said.contains("continue-update-rollback --stack-name web"),
        "{said}"
    );
    assert!(
        !account
            .actions()
            .await
            .contains(&"CreateChangeSet".to_owned())
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_somebody_else_changes_is_waited_for() {
    let account = open().await;
    first(&account, &[], 0).await;
    let image = another_image(&account).await;
    let trouble = json!({"resource": "LogBucket", "action": "UPDATE", "seconds": 600});
    account.control("trouble", trouble).await;
    change_by_hand(&account, "LogDays", "30").await;
    account.control("calls/clear", json!({})).await;
    let ending = async {
        account
            .wait_until("a look at its events", async || {
                let asked = account.actions().await;
                asked.contains(&"DescribeStackEvents".to_owned())
            })
            .await;
        account.control("troubles/clear", json!({})).await;
    };
    let words = ["--ami", &image];
    let (outcome, ()) = tokio::join!(deploy(&account, &words, 0), ending);
    let said = outcome.said;
    assert!(
        said.contains("stack web is UPDATE_IN_PROGRESS: this waits for its end"),
        "{said}"
    );
    assert!(said.contains("UPDATE_COMPLETE LogBucket"), "{said}");
}
