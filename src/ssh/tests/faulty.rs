//! The client against servers that hang, lie, or freeze: each ends in time and is told apart.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use super::super::connect::RetryPolicy;
use super::super::error::Stage;
use super::super::*;
use super::sshd::*;
use crate::transport::{ExitStatus, Transport as _};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One try that may take this long.
const SHORT: RetryPolicy = RetryPolicy {
    total: Duration::ZERO,
    per_try: Duration::from_secs(2),
    ..RetryPolicy::ONE_TRY
};

/// Listens and gives every connection to `speak`; returns where.
fn server(speak: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> Destination {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let speak = speak.clone();
            thread::spawn(move || speak(stream));
        }
    });
    let key = KeyPair::generate("").unwrap();
    let mut destination = Destination::pinned("127.0.0.1", "root", &key, &key.public());
    destination.port = port;
    destination
}

/// Connects in vain; it has to be over soon.
async fn refused(destination: Destination) -> SshError {
    let since = Instant::now();
    let connected = connect(destination, SHORT, &events()).await;
    let error = connected.err().expect("it does not connect");
    assert!(since.elapsed() < Duration::from_secs(10), "{error}");
    error
}

/// Says `what` again and again, until nobody listens.
fn repeat(what: &'static [u8]) -> impl Fn(TcpStream) + Send + Sync + Clone {
    move |mut stream| while stream.write_all(what).is_ok() {}
}

