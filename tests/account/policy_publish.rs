//! The policies that `iam-policy` prints for `publish` and `resume` are enough, and without any one action of
//! theirs the command names it, and leaves nothing that the same command cannot end.

use serde_json::{Value as Json, json};

use super::build::{Build, client, keys_in, make_key};
use super::policy::{set, tried};
use super::publish::{OTHER, assert_published, everything, images, parameter};
use super::server::{Account, REGION};
use crate::exit::{Exit, Failure};
use crate::targets::Publisher;
use crate::targets::ec2::{Purpose, iam_policy};

/// How many accounts are tried at a time.
const AT_ONCE: usize = 8;

/// Tags of what the manifest makes, with which a parameter is born; and time, lest one fail since this machine is slow.
const TAGS: &str = ", tags: {CostCenter: '17'}, timeouts: {total: 6h}";

/// Without these it goes well where all goes well: they take back what was done, or change what is there, and the
/// first is allowed twice.
const NOT_MISSED: [&str; 7] = [
    "ec2:CopyImage",
    "ec2:DeleteLaunchTemplateVersions",
    "ec2:DeleteSnapshot",
    "ec2:DeregisterImage",
    "ec2:DescribeLaunchTemplates",
    "ec2:DisableImageDeregistrationProtection",
    "ssm:DeleteParameter",
];

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// An image that another program made.
    Others,
    /// One of ours that has passed and has no name yet.
    Candidate,
}

impl What {
    fn purpose(self) -> Purpose {
        match self {
            Self::Others => Purpose::Publish,
            Self::Candidate => Purpose::Resume,
        }
    }

    fn publisher(self) -> Publisher {
        match self {
            Self::Others => Publisher::Publish,
            Self::Candidate => Publisher::Resume,
        }
    }

    /// Opens an account that has it; returns its id too.
    async fn account(self) -> (Account, String) {
        let account = super::publish::account().await;
        for region in [REGION, OTHER] {
            let kms = keys_in(&account, region).await;
            make_key(&kms, "alias/ami").await;
        }
        let id = match self {
            Self::Others => baked_elsewhere(&account).await,
            Self::Candidate => candidate(&account).await,
        };
        (account, id)
    }
}

fn wanted(account: &Account) -> Build<'_> {
    Build::whole(account, TAGS, &everything())
}

/// Makes an image without a tag of ours.
async fn baked_elsewhere(account: &Account) -> String {
    let ec2 = client(account).await;
    let base = ec2.describe_images().owners("099720109477").send().await;
    let base = base.unwrap().images()[0].image_id().unwrap().to_owned();
    let copy = ec2.copy_image().source_image_id(base).source_region(REGION);
    let copy = copy.name("packer-7").description("by Packer");
    let id = copy.send().await.unwrap().image_id.unwrap();
    let is_there = async || {
        let found = images(account, REGION).await;
        let mut states = found.iter().filter_map(|image| image.state());
        states.any(|state| state.as_str() == "available")
    };
    account.wait_until("another's image", is_there).await;
    id
}

/// Builds an image whose registration is refused.
async fn candidate(account: &Account) -> String {
    account.deny("RegisterImage", 1).await;
    let built = wanted(account).run().await.ended(Exit::LeftBehind);
    account.control("clear", json!({})).await;
    let all = images(account, REGION).await;
    assert_eq!(all.len(), 1, "{}", built.said);
    all[0].image_id().unwrap().to_owned()
}

/// Returns the policy for what is published, by the manifest that wants it.
async fn policy(what: What, is_minimal: bool, account: &Account) -> Json {
    let plans = [wanted(account).plan.clone()];
    let policy = iam_policy(&plans, &[what.purpose()], is_minimal)
        .await
        .unwrap();
    serde_json::from_str(&policy.document).unwrap()
}

/// One action less in one statement.
struct Case {
    action: String,
    policy: Json,
    is_needed: bool,
}

/// Returns the policy without each of its actions.
fn cases(whole: &Json, minimal: &Json) -> Vec<Case> {
    let statements = whole["Statement"].as_array().unwrap();
    let kept = minimal.to_string();
    let mut cases = Vec::new();
    for (number, statement) in statements.iter().enumerate() {
        for (place, action) in statement["Action"].as_array().unwrap().iter().enumerate() {
            let mut policy = whole.clone();
            let actions = policy["Statement"][number]["Action"].as_array_mut();
            actions.unwrap().remove(place);
            cases.push(Case {
                action: action.as_str().unwrap().to_owned(),
                policy,
                is_needed: kept.contains(&action.to_string()),
            });
        }
    }
    cases
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn the_policies_for_publish_and_resume_are_enough_and_the_minimal_ones_too() {
    let _pace = super::fast();
    for what in [What::Others, What::Candidate] {
        for is_minimal in [false, true] {
            let (account, id) = what.account().await;
            set(&account, &policy(what, is_minimal, &account).await).await;
            let published = wanted(&account).publish_by(what.publisher(), &id).await;
            published.ended(Exit::Done);
            set(&account, &Json::Null).await;
            assert_published_by_all(&account, what).await;
        }
    }
}

/// Another's image keeps its name, and the description that it has.
async fn assert_published_by_all(account: &Account, what: What) {
    for region in [REGION, OTHER] {
        match what {
            What::Candidate => _ = assert_published(account, region).await,
            What::Others => {
                let all = images(account, region).await;
                assert_eq!(all.len(), 1, "{all:?}");
                assert_eq!(all[0].description(), Some("by Packer"));
                assert_eq!(
                    parameter(account, region).await.as_deref(),
                    all[0].image_id()
                );
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs the test EC2: ./test runs it"]
async fn without_any_one_action_publish_and_resume_name_it_and_go_on_later() {
    let _pace = super::fast();
    for what in [What::Others, What::Candidate] {
        let account = super::publish::account().await;
        let whole = policy(what, false, &account).await;
        let cases = cases(&whole, &policy(what, true, &account).await);
        let count = cases.len();
        assert!(count > 25, "{count}");
        let trying = cases.iter().map(|case| {
            let name = format!("{} {what:?}", case.action);
            (name, try_without(what, case))
        });
        let (went_well, wrong) = tried(trying, AT_ONCE).await;
        println!(
            "policy for {what:?}: {count} with one action less, {} wrong",
            wrong.len()
        );
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        let went_well: Vec<&str> = went_well.iter().map(String::as_str).collect();
        assert_eq!(went_well, NOT_MISSED, "{what:?}: these are not needed");
    }
}

/// Publishes with one action less; returns the action if it was needed and not missed.
async fn try_without(what: What, case: &Case) -> Option<String> {
    let (account, id) = what.account().await;
    set(&account, &case.policy).await;
    let build = wanted(&account);
    let published = build.publish_by(what.publisher(), &id).await;
    let exit = published.failure.as_ref().map_or(Exit::Done, Failure::exit);
    set(&account, &Json::Null).await;
    if exit == Exit::Done {
        // A candidate that could not be removed goes when it expires.
        account.control("expire", json!({})).await;
        build.reap().await;
        assert_published_by_all(&account, what).await;
        return case.is_needed.then(|| case.action.clone());
    }
    let said = &published.said;
    assert!(case.is_needed, "it was said to be optional: {said}");
    let bare = case.action.rsplit(':').next().unwrap();
    assert!(said.contains(bare), "not named: {said}");
    let left = images(&account, REGION).await;
    let again = left[0].image_id().unwrap();
    let again = wanted(&account).publish_by(what.publisher(), again).await;
    again.ended(Exit::Done);
    assert_published_by_all(&account, what).await;
    None
}
