//! The policy that `iam-policy` prints is enough for a build, and each action in it is needed: without
//! it `preflight` says so, and a build fails cleanly with its name.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value as Json, json};

use super::build::{Build, Built, keys_in, make_key};
use super::child::amibake;
use super::nothing_twice::another_second;
use super::publish::OTHER;
use super::server::{Account, Inventory, REGION, assert_one_image_more};
use crate::exit::{Exit, Failure};
use crate::targets::ec2::{Check, Purpose, Verdict, iam_policy};

/// How many builds are under way at a time.
const AT_ONCE: usize = 12;

/// Without these a build that goes well goes as well: the first two are for one that fails or whose
/// answers are lost, the last is missed for one of the two parameters that Canonical's image may be in.
const NOT_MISSED: [&str; 3] = [
    "ec2:DeleteSnapshot",
    "ec2:DescribeSecurityGroups",
    "ssm:GetParameter",
];

/// The same of one that publishes: these take back what was done, or change what is there, and the last is
/// for a lock of which only the name is known.
const NOT_MISSED_PUBLISHING: [&str; 4] = [
    "ec2:DeleteLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DisableImageDeregistrationProtection",
    "ssm:DeleteParameter",
];

/// Actions that another statement allows too, if the policy has that one: `preflight` has nothing to say without
/// them in this one, and the build goes well.
const ALLOWED_TWICE: [(&str, &str); 4] = [
    ("ec2:CopyImage", "MakeTagged"),
    ("ec2:CreateLaunchTemplateVersion", "ChangeOwn"),
    ("kms:DescribeKey", "EncryptByEc2"),
    ("kms:DescribeKey", "Key"),
];

/// What a build has that uses all that it may: `builder:` in the manifest. None is to fail since this machine is slow.
const MORE: &str = ", instance_profile: builder, tags: {CostCenter: '17'}, timeouts: {total: 6h}";

/// What a manifest wants, and the account that it is for.
#[derive(Debug, Clone)]
struct Wanted {
    image: String,
}

impl Wanted {
    /// Opens an account that has what the manifest names: a profile, and where it publishes a key and a launch
    /// template in each region.
    async fn account(&self) -> Account {
        let account = match self.image.is_empty() {
            true => Account::open().await,
            false => super::publish::account().await,
        };
        account.make_profile("builder").await;
        for region in [REGION, OTHER] {
            if self.image.is_empty() {
                continue;
            }
            let kms = keys_in(&account, region).await;
            make_key(&kms, "alias/ami").await;
        }
        account
    }

    fn build<'a>(&self, account: &'a Account) -> Build<'a> {
        Build::whole(account, MORE, &self.image)
    }
}

async fn policy_of(build: &Build<'_>, is_minimal: bool) -> Json {
    let plans = [build.plan.clone()];
    let policy = iam_policy(&plans, &[Purpose::Build, Purpose::Preflight], is_minimal)
        .await
        .unwrap();
    serde_json::from_str(&policy.document).unwrap()
}

