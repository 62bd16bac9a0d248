//! Each point in which an account can differ from its manifest, alone.

use time::macros::datetime;

use super::*;
use crate::manifest::{Copies, Encrypt, LaunchTemplate, Share, TemplateName};
use crate::targets::TargetError;
use crate::targets::ec2::publish::seen::VersionSeen;

const MADE: OffsetDateTime = datetime!(2026-07-27 10:15:30 UTC);

fn account(id: &str) -> Grant {
    Grant::Account(id.to_owned())
}

/// A manifest that wants everything.
fn wish() -> Wish {
    Wish {
        home: "eu-west-1".to_owned(),
        elsewhere: vec!["us-east-1".to_owned()],
        encrypt: Encrypt::default(),
        copies: Copies::default(),
        replaces: false,
        tags: [("Team".to_owned(), "web".to_owned())].into(),
        share: Some(Share {
            with: vec![
                account("111111111111"),
                Grant::Organization("arn:o".to_owned()),
            ],
            snapshots: true,
        }),
        parameter: Some("/ami/web".to_owned()),
        template: Some(LaunchTemplate {
            template: TemplateName::Name("web".to_owned()),
            set_default: true,
        }),
        deprecation: Some(Deprecation::After(std::time::Duration::from_secs(
            90 * 86_400,
        ))),
        protection: Some(Protection::On),
        began: None,
        as_of: MADE,
    }
}

/// A region in which all is as that manifest wants it.
fn complete(id: &str) -> RegionSeen {
    let mut tags = tags::of_released();
    tags.insert("Team".to_owned(), "web".to_owned());
    let all = "launch_template=web regions=us-east-1 share ssm_parameter=/ami/web";
    tags.insert(tags::PUBLISHES.to_owned(), all.to_owned());
    let version = VersionSeen {
        number: 7,
        image: id.to_owned(),
        as_of: None,
    };
    RegionSeen {
        image: Some(ImageSeen {
            id: id.to_owned(),
            description: "a web server".to_owned(),
            tags: tags.clone(),
            snapshots: vec![SnapshotSeen {
                id: format!("snap-of-{id}"),
                tags,
                grants: [account("111111111111")].into(),
            }],
            grants: [
                account("111111111111"),
                Grant::Organization("arn:o".to_owned()),
            ]
            .into(),
            deprecated: Some(datetime!(2026-10-25 10:15 UTC)),
            protection: Some(Protection::On),
        }),
        parameter: Some(ParameterSeen {
            value: id.to_owned(),
            version: 3,
            data_type: "aws:ec2:image".to_owned(),
            later: None,
        }),
        template: Some(TemplateSeen {
            id: "lt-1".to_owned(),
            latest: version.clone(),
            default: version,
            later: None,
        }),
    }
}

fn seen(home: RegionSeen) -> Seen {
    let copy = complete("ami-2");
    Seen {
        at: MADE + Duration::days(1),
        made: MADE,
        regions: [
            ("eu-west-1".to_owned(), Ok(home)),
            ("us-east-1".to_owned(), Ok(copy)),
        ]
        .into(),
    }
}

/// Returns what is told where the image's own region differs so from all that is wanted.
fn told(change: impl FnOnce(&mut RegionSeen)) -> Vec<String> {
    let mut home = complete("ami-1");
    change(&mut home);
    let found = differences(&wish(), &seen(home));
    found.iter().map(ToString::to_string).collect()
}

fn image(there: &mut RegionSeen) -> &mut ImageSeen {
    there.image.as_mut().unwrap()
}

#[test]
fn what_is_as_it_should_be_needs_no_call() {
    assert_eq!(told(|_| {}), [""; 0]);
}

