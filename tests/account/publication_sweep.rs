//! Every call of a publication goes wrong in every way there is, in a build and in `publish`: each region
//! has all of a publication or nothing of it, `resume` or `reap` ends what was not ended, and nothing else
//! is left.

use std::borrow::Cow;

use aws_sdk_ec2::types::{Image, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification};
use clap::Parser;
use futures_util::FutureExt;
use serde_json::json;

use super::build::{Build, Built, client, client_in};
use super::cases::{self, Swept};
use super::child::{LEAPING, Process, Work};
use super::guest::Steps;
use super::publish::{
    FORMER, OTHER, assert_published, default_version, everything, images, parameter, shared_with,
    table,
};
use super::replace::REPLACING;
use super::server::{Account, Call, Inventory, REGION};
use super::sweep::{self, Asked, Case, Fault, Recording, past_silence};
use crate::cli::Cli;
use crate::clock::leaping;
use crate::exit::{Exit, Failure};
use crate::targets::Publisher;

/// What is under way when a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// A build that publishes in two regions.
    Build,
    /// `publish`, of a released image of which nothing is published.
    Publish,
    /// A build whose image takes the name of an older one.
    Replace,
}

/// A call that is swept, and how many such a scenario asks before, which are swept elsewhere.
struct Step {
    asked: Asked,
    before: u32,
}

const fn step(action: &'static str) -> Step {
    step_after(0, action)
}

const fn step_after(before: u32, action: &'static str) -> Step {
    Step {
        asked: Asked::of(Cow::Borrowed(action)),
        before,
    }
}

/// The launch template's: a lock's has no image.
const ADD_VERSION: Step = Step {
    asked: Asked {
        action: Cow::Borrowed("CreateLaunchTemplateVersion"),
        region: None,
        having: "LaunchTemplateData.ImageId",
    },
    before: 0,
};

/// What publishing asks that changes something.
const CHANGES: [Step; 8] = [
    step("CopyImage"),
    ADD_VERSION,
    step("EnableImageDeprecation"),
    step("EnableImageDeregistrationProtection"),
    step("ModifyImageAttribute"),
    step("ModifyLaunchTemplate"),
    step("ModifySnapshotAttribute"),
    step("PutParameter"),
];

/// What only looks.
const LOOKS: [Step; 4] = [
    step("DescribeImageAttribute"),
    step("DescribeLaunchTemplateVersions"),
    step("DescribeSnapshotAttribute"),
    step("GetParameter"),
];

/// What is asked when an image is replaced, as far as there is something that could use it.
const USES: [Step; 8] = [
    step("DescribeAutoScalingGroups"),
    step("DescribeImageReferences"),
    step("DescribeLaunchConfigurations"),
    step("DescribeLaunchTemplates"),
    step("DescribeParameters"),
    step("DescribeStacks"),
    step("GetParameters"),
    step("ListStacks"),
];

impl Scenario {
    const ALL: [Self; 3] = [Self::Build, Self::Publish, Self::Replace];

    /// Returns the calls that are swept in it.
    fn steps(self) -> Vec<Step> {
        let tags = |before| step_after(before, "CreateTags");
        match self {
            Self::Build => {
                let all = CHANGES.into_iter().chain(LOOKS);
                // The first renews the run, the second says that the image has passed: as in any build.
                all.chain([step("RegisterImage"), tags(2)]).collect()
            }
            Self::Publish => CHANGES.into_iter().chain([tags(0)]).collect(),
            Self::Replace => {
                let made = ["DeregisterImage", "ModifyImageAttribute", "RegisterImage"];
                let all = made.map(step).into_iter().chain([tags(0)]);
                all.chain(USES).collect()
            }
        }
    }

    /// Records what it asks where all goes well.
    async fn recorded(self) -> Recording {
        let account = account().await;
        match self {
            Self::Build => {
                let build = Build::publishing(&account, &everything());
                Box::pin(recorded(&account, build.run())).await
            }
            Self::Publish => {
                let image = released_by_hand(&account, OLD).await;
                let build = Build::publishing(&account, &everything());
                Box::pin(recorded(&account, build.publish(&image))).await
            }
            Self::Replace => {
                released_by_hand(&account, "web").await;
                let build = Build::publishing(&account, REPLACING);
                Box::pin(recorded(&account, build.run())).await
            }
        }
    }
}

