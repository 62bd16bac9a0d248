//! What a deploy may not do is named before anything changes, where IAM's simulator may be asked.

use serde_json::json;

use super::super::child::amibake;
use super::rollout::{DEPLOY, live};

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_not_allowed_is_foreseen_where_iam_may_be_asked() {
    let account = live().await;
    let lacking = [
        "autoscaling:SuspendProcesses",
        "elasticloadbalancing:ModifyRule",
    ];
    let allowed = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let denied = json!({"Effect": "Deny", "Action": lacking, "Resource": "*"});
    let policy = json!({"Version": "2012-10-17", "Statement": [allowed, denied]});
    account.control("ways", json!({"policy": policy})).await;
    account.control("calls/clear", json!({})).await;
    let outcome = amibake(&account, &DEPLOY, 1).await;
    let told = "denied: elasticloadbalancing:ModifyRule, autoscaling:SuspendProcesses";
    assert!(outcome.said.contains(told), "{}", outcome.said);
    let mut asked = account.actions().await;
    asked.retain(|a| {
        !["Describe", "Get", "Simulate"]
            .iter()
            .any(|verb| a.starts_with(verb))
    });
    assert_eq!(asked, Vec::<String>::new());
}
