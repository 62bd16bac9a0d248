//! `image:` as it is read, and what of it is refused.

use amibake_playbook::yaml;
use time::macros::datetime;

use super::*;

fn read(text: &str) -> Result<Image, Diagnostic> {
    let path = Path::new("/m/web.yaml");
    let document = yaml::parse(path, text.as_bytes()).unwrap();
    let fields = document.root.fields("`image`", KEYS)?;
    let variables = Variables::default().with("arch", "amd64");
    let usual = "web-1".to_owned();
    whole(&fields, usual, "web", Path::new("/"), &variables)
}

fn good(text: &str) -> Image {
    read(text).unwrap_or_else(|wrong| panic!("{wrong}"))
}

const OU: &str = "arn:aws:organizations::123456789012:ou/o-abcde12345/ou-ab12-cdefgh34";
const ORGANIZATION: &str = "arn:aws:organizations::123456789012:organization/o-abcde12345";

#[test]
fn a_publication_is_read_with_all_its_keys() {
    let text = format!(
        "regions: [us-east-1, eu-central-1]
copies: {{at_once: 2, within: 30m}}
encrypt: {{kms_key: alias/ami}}
share: {{accounts: ['210987654321', '123456789012'], organizations: ['{ORGANIZATION}'], organizational_units: '{OU}', snapshots: true}}
ssm_parameter: /ami/web/{{{{ arch }}}}
launch_template: {{name: web, set_default: true}}
deprecate_after: 90d
deregistration_protection: with-cooldown
max_age: 60d
keep: 5
"
    );
    let image = good(&text);
    let days = |days| Duration::from_secs(days * DAY);
    let publication = Publication {
        regions: vec!["us-east-1".to_owned(), "eu-central-1".to_owned()],
        copies: Copies {
            at_once: 2,
            within_minutes: Some(30),
        },
        share: Some(Share {
            with: vec![
                Grant::Account("123456789012".to_owned()),
                Grant::Account("210987654321".to_owned()),
                Grant::Organization(ORGANIZATION.to_owned()),
                Grant::OrganizationalUnit(OU.to_owned()),
            ],
            snapshots: true,
        }),
        ssm_parameter: Some("/ami/web/amd64".to_owned()),
        launch_template: Some(LaunchTemplate {
            template: TemplateName::Name("web".to_owned()),
            set_default: true,
        }),
        deprecate_after: Some(Deprecation::After(days(90))),
        deregistration_protection: Some(Protection::WithCooldown),
    };
    assert_eq!(image.publication, publication);
    assert_eq!((image.max_age, image.keep), (days(60), Some(5)));
    assert!(!image.replace);
    assert_eq!(good("{}").max_age, days(7));
    assert_eq!(good("{}").publication, Publication::default());
}

#[test]
fn an_image_is_replaced_that_nobody_knows_by_its_id() {
    assert!(good("{name: web, replace: true, tags: {Team: web}}").replace);
    assert!(good("{name: web, replace: true, regions: [us-east-1]}").replace);
    assert!(!good("{replace: false, regions: [us-east-1]}").replace);
    let long = "w".repeat(80);
    for (more, told) in [
        ("ssm_parameter: /ami/web", "names"),
        ("launch_template: web", "names"),
        (&format!("name: {long}"), "79 characters"),
    ] {
        let wrong = read(&format!("{{replace: true, {more}}}")).unwrap_err();
        let wrong = wrong.to_string();
        assert!(wrong.contains("replace") && wrong.contains(told), "{wrong}");
    }
}

#[test]
fn short_forms_mean_what_they_say() {
    let template = |text: &str| good(text).publication.launch_template.unwrap().template;
    assert_eq!(
        template("launch_template: lt-0abc12"),
        TemplateName::Id("lt-0abc12".to_owned())
    );
    assert_eq!(
        template("launch_template: web"),
        TemplateName::Name("web".to_owned())
    );
    let until = |text: &str| good(text).publication.deprecate_after.unwrap();
    for date in ["2027-03-31", "2027-03-31T00:00:00Z"] {
        let date = format!("deprecate_after: {date}");
        assert_eq!(
            until(&date),
            Deprecation::At(datetime!(2027-03-31 00:00 UTC))
        );
    }
    assert_eq!(good("encrypt: false").encrypt, Encrypt::Off);
    assert_eq!(good("encrypt: true").encrypt, Encrypt::default());
    assert_eq!(good("{}").attributes.imds_support, ImdsSupport::V2);
    let attributes = good(
        "{imds_support: account-default, boot_mode: uefi, tpm_support: v2.0, ena_support: true}",
    )
    .attributes;
    assert_eq!(attributes.imds_support, ImdsSupport::AccountDefault);
    assert_eq!(attributes.boot_mode, Some(BootMode::Uefi));
    assert_eq!(attributes.tpm_support, Some(TpmSupport::V2));
    assert_eq!(attributes.ena_support, Some(true));
}

