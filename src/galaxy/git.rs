//! Repositories, by the program `git` as the user has set it up: a commit is fetched into the cache, and unpacked.
//!
//! Nothing that a file or a server says becomes an option of it: what could be one was refused when it was read
//! ([`super::requirement`]), and stands behind `--` here. No hook runs, nobody is asked, and the protocols are a list.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::archive::{self, ArchiveError, LIMITS};
use super::cache::{Cache, CacheError, name_of};

/// What git may use to reach a repository.
const PROTOCOLS: &str = "file:git:http:https:ssh";

/// Why a commit is not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("git could not be run")]
    NoGit(#[source] io::Error),
    #[error("{url} has no `{version}`: {said}")]
    NoVersion {
        url: String,
        version: String,
        said: String,
    },
    #[error("{url} could not be fetched: {said}")]
    Refused { url: String, said: String },
    #[error("the lock file's commit {commit} is not in {url} any more: {said}")]
    NoCommit {
        url: String,
        commit: String,
        said: String,
    },
    #[error("{what} of {url} is not in the cache, and --offline fetches nothing")]
    NotCached { url: String, what: String },
    #[error("commit {commit} could not be unpacked")]
    Unpack {
        commit: String,
        source: ArchiveError,
    },
    #[error("commit {commit} could not be checked out: {said}")]
    Checkout { commit: String, said: String },
}

/// A commit that is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    repository: PathBuf,
    pub(super) id: String,
}

/// Where a repository is, with its login if it has one in its address.
#[derive(Clone, Copy)]
pub(super) struct Remote<'a>(pub(super) &'a str);

impl Remote<'_> {
    /// Returns the address without name and password.
    pub(super) fn shown(self) -> String {
        without_login(self.0)
    }

    /// Returns what git said, in one line and without the login.
    fn said(self, output: &Output) -> String {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let said = match lines.as_slice() {
            [] => "git failed and said nothing".to_owned(),
            lines => lines.join("; "),
        };
        said.replace(self.0, &self.shown())
    }
}

/// Returns an address without the name and the password in it.
pub(super) fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        // The user of SSH is no secret, and there is no repository without it.
        Some((user, host)) if scheme == "ssh" => {
            let user = user.split(':').next().unwrap_or_default();
            format!("ssh://{user}@{host}{path}")
        }
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => address.to_owned(),
    }
}

pub(super) struct Git<'a> {
    pub(super) cache: &'a Cache,
    pub(super) offline: bool,
}

impl Git<'_> {
    /// Fetches what a version stands for now; `None` is the repository's own branch.
    pub(super) fn fetch(
        &self,
        remote: Remote<'_>,
        version: Option<&str>,
    ) -> Result<Commit, GitError> {
        let (repository, _lock) = self.repository(remote)?;
        let version = version.unwrap_or("HEAD");
        let kept = format!("refs/amibake/{}", name_of(version));
        if !self.offline {
            fetch_version(&repository, remote, version, &kept)?;
        }
        match commit_of(&repository, &kept)? {
            Some(id) => Ok(Commit { repository, id }),
            None => Err(GitError::NotCached {
                url: remote.shown(),
                what: format!("`{version}`"),
            }),
        }
    }

    /// Fetches a commit that the lock file names.
    pub(super) fn fetch_commit(
        &self,
        remote: Remote<'_>,
        commit: &str,
    ) -> Result<Commit, GitError> {
        let (repository, _lock) = self.repository(remote)?;
        let found = |repository| Commit {
            repository,
            id: commit.to_owned(),
        };
        if commit_of(&repository, commit)?.is_some() {
            return Ok(found(repository));
        }
        if self.offline {
            return Err(GitError::NotCached {
                url: remote.shown(),
                what: format!("commit {commit}"),
            });
        }
        let one = [format!("+{commit}:refs/amibake/{}", name_of(commit))];
        let mut output = fetch(&repository, remote, true, &one)?;
        // Not every server sends a commit that is no branch's end.
        if !output.status.success() {
            output = fetch(&repository, remote, false, &everything())?;
        }
        match commit_of(&repository, commit)? {
            Some(_) => Ok(found(repository)),
            None => Err(GitError::NoCommit {
                url: remote.shown(),
                commit: commit.to_owned(),
                said: remote.said(&output),
            }),
        }
    }

    /// Returns the cached repository of an address, for this process alone as long as the file is open.
    fn repository(&self, remote: Remote<'_>) -> Result<(PathBuf, File), GitError> {
        let folder = self.cache.folder("git")?;
        let name = name_of(&remote.shown());
        let repository = folder.join(format!("{name}.git"));
        let unusable = |source| CacheError::Unusable {
            path: repository.clone(),
            source,
        };
        let lock = File::create(folder.join(format!("{name}.lock"))).map_err(unusable)?;
        lock.lock().map_err(unusable)?;
        if !repository.join("HEAD").is_file() {
            let mut init = git();
            init.args(["init", "--quiet", "--bare", "--template=", "--"]);
            let output = run(init.arg(&repository))?;
            if !output.status.success() {
                return Err(GitError::Refused {
                    url: remote.shown(),
                    said: remote.said(&output),
                });
            }
        }
        Ok((repository, lock))
    }
}

