//! `image:`: its name, what machines of it are like, and what is done with it once it has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::files::normal;
use amibake_playbook::yaml::{Fields, Kind, Node};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::model::{Image, TargetKind, Timeouts};
use super::publication::{
    Attributes, BootMode, Copies, Deprecation, Encrypt, Grant, ImdsSupport, LaunchTemplate,
    Protection, Publication, Share, TemplateName, TpmSupport,
};
use super::variables::Variables;
use super::{read, region};

const KEYS: &[&str] = &[
    "name",
    "tags",
    "encrypt",
    "description",
    "ports",
    "imds_support",
    "boot_mode",
    "uefi_data",
    "ena_support",
    "tpm_support",
    "max_age",
    "keep",
    "replace",
    "regions",
    "copies",
    "share",
    "ssm_parameter",
    "launch_template",
    "deprecate_after",
    "deregistration_protection",
];

/// EC2 takes fifty tags, of which ours are ten.
const MOST_TAGS: usize = 40;

/// How old an image may be that is used again.
const MAX_AGE: Duration = Duration::from_secs(7 * DAY);

const DAY: u64 = 86_400;

/// EC2 takes 64 KB of UEFI variables.
const LONGEST_UEFI_DATA: usize = 64 * 1024;

/// EC2 takes no date that is more than ten years off.
const LONGEST_DAYS: u64 = 3_650;

/// Reads `image:`; `name` is the manifest's, `folder` where relative paths start.
pub(super) fn image(
    node: Option<&Node>,
    usual_name: String,
    name: &str,
    folder: &Path,
    variables: &Variables,
) -> Result<Image, Diagnostic> {
    let Some(node) = node else {
        return Ok(Image::called(usual_name));
    };
    let fields = node.fields("`image`", KEYS)?;
    whole(&fields, usual_name, name, folder, variables)
}

fn whole(
    fields: &Fields<'_>,
    usual_name: String,
    name: &str,
    folder: &Path,
    variables: &Variables,
) -> Result<Image, Diagnostic> {
    let encrypt = fields
        .get("encrypt")
        .map_or(Ok(Encrypt::default()), |n| encrypt(n, variables))?;
    let publication = publication(fields, name, variables)?;
    check_keys(fields, &encrypt, &publication)?;
    check_share(fields, &encrypt, &publication)?;
    let longest = Duration::from_secs(LONGEST_DAYS * DAY);
    let name = read::text(fields, "name", variables)?.unwrap_or(usual_name);
    let replace = replace(fields, &name, &publication)?;
    Ok(Image {
        name,
        tags: tags(fields, variables)?,
        encrypt,
        description: description(fields, variables)?,
        ports: fields.get("ports").map(ports).transpose()?,
        attributes: attributes(fields, folder, variables)?,
        max_age: read::duration_up_to(fields, "max_age", longest)?.unwrap_or(MAX_AGE),
        keep: read::number(fields, "keep", 1, 1_000)?,
        replace,
        publication,
    })
}

impl Image {
    /// Returns what a manifest without `image` wants, by this name.
    pub(super) fn called(name: String) -> Self {
        Self {
            name,
            tags: BTreeMap::new(),
            encrypt: Encrypt::default(),
            description: None,
            ports: None,
            attributes: Attributes::default(),
            max_age: MAX_AGE,
            keep: None,
            replace: false,
            publication: Publication::default(),
        }
    }
}

fn publication(
    fields: &Fields<'_>,
    name: &str,
    variables: &Variables,
) -> Result<Publication, Diagnostic> {
    Ok(Publication {
        regions: regions(fields, variables)?,
        copies: fields
            .get("copies")
            .map(copies)
            .transpose()?
            .unwrap_or_default(),
        share: fields
            .get("share")
            .map(|node| share(node, name, variables))
            .transpose()?,
        ssm_parameter: parameter(fields, variables)?,
        launch_template: fields
            .get("launch_template")
            .map(|node| launch_template(node, variables))
            .transpose()?,
        deprecate_after: fields.get("deprecate_after").map(deprecation).transpose()?,
        deregistration_protection: fields
            .get("deregistration_protection")
            .map(protection)
            .transpose()?,
    })
}

