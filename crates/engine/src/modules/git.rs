//! `git`: a checkout of a repository, by the `git` command.

mod archive;
mod repository;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::environment::variable;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct Git;

impl ActionModule for Git {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut run = Run::new(args, context)?;
        let there = run.found()?;
        if !there && (run.context.check || !args.bool("clone")) {
            let after = run.remote_head(&run.repo.clone(), None)?;
            run.set("before", Json::Null);
            run.set("after", after.into());
            run.changed = true;
            return Ok(run.finish());
        }
        if there && !args.bool("update") {
            let head = run.head()?;
            run.set("before", head.as_str().into());
            run.set("after", head.into());
            run.archive()?;
            return Ok(run.finish());
        }
        let before = if there {
            let Some(before) = run.update()? else {
                return Ok(run.finish());
            };
            Json::from(before)
        } else {
            run.clone_it()?;
            Json::Null
        };
        run.set("before", before.clone());
        run.check_out()?;
        let after = Json::from(run.head()?);
        run.changed |= before != after;
        run.set("after", after);
        run.archive()?;
        Ok(run.finish())
    }
}

struct Run<'r, 'c> {
    git: String,
    args: &'r Args,
    repo: String,
    dest: Option<PathBuf>,
    version: String,
    remote: String,
    ssh: String,
    umask: Option<u32>,
    refs: Option<Vec<(String, String)>>,
    changed: bool,
    result: Map<String, Json>,
    warnings: Vec<String>,
    context: &'r mut Context<'c>,
}

impl<'r, 'c> Run<'r, 'c> {
    fn new(args: &'r Args, context: &'r mut Context<'c>) -> Result<Self, Failure> {
        let umask = match args.raw("umask") {
            None => None,
            Some(Json::String(text)) => Some(
                u32::from_str_radix(text, 8)
                    .map_err(|_| Failure::new("umask must be an octal integer"))?,
            ),
            Some(_) => {
                return Err(Failure::new(
                    "umask must be defined as a quoted octal integer",
                ));
            }
        };
        let repo = args.required("repo")?;
        let expanded = crate::shlex::expand(repo, &context.environment);
        let repo = if expanded.starts_with('/') {
            format!("file://{expanded}")
        } else {
            repo.to_owned()
        };
        let dest = args
            .str("dest")
            .and_then(|dest| std::path::absolute(dest).ok());
        if dest.is_none() && args.bool("clone") {
            let msg = "the destination directory must be specified unless clone=no";
            return Err(Failure::new(msg));
        }
        let git = match args.str("executable") {
            Some(path) => path.to_owned(),
            None => required_bin("git", context)?,
        };
        Ok(Self {
            git,
            args,
            repo,
            dest,
            version: args.str("version").unwrap_or("HEAD").to_owned(),
            remote: args.str("remote").unwrap_or("origin").to_owned(),
            ssh: ssh_command(args, context),
            umask,
            refs: None,
            changed: false,
            result: Map::new(),
            warnings: Vec::new(),
            context,
        })
    }

    fn set(&mut self, name: &str, value: Json) {
        self.result.insert(name.to_owned(), value);
    }

    fn finish(self) -> Outcome {
        Outcome {
            changed: self.changed,
            result: self.result,
            warnings: self.warnings,
            ..Outcome::default()
        }
    }

    fn command(&self, arguments: &[&str], cwd: Option<&Path>) -> Command {
        let words = std::iter::once(self.git.as_str()).chain(arguments.iter().copied());
        let mut command = Command::new(words).parsable();
        // Nobody is there to type a password.
        command = command
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_TERMINAL_PROMPT", "0");
        if let Some(cwd) = cwd {
            command = command.cwd(cwd);
        }
        if let Some(umask) = self.umask {
            command = command.umask(umask);
        }
        command
    }

