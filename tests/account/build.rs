//! One build in an account: the program's own bake and its own EC2 target, with guests that are not
//! there and a clock that goes fast.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;

use super::guest::{Guests, Steps};
use super::http;
use super::live::{Chatty, Door, LiveGuests};
use super::server::{Account, REGION};
use crate::bake::{self, BakeEnv, Baked, Provisioner};
use crate::cli;
use crate::clock::leaping;
use crate::connector::Connector;
use crate::event::{self, Event, Reports};
use crate::exit::{Exit, Failure};
use crate::failure_bundle::FailureBundle;
use crate::identity;
use crate::interrupt::Interrupt;
use crate::manifest::{self, Given, TargetKind};
use crate::plan::{self, BakePlan, OnError};
use crate::targets::ahead::Ahead;
use crate::targets::ec2::{self, Check, Ec2};
use crate::targets::{Finished, Publisher};

/// The lines of a manifest that every build has; `more` goes into `builder:`, `image` into that.
fn manifest(more: &str, image: &str) -> String {
    let connect = match more.contains("connect:") {
        true => "",
        false => ", connect: private-ip",
    };
    let types = match more.contains("instance_type:") {
        true => "",
        false => ", instance_type: [t3.small]",
    };
    // What EC2 does not answer is asked again for as long as the whole bake may take.
    let timeouts = match more.contains("timeouts:") {
        true => "",
        false => ", timeouts: {total: 15m}",
    };
    let name = match image.starts_with(", name:") {
        true => image.trim_start_matches(", ").to_owned(),
        false => format!("name: 'web-{{{{ build_time }}}}'{image}"),
    };
    format!(
        "name: web\nsource: {{ubuntu: '24.04'}}\n\
         builder: {{region: {REGION}{types}{connect}{timeouts}{more}}}\n\
         image: {{{name}}}\n"
    )
}

/// A build that may be told more before it begins.
pub(super) struct Build<'a> {
    account: &'a Account,
    pub(super) plan: BakePlan,
    pub(super) guests: Guests,
    pub(super) steps: Steps,
    pub(super) interrupt: Interrupt,
    pub(super) renew_every: Duration,
    pub(super) bundle: Option<FailureBundle>,
    /// How long one try of a call may take, by the fast clock.
    pub(super) per_try: Duration,
    /// Another bake's EC2: they are of one process.
    pub(super) beside: Option<Box<Ec2>>,
    /// Where its guests can really be logged in to.
    pub(super) door: Option<Box<Door>>,
    said: Arc<Mutex<String>>,
}

/// How it ended.
pub(super) struct Built {
    pub(super) image: Option<Finished>,
    /// Whether it was there already.
    pub(super) reused: bool,
    pub(super) failure: Option<Failure>,
    /// Warnings, progress, and then the failure, as they are printed.
    pub(super) said: String,
}

impl<'a> Build<'a> {
    /// Returns one with more in the manifest's `builder:`: `, key: value`.
    pub(super) fn with(account: &'a Account, more: &str) -> Self {
        Self::whole(account, more, "")
    }

    /// Returns one with more in the manifest's `image:`: `, key: value`.
    pub(super) fn publishing(account: &'a Account, image: &str) -> Self {
        Self::whole(account, "", image)
    }

