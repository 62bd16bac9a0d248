//! Every call of a build goes wrong in every way there is, and the account is as before; or it has
//! one released image more, where the build came through.
//!
//! The table of calls is checked against what a build asks, so that a new call needs its cases.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value as Json, json};

use super::build::{Build, Built};
use super::child::{Process, amibake};
use super::server::{Account, Inventory, REGION, assert_one_image_more};
use crate::clock::Pace;
use crate::exit::{Exit, Failure};

/// Slower than other tests, since many builds share the server and this thread.
const PACE: u32 = 40;

/// How long all cases may take: three minutes are the aim, two processors need about 100 s, and slower ones, with
/// machines beside it, may need longer.
const LIMIT: Duration = Duration::from_secs(300);

/// How many cases are under way at a time.
const AT_ONCE: usize = 16;

/// What a build asks that changes something, and how often.
const CHANGES: [(&str, u32); 9] = [
    ("AuthorizeSecurityGroupIngress", 1),
    ("CreateImage", 1),
    ("CreateSecurityGroup", 1),
    ("CreateTags", 2),
    ("DeregisterImage", 1),
    ("ModifyImageAttribute", 1),
    ("RegisterImage", 1),
    ("RunInstances", 2),
    ("StopInstances", 1),
];

/// What is asked as often as it takes, and how often at least: what ends machines and groups, and
/// what looks.
const REPEATED: [(&str, u32); 11] = [
    ("DeleteSecurityGroup", 1),
    // Twice, of which the source's owner alone is told: that call is never done.
    ("DescribeImageAttribute", 1),
    ("DescribeImages", 8),
    ("DescribeInstanceTypeOfferings", 1),
    ("DescribeInstances", 5),
    ("DescribeRouteTables", 1),
    ("DescribeSnapshots", 1),
    ("DescribeSubnets", 1),
    ("DescribeVpcs", 1),
    ("GetParameter", 1),
    ("TerminateInstances", 3),
];

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Too much is asked, eight times.
    Throttled,
    /// EC2 fails by itself, twice.
    BrokenTwice,
    /// EC2 fails by itself, from now on.
    Broken,
    /// It is not allowed, from now on.
    Denied,
    /// It is done, and answered with an expired token: the first answer was lost, and by the time it
    /// is asked again the credentials have ended. They are renewed for the next call.
    LostThenExpired,
    /// From this call on the credentials have expired, for all that is asked.
    Expired,
    /// It is not done and never answered, as often as the SDK tries.
    NeverAnswered,
    /// It is done and never answered, as often as the SDK tries.
    DoneNeverAnswered,
    /// It is done, and the connection ends before the answer.
    Lost,
    /// The build is killed before EC2 has the call.
    KilledBefore,
    /// The build is killed, and then EC2 does what it was asked.
    KilledDuring,
    /// The build is killed when it is done, before the answer arrives.
    KilledAfter,
}

impl Fault {
    const OF_EACH_CALL: [Self; 11] = [
        Self::Throttled,
        Self::BrokenTwice,
        Self::Broken,
        Self::Denied,
        Self::LostThenExpired,
        Self::NeverAnswered,
        Self::DoneNeverAnswered,
        Self::Lost,
        Self::KilledBefore,
        Self::KilledDuring,
        Self::KilledAfter,
    ];

    /// Returns whether it is another case only where the call changes something.
    fn is_for_changes(self) -> bool {
        match self {
            Self::DoneNeverAnswered | Self::KilledDuring | Self::KilledAfter => true,
            Self::Throttled
            | Self::BrokenTwice
            | Self::Broken
            | Self::Denied
            | Self::LostThenExpired
            | Self::Expired
            | Self::NeverAnswered
            | Self::Lost
            | Self::KilledBefore => false,
        }
    }

    /// Returns whether what removes something may be refused for good: then that is named.
    fn may_leave(self) -> bool {
        let lasts = matches!(self, Self::Broken | Self::Denied | Self::Expired);
        lasts || self == Self::LostThenExpired
    }