/// What EC2 would refuse when all the work is done, or what is hardly meant.
#[test]
fn what_cannot_be_published_is_refused_where_it_stands() {
    for (text, told) in [
        (
            "regions: [us-west-2c]",
            "`us-west-2c` is a zone, not a region\nhint: its region is us-west-2",
        ),
        (
            "regions: [us-west-2-lax-1a]",
            "`us-west-2-lax-1a` is a zone, not a region\nhint: its region is us-west-2",
        ),
        ("regions: [useast1]", "not the name of a region"),
        ("regions: [us-east-1, us-east-1]", "there twice"),
        ("copies: {within: 20m}", "quarters of an hour"),
        ("copies: {within: 3d}", "quarters of an hour"),
        ("copies: {at_once: 0}", "between 1 and 100"),
        (
            "{share: {accounts: [12345]}, encrypt: false}",
            "an account of twelve digits",
        ),
        (
            "{share: {organizations: [o-abc]}, encrypt: false}",
            "an ARN such as",
        ),
        (
            "{share: {organizational_units: ['arn:aws:organizations::123456789012:organization/o-a']}, encrypt: false}",
            "ou-ab12",
        ),
        (
            "share: {accounts: ['123456789012']}",
            "the account's default key cannot be shared",
        ),
        (
            "{share: {accounts: ['123456789012']}, encrypt: {kms_key: alias/aws/ebs}}",
            "default key",
        ),
        (
            "{share: {accounts: ['123456789012']}, encrypt: {kms_key: alias/own, regions: {us-east-1: alias/aws/ebs}}, regions: [us-east-1]}",
            "default key",
        ),
        (
            "{name: web, replace: true, deregistration_protection: true}",
            "`deregistration_protection` keeps it",
        ),
        (
            "{share: {public: true}, encrypt: false}",
            "say it again: `confirm_public: web`",
        ),
        (
            "{share: {public: true, confirm_public: other}, encrypt: false}",
            "confirm_public: web",
        ),
        (
            "{share: {confirm_public: web}, encrypt: false}",
            "without `public: true`",
        ),
        (
            "share: {public: true, confirm_public: web}",
            "an encrypted image cannot be public",
        ),
        (
            "{share: {organizations: ['arn:aws:organizations::123456789012:organization/o-a'], snapshots: true}, encrypt: false}",
            "`snapshots` needs",
        ),
        ("ssm_parameter: /aws/web", "Amazon's own"),
        ("ssm_parameter: ami/web", "begins with `/`"),
        ("ssm_parameter: /ami//web", "a level is empty"),
        ("ssm_parameter: /ami/we b", "letters, digits"),
        (
            "launch_template: {set_default: true}",
            "a `name` or an `id`",
        ),
        ("deprecate_after: soon", "such as 90d"),
        ("deprecate_after: 11000d", "ten years at most"),
        (
            "deregistration_protection: maybe",
            "true, false or with-cooldown",
        ),
        ("boot_mode: bios", "legacy-bios or uefi or uefi-preferred"),
        (
            "{boot_mode: legacy-bios, tpm_support: v2.0}",
            "needs machines that boot by UEFI",
        ),
        ("uefi_data: nowhere.bin", "/nowhere.bin: No such file"),
        (
            "tags: {amibake:state: released}",
            "that prefix is not yours",
        ),
        ("max_age: never", "`max_age` must be a time"),
        (
            "{encrypt: {kms_key: 'arn:aws:kms:eu-west-1:123456789012:key/1'}, regions: [eu-west-1, us-east-1]}",
            "us-east-1 has no key",
        ),
    ] {
        let wrong = read(text).expect_err(text);
        let hint = wrong.hint.iter().map(|hint| format!("\nhint: {hint}"));
        let said = wrong.message.clone() + &hint.collect::<String>();
        assert!(said.contains(told), "{text}: {said}");
        assert!(wrong.span.line > 0, "{text}");
    }
}

#[test]
fn everybody_may_have_what_is_said_twice_and_is_not_encrypted() {
    let image =
        good("{share: {public: true, confirm_public: web, snapshots: true}, encrypt: false}");
    let share = image.publication.share.unwrap();
    assert_eq!(
        (share.with, share.snapshots),
        (vec![Grant::Everybody], true)
    );
    assert!(
        good("share: {public: false}")
            .publication
            .share
            .unwrap()
            .with
            .is_empty()
    );
}
