//! Where mounts are looked for: files and the program `mount`, each once.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::{Asked, python_list, tables};
use crate::deadline;
use crate::module::{Context, Failure};
use crate::modules::paths;
use crate::run_command::{RegisteredGroup, required_bin};

/// Tables of what could be mounted.
const STATIC: &[&str] = &["/etc/fstab", "/etc/vfstab", "/etc/filesystems"];
/// Tables of what is.
const DYNAMIC: &[&str] = &["/etc/mtab", "/proc/mounts", "/etc/mnttab"];
/// The source that is a program.
const PROGRAM: &str = "mount";

/// A line of a source.
pub(super) struct Found {
    pub(super) source: String,
    pub(super) point: String,
    pub(super) line: String,
    pub(super) fields: Map<String, Json>,
}

/// Returns the mounts of all sources, in their order.
pub(super) fn mounts(
    asked: &mut Asked<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<Found>, Failure> {
    let sources = names(asked)?;
    let once: BTreeSet<&String> = sources.iter().collect();
    if once.len() < sources.len() {
        asked.warnings.push(format!(
            "mount_facts option 'sources' contains duplicate entries, repeat sources will be ignored: {}",
            python_list(&sources)
        ));
    }
    let is_dynamic = |source: &str| DYNAMIC.contains(&source);
    let mut lacks_dynamic = sources.iter().any(|source| is_dynamic(source));
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for source in &sources {
        let real = paths::real(Path::new(source))
            .to_string_lossy()
            .into_owned();
        if seen.contains(source) || seen.contains(&real) {
            continue;
        }
        let lines = match source == PROGRAM {
            true => {
                seen.insert(source.clone());
                by_program(asked, context)?
            }
            false => {
                seen.insert(real);
                tables::of_file(&content(source))
            }
        };
        if !lines.is_empty() && (source == PROGRAM || is_dynamic(source)) {
            lacks_dynamic = false;
        }
        all.extend(lines.into_iter().map(|line| line.of(source)));
    }
    if lacks_dynamic && asked.program.is_some() {
        let lines = by_program(asked, context)?;
        all.extend(lines.into_iter().map(|line| line.of(PROGRAM)));
    }
    Ok(all)
}

/// Returns the sources by name, those that stand for several replaced by them.
fn names(asked: &Asked<'_>) -> Result<Vec<String>, Failure> {
    let given = asked.args.list("sources");
    let given = if given.is_empty() { vec!["all"] } else { given };
    let mut names: Vec<&str> = Vec::new();
    for source in given {
        match source {
            "" => return Err(Failure::new("sources contains an empty string")),
            "all" => names.extend([DYNAMIC, STATIC].concat()),
            "dynamic" => names.extend(DYNAMIC),
            "static" => names.extend(STATIC),
            source => names.push(source),
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Returns the text of a file without the blanks around it; one that cannot be read is empty.
fn content(path: &str) -> String {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let opened = options
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path);
    let mut text = String::new();
    let read = opened.and_then(|mut file| file.read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text.trim().to_owned())
}

fn by_program(
    asked: &mut Asked<'_>,
    context: &mut Context<'_>,
) -> Result<Vec<tables::Line>, Failure> {
    let Some(program) = asked.program else {
        return Err(Failure::new(
            "Failed to find required executable \"None\" in paths",
        ));
    };
    let program = required_bin(program, context)?;
    let answer = output(&[&program], asked.timeout, context);
    match answer {
        Answer::Late(seconds) => {
            let message = format!("Command '{program}' timed out after {seconds:?} seconds");
            asked.late(message)?;
            Ok(Vec::new())
        }
        Answer::Failed(why) => {
            let command = format!("Command '{program}' {why}");
            Err(Failure::new(format!(
                "Failed to execute {program}: {command}"
            )))
        }
        Answer::Said(text) => Ok(tables::of_program(&text)),
    }
}

/// What a program answered.
pub(super) enum Answer {
    Said(String),
    /// How it ended, otherwise than well.
    Failed(String),
    /// It did not end in so many seconds.
    Late(f64),
}

/// Runs a program for its output, for as many seconds as it may take.
pub(super) fn output(argv: &[&str], timeout: Option<f64>, context: &Context<'_>) -> Answer {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .envs(
            context
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Answer::Failed(format!("could not be run: {e}")),
    };
    let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let _registered = RegisteredGroup::register(group);
    let (said, heard) = channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|mut stdout| stdout.read_to_end(&mut bytes));
        said.send(read.map(|_| bytes))
    });
    let limit = timeout.map_or(Duration::MAX, |seconds| {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    });
    let heard = heard.recv_timeout(deadline::at_most(limit));
    if heard.is_err() {
        let group = nix::unistd::Pid::from_raw(group);
        // It may have ended by itself in this moment.
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    }
    let ended = child.wait();
    match (heard, ended) {
        (Err(_), _) => Answer::Late(timeout.unwrap_or_default()),
        (Ok(bytes), Ok(status)) if status.success() => {
            let bytes = bytes.unwrap_or_default();
            Answer::Said(String::from_utf8_lossy(&bytes).into_owned())
        }
        (Ok(_), Ok(status)) => Answer::Failed(format!(
            "returned non-zero exit status {}.",
            status.code().unwrap_or(-1)
        )),
        (Ok(_), Err(e)) => Answer::Failed(format!("was lost: {e}")),
    }
}