    /// Runs git in the checkout.
    fn git(&mut self, arguments: &[&str]) -> Result<Ran, Failure> {
        let command = self.command(arguments, self.dest.as_deref());
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn checked(&mut self, arguments: &[&str]) -> Result<Ran, Failure> {
        self.command(arguments, self.dest.as_deref())
            .checked(self.context)
    }

    /// Runs git in the checkout, failing with Ansible's words for what was tried.
    fn told(&mut self, what: &str, arguments: &[&str]) -> Result<Ran, Failure> {
        let ran = self.git(arguments)?;
        if ran.rc == 0 {
            return Ok(ran);
        }
        Err(Failure {
            msg: format!("Failed to {what}"),
            result: ran.fields(),
        })
    }

    /// Likewise the last step of a checkout, whose failure tells the command too.
    fn switched(&mut self, what: &str, arguments: &[&str]) -> Result<(), Failure> {
        let cmd = format!("{} {}", self.git, arguments.join(" "));
        let ran = self.told(what, arguments);
        ran.map(|_| ()).map_err(|failure| failure.with("cmd", cmd))
    }

    fn head(&mut self) -> Result<String, Failure> {
        Ok(self
            .git(&["rev-parse", "HEAD"])?
            .stdout
            .trim_end()
            .to_owned())
    }

    /// Lists the refs of the repository, once.
    fn refs(&mut self, remote: &str) -> Result<&[(String, String)], Failure> {
        if self.refs.is_none() {
            let cwd = self.dest.clone().filter(|dest| dest.is_dir());
            let listed = self.command(&["ls-remote", remote], cwd.as_deref());
            let listed = listed.checked(self.context)?.stdout;
            let pairs = listed.lines().filter_map(|line| line.split_once('\t'));
            self.refs = Some(
                pairs
                    .map(|(sha, name)| (name.to_owned(), sha.to_owned()))
                    .collect(),
            );
        }
        Ok(self.refs.as_deref().unwrap_or_default())
    }

    fn remote_ref(&mut self, remote: &str, name: &str) -> Result<Option<String>, Failure> {
        let refs = self.refs(remote)?;
        Ok(refs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, sha)| sha.clone()))
    }

    fn is_branch(&mut self) -> Result<bool, Failure> {
        let (repo, name) = (self.repo.clone(), format!("refs/heads/{}", self.version));
        Ok(self.remote_ref(&repo, &name)?.is_some())
    }

    fn is_tag(&mut self) -> Result<bool, Failure> {
        let (repo, name) = (self.repo.clone(), format!("refs/tags/{}", self.version));
        Ok(self.remote_ref(&repo, &name)?.is_some())
    }

    /// Returns what `version` is there; what is neither branch nor tag is taken for a hash.
    fn remote_head(&mut self, remote: &str, branch: Option<String>) -> Result<String, Failure> {
        let version = self.version.clone();
        let names = if version == "HEAD" {
            vec![branch.map_or_else(
                || "HEAD".to_owned(),
                |branch| format!("refs/heads/{branch}"),
            )]
        } else {
            vec![
                format!("refs/heads/{version}"),
                format!("refs/tags/{version}^{{}}"),
                format!("refs/tags/{version}"),
            ]
        };
        for name in names {
            if let Some(sha) = self.remote_ref(remote, &name)? {
                return Ok(sha);
            }
        }
        if version == "HEAD" {
            let msg = format!("Could not determine remote revision for {version}");
            return Err(Failure::new(msg));
        }
        Ok(version)
    }

    fn clone_it(&mut self) -> Result<(), Failure> {
        let Some(dest) = self.dest.clone() else {
            return Ok(());
        };
        let parent = dest.parent().unwrap_or(Path::new("/")).to_owned();
        // git says what is wrong if this is not enough.
        let _ = std::fs::create_dir_all(&parent);
        let args = self.args;
        let named = self.version != "HEAD" && (self.is_branch()? || self.is_tag()?);
        let mut argv: Vec<String> = vec!["clone".to_owned()];
        if args.bool("bare") {
            argv.push("--bare".to_owned());
        } else {
            argv.extend(["--origin".to_owned(), self.remote.clone()]);
        }
        let mut by_name = args.bool("single_branch") && named;
        if let Some(depth) = args.int("depth") {
            let shallow = ["--depth".to_owned(), depth.to_string()];
            if self.version == "HEAD" || args.has("refspec") {
                argv.extend(shallow);
            } else if named {
                argv.extend(shallow);
                by_name = true;
            } else {
                self.warnings.push(
                    "Ignoring depth argument. Shallow clones are only available for HEAD, \
                     branches, tags or in combination with refspec."
                        .to_owned(),
                );
            }
        }
        if args.bool("single_branch") {
            argv.push("--single-branch".to_owned());
        }
        if by_name {
            argv.extend(["--branch".to_owned(), self.version.clone()]);
        }
        if let Some(reference) = args.str("reference") {
            argv.extend(["--reference".to_owned(), reference.to_owned()]);
        }
        if let Some(folder) = args.str("separate_git_dir") {
            argv.push(format!("--separate-git-dir={folder}"));
        }
        argv.extend([self.repo.clone(), dest.to_string_lossy().into_owned()]);
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.command(&words, Some(&parent))
            .streamed()
            .checked(self.context)?;
        let (remote, repo) = (self.remote.clone(), self.repo.clone());
        if args.bool("bare") && remote != "origin" {
            self.checked(&["remote", "add", &remote, &repo])?;
        }
        if let Some(refspec) = args.str("refspec") {
            let depth = args.int("depth").map(|depth| depth.to_string());
            let mut argv = vec!["fetch"];
            argv.extend(depth.iter().flat_map(|depth| ["--depth", depth]));
            argv.extend([remote.as_str(), refspec]);
            self.checked(&argv)?;
        }
        // What is checked out is verified then.
        match args.bool("bare") {
            true => self.verify(),
            false => Ok(()),
        }
    }

    /// Brings an older checkout up to date; returns its former commit. `None` in check mode, when
    /// the answer is complete.
    fn update(&mut self) -> Result<Option<String>, Failure> {
        let bare = self.args.bool("bare");
        let dest = self.dest.clone().unwrap_or_default();
        let before = self.head()?;
        self.set("before", before.as_str().into());
        let modified = !bare && {
            let status = self.git(&["status", "--porcelain"])?.stdout;
            status.lines().any(|line| !line.starts_with("??"))
        };
        if modified {
            let msg = format!(
                "Local modifications exist in the destination: {}",
                dest.display()
            );
            if !self.args.bool("force") {
                let failure = Failure::new(format!("{msg} (force=no)."));
                return Err(failure.with("before", before));
            }
            self.changed = true;
            if !self.context.check {
                self.checked(&["reset", "--hard", "HEAD"])?;
                self.set("msg", msg.into());
            }
        }
        let moved = self.follow_remote()?;
        self.set("remote_url_changed", moved.into());
        if self.context.check {
            let branch = match self.version.as_str() {
                "HEAD" => Some(self.head_branch()?),
                _ => None,
            };
            let repo = self.repo.clone();
            let after = self.remote_head(&repo, branch)?;
            self.changed = before != after || moved;
            self.set("after", after.into());
            return Ok(None);
        }
        self.changed |= moved;
        self.fetch()?;
        Ok(Some(before))
    }

    /// Makes the remote point at the repository; returns whether it pointed elsewhere.
    fn follow_remote(&mut self) -> Result<bool, Failure> {
        let (remote, repo) = (self.remote.clone(), self.repo.clone());
        let url = self.git(&["ls-remote", "--get-url", &remote])?;
        let plain = |url: &str| {
            url.trim_start_matches("file://")
                .trim_end_matches('/')
                .to_owned()
        };
        if url.rc != 0 || plain(url.stdout.trim_end()) == plain(&repo) {
            return Ok(false);
        }
        if !self.context.check {
            let what = format!("set a new url {repo} for {remote}");
            self.told(&what, &["remote", "set-url", &remote, &repo])?;
        }
        Ok(true)
    }

    fn fetch(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let version = self.version.clone();
        let remote = self.remote.clone();
        let mut argv = vec!["fetch".to_owned()];
        let mut refspecs: Vec<String> = Vec::new();
        if let Some(depth) = args.int("depth") {
            if let Some(refspec) = args.str("refspec") {
                refspecs.push(refspec.to_owned());
            } else if version == "HEAD" {
                refspecs.push(self.head_branch()?);
            } else if self.is_branch()? {
                // A shallow clone of a tag has no branch at all.
                let head = self.head_branch().ok();
                if head.as_ref() != Some(&version) {
                    refspecs.push(format!("+refs/heads/{version}:refs/heads/{version}"));
                }
                refspecs.push(format!(
                    "+refs/heads/{version}:refs/remotes/{remote}/{version}"
                ));
            } else if self.is_tag()? {
                refspecs.push(format!("+refs/tags/{version}:refs/tags/{version}"));
            }
            if !refspecs.is_empty() {
                argv.extend(["--depth".to_owned(), depth.to_string()]);
            }
        }
        if refspecs.is_empty() {
            if args.bool("bare") {
                refspecs.extend(
                    ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned),
                );
            } else {
                argv.push("--tags".to_owned());
            }
            refspecs.extend(args.str("refspec").map(str::to_owned));
        }
        if args.bool("force") {
            argv.push("--force".to_owned());
        }
        argv.push(remote);
        argv.extend(refspecs);
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let ran = self.git(&words)?;
        if ran.rc == 0 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "Failed to download remote objects and refs: {} {}",
            ran.stdout, ran.stderr
        )))
    }

    /// Returns the branch of HEAD, or of the remote's HEAD where that is detached.
    fn head_branch(&mut self) -> Result<String, Failure> {
        let own = self.git(&["symbolic-ref", "--short", "-q", "HEAD"])?;
        if own.rc == 0 {
            return Ok(own.stdout.trim_end().to_owned());
        }
        let remote = format!("refs/remotes/{}/HEAD", self.remote);
        let theirs = self.told(
            "find the remote's branch",
            &["symbolic-ref", "--short", &remote],
        )?;
        let prefix = format!("{}/", self.remote);
        let name = theirs.stdout.trim_end();
        Ok(name.strip_prefix(&prefix).unwrap_or(name).to_owned())
    }

    fn check_out(&mut self) -> Result<(), Failure> {
        if self.args.bool("bare") {
            return Ok(());
        }
        let (version, remote) = (self.version.clone(), self.remote.clone());
        if version == "HEAD" {
            let branch = self.head_branch()?;
            let what = format!("checkout branch {branch}");
            self.told(&what, &["checkout", "--force", &branch])?;
            let tracked = format!("{remote}/{branch}");
            self.switched(&what, &["reset", "--hard", &tracked, "--"])?;
        } else if self.is_branch()? {
            self.check_out_branch(&version, &remote)?;
        } else {
            let what = format!("checkout {version}");
            self.switched(&what, &["checkout", "--force", &version])?;
        }
        self.verify()?;
        self.submodules()
    }

    /// Has the signature verified, if that is asked for: of the tag where it can have one.
    fn verify(&mut self) -> Result<(), Failure> {
        if !self.args.bool("verify_commit") {
            return Ok(());
        }
        let version = self.version.clone();
        let kind = self.git(&["cat-file", "-t", &format!("refs/tags/{version}")])?;
        let verb = match kind.stdout.trim() {
            "tag" => "verify-tag",
            _ => "verify-commit",
        };
        let what = format!("verify GPG signature of commit/tag \"{version}\"");
        self.told(&what, &[verb, &version])?;
        Ok(())
    }

    fn check_out_branch(&mut self, version: &str, remote: &str) -> Result<(), Failure> {
        let local = format!("refs/heads/{version}");
        let tracked = format!("{remote}/{version}");
        let mut known = self.git(&["rev-parse", "-q", "--verify", &local])?.rc == 0;
        if let (Some(depth), false) = (self.args.int("depth"), known) {
            let what = format!("fetch branch from remote: {version}");
            let depth = format!("--depth={depth}");
            let own = format!("+refs/heads/{version}:refs/heads/{version}");
            let theirs = format!("+refs/heads/{version}:refs/remotes/{tracked}");
            self.told(&what, &["fetch", &depth, remote, &own, &theirs])?;
            known = true;
        }
        let what = format!("checkout {version}");
        if !known {
            return self.switched(&what, &["checkout", "--track", "-b", version, &tracked]);
        }
        self.told(
            &format!("checkout branch {version}"),
            &["checkout", "--force", version],
        )?;
        self.switched(&what, &["reset", "--hard", &tracked])
    }

    fn submodules(&mut self) -> Result<(), Failure> {
        let dest = self.dest.clone().unwrap_or_default();
        if !self.args.bool("recursive") || !dest.join(".gitmodules").exists() {
            return Ok(());
        }
        self.checked(&["submodule", "sync"])?;
        let status = self.checked(&["submodule", "status"])?.stdout;
        let mut stale = status.lines().any(|line| !line.starts_with(' '));
        let mut argv = vec!["submodule", "update", "--init", "--recursive"];
        if self.args.bool("track_submodules") {
            argv.push("--remote");
        }
        if self.args.bool("force") {
            argv.push("--force");
        }
        let what = "init/update submodules";
        self.told(what, &argv)?;
        stale |= self.checked(&["submodule", "status"])?.stdout != status;
        if stale {
            self.changed = true;
            self.set("submodules_changed", true.into());
        }
        Ok(())
    }
}

