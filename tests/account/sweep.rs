//! Every call of a build goes wrong in every way there is, and the account is as before; or it has
//! one released image more, where the build came through.
//!
//! The table of calls is checked against what a build asks, so that a new call needs its cases.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::build::{Build, Built};
use super::cases;
use super::child::{LEAPING, Process};
use super::http::leap_past_silence;
use super::server::{Account, Inventory, REGION, assert_one_image_more};
use crate::clock::leaping;
use crate::exit::{Exit, Failure};

/// What a build asks that changes something, and how often.
const CHANGES: [(&str, u32); 10] = [
    ("AuthorizeSecurityGroupIngress", 1),
    ("CreateImage", 1),
    ("CreateLaunchTemplate", 1),
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
const REPEATED: [(&str, u32); 13] = [
    // As often as a minute of the fast clock passes, and once more before the image is registered.
    ("CreateLaunchTemplateVersion", 1),
    ("DeleteLaunchTemplate", 1),
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
pub(super) enum Fault {
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
    /// What the call names was made so recently that EC2 does not know it, three times.
    Unknown,
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

    /// Returns whether it lasts for as long as anybody asks, and EC2 answers nothing.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::NeverAnswered | Self::DoneNeverAnswered)
    }

    /// Returns whether it comes to a call that EC2 has done.
    pub(super) fn comes_after(self) -> bool {
        matches!(
            self,
            Self::LostThenExpired | Self::DoneNeverAnswered | Self::Lost | Self::KilledAfter
        )
    }

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
            | Self::Unknown
            | Self::NeverAnswered
            | Self::Lost
            | Self::KilledBefore => false,
        }
    }

    /// Returns whether what removes something may be refused for good: then that is named.
    pub(super) fn may_leave(self) -> bool {
        let lasts = matches!(self, Self::Broken | Self::Denied | Self::Expired);
        lasts || self == Self::LostThenExpired
    }

    pub(super) fn kills(self) -> bool {
        matches!(
            self,
            Self::KilledBefore | Self::KilledDuring | Self::KilledAfter
        )
    }

    /// Returns what to ask of the test EC2 for the `nth` call of an action.
    fn order(self, action: &str, nth: u32) -> Json {
        let order = |kind: &str, more: Json| {
            let mut order = json!({"action": action, "kind": kind, "nth": nth});
            let fields = order.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            order
        };
        match self {
            Self::Throttled => order("throttle", json!({"times": 8})),
            Self::BrokenTwice => order("error", json!({"times": 2})),
            Self::Broken => order("error", json!({"times": 9999})),
            Self::Denied => order("denied", json!({"times": 9999})),
            Self::LostThenExpired => order("expired-token", json!({"done": true})),
            Self::Expired => order("expired-token", json!({"times": 9999})),
            Self::Unknown => {
                let code = unknown(action).unwrap_or_default();
                let times = json!({"code": code, "times": 3, "status": 400});
                order("error", times)
            }
            Self::NeverAnswered => order("hang", json!({"times": 5})),
            Self::DoneNeverAnswered => order("hang", json!({"times": 5, "done": true})),
            Self::Lost => order("lost", json!({})),
            Self::KilledBefore => order("hang", json!({"times": 9})),
            Self::KilledDuring => order("hold-before", json!({"seconds": 600})),
            Self::KilledAfter => order("hold", json!({"seconds": 600})),
        }
    }
}

/// Returns EC2's code for what a call names and what was made just before it, if it names such a thing.
fn unknown(action: &str) -> Option<&'static str> {
    Some(match action {
        "AuthorizeSecurityGroupIngress" => "InvalidGroup.NotFound",
        "CopyImage"
        | "CreateTags"
        | "DescribeImageAttribute"
        | "EnableImageDeprecation"
        | "EnableImageDeregistrationProtection"
        | "ModifyImageAttribute" => "InvalidAMIID.NotFound",
        "DescribeSnapshotAttribute" | "ModifySnapshotAttribute" | "RegisterImage" => {
            "InvalidSnapshot.NotFound"
        }
        "ModifyLaunchTemplate" => "InvalidLaunchTemplateId.VersionNotFound",
        _ => return None,
    })
}

