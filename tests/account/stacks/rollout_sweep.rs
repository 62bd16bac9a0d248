//! Each changing call of a deploy, and of a rollback to a colour that is warm or gone, goes wrong, or its process dies before,
//! during or after it, and a second command of another process comes to one of the two ends. In memory this is so for every
//! state and scenario (`src/stack/rollout/tests/`); here it is the real SDK and protocols, groups, load balancer and
//! CloudFormation.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::super::build::settings;
use super::super::cases;
use super::super::server::Account;
use super::deploy::changing_calls;
use super::rollout::{assert_settled, forward, kept_warm, live, roll, status};
use super::{outputs, start_leaping, unlock};
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

/// What is being done when a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Deploy,
    /// To a colour that has its instances still.
    RollbackWarm,
    RollbackCold,
}

impl Doing {
    const ALL: [Self; 3] = [Self::Deploy, Self::RollbackWarm, Self::RollbackCold];

    /// Brings about what it finds: another type was deployed, or is about to be.
    async fn prepare(self, account: &Account, instance_type: &str) {
        match self {
            Self::Deploy => {}
            Self::RollbackWarm => kept_warm(account, forward(instance_type)).await,
            Self::RollbackCold => {
                roll(account, forward(instance_type)).await.unwrap();
            }
        }
        resume(account).await;
    }

    fn way(self, instance_type: &str) -> Way {
        match self {
            Self::Deploy => forward(instance_type),
            Self::RollbackWarm | Self::RollbackCold => Way::Back,
        }
    }

    /// Returns the same as it is typed.
    fn words(self, instance_type: &str) -> Vec<String> {
        let parameter = format!("InstanceType={instance_type}");
        let deploy = [
            "deploy", "web", "--ami", "current", "--param", &parameter, "--bake", "1s", "--keep",
            "1s",
        ];
        let words = match self {
            Self::Deploy => &deploy[..],
            Self::RollbackWarm | Self::RollbackCold => &["rollback", "web"],
        };
        let words = ["stack"].iter().chain(words);
        words.map(|word| (*word).to_owned()).collect()
    }

    /// Returns as many of its cases as `./test` tries; which, the commit says: each call of a deploy goes wrong once and is
    /// once the last of its process, and each call of a rollback has one of both.
    fn a_part(self, all: &[Case]) -> Vec<Case> {
        let of_call = Then::ALL.len() * Fault::ALL.len();
        let of_one = match self {
            // Those of `Fault::ALL` that kill are its second half.
            Self::Deploy => of_call / 2,
            Self::RollbackWarm | Self::RollbackCold => of_call,
        };
        let few = all.chunks(of_one);
        few.map(|few| cases::turn(few).clone()).collect()
    }
}

/// How somebody goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Again,
    /// Towards the colour that it came from.
    Back,
}

impl Then {
    const ALL: [Self; 2] = [Self::Again, Self::Back];

    fn way(self, doing: Doing, instance_type: &str) -> Way {
        match (self, doing.way(instance_type)) {
            (Self::Again, way) => way,
            (Self::Back, Way::Forward { .. }) => Way::Back,
            (Self::Back, Way::Back) => forward(instance_type),
        }
    }
}

