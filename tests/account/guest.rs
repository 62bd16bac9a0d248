//! Machines that are not there: they answer named operations as a clean Debian would, or otherwise
//! as a test says.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::bake::Provisioner;
use crate::clock::sleep;
use crate::connector::{ConnectError, Connector, LiesWith, Session};
use crate::exit::Failure;
use crate::guest::{Operation, Output, RootShell};
use crate::plan::BakePlan;
use crate::ssh::PublicLine;
use crate::targets::{Keys, Machine};
use crate::transport::{BoxFuture, Channel, ExitStatus, Transport};

/// What a guest makes of an operation, where it does not just do it.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// It does it, and says this.
    Says(&'static str),
    /// The link is lost in the middle of it.
    Lost,
}

/// All guests of one bake.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests {
    state: Arc<Mutex<State>>,
    /// Whether somebody tries to log in who is not let in.
    connecting: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Operation, Answer>,
    /// Whether nobody can log in to them.
    silent: bool,
}

impl Guests {
    /// Has every guest answer an operation in another way.
    pub(super) fn answering(self, operation: Operation, answer: Answer) -> Self {
        self.state.lock().unwrap().answers.insert(operation, answer);
        self
    }

    /// Returns guests that nobody can log in to.
    pub(super) fn silent() -> Self {
        let guests = Self::default();
        guests.state.lock().unwrap().silent = true;
        guests
    }
}

#[async_trait]
impl Connector for Guests {
    async fn connect(
        &self,
        machine: &Machine,
        limit: Duration,
    ) -> Result<Box<dyn Session>, ConnectError> {
        if self.state.lock().unwrap().silent {
            // It is one try that hangs for so long.
            self.connecting.send_replace(true);
            sleep(limit).await;
            return Err(ConnectError {
                error: "nobody answers".into(),
                hint: None,
                lies_with: LiesWith::Machine,
            });
        }
        Ok(Box::new(Guest {
            id: machine.id.clone(),
            state: Arc::clone(&self.state),
        }))
    }

    async fn silence(&self) {
        std::future::pending::<()>().await;
    }

    async fn connecting(&self) {
        let mut connecting = self.connecting.subscribe();
        connecting.wait_for(|connecting| *connecting).await.unwrap();
    }
}

/// A session on one of them.
struct Guest {
    id: String,
    state: Arc<Mutex<State>>,
}

impl Guest {
    fn said(&self, operation: Operation) -> String {
        match operation {
            Operation::AwaitFirstBoot | Operation::RenewTimer => String::new(),
            Operation::NewHostKey => {
                let key = Keys::make().unwrap().host;
                key.public_key().to_openssh().unwrap()
            }
            Operation::Seal => "unit ssh.service enabled\nmachine-id 0123456789abcdef\n".to_owned(),
            Operation::CollectLogs => {
                "==> amibake cloud-init.log <==\nmodule apt failed\n".to_owned()
            }
            Operation::LookAtCandidate => {
                format!("unit ssh.service enabled\nmachine-id {}\n", self.id)
            }
        }
    }
}

#[async_trait]
impl RootShell for Guest {
    async fn run(&self, operation: Operation, _script: &str) -> io::Result<Output> {
        let answer = {
            let state = self.state.lock().unwrap();
            state.answers.get(&operation).cloned()
        };
        let stdout = match answer {
            None => self.said(operation),
            Some(Answer::Says(text)) => text.to_owned(),
            Some(Answer::Lost) => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        Ok(Output {
            exit: ExitStatus::Status(0),
            stdout,
            stderr: String::new(),
        })
    }
}

#[async_trait]
impl Session for Guest {
    async fn user(&self) -> String {
        "ubuntu".to_owned()
    }

    fn transport(&self) -> &dyn Transport {
        &NoCommands
    }

    async fn repin(&self, _key: &PublicLine, _limit: Duration) -> Result<(), ConnectError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// It runs no commands: what would run playbooks is [`Steps`].
struct NoCommands;

impl Transport for NoCommands {
    fn exec<'a>(&'a self, _command: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn renew(&self, _total: Duration, _per_try: Duration) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// What becomes of the manifest's steps and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Steps {
    /// They succeed at once.
    Done,
    /// A step fails.
    Fail,
    /// A test fails.
    TestFails,
    /// A step runs for ever.
    Never,
    /// A step panics: a bug of ours.
    Panic,
}

#[async_trait]
impl Provisioner for Steps {
    async fn provision(
        &self,
        _session: &dyn Session,
        _plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure> {
        match self {
            Self::Done | Self::TestFails => Ok(()),
            Self::Fail => Err(Failure::new(format!("a task failed on {}", machine.id))),
            Self::Never => std::future::pending().await,
            Self::Panic => panic!("the provisioner's own fault"),
        }
    }

    async fn test(
        &self,
        _session: &dyn Session,
        _plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure> {
        match self {
            Self::TestFails => {
                let failure = Failure::new(format!("a test failed on {}", machine.id));
                Err(failure.of_kind(crate::exit::Exit::GateFailed))
            }
            Self::Done | Self::Fail | Self::Never | Self::Panic => Ok(()),
        }
    }
}
