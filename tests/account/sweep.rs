//! Every call of a build goes wrong in every way there is, and the account is as before; or it has
//! one released image more, where the build came through.
//!
//! The cases are those of a recorded build, so that a new call has its own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::build::{Build, Built, client};
use super::cases;
use super::child::{LEAPING, Process};
use super::http::leap_past_silence;
use super::server::{Account, Call, Inventory, REGION, assert_one_image_more};
use crate::clock::leaping;
use crate::exit::{Exit, Failure};
use crate::targets::Publisher;

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
    /// What the call names was made so recently that EC2 does not know it, three times: its code.
    Unknown(&'static str),
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
            | Self::Unknown(_)
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

    /// Returns whether it is over before anybody gives up: then nothing is lost by it.
    pub(super) fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::BrokenTwice | Self::Unknown(_) | Self::Lost
        )
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
            Self::Unknown(code) => {
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

/// A call, as far as a fault is to find it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) action: Cow<'static, str>,
    /// Where: anywhere, if that is not said.
    pub(super) region: Option<&'static str>,
    /// How the name of one of its parameters begins.
    pub(super) having: &'static str,
}

impl Asked {
    /// Returns a call of an action, wherever.
    pub(super) const fn of(action: Cow<'static, str>) -> Self {
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
            asked: Asked::of(Cow::Borrowed(ANY)),
            nth,
            fault: Fault::Expired,
            loses_journals: false,
        }
    }

    /// Returns what is asked and how that goes wrong, in words. Where the credentials have expired, each is another
    /// call's, and two of them are of a kind.
    pub(super) fn kind(&self) -> String {
        let Self { asked, fault, .. } = self;
        let place = match fault {
            Fault::Expired => self.nth / 2,
            _ => 0,
        };
        format!("{} {fault:?} {} {place}", asked.action, self.loses_journals)
    }

    /// Returns whether it is a call of the same action that goes wrong.
    pub(super) fn is_of(&self, asked: &Asked) -> bool {
        self.asked.action == asked.action
    }

    /// Has it go wrong in an account.
    pub(super) async fn go_wrong(&self, account: &Account) {
        let mut order = self.fault.order(&self.asked.action, self.nth);
        order["having"] = self.asked.having.into();
        if let Some(region) = self.asked.region {
            order["region"] = region.into();
        }
        account.control("fault", order).await;
    }
}

/// Any call.
pub(super) const ANY: &str = "*";

/// How ids begin, and EC2's code for one that it does not know.
const UNKNOWN: [(&str, &str); 5] = [
    ("ami-", "InvalidAMIID.NotFound"),
    ("i-", "InvalidInstanceID.NotFound"),
    ("lt-", "InvalidLaunchTemplateId.NotFound"),
    ("sg-", "InvalidGroup.NotFound"),
    ("snap-", "InvalidSnapshot.NotFound"),
];

/// What some work asked where all went well.
pub(super) struct Recording {
    pub(super) calls: Vec<Call>,
    /// Ids of what was there before.
    known: BTreeSet<String>,
}

impl Recording {
    /// Records what some work asks of an account.
    pub(super) async fn of(account: &Account, work: impl Future<Output = ()>) -> Self {
        let inventory = account.inventory().await;
        let mut known: BTreeSet<String> = inventory.into_values().flatten().collect();
        let others = client(account).await.describe_images();
        let others = others.owners("099720109477").send().await.unwrap();
        let others = others.images.unwrap_or_default().into_iter();
        known.extend(others.filter_map(|image| image.image_id));
        account.control("calls/clear", json!({})).await;
        work.await;
        let calls = account.calls().await;
        Self { calls, known }
    }

    /// Returns the calls of a kind, in order.
    pub(super) fn of_kind(&self, asked: &Asked) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.is(asked)).collect()
    }

    /// Returns the ways in which the nth call of a kind goes wrong.
    pub(super) fn cases_of(&self, asked: &Asked, nth: u32) -> Vec<Case> {
        let (all, at) = (self.of_kind(asked), nth as usize);
        let done = all.iter().filter(|call| call.answer == "ok").count();
        let is_change = is_change(&asked.action);
        let unknown = self.unknown_to(all[at - 1]);
        let unknown = unknown.into_iter().map(Fault::Unknown);
        let mut faults: Vec<Fault> = Fault::OF_EACH_CALL.into_iter().chain(unknown).collect();
        faults.retain(|fault| is_change || !fault.is_for_changes());
        // What comes after a call counts those that were done.
        faults.retain(|fault| !fault.comes_after() || at <= done);
        let mut cases = Vec::new();
        for fault in faults {
            // What was killed in a look has the journal that it had in the change before.
            let without = fault.kills() && is_change;
            let with = std::iter::once(false).chain(without.then_some(true));
            cases.extend(with.map(|loses_journals| Case {
                asked: asked.clone(),
                nth,
                fault,
                loses_journals,
            }));
        }
        cases
    }

    /// Returns EC2's codes for what a call names and this work has made: parts of EC2 may not have heard of it.
    fn unknown_to(&self, call: &Call) -> BTreeSet<&'static str> {
        // What a filter names is not listed, a template's and a parameter's image is looked at by others.
        let is_asked_for = |name: &str| {
            !["Filter.", "LaunchTemplateData.", "Value"]
                .iter()
                .any(|other| name.starts_with(other))
        };
        let named = call
            .params
            .iter()
            .filter(|(name, id)| is_asked_for(name) && !self.known.contains(*id));
        // A description may begin with one.
        let named = named.filter(|(_, id)| !id.contains(' '));
        let code = |id: &String| UNKNOWN.iter().find(|(begin, _)| id.starts_with(begin));
        let mut codes: BTreeSet<_> = named.filter_map(|(_, id)| Some(code(id)?.1)).collect();
        if call.action == "ModifyLaunchTemplate" {
            codes.insert("InvalidLaunchTemplateId.VersionNotFound");
        }
        codes
    }

    /// Returns where the image is released.
    fn release(&self) -> usize {
        let releases = |call: &Call| {
            call.action == "CreateTags" && call.params.values().any(|value| value == "released")
        };
        self.calls.iter().position(releases).unwrap()
    }

    /// Returns when the nth call of an action comes.
    fn when(&self, asked: &Asked, nth: u32) -> When {
        let places = self.calls.iter().enumerate();
        let places = places.filter(|(_, call)| call.is(asked));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let release = self.release();
        // How often is looked is not always the same.
        if !is_change(&asked.action) {
            let is_before = |place: &usize| *place < release;
            return match (places.iter().all(is_before), places.iter().any(is_before)) {
                (true, _) => When::Before,
                (false, false) => When::After,
                (false, true) => When::Either,
            };
        }
        match places[nth as usize - 1].cmp(&release) {
            Ordering::Less => When::Before,
            Ordering::Equal => When::Release,
            Ordering::Greater => When::After,
        }
    }
}

