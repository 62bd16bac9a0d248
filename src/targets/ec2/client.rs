//! The clients of one bake, and what its steps leave for each other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::retry::RetryPartition;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_ec2::types::Image;
use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use time::OffsetDateTime;

use super::answered_at::AnsweredAt;
use super::caller::Echo;
#[cfg(test)]
use super::counted;
use super::endpoint;
use super::error::Ec2Error;
use super::http::Trust;
use super::ladder::{Climbed, Network};
use super::mfa::MfaProvider;
use super::polls::RegionalPolls;
use super::profile::{self, Profiles};
use super::{sdk_clock, tags};
use crate::clock::Instant;
use crate::exit::Leftover;
use crate::identity::Content;
use crate::ledger::DebtId;
use crate::manifest::region_of_zone;
use crate::run::{RunId, rfc3339};
use crate::targets::{LIFETIME, TargetError};

/// How often EC2 is asked at first.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// How long after it was made a thing may be unknown to a part of EC2.
pub(super) const YOUNG: Duration = Duration::from_secs(60);

/// How long one try of a call may take: a link that died in silence is noticed, and the SDK asks
/// again.
const PER_TRY: Duration = Duration::from_secs(60);

/// How often the SDK tries a call that is throttled or got no answer.
const TRIES: u32 = 5;

/// EC2 in one region, for one bake. Cheap to clone; all clones are one.
#[derive(Clone)]
#[expect(
    clippy::struct_field_names,
    reason = "a client is named after its service"
)]
pub(crate) struct Ec2 {
    pub(super) region: String,
    pub(super) ec2: aws_sdk_ec2::Client,
    pub(super) ssm: aws_sdk_ssm::Client,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) credentials: Option<SharedCredentialsProvider>,
    pub(super) echo: Echo,
    pub(super) poll: Duration,
    /// What all builds of this process wait for.
    pub(super) polls: RegionalPolls,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) config: SdkConfig,
    /// Other regions, as far as something was owed there.
    pub(super) elsewhere: Arc<Mutex<HashMap<String, Ec2>>>,
}

/// What one step of a bake leaves for the next.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When the bake must be over, if there is one.
    pub(super) until: Option<Instant>,
    pub(super) stage: Stage,
    /// What the bake starts from, until it is checked.
    pub(super) source: Option<Image>,
    pub(super) network: Option<Network>,
    pub(super) group_id: Option<String>,
    /// Who may reach the port of that group.
    pub(super) admitted: Vec<String>,
    pub(super) keeps_first_image: bool,
    /// The candidate's debt, which publishing pays.
    pub(super) candidate: Option<DebtId>,
    /// Debts of what is about to be the image, or a copy of it: paid for nothing once it is released.
    pub(super) product: Vec<DebtId>,
    /// What stays of a build that ends before all is published, and how that goes on.
    pub(super) stays: Option<Leftover>,
    /// When EC2 answered with an id.
    pub(super) born: HashMap<String, Instant>,
    /// What could not be removed: who waits for it waits in vain.
    pub(super) stuck: HashSet<(RunId, Holder)>,
    /// What RunInstances said where it was asked for the builder.
    pub(super) climbed: Climbed,
    /// What is about to be released, or was.
    pub(super) released: Option<Released>,
    /// What the image is made of, once its source is known.
    pub(super) content: Option<Content>,
    /// What keeps others from making the same image.
    pub(super) lock: Option<Lock>,
    /// Whether it was told that the lock may be another's.
    pub(super) lock_is_doubted: bool,
    /// The image that made way for this one.
    pub(super) replaced: Option<Replaced>,
}

/// Who uses it, and how far that is: what a call that gets no answer is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// A bake that has not read all that it needs.
    #[default]
    Beginning,
    /// A bake under way.
    Baking,
    /// A bake that is over: what is made now, nobody would remove.
    Unwinding,
    /// `reap`, which makes nothing.
    Reaping,
}

impl State {
    /// Says that the bake is over, if there is one.
    pub(super) fn unwind(&mut self) {
        self.stage = match self.stage {
            Stage::Beginning | Stage::Baking | Stage::Unwinding => Stage::Unwinding,
            Stage::Reaping => Stage::Reaping,
        };
    }
}

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) id: String,
    pub(super) run: RunId,
}

/// An image that made way, until the one that has its name is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaced {
    /// `ami-0abc12`, by which it was known.
    pub(super) old: String,
    /// The image that it is registered again from.
    pub(super) spare: String,
    pub(super) debt: DebtId,
}