fn regions(fields: &Fields<'_>, variables: &Variables) -> Result<Vec<String>, Diagnostic> {
    let regions = read::texts(fields, "regions", variables)?;
    let Some(node) = fields.get("regions") else {
        return Ok(regions);
    };
    let mut seen = BTreeSet::new();
    for region in &regions {
        region::check(node, region)?;
        if !seen.insert(region) {
            let message = format!("`{region}` is there twice");
            return Err(Diagnostic::new(&node.span, message));
        }
    }
    Ok(regions)
}

fn copies(node: &Node) -> Result<Copies, Diagnostic> {
    let fields = node.fields("`copies`", &["at_once", "within"])?;
    let usual = Copies::default();
    Ok(Copies {
        at_once: read::number(&fields, "at_once", 1, 100)?.unwrap_or(usual.at_once),
        within_minutes: within(&fields)?,
    })
}

/// EC2 takes quarters of an hour, up to two days.
fn within(fields: &Fields<'_>) -> Result<Option<u16>, Diagnostic> {
    let Some(time) = read::duration(fields, "within")? else {
        return Ok(None);
    };
    let minutes = time.as_secs() / 60;
    let is_whole = time.as_secs() % 900 == 0;
    match u16::try_from(minutes) {
        Ok(minutes @ 15..=2_880) if is_whole => Ok(Some(minutes)),
        _ => Err(Diagnostic::new(
            &fields.require("within")?.span,
            "`within` must be quarters of an hour, from 15m to 48h",
        )),
    }
}

/// Refuses a time for copies that is longer than anybody waits for them.
pub(super) fn check_copies(
    copies: &Copies,
    timeouts: &Timeouts,
    node: &Node,
) -> Result<(), Diagnostic> {
    let Some(minutes) = copies.within_minutes else {
        return Ok(());
    };
    let within = Duration::from_secs(u64::from(minutes) * 60);
    let limits = [("image", timeouts.image), ("total", timeouts.total)];
    match limits.into_iter().find(|(_, limit)| *limit < within) {
        None => Ok(()),
        Some((limit, _)) => Err(Diagnostic::new(
            &node.span,
            format!("`copies.within` is longer than `builder.timeouts.{limit}`, after which a copy is given up"),
        )
        .hint(format!("`builder: {{timeouts: {{{limit}: …}}}}` gives it the time"))),
    }
}

fn share(node: &Node, name: &str, variables: &Variables) -> Result<Share, Diagnostic> {
    let known = [
        "accounts",
        "organizations",
        "organizational_units",
        "public",
        "confirm_public",
        "snapshots",
    ];
    let fields = node.fields("`share`", &known)?;
    let mut with = Vec::new();
    for id in read::texts(&fields, "accounts", variables)? {
        let is_account = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
        with.push(checked(
            &fields,
            "accounts",
            id,
            is_account,
            "an account of twelve digits (in quotes: YAML drops leading zeros)",
            Grant::Account,
        )?);
    }
    for arn in read::texts(&fields, "organizations", variables)? {
        let is_arn = is_arn_of(&arn, "organization/o-");
        with.push(checked(
            &fields,
            "organizations",
            arn,
            is_arn,
            "an ARN such as arn:aws:organizations::123456789012:organization/o-abcde12345",
            Grant::Organization,
        )?);
    }
    for arn in read::texts(&fields, "organizational_units", variables)? {
        let is_arn = is_arn_of(&arn, "ou/o-");
        with.push(checked(
            &fields,
            "organizational_units",
            arn,
            is_arn,
            "an ARN such as arn:aws:organizations::123456789012:ou/o-abcde12345/ou-ab12-cdefgh34",
            Grant::OrganizationalUnit,
        )?);
    }
    if is_public(&fields, name)? {
        with.push(Grant::Everybody);
    }
    let snapshots = fields.bool("snapshots")?.unwrap_or(false);
    if snapshots
        && !with
            .iter()
            .any(|g| matches!(g, Grant::Account(_) | Grant::Everybody))
    {
        let span = &fields.require("snapshots")?.span;
        return Err(
            Diagnostic::new(span, "`snapshots` needs `accounts` or `public`")
                .hint("EC2 shares snapshots with neither organisations nor their units"),
        );
    }
    with.sort();
    with.dedup();
    Ok(Share { with, snapshots })
}

