//! Who a task runs as: one worker process per identity, started by the agent that is root.
//!
//! A worker is this program again, with the user's ids, groups and environment as `sudo -H -u`
//! sets them. Requests go over a socket pair, source files as file descriptors, so a user reads
//! exactly the files that a task gives it. What a module does is the module's.

mod job;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use amibake_playbook::argspec;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, Gid, Uid, access, geteuid, setgroups, setresgid, setresuid};
use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::module::{Context, Failure, Outcome};
use crate::open_files::{FEW, FdLimit};
use crate::{deadline, modules, users};
pub use job::{Begun, JOB, serve as serve_job};
use wire::{Reply, Request};

/// The argument that makes this program a worker; a uid, a gid and the groups follow.
pub const WORKER: &str = "worker";
/// How long after its limit a worker may still be busy with its end.
const GRACE: Duration = Duration::from_secs(5);
/// What `sudo` sets where sudoers names no `secure_path`.
const SECURE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables of the login user's own session, for tasks that become nobody.
static LOGIN: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Remembers the environment of the login user's session. The first call counts.
pub fn set_login_environment(variables: Vec<(String, String)>) {
    let _ = LOGIN.set(variables);
}

/// How a task becomes another user: whose environment it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// As `sudo -H -u` gives it.
    #[default]
    Sudo,
    /// As `su USER -c` gives it: what the login session has, with the user's home and shell.
    Su,
}

/// Whom a task runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The user; `None` is the login user.
    pub user: Option<String>,
    /// How it became that user.
    pub method: Method,
}

/// The identities of a run.
pub struct Workers {
    login_user: String,
    alive: HashMap<(String, Method), Worker>,
}

struct Worker {
    child: Child,
    socket: UnixStream,
    facts_sent: Option<Map<String, Json>>,
}

impl Workers {
    /// Returns the identities of a run whose controller logged in as `login_user`.
    #[must_use]
    pub fn new(login_user: &str) -> Self {
        Self {
            login_user: login_user.to_owned(),
            alive: HashMap::new(),
        }
    }

    /// Runs `module` as `who`, with arguments not yet coerced: `~` is the user's home. In this
    /// process if it is the user's already. What takes longer than `limit` is ended.
    pub fn run(
        &mut self,
        who: &Identity,
        limit: Option<Duration>,
        module: &str,
        args: &Map<String, Json>,
        context: &mut Context<'_>,
    ) -> Result<Outcome, Failure> {
        let user = who.user.as_ref().unwrap_or(&self.login_user).to_owned();
        if self.is_here(&user) {
            return run_here(module, args.clone(), context);
        }
        self.run_there((user, who.method), limit, module, args, context)
    }

    /// Ends all workers, as after a task that changed a user's groups.
    pub fn forget(&mut self) {
        self.alive.clear();
    }

    /// Ends the workers of `user`, but not the one of a task that is about to run as `who`.
    pub fn leave(&mut self, user: &str, who: &Identity) {
        let who = (who.user.as_ref().unwrap_or(&self.login_user), who.method);
        self.alive
            .retain(|(name, method), _| name != user || (name, *method) == who);
    }

    /// Returns whether tasks of `user` need no other process.
    #[must_use]
    pub fn is_here(&self, user: &str) -> bool {
        let me = geteuid();
        users::user(user).map_or_else(
            || user.is_empty() || (user == "root" && me.is_root()),
            |user| user.uid == me.as_raw(),
        )
    }

    fn run_there(
        &mut self,
        who: (String, Method),
        limit: Option<Duration>,
        module: &str,
        args: &Map<String, Json>,
        context: &mut Context<'_>,
    ) -> Result<Outcome, Failure> {
        let user = who.0.clone();
        if !self.alive.contains_key(&who) {
            let worker = start(&user, who.1, &self.login_user)?;
            self.alive.insert(who.clone(), worker);
        }
        let Some(worker) = self.alive.get_mut(&who) else {
            return Err(Failure::new("a worker that was just started is gone"));
        };
        let answer = worker.ask(limit, module, args, context);
        if answer.is_err() {
            self.alive.remove(&who); // the next task of this user gets a new one
        }
        answer.unwrap_or_else(|e| Err(lost(&user, &e)))
    }
}

fn lost(user: &str, error: &io::Error) -> Failure {
    Failure::new(format!(
        "lost the process that runs tasks as {user}: {error}"
    ))
}