#[test]
fn each_point_that_drifted_is_found_alone() {
    let cases: [(fn(&mut RegionSeen), &str); 15] = [
        (|r| r.image = None, "copy the image"),
        (
            |r| _ = image(r).tags.remove("Team"),
            "tag ami-1 (Team, amibake:publishes)",
        ),
        (
            |r| {
                let tags = &mut image(r).snapshots[0].tags;
                tags.insert("Team".into(), "db".into());
            },
            "tag snap-of-ami-1 (Team, amibake:publishes)",
        ),
        (
            |r| _ = image(r).grants.remove(&account("111111111111")),
            "share ami-1 with account 111111111111",
        ),
        (
            |r| _ = image(r).grants.insert(Grant::Everybody),
            "no longer share ami-1 with everybody",
        ),
        (
            |r| image(r).snapshots[0].grants = [account("222222222222")].into(),
            "share snap-of-ami-1 with account 111111111111; no longer share snap-of-ami-1 with account 222222222222",
        ),
        (
            |r| r.parameter = None,
            "make the parameter /ami/web with ami-1",
        ),
        (
            |r| r.parameter.as_mut().unwrap().value = "ami-0".into(),
            "set /ami/web from ami-0 to ami-1",
        ),
        (
            |r| {
                let template = r.template.as_mut().unwrap();
                template.latest.image = "ami-0".into();
                template.default.image = "ami-0".into();
            },
            "add a version to lt-1 with ami-1, the default one",
        ),
        (
            |r| r.template.as_mut().unwrap().default.image = "ami-0".into(),
            "make version 7 the default of lt-1",
        ),
        (
            |r| _ = image(r).tags.insert(tags::STATE.into(), "passed".into()),
            "release ami-1",
        ),
        (
            |r| image(r).description = "a web server (amibake run 20260727t101500z-0a1b2c)".into(),
            "describe ami-1 as \"a web server\"",
        ),
        (
            |r| image(r).deprecated = None,
            "deprecate ami-1 at 2026-10-25T10:15:30Z",
        ),
        (
            |r| image(r).protection = Some(Protection::Off),
            "protect ami-1 from being deregistered",
        ),
        (|r| image(r).protection = Some(Protection::WithCooldown), ""),
    ];
    for (change, what) in cases {
        let expected: Vec<String> = match what {
            "" => Vec::new(),
            what => vec![format!("eu-west-1: {what}")],
        };
        assert_eq!(told(change), expected);
    }
}

#[test]
fn nothing_outward_comes_before_the_tags_nor_after_the_release() {
    let bare = ImageSeen {
        id: "ami-1".to_owned(),
        description: "web (amibake run 20260727t101500z-0a1b2c)".to_owned(),
        snapshots: vec![SnapshotSeen {
            id: "snap-1".to_owned(),
            ..SnapshotSeen::default()
        }],
        ..ImageSeen::default()
    };
    let there = RegionSeen {
        image: Some(bare),
        template: complete("ami-0").template,
        ..RegionSeen::default()
    };
    let found = differences(&wish(), &seen(there));
    let order: Vec<&str> = found
        .iter()
        .map(|difference| match &difference.change {
            Change::Tag { .. } => "tags",
            Change::Release { .. } => "released",
            Change::Describe { .. } => "described",
            change if change.is_outward() => "outward",
            change if change.comes_after() => "after",
            other => panic!("{other}"),
        })
        .collect();
    let outward = ["outward"; 4];
    let expected: Vec<&str> = ["tags"]
        .into_iter()
        .chain(outward)
        .chain(["released", "described", "after", "after"])
        .collect();
    assert_eq!(order, expected);
}

#[test]
fn what_the_manifest_does_not_speak_of_is_left_as_it_is() {
    let mut home = complete("ami-1");
    image(&mut home).grants.insert(Grant::Everybody);
    image(&mut home)
        .tags
        .insert("Seen-by".into(), "an auditor".into());
    home.parameter = None;
    let wish = Wish {
        share: None,
        parameter: None,
        template: None,
        deprecation: None,
        protection: None,
        ..wish()
    };
    assert_eq!(differences(&wish, &seen(home)), []);
}

#[test]
fn a_region_that_could_not_be_looked_at_keeps_no_other_from_being_mended() {
    let mut seen = seen(complete("ami-1"));
    let down = Err(TargetError::new("no answer"));
    seen.regions.insert("us-east-1".to_owned(), down);
    let home = seen.regions.get_mut("eu-west-1").unwrap();
    home.as_mut().unwrap().parameter = None;
    let found = differences(&wish(), &seen);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].region, "eu-west-1");
}

#[test]
fn an_image_older_than_its_deprecation_is_left_as_it_is_and_told() {
    let mut home = complete("ami-1");
    image(&mut home).deprecated = None;
    let mut seen = seen(home);
    assert_eq!(too_late(&wish(), &seen), [""; 0]);
    seen.at = MADE + Duration::days(91);
    assert_eq!(differences(&wish(), &seen), []);
    // The copy was deprecated when it was time.
    let told = "image.deprecate_after is over for ami-1 in eu-west-1 (2026-10-25T10:15:30Z), and EC2 takes no such date: it is left as it is";
    assert_eq!(too_late(&wish(), &seen), [told]);
}