pub(super) async fn set(account: &Account, policy: &Json) {
    account.control("ways", json!({"policy": policy})).await;
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_policy_is_enough_for_a_build_and_the_minimal_one_too() {
    let _pace = super::fast();
    for (is_minimal, more) in [
        (false, ""),
        (false, MORE),
        (true, ""),
        (true, ", subnet: SUBNET"),
    ] {
        let account = Account::open().await;
        account.make_profile("builder").await;
        let more = more.replace("SUBNET", &account.a_subnet().await);
        let build = Build::with(&account, &more);
        set(&account, &policy_of(&build, is_minimal).await).await;
        let before = account.inventory().await;
        let built = build.run().await.ended(Exit::Done);
        assert_one_image_more(&before, &account.inventory().await);
        assert_eq!(
            is_minimal,
            built.said.contains("final name before"),
            "{}",
            built.said
        );
        assert_eq!(refusals(&account).await.is_empty(), !is_minimal);
    }
}

/// Returns the calls that were refused.
async fn refusals(account: &Account) -> Vec<Json> {
    let calls = account.control("calls", json!({})).await;
    let calls = calls.as_array().unwrap().iter();
    let refused = calls.filter(|call| call["answer"] == "UnauthorizedOperation");
    refused.cloned().collect()
}

/// One action less in one statement.
struct Case {
    action: String,
    sid: String,
    policy: Json,
    is_needed: bool,
}

impl Case {
    fn is_allowed_twice(&self) -> bool {
        let is_this =
            |known: &(&str, &str)| self.action == known.0 && self.sid.starts_with(known.1);
        ALLOWED_TWICE.iter().any(is_this) && allows(&self.policy, &self.action)
    }
}

/// Returns whether any statement has the action.
fn allows(policy: &Json, action: &str) -> bool {
    let mut statements = policy["Statement"].as_array().unwrap().iter();
    statements.any(|statement| {
        statement["Action"]
            .as_array()
            .unwrap()
            .contains(&json!(action))
    })
}

/// Returns the policy without each of its actions.
async fn cases(build: &Build<'_>) -> Vec<Case> {
    let whole = policy_of(build, false).await;
    let minimal = policy_of(build, true).await;
    let mut cases = Vec::new();
    for (number, statement) in whole["Statement"].as_array().unwrap().iter().enumerate() {
        for (place, action) in statement["Action"].as_array().unwrap().iter().enumerate() {
            let mut policy = whole.clone();
            let actions = policy["Statement"][number]["Action"]
                .as_array_mut()
                .unwrap();
            actions.remove(place);
            cases.push(Case {
                action: action.as_str().unwrap().to_owned(),
                sid: statement["Sid"].as_str().unwrap().to_owned(),
                policy,
                is_needed: allows(&minimal, action.as_str().unwrap()),
            });
        }
    }
    cases
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn without_any_one_action_of_it_preflight_says_so_and_a_build_ends_cleanly() {
    let image = String::new();
    let told = try_without_each(&Wanted { image }, 40, &NOT_MISSED).await;
    println!("{told}");
}

/// In two regions, encrypted by a customer's key. PEERS2026 2.2 row 26: what a key needs is told.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn without_any_one_action_of_it_a_publication_ends_cleanly_too() {
    let image = super::publish::everything();
    let not_missed = [&NOT_MISSED[..], &NOT_MISSED_PUBLISHING].concat();
    let told = try_without_each(&Wanted { image }, 60, &not_missed).await;
    println!("{told}");
}

async fn try_without_each(wanted: &Wanted, least: usize, not_missed: &[&str]) -> String {
    let _pace = super::fast();
    let first = wanted.account().await;
    let build = wanted.build(&first);
    set(&first, &policy_of(&build, false).await).await;
    build.run().await.ended(Exit::Done);
    let cases = cases(&build).await;
    let count = cases.len();
    assert!(count > least, "{count}");
    let trying = cases.iter().map(|case| {
        let name = format!("{} of {}", case.action, case.sid);
        (name, try_without(wanted, case))
    });
    let (went_well, wrong) = tried(trying, AT_ONCE).await;
    let told = format!(
        "policy: {count} builds with one action less, {} wrong",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let not_missed = not_missed.iter().map(|action| (*action).to_owned());
    assert_eq!(went_well, not_missed.collect(), "these are not needed");
    told
}

/// Goes through attempts, so many at once, each with its name; returns what they return, and what went wrong.
pub(super) async fn tried<F>(
    attempts: impl Iterator<Item = (String, F)>,
    at_once: usize,
) -> (BTreeSet<String>, Vec<String>)
where
    F: Future<Output = Option<String>>,
{
    let trying = attempts.map(|(name, attempt)| async move {
        let outcome = AssertUnwindSafe(Box::pin(attempt)).catch_unwind().await;
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            format!("{name}: {text}")
        })
    });
    let outcomes: Vec<Result<Option<String>, String>> = futures_util::stream::iter(trying)
        .buffer_unordered(at_once)
        .collect()
        .await;
    let (mut went_well, mut wrong) = (BTreeSet::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(action) => went_well.extend(action),
            Err(why) => wrong.push(why),
        }
    }
    (went_well, wrong)
}

