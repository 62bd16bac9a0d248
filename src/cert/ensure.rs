//! Seeing to it that a certificate is there, and when one ends, wherever it is kept.

use time::OffsetDateTime;

use super::handle::Certificates;
use super::wanted::{Ensured, Store, Wanted};
use crate::targets::TargetError;

impl Certificates {
    /// Sees to it that a certificate is there and valid for long enough. Who is interrupted does it again:
    /// what was done is found.
    pub(crate) async fn ensure(&self, wanted: &Wanted) -> Result<Ensured, TargetError> {
        match wanted.store {
            Store::Acm => self.ensure_in_acm(wanted).await,
            Store::Iam => self.ensure_in_iam(wanted).await,
        }
    }

    /// Returns when a certificate ends, whoever made it; nothing if it is not there.
    pub(crate) async fn end_of(&self, arn: &str) -> Result<Option<OffsetDateTime>, TargetError> {
        match arn.split(':').nth(2) {
            Some("iam") => self.end_in_iam(arn).await,
            _ => Ok(self.end_in_acm(arn).await?),
        }
    }
}
