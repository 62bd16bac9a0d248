//! Tasks that outlive their task: `async` with `poll: 0`. Each is a process of its own, which goes on
//! when the run has ended and writes what came of it into a file, as Ansible's `async_wrapper` does.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use amibake_playbook::argspec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::wire::{self, Request};
use super::{Identity, Workers, become_user, detach_stdin, number, numbers, run_here};
use crate::censor::Secrets;
use crate::deadline;
use crate::module::{Context, Failure, Outcome};
use crate::shlex;

/// The argument that makes this program a job; a uid, a gid and the groups follow, or nothing to stay
/// who it is.
pub const JOB: &str = "job";

/// What a job is besides its task.
#[derive(Debug, Serialize, Deserialize)]
struct Terms {
    /// Folder for the result; `~` is the user's home.
    folder: String,
    /// The name of the result but for the process.
    name: String,
}

/// What a job says when it has begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begun {
    pub id: String,
    pub file: PathBuf,
}

impl Workers {
    /// Starts `module` as a job of `who` that may take `limit`; its result is written below `folder`.
    pub fn start_job(
        &mut self,
        who: &Identity,
        limit: Duration,
        folder: &str,
        (module, args): (&str, &Map<String, Json>),
        context: &mut Context<'_>,
    ) -> Result<Begun, Failure> {
        let user = who.user.as_ref().unwrap_or(&self.login_user).to_owned();
        let failed = |e: &dyn std::fmt::Display| {
            Failure::new(format!("could not start a job as {user}: {e}"))
        };
        let mut command = Command::new("/proc/self/exe");
        command.arg(JOB);
        if !self.is_here(&user) {
            super::to_become(&mut command, &user, who.method, &self.login_user)?;
        }
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|e| failed(&e))?;
        let terms = Terms {
            folder: folder.to_owned(),
            name: format!("j{}", random().map_err(|e| failed(&e))?),
        };
        let facts = Some(context.facts.clone());
        let (request, files) =
            Request::of(module, args, context, facts, Some(limit)).map_err(|e| failed(&e))?;
        let told = wire::send(&ours, &terms)
            .and_then(|()| wire::send(&ours, &request))
            .and_then(|()| wire::send_files(&ours, &files))
            .and_then(|()| wire::receive::<Result<Begun, String>>(&ours));
        match told.map_err(|e| failed(&e))? {
            Some(begun) => begun.map_err(Failure::new),
            None => Err(failed(&"it ended at once")),
        }
    }
}

/// Returns a number that no other job has.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes) % 999_999_999_999)
}

/// Is a job: takes its task on standard input, says that it has begun, and goes on alone.
pub fn serve(arguments: &[String]) -> io::Result<()> {
    match arguments {
        [] => {}
        [uid, gid, groups] => become_user(number(uid)?, number(gid)?, &numbers(groups)?)?,
        _ => return Err(io::Error::other("a job needs a uid, a gid and groups")),
    }
    let _ = rustix::process::setsid(); // it may lead a session already
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    detach_stdin()?;
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let terms: Terms = wire::receive(&socket)?.ok_or_else(ended)?;
    let request: Request = wire::receive(&socket)?.ok_or_else(ended)?;
    let sources = wire::unpack(&request.sources, &socket)?;
    let id = format!("{}.{}", terms.name, std::process::id());
    let folder = PathBuf::from(shlex::expand_user(&terms.folder, &request.environment));
    let file = folder.join(&id);
    let running = json!({"started": true, "finished": false, "ansible_job_id": id});
    let begun = make(&folder).and_then(|()| write(&file, &running));
    let told: Result<Begun, String> = match &begun {
        Ok(()) => Ok(Begun {
            id: id.clone(),
            file: file.clone(),
        }),
        Err(e) => Err(format!(
            "could not create directory: {} - {e}",
            folder.display()
        )),
    };
    wire::send(&socket, &told)?;
    drop(socket);
    begun?;
    let facts = request.facts.unwrap_or_default();
    let secrets = argspec::find(&request.module).map(|spec| Secrets::of(spec, &request.args));
    let mut context = Context {
        check: request.check,
        diff: request.diff,
        environment: request.environment,
        sources,
        facts: &facts,
        output: &mut |_, _| (),
    };
    let (answer, over) = deadline::within(request.limit, || {
        run_here(&request.module, request.args, &mut context)
    });
    let mut result = match over {
        true => json!({"failed": true, "msg": "Timeout exceeded", "child_pid": std::process::id()}),
        false => Json::Object(fields(answer)),
    };
    // Whoever asks for the result later does not know the arguments.
    secrets.unwrap_or_default().value(&mut result);
    write(&file, &result)
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Replaces the file whole: whoever asks for the job reads it at any time.
fn write(file: &Path, result: &Json) -> io::Result<()> {
    let new = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true) // the folder may be another user's
        .mode(0o600)
        .open(&new)?;
    to.write_all(result.to_string().as_bytes())?;
    fs::rename(new, file)
}

/// Returns what the module says, as its result holds it.
fn fields(answer: Result<Outcome, Failure>) -> Map<String, Json> {
    match answer {
        Ok(outcome) => {
            let mut fields = Map::new();
            fields.insert("changed".to_owned(), json!(outcome.changed));
            fields.extend(outcome.result);
            if outcome.skipped {
                fields.insert("skipped".to_owned(), json!(true));
            }
            if !outcome.warnings.is_empty() {
                fields.insert("warnings".to_owned(), json!(outcome.warnings));
            }
            if !outcome.diff.is_null() && outcome.diff != json!([]) {
                fields.insert("diff".to_owned(), outcome.diff);
            }
            fields
        }
        Err(failure) => {
            let mut fields = failure.result;
            fields.insert("failed".to_owned(), json!(true));
            fields.insert("msg".to_owned(), json!(failure.msg));
            fields
        }
    }
}
