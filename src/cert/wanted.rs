//! What is wanted of a certificate, whether that asks for a new one, and what came of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::domain::Domain;
use super::key_file::KeyFile;
use super::name::{CertName, NAME_TAG};
use super::pair::Pair;
use super::read::{KeyKind, Seen};
use crate::exit::Leftover;
use crate::targets::TargetError;

/// ACM takes no more names in one certificate.
pub(crate) const MOST_DOMAINS: usize = 100;

/// Where certificates are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Store {
    /// Certificate Manager
    Acm,
    /// IAM, for regions without Certificate Manager
    Iam,
}

/// What is to be there.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: CertName,
    pub(crate) store: Store,
    /// Without any, those of the certificate that is there.
    pub(crate) domains: Vec<Domain>,
    pub(crate) valid_for: Duration,
    /// A certificate that ends within this time is renewed.
    pub(crate) renew_before: Duration,
    /// Whether it is renewed although nothing asks for it.
    pub(crate) forced: bool,
    /// Where a new key is written to.
    pub(crate) key_file: Option<PathBuf>,
}

/// A certificate that is there as it was wanted.
#[derive(Debug)]
pub(crate) struct Ensured {
    pub(crate) arn: String,
    /// As PEM.
    pub(crate) certificate: String,
    pub(crate) domains: BTreeSet<Domain>,
    pub(crate) ends: OffsetDateTime,
    /// Why it was made; nothing if it was there.
    pub(crate) made: Option<Reason>,
    /// What the user should know besides.
    pub(crate) warnings: Vec<String>,
    /// What should be gone and is not.
    pub(crate) left_behind: Vec<Leftover>,
}

/// Why a certificate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is none of its name.
    New,
    EndsSoon(OffsetDateTime),
    OtherDomains,
    Forced,
}

