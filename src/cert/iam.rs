//! Certificates in IAM, which takes none in the place of another: a new one is uploaded, listeners show it, and
//! the old one goes. One is ours by its path, /amibake/NAME/.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_iam::types::ServerCertificateMetadata;
use time::OffsetDateTime;

use super::handle::{Certificates, POLL};
use super::name::CertName;
use super::pair::Pair;
use super::read::Seen;
use super::wanted::{Ensured, Reason, Wanted, ensured, make_pair, reason};
use crate::clock::{Instant, sleep};
use crate::exit::Leftover;
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::ec2::{Ec2Error, StackParameter};

/// Where all of ours are.
const PATH: &str = "/amibake/";

/// How long a load balancer may hold a certificate that it shows no more.
const HELD_FOR: Duration = Duration::from_secs(60);

/// A certificate of ours.
#[derive(Debug, Clone)]
pub(super) struct Uploaded {
    /// Ours, as in its path.
    pub(super) name: String,
    pub(super) arn: String,
    /// IAM's, by which it is deleted.
    id: String,
    /// Seconds since 1970, then IAM's name, which says when it was made.
    since: (i64, String),
}

impl Certificates {
    pub(super) async fn ensure_in_iam(&self, wanted: &Wanted) -> Result<Ensured, TargetError> {
        let now = self.now().await;
        let mut old = self.uploaded(Some(&wanted.name)).await?;
        let newest = old.pop();
        let seen = match &newest {
            Some(newest) => self.seen_in_iam(&newest.id).await?,
            None => None,
        };
        let mut it = match (reason(wanted, seen.as_ref(), now)?, newest, seen) {
            (None, Some(newest), Some(seen)) => Ensured::of(newest.arn, seen),
            (why, newest, seen) => {
                old.extend(newest);
                let why = why.unwrap_or(Reason::New);
                self.upload(wanted, seen.as_ref(), why, now).await?
            }
        };
        // Of a renewal that was interrupted, too.
        self.retire(&old, &mut it).await?;
        Ok(it)
    }

    async fn upload(
        &self,
        wanted: &Wanted,
        there: Option<&Seen>,
        why: Reason,
        now: OffsetDateTime,
    ) -> Result<Ensured, TargetError> {
        let (pair, key_file) = make_pair(wanted, there, now)?;
        let run =
            RunId::new(now).map_err(|e| TargetError::new("no name could be made").because(e))?;
        let id = format!("{}-{run}", wanted.name);
        let arn = self.upload_pair(wanted, &id, &pair).await?;
        if let Some(file) = key_file {
            file.put()?;
        }
        ensured(arn, pair, why)
    }