fn run_here(
    module: &str,
    args: Map<String, Json>,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let unknown = || Failure::new(format!("there is no module called {module}"));
    let spec = argspec::find(module).ok_or_else(unknown)?;
    let args = Args::coerce_within(spec, args, &context.environment)?;
    modules::find(module)
        .ok_or_else(unknown)?
        .run(&args, context)
}

/// Starts the worker of `user`.
fn start(user: &str, method: Method, login_user: &str) -> Result<Worker, Failure> {
    spawn(&account(user)?, method, login_user)
        .map_err(|e| Failure::new(format!("could not start a process as {user}: {e}")))
}

/// Returns the account of a user that can be become.
fn account(user: &str) -> Result<users::User, Failure> {
    if !geteuid().is_root() {
        return Err(Failure::new(format!(
            "cannot become {user}: the agent does not run as root"
        )));
    }
    users::user(user)
        .ok_or_else(|| Failure::new(format!("cannot become {user}: there is no such user")))
}

/// Gives a program of ours the ids and the environment by which it becomes `user`.
fn to_become(
    command: &mut Command,
    user: &str,
    method: Method,
    login_user: &str,
) -> Result<(), Failure> {
    let account = account(user)?;
    add_account(command, &account, method, login_user);
    Ok(())
}

fn add_account(command: &mut Command, account: &users::User, method: Method, login_user: &str) {
    let groups: Vec<String> = groups_of(account).iter().map(u32::to_string).collect();
    command
        .args([
            account.uid.to_string(),
            account.gid.to_string(),
            groups.join(","),
        ])
        .env_clear()
        .envs(environment(account, method, login_user));
}

fn spawn(account: &users::User, method: Method, login_user: &str) -> io::Result<Worker> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(WORKER);
    add_account(&mut command, account, method, login_user);
    let child = command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Worker {
        child,
        socket: ours,
        facts_sent: None,
    })
}

/// Returns the groups that `initgroups` would give: the primary one and those that list the user.
fn groups_of(account: &users::User) -> Vec<u32> {
    let mut groups = vec![account.gid];
    for gid in users::groups_of(&account.name) {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    groups
}

/// Returns the environment that the login session, `sudo -H -u` or `su -c` gives a command.
fn environment(
    account: &users::User,
    method: Method,
    login_user: &str,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_kept_by_sudo(name))
        .collect();
    variables
        .entry("PATH".to_owned())
        .or_insert_with(|| SECURE_PATH.to_owned());
    let is_login = account.name == login_user;
    if is_login || method == Method::Su {
        variables.extend(LOGIN.get().into_iter().flatten().cloned());
    } else if let Some(login) = users::user(login_user) {
        variables.insert("SUDO_USER".to_owned(), login.name);
        variables.insert("SUDO_UID".to_owned(), login.uid.to_string());
        variables.insert("SUDO_GID".to_owned(), login.gid.to_string());
        variables.insert("MAIL".to_owned(), format!("/var/mail/{}", account.name));
    }
    variables.insert("HOME".to_owned(), account.home.clone());
    variables.insert("SHELL".to_owned(), account.shell.clone());
    // `su` to root keeps the names of who called it.
    if method == Method::Sudo || is_login || account.uid != 0 {
        variables.insert("USER".to_owned(), account.name.clone());
        variables.insert("LOGNAME".to_owned(), account.name.clone());
    }
    variables
}

/// Returns whether `env_reset` lets this variable through.
fn is_kept_by_sudo(name: &str) -> bool {
    matches!(
        name,
        "PATH" | "TERM" | "TZ" | "LANG" | "LANGUAGE" | "LINGUAS" | "COLORTERM"
    ) || name.starts_with("LC_")
}