/// Returns the ssh that git is to use: it never asks, and takes the key that was named.
fn ssh_command(args: &Args, context: &Context<'_>) -> String {
    let given = |name: &str| variable(name, &context.environment);
    let mut ssh = given("GIT_SSH")
        .or_else(|| given("GIT_SSH_COMMAND"))
        .unwrap_or_else(|| "ssh".to_owned());
    let mut add = |option: &str| {
        if !ssh.contains(option.trim_start_matches("-o ")) {
            ssh.push(' ');
            ssh.push_str(option);
        }
    };
    if let Some(options) = args.str("ssh_opts") {
        add(options);
    }
    if args.bool("accept_hostkey") {
        add("-o StrictHostKeyChecking=no");
    } else if args.bool("accept_newhostkey") {
        add("-o StrictHostKeyChecking=accept-new");
    }
    add("-o BatchMode=yes");
    if let Some(key) = args.str("key_file") {
        add(&format!("-i {key}"));
        add("-o IdentitiesOnly=yes");
    }
    ssh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{check, run};
    use serde_json::json;

    fn sh(folder: &Path, script: &str) -> String {
        let setting = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
                       GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b;";
        let output = std::process::Command::new("sh")
            .args(["-ec", &format!("{setting}{script}")])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_checkout_follows_branches_tags_and_hashes() {
        let root = tempfile::tempdir().unwrap();
        let up = root.path().join("up");
        sh(
            root.path(),
            "git init -q -b main up; cd up; echo 1 >a; git add a; git commit -qm 1; git tag -am v1 v1",
        );
        let first = sh(&up, "git rev-parse HEAD");
        let args =
            |version: &str| json!({"repo": up, "dest": root.path().join("w"), "version": version});
        assert!(check("git", args("main")).unwrap().changed);
        let outcome = run("git", args("main")).unwrap();
        assert!(outcome.changed && outcome.result["before"].is_null());
        assert_eq!(outcome.result["after"], first.as_str());
        assert!(!run("git", args("main")).unwrap().changed);
        sh(&up, "echo 2 >a; git commit -qam 2");
        let second = sh(&up, "git rev-parse HEAD");
        assert_eq!(
            check("git", args("main")).unwrap().result["after"],
            second.as_str()
        );
        let outcome = run("git", args("main")).unwrap();
        assert_eq!(
            (&outcome.result["before"], &outcome.result["after"]),
            (&json!(first), &json!(second))
        );
        assert_eq!(
            run("git", args("v1")).unwrap().result["after"],
            first.as_str()
        );
        assert_eq!(
            run("git", args(&second)).unwrap().result["after"],
            second.as_str()
        );
    }

    #[test]
    fn a_repository_moves_out_of_its_checkout() {
        let root = tempfile::tempdir().unwrap();
        sh(
            root.path(),
            "git init -q up; cd up; echo 1 >a; git add a; git commit -qm 1",
        );
        let (up, to) = (root.path().join("up"), root.path().join("w"));
        let at = |name: &str| root.path().join(name);
        let args = |kept: &str| json!({"repo": up, "dest": to, "separate_git_dir": at(kept)});
        run("git", json!({"repo": up, "dest": to})).unwrap();
        // In check mode Ansible's answer is about the commit alone.
        assert!(!check("git", args("one")).unwrap().changed && !at("one").exists());
        let moved = run("git", args("one")).unwrap();
        assert!(moved.changed && at("one/config").exists() && to.join(".git").is_file());
        assert_eq!(moved.result["git_dir_before"], json!(to.join(".git")));
        assert_eq!(moved.result["git_dir_now"], json!(at("one")));
        assert!(!run("git", args("one")).unwrap().changed);
        run("git", args("two")).unwrap();
        assert!(at("two/config").exists() && !at("one").exists());
        std::fs::create_dir(at("three")).unwrap();
        assert_eq!(
            run("git", args("three")).unwrap_err().msg,
            format!(
                "Separate-git-dir path {} already exists.",
                at("three").display()
            )
        );
        std::fs::write(to.join(".git"), "gitdir: /nowhere\n").unwrap();
        let lost = run("git", args("two")).unwrap_err();
        assert_eq!(lost.result["details"], "/nowhere is not a directory");
    }

    #[test]
    fn an_archive_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let (up, archive) = (root.path().join("up"), root.path().join("a.tar"));
        sh(
            root.path(),
            "git init -q -b main up; cd up; echo 1 >a; git add a; git commit -qm 1",
        );
        let args = json!({"repo": up, "dest": root.path().join("w"), "archive": archive});
        assert!(run("git", args.clone()).unwrap().changed);
        let made = std::fs::read(&archive).unwrap();
        assert!(!made.is_empty());
        assert!(!run("git", args.clone()).unwrap().changed);
        std::fs::write(&archive, "something else").unwrap();
        assert!(run("git", args).unwrap().changed);
        assert_eq!(std::fs::read(&archive).unwrap(), made);
    }

    #[test]
    fn a_commit_that_is_not_signed_is_refused_by_a_bare_clone_too() {
        let root = tempfile::tempdir().unwrap();
        let up = root.path().join("up");
        sh(
            root.path(),
            "git init -q -b main up; cd up; echo 1 >a; git add a; git commit -qm 1; git tag light; git tag -am v1 v1",
        );
        for bare in [true, false] {
            for version in ["main", "light", "v1"] {
                let dest = root.path().join(format!("{bare}-{version}"));
                let args = json!({
                    "repo": up, "dest": dest, "bare": bare, "version": version, "verify_commit": true,
                });
                let failure = run("git", args).unwrap_err();
                assert_eq!(
                    failure.msg,
                    format!("Failed to verify GPG signature of commit/tag \"{version}\"")
                );
            }
        }
    }

    #[test]
    fn local_modifications_fail_unless_forced() {
        let root = tempfile::tempdir().unwrap();
        let (up, dest) = (root.path().join("up"), root.path().join("w"));
        sh(
            root.path(),
            "git init -q -b main up; cd up; echo 1 >a; git add a; git commit -qm 1",
        );
        run("git", json!({"repo": up, "dest": dest})).unwrap();
        std::fs::write(dest.join("a"), "mine").unwrap();
        let failure = run("git", json!({"repo": up, "dest": dest})).unwrap_err();
        let said = format!(
            "Local modifications exist in the destination: {} (force=no).",
            dest.display()
        );
        assert_eq!(failure.msg, said);
        let forced = run("git", json!({"repo": up, "dest": dest, "force": true})).unwrap();
        assert!(forced.changed);
        assert_eq!(std::fs::read_to_string(dest.join("a")).unwrap(), "1\n");
    }
}
