//! From `~/.ssh/config` to a shell, through real servers: names, tokens, several hops.

use std::fs;
use std::path::Path;

use super::super::error::HostKeyError;
use super::super::resolve::{Here, resolve};
use super::super::*;
use super::sshd::*;

/// Three servers that let in the same key, known in the same home.
struct Ways {
    home: tempfile::TempDir,
    servers: [Sshd; 3],
}

impl Ways {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let servers = [Sshd::start(), Sshd::start(), Sshd::start()];
        fs::create_dir_all(home.path().join("keys")).unwrap();
        let mut known = String::new();
        for (server, name) in servers.iter().zip(["near", "middle", "far"]) {
            let key = home.path().join(format!("keys/{name}"));
            fs::copy(server.path("login"), key).unwrap();
            known += &format!("[127.0.0.1]:{} {}\n", server.port, server.host_key);
        }
        fs::write(home.path().join("known"), known).unwrap();
        Self { home, servers }
    }

    fn resolve(&self, host: &str, config: &str) -> (Destination, Vec<String>) {
        self.try_resolve(host, config).unwrap()
    }

    /// Writes the configuration, with the ports put in for `NEAR`, `MIDDLE`, `FAR`.
    fn try_resolve(
        &self,
        host: &str,
        config: &str,
    ) -> Result<(Destination, Vec<String>), SshError> {
        let [near, middle, far] = self.servers.each_ref().map(|s| s.port.to_string());
        let config = config
            .replace("NEAR", &near)
            .replace("MIDDLE", &middle)
            .replace("FAR", &far);
        let file = self.home.path().join("config");
        fs::write(&file, config).unwrap();
        let here = Here {
            home: self.home.path().to_owned(),
            user: "nobody".into(),
            config_files: vec![file],
            agent: None,
        };
        let mut warnings = Vec::new();
        let found = resolve(host, &Overrides::default(), &here, &mut warnings, 0)?;
        Ok((found, warnings))
    }

    fn known(&self) -> std::path::PathBuf {
        self.home.path().join("known")
    }
}

const CONFIG: &str = "
Host near middle far !nowhere
    HostName 127.0.0.1
    User root
    IdentityFile ~/keys/none
    IdentityFile %d/keys/%n
    IdentitiesOnly yes
    UserKnownHostsFile %d/known
Host near
    Port NEAR
Host middle
    Port MIDDLE
    ProxyJump near
Host far
    Port FAR
    ProxyJump middle
";

#[tokio::test]
async fn a_host_is_reached_through_two_others_as_the_users_files_say() {
    let ways = Ways::new();
    let (near, warnings) = ways.resolve("near", CONFIG);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(run(&link(near).await, "echo near").await.0, "near\n");
    let (far, _) = ways.resolve("far", CONFIG);
    assert_eq!(
        far.label(),
        format!("root@127.0.0.1:{}", ways.servers[2].port)
    );
    let (out, ..) = run(&link(far).await, "echo $SSH_CONNECTION").await;
    let port = ways.servers[2].port.to_string();
    assert!(out.trim().ends_with(&port), "{out}");
}

#[tokio::test]
async fn every_hop_proves_itself() {
    for number in 0..3 {
        let ways = Ways::new();
        for server in &ways.servers {
            drop(link(server.destination()).await); // all are up
        }
        let real = fs::read_to_string(ways.known()).unwrap();
        let other = KeyPair::generate("").unwrap().public();
        let forged: Vec<String> = real
            .lines()
            .enumerate()
            .map(|(at, line)| match at == number {
                true => format!("{} {other}", line.split(' ').next().unwrap()),
                false => line.to_owned(),
            })
            .collect();
        fs::write(ways.known(), forged.join("\n")).unwrap();
        let (far, _) = ways.resolve("far", CONFIG);
        let mut error = failure(far).await;
        let mut hops = 0;
        while let SshError::Jump { source, .. } = error {
            error = *source;
            hops += 1;
        }
        assert_eq!(hops, 2 - number, "the hop that lied is the one named");
        let is_changed = matches!(error, SshError::HostKey(HostKeyError::Changed { .. }));
        assert!(is_changed, "{error}");
    }
}

