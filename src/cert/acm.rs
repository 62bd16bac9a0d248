//! Certificates in ACM. One is ours by a tag with its name, which it has from its import on: importing it again
//! keeps ARN and tags, and needs no change of what uses it.

use aws_sdk_acm::config::retry::RetryConfig;
use aws_sdk_acm::primitives::Blob;
use aws_sdk_acm::types::{CertificateSummary, CertificateType, Filters, KeyAlgorithm, Tag};
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::handle::{Certificates, POLL};
use super::name::{CertName, NAME_TAG};
use super::pair::Pair;
use super::read::Seen;
use super::wanted::{Ensured, Reason, Wanted, check_replaceable, ensured, make_pair, reason};
use crate::clock::sleep;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// How many certificates are asked for their tags at a time.
const AT_ONCE: usize = 8;

/// How often an import that got no answer is made.
const TRIES: usize = 4;

/// A certificate of ours.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) arn: String,
    is_used: bool,
    /// Seconds since 1970.
    imported: i64,
}

impl Certificates {
    pub(super) async fn ensure_in_acm(&self, wanted: &Wanted) -> Result<Ensured, TargetError> {
        let now = self.now().await;
        let mut held = self.held_in_acm(Some(&wanted.name)).await.map_err(acm)?;
        let others = held.split_off(held.len().min(1));
        let there = match held.pop() {
            Some(first) => Some((self.seen_in_acm(&first.arn).await?, first.arn)),
            None => None,
        };
        let seen = there.as_ref().map(|(seen, _)| seen);
        let mut ensured = match (reason(wanted, seen, now)?, there) {
            (None, Some((seen, arn))) => Ensured::of(arn, seen),
            (None, None) => unreachable!("where there is none, one is made"),
            (Some(why), there) => self.import(wanted, there.as_ref(), why, now).await?,
        };
        ensured
            .warnings
            .extend(doubles(wanted, &ensured.arn, &others));
        Ok(ensured)
    }

    /// Imports a new certificate, in the place of the one that is there.
    async fn import(
        &self,
        wanted: &Wanted,
        there: Option<&(Seen, String)>,
        why: Reason,
        now: OffsetDateTime,
    ) -> Result<Ensured, TargetError> {
        if let Some((seen, arn)) = there {
            check_replaceable(arn, seen)?;
        }
        let (pair, key_file) = make_pair(wanted, there.map(|(seen, _)| seen), now)?;
        let arn = match there {
            Some((_, arn)) => self.import_over(arn, &pair).await?,
            None => self.import_new(&wanted.name, &pair).await?,
        };
        if let Some(file) = key_file {
            file.put()?;
        }
        ensured(arn, pair, why)
    }

    /// A call that is made twice imports the same twice, and so does no harm.
    async fn import_over(&self, arn: &str, pair: &Pair) -> Result<String, TargetError> {
        let request = self.acm.import_certificate().certificate_arn(arn);
        let request = request
            .certificate(Blob::new(pair.certificate.as_bytes()))
            .private_key(Blob::new(pair.key.expose().as_bytes()));
        let answer = request.send().await;
        answer.map_err(|e| self.refused("ImportCertificate", e))?;
        Ok(arn.to_owned())
    }

    /// An import that is made twice makes two: after an answer that was lost, ACM is looked into first.
    async fn import_new(&self, name: &CertName, pair: &Pair) -> Result<String, TargetError> {
        let tag = Tag::builder().key(NAME_TAG).value(name.as_str()).build();
        let tag = tag.expect("a tag with a key");
        let once = aws_sdk_acm::config::Builder::new().retry_config(RetryConfig::disabled());
        let mut tries = 0;
        loop {
            let request = self.acm.import_certificate().tags(tag.clone());
            let request = request
                .certificate(Blob::new(pair.certificate.as_bytes()))
                .private_key(Blob::new(pair.key.expose().as_bytes()));
            let request = request.customize().config_override(once.clone());
            let answer = request.send().await;
            let error = match answer.map_err(|e| self.refused("ImportCertificate", e)) {
                Ok(answer) => return Ok(answer.certificate_arn.unwrap_or_default()),
                Err(error) => error,
            };
            tries += 1;
            if !error.is_transient() || tries == TRIES {
                return Err(acm(error));
            }
            sleep(POLL).await;
            if let Some(arn) = self.imported(name, pair).await? {
                return Ok(arn);
            }
        }
    }

