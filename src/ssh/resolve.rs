//! From what the user typed, and what the user's files say, to a [`Destination`].

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{self, Asked, HostConfig, expand_home};
use super::host_key::{self, KnownHostsPolicy, Trust};
use super::known_hosts::KnownHosts;
use super::{Destination, Login, PublicLine, Silence, SshError};

/// What the command line says, which wins over the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) user: Option<String>,
    pub(crate) port: Option<u16>,
    /// `HostName`: where `host` really is (`ansible_host`).
    pub(crate) address: Option<String>,
    /// `--identity`; tried before the files' own.
    pub(crate) identities: Vec<PathBuf>,
    /// `--host-key`: one of these exactly.
    pub(crate) host_keys: Vec<PublicLine>,
    /// `--known-hosts`: instead of the user's and the system's.
    pub(crate) known_hosts: Vec<PathBuf>,
    /// `--accept-new-host-key`.
    pub(crate) accept_new: bool,
    /// Whether a passphrase may be asked for on the terminal.
    pub(crate) may_prompt: bool,
}

/// Who and where we are.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) home: PathBuf,
    pub(super) user: String,
    pub(super) config_files: Vec<PathBuf>,
    pub(super) agent: Option<PathBuf>,
}

impl Here {
    fn from_environment() -> Self {
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/".into()));
        Self {
            user: env::var("USER")
                .or_else(|_| env::var("LOGNAME"))
                .unwrap_or_else(|_| "root".into()),
            config_files: vec![home.join(".ssh/config"), "/etc/ssh/ssh_config".into()],
            agent: env::var_os("SSH_AUTH_SOCK")
                .filter(|socket| !socket.is_empty())
                .map(PathBuf::from),
            home,
        }
    }
}

/// Resolves `host`; also returns what to warn about.
pub(crate) fn destination(
    host: &str,
    overrides: &Overrides,
) -> Result<(Destination, Vec<String>), SshError> {
    let mut warnings = Vec::new();
    let here = Here::from_environment();
    let destination = resolve(host, overrides, &here, &mut warnings, 0)?;
    Ok((destination, warnings))
}

pub(super) fn resolve(
    host: &str,
    overrides: &Overrides,
    here: &Here,
    warnings: &mut Vec<String>,
    depth: u8,
) -> Result<Destination, SshError> {
    let asked = Asked {
        host,
        user: overrides.user.as_deref(),
        local_user: &here.user,
        home: &here.home,
    };
    let config = config::lookup(&here.config_files, asked)?;
    warn(&config, warnings);
    let names = Names {
        given: host,
        host: address(host, overrides, &config),
        port: overrides.port.or(config.port).unwrap_or(22),
        user: overrides
            .user
            .clone()
            .or_else(|| config.user.clone())
            .unwrap_or_else(|| here.user.clone()),
    };
    let jump = match config.proxy_jump.as_deref() {
        None | Some("none") => None,
        Some(_) if depth >= 8 => return Err(looped(here, host)),
        Some(chain) => Some(Box::new(jump(chain, overrides, here, warnings, depth)?)),
    };
    Ok(Destination {
        trust: trust(overrides, &config, here, &names)?,
        login: login(overrides, &config, here, &names),
        host: names.host,
        port: names.port,
        user: names.user,
        jump,
        silence: Silence::default(),
    })
}

/// Where and as whom: what `%h`, `%p` and `%r` stand for.
struct Names<'a> {
    given: &'a str,
    host: String,
    port: u16,
    user: String,
}

impl Names<'_> {
    fn expand(&self, text: &str, here: &Here) -> PathBuf {
        let mut expanded = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some('h')) => expanded.push_str(&self.host),
                ('%', Some('n')) => expanded.push_str(self.given),
                ('%', Some('p')) => expanded.push_str(&self.port.to_string()),
                ('%', Some('r')) => expanded.push_str(&self.user),
                ('%', Some('u')) => expanded.push_str(&here.user),
                ('%', Some('d')) => expanded.push_str(&here.home.to_string_lossy()),
                ('%', Some('%')) => expanded.push('%'),
                ('%', Some(other)) => expanded.extend(['%', other]),
                (c, _) => expanded.push(c),
            }
        }
        expand_home(&expanded, &here.home)
    }
}

/// `HostName`, in which `%h` is the name as given.
fn address(host: &str, overrides: &Overrides, config: &HostConfig) -> String {
    if let Some(address) = &overrides.address {
        return address.clone();
    }
    match &config.host_name {
        Some(name) => name.replace("%h", host).replace("%%", "%"),
        None => host.to_owned(),
    }
}

fn warn(config: &HostConfig, warnings: &mut Vec<String>) {
    if !config.ignored.is_empty() {
        let names: Vec<&str> = config.ignored.iter().map(String::as_str).collect();
        warnings.push(format!(
            "ssh configuration not honoured: {}",
            names.join(", ")
        ));
    }
    if matches!(config.strict.as_deref(), Some("no" | "off")) {
        warnings.push(
            "`StrictHostKeyChecking no` is not honoured: an unknown host key is refused".into(),
        );
    }
}

