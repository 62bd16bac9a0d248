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
use crate::exit::{Exit, Failure};
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
    let all = cases_of(&changes);
    let cases = match std::env::var_os("AMIBAKE_TEST_SWEEP") {
        Some(_) => all,
        None => a_part(all),
    };
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
        for fault in Fault::ALL {
            cases.extend([Then::Again, Then::Back].map(|then| Case {
                action: action.clone(),
                nth: *nth,
                fault,
                then,
            }));
        }
    }
    cases
}

/// Returns one case of each call and fault; which way somebody goes on is the commit's to say.
fn a_part(all: Vec<Case>) -> Vec<Case> {
    let pairs = all.chunks(2);
    pairs.map(|pair| cases::turn(pair).clone()).collect()
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
    let before = status(account).await;
    account.fault(&case.action, kind, more).await;
    let first = match case.fault.kills() {
        true => kill(account, instance_type).await,
        false => {
            let ended = roll(account, forward(instance_type)).await;
            assert_ended(case, &ended);
            format!("{ended:?}")
        }
    };
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    let has_begun = status(account).await["rollout"]["run"] != before["rollout"]["run"];
    let then = match case.then {
        Then::Again => forward(instance_type),
        Then::Back => Way::Back,
    };
    let second = roll(account, then).await;
    let what = format!("{case:?}: {first}, then {second:?}");
    let live = match (second, case.then) {
        (Ok(End::Live { live, .. } | End::Unchanged { live }), Then::Again)
        | (Ok(End::IsBack { live }), Then::Back) => live.suffix(),
        // Nothing was begun, and the first colour is live since it was the first: that is where traffic stays.
        (Err(failure), Then::Back) if is_first(&failure) => {
            assert!(!has_begun, "{what}");
            assert_eq!(before["live"], "blue", "{what}");
            "Blue"
        }
        (_, Then::Again | Then::Back) => panic!("{what}"),
    };
    assert_settled(account, live).await;
}

/// Insists on how a command ends that was not killed: what is denied once ends it, what is not answered does not.
fn assert_ended(case: &Case, ended: &Result<End, Failure>) {
    match (case.fault, ended) {
        (Fault::Denied, Err(failure)) => assert_eq!(failure.exit(), Exit::Failed, "{case:?}"),
        (Fault::Lost | Fault::Throttled, Ok(End::Live { .. })) => {}
        other => panic!("{case:?}: {other:?}"),
    }
}

/// Returns whether a rollback was refused since no colour was live before.
fn is_first(failure: &Failure) -> bool {
    let told = "there is nothing to go back to: blue is the first live colour";
    failure.exit() == Exit::Usage && failure.chain().next().is_some_and(|text| text == told)
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
