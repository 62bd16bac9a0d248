//! Which listeners of this region show which certificates, and putting another in the place of one.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{Certificate, Listener, LoadBalancer, ProtocolEnum};

use super::handle::{Certificates, POLL};
use crate::clock::{Instant, sleep};
use crate::targets::ec2::Ec2Error;

/// How long a certificate that IAM took may be unknown to load balancers.
const KNOWN_WITHIN: Duration = Duration::from_secs(120);

/// One certificate of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) listener: String,
    /// Its load balancer's ARN.
    pub(super) balancer: String,
    /// The certificate's ARN.
    pub(super) arn: String,
    /// Whether clients see it that ask for no name it knows.
    pub(super) is_default: bool,
}

impl Certificates {
    /// Returns what all listeners of the region show.
    pub(super) async fn shown(&self) -> Result<Vec<Shown>, Ec2Error> {
        let balancers = self.balancing.describe_load_balancers();
        let balancers: Result<Vec<LoadBalancer>, _> = balancers
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await;
        let balancers = balancers.map_err(|e| self.refused("DescribeLoadBalancers", e))?;
        let mut shown = Vec::new();
        for balancer in balancers.iter().filter_map(LoadBalancer::load_balancer_arn) {
            for listener in self.encrypted_listeners(balancer).await? {
                shown.extend(self.shown_by(balancer, &listener).await?);
            }
        }
        Ok(shown)
    }

    async fn encrypted_listeners(&self, balancer: &str) -> Result<Vec<String>, Ec2Error> {
        let asked = self
            .balancing
            .describe_listeners()
            .load_balancer_arn(balancer);
        let listed: Result<Vec<Listener>, _> =
            asked.into_paginator().items().send().try_collect().await;
        let listed = match listed.map_err(|e| self.refused("DescribeListeners", e)) {
            Err(error) if is_gone(&error) => Vec::new(),
            listed => listed?,
        };
        let is_encrypted = |one: &Listener| {
            matches!(
                one.protocol(),
                Some(ProtocolEnum::Https | ProtocolEnum::Tls)
            )
        };
        let encrypted = listed.into_iter().filter(is_encrypted);
        Ok(encrypted.filter_map(|one| one.listener_arn).collect())
    }

    async fn shown_by(&self, balancer: &str, listener: &str) -> Result<Vec<Shown>, Ec2Error> {
        let asked = self.balancing.describe_listener_certificates();
        let asked = asked.listener_arn(listener);
        let listed: Result<Vec<Certificate>, _> =
            asked.into_paginator().items().send().try_collect().await;
        let listed = match listed.map_err(|e| self.refused("DescribeListenerCertificates", e)) {
            Err(error) if is_gone(&error) => Vec::new(),
            listed => listed?,
        };
        let shown = |one: Certificate| {
            Some(Shown {
                listener: listener.to_owned(),
                balancer: balancer.to_owned(),
                is_default: one.is_default() == Some(true),
                arn: one.certificate_arn?,
            })
        };
        Ok(listed.into_iter().filter_map(shown).collect())
    }

    /// Has listeners show `new` where they show one of `old`. Returns what they are.
    pub(super) async fn show_instead(
        &self,
        old: &BTreeSet<&str>,
        new: &str,
    ) -> Result<Vec<Shown>, Ec2Error> {
        let mut changed = self.shown().await?;
        changed.retain(|shown| old.contains(shown.arn.as_str()));
        for shown in &changed {
            match shown.is_default {
                true => self.set_default(&shown.listener, new).await?,
                false => self.exchange(shown, new).await?,
            }
        }
        Ok(changed)
    }

    async fn set_default(&self, listener: &str, new: &str) -> Result<(), Ec2Error> {
        let request = self.balancing.modify_listener().listener_arn(listener);
        let request = request.certificates(Certificate::builder().certificate_arn(new).build());
        known(async || {
            let answer = request.clone().send().await;
            answer
                .map(drop)
                .map_err(|e| self.refused("ModifyListener", e))
        })
        .await
    }

    /// The new one is there before the old one goes.
    async fn exchange(&self, shown: &Shown, new: &str) -> Result<(), Ec2Error> {
        let of = |arn: &str| Certificate::builder().certificate_arn(arn).build();
        let add = self.balancing.add_listener_certificates();
        let add = add.listener_arn(&shown.listener).certificates(of(new));
        known(async || {
            let answer = add.clone().send().await;
            answer
                .map(drop)
                .map_err(|e| self.refused("AddListenerCertificates", e))
        })
        .await?;
        let remove = self.balancing.remove_listener_certificates();
        let remove = remove
            .listener_arn(&shown.listener)
            .certificates(of(&shown.arn));
        let answer = remove.send().await;
        answer
            .map(drop)
            .map_err(|e| self.refused("RemoveListenerCertificates", e))
    }
}

/// Makes a call that names a new certificate until load balancers know that.
async fn known(call: impl AsyncFn() -> Result<(), Ec2Error>) -> Result<(), Ec2Error> {
    let since = Instant::now();
    loop {
        match call().await {
            Err(error) if is_unknown(&error) && since.elapsed() < KNOWN_WITHIN => sleep(POLL).await,
            answer => return answer,
        }
    }
}

fn is_unknown(error: &Ec2Error) -> bool {
    error.code() == Some("CertificateNotFound")
}

/// Returns whether it went while it was looked at.
fn is_gone(error: &Ec2Error) -> bool {
    matches!(
        error.code(),
        Some("LoadBalancerNotFound" | "ListenerNotFound")
    )
}
