//! Guests that do have a login: each build has a session of its own on one real sshd of this host, over
//! which come as many events as a long play has. What a guest answers is scripted all the same.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use amibake_protocol::event::{Event, Stream};
use amibake_protocol::frame::{self, Frame, HEADER_BYTES, Header};
use amibake_protocol::message::ToController;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::guest::Guests;
use crate::bake::Provisioner;
use crate::connector::{ConnectError, Connector, Session};
use crate::event::Events;
use crate::exit::Failure;
use crate::guest::{Operation, Output, RootShell};
use crate::plan::BakePlan;
use crate::ssh::{self, Destination, Link, Login, PublicLine, RetryPolicy, Silence, Trust};
use crate::targets::Machine;
use crate::transport::Transport;

/// How much the events of one build take on the wire.
const EVENT_BYTES: usize = 1_000_000;

/// A running sshd with keys of its own, and the events that its sessions read.
pub(super) struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

/// What another process needs to log in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Door {
    port: u16,
    host_key: String,
    identity: PathBuf,
    events: PathBuf,
}

impl Sshd {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["host", "login"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(name))
                .status();
            assert!(made.unwrap().success());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nMaxStartups 1000\nLoginGraceTime 600\n",
            at("host").display(),
            at("login.pub").display(),
        );
        std::fs::write(at("config"), config).unwrap();
        std::fs::write(at("events"), events()).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .arg("-D")
            .arg("-f")
            .arg(at("config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            port,
        }
    }

    pub(super) fn door(&self) -> Door {
        let at = |name: &str| self.folder.path().join(name);
        Door {
            port: self.port,
            host_key: std::fs::read_to_string(at("host.pub")).unwrap(),
            identity: at("login"),
            events: at("events"),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Returns what an agent says of a chatty play, as it travels.
fn events() -> Vec<u8> {
    let mut bytes = Vec::new();
    for seq in 0.. {
        let event = Event::TaskOutput {
            index: 1,
            stream: Stream::Stdout,
            line: format!(
                "{seq:06} {}",
                "Setting up a package with a long name ... ".repeat(20)
            ),
        };
        let message = ToController::Event { seq, event };
        bytes.extend(frame::encode(&message).unwrap());
        if bytes.len() >= EVENT_BYTES {
            break;
        }
    }
    bytes
}

/// Guests behind that login.
pub(super) struct LiveGuests {
    door: Door,
    guests: Guests,
    events: Events,
}

impl LiveGuests {
    pub(super) fn new(door: Door, events: Events) -> Self {
        Self {
            door,
            guests: Guests::default(),
            events,
        }
    }
}

#[async_trait]
impl Connector for LiveGuests {
    async fn connect(
        &self,
        machine: &Machine,
        limit: Duration,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let host_key = russh::keys::PublicKey::from_openssh(&self.door.host_key).unwrap();
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let destination = Destination {
            host: "127.0.0.1".to_owned(),
            port: self.door.port,
            user,
            trust: Trust::Exact(vec![host_key]),
            login: Login {
                identity_files: vec![self.door.identity.clone()],
                ..Login::default()
            },
            jump: None,
            silence: Silence::default(),
        };
        let link = ssh::connect(destination, RetryPolicy::until(limit), &self.events).await?;
        let guest = self.guests.connect(machine, limit).await?;
        Ok(Box::new(Live { guest, link }))
    }

    async fn silence(&self) {
        std::future::pending::<()>().await;
    }
}

/// A session that is there, on a guest that is not.
struct Live {
    guest: Box<dyn Session>,
    link: Link,
}

#[async_trait]
impl RootShell for Live {
    async fn run(&self, operation: Operation, script: &str) -> io::Result<Output> {
        self.guest.run(operation, script).await
    }
}

#[async_trait]
impl Session for Live {
    async fn user(&self) -> String {
        self.guest.user().await
    }

    fn transport(&self) -> &dyn Transport {
        &self.link
    }

    async fn repin(&self, key: &PublicLine, limit: Duration) -> Result<(), ConnectError> {
        self.guest.repin(key, limit).await
    }

    async fn close(&self) {
        self.link.close().await;
    }
}

/// Reads a play's events over the session, and tells them no faster than they are shown.
pub(super) struct Chatty {
    file: PathBuf,
    events: Events,
}

impl Chatty {
    pub(super) fn new(door: &Door, events: Events) -> Self {
        let file = door.events.clone();
        Self { file, events }
    }

    async fn read(&self, session: &dyn Session, file: &Path) -> io::Result<usize> {
        let command = format!("cat {}", file.display());
        let mut channel = session.transport().exec(&command).await?;
        let mut read = 0;
        while let Some(frame) = next(&mut channel.stdout).await? {
            let Frame::Message(body) = &frame else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let bytes = frame::weight(body);
            read += HEADER_BYTES + body.len();
            match frame.message().map_err(io::Error::other)? {
                ToController::Event { event, .. } => {
                    self.events.room().await;
                    self.events.host(event, bytes);
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        channel.exit.await?;
        Ok(read)
    }
}

/// Reads a frame, as the controller does.
async fn next(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_BYTES];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => _ = read?,
    }
    let header = Header::parse(header).map_err(io::Error::other)?;
    let mut body = vec![0; header.len];
    from.read_exact(&mut body).await?;
    Ok(Some(Frame::assemble(header.kind, body)))
}

#[async_trait]
impl Provisioner for Chatty {
    async fn provision(
        &self,
        session: &dyn Session,
        _plan: &BakePlan,
        _machine: &Machine,
    ) -> Result<(), Failure> {
        let read = self.read(session, &self.file).await;
        let read = read.map_err(Failure::new)?;
        assert!(read >= EVENT_BYTES, "{read} bytes of events came");
        Ok(())
    }

    async fn test(
        &self,
        _session: &dyn Session,
        _plan: &BakePlan,
        _machine: &Machine,
    ) -> Result<(), Failure> {
        Ok(())
    }
}
