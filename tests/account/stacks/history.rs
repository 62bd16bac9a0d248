//! `stack history` and `stack template`.

use serde_json::Value as Json;

use super::super::server::REGION;
use super::{BASE_IMAGE, amibake_leaping, make_web, open};
use crate::stack::template;

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_was_done_with_a_stack_is_told_and_changes_nothing() {
    let account = open().await;
    let missing = amibake_leaping(&account, &["stack", "history", "web"], 2)
        .await
        .said;
    assert!(
        missing.contains(&format!("there is no stack web in {REGION}")),
        "{missing}"
    );
    make_web(&account, "web", &[]).await;
    // A page of events is not all of them.
    account
        .control("stacks", serde_json::json!({"page": 3}))
        .await;
    account.control("calls/clear", serde_json::json!({})).await;
    let told = amibake_leaping(&account, &["stack", "history", "web"], 0)
        .await
        .stdout;
    assert_eq!(told.lines().count(), 1, "{told}");
    let images = format!("LaunchTemplateBlue {BASE_IMAGE}, LaunchTemplateGreen {BASE_IMAGE}");
    assert!(
        told.contains("  CREATE_COMPLETE  ") && told.contains(&images),
        "{told}"
    );
    let json = amibake_leaping(&account, &["stack", "history", "web", "--json"], 0).await;
    let json: Json = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json[0]["status"], "CREATE_COMPLETE");
    let asked = account.actions().await;
    assert!(
        asked.iter().all(|action| action.starts_with("Describe")),
        "{asked:?}"
    );
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_template_is_printed_without_a_call() {
    let account = open().await;
    let told = amibake_leaping(&account, &["stack", "template"], 0)
        .await
        .stdout;
    assert_eq!(told, template::WEB);
    assert_eq!(account.actions().await, Vec::<String>::new());
}
