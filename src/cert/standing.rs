//! What certificates of ours there are: when they end, and what shows them.

use aws_sdk_acm::types::CertificateDetail;
use serde::Serialize;
use time::OffsetDateTime;

use super::acm::{Held, is_gone};
use super::handle::Certificates;
use super::iam::Uploaded;
use super::listeners::Shown;
use super::name::CertName;
use super::wanted::Store;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// A certificate as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) store: Store,
    /// None where AWS does not say.
    pub(crate) ends: Option<OffsetDateTime>,
    pub(crate) domains: Vec<String>,
    /// What shows it, by ARN: in IAM as far as this region goes.
    pub(crate) used_by: Vec<String>,
}

/// A certificate for others to read.
#[derive(Debug, Serialize)]
pub(crate) struct Described<'s> {
    name: &'s str,
    arn: &'s str,
    store: Store,
    ends: Option<String>,
    days_left: Option<i64>,
    domains: &'s [String],
    used_by: &'s [String],
}

impl Standing {
    /// Returns how many whole days are left; less than none once it has ended.
    pub(crate) fn days_left(&self, now: OffsetDateTime) -> Option<i64> {
        let left = (self.ends? - now).whole_seconds();
        Some(left.div_euclid(86_400))
    }

    pub(crate) fn described(&self, now: OffsetDateTime) -> Described<'_> {
        Described {
            name: &self.name,
            arn: &self.arn,
            store: self.store,
            ends: self.ends.map(crate::run::rfc3339),
            days_left: self.days_left(now),
            domains: &self.domains,
            used_by: &self.used_by,
        }
    }
}

impl Certificates {
    /// Returns the certificates of one of our names, or of all, and why some may be missing.
    pub(crate) async fn standing(
        &self,
        name: Option<&CertName>,
    ) -> (Vec<Standing>, Vec<TargetError>) {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for found in [
            self.standing_in_acm(name).await,
            self.standing_in_iam(name).await,
        ] {
            match found {
                Ok(found) => all.extend(found),
                Err(error) => errors.push(error),
            }
        }
        all.sort_by(|a, b| (&a.name, &a.arn).cmp(&(&b.name, &b.arn)));
        (all, errors)
    }

    async fn standing_in_acm(&self, name: Option<&CertName>) -> Result<Vec<Standing>, TargetError> {
        let mut all = Vec::new();
        for held in self.held_in_acm(name).await? {
            if let Some(known) = self.detail(&held.arn).await? {
                all.push(of_acm(held, known));
            }
        }
        Ok(all)
    }

    pub(super) async fn detail(&self, arn: &str) -> Result<Option<CertificateDetail>, Ec2Error> {
        let answer = self
            .acm
            .describe_certificate()
            .certificate_arn(arn)
            .send()
            .await;
        match answer.map_err(|e| self.refused("DescribeCertificate", e)) {
            Ok(answer) => Ok(answer.certificate),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn standing_in_iam(&self, name: Option<&CertName>) -> Result<Vec<Standing>, TargetError> {
        let uploaded = self.uploaded(name).await?;
        let shown = match uploaded.is_empty() {
            true => Vec::new(),
            false => self.shown().await?,
        };
        let mut all = Vec::new();
        for uploaded in uploaded {
            if let Some(seen) = self.seen_in_iam(uploaded.id()).await? {
                let domains = seen.domains.iter().map(ToString::to_string);
                all.push(of_iam(uploaded, seen.ends, domains.collect(), &shown));
            }
        }
        Ok(all)
    }
}

fn of_acm(held: Held, known: CertificateDetail) -> Standing {
    let ends = known.not_after.map(|end| end.secs());
    Standing {
        name: held.name,
        arn: held.arn,
        store: Store::Acm,
        ends: ends.and_then(|end| OffsetDateTime::from_unix_timestamp(end).ok()),
        domains: known.subject_alternative_names.unwrap_or_default(),
        used_by: known.in_use_by.unwrap_or_default(),
    }
}

fn of_iam(
    uploaded: Uploaded,
    ends: OffsetDateTime,
    domains: Vec<String>,
    shown: &[Shown],
) -> Standing {
    let users = shown.iter().filter(|shown| shown.arn == uploaded.arn);
    let mut used_by: Vec<String> = users.map(|shown| shown.balancer.clone()).collect();
    used_by.dedup();
    Standing {
        name: uploaded.name,
        arn: uploaded.arn,
        store: Store::Iam,
        ends: Some(ends),
        domains,
        used_by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn days_that_are_left_are_whole_ones_and_none_once_it_has_ended() {
        let ends = datetime!(2026-12-02 10:00:00 UTC);
        let standing = Standing {
            name: "web".into(),
            arn: "arn:x".into(),
            store: Store::Acm,
            ends: Some(ends),
            domains: Vec::new(),
            used_by: Vec::new(),
        };
        let left = |now| standing.days_left(now).unwrap();
        assert_eq!(left(datetime!(2026-11-30 10:00:00 UTC)), 2);
        assert_eq!(left(datetime!(2026-11-30 10:00:01 UTC)), 1);
        assert_eq!(left(datetime!(2026-12-02 10:00:01 UTC)), -1);
    }
}