fn is_arn_of(arn: &str, what: &str) -> bool {
    let rest = arn.strip_prefix("arn:aws");
    let rest = rest.and_then(|rest| rest.split_once(":organizations::"));
    let rest = rest.and_then(|(_, rest)| rest.split_once(':'));
    rest.is_some_and(|(account, rest)| {
        account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with(what)
    })
}

fn checked(
    fields: &Fields<'_>,
    key: &str,
    value: String,
    is_good: bool,
    must: &str,
    grant: fn(String) -> Grant,
) -> Result<Grant, Diagnostic> {
    match is_good {
        true => Ok(grant(value)),
        false => {
            let message = format!("`{key}` must be {must}, not `{value}`");
            Err(Diagnostic::new(&fields.require(key)?.span, message))
        }
    }
}

/// An image that everybody may launch is rarely meant, and cannot be called back: the manifest says
/// so twice, the second time by its own name, which a copied manifest does not have.
fn is_public(fields: &Fields<'_>, name: &str) -> Result<bool, Diagnostic> {
    // As it stands there: a variable would be as right in a copied manifest.
    let confirmed = fields.text("confirm_public")?;
    let Some(node) = fields.get("public") else {
        return match fields.get("confirm_public") {
            None => Ok(false),
            Some(node) => Err(Diagnostic::new(
                &node.span,
                "`confirm_public` without `public: true`",
            )),
        };
    };
    if !node.expect_bool("`public`")? || confirmed.as_deref() == Some(name) {
        return node.expect_bool("`public`");
    }
    Err(Diagnostic::new(
        &node.span,
        "`public` lets everybody who uses AWS launch this image",
    )
    .hint(format!(
        "if that is meant, say it again: `confirm_public: {name}`"
    )))
}

/// See <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>.
fn parameter(fields: &Fields<'_>, variables: &Variables) -> Result<Option<String>, Diagnostic> {
    let (Some(name), Some(node)) = (
        read::text(fields, "ssm_parameter", variables)?,
        fields.get("ssm_parameter"),
    ) else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        let message = format!("`{name}` cannot be an SSM parameter: {why}");
        Err(Diagnostic::new(&node.span, message))
    };
    let fit = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    match () {
        () if name.is_empty() || !name.chars().all(fit) => {
            wrong("it has letters, digits and _.-/ alone")
        }
        () if first.starts_with("aws") || first.starts_with("ssm") => {
            wrong("names that begin with aws or ssm are Amazon's own")
        }
        () if name.contains('/') && !name.starts_with('/') => {
            wrong("one with levels begins with `/`")
        }
        () if name.contains("//") || name.ends_with('/') => wrong("a level is empty"),
        () if name.matches('/').count() > 15 || name.len() > 900 => {
            wrong("it has at most 15 levels and 900 characters")
        }
        () => Ok(Some(name)),
    }
}

fn launch_template(node: &Node, variables: &Variables) -> Result<LaunchTemplate, Diagnostic> {
    let named = |text: String| match text.starts_with("lt-") {
        true => TemplateName::Id(text),
        false => TemplateName::Name(text),
    };
    if !matches!(node.kind, Kind::Map(_)) {
        let template = named(read::fill(node, "`launch_template`", variables)?);
        return Ok(LaunchTemplate {
            template,
            set_default: false,
        });
    }
    let fields = node.fields("`launch_template`", &["name", "id", "set_default"])?;
    let (id, name) = (
        read::text(&fields, "id", variables)?,
        read::text(&fields, "name", variables)?,
    );
    let template = match (id, name) {
        (Some(id), None) if read::is_id(&id, "lt-") => TemplateName::Id(id),
        (Some(id), None) => {
            let message = format!("`{id}` is not a launch template's id such as lt-0abc1234");
            let place = &fields.require("id")?.span;
            return Err(
                Diagnostic::new(place, message).hint(format!("its name is given by `name: {id}`"))
            );
        }
        (None, Some(name)) => TemplateName::Name(name),
        _ => {
            return Err(Diagnostic::new(
                &node.span,
                "`launch_template` has a `name` or an `id`",
            ));
        }
    };
    let set_default = fields.bool("set_default")?.unwrap_or(false);
    Ok(LaunchTemplate {
        template,
        set_default,
    })
}

