//! `stack destroy`: what it asks, what it leaves, and what it says of what stays.

use aws_sdk_elasticloadbalancingv2::types::Rule;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::child::{Process, Work};
use super::super::server::{Account, REGION};
use super::meddling::{change_by_hand, wait_until_it_is};
use super::rollout::{assert_settled, bring_up_of, forward, roll};
use super::{amibake_leaping, cfn, make_web, open, outputs, settled, start_leaping};
use crate::clock::leaping;
use crate::stack::template;

const DESTROY: [&str; 4] = ["stack", "destroy", "web", "--yes"];

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
async fn on_a_terminal_it_is_asked_and_goes_with_a_yes_alone() {
    let account = open().await;
    make_web(&account, "web", &[]).await;
    let question = "delete stack web in eu-west-1 (CREATE_COMPLETE), which serves https://";
    for (answer, code) in [("", 1), ("no", 1), ("yes", 0)] {
        account.control("calls/clear", json!({})).await;
        let words = DESTROY[..3].iter().map(|word| (*word).to_owned());
        let work = Work::Command(words.collect());
        let process = Process::start_on_terminal(&account, work, &[], [question, answer]);
        let said = process.end_shown().await.0.ended(code).said;
        let is_declined = said.contains("nothing was deleted, as was answered");
        assert_eq!(is_declined, code == 1, "{answer}: {said}");
        let is_asked = account.actions().await.contains(&"DeleteStack".to_owned());
        assert_eq!(is_asked, code == 0, "{answer}");
    }
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

/// The template that ships, one output of which other stacks may import.
pub(super) fn exporting() -> String {
    let own = "    Value: !Sub \"https://${LoadBalancer.DNSName}/\"\n";
    let exported = format!("{own}    Export: {{Name: web-url}}\n");
    let body = template::WEB.replace(own, &exported);
    assert_ne!(body, template::WEB);
    body
}

/// Makes a stack whose green colour serves: whatever becomes of amibake's rule, blue is empty.
pub(super) async fn green_live() -> Account {
    let account = open().await;
    bring_up_of(&account, &exporting(), &[]).await;
    roll(&account, forward("t3.medium")).await.unwrap();
    account
}

/// Returns what decides on where requests go, apart from the rules' names.
async fn rules(account: &Account) -> Vec<Rule> {
    let listener = &outputs(account, "web").await["Listener"];
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&settings(account).load().await);
    let told = elb.describe_rules().listener_arn(listener).send().await;
    let mut rules = told.unwrap().rules.unwrap();
    rules.iter_mut().for_each(|rule| rule.rule_arn = None);
    rules
}