/// Fetches a version alone where the server says what it is, else everything, and keeps it under a name of its own.
fn fetch_version(
    repository: &Path,
    remote: Remote<'_>,
    version: &str,
    kept: &str,
) -> Result<(), GitError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    if version.chars().all(plain) {
        let one = [format!("+{version}:{kept}")];
        if fetch(repository, remote, true, &one)?.status.success() {
            return Ok(());
        }
    }
    let output = fetch(repository, remote, false, &everything())?;
    if !output.status.success() {
        return Err(GitError::Refused {
            url: remote.shown(),
            said: remote.said(&output),
        });
    }
    let places = ["refs/tags/", "refs/remotes/origin/", "refs/remotes/", ""];
    for place in places {
        if let Some(id) = commit_of(repository, &format!("{place}{version}"))? {
            let mut update = git();
            update.arg("-C").arg(repository);
            let output = run(update.args(["update-ref", "--", kept, &id]))?;
            if output.status.success() {
                return Ok(());
            }
        }
    }
    Err(GitError::NoVersion {
        url: remote.shown(),
        version: version.to_owned(),
        said: "it is no branch, no tag and no commit of it".to_owned(),
    })
}

fn everything() -> [String; 2] {
    [
        "+refs/heads/*:refs/remotes/origin/*".to_owned(),
        "+refs/tags/*:refs/tags/*".to_owned(),
    ]
}

fn fetch(
    repository: &Path,
    remote: Remote<'_>,
    shallow: bool,
    refspecs: &[String],
) -> Result<Output, GitError> {
    let mut fetch = git();
    fetch.arg("-C").arg(repository);
    fetch.args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]);
    match shallow {
        true => _ = fetch.arg("--depth=1"),
        false if repository.join("shallow").is_file() => _ = fetch.arg("--unshallow"),
        false => {}
    }
    run(fetch.arg("--").arg(remote.0).args(refspecs))
}

/// Returns the commit that a name stands for in a cached repository.
fn commit_of(repository: &Path, name: &str) -> Result<Option<String>, GitError> {
    let mut parse = git();
    parse.arg("-C").arg(repository);
    parse.args(["rev-parse", "--quiet", "--verify", "--end-of-options"]);
    let output = run(parse.arg(format!("{name}^{{commit}}")))?;
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some(id).filter(|id| output.status.success() && is_commit(id)))
}

pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Commit {
    /// Unpacks it as `git archive` gives it: without what its attributes leave out.
    pub(super) fn unpack(&self, into: &Path) -> Result<(), GitError> {
        let mut archive = git();
        archive.arg("-C").arg(&self.repository);
        archive.args(["archive", "--format=tar", &self.id]);
        let mut child = archive
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::NoGit)?;
        let stream = child.stdout.take().expect("it is piped");
        let unpacked = archive::unpack(BufReader::new(stream), into, LIMITS);
        if unpacked.is_err() {
            let _ended = child.kill();
        }
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _unheard = stderr.read_to_string(&mut said);
        }
        let status = child.wait().map_err(GitError::NoGit)?;
        let commit = self.id.clone();
        unpacked.map_err(|source| GitError::Unpack {
            commit: commit.clone(),
            source,
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(GitError::Checkout {
                commit,
                said: said.trim().to_owned(),
            }),
        }
    }

    /// Unpacks it as a clone has it, for whoever builds something of it.
    pub(super) fn check_out(&self, into: &Path) -> Result<(), GitError> {
        let index = into.with_extension("index");
        let mut checkout = git();
        checkout.env("GIT_INDEX_FILE", &index);
        checkout.arg("--git-dir").arg(&self.repository);
        checkout.arg("--work-tree").arg(into);
        checkout.args(["checkout", "--quiet", "--force", &self.id, "--", "."]);
        let output = run(checkout.current_dir(into))?;
        let _none_without_files = fs::remove_file(&index);
        if output.status.success() {
            return Ok(());
        }
        Err(GitError::Checkout {
            commit: self.id.clone(),
            said: Remote("").said(&output),
        })
    }
}

/// Returns git with nobody to ask and no program to run that a repository names.
fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
        .env("SSH_ASKPASS", "false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("LC_ALL", "C")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"])
        .args([
            "-c",
            "safe.bareRepository=all",
            "-c",
            "advice.detachedHead=false",
        ]);
    git
}

fn run(command: &mut Command) -> Result<Output, GitError> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(GitError::NoGit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_login() {
        for (address, shown) in [
            ("https://ann:hunter22@h/a.git", "https://h/a.git"),
            ("https://hunter22@h:8443", "https://h:8443"),
            ("ssh://git:hunter22@h/a@b.git", "ssh://git@h/a@b.git"),
            ("git@h:a.git", "git@h:a.git"),
            ("/srv/a.git", "/srv/a.git"),
        ] {
            assert_eq!(without_login(address), shown);
        }
    }
}