    /// Nobody else has this name: where it is taken, an answer was lost.
    async fn upload_pair(
        &self,
        wanted: &Wanted,
        id: &str,
        pair: &Pair,
    ) -> Result<String, TargetError> {
        let request = self.iam.upload_server_certificate();
        let request = request
            .path(path_of(&wanted.name))
            .server_certificate_name(id)
            .certificate_body(&pair.certificate)
            .private_key(pair.key.expose());
        let answer = request.send().await;
        match answer.map_err(|e| self.refused("UploadServerCertificate", e)) {
            Ok(answer) => Ok(answer
                .server_certificate_metadata
                .map(|known| known.arn)
                .unwrap_or_default()),
            Err(error) if error.code() == Some("EntityAlreadyExists") => {
                let there = self.uploaded(Some(&wanted.name)).await?;
                let ours = there.into_iter().find(|one| one.id == id);
                ours.map(|ours| ours.arn).ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has listeners show the new one in the place of these, and removes those of them that nothing names.
    async fn retire(&self, old: &[Uploaded], new: &mut Ensured) -> Result<(), TargetError> {
        if old.is_empty() {
            return Ok(());
        }
        let arns: BTreeSet<&str> = old.iter().map(|old| old.arn.as_str()).collect();
        let moved = self.show_instead(&arns, &new.arn).await.map_err(|error| {
            let message = format!("{} is there, and not all listeners show it yet", new.arn);
            TargetError::new(message)
                .because(error)
                .with_hint("the same command goes on, once that is allowed or has passed")
        })?;
        for shown in moved {
            new.warnings
                .push(format!("{} shows {} now", shown.listener, new.arn));
        }
        let named = self.ec2.stack_parameters().await;
        for old in old {
            match named.as_deref().map(|all| namers(all, &old.arn)) {
                Ok(by) if by.is_empty() => self.remove(old, new).await,
                Ok(by) => new.warnings.push(format!(
                    "{} stays: {}; once they are told {}, the same command removes it",
                    old.arn,
                    by.join(", "),
                    new.arn
                )),
                Err(error) => new.warnings.push(format!(
                    "{} stays: whether a stack names it cannot be told: {}",
                    old.arn,
                    crate::exit::chain(error)
                )),
            }
        }
        Ok(())
    }

    async fn remove(&self, old: &Uploaded, new: &mut Ensured) {
        if let Err(error) = self.delete_unused(&old.id).await {
            let why = crate::exit::chain(&error);
            new.warnings
                .push(format!("{} could not be removed: {why}", old.arn));
            new.left_behind.push(Leftover {
                what: format!("server certificate {}", old.id),
                remove_with: format!(
                    "aws iam delete-server-certificate --server-certificate-name {}",
                    old.id
                ),
            });
        }
    }

    async fn delete_unused(&self, id: &str) -> Result<(), Ec2Error> {
        let since = Instant::now();
        loop {
            let request = self
                .iam
                .delete_server_certificate()
                .server_certificate_name(id);
            let answer = request.send().await;
            match answer.map_err(|e| self.refused("DeleteServerCertificate", e)) {
                Ok(_) => return Ok(()),
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error)
                    if error.code() == Some("DeleteConflict") && since.elapsed() < HELD_FOR =>
                {
                    sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the certificates of one of our names, or of all; of one name the newest last.
    pub(super) async fn uploaded(
        &self,
        name: Option<&CertName>,
    ) -> Result<Vec<Uploaded>, Ec2Error> {
        let path = name.map_or_else(|| PATH.to_owned(), path_of);
        let listing = self.iam.list_server_certificates().path_prefix(path);
        let listed: Result<Vec<ServerCertificateMetadata>, _> =
            listing.into_paginator().items().send().try_collect().await;
        let listed = listed.map_err(|e| self.refused("ListServerCertificates", e))?;
        let mut uploaded: Vec<Uploaded> = listed.iter().filter_map(ours).collect();
        uploaded.sort_by(|a, b| (&a.name, &a.since).cmp(&(&b.name, &b.since)));
        Ok(uploaded)
    }

    /// Returns what one says, if it is still there.
    pub(super) async fn seen_in_iam(&self, id: &str) -> Result<Option<Seen>, TargetError> {
        let request = self
            .iam
            .get_server_certificate()
            .server_certificate_name(id);
        let answer = request.send().await;
        let known = match answer.map_err(|e| self.refused("GetServerCertificate", e)) {
            Ok(answer) => answer.server_certificate,
            Err(error) if is_gone(&error) => None,
            Err(error) => return Err(error.into()),
        };
        let read = |pem: &str| {
            Seen::read(pem).map_err(|error| {
                TargetError::new(format!("the server certificate {id} cannot be read"))
                    .because(error)
            })
        };
        known
            .map(|known| read(known.certificate_body()))
            .transpose()
    }

    /// Returns when one ends, by its ARN.
    pub(super) async fn end_in_iam(
        &self,
        arn: &str,
    ) -> Result<Option<OffsetDateTime>, TargetError> {
        let id = arn.rsplit('/').next().unwrap_or(arn);
        Ok(self.seen_in_iam(id).await?.map(|seen| seen.ends))
    }
}

impl Uploaded {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn path_of(name: &CertName) -> String {
    format!("{PATH}{name}/")
}

fn ours(known: &ServerCertificateMetadata) -> Option<Uploaded> {
    let name = known.path().strip_prefix(PATH)?.strip_suffix('/')?;
    let id = known.server_certificate_name().to_owned();
    let since = known
        .upload_date()
        .map_or(0, aws_sdk_iam::primitives::DateTime::secs);
    Some(Uploaded {
        name: name.to_owned(),
        arn: known.arn().to_owned(),
        since: (since, id.clone()),
        id,
    })
}

/// Returns what names a certificate, in words.
fn namers(parameters: &[StackParameter], arn: &str) -> Vec<String> {
    let names = parameters.iter().filter(|parameter| parameter.value == arn);
    names
        .map(|parameter| {
            format!(
                "the stack {} names it in {}",
                parameter.stack, parameter.key
            )
        })
        .collect()
}

fn is_gone(error: &Ec2Error) -> bool {
    error.code() == Some("NoSuchEntity")
}