/// Looks and builds with one action less; returns the action if it was needed and not missed.
async fn try_without(wanted: &Wanted, case: &Case) -> Option<String> {
    let account = wanted.account().await;
    let before = account.inventory().await;
    let build = wanted.build(&account);
    set(&account, &case.policy).await;
    let checks = build.preflight().await;
    match case.is_allowed_twice() {
        false => assert!(is_foreseen(case, &checks), "not foreseen: {checks:#?}"),
        true => assert!(!is_foreseen(case, &checks), "foreseen: {checks:#?}"),
    }
    assert_eq!(account.inventory().await, before, "it has made something");

    let built = build.run().await;
    let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
    let after = account.inventory().await;
    set(&account, &Json::Null).await;
    match exit {
        Exit::Done => {
            assert_made(wanted, &before, &after);
            let is_missed = case.is_needed && !case.is_allowed_twice();
            return is_missed.then(|| case.action.clone());
        }
        _ if case.is_allowed_twice() => panic!("it is missed: {}", built.said),
        Exit::Failed => assert_eq!(after, before, "{}", built.said),
        Exit::LeftBehind => {
            account.control("expire", json!({})).await;
            amibake(&account, &["reap"], 0).await;
            let after = account.inventory().await;
            match &built.image {
                // Of a region that could not be finished nothing stays.
                Some(_) if !wanted.image.is_empty() => {
                    assert_eq!(after["instances"], before["instances"]);
                }
                Some(_) => assert_made(wanted, &before, &after),
                None if wanted.image.is_empty() => assert_eq!(after, before, "{}", built.said),
                None => assert_home_is_free(&account, &built).await,
            }
        }
        other => panic!("{other:?}: {}", built.said),
    }
    assert!(case.is_needed, "it was said to be optional: {}", built.said);
    assert_named(case, &built);
    None
}

/// Insists that there is an image, in each of its regions, and nothing else that is temporary.
fn assert_made(wanted: &Wanted, before: &Inventory, after: &Inventory) {
    if wanted.image.is_empty() {
        return assert_one_image_more(before, after);
    }
    for (kind, had) in before {
        let more = match kind.as_str() {
            "images" | "snapshots" | "parameters" | "template_versions" => 2,
            _ => 0,
        };
        assert_eq!(after[kind].len(), had.len() + more, "{kind}: {after:?}");
    }
}

/// Insists that nothing is left where the image was made.
async fn assert_home_is_free(account: &Account, built: &Built) {
    let home = super::publish::images(account, REGION).await;
    assert!(home.is_empty(), "{home:?}: {}", built.said);
    let parameter = super::publish::parameter(account, REGION).await;
    assert_eq!(parameter, None, "{}", built.said);
    let now = account.inventory().await;
    assert!(now["instances"].is_empty(), "{}", built.said);
}

/// Returns whether `preflight` fails by a needed action, and warns of another or lists it as not checked, by
/// its name.
fn is_foreseen(case: &Case, checks: &[Check]) -> bool {
    let wanted: &[Verdict] = match case.is_needed {
        true => &[Verdict::Failed],
        false => &[Verdict::Warning, Verdict::NotChecked],
    };
    let bare = case.action.rsplit(':').next().unwrap();
    let mut named = checks.iter();
    named.any(|c| wanted.contains(&c.verdict) && c.detail.contains(bare))
}

fn assert_named(case: &Case, built: &Built) {
    let bare = case.action.rsplit(':').next().unwrap();
    assert!(built.said.contains(bare), "not named: {}", built.said);
}

/// PEERS2026 2.2 row 28: an organisation that demands a tag of all that is made, at the moment it is made.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn all_that_a_build_makes_has_the_builder_s_tags_from_the_first_moment() {
    let _pace = super::fast();
    let account = Account::open().await;
    let demanded = json!({"demanded_tags": ["CostCenter"]});
    account.control("ways", demanded).await;
    let before = account.inventory().await;
    let bare = Build::of(&account);
    let checks = bare.preflight().await;
    let denied = |call: &str| {
        let told = |c: &&Check| c.verdict == Verdict::Failed && c.detail.contains(call);
        let check = checks.iter().find(told);
        check
            .unwrap_or_else(|| panic!("{checks:#?}"))
            .detail
            .clone()
    };
    assert!(denied("ec2:CreateSecurityGroup").contains("security-group; a policy"));
    assert!(denied("ec2:RunInstances").contains("instance, network-interface, volume"));
    let built = bare.run().await.ended(Exit::Failed);
    assert!(built.said.contains("explicit deny"), "{}", built.said);
    assert_eq!(account.inventory().await, before);

    let tagged = Build::with(&account, ", tags: {CostCenter: '17'}");
    assert!(
        tagged
            .preflight()
            .await
            .iter()
            .all(|c| c.verdict != Verdict::Failed)
    );
    tagged.run().await.ended(Exit::Done);
    assert_one_image_more(&before, &account.inventory().await);
}

