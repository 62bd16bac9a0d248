//! What a deploy does with each state that a stack can be found in.

use serde_json::json;

use aws_sdk_cloudformation::types::{ChangeSetType, Parameter};

use super::super::server::Account;
use super::deploy::{deploy, first, first_words};
use super::meddling::change_by_hand;
use super::rollout::assert_settled;
use super::{amibake_leaping, another_image, certificate, cfn, open, settled, start_leaping};

/// A template with next to nothing in it.
const SMALL: &str = "
Parameters: {Name: {Type: String, Default: one}}
Resources:
  Gateway: {Type: 'AWS::EC2::InternetGateway', Properties: {Tags: [{Key: Name, Value: !Ref Name}]}}
  Second: {Type: 'AWS::EC2::InternetGateway', DependsOn: Gateway}
";

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
    let left = "amibake-20260727t101500z-0a1b2c3d4e5f6071-0a1b";
    review(&account, left).await;
    // A plan leaves what it finds: its maker may be about to execute it.
    first(&account, &["--plan"], 0).await;
    assert_eq!(change_sets(&account).await, [left]);
    // So does a deploy that comes to nothing.
    first(&account, &["--param", "ErrorPercent=0"], 2).await;
    assert_eq!(change_sets(&account).await, [left]);
    first(&account, &[], 0).await;
}

/// Returns the names of the change sets that the stack has.
async fn change_sets(account: &Account) -> Vec<String> {
    let asked = cfn(account).await.list_change_sets().stack_name("web");
    let told = asked.send().await.unwrap().summaries.unwrap_or_default();
    let names = told.into_iter().filter_map(|set| set.change_set_name);
    names.collect()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_plan_leaves_the_first_deploy_alone_that_somebody_else_is_about_to_begin() {
    for action in ["ExecuteChangeSet", "CreateChangeSet"] {
        let account = open().await;
        account
            .fault(action, "hold-before", json!({"seconds": 600}))
            .await;
        let words = first_words(&certificate(&account).await);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let deploy = start_leaping(&account, &words).held(&account).await;
        let plan = [&words[..], &["--plan"]].concat();
        let said = amibake_leaping(&account, &plan, 1).await.said;
        assert!(
            said.contains("stack web is being deployed or rolled back by run "),
            "{said}"
        );
        account.release().await;
        deploy.end().await.ended(0);
        assert_eq!(settled(&account, "web").await, "CREATE_COMPLETE");
    }
}

/// Without locks, its change set says that somebody else is there.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_plan_does_not_end_a_review_in_which_somebody_else_has_a_change_set_by_now() {
    let account = open().await;
    let words = first_words(&certificate(&account).await);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    account
        .fault("DescribeChangeSet", "hold-before", json!({"seconds": 600}))
        .await;
    let plan = [&words[..], &["--plan"]].concat();
    let plan = start_leaping(&account, &plan).held(&account).await;
    review(&account, "amibake-20260727t101500z-0a1b2c3d4e5f6071-0a1b").await;
    account.release().await;
    let told = plan.end().await.ended(0).stdout;
    assert!(told.starts_with("stack web in eu-west-1 is new:"), "{told}");
    let left = change_sets(&account).await;
    assert_eq!(left, ["amibake-20260727t101500z-0a1b2c3d4e5f6071-0a1b"]);
}

/// Makes the small stack, and waits for what becomes of it.
async fn make_small(account: &Account, disable_rollback: bool) -> String {
    let asked = cfn(account).await.create_stack().stack_name("web");
    let asked = asked
        .template_body(SMALL)
        .disable_rollback(disable_rollback);
    asked.send().await.unwrap();
    settled(account, "web").await
}

async fn trouble(account: &Account, resource: &str, action: &str) {
    let trouble = json!({"resource": resource, "action": action, "reason": "no"});
    account.control("trouble", trouble).await;
}

/// Brings an account's stack to a state out of which it can only be deleted.
pub(super) async fn unmade(account: &Account, status: &str) {
    let ended = match status {
        "CREATE_FAILED" => {
            trouble(account, "Second", "CREATE").await;
            make_small(account, true).await
        }
        "ROLLBACK_COMPLETE" => {
            trouble(account, "Second", "CREATE").await;
            make_small(account, false).await
        }
        "ROLLBACK_FAILED" => {
            trouble(account, "Second", "CREATE").await;
            trouble(account, "Gateway", "DELETE").await;
            make_small(account, false).await
        }
        _ => {
            make_small(account, false).await;
            trouble(account, "Gateway", "DELETE").await;
            let asked = cfn(account).await.delete_stack().stack_name("web");
            asked.send().await.unwrap();
            settled(account, "web").await
        }
    };
    assert_eq!(ended, status);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_can_only_be_deleted_is_made_anew_where_that_is_said() {
    let never = "it was never whole, and can only be deleted";
    let half = "it was not deleted whole, and what is left can only be deleted";
    for (status, why) in [
        ("CREATE_FAILED", never),
        ("ROLLBACK_COMPLETE", never),
        ("ROLLBACK_FAILED", never),
        ("DELETE_FAILED", half),
    ] {
        let account = open().await;
        unmade(&account, status).await;
        for more in [&[][..], &["--plan"]] {
            let said = first(&account, more, 1).await.said;
            let told = format!("stack web is {status}: {why}");
            assert!(said.contains(&told), "{said}");
            assert!(
                said.contains("--recreate deletes what there is of it"),
                "{said}"
            );
        }
        assert_eq!(settled(&account, "web").await, status);
        first(&account, &["--recreate"], 0).await;
        assert_eq!(settled(&account, "web").await, "CREATE_COMPLETE");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_was_kept_from_going_back_is_told_how_to_do_that() {
    let account = open().await;
    assert_eq!(make_small(&account, false).await, "CREATE_COMPLETE");
    trouble(&account, "Gateway", "UPDATE").await;
    let name = Parameter::builder().parameter_key("Name");
    let asked = cfn(&account).await.update_stack().stack_name("web");
    let asked = asked.use_previous_template(true).disable_rollback(true);
    let asked = asked.parameters(name.parameter_value("two").build());
    asked.send().await.unwrap();
    assert_eq!(settled(&account, "web").await, "UPDATE_FAILED");
    for more in [&[][..], &["--plan"]] {
        let said = first(&account, more, 1).await.said;
        assert!(
            said.contains("stack web is UPDATE_FAILED and cannot be changed"),
            "{said}"
        );
        assert!(said.contains("rollback-stack --stack-name web"), "{said}");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_went_back_is_deployed_to() {
    let account = open().await;
    first(&account, &[], 0).await;
    trouble(&account, "LogBucket", "UPDATE").await;
    let days = ["--ami", "current", "--param", "LogDays=30"];
    let said = deploy(&account, &days, 1).await.said;
    assert!(said.contains("is UPDATE_ROLLBACK_COMPLETE"), "{said}");
    assert!(said.contains("the stack is as it was before"), "{said}");
    assert_settled(&account, "Blue").await;
    deploy(&account, &days, 0).await;
    assert_eq!(settled(&account, "web").await, "UPDATE_COMPLETE");
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
    assert_settled(&account, "Blue").await;
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