/// Has a deletion end with this code, and insists that green serves on by the same rules. Returns what was said.
async fn not_destroyed(account: &Account, code: u8) -> String {
    let before = rules(account).await;
    let said = amibake_leaping(account, &DESTROY, code).await.said;
    assert_eq!(rules(account).await, before, "{said}");
    assert_settled(account, "Green").await;
    said
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn one_that_cannot_be_deleted_now_serves_on_whoever_finds_that_out() {
    leaping::run(async {
        let account = green_live().await;
        // We do,
        let slow = json!({"resource": "GroupGreen", "action": "UPDATE", "seconds": 600});
        account.control("trouble", slow).await;
        change_by_hand(&account, "MaxSize", "6").await;
        wait_until_it_is(&account, "UPDATE_IN_PROGRESS").await;
        account.control("calls/clear", json!({})).await;
        let said = not_destroyed(&account, 1).await;
        let told =
            "stack web is UPDATE_IN_PROGRESS, and CloudFormation deletes none that it works on";
        assert!(said.contains(told), "{said}");
        account.control("troubles/clear", json!({})).await;
        assert_eq!(settled(&account, "web").await, "UPDATE_COMPLETE");
        // IAM does, by its simulator,
        let statement = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "cloudformation:DeleteStack", "Resource": "*"}]);
        let policy = json!({"policy": {"Statement": statement}});
        account.control("ways", policy).await;
        let said = not_destroyed(&account, 1).await;
        assert!(
            said.contains("denied: cloudformation:DeleteStack"),
            "{said}"
        );
        account.control("ways", json!({"policy": null})).await;
        let asked = account.actions().await;
        assert!(!asked.contains(&"DeleteStack".to_owned()), "{asked:?}");
        // or CloudFormation when it is asked.
        account.fault("DeleteStack", "denied", json!({})).await;
        let said = not_destroyed(&account, 1).await;
        let told = "the stack is as it was, and traffic goes where it went";
        assert!(
            said.contains("DeleteStack") && said.contains(told),
            "{said}"
        );
        account.assert_all_hit().await;
        let asked = account.actions().await;
        assert!(!asked.contains(&"DeleteRule".to_owned()), "{asked:?}");
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn one_that_others_import_from_serves_on_whether_that_is_seen_beforehand_or_not() {
    leaping::run(async {
        let account = green_live().await;
        let body = "Resources: {Gateway: {Type: 'AWS::EC2::InternetGateway', Properties: {Tags: [{Key: Name, Value: !ImportValue web-url}]}}}";
        let importer = cfn(&account).await.create_stack().stack_name("importer");
        importer.template_body(body).send().await.unwrap();
        assert_eq!(settled(&account, "importer").await, "CREATE_COMPLETE");
        let said = not_destroyed(&account, 1).await;
        let told = "other stacks import what stack web exports: web-url by importer";
        assert!(said.replace("\n  caused by", "").contains(told), "{said}");
        // CloudFormation takes the request, and turns back a moment later.
        account.fault("ListImports", "denied", json!({})).await;
        let said = not_destroyed(&account, 1).await;
        account.assert_all_hit().await;
        for told in [
            "whether other stacks import web-url is not known",
            "stack web was not deleted, and is UPDATE_COMPLETE again",
            "Export web-url cannot be deleted as it is in use by importer",
            "traffic goes where it went",
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
        let goes = cfn(&account).await.delete_stack().stack_name("importer");
        goes.send().await.unwrap();
        settled_or_gone(&account, "importer").await;
        amibake_leaping(&account, &DESTROY, 0).await;
    });
}

/// Waits until a stack that is being deleted is gone.
async fn settled_or_gone(account: &Account, name: &str) {
    account
        .wait_until("its end", async || {
            let asked = cfn(account).await.describe_stacks().stack_name(name);
            asked.send().await.is_err()
        })
        .await;
}

/// As where whoever asks, or the stack's role, may delete nothing of it.
pub(super) async fn none_can_be_deleted(account: &Account) {
    // The first takes time enough for whoever looks.
    for (resource, seconds) in [("GroupGreen", 3.0), ("*", 0.0)] {
        let denied = json!({"resource": resource, "action": "DELETE", "reason": "AccessDenied", "seconds": seconds, "times": 99});
        account.control("trouble", denied).await;
    }
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn one_of_which_nothing_could_be_deleted_gets_its_rule_back() {
    leaping::run(async {
        let account = green_live().await;
        let before = account.inventory().await;
        none_can_be_deleted(&account).await;
        account.control("calls/clear", json!({})).await;
        let said = not_destroyed(&account, 3).await;
        let told = "traffic goes where it went, by a rule that was made again";
        assert!(said.contains(told), "{said}");
        assert!(said.contains("is DELETE_FAILED: AccessDenied"), "{said}");
        let asked = account.actions().await;
        let changed: Vec<&String> = asked
            .iter()
            .filter(|a| ["DeleteRule", "CreateRule"].contains(&a.as_str()))
            .collect();
        assert_eq!(changed, ["DeleteRule", "CreateRule"]);
        assert_eq!(account.inventory().await, before);
        account.control("troubles/clear", json!({})).await;
        amibake_leaping(&account, &DESTROY, 0).await;
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn interrupted_it_says_what_stands_and_the_same_command_goes_on() {
    leaping::run(async {
        let account = green_live().await;
        let before = rules(&account).await;
        let held = json!({"seconds": 600});
        account.fault("DeleteStack", "hold-before", held).await;
        let destroy = start_leaping(&account, &DESTROY).held(&account).await;
        destroy.signal(Signal::INT);
        let said = destroy.end().await.ended(130).said;
        let told = "may delete stack web; the rule that traffic follows stands";
        assert!(said.contains(told), "{said}");
        assert_eq!(rules(&account).await, before);
        assert_settled(&account, "Green").await;

        // It has not come to what serves.
        let slow =
            |resource: &str| json!({"resource": resource, "action": "DELETE", "seconds": 600});
        account.control("trouble", slow("LoadBalancerErrors")).await;
        account.release().await;
        account.control("clear", json!({})).await;
        hit(&account).await;
        account.control("calls/clear", json!({})).await;
        let destroy = start_leaping(&account, &DESTROY);
        follows(&account).await;
        destroy.signal(Signal::INT);
        let said = destroy.end().await.ended(130).said;
        let told = "the rule that traffic follows stands, and keeps the target groups";
        assert!(said.contains(told), "{said}");
        assert_eq!(rules(&account).await, before);
        account.control("calls/clear", json!({})).await;
        let released = async {
            follows(&account).await;
            account.control("troubles/clear", json!({})).await;
        };
        tokio::join!(amibake_leaping(&account, &DESTROY, 0), released);
    });
}

/// Whoever had asked for it may have died before the rules could go, which keep the target groups.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn what_another_has_begun_and_fails_is_asked_for_again_and_all_that_is_kept_is_told() {
    leaping::run(async {
        let account = green_live().await;
        let slow = json!({"resource": "GroupGreen", "action": "DELETE", "seconds": 600});
        account.control("trouble", slow).await;
        let stuck = json!({"resource": "TargetGroupGreen", "action": "DELETE", "reason": "it is in use by a rule"});
        account.control("trouble", stuck).await;
        let by_hand = cfn(&account).await.delete_stack().stack_name("web");
        by_hand.send().await.unwrap();
        hit(&account).await;
        account.control("calls/clear", json!({})).await;
        let destroy = start_leaping(&account, &DESTROY);
        follows(&account).await;
        let released = json!({"resource": "GroupGreen"});
        account.control("troubles/clear", released).await;
        let outcome = destroy.end().await.ended(0);
        let told = "what was asked for before this has failed, and is asked for again";
        assert!(outcome.said.contains(told), "{}", outcome.said);
        let told: Json = serde_json::from_str(&outcome.stdout).unwrap();
        let kept = told["kept"].as_array().unwrap();
        assert!(kept.len() == 2 && kept[0] != kept[1], "{kept:?}");
        let asked = account.actions().await;
        let deletions = asked.iter().filter(|action| *action == "DeleteStack");
        assert_eq!(deletions.count(), 1);
    });
}

/// Waits until somebody follows what CloudFormation does.
async fn follows(account: &Account) {
    account
        .wait_until("a look at its events", async || {
            let asked = account.actions().await;
            asked.contains(&"DescribeStackEvents".to_owned())
        })
        .await;
}

/// Waits until a resource is in the trouble that was made for it.
async fn hit(account: &Account) {
    account
        .wait_until("a resource under way", async || {
            let troubles = account.control("troubles", json!({})).await;
            troubles[0]["hit"] == 1
        })
        .await;
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn interrupted_when_what_serves_goes_it_leaves_the_rest_to_cloudformation() {
    leaping::run(async {
        let account = green_live().await;
        let slow = json!({"resource": "GroupGreen", "action": "DELETE", "seconds": 600});
        account.control("trouble", slow).await;
        account.control("calls/clear", json!({})).await;
        let destroy = start_leaping(&account, &DESTROY);
        account
            .wait_until("the rule's end", async || {
                account.actions().await.contains(&"DeleteRule".to_owned())
            })
            .await;
        destroy.signal(Signal::INT);
        let said = destroy.end().await.ended(130).said;
        let told = "CloudFormation goes on deleting stack web: `amibake stack destroy web --region eu-west-1` waits for it";
        assert!(said.contains(told), "{said}");
        account.control("troubles/clear", json!({})).await;
        settled_or_gone(&account, "web").await;
    });
}