/// What a bake releases, so that this can be taken back.
#[derive(Debug, Clone)]
pub(super) struct Released {
    pub(super) image: String,
    /// The image's, and its snapshots'.
    pub(super) ids: Vec<String>,
    /// The description that says whose the image is.
    pub(super) before: String,
}

/// What must go before something else of its run can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// It holds its security group.
    Instance,
    /// It holds its snapshots.
    Image,
}

/// Returns what a client has its tries from. By default it shares what is left of them with all of its service in this
/// process, other builds among them.
pub(super) fn retries() -> RetryPartition {
    RetryPartition::custom("bake").build()
}

/// Returns what holds for every conversation with AWS but for how it is reached.
pub(crate) fn settings(http: impl HttpClient + 'static) -> ConfigLoader {
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
        endpoint::check(std::env::vars_os())?;
        let profiles = Profiles::load().await?;
        let trust = Trust::load(profiles.get("ca_bundle"))?;
        let http = trust.client()?;
        #[cfg(test)]
        let http = counted::counted(http);
        let here = || {
            let settings = settings(http.clone());
            match region {
                Some(region) => settings.region(Region::new(region.to_owned())),
                None => settings,
            }
        };
        let mut settings = here();
        if let Some(chain) = profiles
            .mfa_chain()?
            .filter(|_| !profile::has_keys_of_its_own())
        {
            let asking = MfaProvider::new(chain, here().no_credentials().load().await);
            settings = settings.credentials_provider(asking);
        }
        let mut ec2 = Self::with(settings).await?;
        ec2.echo.trust = trust;
        Ok(ec2)
    }

    /// Returns EC2 as `settings` say, with what they leave open from environment and profile.
    pub(crate) async fn with(settings: ConfigLoader) -> Result<Self, TargetError> {
        let config = settings.load().await;
        let region = config.region().cloned().ok_or_else(|| {
            TargetError::manifest("no AWS region")
                .with_hint("set builder.region, AWS_REGION, or a region in the profile; some commands have --region")
        })?;
        refuse_zone(region.as_ref())?;
        Ok(Self::by(config, &region))
    }

    pub(super) fn by(config: SdkConfig, region: &Region) -> Self {
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
            polls: RegionalPolls::default(),
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
            self.sharing(config, &region)
        });
        there.clone()
    }

    /// Returns what time it is at AWS, if it says so. Nobody needs a permission to ask.
    pub(crate) async fn time_there(&self) -> Option<OffsetDateTime> {
        let now = AnsweredAt::default();
        let asked = self.sts.get_caller_identity().customize();
        // A refusal has its date too.
        let _answer = asked.interceptor(now.clone()).send().await;
        OffsetDateTime::from_unix_timestamp(now.moment()?).ok()
    }

    /// Returns how AWS is reached here, for clients of other services.
    #[cfg(feature = "stack")]
    pub(crate) fn sdk_config(&self) -> &SdkConfig {
        &self.config
    }

    #[cfg(feature = "stack")]
    pub(crate) fn region_name(&self) -> &str {
        &self.region
    }

    /// Returns KMS in this region.
    pub(super) fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.config)
    }

    /// Returns IAM, which is one for all regions.
    pub(super) fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.config)
    }

    /// Returns the value of one of EC2's quotas in this region.
    pub(super) async fn quota_value(&self, code: &str) -> Result<f64, Ec2Error> {
        let quotas = aws_sdk_servicequotas::Client::new(&self.config);
        let request = quotas.get_service_quota().service_code("ec2");
        let answer = request.quota_code(code).send().await;
        let answer = answer.map_err(|e| Ec2Error::from_sdk("GetServiceQuota", &self.region, e))?;
        Ok(answer.quota.and_then(|q| q.value).unwrap_or_default())
    }

    /// Returns EC2 for another bake of this process, which knows nothing of this one: they share
    /// credentials, connections, and what they wait for.
    pub(crate) fn for_bake(&self) -> Self {
        let region = Region::new(self.region.clone());
        self.sharing(self.config.clone(), &region)
    }

    fn sharing(&self, config: SdkConfig, region: &Region) -> Self {
        Self {
            echo: self.echo.clone(),
            poll: self.poll,
            polls: self.polls.clone(),
            ..Self::by(config, region)
        }
    }

    /// Remembers that EC2 has just made the thing with this id.
    pub(super) fn born(&self, id: &str) {
        self.state().born.insert(id.to_owned(), Instant::now());
    }

    /// Returns whether EC2 may not know the thing yet, although it made it.
    pub(super) fn is_young(&self, id: &str) -> bool {
        let born = self.state().born.get(id).copied();
        born.is_some_and(|at| at.elapsed() < YOUNG)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes tags over what is there, on all of `ids` at once.
    pub(super) async fn tag(
        &self,
        ids: Vec<String>,
        tags: &[(&str, &str)],
    ) -> Result<(), Ec2Error> {
        let pairs = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = self.ec2.create_tags().set_resources(Some(ids.clone()));
        let request = request.set_tags(Some(tags::list(&pairs.collect())));
        let tagging = || async {
            let answer = request.clone().send().await;
            answer.map(drop).map_err(|e| self.refused("CreateTags", e))
        };
        self.persist(|| self.once_known(&ids, tagging)).await
    }

    /// Says that these are to be removed, and when.
    pub(super) async fn mark_temporary(
        &self,
        ids: Vec<String>,
        lifetime: Duration,
    ) -> Result<(), Ec2Error> {
        self.mark(ids, tags::TEMPORARY, lifetime).await
    }

    /// Says what these are until they are to be removed, and when that is.
    pub(super) async fn mark(
        &self,
        ids: Vec<String>,
        state: &str,
        lifetime: Duration,
    ) -> Result<(), Ec2Error> {
        let expires = rfc3339(OffsetDateTime::now_utc() + lifetime);
        self.tag(ids, &[(tags::STATE, state), (tags::EXPIRES, &*expires)])
            .await
    }

    /// Returns how long what is made now may be there without being renewed: what comes late in a
    /// bake is not renewed any more.
    pub(super) fn lifetime(&self) -> Duration {
        let until = self.state().until;
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        rest.unwrap_or_default().max(LIFETIME)
    }

    pub(super) fn refused<E, R>(&self, operation: &'static str, error: SdkError<E, R>) -> Ec2Error
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        Ec2Error::from_sdk(operation, &self.region, error)
    }
}