/// When a call comes, by the one that releases the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    Release,
    After,
    /// Some of its action come before, others after.
    Either,
}

/// Records a build whose account takes no time for what it does: nothing is looked for more often than it must.
pub(super) async fn recorded() -> Recording {
    let account = Account::open_for_case(&[REGION]).await;
    let at_once = json!({"image": 0.0, "interface": 0.0});
    account.control("delays", at_once).await;
    Recording::of(&account, async {
        Build::of(&account).run().await.ended(Exit::Done);
    })
    .await
}

/// How far snapshots are is asked beside a wait, or not once: how often a build asks them at least.
const SNAPSHOTS: u32 = 1;

/// Returns how often an action is asked in all of them: what has to be asked until it is done counts once.
fn times_in_all(recordings: &[Recording], asked: &Asked) -> u32 {
    let counts = |call: &&&Call| !is_change(&asked.action) || call.answer == "ok";
    let times = |recording: &Recording| recording.of_kind(asked).iter().filter(counts).count();
    let least = recordings.iter().map(times).min();
    let least = u32::try_from(least.unwrap_or_default()).unwrap();
    match &*asked.action {
        "DescribeSnapshots" => least.min(SNAPSHOTS),
        _ => least,
    }
}

/// Returns all cases of a build that was recorded more than once.
fn cases(recordings: &[Recording]) -> Vec<(Case, When)> {
    let recording = &recordings[0];
    let calls = recording.calls.iter();
    let actions: BTreeSet<&str> = calls.map(|call| call.action.as_str()).collect();
    let (mut cases, mut sure) = (Vec::new(), 0);
    for action in actions {
        let asked = Asked::of(Cow::Owned(action.to_owned()));
        let times = times_in_all(recordings, &asked);
        sure += times;
        for nth in 1..=times {
            let when = recording.when(&asked, nth);
            let here = recording.cases_of(&asked, nth).into_iter();
            cases.extend(here.map(|case| (case, when)));
        }
    }
    cases.extend((1..=sure).map(|nth| (Case::expired(nth), When::Either)));
    cases
}

pub(super) fn is_change(action: &str) -> bool {
    !action.starts_with("Describe") && !action.starts_with("Get")
}

fn recorded_twice() -> [Recording; 2] {
    [(); 2].map(|()| leaping::run(Box::pin(recorded())))
}

/// Otherwise a case of one build would not be met in another.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_build_changes_the_same_each_time() {
    let changed = recorded_twice().map(|recording| {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for call in recording.calls {
            if is_change(&call.action) && call.answer == "ok" {
                *times.entry(call.action).or_default() += 1;
            }
        }
        times
    });
    let [one, other] = changed;
    assert_eq!(one, other);
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn whatever_call_goes_wrong_and_how_the_account_is_as_before() {
    let all = cases::a_part(cases(&recorded_twice()), |(case, _)| case.kind());
    let swept = cases::sweep("fault sweep", all, |(case, when), _| {
        try_case(case, *when).boxed_local()
    });
    println!("{}", swept.told);
    swept.insist();
}

async fn try_case(case: &Case, when: When) {
    let account = Account::open_for_case(&[REGION]).await;
    let before = account.inventory().await;
    case.go_wrong(&account).await;
    if case.fault.kills() {
        return killed(case, when, &account, &before).await;
    }
    let build = Build::of(&account);
    let built = past_silence(&account, case.fault, build.run()).await;
    account.assert_all_hit().await;
    let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
    if case.fault.is_passing() {
        assert_eq!(exit, Exit::Done, "{}", built.said);
    }
    let left = account.inventory().await;
    let kept = kept(&built);
    if exit == Exit::LeftBehind && (case.fault.may_leave() || kept.is_some()) {
        assert_named(&before, &left, &build, &built);
        account.control("clear", json!({})).await;
        if let Some(image) = &kept {
            let resume = Build::of(&account);
            let resumed = resume.publish_by(Publisher::Resume, image).await;
            resumed.ended(Exit::Done);
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

async fn killed(case: &Case, when: When, account: &Account, before: &Inventory) {
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
    let is_released = match when {
        When::Before => false,
        When::Release => case.fault != Fault::KilledBefore,
        When::After => true,
        When::Either => after != *before,
    };
    if is_released {
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

/// Reaps what dead runs of this account and this host have left.
async fn reap(account: &Account) {
    account.control("expire", json!({})).await;
    Build::of(account).reap().await;
}