/// Returns why a certificate is to be made in the place of the one that is there; nothing if that will do.
///
/// # Errors
/// That nothing says what it is for, or that another can not take the place of what is there.
pub(super) fn reason(
    wanted: &Wanted,
    there: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<Option<Reason>, TargetError> {
    let asked: BTreeSet<Domain> = wanted.domains.iter().cloned().collect();
    let Some(there) = there else {
        return match asked.is_empty() {
            true => Err(nameless(&wanted.name)),
            false => Ok(Some(Reason::New)),
        };
    };
    Ok(if wanted.forced {
        Some(Reason::Forced)
    } else if !asked.is_empty() && asked != there.domains {
        Some(Reason::OtherDomains)
    } else if there.ends <= now + wanted.renew_before {
        Some(Reason::EndsSoon(there.ends))
    } else {
        None
    })
}

fn nameless(name: &CertName) -> TargetError {
    TargetError::manifest(format!(
        "there is no certificate {name} yet, and what it is for is not said"
    ))
    .with_hint("--domain names what clients ask for: --domain hello.example.com")
}

/// Refuses to put a certificate of ours in the place of another's, or of one whose place it cannot take.
pub(super) fn check_replaceable(arn: &str, there: &Seen) -> Result<(), TargetError> {
    if let Some(issuer) = &there.issuer {
        return Err(TargetError::new(format!(
            "{arn} is signed by {issuer}, and is not replaced by a self-signed certificate"
        ))
        .with_hint(format!(
            "take the tag {NAME_TAG} off it, and a new certificate is made; or renew it with its issuer"
        )));
    }
    match &there.key {
        KeyKind::P256 => Ok(()),
        KeyKind::Other(kind) => Err(TargetError::new(format!(
            "{arn} has a key of the kind {kind}, and ACM lets no other kind (EC 256 is what is made here) take its place"
        ))
        .with_hint(format!(
            "take the tag {NAME_TAG} off it: a new certificate is made, with an ARN of its own"
        ))),
    }
}

/// Returns what a new certificate is for: what was asked for, or what the old one is for.
fn domains_for(wanted: &Wanted, there: Option<&Seen>) -> Vec<Domain> {
    match (wanted.domains.is_empty(), there) {
        (true, Some(there)) => there.domains.iter().cloned().collect(),
        _ => wanted.domains.clone(),
    }
}

/// Makes the pair that takes the place of what is there, and writes its key where that was asked for.
pub(super) fn make_pair(
    wanted: &Wanted,
    there: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<(Pair, Option<KeyFile>), TargetError> {
    let name = &wanted.name;
    let domains = domains_for(wanted, there);
    if domains.is_empty() {
        return Err(nameless(name));
    }
    let pair = Pair::make(name, &domains, now, wanted.valid_for);
    let pair = pair.map_err(|error| {
        TargetError::new(format!("the certificate {name} could not be made")).because(error)
    })?;
    let path = wanted.key_file.as_deref();
    let file = path
        .map(|path| KeyFile::write(path, &pair.key))
        .transpose()?;
    Ok((pair, file))
}

/// Returns what a new pair came to, at this ARN.
pub(super) fn ensured(arn: String, pair: Pair, made: Reason) -> Result<Ensured, TargetError> {
    let seen = Seen::read(&pair.certificate);
    let seen =
        seen.map_err(|error| TargetError::new("what was made cannot be read").because(error))?;
    Ok(Ensured {
        made: Some(made),
        ..Ensured::of(arn, seen)
    })
}

impl Ensured {
    /// Returns one that was there.
    pub(super) fn of(arn: String, seen: Seen) -> Self {
        Self {
            arn,
            certificate: seen.certificate,
            domains: seen.domains,
            ends: seen.ends,
            made: None,
            warnings: Vec::new(),
            left_behind: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 10:00:00 UTC);
    const DAY: Duration = Duration::from_secs(86_400);

    fn wanted(domains: &[&str]) -> Wanted {
        Wanted {
            name: "web".parse().unwrap(),
            store: Store::Acm,
            domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
            valid_for: 397 * DAY,
            renew_before: 30 * DAY,
            forced: false,
            key_file: None,
        }
    }

    fn seen(domains: &[&str], ends: OffsetDateTime) -> Seen {
        Seen {
            certificate: String::new(),
            domains: wanted(domains).domains.into_iter().collect(),
            begins: NOW,
            ends,
            key: KeyKind::P256,
            issuer: None,
        }
    }

    #[test]
    fn one_is_made_when_there_is_none_or_it_ends_soon_or_is_for_others_and_not_otherwise() {
        let late = seen(&["a.example.com", "b.example.com"], NOW + 31 * DAY);
        let soon = seen(&["a.example.com"], NOW + 30 * DAY);
        let why = |domains: &[&str], there: Option<&Seen>| reason(&wanted(domains), there, NOW);
        let of_a = ["a.example.com"];
        assert_eq!(why(&of_a, None).unwrap(), Some(Reason::New));
        assert_eq!(
            why(&of_a, Some(&soon)).unwrap(),
            Some(Reason::EndsSoon(soon.ends))
        );
        assert_eq!(why(&of_a, Some(&late)).unwrap(), Some(Reason::OtherDomains));
        assert_eq!(why(&[], Some(&late)).unwrap(), None);
        let in_another_order = ["b.example.com", "A.example.com"];
        assert_eq!(why(&in_another_order, Some(&late)).unwrap(), None);
        let forced = Wanted {
            forced: true,
            ..wanted(&[])
        };
        assert_eq!(
            reason(&forced, Some(&late), NOW).unwrap(),
            Some(Reason::Forced)
        );
        let error = why(&[], None).unwrap_err();
        assert!(error.on_one_line().contains("--domain"), "{error}");
    }

    #[test]
    fn what_another_has_signed_or_has_another_key_is_not_replaced() {
        let ours = seen(&["a.example.com"], NOW);
        assert!(check_replaceable("arn:x", &ours).is_ok());
        let signed = Seen {
            issuer: Some("CN=Some CA".into()),
            ..ours.clone()
        };
        let told = check_replaceable("arn:x", &signed)
            .unwrap_err()
            .on_one_line();
        assert!(told.starts_with("arn:x is signed by CN=Some CA"), "{told}");
        let rsa = Seen {
            key: KeyKind::Other("RSA 2048".into()),
            ..ours
        };
        let told = check_replaceable("arn:x", &rsa).unwrap_err().on_one_line();
        assert!(
            told.contains("RSA 2048") && told.contains("take the tag"),
            "{told}"
        );
    }
}