/// One kind of thing at a time must have the tag.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_tag_that_is_demanded_of_one_kind_of_thing_is_there_and_missed_by_its_name() {
    let _pace = super::fast();
    let kinds = [
        ("instance", "RunInstances"),
        ("volume", "RunInstances"),
        ("network-interface", "RunInstances"),
        ("security-group", "CreateSecurityGroup"),
        ("security-group-rule", "AuthorizeSecurityGroupIngress"),
        ("image", "CreateImage"),
        ("snapshot", "CreateImage"),
        ("launch-template", "CreateLaunchTemplate"),
        ("parameter", "PutParameter"),
    ];
    for (kind, call) in kinds {
        let account = super::publish::account().await;
        let demanded = json!({"demanded_tags": ["CostCenter"], "demanded_of": [kind]});
        account.control("ways", demanded).await;
        let before = account.inventory().await;
        let image = super::publish::everything();
        let built = Build::publishing(&account, &image).run().await;
        assert!(built.said.contains(call), "{kind}: {}", built.said);
        assert!(
            built.said.contains("explicit deny"),
            "{kind}: {}",
            built.said
        );
        match kind {
            // A lock is a courtesy.
            "launch-template" => _ = built.ended(Exit::Done),
            // It has passed by then.
            "parameter" => _ = built.ended(Exit::LeftBehind),
            _ => {
                let built = built.ended(Exit::Failed);
                assert_eq!(account.inventory().await, before, "{kind}: {}", built.said);
            }
        }
        another_second().await;
        let tagged = Build::whole(&account, ", tags: {CostCenter: '17'}", &image);
        tagged.run().await.ended(Exit::Done);
    }
}

/// SSM takes tags of a parameter that it makes, and none of one that is there.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn a_parameter_is_made_with_the_builder_s_tags_and_set_without() {
    let _pace = super::fast();
    let account = Account::open().await;
    let build = || {
        Build::whole(
            &account,
            ", tags: {CostCenter: '17'}",
            ", ssm_parameter: /ami/web",
        )
    };
    let made = build().run().await.ended(Exit::Done).image.unwrap().id;
    another_second().await;
    let set = build().run().await.ended(Exit::Done).image.unwrap().id;
    assert_ne!(made, set);
    let parameter = super::publish::parameter(&account, REGION).await;
    assert_eq!(parameter, Some(set));
    let ssm = super::build::parameters_in(&account, REGION).await;
    let tags = ssm.list_tags_for_resource().resource_id("/ami/web");
    let tags = tags.resource_type("Parameter".into()).send().await.unwrap();
    let tags = tags.tag_list.unwrap_or_default();
    let tags: Vec<_> = tags.iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("CostCenter", "17")]);
}

/// What no dry run tells is listed, by what is made and which call makes it.
#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn tags_that_nothing_tells_of_beforehand_are_listed_as_not_checked() {
    let account = super::publish::account().await;
    let checks = Build::publishing(&account, &super::publish::everything());
    let checks = checks.preflight().await;
    let is_it = |check: &&Check| check.about == "tags" && check.verdict == Verdict::NotChecked;
    let check = checks.iter().find(is_it).unwrap();
    for (thing, call) in [
        ("image", "CopyImage"),
        ("security-group-rule", "AuthorizeSecurityGroupIngress"),
        ("parameter", "PutParameter"),
    ] {
        assert!(
            check.detail.contains(thing) && check.detail.contains(call),
            "{}",
            check.detail
        );
    }
}