async fn recorded(account: &Account, work: impl Future<Output = Built>) -> Recording {
    Recording::of(account, async {
        work.await.ended(Exit::Done);
    })
    .await
}

/// The name of an image of before.
const OLD: &str = "web-20260727T101500Z";

/// Returns all cases of a scenario: every call of its steps, by region, in every way there is.
fn cases(scenario: Scenario, recording: &Recording) -> Vec<(Scenario, Case)> {
    let times = |asked: &Asked| u32::try_from(recording.of_kind(asked).len()).unwrap();
    let mut cases = Vec::new();
    for Step { asked, before } in scenario.steps() {
        for region in [REGION, OTHER] {
            let asked = Asked {
                region: Some(region),
                ..asked.clone()
            };
            let before = if region == REGION { before } else { 0 };
            for nth in before + 1..=times(&asked) {
                let here = recording.cases_of(&asked, nth).into_iter();
                cases.extend(here.filter(|case| case.fault != Fault::Denied));
            }
        }
        // Permissions are for all regions.
        for nth in before + 1..=times(&asked) {
            let everywhere = recording.cases_of(&asked, nth).into_iter();
            cases.extend(everywhere.filter(|case| case.fault == Fault::Denied));
        }
    }
    if scenario == Scenario::Build {
        let calls = &recording.calls;
        let is_first = |call: &Call| call.action == "RegisterImage";
        let first = calls.iter().position(is_first).unwrap();
        // How often is looked for what takes its time is not always the same.
        let last = calls.len() - 10;
        let expired = (first..last).step_by(2);
        cases.extend(expired.map(|nth| Case::expired(u32::try_from(nth).unwrap())));
    }
    cases.into_iter().map(|case| (scenario, case)).collect()
}

fn all_cases() -> Vec<(Scenario, Case)> {
    let recorded = |scenario: Scenario| {
        let recording = leaping::run(Box::pin(scenario.recorded()));
        cases(scenario, &recording)
    };
    Scenario::ALL.into_iter().flat_map(recorded).collect()
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn a_publication_asks_what_is_swept() {
    leaping::run(async {
        let of_build = Box::pin(sweep::recorded()).await;
        let is_any_build_s = |action: &str| {
            let mut calls = of_build.calls.iter();
            calls.any(|call| call.action == action)
        };
        for scenario in Scenario::ALL {
            let calls = Box::pin(scenario.recorded()).await.calls;
            let steps = scenario.steps();
            for step in &steps {
                let action = &step.asked.action;
                let may_be_asked = USES.iter().any(|use_of| use_of.asked.action == *action);
                let is_asked = calls.iter().any(|call| call.is(&step.asked));
                assert!(is_asked || may_be_asked, "{scenario:?}: {action}");
            }
            // What is asked in another scenario too may be swept there.
            let of_any: Vec<Step> = Scenario::ALL
                .into_iter()
                .flat_map(Scenario::steps)
                .collect();
            let swept = |action: &str| {
                is_any_build_s(action) || of_any.iter().any(|step| step.asked.action == action)
            };
            let unswept = calls.iter().find(|call| !swept(&call.action));
            let unswept = unswept.map(|call| &call.action);
            if scenario == Scenario::Publish {
                // What it looks at is as in a build.
                let changed = unswept.filter(|action| sweep::is_change(action));
                assert_eq!(changed, None, "each call needs its cases");
            } else {
                assert_eq!(unswept, None, "{scenario:?}: each call needs its cases");
            }
        }
    });
}

#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn whatever_call_goes_wrong_each_region_has_all_of_a_publication_or_nothing() {
    let kind = |(scenario, case): &(Scenario, Case)| format!("{scenario:?} {}", case.kind());
    let swept = sweep("publication sweep", cases::a_part(all_cases(), kind));
    println!("{}", swept.told);
    swept.insist();
}

