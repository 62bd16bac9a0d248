//! How the services are reached that keep and show certificates.

use std::time::Duration;

use aws_sdk_acm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_acm::operation::RequestId;
use time::OffsetDateTime;

use crate::targets::ec2::{Ec2, Ec2Error};

/// How often AWS is asked for what it does not know yet.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// The certificates of one account, as one region sees them.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(super) region: String,
    pub(super) ec2: Ec2,
    pub(super) acm: aws_sdk_acm::Client,
    pub(super) iam: aws_sdk_iam::Client,
    pub(super) balancing: aws_sdk_elasticloadbalancingv2::Client,
}

impl Certificates {
    /// Returns those of where `ec2` is, by its credentials.
    pub(crate) fn of(ec2: &Ec2) -> Self {
        let config = ec2.sdk_config();
        Self {
            region: ec2.region_name().to_owned(),
            ec2: ec2.clone(),
            acm: aws_sdk_acm::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            balancing: aws_sdk_elasticloadbalancingv2::Client::new(config),
        }
    }

    /// Returns AWS's time, by which it judges certificates, or else this machine's.
    pub(crate) async fn now(&self) -> OffsetDateTime {
        let there = self.ec2.time_there().await;
        let now = there.unwrap_or_else(OffsetDateTime::now_utc);
        // Certificates have no fractions.
        now.replace_nanosecond(0).unwrap_or(now)
    }

    pub(super) fn refused<E, R>(&self, operation: &'static str, error: SdkError<E, R>) -> Ec2Error
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        Ec2Error::from_sdk(operation, &self.region, error)
    }
}
