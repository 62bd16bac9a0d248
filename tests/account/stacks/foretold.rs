//! What `--plan` says that a deploy will do is what it does: each kind of changing call that it makes is in the plan, and
//! each that the plan names is made.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::server::Account;
use super::deploy::{changing_calls, first_words};
use super::found::unmade;
use super::{amibake_leaping, another_image, certificate, open, outputs, start_leaping, unlock};
use crate::stack::template;

/// Made each minute while a lock is held.
const RENEWAL: &str = "CreateLaunchTemplateVersion";

/// Plans a deploy and does it; insists that both are about the same calls, and returns the plan.
async fn compared(account: &Account, words: &[&str]) -> String {
    let plan = amibake_leaping(account, &[words, &["--plan"]].concat(), 0).await;
    let plan = plan.stdout;
    account.control("calls/clear", json!({})).await;
    amibake_leaping(account, words, 0).await;
    let mut made: BTreeSet<String> = changing_calls(account).await.into_iter().collect();
    made.insert(RENEWAL.to_owned());
    assert_eq!(named(&plan), made, "{words:?}:\n{plan}");
    plan
}

/// Returns the calls that a plan names: in its brackets, words with capitals within.
fn named(plan: &str) -> BTreeSet<String> {
    let (_, steps) = plan.split_once("then:\n").unwrap_or(("", plan));
    let deleted = plan.lines().find(|line| line.starts_with("it is deleted"));
    let lines = steps.lines().chain(deleted);
    let brackets = lines.filter_map(|line| Some(line.rsplit_once('(')?.1.split_once(')')?.0));
    let words = brackets.flat_map(|list| list.split([' ', ',']));
    let is_call = |word: &&str| word.chars().filter(char::is_ascii_uppercase).count() > 1;
    words.filter(is_call).map(str::to_owned).collect()
}

const DEPLOY: [&str; 7] = ["stack", "deploy", "web", "--bake", "1s", "--keep", "1s"];

fn with<'w>(more: &[&'w str]) -> Vec<&'w str> {
    [&DEPLOY[..], more].concat()
}

async fn first(account: &Account) -> Vec<String> {
    first_words(&certificate(account).await)
}

fn as_strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_plan_names_the_calls_of_its_deploy_and_no_others() {
    let account = open().await;
    let words = first(&account).await;
    let told = compared(&account, &as_strs(&words)).await;
    assert!(told.contains("blue gets its instances, 2 "), "{told}");
    assert!(!told.contains("ModifyRule), for"), "{told}");

    let image = another_image(&account).await;
    let told = compared(&account, &with(&["--ami", &image])).await;
    let step = "the idle colour, green, gets its parameters: ImageIdGreen ";
    assert!(told.contains(step), "{told}");
    assert!(told.contains("it has 10 % of the traffic"), "{told}");

    // Parameters alone, and one that the group that serves follows.
    let told = compared(
        &account,
        &with(&["--ami", "current", "--param", "LogDays=30"]),
    )
    .await;
    assert!(!told.contains("the idle colour"), "{told}");
    let sizes = ["--ami", "current", "--param", "MinSize=1"];
    let told = compared(&account, &with(&sizes)).await;
    assert!(told.contains("the colour that serves, green,"), "{told}");

    // A template by which what serves is launched anew.
    let path = account.home().join("mine.yaml");
    let tags = "            Tags: [{Key: Name, Value: !Sub \"${AWS::StackName}-green\"}]\n";
    assert!(template::WEB.contains(tags));
    let more = tags.replace("}]", "}, {Key: Team, Value: web}]");
    std::fs::write(&path, template::WEB.replace(tags, &more)).unwrap();
    let words = ["--ami", "current", "--template", path.to_str().unwrap()];
    let told = compared(&account, &with(&words)).await;
    for step in [
        "~   LaunchTemplateGreen (AWS::EC2::LaunchTemplate)",
        // What the other colour has of before is the first image.
        "~   LaunchTemplateBlue (AWS::EC2::LaunchTemplate)",
        ", by ImageIdBlue\n",
        "the idle colour, blue, gets its parameters: ImageIdBlue ",
        "blue gets as many instances as serve now",
    ] {
        assert!(told.contains(step), "{step}: {told}");
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_another_process_has_left_is_in_the_plan_too() {
    let account = open().await;
    let words = first(&account).await;
    amibake_leaping(&account, &as_strs(&words), 0).await;
    let image = another_image(&account).await;
    // The last of traffic has moved, and nothing else.
    account
        .fault("ResumeProcesses", "hold-before", json!({"seconds": 600}))
        .await;
    let killed = with(&["--ami", &image]);
    let killed = start_leaping(&account, &killed).held(&account).await;
    killed.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    unlock(&account).await;
    let told = compared(&account, &with(&["--ami", "current"])).await;
    assert!(
        told.contains("nothing of the stack itself changes"),
        "{told}"
    );
    assert!(told.contains("the colour that serves, green,"), "{told}");
    assert!(outputs(&account, "web").await["Url"].starts_with("https://"));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_deleted_first_is_in_the_plan() {
    let account = open().await;
    unmade(&account, "ROLLBACK_COMPLETE").await;
    let words = first(&account).await;
    let words = [&as_strs(&words)[..], &["--recreate"]].concat();
    let plan = amibake_leaping(&account, &[&words[..], &["--plan"]].concat(), 0).await;
    let plan = plan.stdout;
    let told = "stack web in eu-west-1 is ROLLBACK_COMPLETE:\nit is deleted";
    assert!(plan.starts_with(told), "{plan}");
    account.control("calls/clear", json!({})).await;
    amibake_leaping(&account, &words, 0).await;
    let made: BTreeSet<String> = changing_calls(&account).await.into_iter().collect();
    let missing: Vec<_> = made.difference(&named(&plan)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}:\n{plan}");
}