fn sweep(what: &str, cases: Vec<(Scenario, Case)>) -> Swept {
    cases::sweep(what, cases, |case, number| {
        try_case(case, number).boxed_local()
    })
}

/// Opens an account of two regions that has a launch template in each, in which another image is.
async fn account() -> Account {
    let account = Account::open_for_case(&[REGION, OTHER]).await;
    for region in [REGION, OTHER] {
        let data = RequestLaunchTemplateData::builder()
            .image_id(FORMER)
            .instance_type("t3.small".into());
        let made = client_in(&account, region).await.create_launch_template();
        let made = made.launch_template_name("web");
        let made = made.launch_template_data(data.build());
        made.send().await.unwrap();
    }
    account.control("calls/clear", json!({})).await;
    account
}

async fn try_case((scenario, case): &(Scenario, Case), number: usize) {
    let account = account().await;
    match scenario {
        Scenario::Build => try_build(&account, case, number).await,
        Scenario::Publish => try_publish(&account, case).await,
        Scenario::Replace => try_replace(&account, case, number).await,
    }
}

/// Builds; what was not ended is gone on with by `resume` in every other case, and else by `reap` alone.
async fn try_build(account: &Account, case: &Case, number: usize) {
    let before = account.inventory().await;
    case.go_wrong(account).await;
    if case.fault.kills() {
        killed(account, case, building(&everything())).await;
        reap(account).await;
        resume_what_stays(account).await;
        return assert_settled(account, &before, "").await;
    }
    let build = build_in(account, case, &everything());
    let built = past_silence(account, case.fault, build.run()).await;
    account.assert_all_hit().await;
    let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
    account.control("clear", json!({})).await;
    // Without an answer at home to what is looked at beforehand nothing is made.
    let is_begun = account.actions().await.iter().any(|a| a == "RunInstances");
    let is_refused = case.fault.is_silent() && exit == Exit::Failed && !is_begun;
    let resumes = number.is_multiple_of(2) && resume(account, &built, &everything()).await;
    assert!(
        is_right(case, exit, &built) || is_refused,
        "{exit:?}: {}",
        built.said
    );
    reap(account).await;
    match resumes || exit == Exit::Done {
        true => assert_complete(account, &before, &built.said).await,
        false => assert_settled(account, &before, &built.said).await,
    }
}

/// Publishes an image that was released before, and stays so. Whatever went wrong, to do it again is enough.
async fn try_publish(account: &Account, case: &Case) {
    let before = account.inventory().await;
    let image = released_by_hand(account, OLD).await;
    let build = build_in(account, case, &everything());
    case.go_wrong(account).await;
    let mut said = String::new();
    if case.fault.kills() {
        let work = Work::Publish {
            image: everything(),
            id: image.clone(),
        };
        killed(account, case, work).await;
    } else {
        let published = past_silence(account, case.fault, build.publish(&image)).await;
        account.assert_all_hit().await;
        let exit = published.failure.as_ref().map_or(Exit::Done, Failure::exit);
        assert!(
            is_right(case, exit, &published),
            "{exit:?}: {}",
            published.said
        );
        assert_ne!(exit, Exit::Failed, "{}", published.said);
        let finished = published.image.as_ref().map(|image| image.id.as_str());
        assert_eq!(finished, Some(image.as_str()), "{}", published.said);
        said = published.said;
    }
    reap(account).await;
    let home = images(account, REGION).await;
    assert!(home.iter().any(|i| i.image_id() == Some(&image)), "{said}");
    let again = Build::publishing(account, &everything());
    let again = again.publish(&image).await.ended(Exit::Done);
    reap(account).await;
    assert_complete(account, &before, &format!("{said}\nagain: {}", again.said)).await;
}

