//! What is told of going on after an interrupt is a whole command: all that was typed, quoted, without secrets.

use rustix::process::Signal;
use serde_json::json;

use super::super::child::Outcome;
use super::super::server::Account;
use super::deploy::{deploy, first};
use super::meddling::wait_until_it_is;
use super::rollout::assert_settled;
use super::{BASE_IMAGE, amibake_leaping, another_image, certificate, open, start_leaping};
use crate::stack::template;

const SECRET: &str = "it's a s3cret";

/// Writes the template with a parameter that nobody is to see; returns its path, which a shell would split.
fn secretive(account: &Account) -> String {
    let folder = account.home().join("of mine");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("web.yaml");
    let from = "  LogDays:\n    Type: Number\n";
    assert!(template::WEB.contains(from));
    let to = format!("  Password: {{Type: String, NoEcho: true, Default: none}}\n{from}");
    std::fs::write(&path, template::WEB.replacen(from, &to, 1)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns the command after these words of what was said, as a shell reads it.
fn command(said: &str, after: &str) -> Vec<String> {
    let (_, told) = said.split_once(after).unwrap_or_else(|| panic!("{said}"));
    let line = told.lines().next().unwrap();
    let line = line.split("; go back: ").next().unwrap();
    let line = line.split("; look: ").next().unwrap();
    let script = format!("printf '%s\\n' {line}");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output();
    let words = String::from_utf8(output.unwrap().stdout).unwrap();
    let words = words.lines().map(|word| word.replace("***", SECRET));
    words.collect()
}

/// Runs what was told, which is to come to the end.
async fn go_on(account: &Account, words: &[String]) {
    assert_eq!(words[0], "amibake");
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    amibake_leaping(account, &words, 0).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_interrupted_deploy_names_the_whole_command_that_goes_on_and_it_does() {
    let account = open().await;
    let template = secretive(&account);
    let secret = format!("Password={SECRET}");
    let given = [
        "--template",
        &template,
        "--param",
        &secret,
        "--tag",
        "Team=us and them",
        "--steps",
        "5,100",
        "--bake",
        "1s",
        "--keep",
        "2s",
        "--healthy-within",
        "1h",
        "--keep-failed",
    ];
    // While CloudFormation makes the stack, and while it changes it.
    let slow = |action| json!({"resource": "LogBucket", "action": action, "seconds": 600});
    account.control("trouble", slow("CREATE")).await;
    let arn = format!("CertificateArn={}", certificate(&account).await);
    let words = ["stack", "deploy", "web", "--ami", BASE_IMAGE];
    let words = [&words[..], &["--param", &arn], &given].concat();
    let told = interrupted(&account, &words, "CREATE_IN_PROGRESS").await;
    assert_eq!(told[1..].len(), words.len() + 2, "{told:?}"); // and --region
    go_on(&account, &told).await;
    assert_settled(&account, "Blue").await;

    let image = another_image(&account).await;
    account.control("trouble", slow("UPDATE")).await;
    let words = [
        "stack",
        "deploy",
        "web",
        "--ami",
        &image,
        "--param",
        "LogDays=30",
    ];
    let words = [&words[..], &given].concat();
    let told = interrupted(&account, &words, "UPDATE_IN_PROGRESS").await;
    go_on(&account, &told).await;
    assert_settled(&account, "Green").await;

    // And in the middle of its rollout.
    let words = ["stack", "deploy", "web", "--ami", BASE_IMAGE];
    let words = [&words[..], &given].concat();
    account
        .fault("ModifyRule", "hold-before", json!({"seconds": 600}))
        .await;
    let deploy = start_leaping(&account, &words).held(&account).await;
    deploy.signal(Signal::INT);
    account.release().await;
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    assert!(!said.contains(SECRET) && !said.contains("s3cret"), "{said}");
    go_on(&account, &command(&said, "go on: ")).await;
    assert_settled(&account, "Blue").await;
}

/// Interrupts a deploy while CloudFormation works; returns the command that goes on.
async fn interrupted(account: &Account, words: &[&str], status: &str) -> Vec<String> {
    let deploy = start_leaping(account, words);
    wait_until_it_is(account, status).await;
    deploy.signal(Signal::INT);
    let Outcome { code, said, .. } = deploy.end().await;
    assert_eq!(code, 130, "{said}");
    assert!(
        said.contains("no traffic has moved; go on: amibake stack deploy web"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
    account.control("troubles/clear", json!({})).await;
    command(&said, "go on: ")
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_interrupted_rollback_names_its_own_options() {
    let account = open().await;
    first(&account, &[], 0).await;
    let image = another_image(&account).await;
    deploy(&account, &["--ami", &image], 0).await;
    account
        .fault("AddTags", "hold-before", json!({"seconds": 600}))
        .await;
    let words = ["stack", "rollback", "web", "--healthy-within", "2h"];
    let rollback = start_leaping(&account, &words).held(&account).await;
    rollback.signal(Signal::INT);
    account.release().await;
    let Outcome { code, said, .. } = rollback.end().await;
    assert_eq!(code, 130, "{said}");
    let told = "go on: amibake stack rollback web --region eu-west-1 --healthy-within 7200s";
    assert!(said.contains(told), "{said}");
    go_on(&account, &command(&said, "go on: ")).await;
    assert_settled(&account, "Blue").await;
}