    /// Returns where just this certificate is.
    async fn imported(&self, name: &CertName, pair: &Pair) -> Result<Option<String>, TargetError> {
        for held in self.held_in_acm(Some(name)).await? {
            let seen = self.seen_in_acm(&held.arn).await?;
            if seen.certificate.trim() == pair.certificate.trim() {
                return Ok(Some(held.arn));
            }
        }
        Ok(None)
    }

    /// Returns the certificates of one of our names, or of all: of one name first what is used, then the oldest.
    pub(super) async fn held_in_acm(&self, name: Option<&CertName>) -> Result<Vec<Held>, Ec2Error> {
        // Without that, ACM lists those with RSA keys of 2048 bits alone.
        let kinds = KeyAlgorithm::values()
            .iter()
            .map(|kind| KeyAlgorithm::from(*kind));
        let of_all_kinds = Filters::builder()
            .set_key_types(Some(kinds.collect()))
            .build();
        let listing = self.acm.list_certificates().includes(of_all_kinds);
        let listed: Result<Vec<CertificateSummary>, _> =
            listing.into_paginator().items().send().try_collect().await;
        let listed = listed.map_err(|e| self.refused("ListCertificates", e))?;
        let imported = |one: &&CertificateSummary| one.r#type() == Some(&CertificateType::Imported);
        let imported: Vec<&CertificateSummary> = listed.iter().filter(imported).collect();
        let mut held = Vec::new();
        for some in imported.chunks(AT_ONCE) {
            for found in join_all(some.iter().map(|one| self.held(one))).await {
                held.extend(found?);
            }
        }
        held.retain(|one| name.is_none_or(|name| name.as_str() == one.name));
        held.sort_by(|a, b| {
            let key = |one: &Held| (!one.is_used, one.imported);
            (&a.name, key(a), &a.arn).cmp(&(&b.name, key(b), &b.arn))
        });
        Ok(held)
    }

    /// Returns a certificate as ours, if its tag says that it is.
    async fn held(&self, one: &CertificateSummary) -> Result<Option<Held>, Ec2Error> {
        let Some(arn) = one.certificate_arn() else {
            return Ok(None);
        };
        let asked = self.acm.list_tags_for_certificate().certificate_arn(arn);
        let answer = asked.send().await;
        let tags = match answer.map_err(|e| self.refused("ListTagsForCertificate", e)) {
            Ok(answer) => answer.tags.unwrap_or_default(),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = tags.into_iter().find(|tag| tag.key() == NAME_TAG);
        Ok(name.and_then(|tag| tag.value).map(|name| Held {
            name,
            arn: arn.to_owned(),
            is_used: one.in_use() == Some(true),
            imported: one
                .created_at()
                .map_or(0, aws_sdk_acm::primitives::DateTime::secs),
        }))
    }

    async fn seen_in_acm(&self, arn: &str) -> Result<Seen, TargetError> {
        let answer = self.acm.get_certificate().certificate_arn(arn).send().await;
        let answer = answer.map_err(|e| self.refused("GetCertificate", e))?;
        let pem = answer.certificate.unwrap_or_default();
        Seen::read(&pem)
            .map_err(|error| TargetError::new(format!("{arn} cannot be read")).because(error))
    }

    /// Returns when it ends.
    pub(super) async fn end_in_acm(&self, arn: &str) -> Result<Option<OffsetDateTime>, Ec2Error> {
        let end = self.detail(arn).await?.and_then(|known| known.not_after);
        Ok(end.and_then(|end| OffsetDateTime::from_unix_timestamp(end.secs()).ok()))
    }
}

/// Says of others of the same name that nobody renews them.
fn doubles(wanted: &Wanted, arn: &str, others: &[Held]) -> Vec<String> {
    let told = |other: &Held| {
        format!(
            "{} is called {} too, and is not renewed: {arn} is; once nothing uses it: aws acm delete-certificate --certificate-arn {}",
            other.arn, wanted.name, other.arn
        )
    };
    others.iter().map(told).collect()
}

/// Returns ACM's error, with what to do where there is no ACM.
fn acm(error: Ec2Error) -> TargetError {
    let has_no_answer = error.code().is_none();
    let error = TargetError::from(error);
    match has_no_answer && error.hint().is_some_and(|hint| hint.contains("region")) {
        true => error.with_hint(
            "check the network and the region's name; where a region has no ACM, --in iam uploads to IAM",
        ),
        false => error,
    }
}

pub(super) fn is_gone(error: &Ec2Error) -> bool {
    error.code() == Some("ResourceNotFoundException")
}
