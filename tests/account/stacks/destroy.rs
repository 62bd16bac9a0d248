//! `stack destroy`: what it asks, what it leaves, and what it says of what stays.

use serde_json::{Value as Json, json};

use super::super::server::REGION;
use super::{amibake_leaping, cfn, make_web, open};

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_stack_goes_but_for_its_logs_which_are_named() {
    let account = open().await;
    let before = account.inventory().await;
    let outputs = make_web(&account, "web", &[]).await;
    account.control("stacks", json!({"page": 4})).await;
    let outcome = amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
    let told: Json = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(told["region"], REGION);
    let kept = told["kept"].as_array().unwrap();
    let bucket = json!({"resource": "LogBucket", "id": outputs["LogBucket"]});
    assert!(kept.contains(&bucket) && kept.len() == 2, "{kept:?}");
    assert!(
        outcome.said.contains("DELETE_COMPLETE web"),
        "{}",
        outcome.said
    );
    assert_eq!(account.inventory().await, before);
    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 2).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn nothing_goes_unasked_or_past_its_protection() {
    let account = open().await;
    make_web(&account, "web", &[]).await;
    account.control("calls/clear", json!({})).await;
    let said = amibake_leaping(&account, &["stack", "destroy", "web"], 2)
        .await
        .said;
    assert!(said.contains("--yes says it is meant"), "{said}");
    let protecting = cfn(&account).await.update_termination_protection();
    let protecting = protecting
        .stack_name("web")
        .enable_termination_protection(true);
    protecting.send().await.unwrap();
    let said = amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 1)
        .await
        .said;
    assert!(
        said.contains("stack web has termination protection"),
        "{said}"
    );
    assert!(!account.actions().await.contains(&"DeleteStack".to_owned()));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_cannot_be_deleted_is_named_with_its_line_and_left_behind() {
    let account = open().await;
    make_web(&account, "web", &[]).await;
    let trouble = json!({"resource": "Vpc", "action": "DELETE", "reason": "somebody is in it"});
    account.control("trouble", trouble).await;
    let said = amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 3)
        .await
        .said;
    assert!(said.contains("stack web could not be deleted"), "{said}");
    let cause = "Vpc (stack/web.yaml:";
    assert!(
        said.contains(cause) && said.contains("is DELETE_FAILED: somebody is in it"),
        "{said}"
    );
    let left = "left behind: stack web in eu-west-1, which is DELETE_FAILED (amibake stack destroy web --region eu-west-1)";
    assert!(said.contains(left), "{said}");
    // Again, when nobody is in it any more; an answer that is lost ends nothing.
    account.fault("DeleteStack", "lost", json!({})).await;
    amibake_leaping(&account, &["stack", "destroy", "web", "--yes"], 0).await;
    account.assert_all_hit().await;
}