/// A time from the image's making on, or a date.
fn deprecation(node: &Node) -> Result<Deprecation, Diagnostic> {
    let text = node.expect_text("`deprecate_after`")?;
    let day = format_description!("[year]-[month]-[day]");
    if let Ok(date) = Date::parse(&text, &day) {
        return Ok(Deprecation::At(date.midnight().assume_utc()));
    }
    if let Ok(moment) = OffsetDateTime::parse(&text, &Rfc3339) {
        return Ok(Deprecation::At(moment));
    }
    let longest = Duration::from_secs(LONGEST_DAYS * DAY);
    match read::span_of(&text, longest) {
        Some(time) => Ok(Deprecation::After(time)),
        None => Err(Diagnostic::new(
            &node.span,
            format!(
                "`deprecate_after` must be a time such as 90d (ten years at most) or a date such as 2027-03-31, not `{text}`"
            ),
        )),
    }
}

fn protection(node: &Node) -> Result<Protection, Diagnostic> {
    if node.as_str() == Some("with-cooldown") {
        return Ok(Protection::WithCooldown);
    }
    match node.expect_bool("`deregistration_protection`") {
        Ok(true) => Ok(Protection::On),
        Ok(false) => Ok(Protection::Off),
        Err(wrong) => Err(Diagnostic::new(
            &wrong.span,
            "`deregistration_protection` must be true, false or with-cooldown",
        )),
    }
}

fn attributes(
    fields: &Fields<'_>,
    folder: &Path,
    variables: &Variables,
) -> Result<Attributes, Diagnostic> {
    let imds_support = match word(fields, "imds_support", &["v2.0", "account-default"])? {
        Some(1) => ImdsSupport::AccountDefault,
        _ => ImdsSupport::V2,
    };
    let modes = BootMode::ALL.map(BootMode::as_str);
    let boot_mode = word(fields, "boot_mode", &modes)?;
    let boot_mode = boot_mode.and_then(|at| BootMode::ALL.get(at).copied());
    let tpm_support = word(fields, "tpm_support", &["v2.0"])?.map(|_| TpmSupport::V2);
    let uefi_data = fields
        .get("uefi_data")
        .map(|node| uefi_data(node, folder, variables))
        .transpose()?;
    for (key, is_there) in [
        ("tpm_support", tpm_support.is_some()),
        ("uefi_data", uefi_data.is_some()),
    ] {
        if is_there && boot_mode == Some(BootMode::LegacyBios) {
            let message = format!("`{key}` needs machines that boot by UEFI");
            return Err(Diagnostic::new(&fields.require(key)?.span, message)
                .hint("`boot_mode` is legacy-bios"));
        }
    }
    Ok(Attributes {
        imds_support,
        boot_mode,
        uefi_data,
        ena_support: fields.bool("ena_support")?,
        tpm_support,
    })
}

/// Returns which of a few words is the value.
fn word(fields: &Fields<'_>, key: &str, words: &[&str]) -> Result<Option<usize>, Diagnostic> {
    let Some(node) = fields.get(key) else {
        return Ok(None);
    };
    let text = node.expect_text(&format!("`{key}`"))?;
    match words.iter().position(|word| *word == text) {
        Some(at) => Ok(Some(at)),
        None => Err(Diagnostic::new(
            &node.span,
            format!("`{key}` must be {}, not `{text}`", words.join(" or ")),
        )),
    }
}