/// A call, as far as a fault is to find it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) action: &'static str,
    /// Where: anywhere, if that is not said.
    pub(super) region: Option<&'static str>,
    /// How the name of one of its parameters begins.
    pub(super) having: &'static str,
}

impl Asked {
    /// Returns a call of an action, wherever.
    pub(super) fn of(action: &'static str) -> Self {
        Self {
            action,
            region: None,
            having: "",
        }
    }
}

/// One call that goes wrong.
#[derive(Debug, Clone)]
pub(super) struct Case {
    asked: Asked,
    nth: u32,
    pub(super) fault: Fault,
    /// Whether what was killed has lost its journals too: a runner of CI that is gone.
    pub(super) loses_journals: bool,
}

impl Case {
    /// Returns the one in which the credentials have expired from the nth call of all on.
    pub(super) fn expired(nth: u32) -> Self {
        Self {
            asked: Asked::of(ANY),
            nth,
            fault: Fault::Expired,
            loses_journals: false,
        }
    }

    /// Returns what is asked and how that goes wrong, in words.
    pub(super) fn kind(&self) -> String {
        let Self { asked, fault, .. } = self;
        format!("{} {fault:?} {}", asked.action, self.loses_journals)
    }

    /// Returns whether it is a call of the same action that goes wrong.
    pub(super) fn is_of(&self, asked: Asked) -> bool {
        self.asked.action == asked.action
    }

    /// Has it go wrong in an account.
    pub(super) async fn go_wrong(&self, account: &Account) {
        let mut order = self.fault.order(self.asked.action, self.nth);
        order["having"] = self.asked.having.into();
        if let Some(region) = self.asked.region {
            order["region"] = region.into();
        }
        account.control("fault", order).await;
    }
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
            cases.extend(cases_of(Asked::of(action), nth));
        }
    }
    cases.extend((1..=CALLS).map(Case::expired));
    cases
}

/// Returns the ways in which one call goes wrong.
pub(super) fn cases_of(asked: Asked, nth: u32) -> impl Iterator<Item = Case> {
    let action = asked.action;
    let faults = Fault::OF_EACH_CALL.into_iter();
    let faults = faults.filter(move |fault| is_change(action) || !fault.is_for_changes());
    faults.flat_map(move |fault| {
        // What was killed in a look has the journal that it had in the change before.
        let without = fault.kills() && is_change(action);
        let with = std::iter::once(false).chain(without.then_some(true));
        with.map(move |loses_journals| Case {
            asked,
            nth,
            fault,
            loses_journals,
        })
    })
}

/// Returns the one in which a call names what EC2 does not know yet, if it names what was just made.
pub(super) fn unknown_in(asked: Asked, nth: u32) -> Option<Case> {
    unknown(asked.action).map(|_| Case {
        asked,
        nth,
        fault: Fault::Unknown,
        loses_journals: false,
    })
}

/// Returns whether a call has its cases here.
pub(super) fn is_swept(action: &str) -> bool {
    let mut all = CHANGES.iter().chain(&REPEATED);
    all.any(|(swept, _)| *swept == action)
}