#[tokio::test]
async fn a_name_that_is_negated_gets_none_of_it_and_what_is_not_honoured_is_said() {
    let ways = Ways::new();
    let config = "Host * !near\n  Port 1\n  ProxyCommand nc %h %p\nHost near\n  HostName 127.0.0.1\n  Port NEAR\n  IdentityFile %d/keys/near\n  User root\n  UserKnownHostsFile ~/known\n";
    let (near, warnings) = ways.resolve("near", config);
    assert_eq!(warnings, Vec::<String>::new());
    drop(link(near).await);
    let (other, warnings) = ways.resolve("other", config);
    assert_eq!(other.port, 1);
    assert_eq!(warnings, ["ssh configuration not honoured: ProxyCommand"]);
    assert!(Path::new(&ways.known()).exists());
}

#[tokio::test]
async fn keys_that_are_revoked_for_all_hosts_are_refused_as_by_openssh() {
    let ways = Ways::new();
    let near = &ways.servers[0];
    drop(link(near.destination()).await);
    let home = ways.home.path().display().to_string();
    let revoked = ways.home.path().join("revoked");
    let config = "Host near\n HostName 127.0.0.1\n Port NEAR\n User root\n IdentitiesOnly yes\n \
                  IdentityFile HOME/keys/near\n UserKnownHostsFile HOME/known\n \
                  RevokedHostKeys HOME/revoked\n"
        .replace("HOME", &home);
    let other = KeyPair::generate("").unwrap().public();
    let cases = [
        (Some(other.to_string()), true),
        (Some(format!("# ours\n{other}\n{}\n", near.host_key)), false),
        (None, false), // nobody knows then what is revoked
    ];
    for (text, accepted) in cases {
        match &text {
            Some(text) => fs::write(&revoked, text).unwrap(),
            None => fs::remove_file(&revoked).unwrap(),
        }
        let ours = match ways.try_resolve("near", &config) {
            Ok((near, warnings)) => {
                assert_eq!(warnings, Vec::<String>::new());
                connect(near, RetryPolicy::ONE_TRY, &events()).await.is_ok()
            }
            Err(_) => false,
        };
        assert_eq!(ours, accepted, "{text:?}");
        let theirs = openssh(&home);
        assert_eq!(theirs.status.success(), accepted, "{text:?}");
    }
    keygen(&["-k", "-f", revoked.to_str().unwrap()]);
    let error = ways.try_resolve("near", &config).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("KRL"), "{cause}");
}

/// Logs in to `near` by the ssh client of this machine.
fn openssh(home: &str) -> std::process::Output {
    let config = format!("{home}/config");
    std::process::Command::new("ssh")
        .args(["-F", &config, "-o", "BatchMode=yes", "near", "true"])
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_known_host_with_a_key_of_another_type_is_not_new_as_for_openssh() {
    let ways = Ways::new();
    let near = &ways.servers[0];
    drop(link(near.destination()).await);
    // The server has an ed25519 and an ecdsa key; RSA is what is known.
    let rsa = ways.home.path().join("rsa");
    keygen(&["-t", "rsa", "-N", "", "-f", rsa.to_str().unwrap()]);
    let rsa = fs::read_to_string(rsa.with_extension("pub")).unwrap();
    let known = format!("[127.0.0.1]:{} {rsa}", near.port);
    fs::write(ways.known(), &known).unwrap();
    let home = ways.home.path().display().to_string();
    let config = "Host near\n HostName 127.0.0.1\n Port NEAR\n User root\n IdentitiesOnly yes\n \
                  IdentityFile HOME/keys/near\n UserKnownHostsFile HOME/known\n \
                  StrictHostKeyChecking accept-new\n"
        .replace("HOME", &home);
    let (near, _) = ways.resolve("near", &config);
    let error = failure(near).await;
    let is_changed = matches!(error, SshError::HostKey(HostKeyError::Changed { .. }));
    assert!(is_changed, "{error}");
    let theirs = openssh(&home);
    let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
    assert!(said.contains("HAS CHANGED"), "{said}");
    assert_eq!(fs::read_to_string(ways.known()).unwrap(), known);
}
