//! `~/.ssh/config` as OpenSSH reads it, as far as a program without a terminal session needs it.
//!
//! The first value found counts. What is not understood is collected, to be named once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::SshError;
use super::known_hosts::match_list;

/// What the files say about one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HostConfig {
    pub(super) host_name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) identity_files: Vec<String>,
    pub(super) identities_only: Option<bool>,
    pub(super) identity_agent: Option<String>,
    pub(super) proxy_jump: Option<String>,
    pub(super) user_known_hosts: Option<Vec<String>>,
    pub(super) global_known_hosts: Option<Vec<String>>,
    pub(super) host_key_alias: Option<String>,
    pub(super) hash_known_hosts: Option<bool>,
    pub(super) strict: Option<String>,
    pub(super) revoked_host_keys: Option<String>,
    /// Keywords that might have mattered and are not honoured.
    pub(super) ignored: BTreeSet<String>,
}

/// Whom the lookup is for, as far as `Match` can ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) user: Option<&'a str>,
    /// Who we are here.
    pub(super) local_user: &'a str,
    pub(super) home: &'a Path,
}

/// Keywords that change nothing here: terminals, forwarding, sharing, keep-alives that are ours.
const HARMLESS: &[&str] = &[
    "addkeystoagent",
    "addressfamily",
    "batchmode",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizehostname",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "checkhostip",
    "clearallforwardings",
    "compression",
    "connectionattempts",
    "connecttimeout",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "gssapitrustdns",
    "ignoreunknown",
    "ipqos",
    "kbdinteractiveauthentication",
    "challengeresponseauthentication",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "passwordauthentication",
    "permitlocalcommand",
    "permitremoteopen",
    "preferredauthentications",
    "pubkeyauthentication",
    "rekeylimit",
    "remoteforward",
    "requesttty",
    "sendenv",
    "serveralivecountmax",
    "serveraliveinterval",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tag",
    "tcpkeepalive",
    "updatehostkeys",
    "usekeychain",
    "verifyhostkeydns",
    "visualhostkey",
    "xauthlocation",
];

/// Reads `files` in order; one that is not there is empty.
pub(super) fn lookup(files: &[PathBuf], asked: Asked<'_>) -> Result<HostConfig, SshError> {
    let mut reader = Reader {
        asked,
        config: HostConfig::default(),
    };
    for file in files {
        reader.file(file, true, 0)?;
    }
    Ok(reader.config)
}

struct Reader<'a> {
    asked: Asked<'a>,
    config: HostConfig,
}

/// One line: its keyword in lower case, and its words.
struct Line<'a> {
    file: &'a Path,
    number: usize,
    keyword: String,
    words: Vec<String>,
}