    fn kills(self) -> bool {
        matches!(
            self,
            Self::KilledBefore | Self::KilledDuring | Self::KilledAfter
        )
    }

    /// Returns what to ask of the test EC2 for the `nth` call of an action.
    fn orders(self, action: &str, nth: u32) -> Vec<Json> {
        let order = |kind: &str, more: Json| {
            let mut order = json!({"action": action, "kind": kind, "nth": nth});
            let fields = order.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            order
        };
        match self {
            Self::Throttled => vec![order("throttle", json!({"times": 8}))],
            Self::BrokenTwice => vec![order("error", json!({"times": 2}))],
            Self::Broken => vec![order("error", json!({"times": 9999}))],
            Self::Denied => vec![order("denied", json!({"times": 9999}))],
            Self::LostThenExpired => vec![order("expired-token", json!({"done": true}))],
            Self::Expired => vec![order("expired-token", json!({"times": 9999}))],
            Self::NeverAnswered => vec![order("hang", json!({"times": 5}))],
            Self::DoneNeverAnswered => vec![order("hang", json!({"times": 5, "done": true}))],
            Self::Lost => vec![order("lost", json!({}))],
            Self::KilledBefore => vec![order("hang", json!({"times": 9}))],
            Self::KilledDuring => vec![order("hold-before", json!({"seconds": 600}))],
            Self::KilledAfter => vec![order("hold", json!({"seconds": 600}))],
        }
    }
}

/// One call that goes wrong.
#[derive(Debug, Clone)]
struct Case {
    action: &'static str,
    nth: u32,
    fault: Fault,
}

/// Any call.
const ANY: &str = "*";

/// How many calls a build makes at least, of whatever kind.
const CALLS: u32 = 30;

/// Returns all cases.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (action, times) in CHANGES.into_iter().chain(REPEATED) {
        for nth in 1..=times {
            let faults = Fault::OF_EACH_CALL.into_iter();
            let faults = faults.filter(|fault| is_change(action) || !fault.is_for_changes());
            cases.extend(faults.map(|fault| Case { action, nth, fault }));
        }
    }
    let fault = Fault::Expired;
    cases.extend((1..=CALLS).map(|nth| Case {
        action: ANY,
        nth,
        fault,
    }));
    cases
}

