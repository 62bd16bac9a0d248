//! The names, tags and tokens that things of a run carry, and how they are recognised later.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, Image, ResourceType, Tag, TagSpecification};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::identity::{Content, ContentHash};
use crate::plan::BakePlan;
use crate::run::{RunId, rfc3339};
use crate::targets::{LIFETIME, Role};

pub(super) const RUN: &str = "amibake:run";
pub(super) const ROLE: &str = "amibake:role";
pub(super) const ATTEMPT: &str = "amibake:attempt";
pub(super) const STATE: &str = "amibake:state";
pub(super) const EXPIRES: &str = "amibake:expires";
/// The hash of what an image is made of. Its description has that too, and is what counts.
pub(super) const CONTENT: &str = "amibake:content";
/// Digests of what an image is made of, by name: they say what changed since.
pub(super) const INPUTS: &str = "amibake:inputs";
/// The name of the manifest that an image is of.
pub(super) const MANIFEST: &str = "amibake:manifest";

/// The run that has built an image which another has registered.
pub(super) const BUILT: &str = "amibake:built";

/// What was done for an image that others act on, by the manifest's keys: `share ssm_parameter=/ami/web`. No copy has
/// it from its image: nothing was done for that yet.
pub(super) const PUBLISHES: &str = "amibake:publishes";

/// The longest value of a tag.
pub(super) const LONGEST_TAG: usize = 256;

/// EC2 takes no longer one.
pub(super) const LONGEST_DESCRIPTION: usize = 255;

/// States: to be removed, kept for a while until it is published, or there to stay.
pub(super) const TEMPORARY: &str = "temporary";
pub(super) const PASSED: &str = "passed";
pub(super) const RELEASED: &str = "released";

/// Returns the tags of something temporary.
pub(super) fn temporary(plan: &BakePlan, role: &str) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.insert("Name".into(), format!("amibake {role} {}", plan.name));
    tags.extend(ours(&plan.run, role, LIFETIME));
    tags
}

/// Returns the tags of a candidate and its snapshots: whose they are, and what a tag policy may
/// demand. Nobody who picks an image by its name's tag or the user's may find one that has not passed.
pub(super) fn candidate(
    plan: &BakePlan,
    content: &Content,
    role: &str,
    lifetime: Duration,
) -> BTreeMap<String, String> {
    let mut tags = unreleased(plan, role, lifetime);
    tags.extend(made_of(plan, content));
    tags
}

/// Returns the same without what it is made of, which others that are made of it have from it.
pub(super) fn unreleased(
    plan: &BakePlan,
    role: &str,
    lifetime: Duration,
) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.remove("Name");
    tags.extend(ours(&plan.run, role, lifetime));
    tags
}

/// Returns the user's tags of a released image: those that all has which is made, and those that people pick it
/// by, its name too.
pub(super) fn for_pickers(plan: &BakePlan) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.remove("Name");
    tags.extend(plan.image.tags.clone());
    tags.entry("Name".into())
        .or_insert_with(|| plan.image.name.clone());
    tags
}

/// Returns the tags that say that an image and its snapshots are released: nobody is to remove them.
pub(super) fn of_released() -> BTreeMap<String, String> {
    let ours = [(STATE, RELEASED), (EXPIRES, "never"), (ROLE, "image")];
    ours.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// Returns whether tags say that a thing is released.
pub(super) fn says_released(tags: &BTreeMap<String, String>) -> bool {
    tags.get(STATE).is_some_and(|state| state == RELEASED)
}

/// Returns what of an image's own tags others that are made of it have too: what it is made of.
pub(super) fn inherited(image: &Image) -> BTreeMap<String, String> {
    let its_own = [RUN, ROLE, ATTEMPT, STATE, EXPIRES, PUBLISHES];
    let pairs = image
        .tags()
        .iter()
        .filter_map(|t| Some((t.key()?, t.value()?)));
    pairs
        .filter(|(key, _)| key.starts_with("amibake:") && !its_own.contains(key))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Returns the tags of a lock, which nobody renews: its versions say that its run works.
pub(super) fn lock(plan: &BakePlan, lifetime: Duration) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.extend(ours(&plan.run, "lock", lifetime));
    tags
}

/// Returns the tags of a lock that is no build's.
#[cfg(feature = "stack")]
pub(super) fn named_lock(run: &RunId, lifetime: Duration) -> BTreeMap<String, String> {
    ours(run, "lock", lifetime)
}

fn made_of(plan: &BakePlan, content: &Content) -> [(String, String); 3] {
    let pairs = [
        (CONTENT, content.hash.to_string()),
        (INPUTS, content.inputs.tag()),
        (MANIFEST, plan.name.clone()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value))
}

fn ours(run: &RunId, role: &str, lifetime: Duration) -> BTreeMap<String, String> {
    let expires = OffsetDateTime::now_utc() + lifetime;
    let pairs = [
        (RUN, run.to_string()),
        (ROLE, role.to_owned()),
        (STATE, TEMPORARY.to_owned()),
        (EXPIRES, rfc3339(expires)),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Returns tags as a creating call takes them.
pub(super) fn specification(
    kind: ResourceType,
    tags: &BTreeMap<String, String>,
) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(list(tags)))
        .build()
}

/// Returns tags as EC2's list.
pub(super) fn list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

pub(super) fn value<'t>(tags: &'t [Tag], key: &str) -> Option<&'t str> {
    tags.iter()
        .find(|t| t.key() == Some(key))
        .and_then(Tag::value)
}