/// Replaces an image: afterwards the old one or the new one has the name, and is released.
async fn try_replace(account: &Account, case: &Case, number: usize) {
    let before = account.inventory().await;
    released_by_hand(account, "web").await;
    case.go_wrong(account).await;
    let (mut said, mut is_new) = (String::new(), false);
    if case.fault.kills() {
        killed(account, case, building(REPLACING)).await;
    } else {
        let build = build_in(account, case, REPLACING);
        let built = past_silence(account, case.fault, build.run()).await;
        account.assert_all_hit().await;
        account.control("clear", json!({})).await;
        let exit = built.failure.as_ref().map_or(Exit::Done, Failure::exit);
        // What uses the old one is asked before anything is made, and not again without an answer.
        let is_refused = exit == Exit::Failed && USES.iter().any(|step| case.is_of(&step.asked));
        let may_fail = case.fault.may_leave() || (is_refused && case.fault.is_silent());
        assert!(exit == Exit::Done || may_fail, "{}", built.said);
        let goes_on = number.is_multiple_of(2) && resume(account, &built, REPLACING).await;
        is_new = built.image.is_some() || goes_on;
        said = built.said;
    }
    reap(account).await;
    let all = images(account, REGION).await;
    let [image] = &all[..] else {
        panic!("{all:?}: {said}");
    };
    assert_eq!(image.name(), Some("web"), "{said}");
    assert_eq!(table(image.tags())["amibake:state"], "released", "{said}");
    let described = image.description().unwrap();
    assert!(described.ends_with(']'), "{described}: {said}");
    let is_old = described.contains(&"0".repeat(40));
    assert!(!(is_new && is_old), "{said}");
    let after = account.inventory().await;
    for (kind, had) in &before {
        let more = match kind.as_str() {
            "images" => 1,
            // The old one's stay.
            "snapshots" if is_old => 1,
            "snapshots" => 2,
            _ => 0,
        };
        assert_eq!(after[kind].len(), had.len() + more, "{kind}: {said}");
    }
}

/// Returns whether a build or a publication may end so: what lasts is told, and a region that does not answer
/// is waited for no longer than five minutes.
fn is_right(case: &Case, exit: Exit, built: &Built) -> bool {
    let is_silent = case.fault.is_silent();
    let elsewhere = format!("got no answer in {OTHER}");
    exit == Exit::Done
        || case.fault.may_leave()
        || (is_silent && exit == Exit::LeftBehind && built.said.contains(&elsewhere))
}

/// Returns a build that has the time to ask again where five minutes pass without an answer.
fn build_in<'a>(account: &'a Account, case: &Case, image: &str) -> Build<'a> {
    match case.fault.is_silent() {
        true => Build::whole(account, ", timeouts: {total: 1h}", image),
        false => Build::publishing(account, image),
    }
}

fn building(image: &str) -> Work {
    Work::Build {
        more: String::new(),
        image: image.to_owned(),
        steps: Steps::Done,
        silent: false,
        shared: false,
    }
}

async fn killed(account: &Account, case: &Case, work: Work) {
    let process = Process::start(account, LEAPING, work, &[]);
    process.held(account).await.kill().await;
    account.release().await;
    account.assert_all_hit().await;
    account.control("clear", json!({})).await;
    if case.loses_journals {
        std::fs::remove_dir_all(account.state_folder()).unwrap();
    }
}

/// Reaps in all regions what dead runs and what has expired left.
async fn reap(account: &Account) {
    account.control("clear", json!({})).await;
    account.control("expire", json!({})).await;
    Build::of(account).reap().await;
}

/// Does what a build says that goes on with its image; returns whether it said so.
async fn resume(account: &Account, built: &Built, image: &str) -> bool {
    let left = built.left_behind();
    let mut remedies = left.iter().map(|(_, remedy)| *remedy);
    let Some(command) = remedies.find(|remedy| remedy.starts_with("amibake resume")) else {
        return false;
    };
    let words: Vec<&str> = command.split(' ').collect();
    assert!(Cli::try_parse_from(&words).is_ok(), "{command}");
    let [_, _, "--region", region, id, _] = words[..] else {
        panic!("{command}");
    };
    resume_image(account, region, id, image).await;
    true
}

/// Does what `resume` does, with what a manifest has in its `image:`.
async fn resume_image(account: &Account, region: &str, id: &str, image: &str) {
    let mut build = Build::publishing(account, image);
    build.plan.builder.region = Some(region.to_owned());
    let resumed = build.publish_by(Publisher::Resume, id);
    resumed.await.ended(Exit::Done);
}

