//! The client against a real sshd on loopback: throw-away keys, its own port, ended by its id.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::error::HostKeyError;
use super::super::host_key::KnownHostsPolicy;
use super::super::known_hosts::KnownHosts;
use super::super::*;
use crate::event::{self, Events};
use crate::transport::{ExitStatus, Transport as _};

/// A running sshd, and what is needed to log in to it.
pub(super) struct Sshd {
    child: Child,
    pub(super) port: u16,
    folder: TempDir,
    pub(super) host_key: PublicLine,
}

impl Sshd {
    pub(super) fn start() -> Self {
        Self::with("")
    }

    /// Starts an sshd with more lines of configuration.
    pub(super) fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["host", "login"] {
            keygen(&["-t", "ed25519", "-N", "", "-f", at(name).to_str().unwrap()]);
        }
        keygen(&["-t", "ecdsa", "-N", "", "-f", at("ecdsa").to_str().unwrap()]);
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nUsePAM no\nMaxStartups 100\n{more}\n",
            at("host").display(),
            at("ecdsa").display(),
            at("login.pub").display(),
        );
        fs::write(at("config"), config).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", at("config").to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let host_key = fs::read_to_string(at("host.pub")).unwrap();
        Self {
            child,
            port,
            host_key: host_key.parse().unwrap(),
            folder,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A destination with the pinned key and the login key's file.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            host: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            trust: Trust::Exact(vec![self.host_key.key().clone()]),
            login: Login {
                identity_files: vec![self.path("login")],
                ..Login::default()
            },
            jump: None,
            silence: Silence::default(),
        }
    }

    /// The same, trusting what `known_hosts` of this folder says.
    fn known(&self, note: bool) -> Destination {
        let file = self.path("known_hosts");
        Destination {
            trust: Trust::Known(Arc::new(KnownHostsPolicy {
                hosts: KnownHosts::read(std::slice::from_ref(&file)).unwrap(),
                alias: None,
                note_in: note.then_some(file),
                hashed: true,
                met: Arc::default(),
            })),
            ..self.destination()
        }
    }

    fn know(&self, lines: &str) {
        fs::write(self.path("known_hosts"), lines).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

pub(super) fn keygen(args: &[&str]) {
    let done = Command::new("ssh-keygen").arg("-q").args(args).status();
    assert!(done.unwrap().success(), "ssh-keygen {args:?}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(super) fn events() -> Events {
    event::channel().0
}

const RETRY: RetryPolicy = RetryPolicy {
    total: Duration::from_secs(20),
    per_try: Duration::from_secs(10),
    ..RetryPolicy::ONE_TRY
};

pub(super) async fn link(destination: Destination) -> Link {
    connect(destination, RETRY, &events()).await.unwrap()
}

pub(super) async fn failure(destination: Destination) -> SshError {
    // The server may still be starting, so the deadline matters; what counts is the last failure.
    let retry = RetryPolicy::until(Duration::from_secs(3));
    match connect(destination, retry, &events()).await {
        Ok(_) => panic!("it connected"),
        Err(SshError::GaveUp { source, .. }) => *source,
        Err(error) => error,
    }
}

/// Runs a command to its end.
pub(super) async fn run(link: &Link, command: &str) -> (String, String, ExitStatus) {
    let mut channel = link.exec(command).await.unwrap();
    drop(channel.stdin);
    let (mut out, mut err) = (String::new(), String::new());
    let (_, _, exit) = tokio::join!(
        channel.stdout.read_to_string(&mut out),
        channel.stderr.read_to_string(&mut err),
        channel.exit,
    );
    (out, err, exit.unwrap())
}

#[tokio::test]
async fn a_command_has_its_streams_and_its_status() {
    let sshd = Sshd::start();
    let link = link(sshd.destination()).await;
    let (out, err, exit) = run(&link, "echo out; echo err >&2; exit 7").await;
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert_eq!(exit, ExitStatus::Status(7));
    let (_, _, exit) = run(&link, "kill -TERM $$").await;
    assert_eq!(exit, ExitStatus::Signal("TERM".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_arrive_whole_and_as_many_go() {
    let sshd = Sshd::start();
    let link = link(sshd.destination()).await;
    let mut channel = link.exec("head -c 104857600 /dev/zero").await.unwrap();
    let got = tokio::io::copy(&mut channel.stdout, &mut tokio::io::sink()).await;
    assert_eq!(got.unwrap(), 100 << 20);
    assert_eq!(channel.exit.await.unwrap(), ExitStatus::Status(0));

    let mut channel = link.exec("wc -c").await.unwrap();
    let block = vec![7_u8; 1 << 20];
    for _ in 0..100 {
        channel.stdin.write_all(&block).await.unwrap();
    }
    channel.stdin.shutdown().await.unwrap();
    let mut out = String::new();
    channel.stdout.read_to_string(&mut out).await.unwrap();
    assert_eq!(out.trim(), (100 << 20).to_string());
}

#[tokio::test]
async fn a_dropped_command_ends_while_the_link_stays() {
    let sshd = Sshd::start();
    let link = link(sshd.destination()).await;
    let mark = sshd.path("alive");
    let command = format!(
        "trap 'rm {0}; exit' HUP PIPE; touch {0}; while :; do echo x; sleep 0.1; done",
        mark.display()
    );
    let mut channel = link.exec(&command).await.unwrap();
    let mut byte = [0];
    channel.stdout.read_exact(&mut byte).await.unwrap();
    drop(channel);
    wait_until(|| !mark.exists()).await;
    assert_eq!(run(&link, "echo still here").await.0, "still here\n");
}

#[tokio::test]
async fn a_cut_link_is_lost_for_its_commands_and_anew_for_the_next() {
    let sshd = Sshd::start();
    let link = link(sshd.destination()).await;
    // The session's own process, found from inside, is ended from outside: the TCP connection breaks.
    let mut channel = link.exec("echo $PPID; sleep 60").await.unwrap();
    let mut pid = String::new();
    while !pid.ends_with('\n') {
        pid.push(channel.stdout.read_u8().await.unwrap() as char);
    }
    Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    assert_eq!(channel.exit.await.unwrap(), ExitStatus::Lost);
    assert_eq!(run(&link, "echo again").await.0, "again\n");
}

#[tokio::test]
async fn a_wrong_host_key_is_refused_at_once_and_both_fingerprints_are_told() {
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    let other = KeyPair::generate("").unwrap().public();
    let mut destination = sshd.destination();
    destination.trust = Trust::Exact(vec![other.key().clone()]);
    let error = failure(destination).await;
    let told = error.to_string();
    assert!(
        matches!(error, SshError::HostKey(HostKeyError::NotPinned { .. })),
        "{told}"
    );
    assert!(told.contains(&other.fingerprint()) && told.contains(&sshd.host_key.fingerprint()));
    assert!(error.hint().unwrap().contains("nothing was sent"));
}

#[tokio::test]
async fn a_new_host_is_refused_or_noted_hashed_and_known_from_then_on() {
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    let error = failure(sshd.known(false)).await;
    assert!(matches!(
        error,
        SshError::HostKey(HostKeyError::Unknown { .. })
    ));
    drop(link(sshd.known(true)).await);
    let noted = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    assert!(noted.starts_with("|1|") && noted.lines().count() == 1);
    drop(link(sshd.known(false)).await);
}

#[tokio::test]
async fn names_hashed_by_ssh_keygen_and_the_order_of_key_types_work() {
    let sshd = Sshd::start();
    // Of the server's two keys only that type is known which is not asked for first.
    let ecdsa = fs::read_to_string(sshd.path("ecdsa.pub")).unwrap();
    sshd.know(&format!("[127.0.0.1]:{} {ecdsa}", sshd.port));
    keygen(&["-H", "-f", sshd.path("known_hosts").to_str().unwrap()]);
    drop(link(sshd.known(false)).await);
}

#[tokio::test]
async fn a_revoked_key_and_a_changed_one_are_refused_by_file_and_line() {
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    sshd.know(&format!("# one\n@revoked * {}\n", sshd.host_key));
    let error = failure(sshd.known(true)).await;
    assert!(
        matches!(
            error,
            SshError::HostKey(HostKeyError::Revoked { line: 2, .. })
        ),
        "{error}"
    );
    let other = KeyPair::generate("").unwrap().public();
    sshd.know(&format!("[127.0.0.1]:{} {other}\n", sshd.port));
    let error = failure(sshd.known(true)).await;
    let told = error.to_string();
    assert!(
        matches!(
            error,
            SshError::HostKey(HostKeyError::Changed { line: 1, .. })
        ),
        "{told}"
    );
    assert!(told.contains("known_hosts:1") && told.contains(&other.fingerprint()));
}

#[tokio::test]
async fn a_host_certificate_is_trusted_for_its_names_only() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    keygen(&["-t", "ed25519", "-N", "", "-f", ca.to_str().unwrap()]);
    let certificate = folder.path().join("host-cert.pub");
    let sshd = Sshd::with(&format!("HostCertificate {}", certificate.display()));
    let authority = fs::read_to_string(folder.path().join("ca.pub")).unwrap();
    for (principal, expected) in [("127.0.0.1", true), ("web.example.com", false)] {
        let public = folder.path().join("host.pub");
        fs::copy(sshd.path("host.pub"), &public).unwrap();
        keygen(&[
            "-s",
            ca.to_str().unwrap(),
            "-I",
            "web",
            "-h",
            "-n",
            principal,
            public.to_str().unwrap(),
        ]);
        let restarted = sshd.again();
        restarted.know(&format!("@cert-authority [127.0.0.1]:* {authority}"));
        if expected {
            drop(link(restarted.known(false)).await);
        } else {
            let error = failure(restarted.known(false)).await;
            assert!(
                matches!(error, SshError::HostKey(HostKeyError::Certificate { .. })),
                "{error}"
            );
        }
    }
}

impl Sshd {
    /// Another server with the same files, so that it reads a new certificate.
    fn again(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "host.pub", "ecdsa", "login", "login.pub"] {
            fs::copy(self.path(name), folder.path().join(name)).unwrap();
        }
        let port = free_port();
        let config = fs::read_to_string(self.path("config")).unwrap();
        let config = config
            .replace(
                self.folder.path().to_str().unwrap(),
                folder.path().to_str().unwrap(),
            )
            .replace(&format!("Port {}", self.port), &format!("Port {port}"));
        fs::write(folder.path().join("config"), config).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args([
                "-D",
                "-e",
                "-f",
                folder.path().join("config").to_str().unwrap(),
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            folder,
            host_key: self.host_key.clone(),
        }
    }
}

/// An ssh-agent of our own.
pub(super) struct Agent {
    child: Child,
    pub(super) socket: PathBuf,
}

impl Agent {
    pub(super) async fn holding(folder: &Path, key: &Path) -> Self {
        let socket = folder.join("agent");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a", socket.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, socket };
        wait_until(|| agent.socket.exists()).await;
        agent.add(key);
        agent
    }

    pub(super) fn add(&self, key: &Path) {
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .status();
        assert!(added.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[tokio::test]
async fn the_agent_signs_when_no_file_can() {
    let sshd = Sshd::start();
    let agent = Agent::holding(sshd.folder.path(), &sshd.path("login")).await;
    let mut destination = sshd.destination();
    destination.login = Login {
        agent: Some(agent.socket.clone()),
        ..Login::default()
    };
    let link = link(destination.clone()).await;
    assert_eq!(run(&link, "echo hello").await.0, "hello\n");
    destination.login.identities_only = true;
    let error = failure(destination).await;
    assert!(
        error
            .to_string()
            .contains("refused every key: there is none to try"),
        "{error}"
    );
}

#[tokio::test]
async fn an_encrypted_key_without_a_terminal_is_a_clear_error() {
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    let key = sshd.path("login");
    keygen(&["-p", "-N", "secret words", "-f", key.to_str().unwrap()]);
    let error = failure(sshd.destination()).await;
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("encrypted"), "{error}: {cause}");
    assert!(error.hint().unwrap().contains("ssh-add"));
}

#[tokio::test]
async fn an_rsa_key_signs_with_sha2() {
    let sshd = Sshd::start();
    let key = sshd.path("rsa");
    keygen(&[
        "-t",
        "rsa",
        "-b",
        "2048",
        "-N",
        "",
        "-f",
        key.to_str().unwrap(),
    ]);
    fs::copy(sshd.path("rsa.pub"), sshd.path("login.pub")).unwrap();
    let mut destination = sshd.destination();
    destination.login.identity_files = vec![key];
    assert_eq!(run(&link(destination).await, "echo rsa").await.0, "rsa\n");
}

#[tokio::test]
async fn a_refused_login_says_what_was_tried_and_what_would_do() {
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    let other = KeyPair::generate("").unwrap();
    let mut destination = Destination::pinned("127.0.0.1", "root", &other, &sshd.host_key);
    destination.port = sshd.port;
    let told = failure(destination).await.to_string();
    assert!(told.contains(&other.public().fingerprint()), "{told}");
    assert!(told.contains("publickey"), "{told}");
}

#[tokio::test]
async fn a_jump_host_carries_the_connection_and_is_checked_itself() {
    let (near, far) = (Sshd::start(), Sshd::start());
    drop(link(near.destination()).await);
    let mut destination = far.destination();
    destination.jump = Some(Box::new(near.destination()));
    let through = link(destination.clone()).await;
    let (out, ..) = run(&through, "echo $SSH_CONNECTION").await;
    assert!(out.trim().ends_with(&far.port.to_string()), "{out}");
    if let Some(jump) = &mut destination.jump {
        jump.trust = far.destination().trust;
    }
    let error = failure(destination).await;
    assert!(
        matches!(&error, SshError::Jump { source, .. } if matches!(**source, SshError::HostKey(_)))
    );
}

#[tokio::test]
async fn nobody_there_is_refused_and_retried_until_the_deadline() {
    let sshd = Sshd::start();
    let mut destination = sshd.destination();
    destination.port = free_port();
    let error = connect(destination.clone(), RetryPolicy::ONE_TRY, &events()).await;
    let error = error.err().unwrap();
    assert!(error.hint().unwrap().contains("nothing listens"), "{error}");
    let retry = RetryPolicy::until(Duration::from_millis(500));
    let error = connect(destination, retry, &events()).await.err().unwrap();
    assert!(
        matches!(error, SshError::GaveUp { tries: 2.., .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_new_host_key_of_the_same_machine_is_repinned() {
    let sshd = Sshd::start();
    let link = link(sshd.destination()).await;
    let other = KeyPair::generate("").unwrap().public();
    link.repin(std::slice::from_ref(&other)).await;
    assert!(link.try_again(RetryPolicy::ONE_TRY).await.is_err());
    link.repin(std::slice::from_ref(&sshd.host_key)).await;
    link.try_again(RetryPolicy::ONE_TRY).await.unwrap();
}

async fn wait_until(ready: impl Fn() -> bool) {
    for _ in 0..500 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to be");
}

#[tokio::test]
async fn a_host_that_is_ours_and_refuses_us_is_given_a_moment_and_no_more() {
    let sshd = Sshd::start();
    let mut destination = sshd.destination();
    destination.user = "no-such-user".into();
    let retry = RetryPolicy {
        total: Duration::from_secs(120),
        refusals: Duration::from_millis(700),
        ..RetryPolicy::ONE_TRY
    };
    let since = std::time::Instant::now();
    let Err(error) = connect(destination, retry, &events()).await else {
        panic!("nobody is let in");
    };
    assert!(matches!(error, SshError::Refused { .. }), "{error}");
    assert!(since.elapsed() >= retry.refusals);
    assert!(since.elapsed() < Duration::from_secs(60), "it went on");
}