/// Returns the filter for the things of a run.
pub(super) fn of_run(run: &RunId) -> Filter {
    filter(&format!("tag:{RUN}"), [run.as_str()])
}

pub(super) fn filter<'v>(name: &str, values: impl IntoIterator<Item = &'v str>) -> Filter {
    let values = values.into_iter().map(str::to_owned).collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

/// Returns filters as people are told them: `name=web-* and tag:tier=a or b`.
pub(super) fn told(filters: &BTreeMap<String, Vec<String>>) -> String {
    let told = filters
        .iter()
        .map(|(name, values)| format!("{name}={}", values.join(" or ")));
    told.collect::<Vec<_>>().join(" and ")
}

pub(super) fn group_name(run: &RunId) -> String {
    format!("amibake-{run}")
}

/// Returns the name an image has until it has passed.
pub(super) fn candidate_name(run: &RunId) -> String {
    format!("amibake-candidate-{run}")
}

/// Returns a candidate's description: what it will be, and whose it is until it has passed.
pub(super) fn untested_description(plan: &BakePlan) -> String {
    format!("{} {}", words(plan), candidate_of(&plan.run))
}

/// Returns the description of an image that has passed: the released image's, and whose it is until
/// it is released.
pub(super) fn tested_description(plan: &BakePlan, content: &Content) -> String {
    let released = final_description(plan, content);
    format!("{released} {}", made_by(&plan.run))
}

/// Returns the released image's description: the user's words, or what it is of, and what it is made
/// of. Who may write tags may not write that.
pub(super) fn final_description(plan: &BakePlan, content: &Content) -> String {
    format!("{} {}", words(plan), content_mark(&content.hash))
}

/// At most [`crate::manifest`]'s 140 characters: EC2 takes 255, and ours are 107 of them.
fn words(plan: &BakePlan) -> String {
    let words = plan.image.description.clone();
    words.unwrap_or_else(|| format!("{}, baked by amibake", plan.name))
}

fn content_mark(hash: &ContentHash) -> String {
    format!("[amibake content {hash}]")
}

/// Returns what an image is made of, as its description says in the end. One that is not released
/// has its run's name there.
pub(super) fn content_of(description: &str) -> Option<ContentHash> {
    let (_, mark) = description.rsplit_once("[amibake content ")?;
    mark.strip_suffix(']')?.parse().ok()
}

/// Returns what an image is made of, as its description says when it has passed and is not released.
pub(super) fn passed_content(description: &str) -> Option<ContentHash> {
    content_of(&without_run(description, &run_in(description)?)?)
}

/// Returns how the description of a run's candidate ends. Who may write tags may not write that.
pub(super) fn candidate_of(run: &RunId) -> String {
    format!("(amibake candidate of run {run})")
}

/// Returns how the description of a run's image ends that has passed and is not released.
pub(super) fn made_by(run: &RunId) -> String {
    format!("(amibake run {run})")
}

/// Returns whose a thing is that is described as a run's.
pub(super) fn maker(description: &str) -> Option<RunId> {
    let run = description.strip_prefix("(amibake run ")?;
    run.strip_suffix(')')?.parse().ok()
}

/// Returns the name of the image that keeps what another is registered with, until a run's has its name.
pub(super) fn spare_name(run: &RunId, name: &str) -> String {
    format!("amibake-spare-{run} {name}")
}

/// Returns whose name it is that a run's spare keeps, if its name is a spare's.
pub(super) fn kept_by_spare<'n>(spare: &'n str, run: &RunId) -> Option<&'n str> {
    let rest = spare.strip_prefix("amibake-spare-")?;
    rest.strip_prefix(run.as_str())?.strip_prefix(' ')
}