    /// Returns one with more in both.
    pub(super) fn whole(account: &'a Account, more: &str, image: &str) -> Self {
        let path = account.home().join("manifest.yaml");
        // Others may read it.
        let unfinished = tempfile::NamedTempFile::new_in(account.home()).unwrap();
        std::fs::write(unfinished.path(), manifest(more, image)).unwrap();
        unfinished.persist(&path).unwrap();
        let now = time::OffsetDateTime::now_utc();
        let loaded = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let mut plans = plan::bakes(&loaded, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let mut plan = plans.remove(0);
        // Each is of a content of its own, and waits for no other.
        plan.inputs = identity::of_manifest(&plan, None).salted(plan.run.as_str());
        Self {
            account,
            plan,
            guests: Guests::default(),
            steps: Steps::Done,
            interrupt: Interrupt::default(),
            renew_every: bake::RENEW_EVERY,
            bundle: None,
            per_try: match leaping::is_on() {
                true => Duration::from_secs(60),
                // The server is not faster than EC2 as the bake's clock is faster than the wall.
                false => Duration::from_secs(20 * 60),
            },
            beside: None,
            door: None,
            said: Arc::default(),
        }
    }

    pub(super) fn of(account: &'a Account) -> Self {
        Self::with(account, "")
    }

    /// Returns it with a content that is every such build's, if its manifest is the same.
    pub(super) fn of_shared_content(mut self) -> Self {
        self.plan.inputs = identity::of_manifest(&self.plan, None);
        self
    }

    /// Returns what it has said so far.
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Builds.
    pub(super) async fn run(&self) -> Built {
        self.told(async |env: &BakeEnv<'_>| bake::bake(&self.plan, env).await)
            .await
    }

    /// Publishes an image that is there.
    pub(super) async fn publish(&self, image: &str) -> Built {
        self.publish_by(Publisher::Publish, image).await
    }

    /// The same as another command or a build does it.
    pub(super) async fn publish_by(&self, by: Publisher, image: &str) -> Built {
        let publish =
            async |env: &BakeEnv<'_>| bake::existing::publish(&self.plan, env, image, by).await;
        self.told(publish).await
    }

    /// Looks at an image that is there as at a candidate.
    pub(super) async fn test(&mut self, image: &str) -> Built {
        self.plan.source = manifest::Source::Ami(image.to_owned());
        let plan = &self.plan;
        let test = async |env: &BakeEnv<'_>| bake::existing::test(plan, env, image).await;
        self.told(test).await
    }

    async fn told(&self, work: impl AsyncFnOnce(&BakeEnv<'_>) -> Baked) -> Built {
        let target = match &self.beside {
            Some(other) => other.for_bake(),
            None => Box::pin(self.ec2()).await,
        };
        let (events, mut reports) = event::channel();
        let events = match &self.bundle {
            Some(bundle) => events.recorded(bundle.recorder()),
            None => events,
        };
        let door = self.door.as_deref();
        let live = door.map(|door| LiveGuests::new(door.clone(), events.clone()));
        let chatty = door.map(|door| Chatty::new(door, events.clone()));
        let env = BakeEnv {
            target: &target,
            connector: live
                .as_ref()
                .map_or(&self.guests as &dyn Connector, |live| live),
            provisioner: chatty
                .as_ref()
                .map_or(&self.steps as &dyn Provisioner, |chatty| chatty),
            events: &events,
            interrupt: &self.interrupt,
            state_folder: &self.account.state_folder(),
            renew_every: self.renew_every,
            bundle: self.bundle.as_ref(),
        };
        let said = Arc::clone(&self.said);
        let listening = tokio::spawn(async move {
            while let Some(report) = reports.next().await {
                *said.lock().unwrap() += &text_of(&report.event);
            }
        });
        let baked = work(&env).await;
        events.close();
        listening.await.unwrap();
        let failed = baked.failure.as_ref().map(text_of_failure);
        Built {
            said: self.said() + &failed.unwrap_or_default(),
            image: baked.image,
            reused: baked.reused,
            failure: baked.failure,
        }
    }

    /// Reaps the account in all its regions, as the command does; insists that nothing of that fails.
    pub(super) async fn reap(&self) -> String {
        let ec2 = Box::pin(self.ec2()).await;
        let (events, reports) = event::channel();
        let folder = self.account.state_folder();
        let answer = Box::pin(cli::reap_account(ec2, &folder, &events)).await;
        events.close();
        let said = answer.text.clone() + &all_said(reports).await;
        let failed: String = answer.failures.iter().map(text_of_failure).collect();
        assert_eq!(answer.exit(), Exit::Done, "{said}{failed}");
        said
    }

    /// Looks at what it would run into.
    pub(super) async fn preflight(&self) -> Vec<Check> {
        let ec2 = Box::pin(self.ec2()).await;
        Box::pin(ec2.preflight(&self.plan)).await.unwrap()
    }

    /// Returns what it would do.
    pub(super) async fn ahead(&self) -> Ahead {
        let ec2 = Box::pin(self.ec2()).await;
        Box::pin(ec2.ahead(&self.plan)).await.unwrap()
    }

    /// Returns EC2 for a bake of its own.
    pub(super) async fn ec2(&self) -> Ec2 {
        Ec2::with(self.settings()).await.unwrap()
    }

    /// Returns its settings.
    pub(super) fn settings(&self) -> ConfigLoader {
        let time = TimeoutConfig::builder().operation_attempt_timeout(self.per_try);
        let mut settings = settings(self.account).timeout_config(time.build());
        if let Some(region) = &self.plan.builder.region {
            settings = settings.region(Region::new(region.clone()));
        }
        settings
    }
}

/// Returns the program's own settings, for an account.
pub(super) fn settings(account: &Account) -> ConfigLoader {
    ec2::settings(http::client())
        .endpoint_url(&account.url)
        .credentials_provider(Credentials::new(
            account.key_id(),
            "test",
            None,
            None,
            "test",
        ))
        .region(Region::new(REGION))
}

/// Returns another client of the account: somebody else's program.
pub(super) async fn client(account: &Account) -> aws_sdk_ec2::Client {
    client_in(account, REGION).await
}

/// Returns the settings of somebody else's program, which has all the time that the server takes.
async fn settings_in(account: &Account, region: &'static str) -> SdkConfig {
    let loaded = account.settings.get_or_init(async || {
        let time = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(3_600));
        let settings = settings(account).timeout_config(time.build());
        settings.load().await
    });
    let settings = Box::pin(loaded).await.to_builder();
    settings.region(Region::new(region)).build()
}

/// The same in a region.
pub(super) async fn client_in(account: &Account, region: &'static str) -> aws_sdk_ec2::Client {
    aws_sdk_ec2::Client::new(&settings_in(account, region).await)
}

/// Returns a client of the account's parameters.
pub(super) async fn parameters_in(account: &Account, region: &'static str) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&settings_in(account, region).await)
}

/// Returns a client of the account's keys.
pub(super) async fn keys_in(account: &Account, region: &'static str) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::new(&settings_in(account, region).await)
}

/// Makes a customer's key with an alias; returns its id.
pub(super) async fn make_key(kms: &aws_sdk_kms::Client, alias: &str) -> String {
    let made = kms.create_key().send().await;
    let id = made.unwrap().key_metadata.unwrap().key_id;
    let naming = kms.create_alias().alias_name(alias).target_key_id(&id);
    naming.send().await.unwrap();
    id
}

/// Returns its parameters.
pub(super) async fn ssm_client(account: &Account) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::new(&settings_in(account, REGION).await)
}

impl Built {
    /// Insists on how it ended.
    pub(super) fn ended(self, exit: Exit) -> Self {
        let ended = self.failure.as_ref().map_or(Exit::Done, Failure::exit);
        assert_eq!(ended, exit, "{}", self.said);
        self
    }

