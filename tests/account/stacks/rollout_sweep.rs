//! Each changing call of a rollout goes wrong, or its process dies before, during or after it, and a second command of
//! another process comes to one of the two ends. In memory this is so for every state and scenario
//! (`src/stack/rollout/tests/`); here it is the real SDK and protocols, groups, load balancer and CloudFormation.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::cases;
use super::super::server::Account;
use super::deploy::changing_calls;
use super::rollout::{assert_settled, forward, live, roll, status};
use super::{outputs, start_leaping};
use crate::clock::leaping;
use crate::stack::rollout::{End, Way};

/// Cases of one account, one after the other: each ends with one colour that serves, from which the next begins.
const CHUNK: usize = 3;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Denied,
    Lost,
    Throttled,
    KilledBefore,
    KilledDuring,
    KilledAfter,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Denied,
        Self::Lost,
        Self::Throttled,
        Self::KilledBefore,
        Self::KilledDuring,
        Self::KilledAfter,
    ];

    /// Returns what is asked of the test EC2: its kind, and more of it.
    fn order(self) -> (&'static str, Json) {
        match self {
            Self::Denied => ("denied", json!({"times": 1})),
            Self::Lost => ("lost", json!({})),
            Self::Throttled => ("throttle", json!({"times": 8})),
            Self::KilledBefore => ("hang", json!({"times": 9})),
            Self::KilledDuring => ("hold-before", json!({"seconds": 600})),
            Self::KilledAfter => ("hold", json!({"seconds": 600})),
        }
    }

    fn kills(self) -> bool {
        match self {
            Self::KilledBefore | Self::KilledDuring | Self::KilledAfter => true,
            Self::Denied | Self::Lost | Self::Throttled => false,
        }
    }
}

/// How somebody goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Again,
    Back,
}

/// One call that goes wrong.
#[derive(Debug, Clone)]
struct Case {
    action: String,
    /// Counted from 1.
    nth: u32,
    fault: Fault,
    then: Then,
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn whatever_goes_wrong_with_a_call_a_second_command_comes_to_one_of_the_two_ends() {
    let changes = leaping::run(changes_of_a_rollout());
    let cases = cases_of(&changes);
    let count = cases.len();
    let chunks: Vec<Vec<Case>> = cases.chunks(CHUNK).map(<[Case]>::to_vec).collect();
    let swept = cases::sweep("rollout sweep", chunks, |cases, _| {
        try_cases(cases).boxed_local()
    });
    println!("{}; {count} calls went wrong", swept.told);
    swept.insist();
}

/// Returns the changing calls that a rollout makes from one colour that serves to the other.
async fn changes_of_a_rollout() -> Vec<String> {
    let account = live().await;
    account.control("calls/clear", json!({})).await;
    roll(&account, forward("t3.medium")).await.unwrap();
    changing_calls(&account).await
}

fn cases_of(changes: &[String]) -> Vec<Case> {
    // As in memory (`a_deploy_is_these_calls_in_this_order`), but for an update, which is two calls.
    assert!(changes.len() >= 12, "{changes:?}");
    let mut times = BTreeMap::<&str, u32>::new();
    let mut cases = Vec::new();
    for action in changes {
        let nth = times.entry(action).or_default();
        *nth += 1;
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            let then = match (cases.len() / Fault::ALL.len() + number) % 2 {
                0 => Then::Again,
                _ => Then::Back,
            };
            cases.push(Case {
                action: action.clone(),
                nth: *nth,
                fault,
                then,
            });
        }
    }
    cases
}

async fn try_cases(cases: &[Case]) {
    let account = live().await;
    for (number, case) in cases.iter().enumerate() {
        // Another type each time, which neither colour has had: each is a rollout with an update of the stack.
        let instance_type = ["t3.medium", "t3.large", "t3.xlarge"][number % 3];
        try_case(&account, case, instance_type).await;
        resume(&account).await;
    }
}

/// Has no group suspend anything: one that was gone back from does, and the next rollout would have a call less.
async fn resume(account: &Account) {
    let asg = aws_sdk_autoscaling::Client::new(&settings(account).load().await);
    let outputs = outputs(account, "web").await;
    for group in ["GroupBlue", "GroupGreen"] {
        let asked = asg.resume_processes();
        let asked = asked.auto_scaling_group_name(&outputs[group]);
        asked.send().await.unwrap();
    }
}

async fn try_case(account: &Account, case: &Case, instance_type: &str) {
    let (kind, mut more) = case.fault.order();
    more["nth"] = json!(case.nth);
    account.fault(&case.action, kind, more).await;
    let first = match case.fault.kills() {
        true => kill(account, instance_type).await,
        false => format!("{:?}", roll(account, forward(instance_type)).await),
    };
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    let then = match case.then {
        Then::Again => forward(instance_type),
        Then::Back => Way::Back,
    };
    let second = roll(account, then).await;
    let what = format!("{case:?}: {first}, then {second:?}");
    let live = match second.unwrap_or_else(|_| panic!("{what}")) {
        End::Live { live, .. } | End::Unchanged { live } | End::IsBack { live } => live,
        // It was refused before it had begun, after a rollout that was gone back from: that one is no way back.
        End::NothingToGoBackTo { live } => live.unwrap_or_else(|| panic!("{what}")),
        other => panic!("{what}: {other:?}"),
    };
    assert_settled(account, live.suffix()).await;
}

/// Has a command be killed at the call, and its lock go.
async fn kill(account: &Account, instance_type: &str) -> String {
    let parameter = format!("InstanceType={instance_type}");
    let deploy = [
        "stack", "deploy", "web", "--ami", "current", "--param", &parameter,
    ];
    let words = [&deploy[..], &["--bake", "1s", "--keep", "1s"]].concat();
    let process = start_leaping(account, &words).held(account).await;
    process.kill().await;
    account.release().await;
    let lock = status(account).await["lock"].clone();
    let ec2 = aws_sdk_ec2::Client::new(&settings(account).load().await);
    let unlock = ec2.delete_launch_template();
    let unlock = unlock.launch_template_name("amibake-lock-stack-web");
    unlock.send().await.unwrap();
    format!("killed, with the lock {lock}")
}