/// Returns how the description of a run's spare ends. Who may write tags may not write that.
pub(super) fn spare_of(run: &RunId) -> String {
    format!("(amibake spare {run})")
}

/// Returns a spare's description: that of the image it is for, and whose it is.
pub(super) fn spare_description(described: &str, run: &RunId) -> String {
    format!("{described} {}", spare_of(run))
        .trim_start()
        .to_owned()
}

/// Returns the description that a spare keeps.
pub(super) fn without_spare(described: &str, run: &RunId) -> String {
    let words = described.strip_suffix(&spare_of(run)).unwrap_or(described);
    match words.trim_end() {
        "" => "baked by amibake".to_owned(),
        words => words.to_owned(),
    }
}

/// How the tags of a spare begin that the image it is for has without this: nobody picks it by them.
const PUT_BY: &str = "amibake:was:";

/// Returns a released image's tags as its spare keeps them; what all that are released have goes without.
pub(super) fn put_by(image: &Image) -> BTreeMap<String, String> {
    let of_released = of_released();
    let pairs = image
        .tags()
        .iter()
        .filter_map(|t| Some((t.key()?, t.value()?)));
    pairs
        .filter(|(key, _)| !of_released.contains_key(*key))
        .map(|(k, v)| (format!("{PUT_BY}{k}"), v.to_owned()))
        .collect()
}

/// Returns the tags of the image that a spare is for.
pub(super) fn taken_out(tags: &[Tag]) -> BTreeMap<String, String> {
    let pairs = tags.iter().filter_map(|t| Some((t.key()?, t.value()?)));
    let kept = pairs.filter_map(|(k, v)| Some((k.strip_prefix(PUT_BY)?, v)));
    let kept = kept.map(|(k, v)| (k.to_owned(), v.to_owned()));
    kept.chain(of_released()).collect()
}

/// Returns whether an image's name is that of some run's candidate.
pub(super) fn is_candidate_name(name: &str) -> bool {
    name.starts_with("amibake-candidate-")
}

/// Returns whether an image is described as a candidate that has not passed.
pub(super) fn is_untested(description: &str) -> bool {
    let last = description.rsplit_once("(amibake candidate of run ");
    last.is_some_and(|(_, run)| run.ends_with(')'))
}

/// Returns the run in whose description of an image it ends that has passed and is not released.
pub(super) fn run_in(description: &str) -> Option<RunId> {
    let (_, last) = description.rsplit_once("(amibake run ")?;
    last.strip_suffix(')')?.parse().ok()
}

/// Returns the run that has built an image. Another may have registered it, when it went on with the publication.
pub(super) fn builder_of(image: &Image) -> Option<RunId> {
    let tagged = |key| value(image.tags(), key)?.parse().ok();
    let described = || run_in(image.description().unwrap_or_default());
    tagged(BUILT).or_else(described).or_else(|| tagged(RUN))
}

/// Returns the description of what a run makes of an image that has passed: its own words, and whose
/// it is until it is released.
pub(super) fn described_by(image: &Image, run: &RunId) -> String {
    let described = image.description().unwrap_or_default();
    let words = run_in(described).and_then(|run| without_run(described, &run));
    let end = made_by(run);
    let room = LONGEST_DESCRIPTION - end.len() - 1;
    let words = words.unwrap_or_else(|| described.to_owned());
    let words: String = words.chars().take(room).collect();
    format!("{words} {end}").trim_start().to_owned()
}

/// Returns the description of an image that has passed without its end: the released image's. None
/// if it has no such end.
pub(super) fn without_run(description: &str, run: &RunId) -> Option<String> {
    let words = description.strip_suffix(&made_by(run))?.trim_end();
    Some(match words {
        // EC2 takes no empty description.
        "" => "baked by amibake".to_owned(),
        words => words.to_owned(),
    })
}