impl Worker {
    /// Sends one task and returns its answer; an error is a worker that is gone or broken.
    fn ask(
        &mut self,
        limit: Option<Duration>,
        module: &str,
        args: &Map<String, Json>,
        context: &mut Context<'_>,
    ) -> io::Result<Result<Outcome, Failure>> {
        let facts = match self.facts_sent.as_ref() == Some(context.facts) {
            true => None,
            false => Some(context.facts.clone()),
        };
        let new = facts.clone();
        let (request, files) = Request::of(module, args, context, facts, limit)?;
        // It ends its programs itself; one that cannot is ended by us.
        self.socket
            .set_read_timeout(limit.map(|limit| limit + GRACE))?;
        wire::send(&self.socket, &request)?;
        wire::send_files(&self.socket, &files)?;
        self.facts_sent = new.or(self.facts_sent.take());
        loop {
            match wire::receive::<Reply>(&self.socket)? {
                Some(Reply::Output { stream, line }) => (context.output)(stream, &line),
                Some(Reply::Outcome(outcome)) => return Ok(Ok(outcome.into())),
                Some(Reply::Failure { msg, result }) => return Ok(Err(Failure { msg, result })),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes the user named by `arguments`, for good, then answers requests on standard input
/// until it ends.
pub fn serve(arguments: &[String]) -> io::Result<()> {
    let [uid, gid, groups] = arguments else {
        return Err(io::Error::other("a worker needs a uid, a gid and groups"));
    };
    become_user(number(uid)?, number(gid)?, &numbers(groups)?)?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    detach_stdin()?;
    let mut facts = Map::new();
    while let Some(request) = wire::receive::<Request>(&socket)? {
        let _room = (request.sources.len() > FEW).then(FdLimit::make);
        let sources = wire::unpack(&request.sources, &socket)?;
        if let Some(new) = request.facts {
            facts = new;
        }
        let mut failed = None;
        let mut output = |stream, line: &str| {
            let line = line.to_owned();
            if let Err(e) = wire::send(&socket, &Reply::Output { stream, line }) {
                failed.get_or_insert(e);
            }
        };
        let mut context = Context {
            check: request.check,
            diff: request.diff,
            environment: request.environment,
            sources,
            facts: &facts,
            output: &mut output,
        };
        let run = || run_here(&request.module, request.args, &mut context);
        let (answer, _) = deadline::within(request.limit, run);
        failed.map_or(Ok(()), Err)?;
        wire::send(&socket, &Reply::of(answer))?;
    }
    Ok(())
}

/// Children must not inherit the socket as their standard input.
fn detach_stdin() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd()).map_err(io::Error::from)
}

/// Drops every privilege, in the one order that works, and checks that it is gone.
fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    if !uid.is_root() && setresuid(Uid::from_raw(0), uid, uid).is_ok() {
        return Err(io::Error::other("root's privileges could not be dropped"));
    }
    leave_unreadable_folder();
    let mask = umask(Mode::empty());
    umask(mask | Mode::from_bits_truncate(0o022)); // sudo's default: the union
    Ok(())
}

/// Goes home if the current folder is closed to this user, as Ansible's modules do.
fn leave_unreadable_folder() {
    if access(".", AccessFlags::R_OK | AccessFlags::X_OK).is_ok() {
        return;
    }
    let home = std::env::var("HOME").unwrap_or_default();
    if std::env::set_current_dir(home).is_err() {
        let _ = std::env::set_current_dir("/");
    }
}

fn number(text: &str) -> io::Result<u32> {
    text.parse()
        .map_err(|_| io::Error::other("a worker's ids are numbers"))
}

fn numbers(text: &str) -> io::Result<Vec<u32>> {
    text.split(',')
        .filter(|n| !n.is_empty())
        .map(number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_sudos_or_sus_and_not_the_agents() {
        let account = users::User {
            name: "web".to_owned(),
            password: String::new(),
            uid: 990,
            gid: 990,
            gecos: String::new(),
            home: "/srv/web".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        let variables = environment(&account, Method::Sudo, "root");
        assert_eq!(variables["HOME"], "/srv/web");
        assert_eq!(variables["USER"], "web");
        assert_eq!(variables["SUDO_USER"], "root");
        assert!(!variables.contains_key("CARGO_MANIFEST_DIR"), "leaked");
        let variables = environment(&account, Method::Su, "root");
        assert_eq!(variables["HOME"], "/srv/web");
        assert_eq!(variables["LOGNAME"], "web");
        assert!(!variables.contains_key("SUDO_USER"), "su is not sudo");
    }

    #[test]
    fn a_user_that_is_not_there_is_a_failure_of_the_task() {
        let facts = Map::new();
        let mut context = Context {
            check: false,
            diff: false,
            environment: Vec::new(),
            sources: BTreeMap::new(),
            facts: &facts,
            output: &mut |_, _| (),
        };
        let who = Identity {
            user: Some("no-such-user".to_owned()),
            method: Method::Sudo,
        };
        let failure = Workers::new("root")
            .run(&who, None, "command", &Map::new(), &mut context)
            .unwrap_err();
        assert!(failure.msg.contains("no-such-user"), "{}", failure.msg);
    }
}