/// Resolves a chain `a,user@b:22`: the last is the nearest to the target and goes through the rest.
fn jump(
    chain: &str,
    overrides: &Overrides,
    here: &Here,
    warnings: &mut Vec<String>,
    depth: u8,
) -> Result<Destination, SshError> {
    let mut hops = chain.split(',').map(str::trim).collect::<Vec<_>>();
    let last = hops.pop().unwrap_or_default();
    let (user, host, port) = parse_address(last);
    let own = Overrides {
        user,
        port,
        address: None,
        // A key pinned for the target is not the jump host's.
        host_keys: Vec::new(),
        ..overrides.clone()
    };
    let mut hop = resolve(&host, &own, here, warnings, depth + 1)?;
    if !hops.is_empty() {
        let before = jump(&hops.join(","), overrides, here, warnings, depth + 1)?;
        hop.jump = Some(Box::new(before));
    }
    Ok(hop)
}

fn looped(here: &Here, host: &str) -> SshError {
    SshError::Config {
        file: here.config_files.first().cloned().unwrap_or_default(),
        line: 1,
        message: format!("ProxyJump of {host} leads in a circle"),
    }
}

/// Splits `[user@]host[:port]`, an IPv6 address in brackets, and `ssh://`.
pub(crate) fn parse_address(text: &str) -> (Option<String>, String, Option<u16>) {
    let text = text
        .strip_prefix("ssh://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    if let Some((host, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        let port = after.strip_prefix(':').and_then(|port| port.parse().ok());
        return (user, host.to_owned(), port);
    }
    match rest.rsplit_once(':') {
        // More than one colon is an IPv6 address without brackets.
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (user, host.to_owned(), Some(port)),
            Err(_) => (user, rest.to_owned(), None),
        },
        _ => (user, rest.to_owned(), None),
    }
}

fn trust(
    overrides: &Overrides,
    config: &HostConfig,
    here: &Here,
    names: &Names<'_>,
) -> Result<Trust, SshError> {
    if !overrides.host_keys.is_empty() {
        let mut revoked = KnownHosts::default();
        revoke(&mut revoked, config, here, names)?;
        let keys = overrides.host_keys.iter().map(PublicLine::key);
        let refused = |key| host_key::revoked(&revoked, &names.host, key);
        if let Some(refused) = keys.clone().find_map(refused) {
            return Err(SshError::HostKey(refused));
        }
        return Ok(Trust::Exact(keys.cloned().collect()));
    }
    let user_files = known_hosts_files(overrides, config, here, names);
    let mut files = user_files.clone();
    if overrides.known_hosts.is_empty() {
        let global = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
        let global = match &config.global_known_hosts {
            Some(files) => files.clone(),
            None => global.map(str::to_owned).to_vec(),
        };
        files.extend(global.iter().map(|file| names.expand(file, here)));
    }
    let accepts = overrides.accept_new || config.strict.as_deref() == Some("accept-new");
    let mut hosts = KnownHosts::read(&files).map_err(|source| SshError::Read {
        what: "known_hosts",
        source,
    })?;
    revoke(&mut hosts, config, here, names)?;
    Ok(Trust::Known(Arc::new(KnownHostsPolicy {
        hosts,
        alias: config
            .host_key_alias
            .as_ref()
            .map(|alias| alias.to_ascii_lowercase()),
        note_in: user_files.into_iter().next().filter(|_| accepts),
        hashed: config.hash_known_hosts.unwrap_or(false),
        met: Arc::default(),
    })))
}

/// Reads `RevokedHostKeys`.
fn revoke(
    hosts: &mut KnownHosts,
    config: &HostConfig,
    here: &Here,
    names: &Names<'_>,
) -> Result<(), SshError> {
    let given = config.revoked_host_keys.as_deref();
    let Some(file) = given.filter(|file| !file.eq_ignore_ascii_case("none")) else {
        return Ok(());
    };
    let read = hosts.revoke(&names.expand(file, here));
    read.map_err(|source| SshError::Read {
        what: "RevokedHostKeys",
        source,
    })
}

fn known_hosts_files(
    overrides: &Overrides,
    config: &HostConfig,
    here: &Here,
    names: &Names<'_>,
) -> Vec<PathBuf> {
    if !overrides.known_hosts.is_empty() {
        return overrides.known_hosts.clone();
    }
    let defaults = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
    let files = match &config.user_known_hosts {
        Some(files) => files.clone(),
        None => defaults.map(str::to_owned).to_vec(),
    };
    let files = files.iter().filter(|file| *file != "none");
    files.map(|file| names.expand(file, here)).collect()
}

fn login(overrides: &Overrides, config: &HostConfig, here: &Here, names: &Names<'_>) -> Login {
    let mut files = overrides.identities.clone();
    let configured = config.identity_files.iter().filter(|file| *file != "none");
    files.extend(configured.map(|file| names.expand(file, here)));
    if files.is_empty() && config.identity_files.is_empty() {
        files.extend(default_identities(&here.home));
    }
    Login {
        keys: Vec::new(),
        identity_files: files,
        files_are_explicit: !overrides.identities.is_empty(),
        agent: match config.identity_agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => here.agent.clone(),
            Some("none") => None,
            Some(variable) if variable.starts_with('$') => {
                env::var_os(&variable[1..]).map(PathBuf::from)
            }
            Some(socket) => Some(names.expand(socket, here)),
        },
        identities_only: config.identities_only.unwrap_or(false),
        may_prompt: overrides.may_prompt,
    }
}