/// One call that goes wrong.
#[derive(Debug, Clone)]
struct Case {
    doing: Doing,
    action: String,
    /// Counted from 1.
    nth: u32,
    fault: Fault,
    then: Then,
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn whatever_goes_wrong_with_a_call_a_second_command_comes_to_one_of_the_two_ends() {
    let of_all = Doing::ALL.map(|doing| {
        let changes = leaping::run(changes_of(doing));
        let all = cases_of(doing, &changes);
        match std::env::var_os("AMIBAKE_TEST_SWEEP") {
            Some(_) => all,
            None => doing.a_part(&all),
        }
    });
    let cases = of_all.concat();
    let count = cases.len();
    let chunks: Vec<Vec<Case>> = cases.chunks(CHUNK).map(<[Case]>::to_vec).collect();
    let swept = cases::sweep("rollout sweep", chunks, |cases, _| {
        try_cases(cases).boxed_local()
    });
    println!("{}; {count} calls went wrong", swept.told);
    swept.insist();
}

/// Returns the changing calls that it makes.
async fn changes_of(doing: Doing) -> Vec<String> {
    let account = live().await;
    doing.prepare(&account, "t3.medium").await;
    account.control("calls/clear", json!({})).await;
    roll(&account, doing.way("t3.medium")).await.unwrap();
    changing_calls(&account).await
}

fn cases_of(doing: Doing, changes: &[String]) -> Vec<Case> {
    // As in memory (`a_deploy_is_these_calls_in_this_order`), but for an update, which is two calls.
    let least = match doing {
        Doing::Deploy => 12,
        Doing::RollbackWarm => 5,
        Doing::RollbackCold => 8,
    };
    assert!(changes.len() >= least, "{doing:?}: {changes:?}");
    let mut times = BTreeMap::<&str, u32>::new();
    let mut cases = Vec::new();
    for action in changes {
        let nth = times.entry(action).or_default();
        *nth += 1;
        for fault in Fault::ALL {
            cases.extend(Then::ALL.map(|then| Case {
                doing,
                action: action.clone(),
                nth: *nth,
                fault,
                then,
            }));
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
    case.doing.prepare(account, instance_type).await;
    let (kind, mut more) = case.fault.order();
    more["nth"] = json!(case.nth);
    let before = status(account).await;
    account.fault(&case.action, kind, more).await;
    let first = match case.fault.kills() {
        true => kill(account, &case.doing.words(instance_type)).await,
        false => {
            let ended = roll(account, case.doing.way(instance_type)).await;
            assert_ended(case, &ended);
            format!("{ended:?}")
        }
    };
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    let has_begun = status(account).await["rollout"]["run"] != before["rollout"]["run"];
    let way = case.then.way(case.doing, instance_type);
    let second = roll(account, way.clone()).await;
    let what = format!("{case:?}: {first}, then {second:?}");
    let live = match (second, way) {
        (Ok(End::Live { live, .. } | End::Unchanged { live }), Way::Forward { .. })
        | (Ok(End::IsBack { live }), Way::Back) => live.suffix(),
        // Nothing was begun, and the first colour is live since it was the first: that is where traffic stays.
        (Err(failure), Way::Back) if is_first(&failure) => {
            assert!(!has_begun, "{what}");
            assert_eq!(before["live"], "blue", "{what}");
            "Blue"
        }
        (_, Way::Forward { .. } | Way::Back) => panic!("{what}"),
    };
    assert_settled(account, live).await;
}

/// Insists on how a command ends that was not killed: what is denied once ends it, what is not answered does not.
fn assert_ended(case: &Case, ended: &Result<End, Failure>) {
    let may_lack = case.doing != Doing::Deploy && case.action == "SuspendProcesses";
    match (case.fault, ended) {
        (Fault::Denied, Err(failure)) if !may_lack => {
            assert_eq!(failure.exit(), Exit::Failed, "{case:?}");
        }
        (Fault::Denied, Ok(_)) if may_lack => {}
        (Fault::Lost | Fault::Throttled, Ok(End::Live { .. } | End::IsBack { .. })) => {}
        other => panic!("{case:?}: {other:?}"),
    }
}

/// Returns whether a rollback was refused since no colour was live before.
fn is_first(failure: &Failure) -> bool {
    let told = "there is nothing to go back to: blue is the first live colour";
    failure.exit() == Exit::Usage && failure.chain().next().is_some_and(|text| text == told)
}

/// Has a command be killed at the call, and its lock go. A rollback does not wait for one.
async fn kill(account: &Account, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let process = start_leaping(account, &words).held(account).await;
    process.kill().await;
    account.release().await;
    let lock = status(account).await["lock"].clone();
    if !lock.is_null() {
        unlock(account).await;
    }
    format!("killed, with the lock {lock}")
}