/// Goes on with an image that `reap` keeps, since a parameter or a launch template names it already.
async fn resume_what_stays(account: &Account) {
    let mut all = Vec::new();
    for region in [REGION, OTHER] {
        let found = images(account, region).await;
        all.extend(found.into_iter().map(|image| (region, image)));
    }
    let is_open = |image: &Image| table(image.tags())["amibake:state"] != "released";
    if !all.iter().any(|(_, image)| is_open(image)) {
        return;
    }
    // The original, where that is there.
    let (region, image) = &all[0];
    let id = image.image_id().unwrap();
    resume_image(account, region, id, &everything()).await;
}

/// Insists that both regions have all of the publication, and that nothing else is left.
async fn assert_complete(account: &Account, before: &Inventory, said: &str) {
    for region in [REGION, OTHER] {
        let all = images(account, region).await;
        assert_eq!(all.len(), 1, "{region}: {said}");
        assert_published(account, region).await;
    }
    assert_settled(account, before, said).await;
}

/// Insists that each region has the image with all that others act on, or none of it.
async fn assert_settled(account: &Account, before: &Inventory, said: &str) {
    let after = account.inventory().await;
    for (kind, had) in before {
        let is_image_s = ["images", "snapshots", "parameters", "template_versions"];
        if !is_image_s.contains(&kind.as_str()) {
            assert_eq!(&after[kind], had, "{kind}: {said}");
        }
    }
    let mut all = 0;
    for region in [REGION, OTHER] {
        let found = images(account, region).await;
        all += found.len();
        let (default, _) = default_version(account, region).await;
        let parameter = parameter(account, region).await;
        let [image] = &found[..] else {
            assert!(found.is_empty(), "{region}: {found:?}: {said}");
            assert_eq!(parameter, None, "{region}: {said}");
            assert_eq!(default, FORMER, "{region}: {said}");
            continue;
        };
        let id = image.image_id().unwrap();
        let tags = table(image.tags());
        assert_eq!(tags["amibake:state"], "released", "{region}: {said}");
        assert_eq!(tags["Team"], "web", "{region}: {said}");
        let description = image.description().unwrap();
        assert!(!description.contains("(amibake run"), "{region}: {said}");
        assert_eq!(parameter.as_deref(), Some(id), "{region}: {said}");
        assert_eq!(default, id, "{region}: {said}");
        let shares = shared_with(account, region, id).await;
        assert_eq!(shares.len(), 2, "{region}: {said}");
    }
    assert_eq!(after["snapshots"].len(), all, "{said}");
    // One version for each image, besides the first of each region's template.
    assert_eq!(after["template_versions"].len(), 2 + all, "{said}");
}

/// Makes an image that is described and tagged as one that amibake has released, without a build.
async fn released_by_hand(account: &Account, name: &str) -> String {
    let ec2 = client(account).await;
    let base = ec2.describe_images().owners("099720109477").send().await;
    let base = base.unwrap().images()[0].image_id().unwrap().to_owned();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let ours = |kind: ResourceType| {
        TagSpecification::builder()
            .resource_type(kind)
            .tags(tag("amibake:run", "20260727t101500z-0a1b2c3d4e5f6071"))
            .tags(tag("amibake:manifest", "web"))
            .tags(tag("amibake:role", "image"))
            .tags(tag("amibake:state", "released"))
            .tags(tag("amibake:expires", "never"))
            .build()
    };
    let content = "0".repeat(40);
    let made = ec2
        .copy_image()
        .source_image_id(base)
        .source_region(REGION)
        .name(name)
        .description(format!("web, baked by amibake [amibake content {content}]"))
        .tag_specifications(ours(ResourceType::Image))
        .tag_specifications(ours(ResourceType::Snapshot));
    let id = made.send().await.unwrap().image_id.unwrap();
    let is_there = async || {
        let found = images(account, REGION).await;
        let mut states = found.iter().filter_map(|image| image.state());
        states.any(|state| state.as_str() == "available")
    };
    account.wait_until("an image of before", is_there).await;
    account.control("calls/clear", json!({})).await;
    id
}
