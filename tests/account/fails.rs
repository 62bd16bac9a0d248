//! Builds that fail for a reason of their own leave nothing, and publish nothing.

use amibake_playbook::diagnostic::Span;
use amibake_protocol::mask::Mask;
use serde_json::json;

use super::build::{Build, Built};
use super::guest::{Answer, Guests, Steps};
use super::server::Account;
use crate::check::Check;
use crate::exit::Exit;
use crate::failure_bundle::FailureBundle;
use crate::guest::Operation;
use crate::manifest::{Gate, GateLevel, Waiver};

/// Builds, and insists that the account is as before.
async fn fails(account: &Account, steps: Steps, guests: Guests, exit: Exit) -> Built {
    let before = account.inventory().await;
    let mut build = Build::of(account);
    (build.steps, build.guests) = (steps, guests);
    let built = build.run().await.ended(exit);
    assert!(built.image.is_none());
    let cleaned = built.failure.as_ref().and_then(|f| f.cleaned_up.as_deref());
    assert_eq!(
        cleaned,
        Some("everything temporary is gone"),
        "{}",
        built.said
    );
    assert_eq!(account.inventory().await, before, "{}", built.said);
    assert!(
        !account
            .actions()
            .await
            .contains(&"RegisterImage".to_owned())
    );
    built
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_failed_step_makes_no_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let built = fails(&account, Steps::Fail, Guests::default(), Exit::Failed).await;
    assert!(
        built.said.contains("error: a task failed on i-"),
        "{}",
        built.said
    );
    assert!(!account.actions().await.contains(&"CreateImage".to_owned()));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_panic_unwinds_the_account_too() {
    let _pace = super::fast();
    let account = Account::open().await;
    let built = fails(&account, Steps::Panic, Guests::default(), Exit::Failed).await;
    let told = "amibake itself failed (please report this): the provisioner's own fault";
    assert!(built.said.contains(told), "{}", built.said);
}

/// What is known of it is there when its machines are not.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_build_that_fails_leaves_a_bundle_with_events_console_and_logs() {
    let _pace = super::fast();
    let account = Account::open().await;
    let mut build = Build::of(&account);
    build.steps = Steps::Fail;
    let bundle = FailureBundle::open(account.home(), None, &build.plan.run, Mask::default());
    build.bundle = Some(bundle.unwrap());
    account
        .control("ways", json!({"console": "kernel: hello"}))
        .await;
    let built = build.run().await.ended(Exit::Failed);
    let folder = build
        .bundle
        .take()
        .unwrap()
        .end(built.failure.as_ref().unwrap());
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let console = names.iter().find(|name| name.ends_with("-console.log"));
    let console = console.unwrap_or_else(|| panic!("{names:?}"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read(console), "kernel: hello");
    assert_eq!(read("builder-cloud-init.log"), "module apt failed\n");
    assert!(read("events.jsonl").contains("\"phase-finished\""));
    assert!(read("timings.json").contains("\"provision\""));
    assert!(read("failure.json").contains("\"exit\": 1"));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_fails_its_test_is_not_published() {
    let _pace = super::fast();
    let account = Account::open().await;
    fails(
        &account,
        Steps::TestFails,
        Guests::default(),
        Exit::GateFailed,
    )
    .await;
    assert!(account.actions().await.contains(&"CreateImage".to_owned()));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn an_image_that_fails_its_gate_is_not_published() {
    let _pace = super::fast();
    let account = Account::open().await;
    let said = Answer::Says("unit ssh.service enabled\nmachine-id 1\nresidue /var/lib/amibake\n");
    let guests = Guests::default().answering(Operation::LookAtCandidate, said);
    let built = fails(&account, Steps::Done, guests, Exit::GateFailed).await;
    let told =
        "error: the image failed its gate: builder-residue: /var/lib/amibake is in the image";
    assert!(built.said.contains(told), "{}", built.said);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_sealing_leaves_fails_the_gate_before_there_is_an_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let said = Answer::Says("machine-id 0\nresidue /etc/ssh/ssh_host_rsa_key\n");
    let guests = Guests::default().answering(Operation::Seal, said);
    let built = fails(&account, Steps::Done, guests, Exit::GateFailed).await;
    let told = "/etc/ssh/ssh_host_rsa_key is still there after sealing";
    assert!(built.said.contains(told), "{}", built.said);
    assert!(!account.actions().await.contains(&"CreateImage".to_owned()));
}

/// The manifest decides what of it may be, and the user is told of that, too.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn what_is_waived_lets_an_image_pass_and_what_only_warns_fails_a_strict_gate() {
    let _pace = super::fast();
    let account = Account::open().await;
    let sealing = "machine-id 0\nfinding\tprivate-key\t1\t/root/.ssh/id_rsa\ta private key\n";
    let looking = "machine-id 1\nfailed web.service exit-code: no\n";
    let guests = || {
        let guests = Guests::default().answering(Operation::Seal, Answer::Says(sealing));
        guests.answering(Operation::LookAtCandidate, Answer::Says(looking))
    };
    let build = |level| {
        let mut build = Build::of(&account);
        build.guests = guests();
        let waiver = Waiver {
            check: Check::PrivateKey,
            path: None,
            reason: "a test".into(),
            span: Span::whole("/m/web.yaml"),
        };
        build.plan.gate = Gate {
            level,
            waive: vec![waiver],
        };
        build
    };
    let built = build(GateLevel::Strict).run().await.ended(Exit::GateFailed);
    let failed = "error: the image failed its gate: failed-unit: unit web.service has failed (exit-code: no)";
    assert!(built.said.contains(failed), "{}", built.said);
    let built = build(GateLevel::Default).run().await.ended(Exit::Done);
    for told in [
        "private-key: /root/.ssh/id_rsa:1: a private key (waived: a test)",
        "failed-unit: unit web.service has failed (exit-code: no)",
    ] {
        assert!(built.said.contains(told), "{told} in {}", built.said);
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_link_that_is_lost_while_sealing_makes_no_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let guests = Guests::default().answering(Operation::Seal, Answer::Lost);
    fails(&account, Steps::Done, guests, Exit::Failed).await;
    assert!(!account.actions().await.contains(&"CreateImage".to_owned()));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_link_that_is_lost_while_the_candidate_is_looked_at_is_no_fault_of_the_image() {
    let _pace = super::fast();
    let account = Account::open().await;
    let guests = Guests::default().answering(Operation::LookAtCandidate, Answer::Lost);
    fails(&account, Steps::Done, guests, Exit::Failed).await;
    assert!(account.actions().await.contains(&"CreateImage".to_owned()));
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_step_that_never_ends_is_cut_short_by_its_time_limit() {
    let _pace = super::fast();
    let account = Account::open().await;
    let before = account.inventory().await;
    let mut build = Build::with(&account, ", timeouts: {provision: 2m}");
    build.steps = Steps::Never;
    let built = build.run().await.ended(Exit::Failed);
    let told = "provisioning took longer than builder.timeouts.provision";
    assert!(built.said.contains(told), "{}", built.said);
    assert_eq!(account.inventory().await, before);
}