fn default_identities(home: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = home.join(".ssh");
    ["id_rsa", "id_ecdsa", "id_ed25519"]
        .into_iter()
        .map(move |name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    const CONFIG: &str = "
        # shared by all
        Host web*, other
        Host web* !web-old
            HostName %h.example.com
            User=deploy
            Port 2222
            IdentityFile ~/keys/%n-%r
            IdentityFile \"~/my keys/id\"
            IdentitiesOnly yes
        Include conf.d/*
        Host jumpy
            ProxyJump first,bob@second:2022
        Match host *.example.com user deploy
            UserKnownHostsFile ~/.ssh/known_deploy /dev/null
        Match originalhost plain
            HostKeyAlias other-name
        Match all
            User nobody
            Port 1022
        Host *
            IdentityFile ~/never-first
            HashKnownHosts yes
    ";

    fn here(home: &Path) -> Here {
        let ssh = home.join(".ssh");
        fs::create_dir_all(ssh.join("conf.d")).unwrap();
        fs::write(ssh.join("config"), CONFIG).unwrap();
        let included = "Host db\n  User = dba\n  HostName 10.0.0.9\nHost *\n  HashKnownHosts no\n";
        fs::write(ssh.join("conf.d/db"), included).unwrap();
        Here {
            home: home.to_owned(),
            user: "root".into(),
            config_files: vec![ssh.join("config")],
            agent: None,
        }
    }

    /// What `ssh -G` says, as (keyword, value) lines.
    fn openssh(home: &Path, host: &str) -> Vec<(String, String)> {
        // Includes are relative to ~/.ssh of the account, not of $HOME: give it our paths.
        let config = CONFIG
            .replace("conf.d/", &format!("{}/.ssh/conf.d/", home.display()))
            .replace("~/", &format!("{}/", home.display()));
        let file = home.join("for-openssh");
        fs::write(&file, config).unwrap();
        let out = Command::new("ssh")
            .args(["-G", "-F", file.to_str().unwrap(), host])
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn hosts_resolve_as_openssh_resolves_them() {
        let home = tempfile::tempdir().unwrap();
        let here = here(home.path());
        for host in [
            "web1", "web-old", "db", "plain", "jumpy", "other", "10.1.2.3",
        ] {
            let mut warnings = Vec::new();
            let ours = resolve(host, &Overrides::default(), &here, &mut warnings, 0).unwrap();
            let theirs = openssh(home.path(), host);
            let all = |key: &str| -> Vec<&str> {
                let found = theirs.iter().filter(|(name, _)| name == key);
                found.map(|(_, value)| value.as_str()).collect()
            };
            assert_eq!(vec![ours.host.as_str()], all("hostname"), "{host}");
            assert_eq!(vec![ours.user.as_str()], all("user"), "{host}");
            assert_eq!(vec![ours.port.to_string()], all("port"), "{host}");
            let files: Vec<PathBuf> = all("identityfile")
                .iter()
                .map(|file| PathBuf::from(file.replace("%n", host).replace("%r", &ours.user)))
                .collect();
            assert_eq!(ours.login.identity_files, files, "{host}");
            let only = all("identitiesonly") == ["yes"];
            assert_eq!(ours.login.identities_only, only, "{host}");
            assert_eq!(warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn a_chain_of_jumps_is_gone_through_in_its_order() {
        let home = tempfile::tempdir().unwrap();
        let here = here(home.path());
        let target = resolve("jumpy", &Overrides::default(), &here, &mut Vec::new(), 0).unwrap();
        let near = target.jump.unwrap();
        assert_eq!(near.label(), "bob@second:2022");
        assert_eq!(near.jump.unwrap().label(), "nobody@first:1022");
    }

    #[test]
    fn addresses_are_split_as_people_write_them() {
        let split = |text| parse_address(text);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(split("web"), (None, "web".into(), None));
        assert_eq!(split("ann@web:22"), (some("ann"), "web".into(), Some(22)));
        assert_eq!(split("ann@[::1]:22"), (some("ann"), "::1".into(), Some(22)));
        assert_eq!(split("fe80::1"), (None, "fe80::1".into(), None));
        assert_eq!(split("ssh://a@b:1"), (some("a"), "b".into(), Some(1)));
    }

    #[test]
    fn what_is_not_honoured_is_named_once() {
        let home = tempfile::tempdir().unwrap();
        let here = here(home.path());
        let text = "Host *\n ProxyCommand nc %h %p\n ForwardAgent yes\n Ciphers aes256-ctr\n";
        fs::write(&here.config_files[0], text).unwrap();
        let mut warnings = Vec::new();
        resolve("web", &Overrides::default(), &here, &mut warnings, 0).unwrap();
        assert_eq!(
            warnings,
            ["ssh configuration not honoured: Ciphers, ProxyCommand"]
        );
    }
}
