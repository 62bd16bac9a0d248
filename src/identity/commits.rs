//! What branches and tags stand for now, of the repositories that tasks check out: a commit more is another image.
//!
//! git itself is asked, as the user has set it up here. A repository that cannot be reached from here is not pinned,
//! nor is one that is a path: that is the machine's. Both are told.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use amibake_playbook::reads::Checkout;
use futures_util::future::join_all;
use tokio::process::Command;

use crate::clock;
use crate::exit::chain;

/// How long one repository may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Commits {
    /// A line for each: the repository, the version, its commits.
    pub(crate) found: Vec<String>,
    /// What stands for a commit that is not known, and why.
    pub(crate) unknown: Vec<String>,
}

/// Why a repository does not say what a version is.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("git could not be run")]
    NoGit(#[source] std::io::Error),
    #[error("no answer within {} s", LIMIT.as_secs())]
    TooSlow,
    #[error("{0}")]
    Refused(String),
}

impl Commits {
    /// Returns the warning that is due where a new commit makes no new image.
    pub(crate) fn unpinned(&self) -> Option<String> {
        let unknown = self.unknown.join("; ");
        let warning =
            "a new commit does not make another image, since what is checked out is not known here";
        (!self.unknown.is_empty()).then(|| format!("{warning}: {unknown}"))
    }
}

/// Asks for all of them at once.
pub(crate) async fn commits(checkouts: &BTreeSet<Checkout>) -> Commits {
    let mut all = Commits::default();
    let mut asking = Vec::new();
    for checkout in checkouts {
        let what = match (&checkout.repository, &checkout.version) {
            // It is written where it counts already.
            (_, Some(version)) if is_commit(version) => continue,
            (Some(repository), Some(version)) if is_remote(repository) => {
                asking.push(async move {
                    (
                        repository,
                        version,
                        refs(repository, version, PROTOCOLS).await,
                    )
                });
                continue;
            }
            (Some(repository), Some(_)) => format!("{repository}, which is a path of the machine"),
            (None, _) => "a repository whose name is computed when it runs".to_owned(),
            (Some(repository), None) => {
                let repository = without_login(repository);
                format!("{repository}, of which the version is computed when it runs")
            }
        };
        all.unknown.push(what);
    }
    for (repository, version, answer) in join_all(asking).await {
        match answer {
            Ok(refs) => {
                let (shown, refs) = (without_login(repository), refs.join(" "));
                all.found.push(format!("{shown} {version} {refs}"));
            }
            Err(why) => {
                let shown = without_login(repository);
                let why = chain(&why).replace(repository.as_str(), &shown);
                all.unknown.push(format!("{version} of {shown}: {why}"));
            }
        }
    }
    all
}

/// What git may use to reach a repository.
const PROTOCOLS: &str = "git:http:https:ssh";

/// Returns whether a repository is elsewhere: it has an address, or is `host:path`.
fn is_remote(repository: &str) -> bool {
    match repository.split_once("://") {
        Some((scheme, _)) => scheme != "file",
        None => repository
            .split('/')
            .next()
            .is_some_and(|first| first.contains(':')),
    }
}

/// Returns an address without the name and the password in it.
fn without_login(repository: &str) -> String {
    let Some((scheme, rest)) = repository.split_once("://") else {
        return repository.to_owned();
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}/{path}"),
        None => repository.to_owned(),
    }
}

fn is_commit(version: &str) -> bool {
    version.len() == 40 && version.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns what a repository's branch and tag of this name are, `COMMIT NAME` each.
async fn refs(repository: &str, version: &str, protocols: &str) -> Result<Vec<String>, Unanswered> {
    let mut git = Command::new("git");
    git.args(["ls-remote", "--", repository, version])
        .arg(format!("{version}^{{}}"))
        // Nobody is there to be asked, and a repository's name is to run no program.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("SSH_ASKPASS", "false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match clock::timeout(LIMIT, git.output()).await {
        Ok(output) => output.map_err(Unanswered::NoGit)?,
        Err(_) => return Err(Unanswered::TooSlow),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).find(|line| !line.is_empty());
        let said = said.unwrap_or("git failed and said nothing");
        return Err(Unanswered::Refused(said.to_owned()));
    }
    Ok(named(&String::from_utf8_lossy(&output.stdout), version))
}

/// Returns the lines that are about this name, and not another that ends so.
fn named(listed: &str, version: &str) -> Vec<String> {
    let names = [
        version.to_owned(),
        format!("refs/heads/{version}"),
        format!("refs/tags/{version}"),
        format!("refs/tags/{version}^{{}}"),
    ];
    let pairs = listed.lines().filter_map(|line| line.split_once('\t'));
    let ours = pairs.filter(|(_, name)| names.iter().any(|own| own == name));
    ours.map(|(commit, name)| format!("{commit} {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let mut git = std::process::Command::new("git");
        let output = git
            .current_dir(folder)
            .args(who)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn checkout(repository: &str, version: &str) -> BTreeSet<Checkout> {
        BTreeSet::from([Checkout {
            repository: Some(repository.to_owned()),
            version: Some(version.to_owned()),
        }])
    }

    #[tokio::test]
    async fn a_branch_is_its_commit_and_a_commit_more_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        git(folder, &["init", "-q", "-b", "main"]);
        let commit = |message| {
            git(folder, &["commit", "-q", "--allow-empty", "-m", message]);
            git(folder, &["rev-parse", "HEAD"])
        };
        let path = folder.to_str().unwrap();
        let refs = async |version| refs(path, version, "file").await.unwrap();
        let first = commit("one");
        git(folder, &["tag", "-a", "-m", "v1", "v1"]);
        // Another that ends so.
        git(folder, &["branch", "other/main"]);
        let main = refs("main").await;
        assert_eq!(main, [format!("{first} refs/heads/main")]);
        let tag = refs("v1").await;
        assert!(
            tag.contains(&format!("{first} refs/tags/v1^{{}}")),
            "{tag:?}"
        );
        let head = refs("HEAD").await;
        let second = commit("two");
        assert_ne!(refs("main").await, main);
        assert_ne!(refs("HEAD").await, head);
        assert_eq!(refs("v1").await, tag);
        assert_eq!(refs("none").await, [""; 0]);
        let pinned = commits(&checkout("https://example.org/a.git", &second)).await;
        assert_eq!(pinned, Commits::default());
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_told_without_its_login_and_runs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("ran");
        let program = format!("ext::touch {}", marker.display());
        for (repository, told) in [
            (
                "/srv/git/a.git",
                "/srv/git/a.git, which is a path of the machine",
            ),
            (
                "file:///srv/a.git",
                "file:///srv/a.git, which is a path of the machine",
            ),
            (
                "--upload-pack=touch x",
                "--upload-pack=touch x, which is a path of the machine",
            ),
            (&program, "main of ext::touch"),
            (
                "https://ann:hunter22@127.0.0.1:1/a.git",
                "main of https://127.0.0.1:1/a.git: ",
            ),
        ] {
            let found = commits(&checkout(repository, "main")).await;
            assert_eq!(
                (found.found.len(), found.unknown.len()),
                (0, 1),
                "{found:?}"
            );
            assert!(found.unknown[0].starts_with(told), "{found:?}");
            assert!(!found.unknown[0].contains("hunter22"), "{found:?}");
        }
        assert!(!marker.exists());
        let open = BTreeSet::from([Checkout {
            repository: None,
            version: None,
        }]);
        assert_eq!(commits(&open).await.unknown.len(), 1);
    }
}