/// Reads the file at once: it is part of what the image is.
fn uefi_data(node: &Node, folder: &Path, variables: &Variables) -> Result<String, Diagnostic> {
    let path = normal(&folder.join(read::fill(node, "a path", variables)?));
    let wrong = |why: String| Diagnostic::new(&node.span, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
    let data: String = text.split_whitespace().collect();
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if data.is_empty() || data.len() > LONGEST_UEFI_DATA || !data.chars().all(is_base64) {
        return Err(wrong("these are no UEFI variables in base64".to_owned())
            .hint("`aws ec2 get-instance-uefi-data --query UefiData --output text` writes them"));
    }
    Ok(data)
}

fn tags(
    fields: &Fields<'_>,
    variables: &Variables,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let tags = read::table(fields, "tags", variables)?;
    let Some(node) = fields.get("tags") else {
        return Ok(tags);
    };
    check_tags(&tags, node)?;
    Ok(tags)
}

/// Returns why EC2 or amibake would not take these tags.
fn check_tags(tags: &BTreeMap<String, String>, node: &Node) -> Result<(), Diagnostic> {
    let reserved = |key: &&String| {
        let key = key.to_ascii_lowercase();
        key.starts_with("amibake:") || key.starts_with("aws:")
    };
    let fits = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.len() > MOST_TAGS || !tags.iter().all(fits) {
        let message = format!(
            "EC2 takes {MOST_TAGS} `tags` besides ours, with keys of 128 and values of 256 characters"
        );
        return Err(Diagnostic::new(&node.span, message));
    }
    if let Some(key) = tags.keys().find(reserved) {
        let message = format!("`{key}` cannot be among `tags`: that prefix is not yours");
        return Err(Diagnostic::new(&node.span, message));
    }
    Ok(())
}

/// Refuses tags of the builder's that EC2 would not take, alone or together with the image's, which has both.
pub(super) fn check_builder_tags(
    of_builder: &BTreeMap<String, String>,
    of_image: &BTreeMap<String, String>,
    node: &Node,
) -> Result<(), Diagnostic> {
    check_tags(of_builder, node)?;
    let all: BTreeSet<&String> = of_builder.keys().chain(of_image.keys()).collect();
    if all.len() <= MOST_TAGS {
        return Ok(());
    }
    let message = format!(
        "the image would have {} tags of `builder.tags` and `image.tags`, and EC2 takes {MOST_TAGS} besides ours",
        all.len()
    );
    Err(Diagnostic::new(&node.span, message))
}

fn ports(node: &Node) -> Result<Vec<u16>, Diagnostic> {
    let mut ports = Vec::new();
    for item in node.expect_seq("`ports`")? {
        let number = item.expect_int("a port")?;
        let wrong = |message: String| Err(Diagnostic::new(&item.span, message));
        match u16::try_from(number) {
            Ok(port) if ports.contains(&port) => {
                return wrong(format!("port {port} is there twice"));
            }
            Ok(port) if port > 0 => ports.push(port),
            _ => return wrong(format!("a port is between 1 and 65535, not {number}")),
        }
    }
    Ok(ports)
}

/// EC2 takes 255 characters, of which ours are some.
fn description(fields: &Fields<'_>, variables: &Variables) -> Result<Option<String>, Diagnostic> {
    let text = read::text(fields, "description", variables)?;
    match (
        text.as_ref().map(|text| text.chars().count()),
        fields.get("description"),
    ) {
        (Some(length @ 141..), Some(node)) => {
            let message = format!("a description has at most 140 characters, not {length}");
            Err(Diagnostic::new(&node.span, message))
        }
        (_, Some(node)) if text.as_ref().is_some_and(|text| !text.is_ascii()) => {
            let message = "a description has ASCII characters alone: EC2 takes no others";
            Err(Diagnostic::new(&node.span, message))
        }
        _ => Ok(text),
    }
}

/// Refuses a name that the target would refuse when all the work is done.
pub(super) fn check_name(name: &str, target: TargetKind, place: &Node) -> Result<(), Diagnostic> {
    // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
    let ec2 = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    let file = |c: char| c != '/' && !c.is_control();
    let (fits, must) = match target {
        TargetKind::Ec2 => (
            (3..=128).contains(&name.len()) && name.chars().all(ec2),
            "have 3 to 128 letters, digits, spaces and ()[]./-'@_ on EC2",
        ),
        TargetKind::Container | TargetKind::Vm => (
            (1..=128).contains(&name.len()) && name.chars().all(file),
            "have 1 to 128 bytes and no `/` where it is a file's name",
        ),
    };
    if fits {
        return Ok(());
    }
    let message = format!("the image name must {must}, not `{name}`");
    Err(Diagnostic::new(&place.span, message))
}

fn encrypt(node: &Node, variables: &Variables) -> Result<Encrypt, Diagnostic> {
    if let Kind::Bool(on) = node.kind {
        return Ok(match on {
            true => Encrypt::default(),
            false => Encrypt::Off,
        });
    }
    let fields = node.fields("`encrypt`", &["kms_key", "regions"])?;
    Ok(Encrypt::On {
        kms_key: read::text(&fields, "kms_key", variables)?,
        regions: read::table(&fields, "regions", variables)?,
    })
}

/// A key is of one region, and only an alias may be there in another too.
fn check_keys(
    fields: &Fields<'_>,
    encrypt: &Encrypt,
    publication: &Publication,
) -> Result<(), Diagnostic> {
    let Encrypt::On { kms_key, regions } = encrypt else {
        return Ok(());
    };
    let Some(node) = fields.get("encrypt") else {
        return Ok(());
    };
    for region in regions.keys() {
        region::check(node, region)?;
        if !publication.regions.contains(region) {
            let message =
                format!("`encrypt.regions` has a key for {region}, which is not in `regions`");
            return Err(Diagnostic::new(&node.span, message));
        }
    }
    let is_alias = |key: &String| key.starts_with("alias/");
    let Some(key) = kms_key.as_ref().filter(|key| !is_alias(key)) else {
        return Ok(());
    };
    // The builder's own region may be among them, and the key's ARN says which that is.
    let of = region_of(key);
    let mut keyless = publication.regions.iter();
    match keyless.find(|region| !regions.contains_key(*region) && of != Some(region.as_str())) {
        None => Ok(()),
        Some(region) => {
            let message = format!("{region} has no key for its copy: `{key}` is of one region");
            Err(Diagnostic::new(&node.span, message).hint(format!(
                "name one, `encrypt: {{regions: {{{region}: alias/…}}}}`, or an alias that each region has"
            )))
        }
    }
}

/// Refuses keys of other regions than those that they are for: an ARN says which region has the key.
pub(super) fn check_key_regions(
    encrypt: &Encrypt,
    home: Option<&str>,
    node: &Node,
) -> Result<(), Diagnostic> {
    let Encrypt::On { kms_key, regions } = encrypt else {
        return Ok(());
    };
    let own = kms_key.iter().zip(home);
    let copies = regions.iter().map(|(region, key)| (key, region.as_str()));
    for (key, region) in own.chain(copies) {
        let of = region_of(key).filter(|of| *of != region);
        if let Some(of) = of {
            let message = format!("`{key}` is a key of {of}, and is to encrypt in {region}");
            return Err(Diagnostic::new(&node.span, message)
                .hint("name a key of that region, or an alias that each region has"));
        }
    }
    Ok(())
}

/// Returns the region in a key's ARN.
fn region_of(key: &str) -> Option<&str> {
    key.strip_prefix("arn:")?.split(':').nth(2)
}

/// EC2's names have 128 characters, and the spare of an image that is replaced has its run's beside its own.
const LONGEST_REPLACED: usize = 79;

/// An image that is replaced has another id, by which nobody may know it.
fn replace(fields: &Fields<'_>, name: &str, publication: &Publication) -> Result<bool, Diagnostic> {
    let Some(node) = fields.get("replace") else {
        return Ok(false);
    };
    if !node.expect_bool("`replace`")? {
        return Ok(false);
    }
    let wrong = |message: &str, hint: &str| Err(Diagnostic::new(&node.span, message).hint(hint));
    if publication.ssm_parameter.is_some() || publication.launch_template.is_some() {
        return wrong(
            "`replace` takes an image away that `ssm_parameter` or `launch_template` names",
            "with one of these, put {{ build_time }} into the name in its place: they are the stable handle",
        );
    }
    if !matches!(
        publication.deregistration_protection,
        None | Some(Protection::Off)
    ) {
        return wrong(
            "`replace` takes an image away, and `deregistration_protection` keeps it",
            "leave one of them out",
        );
    }
    match name.chars().count() > LONGEST_REPLACED {
        true => wrong(
            "a name that is replaced has at most 79 characters",
            "the image that makes way has a longer one meanwhile",
        ),
        false => Ok(true),
    }
}

/// What EC2 would refuse, or would let others have an image of that they cannot launch.
fn check_share(
    fields: &Fields<'_>,
    encrypt: &Encrypt,
    publication: &Publication,
) -> Result<(), Diagnostic> {
    let (Some(share), Some(node)) = (&publication.share, fields.get("share")) else {
        return Ok(());
    };
    if share.with.contains(&Grant::Everybody) && encrypt.is_on() {
        return Err(
            Diagnostic::new(&node.span, "an encrypted image cannot be public").hint(
                "`encrypt: false` makes it unencrypted, unless the account's default is to encrypt",
            ),
        );
    }
    if publication.is_shared() && encrypt.has_default_key() {
        return Err(Diagnostic::new(
            &node.span,
            "an image that is encrypted with the account's default key cannot be shared",
        )
        .hint("name a key of your own that the others may use: `encrypt: {kms_key: alias/…}`; or `encrypt: false`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
