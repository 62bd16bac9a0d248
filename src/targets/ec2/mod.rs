//! The EC2 target: the only code that talks to EC2.
//!
//! This file holds the clients and tells the trait's story; its neighbours do the parts.

mod caller;
#[cfg(test)]
mod canned;
mod credentials;
mod debts;
mod describe;
mod diagnose;
mod error;
mod image;
mod ladder;
mod launch;
mod network;
mod offerings;
mod orphans;
mod quota;
mod reap;
mod sdk_clock;
mod source;
mod tags;
mod undo;
mod user_data;
mod wait;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::retry::RetryPartition;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use time::OffsetDateTime;

use super::{Base, Candidate, Finished, Machine, PhaseContext, Role, Target, TargetError};
use crate::clock::{self, Instant};
use crate::ledger::DebtId;
use crate::plan::BakePlan;
use crate::run::{RunId, rfc3339};
use caller::Echo;
use error::Ec2Error;
use network::Network;
pub(crate) use reap::Account;

/// How often EC2 is asked at first.
const POLL: Duration = Duration::from_secs(2);

/// How long after it was made a thing may be unknown to a part of EC2.
const YOUNG: Duration = Duration::from_secs(60);

/// How long one try of a call may take: a link that died in silence is noticed, and the SDK asks
/// again.
const PER_TRY: Duration = Duration::from_secs(60);

/// How long a machine that does not answer is explained; EC2 may be out of reach itself.
const DIAGNOSIS: Duration = Duration::from_secs(60);

/// How often the SDK tries a call that is throttled or got no answer.
const TRIES: u32 = 5;

/// EC2 in one region, for one bake. Cheap to clone; all clones are one.
#[derive(Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "a client is named after its service"
)]
pub(crate) struct Ec2 {
    region: String,
    ec2: aws_sdk_ec2::Client,
    ssm: aws_sdk_ssm::Client,
    sts: aws_sdk_sts::Client,
    credentials: Option<SharedCredentialsProvider>,
    echo: Echo,
    poll: Duration,
    state: Arc<Mutex<State>>,
    config: SdkConfig,
    /// Other regions, as far as something was owed there.
    elsewhere: Arc<Mutex<HashMap<String, Ec2>>>,
}

/// What one step of a bake leaves for the next.
#[derive(Debug, Default)]
struct State {
    /// When the bake must be over, if there is one.
    until: Option<Instant>,
    /// Whether it has read all that it needs to begin.
    resolved: bool,
    /// Whether it is over: what is made now, nobody would remove.
    unwinding: bool,
    network: Option<Network>,
    group_id: Option<String>,
    /// Who may reach the port of that group.
    admitted: Vec<String>,
    keeps_first_image: bool,
    /// The candidate's debt, which publishing pays.
    candidate: Option<DebtId>,
    /// When EC2 answered with an id.
    born: HashMap<String, Instant>,
    /// What could not be removed: who waits for it waits in vain.
    stuck: HashSet<(RunId, Holder)>,
    /// What RunInstances said where it was asked for the builder.
    climbed: ladder::Climbed,
}

/// What must go before something else of its run can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    /// It holds its security group.
    Instance,
    /// It holds its snapshots.
    Image,
}

/// Returns what holds for every conversation with AWS.
pub(crate) fn settings() -> ConfigLoader {
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .sleep_impl(sdk_clock::SdkSleep)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(PER_TRY)
                .build(),
        )
}

impl Ec2 {
    /// Returns EC2 in `region`, or in the one that environment and profile name. Calls nothing.
    pub(crate) async fn new(region: Option<&str>) -> Result<Self, TargetError> {
        let mut settings = settings();
        if let Some(region) = region {
            settings = settings.region(Region::new(region.to_owned()));
        }
        Self::with(settings).await
    }

    /// Returns EC2 as `settings` say, with what they leave open from environment and profile.
    pub(crate) async fn with(settings: ConfigLoader) -> Result<Self, TargetError> {
        let config = settings.load().await;
        let region = config.region().cloned().ok_or_else(|| {
            TargetError::manifest("no AWS region")
                .with_hint("set builder.region, AWS_REGION, or a region in the profile")
        })?;
        refuse_zone(region.as_ref())?;
        Ok(Self::by(config, &region))
    }

    fn by(config: SdkConfig, region: &Region) -> Self {
        // What is left of its tries, a client shares with all of its partition: other builds of
        // this process, by default.
        let retries = || RetryPartition::custom("bake").build();
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).retry_partition(retries());
        let ssm = aws_sdk_ssm::config::Builder::from(&config).retry_partition(retries());
        Self {
            region: region.to_string(),
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            ssm: aws_sdk_ssm::Client::from_conf(ssm.build()),
            sts: aws_sdk_sts::Client::new(&config),
            credentials: config.credentials_provider(),
            echo: Echo::from_environment(),
            poll: POLL,
            state: Arc::default(),
            elsewhere: Arc::default(),
            config,
        }
    }

    /// Returns EC2 in `region`, by the same credentials: this one, or one that is made once.
    pub(super) fn in_region(&self, region: &str) -> Self {
        if region == self.region {
            return self.clone();
        }
        let region = Region::new(region.to_owned());
        let mut elsewhere = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = elsewhere.entry(region.to_string()).or_insert_with(|| {
            let config = self.config.to_builder().region(region.clone()).build();
            Self {
                echo: self.echo.clone(),
                poll: self.poll,
                ..Self::by(config, &region)
            }
        });
        there.clone()
    }

    /// Remembers that EC2 has just made the thing with this id.
    fn born(&self, id: &str) {
        self.state().born.insert(id.to_owned(), Instant::now());
    }

    /// Returns whether EC2 may not know the thing yet, although it made it.
    fn is_young(&self, id: &str) -> bool {
        let born = self.state().born.get(id).copied();
        born.is_some_and(|at| at.elapsed() < YOUNG)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes tags over what is there, on all of `ids` at once.
    async fn tag(&self, ids: Vec<String>, tags: &[(&str, &str)]) -> Result<(), Ec2Error> {
        let pairs = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = self.ec2.create_tags().set_resources(Some(ids.clone()));
        let request = request.set_tags(Some(tags::list(&pairs.collect())));
        let tagging = || async {
            let answer = request.clone().send().await;
            answer.map(drop).map_err(|e| self.refused("CreateTags", e))
        };
        self.persist(|| self.once_known(&ids, tagging)).await
    }

    fn refused<E, R>(&self, operation: &'static str, error: SdkError<E, R>) -> Ec2Error
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        Ec2Error::from_sdk(operation, &self.region, error)
    }
}