/// Returns the client token of one attempt at a launch: the same request gets the same machine,
/// and a machine with this token was made by this run.
pub(super) fn token(run: &RunId, role: Role, attempt: usize, region: &str) -> String {
    let digest = Sha256::digest(format!("{run}\n{role}\n{attempt}\n{region}"));
    let hex = hex::encode(&digest[..24]);
    format!("amibake-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Inputs;
    use crate::manifest::{self, Arch, Given, TargetKind};
    use crate::plan::{self, OnError};

    #[test]
    fn the_longest_description_fits_and_says_what_the_image_is_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        let words = "w".repeat(140);
        let text = format!(
            "name: web\nsource: {{ami: ami-0123456789abcdef0}}\nimage: {{description: {words}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        let now = OffsetDateTime::now_utc();
        let manifest = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let content = Inputs::default().content(Arch::Amd64, "ami-1");
        let tested = tested_description(&plans[0], &content);
        for text in [&tested, &untested_description(&plans[0])] {
            assert!(
                text.chars().count() <= 255,
                "{}: {text}",
                text.chars().count()
            );
        }
        let released = final_description(&plans[0], &content);
        assert_eq!(without_run(&tested, &plans[0].run), Some(released.clone()));
        assert_eq!(content_of(&released), Some(content.hash));
        assert_eq!(content_of(&tested), None, "it is not released");
        for text in [
            &words,
            "",
            "[amibake content 0123]",
            &format!("{released} "),
        ] {
            assert_eq!(content_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_copy_has_what_its_image_is_made_of_and_nothing_that_was_done_for_that() {
        let pairs = [(CONTENT, "0123"), (PUBLISHES, "share"), (STATE, RELEASED)];
        let tags = pairs.map(|(k, v)| Tag::builder().key(k).value(v).build());
        let image = Image::builder().set_tags(Some(tags.to_vec())).build();
        let made_of = [(CONTENT.to_owned(), "0123".to_owned())];
        assert_eq!(inherited(&image), made_of.into());
    }

    #[test]
    fn a_spare_keeps_what_its_image_had_and_nobody_picks_it_by_that() {
        let run: RunId = "20260727t101500z-0a1b2c3d4e5f6071".parse().unwrap();
        let other: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let spare = spare_name(&run, "web (blue)");
        assert_eq!(kept_by_spare(&spare, &run), Some("web (blue)"));
        assert_eq!(kept_by_spare(&spare, &other), None);
        assert_eq!(kept_by_spare("web", &run), None);
        let longest = format!("{} {}", "w".repeat(140), content_mark(&hash()));
        let described = spare_description(&longest, &run);
        assert!(
            described.len() <= LONGEST_DESCRIPTION,
            "{}",
            described.len()
        );
        assert_eq!(without_spare(&described, &run), longest);
        assert_eq!(content_of(&described), None, "it is no result");
        let pairs = [
            (RUN, "x"),
            (STATE, RELEASED),
            ("Name", "web"),
            ("Team", "web"),
        ];
        let tags = pairs.map(|(k, v)| Tag::builder().key(k).value(v).build());
        let image = Image::builder().set_tags(Some(tags.to_vec())).build();
        let kept = put_by(&image);
        assert!(
            kept.keys().all(|key| key.starts_with("amibake:was:")),
            "{kept:?}"
        );
        let mut before = of_released();
        before.extend(
            [(RUN, "x"), ("Name", "web"), ("Team", "web")]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        assert_eq!(taken_out(&list(&kept)), before);
    }

    fn hash() -> ContentHash {
        Inputs::default().content(Arch::Amd64, "ami-1").hash
    }

    #[test]
    fn each_attempt_has_its_own_token_that_ec2_accepts() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let one = token(&run, Role::Builder, 1, "eu-west-1");
        assert_eq!(one, token(&run, Role::Builder, 1, "eu-west-1"));
        assert_ne!(one, token(&run, Role::Builder, 2, "eu-west-1"));
        assert_ne!(one, token(&run, Role::Candidate, 1, "eu-west-1"));
        assert!(one.len() <= 64 && one.is_ascii());
    }
}