/// Refuses the name of a zone: no address would answer, and nothing would tell why.
pub(super) fn refuse_zone(region: &str) -> Result<(), TargetError> {
    let Some(its) = region_of_zone(region) else {
        return Ok(());
    };
    Err(TargetError::manifest(format!(
        "{region} is a zone, and its region is {its}"
    ))
    .with_hint("set --region, builder.region, AWS_REGION, or the region in the profile, whichever names it, to the region; a zone is chosen by builder.subnet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::ec2::canned::{Canned, Said};

    #[tokio::test]
    async fn a_bake_has_all_its_tries_although_another_has_used_up_its_own() {
        let tries = RetryConfig::standard()
            .with_max_attempts(TRIES)
            .with_initial_backoff(Duration::from_millis(1));
        let throttled = |_: &_| Said::No("RequestLimitExceeded");
        let (one, canned) = Canned::with_tries("eu-west-1", tries, throttled);
        let other = Ec2::by(one.config.clone(), &Region::new("eu-west-1"));
        let tries_of = async |ec2: &Ec2| {
            let before = canned.made().len();
            let answer = ec2.ec2.create_tags().send().await;
            assert!(answer.is_err());
            canned.made().len() - before
        };
        assert_eq!(tries_of(&one).await, TRIES as usize);
        let mut calls = 0;
        while tries_of(&one).await > 1 {
            calls += 1;
            assert!(calls < 500, "there is no end of its tries");
        }
        assert_eq!(tries_of(&other).await, TRIES as usize);
    }

    #[test]
    fn a_zone_is_no_region_and_its_region_is_named() {
        let told = |name| refuse_zone(name).err().map(|e| e.to_string());
        for region in ["eu-west-1", "us-gov-east-1", "ap-southeast-2", "local"] {
            assert_eq!(told(region), None);
        }
        let zone = told("eu-west-1a").unwrap();
        assert_eq!(zone, "eu-west-1a is a zone, and its region is eu-west-1");
        let hint = refuse_zone("eu-west-1a")
            .unwrap_err()
            .hint()
            .map(str::to_owned);
        assert!(hint.unwrap().starts_with("set --region, builder.region"));
        let local = told("us-west-2-lax-1a").unwrap();
        assert!(local.ends_with("its region is us-west-2"), "{local}");
    }
}
