//! What `reap` makes of journals that are not as a build leaves them.

use std::io::Write;

use serde_json::json;

use super::child::{Outcome, Process, amibake};
use super::server::{Account, REGION};

/// Has a build killed when it has its builder; returns its run.
async fn killed(account: &Account) -> String {
    let hold = json!({"seconds": 600});
    account.fault("RunInstances", "hold", hold).await;
    let build = Process::build(account, super::PACE);
    let build = build.held(account).await;
    build.kill().await;
    account.release().await;
    account.control("clear", json!({})).await;
    let mut journals = account.journals();
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
}

async fn reap(account: &Account, more: &[&str], code: u8) -> Outcome {
    let words = [&["reap", "--region", REGION], more].concat();
    amibake(account, &words, code).await
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_cannot_be_read_is_forgotten_when_its_run_is_named() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let run = killed(&account).await;
    let journal = account.state_folder().join(format!("{run}.journal"));
    let journal = std::fs::OpenOptions::new().append(true).open(journal);
    journal.unwrap().write_all(b"{\"record\":\"le\n").unwrap();

    let told = reap(&account, &[], 1).await;
    assert_eq!(
        account.inventory().await,
        before,
        "what can be read is paid"
    );
    for words in [
        format!(
            "error: not all that run {run} owes can be paid: a part of its journal cannot be read\n"
        ),
        format!(
            "hint: `amibake reap --run {run}` removes what is found of it by its tags, and forgets the journal\n"
        ),
    ] {
        assert!(told.said.contains(&words), "{words}{}", told.said);
    }
    assert_eq!(account.journals(), [run.as_str()]);

    let named = ["--run", &run];
    let told = reap(&account, &[&named[..], &["--dry-run"]].concat(), 0).await;
    let forget = format!("forget the journal of run {run}, a part of which cannot be read\n");
    assert_eq!(told.stdout, format!("would {forget}"));
    assert_eq!(account.journals(), [run.as_str()], "a dry run");
    let told = reap(&account, &named, 0).await;
    assert_eq!(told.stdout, forget);
    assert_eq!(account.journals(), [""; 0]);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn one_that_cannot_be_opened_is_an_error_and_the_others_are_reaped() {
    let account = Account::open().await;
    let before = account.inventory().await;
    killed(&account).await;
    let path = account.state_folder();
    let path = path.join("20260727t101500z-0a1b2c.journal");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let told = reap(&account, &[], 1).await;
    let error = format!(
        "error: not all runs of this host are known: could not use the journal {}: ",
        path.display()
    );
    assert!(told.said.contains(&error), "{}", told.said);
    assert_eq!(account.inventory().await, before);
}
