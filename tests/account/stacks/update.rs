//! What CloudFormation is asked for a change of parameters, as a rollout asks for it, and what of its failures is told.

use std::collections::BTreeMap;

use serde_json::json;
use time::OffsetDateTime;

use super::super::build::{all_said, settings};
use super::super::server::Account;
use super::{BASE_IMAGE, cfn, described, make_web, open};
use crate::clock::leaping;
use crate::event;
use crate::run::RunId;
use crate::stack::{Stack, Updated};
use crate::targets::TargetError;
use crate::targets::ec2::Ec2;

/// Changes parameters of the stack `web`; returns what came of it and what was said meanwhile.
async fn update(
    account: &Account,
    changes: &[(&str, &str)],
) -> (Result<Updated, TargetError>, String) {
    let ec2 = Ec2::with(settings(account)).await.unwrap();
    let stack = Stack::by("web".parse().unwrap(), &ec2);
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    let changes: BTreeMap<_, _> = changes.iter().map(pair).collect();
    let run = RunId::new(OffsetDateTime::now_utc()).unwrap();
    let (events, reports) = event::channel();
    let updated = stack.update(&changes, &run, &events).await;
    events.close();
    (updated, all_said(reports).await)
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn one_parameter_changes_and_all_others_stay_whatever_is_lost_on_the_way() {
    leaping::run(async {
        let account = open().await;
        make_web(&account, "web", &[("MaxSize", "5")]).await;
        for call in [
            "CreateChangeSet",
            "ExecuteChangeSet",
            "DescribeChangeSet",
            "DescribeStackEvents",
        ] {
            // One that was lost and done cannot be done again.
            let kinds = match call {
                "ExecuteChangeSet" => &["throttle", "lost"][..],
                _ => &["lost", "throttle", "drop"],
            };
            for kind in kinds {
                account.fault(call, kind, json!({})).await;
            }
        }
        let (updated, said) = update(&account, &[("InstanceTypeGreen", "t3.large")]).await;
        assert_eq!(updated.unwrap(), Updated::Done, "{said}");
        account.assert_all_hit().await;
        assert!(
            said.contains("UPDATE_COMPLETE LaunchTemplateGreen"),
            "{said}"
        );
        assert!(
            !said.contains("CREATE_COMPLETE"),
            "another operation's: {said}"
        );
        let parameters = described(&account, "web").await.parameters.unwrap();
        let value = |name: &str| {
            let mut all = parameters
                .iter()
                .filter(|p| p.parameter_key() == Some(name));
            all.next()
                .and_then(|p| p.parameter_value())
                .map(str::to_owned)
        };
        assert_eq!(value("InstanceTypeGreen").unwrap(), "t3.large");
        assert_eq!(value("MaxSize").unwrap(), "5");
        assert_eq!(value("ImageIdBlue").unwrap(), BASE_IMAGE);
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn nothing_to_do_is_no_failure_and_leaves_no_change_set() {
    leaping::run(async {
        let account = open().await;
        make_web(&account, "web", &[]).await;
        let (updated, _) = update(&account, &[("InstanceTypeGreen", "t3.small")]).await;
        assert_eq!(updated.unwrap(), Updated::Nothing);
        let sets = cfn(&account)
            .await
            .list_change_sets()
            .stack_name("web")
            .send();
        assert!(sets.await.unwrap().summaries().is_empty());
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_change_that_fails_is_told_by_its_first_cause_and_its_line() {
    leaping::run(async {
        let account = open().await;
        make_web(&account, "web", &[]).await;
        let trouble =
            json!({"resource": "GroupGreen", "action": "UPDATE", "reason": "the quota is used up"});
        account.control("trouble", trouble.clone()).await;
        let (updated, said) = update(&account, &[("InstanceTypeGreen", "t3.large")]).await;
        let told = updated.unwrap_err().on_one_line();
        assert!(
            told.contains("stack web could not be changed and is UPDATE_ROLLBACK_COMPLETE"),
            "{told}"
        );
        assert!(told.contains("GroupGreen (stack/web.yaml:"), "{told}");
        assert!(
            told.contains(
                "is UPDATE_FAILED: the quota is used up (hint: the stack is as it was before)"
            ),
            "{told}"
        );
        assert!(said.contains("UPDATE_FAILED GroupGreen"), "{said}");

        let mut twice = trouble;
        twice["times"] = json!(2);
        account.control("trouble", twice).await;
        let (updated, _) = update(&account, &[("InstanceTypeGreen", "t3.large")]).await;
        let told = updated.unwrap_err().on_one_line();
        assert!(told.contains("is UPDATE_ROLLBACK_FAILED"), "{told}");
        assert!(
            told.contains("continue-update-rollback --stack-name web"),
            "{told}"
        );
        let (updated, _) = update(&account, &[("InstanceTypeGreen", "t3.large")]).await;
        let told = updated.unwrap_err().on_one_line();
        assert!(
            told.contains("CreateChangeSet was refused in eu-west-1: ValidationError"),
            "{told}"
        );
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn what_has_the_traffic_is_not_replaced_by_the_way() {
    leaping::run(async {
        let account = open().await;
        make_web(&account, "web", &[]).await;
        account.control("calls/clear", json!({})).await;
        let (updated, _) = update(&account, &[("ApplicationPort", "9090")]).await;
        let told = updated.unwrap_err().on_one_line();
        assert!(
            told.contains("this would take away what has the traffic of stack web"),
            "{told}"
        );
        assert!(
            told.contains("TargetGroupBlue would be replaced, TargetGroupGreen would be replaced"),
            "{told}"
        );
        let asked = account.actions().await;
        assert!(asked.contains(&"DeleteChangeSet".to_owned()), "{asked:?}");
        assert!(!asked.contains(&"ExecuteChangeSet".to_owned()), "{asked:?}");
    });
}