impl Reader<'_> {
    /// Reads one file; `active` is whether the block it is included in applies.
    fn file(&mut self, file: &Path, active: bool, depth: u8) -> Result<(), SshError> {
        let Ok(text) = std::fs::read_to_string(file) else {
            return Ok(());
        };
        let enclosing = active;
        let mut active = active;
        for (text, number) in text.lines().zip(1..) {
            let Some(line) = split(file, number, text)? else {
                continue;
            };
            match line.keyword.as_str() {
                "host" => active = enclosing && match_list(&line.words, self.asked.host),
                "match" => active = enclosing && self.matches(&line)?,
                "include" => self.include(&line, active, depth)?,
                _ if active => self.set(&line)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn include(&mut self, line: &Line<'_>, active: bool, depth: u8) -> Result<(), SshError> {
        if depth >= 16 {
            return Err(line.error("includes are nested too deeply"));
        }
        for word in &line.words {
            let pattern = match expand_home(word, self.asked.home) {
                path if path.is_absolute() => path,
                path if line.file.starts_with("/etc/ssh") => Path::new("/etc/ssh").join(path),
                path => self.asked.home.join(".ssh").join(path),
            };
            let found = glob::glob(&pattern.to_string_lossy())
                .map_err(|error| line.error(&error.to_string()))?;
            for path in found.flatten() {
                self.file(&path, active, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Evaluates `Match`: all of its conditions must hold. What needs a second pass or runs a
    /// command does not hold.
    fn matches(&mut self, line: &Line<'_>) -> Result<bool, SshError> {
        let mut words = line.words.iter();
        let mut all = true;
        while let Some(word) = words.next() {
            let (negated, criterion) = match word.strip_prefix('!') {
                Some(criterion) => (true, criterion.to_ascii_lowercase()),
                None => (false, word.to_ascii_lowercase()),
            };
            if criterion == "all" {
                continue;
            }
            if matches!(criterion.as_str(), "final" | "canonical") {
                all &= negated;
                continue;
            }
            let Some(value) = words.next() else {
                return Err(line.error(&format!("`Match {criterion}` needs a value")));
            };
            all &= self.holds(&criterion, value) != negated;
        }
        Ok(all)
    }

    fn holds(&mut self, criterion: &str, value: &str) -> bool {
        let patterns: Vec<&str> = value.split(',').collect();
        let host = self.config.host_name.as_deref().unwrap_or(self.asked.host);
        let user = self.asked.user.or(self.config.user.as_deref());
        match criterion {
            "host" => match_list(&patterns, host),
            "originalhost" => match_list(&patterns, self.asked.host),
            "user" => match_list(&patterns, user.unwrap_or(self.asked.local_user)),
            "localuser" => match_list(&patterns, self.asked.local_user),
            other => {
                self.config.ignored.insert(format!("Match {other}"));
                false
            }
        }
    }

    fn set(&mut self, line: &Line<'_>) -> Result<(), SshError> {
        let config = &mut self.config;
        match line.keyword.as_str() {
            "hostname" => first(&mut config.host_name, line.argument()?),
            "user" => first(&mut config.user, line.argument()?),
            "port" => {
                let port = line.argument()?.parse();
                first(
                    &mut config.port,
                    port.map_err(|_| line.error("a port was expected"))?,
                );
            }
            "identityfile" => config.identity_files.push(line.argument()?),
            "identitiesonly" => first(&mut config.identities_only, line.yes()?),
            "identityagent" => first(&mut config.identity_agent, line.argument()?),
            "proxyjump" => first(&mut config.proxy_jump, line.argument()?),
            "userknownhostsfile" => first(&mut config.user_known_hosts, line.words.clone()),
            "globalknownhostsfile" => first(&mut config.global_known_hosts, line.words.clone()),
            "hostkeyalias" => first(&mut config.host_key_alias, line.argument()?),
            "hashknownhosts" => first(&mut config.hash_known_hosts, line.yes()?),
            "stricthostkeychecking" => {
                first(&mut config.strict, line.argument()?.to_ascii_lowercase());
            }
            "revokedhostkeys" => first(&mut config.revoked_host_keys, line.argument()?),
            // `ProxyCommand none` is how a default is switched off.
            "proxycommand" if line.words.first().is_some_and(|w| w == "none") => {}
            known if HARMLESS.contains(&known) => {}
            other => drop(config.ignored.insert(spelled(other, line))),
        }
        Ok(())
    }
}

/// Returns a keyword with its usual capitals where those are known.
fn spelled(keyword: &str, _line: &Line<'_>) -> String {
    match keyword {
        "proxycommand" => "ProxyCommand".into(),
        "certificatefile" => "CertificateFile".into(),
        "hostkeyalgorithms" => "HostKeyAlgorithms".into(),
        "kexalgorithms" => "KexAlgorithms".into(),
        "ciphers" => "Ciphers".into(),
        "macs" => "MACs".into(),
        other => other.to_owned(),
    }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

impl Line<'_> {
    fn error(&self, message: &str) -> SshError {
        SshError::Config {
            file: self.file.to_owned(),
            line: self.number,
            message: message.to_owned(),
        }
    }

    fn argument(&self) -> Result<String, SshError> {
        let word = self.words.first().cloned();
        word.ok_or_else(|| self.error(&format!("{} needs a value", self.keyword)))
    }

    fn yes(&self) -> Result<bool, SshError> {
        match self.argument()?.to_ascii_lowercase().as_str() {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(self.error(&format!("{} is yes or no", self.keyword))),
        }
    }
}

/// Splits a line into its keyword and words: `Key value`, `Key=value`, `Key "a b" c # comment`.
fn split<'a>(file: &'a Path, number: usize, text: &str) -> Result<Option<Line<'a>>, SshError> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let end = text
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let mut line = Line {
        file,
        number,
        keyword: keyword.to_ascii_lowercase(),
        words: Vec::new(),
    };
    line.words = words(rest).ok_or_else(|| line.error("a quotation mark is not closed"))?;
    Ok(Some(line))
}

fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Some(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match c {
                '"' | '\'' if quote == Some(c) => quote = None,
                '"' | '\'' if quote.is_none() => quote = Some(c),
                '\\' => match chars.next_if(|c| matches!(c, '"' | '\'' | '\\')) {
                    Some(escaped) => word.push(escaped),
                    None => word.push('\\'),
                },
                c => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

/// Expands a leading `~/`.
pub(super) fn expand_home(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_owned(),
        None => PathBuf::from(path),
    }
}