    /// Returns the commands that remove what is left, and what they remove.
    pub(super) fn left_behind(&self) -> Vec<(&str, &str)> {
        let left = self.failure.iter().flat_map(|f| &f.left_behind);
        left.map(|l| (l.what.as_str(), l.remove_with.as_str()))
            .collect()
    }
}

/// Returns what was said on a channel, up to its end.
pub(super) async fn all_said(mut reports: Reports) -> String {
    let mut said = String::new();
    while let Some(report) = reports.next().await {
        said += &text_of(&report.event);
    }
    said
}

fn text_of(event: &Event) -> String {
    match event {
        Event::Warning { message, .. } => format!("[WARNING]: {message}\n"),
        Event::PhaseProgress { message, .. } | Event::Note { message } => format!("{message}\n"),
        Event::StackChanged {
            resource,
            status,
            reason,
            ..
        } => {
            let reason = reason.as_deref().unwrap_or_default();
            format!("{status} {resource} {reason}\n")
        }
        Event::ImageReused { image_id, .. } => format!("{image_id} was made before\n"),
        _ => String::new(),
    }
}

pub(super) fn text_of_failure(failure: &Failure) -> String {
    let causes: Vec<String> = failure.chain().collect();
    let mut text = format!("error: {}\n", causes.join(": "));
    text.extend(failure.hint.iter().map(|hint| format!("hint: {hint}\n")));
    for left in &failure.left_behind {
        text += &format!("left behind: {} ({})\n", left.what, left.remove_with);
    }
    text
}