fn is_change(action: &str) -> bool {
    !action.starts_with("Describe") && !action.starts_with("Get")
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_build_asks_what_is_swept() {
    let _pace = Pace::set(PACE);
    let account = Account::open().await;
    // Nothing is asked twice because it is not known everywhere yet.
    account.control("delays", json!({"visible": 0})).await;
    let before = account.inventory().await;
    Build::of(&account).run().await.ended(Exit::Done);
    assert_one_image_more(&before, &account.inventory().await);
    let mut asked: BTreeMap<String, u32> = BTreeMap::new();
    for action in account.actions().await {
        *asked.entry(action).or_default() += 1;
    }
    for (action, least) in REPEATED {
        let times = asked.remove(action).unwrap_or_default();
        assert!(times >= least, "{action}: {times}");
    }
    let changes: Vec<(&str, u32)> = asked.iter().map(|(a, n)| (a.as_str(), *n)).collect();
    assert_eq!(changes, CHANGES, "each call needs its cases");
    assert!(account.actions().await.len() >= CALLS as usize);
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn whatever_call_goes_wrong_and_how_the_account_is_as_before() {
    let _pace = Pace::set(PACE);
    let wanted = std::env::var("AMIBAKE_TEST_SWEEP").unwrap_or_default();
    let mut cases = cases();
    cases.retain(|case| format!("{case:?}").contains(&wanted));
    let count = cases.len();
    let since = std::time::Instant::now();
    let trying = cases.into_iter().map(|case| async move {
        let outcome = AssertUnwindSafe(try_case(&case)).catch_unwind().await;
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            format!(
                "{} {} {:?}: {}",
                case.action,
                case.nth,
                case.fault,
                text.unwrap_or_default()
            )
        })
    });
    let outcomes: Vec<Result<(), String>> = futures_util::stream::iter(trying)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    let took = since.elapsed();
    println!(
        "fault sweep: {count} cases, {} with something left or otherwise wrong, {:.0} s",
        wrong.len(),
        took.as_secs_f64()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(took < LIMIT, "it is too slow to be run before each change");
}

async fn try_case(case: &Case) {
    let account = Account::open().await;
    let before = account.inventory().await;
    for order in case.fault.orders(case.action, case.nth) {
        account.control("fault", order).await;
    }
    if case.fault.kills() {
        return killed(case, &account, &before).await;
    }
    let mut build = Build::of(&account);
    if matches!(case.fault, Fault::NeverAnswered | Fault::DoneNeverAnswered) {
        build.per_try = Duration::from_secs(60);
    }
    let built = build.run().await;
    account.assert_all_hit().await;
    let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
    let left = account.inventory().await;
    if case.fault.may_leave() && exit == Exit::LeftBehind {
        assert_named(&before, &left, &build, &built);
        account.control("clear", json!({})).await;
        reap(&account).await;
    } else {
        assert_ne!(exit, Exit::LeftBehind, "{}", built.said);
    }
    let after = account.inventory().await;
    match &built.image {
        Some(image) => {
            assert_one_image_more(&before, &after);
            assert_eq!(after["images"], [image.id.as_str()], "{}", built.said);
            assert_released(&account).await;
        }
        None => assert_eq!(after, before, "{}", built.said),
    }
}

/// Insists that what is there now is named, by its id or its run. Volumes and interfaces go with
/// their instance, snapshots with a finished image.
fn assert_named(before: &Inventory, now: &Inventory, build: &Build<'_>, built: &Built) {
    let image = built.image.as_ref().map(|image| &image.id);
    for (kind, noun) in [
        ("instances", "instance"),
        ("images", "image"),
        ("snapshots", "snapshot"),
        ("security_groups", "security group"),
    ] {
        let new = now[kind].iter().filter(|id| !before[kind].contains(id));
        for id in new.filter(|id| Some(*id) != image) {
            let run = build.plan.run.as_str();
            let is_it = |what: &str| what.contains(id) || what.contains(noun) && what.contains(run);
            let named = built.left_behind().iter().any(|(what, _)| is_it(what));
            let with_image = kind == "snapshots" && image.is_some();
            assert!(named || with_image, "{id} is not named: {}", built.said);
        }
    }
}

async fn killed(case: &Case, account: &Account, before: &Inventory) {
    let process = Process::build(account, PACE).held(account).await;
    process.kill().await;
    account.release().await;
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    reap(account).await;
    let after = account.inventory().await;
    // The second CreateTags releases the image, and what comes later is no longer its end.
    let released = match (case.action, case.nth) {
        ("CreateTags", 2) => case.fault != Fault::KilledBefore,
        ("ModifyImageAttribute" | "DeleteSecurityGroup", _) => true,
        _ => false,
    };
    if released || (after != *before && is_teardown(case)) {
        assert_one_image_more(before, &after);
        assert_released(account).await;
    } else {
        assert_eq!(after, *before);
    }
}

/// Insists that the account's image is released to the end: whoever can write tags could have
/// `reap` remove one that is still described as a run's.
async fn assert_released(account: &Account) {
    let id = account.inventory().await["images"][0].clone();
    assert_eq!(account.description(&id).await, "web, baked by amibake");
}

/// Returns whether the call may come after the image was released.
fn is_teardown(case: &Case) -> bool {
    matches!(
        (case.action, case.nth),
        ("TerminateInstances", 2..) | ("DescribeInstances", 5..)
    )
}

/// Reaps what dead runs of this account and this host have left.
async fn reap(account: &Account) {
    account.control("expire", json!({})).await;
    amibake(account, &["reap", "--region", REGION], 0).await;
}
