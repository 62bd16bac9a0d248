//! One build in an account: the program's own bake and its own EC2 target, with guests that are not
//! there and a clock that goes fast.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, Region};
use aws_credential_types::Credentials;

use super::guest::{Guests, Steps};
use super::server::{Account, REGION};
use crate::bake::{self, BakeEnv};
use crate::event::{self, Event, Reports};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::manifest::{self, Given, TargetKind};
use crate::plan::{self, BakePlan, OnError};
use crate::targets::Finished;
use crate::targets::ec2::{self, Ec2};

/// The lines of a manifest that every build has; `more` goes into `builder:`.
fn manifest(more: &str) -> String {
    let connect = match more.contains("connect:") {
        true => "",
        false => ", connect: private-ip",
    };
    // What EC2 does not answer is asked again for as long as the whole bake may take.
    let timeouts = match more.contains("timeouts:") {
        true => "",
        false => ", timeouts: {total: 15m}",
    };
    format!(
        "name: web\nsource: {{ubuntu: '24.04'}}\n\
         builder: {{region: {REGION}, instance_type: [t3.small]{connect}{timeouts}{more}}}\n\
         image: {{name: 'web-{{{{ build_time }}}}'}}\n"
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
    /// How long one try of a call may take, by the fast clock.
    pub(super) per_try: Duration,
    said: Arc<Mutex<String>>,
}

/// How it ended.
pub(super) struct Built {
    pub(super) image: Option<Finished>,
    pub(super) failure: Option<Failure>,
    /// Warnings, progress, and then the failure, as they are printed.
    pub(super) said: String,
}

impl<'a> Build<'a> {
    /// Returns one with more in the manifest's `builder:`: `, key: value`.
    pub(super) fn with(account: &'a Account, more: &str) -> Self {
        let path = account.home().join("manifest.yaml");
        std::fs::write(&path, manifest(more)).unwrap();
        let now = time::OffsetDateTime::now_utc();
        let loaded = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let mut plans = plan::bakes(&loaded, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        Self {
            account,
            plan: plans.remove(0),
            guests: Guests::default(),
            steps: Steps::Done,
            interrupt: Interrupt::default(),
            renew_every: bake::RENEW_EVERY,
            // The server is not faster than EC2 as the bake's clock is faster than the wall.
            per_try: Duration::from_secs(20 * 60),
            said: Arc::default(),
        }
    }

    pub(super) fn of(account: &'a Account) -> Self {
        Self::with(account, "")
    }

    /// Returns what it has said so far.
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Builds.
    pub(super) async fn run(&self) -> Built {
        let target = self.ec2().await;
        let (events, mut reports) = event::channel();
        let env = BakeEnv {
            target: &target,
            connector: &self.guests,
            provisioner: &self.steps,
            events: &events,
            interrupt: &self.interrupt,
            state_folder: &self.account.state_folder(),
            renew_every: self.renew_every,
        };
        let said = Arc::clone(&self.said);
        let listening = tokio::spawn(async move {
            while let Some(report) = reports.next().await {
                *said.lock().unwrap() += &text_of(&report.event);
            }
        });
        let baked = bake::bake(&self.plan, &env).await;
        events.close();
        listening.await.unwrap();
        let failed = baked.failure.as_ref().map(text_of_failure);
        Built {
            said: self.said() + &failed.unwrap_or_default(),
            image: baked.image,
            failure: baked.failure,
        }
    }

    async fn ec2(&self) -> Ec2 {
        let time = TimeoutConfig::builder().operation_attempt_timeout(self.per_try);
        let settings = settings(self.account).timeout_config(time.build());
        Ec2::with(settings).await.unwrap()
    }
}

/// Returns the program's own settings, for an account.
fn settings(account: &Account) -> ConfigLoader {
    ec2::settings()
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
    aws_sdk_ec2::Client::new(&settings(account).load().await)
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
        Event::PhaseProgress { message, .. } => format!("{message}\n"),
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