pub(super) fn is_change(action: &str) -> bool {
    !action.starts_with("Describe") && !action.starts_with("Get")
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_build_asks_what_is_swept() {
    leaping::run(asks_what_is_swept());
}

async fn asks_what_is_swept() {
    let account = Account::open_for_case(&[REGION]).await;
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

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn whatever_call_goes_wrong_and_how_the_account_is_as_before() {
    let swept = cases::sweep("fault sweep", cases(), |case, _| {
        try_case(case).boxed_local()
    });
    println!("{}", swept.told);
    swept.insist();
}

async fn try_case(case: &Case) {
    let account = Account::open_for_case(&[REGION]).await;
    let before = account.inventory().await;
    case.go_wrong(&account).await;
    if case.fault.kills() {
        return killed(case, &account, &before).await;
    }
    let build = Build::of(&account);
    let built = past_silence(&account, case.fault, build.run()).await;
    account.assert_all_hit().await;
    let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
    let left = account.inventory().await;
    let kept = kept(&built);
    if exit == Exit::LeftBehind && (case.fault.may_leave() || kept.is_some()) {
        assert_named(&before, &left, &build, &built);
        account.control("clear", json!({})).await;
        if let Some(image) = &kept {
            build.publish(image).await.ended(Exit::Done);
        }
        reap(&account).await;
    } else {
        assert_ne!(exit, Exit::LeftBehind, "{}", built.said);
    }
    let after = account.inventory().await;
    if let Some(image) = &built.image {
        assert_eq!(after["images"], [image.id.as_str()], "{}", built.said);
    }
    if built.image.is_some() || kept.is_some() {
        assert_one_image_more(&before, &after);
        assert_released(&account).await;
    } else {
        assert_eq!(after, before, "{}", built.said);
    }
}

/// Does some work, past calls that are never answered where the fault is such a one.
pub(super) async fn past_silence<T>(
    account: &Account,
    fault: Fault,
    work: impl Future<Output = T>,
) -> T {
    if !fault.is_silent() {
        return work.await;
    }
    tokio::select! {
        // Whoever is woken by a leap has something to do before the next.
        biased;
        done = work => done,
        never = leap_past_silence(account) => match never {},
    }
}

/// Returns the image that has passed and is named as what `resume` goes on with.
fn kept(built: &Built) -> Option<String> {
    let left = built.left_behind();
    let mut resumed = left.into_iter().filter_map(|(what, remedy)| {
        assert_eq!(
            what.contains("has passed"),
            remedy.starts_with("amibake resume")
        );
        let words = remedy.strip_prefix("amibake resume")?.split(' ');
        words.into_iter().find(|word| word.starts_with("ami-"))
    });
    resumed.next().map(str::to_owned)
}

/// Insists that what is there now is named, by its id or its run. Volumes and interfaces go with
/// their instance, snapshots with a finished image.
fn assert_named(before: &Inventory, now: &Inventory, build: &Build<'_>, built: &Built) {
    let image = built.image.as_ref().map(|image| image.id.clone());
    let image = image.or_else(|| kept(built));
    for (kind, noun) in [
        ("instances", "instance"),
        ("images", "image"),
        ("snapshots", "snapshot"),
        ("security_groups", "security group"),
        ("launch_templates", "lock"),
    ] {
        let new = now[kind].iter().filter(|id| !before[kind].contains(id));
        for id in new.filter(|id| Some(*id) != image.as_ref()) {
            let run = build.plan.run.as_str();
            let is_it = |what: &str| what.contains(id) || what.contains(noun) && what.contains(run);
            let named = built.left_behind().iter().any(|(what, _)| is_it(what));
            let with_image = kind == "snapshots" && image.is_some();
            assert!(named || with_image, "{id} is not named: {}", built.said);
        }
    }
}

async fn killed(case: &Case, account: &Account, before: &Inventory) {
    let process = Process::build(account, LEAPING).held(account).await;
    process.kill().await;
    account.release().await;
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    if case.loses_journals {
        std::fs::remove_dir_all(account.state_folder()).unwrap();
    }
    reap(account).await;
    let after = account.inventory().await;
    // The second CreateTags releases the image, and what comes later is no longer its end.
    let released = match (case.asked.action, case.nth) {
        ("CreateTags", 2) => case.fault != Fault::KilledBefore,
        ("ModifyImageAttribute" | "DeleteSecurityGroup" | "DeleteLaunchTemplate", _) => true,
        _ => false,
    };
    if released || (after != *before && is_teardown(case)) {
        assert_one_image_more(before, &after);
        assert_released(account).await;
    } else {
        assert_eq!(after, *before);
    }
}

/// Returns whether that is what a released image says.
fn is_final(described: &str) -> bool {
    let content = described.strip_prefix("web, baked by amibake [amibake content ");
    content.is_some_and(|rest| rest.len() == 41 && rest.ends_with(']'))
}

/// Insists that the account's image is released to the end: whoever can write tags could have
/// `reap` remove one that is still described as a run's.
async fn assert_released(account: &Account) {
    let id = account.inventory().await["images"][0].clone();
    let described = account.description(&id).await;
    assert!(is_final(&described), "{described}");
}

/// Returns whether the call may come after the image was released.
fn is_teardown(case: &Case) -> bool {
    matches!(
        (case.asked.action, case.nth),
        ("TerminateInstances", 2..) | ("DescribeInstances", 5..)
    )
}

/// Reaps what dead runs of this account and this host have left.
async fn reap(account: &Account) {
    account.control("expire", json!({})).await;
    Build::of(account).reap().await;
}