/// Refuses the name of a zone (`eu-west-1a`, `us-west-2-lax-1a`), which is easily taken for that of
/// its region: no address would answer, and nothing would tell why.
fn refuse_zone(region: &str) -> Result<(), TargetError> {
    let Some(rest) = region.strip_suffix(|c: char| c.is_ascii_lowercase()) else {
        return Ok(());
    };
    let Some(digit) = rest.find(|c: char| c.is_ascii_digit()) else {
        return Ok(());
    };
    let (its, _) = region.split_at(digit + 1);
    Err(TargetError::manifest(format!(
        "{region} is a zone, and its region is {its}"
    ))
    .with_hint("set builder.region, AWS_REGION, or the region in the profile, to the region; a zone is chosen by builder.subnet"))
}

#[async_trait]
impl Target for Ec2 {
    fn region(&self) -> Option<&str> {
        Some(&self.region)
    }

    async fn resolve(&self, plan: &BakePlan, cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
        self.state().until = Some(cx.until);
        self.warn_of_credentials_that_end(plan, cx).await;
        let source = self.source_image(&plan.source, plan.arch).await?;
        let keeps_first_image = image::has_products(&source);
        self.state().keeps_first_image = keeps_first_image;
        if keeps_first_image {
            cx.phase.warn(format!(
                "{} has product codes, which RegisterImage would lose: the image has its final name before it is tested",
                source.image_id().unwrap_or_default()
            ));
        }
        let taken = self
            .images(vec![tags::filter("name", [plan.image.name.as_str()])])
            .await?;
        if let Some(taken) = taken.first() {
            let id = taken.image_id().unwrap_or_default();
            let message = format!(
                "{id} in {} has the name {} already",
                self.region, plan.image.name
            );
            return Err(
                TargetError::manifest(message).with_hint("put {{ build_time }} into image.name")
            );
        }
        self.network(plan).await?;
        self.state().resolved = true;
        Ok(image::base(&source))
    }

    async fn prepare(
        &self,
        _plan: &BakePlan,
        _base: &Base,
        _cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        Ok(()) // an image is there, or was not found
    }

    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError> {
        self.start(plan, base, role, cx).await
    }

    async fn diagnose(&self, machine: &Machine) -> Vec<String> {
        let causes = clock::timeout(DIAGNOSIS, self.causes(machine));
        causes.await.unwrap_or_default()
    }

    async fn death(&self, machine: &Machine) -> Option<TargetError> {
        let asked = clock::timeout(DIAGNOSIS / 6, self.ended(machine));
        asked.await.ok().flatten()
    }

    async fn admit(&self, plan: &BakePlan) -> Result<(), TargetError> {
        self.admit_again(plan).await
    }

    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError> {
        self.make_candidate(plan, builder, cx).await
    }

    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError> {
        self.terminate(&machine.id).await?;
        Ok(())
    }

    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &PhaseContext<'_>,
    ) -> Result<Finished, TargetError> {
        self.release(plan, candidate, cx).await
    }

    async fn renew(&self, plan: &BakePlan, lifetime: Duration) -> Result<(), TargetError> {
        let mut ids: Vec<String> = self.state().group_id.iter().cloned().collect();
        let alive = ["pending", "running", "stopping", "stopped"];
        let filters = vec![
            tags::of_run(&plan.run),
            tags::filter("instance-state-name", alive),
        ];
        let instances = self.instances(filters).await?;
        ids.extend(instances.into_iter().filter_map(|i| i.instance_id));
        let images = self.images(vec![tags::of_run(&plan.run)]).await?;
        ids.extend(images.into_iter().filter_map(|i| i.image_id));
        let snapshots = self.snapshots(&plan.run).await?;
        ids.extend(snapshots.into_iter().filter_map(|s| s.snapshot_id));
        if ids.is_empty() {
            return Ok(());
        }
        let expires = rfc3339(OffsetDateTime::now_utc() + lifetime);
        self.tag(ids, &[(tags::EXPIRES, &expires)]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_no_region_and_its_region_is_named() {
        let told = |name| refuse_zone(name).err().map(|e| e.to_string());
        for region in ["eu-west-1", "us-gov-east-1", "ap-southeast-2", "local"] {
            assert_eq!(told(region), None);
        }
        let zone = told("eu-west-1a").unwrap();
        assert_eq!(zone, "eu-west-1a is a zone, and its region is eu-west-1");
        let local = told("us-west-2-lax-1a").unwrap();
        assert!(local.ends_with("its region is us-west-2"), "{local}");
    }
}