/// What a tag remembers of a manifest that named other things.
#[test]
fn what_a_manifest_names_no_more_stays_and_is_told_for_as_long_as_the_image_is_used() {
    let other = Wish {
        elsewhere: vec!["eu-central-1".to_owned()],
        parameter: Some("/ami/new".to_owned()),
        template: Some(LaunchTemplate {
            template: TemplateName::Name("db".to_owned()),
            set_default: true,
        }),
        ..wish()
    };
    let mut there = seen(complete("ami-1"));
    let of_copy = there.regions.remove("us-east-1").unwrap();
    there.regions.insert("eu-central-1".to_owned(), of_copy);
    let stays = |what: &str, id: &str, region: &str| {
        format!(
            "the manifest no longer has `image.{what}`, and what it said before stays for {id} in {region}: nothing takes that back by itself"
        )
    };
    let told = forgotten(&other, &there);
    let mut expected = vec![stays("regions: us-east-1", "ami-1", "eu-west-1")];
    for what in ["launch_template: web", "ssm_parameter: /ami/web"] {
        expected.push(stays(what, "ami-1", "eu-west-1"));
        expected.push(stays(what, "ami-2", "eu-central-1"));
    }
    let set = |told: Vec<String>| told.into_iter().collect::<BTreeSet<String>>();
    assert_eq!(set(told), set(expected));
    let image = complete("ami-1").image.unwrap();
    let tag = wanted_tags(&other, &image)[tags::PUBLISHES].clone();
    let both = "launch_template=db launch_template=web regions=eu-central-1 regions=us-east-1 share ssm_parameter=/ami/new ssm_parameter=/ami/web";
    assert_eq!(tag, both);
    // A copy that is new has no such past, and what is too long for a tag is remembered by its key.
    let bare = ImageSeen::default();
    let long = Wish {
        parameter: Some("/a".repeat(200)),
        ..wish()
    };
    assert_eq!(left(&other, &bare), [""; 0]);
    let tag = &wanted_tags(&long, &bare)[tags::PUBLISHES];
    assert_eq!(tag, "launch_template regions share ssm_parameter");
}

#[test]
fn a_template_by_its_id_is_in_the_image_s_own_region_alone() {
    let mut wish = wish();
    wish.template = Some(LaunchTemplate {
        template: TemplateName::Id("lt-1".to_owned()),
        set_default: false,
    });
    let mut seen = seen(complete("ami-1"));
    for there in seen.regions.values_mut() {
        there
            .as_mut()
            .unwrap()
            .template
            .as_mut()
            .unwrap()
            .latest
            .image = "ami-0".into();
    }
    let mut found = differences(&wish, &seen);
    // Their tags remember the one that was named before.
    found.retain(|difference| difference.change.is_outward());
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "eu-west-1: add a version to lt-1 with ami-1"
    );
}

#[test]
fn what_names_an_image_of_a_later_build_is_left_to_it_and_told() {
    let mut home = complete("ami-1");
    let newer = Some("ami-9".to_owned());
    let parameter = home.parameter.as_mut().unwrap();
    parameter.value = "ami-9".to_owned();
    parameter.later.clone_from(&newer);
    let template = home.template.as_mut().unwrap();
    template.latest.image = "ami-9".to_owned();
    template.default.image = "ami-9".to_owned();
    template.later = newer;
    let seen = seen(home);
    assert_eq!(differences(&wish(), &seen), []);
    let told = overtaken(&wish(), &seen);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("the parameter /ami/web in eu-west-1 stays with ami-9"));
    assert!(told[1].starts_with("launch template lt-1 in eu-west-1 stays with ami-9"));
}

#[test]
fn what_a_manifest_is_silent_of_stays_and_is_told_until_it_is_taken_back() {
    let silent = Wish {
        share: None,
        parameter: None,
        ..wish()
    };
    let there = seen(complete("ami-1"));
    assert_eq!(differences(&silent, &there), []);
    let told = forgotten(&silent, &there);
    assert_eq!(told.len(), 4, "{told:?}");
    let share = "the manifest no longer has `image.share`, and what it said before stays for ami-1 in eu-west-1: `share: {}` takes it back";
    assert!(told.contains(&share.to_owned()), "{told:?}");
    assert_eq!(forgotten(&wish(), &there), [""; 0]);
    let back = Wish {
        share: Some(Share::default()),
        ..wish()
    };
    assert_eq!(forgotten(&back, &there), [""; 0]);
    let told: Vec<String> = differences(&back, &there)
        .iter()
        .map(ToString::to_string)
        .collect();
    let tagged = "eu-west-1: tag ami-1, snap-of-ami-1 (Team, amibake:publishes)";
    assert_eq!(told[0], tagged);
    assert!(
        told[1].starts_with("eu-west-1: no longer share ami-1"),
        "{told:?}"
    );
}