#[tokio::test]
async fn who_watches_is_told_of_a_try_that_hangs_as_long_as_it_does() {
    let silent = server(|mut stream| {
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    let silence = silent.silence.clone();
    let connecting = || tokio::time::timeout(Duration::from_millis(100), silence.connecting());
    assert!(connecting().await.is_err(), "nobody tries");
    let events = events();
    let trying = connect(silent, SHORT, &events);
    let watching = async {
        for _ in 0..3 {
            connecting().await.unwrap();
        }
    };
    let (tried, ()) = tokio::join!(trying, watching);
    assert!(tried.is_err());
    assert!(connecting().await.is_err(), "nobody tries any more");
}

#[tokio::test]
async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up() {
    let error = refused(server(|mut stream| {
        let _ended = stream.read_to_end(&mut Vec::new());
    }))
    .await;
    let stage = Stage::KeyExchange;
    assert!(
        matches!(error, SshError::TimedOut { stage: s, .. } if s == stage),
        "{error}"
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_greeting_of_one_byte_a_second_is_given_up() {
    let error = refused(server(|mut stream| {
        for byte in b"SSH-2.0-OpenSSH_9.2p1\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
    }))
    .await;
    let told = error.to_string();
    assert!(told.contains("no complete SSH greeting"), "{told}");
}

#[tokio::test]
async fn a_server_that_greets_and_then_hangs_is_given_up() {
    let error = refused(server(|mut stream| {
        let _sent = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
        let _ended = stream.read_to_end(&mut Vec::new());
    }))
    .await;
    assert!(
        matches!(
            error,
            SshError::TimedOut {
                stage: Stage::KeyExchange,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn noise_without_end_is_no_ssh_server() {
    for noise in [
        &b"220 mail.example.com ESMTP\r\n"[..],
        b"no newline ever ",
        b"\0\xff\x80",
    ] {
        let error = refused(server(repeat(noise))).await;
        assert!(matches!(error, SshError::Protocol { .. }), "{error}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("not an SSH server"), "{error:?}");
    }
}

#[tokio::test]
async fn noise_after_the_greeting_ends_the_key_exchange() {
    let error = refused(server(|mut stream| {
        let _sent = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
        repeat(b"\xff\xff\xff\xff garbage")(stream);
    }))
    .await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_up_at_once_is_told_so() {
    for (says, stage, told) in [
        (&b""[..], Stage::Connect, "before it says its version"),
        (
            b"Exceeded MaxStartups\r\n",
            Stage::Connect,
            "before it says its version, saying \"Exceeded MaxStartups\"",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            Stage::KeyExchange,
            "in the middle of the key exchange",
        ),
    ] {
        let error = refused(server(move |mut stream| {
            let _sent = stream.write_all(says);
        }))
        .await;
        assert!(error.to_string().ends_with(told), "{error}");
        assert!(
            matches!(error, SshError::HungUp { stage: s, .. } if s == stage),
            "{error:?}"
        );
        assert!(error.hint().is_some() && error.may_pass());
    }
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_for_now_is_quoted() {
    // As with pam_nologin: a banner, and the end of the connection.
    let folder = tempfile::tempdir().unwrap();
    let banner = folder.path().join("banner");
    std::fs::write(&banner, "\"System is booting up.\"\n\n").unwrap();
    let sshd = Sshd::with(&format!("Banner {}\nMaxAuthTries 1", banner.display()));
    drop(link(sshd.destination()).await);
    let stranger = KeyPair::generate("").unwrap();
    let mut destination = Destination::pinned("127.0.0.1", "root", &stranger, &sshd.host_key);
    destination.port = sshd.port;
    let error = refused(destination).await;
    let told = r#"hangs up in the middle of the login, saying "\"System is booting up.\" Too many authentication failures""#;
    assert!(error.to_string().ends_with(told), "{error}");
    assert!(error.hint().unwrap().contains("/run/nologin"));
}

#[tokio::test]
async fn a_login_that_hangs_ends_with_the_deadline() {
    // sshd itself asks a program that does not answer, in the middle of the authentication.
    let sshd = Sshd::with("AuthorizedKeysCommand /bin/sleep 300\nAuthorizedKeysCommandUser root\n");
    drop(link(sshd.destination()).await);
    let stranger = KeyPair::generate("").unwrap();
    let mut destination = Destination::pinned("127.0.0.1", "root", &stranger, &sshd.host_key);
    destination.port = sshd.port;
    let error = refused(destination.clone()).await;
    assert!(
        matches!(
            error,
            SshError::TimedOut {
                stage: Stage::Login,
                ..
            }
        ),
        "{error}"
    );
    // Tries are made as long as the time lasts, and not longer.
    let retry = RetryPolicy {
        total: Duration::from_secs(4),
        per_try: Duration::from_secs(3),
        ..RetryPolicy::ONE_TRY
    };
    let since = Instant::now();
    let error = connect(destination, retry, &events()).await.err();
    assert!(since.elapsed() < Duration::from_secs(6));
    assert!(matches!(error, Some(SshError::GaveUp { tries: 2.., .. })));
}

#[tokio::test]
async fn a_jump_host_that_hangs_is_named() {
    let mut destination = server(|_| ());
    let jump = server(|mut stream| {
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    let label = jump.label();
    destination.jump = Some(Box::new(jump));
    let error = refused(destination).await;
    assert!(error.to_string().contains(&label), "{error}");
    assert!(matches!(error, SshError::Jump { .. }), "{error}");
}

/// Stops a process, and has it go on when dropped.
struct Frozen(String);

impl Frozen {
    fn new(pid: &str) -> Self {
        signal("-STOP", pid);
        Self(pid.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("-KILL", &self.0);
    }
}

fn signal(which: &str, pid: &str) {
    let sent = std::process::Command::new("kill")
        .args([which, pid])
        .status();
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_peer_is_noticed_in_silence_and_in_the_middle_of_an_upload() {
    let sshd = Sshd::start();
    for uploads in [false, true] {
        let link = link(sshd.destination()).await;
        let mut channel = link.exec("echo $PPID; exec cat >/dev/null").await.unwrap();
        let mut pid = String::new();
        while !pid.ends_with('\n') {
            pid.push(channel.stdout.read_u8().await.unwrap() as char);
        }
        let frozen = Frozen::new(pid.trim());
        let mut stdin = channel.stdin;
        let feeding = tokio::spawn(async move {
            while uploads && stdin.write_all(&[7; 4096]).await.is_ok() {}
            stdin // held open
        });
        let exit = tokio::time::timeout(Duration::from_secs(40), channel.exit).await;
        let exit = exit.expect("it is noticed").unwrap();
        assert_eq!(exit, ExitStatus::Lost, "uploads: {uploads}");
        drop(frozen);
        feeding.abort();
        assert_eq!(run(&link, "echo again").await.0, "again\n");
    }
}

#[tokio::test]
async fn an_agent_with_too_many_keys_is_told_what_to_do() {
    let sshd = Sshd::with("MaxAuthTries 2");
    drop(link(sshd.destination()).await);
    let folder = tempfile::tempdir().unwrap();
    let mut agent = None;
    for name in ["a", "b", "c"] {
        let key = folder.path().join(name);
        keygen(&["-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
        match &agent {
            None => agent = Some(Agent::holding(folder.path(), &key).await),
            Some(agent) => agent.add(&key),
        }
    }
    let mut destination = sshd.destination();
    destination.login = Login {
        agent: agent.as_ref().map(|agent| agent.socket.clone()),
        ..Login::default()
    };
    let error = refused(destination).await;
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("MaxAuthTries"), "{error}: {hint}");
    assert!(matches!(error, SshError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_keys_at_all_is_told_so() {
    let sshd = Sshd::with("PubkeyAuthentication no\nPasswordAuthentication yes");
    let error = failure(sshd.destination()).await;
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("PubkeyAuthentication"), "{error}: {hint}");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let sshd = Sshd::start();
    drop(link(sshd.destination()).await);
    let key = sshd.path("login");
    let set = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o640);
    let error = failure(sshd.destination()).await;
    assert!(error.to_string().contains("others can read it"), "{error}");
    assert!(error.hint().unwrap().contains("chmod 600"));
    set(0o600);
    drop(link(sshd.destination()).await);
}
