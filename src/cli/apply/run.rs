//! The run itself: every host by itself and at the same time, each through its own agent.

use std::path::{Path, PathBuf};

use amibake_playbook::files::Files as _;
use amibake_playbook::reads::{self, Found, Given};
use amibake_playbook::syntax::{self, Playbook};
use amibake_playbook::yaml::{self, Kind, Node};
use amibake_protocol::event::Recap;
use amibake_protocol::job::Entry;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::hosts::Chosen;
use super::{Args, CommandContext, Prepared};
use crate::agent::asks::AskPolicy;
use crate::agent::collect::Bundle;
use crate::agent::program::Programs;
use crate::agent::{self, AgentError, Ended, Privilege, RunRequest, Turns};
use crate::event::{Event, Events, millis};
use crate::exit::{Answer, Exit, Failure};
use crate::prompt;
use crate::provision;
use crate::secret::Secret;
use crate::ssh::{self, RetryPolicy, SshError};
use crate::transport::{Local, Transport};
use crate::vault::Opened;

/// How many hosts are connected to at the same time.
const CONNECTING: usize = 50;

/// What every host's run needs.
struct Work {
    programs: Programs,
    entry: Entry,
    bundle: Bundle,
    asks: AskPolicy,
    password: Option<Secret<String>>,
    /// How several hosts go from play to play.
    turns: Option<Turns>,
    /// Connections that are being made.
    connecting: Semaphore,
    /// How many tasks there are, as far as is known.
    tasks: usize,
}

/// Why a host has no result.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error(transparent)]
    Ssh(SshError),
    #[error(transparent)]
    Agent(AgentError),
    #[error("interrupted while connecting")]
    Interrupted,
    #[error("the run ended before a play was for it")]
    NotWanted,
}

/// The playbook could not be run on a host that could be reached.
#[derive(Debug, thiserror::Error)]
#[error("the playbook could not be run on {host}")]
struct NotRun {
    host: String,
    source: AgentError,
}

/// Runs the playbook on all chosen hosts and returns how it ended.
pub(super) async fn run(
    args: &Args,
    prepared: &Prepared,
    files: &Opened,
    cx: &CommandContext,
) -> Result<Answer, Failure> {
    let work = Work::of(args, prepared, files, &cx.events)?;
    // All at once: each waits for the others before a play.
    let all = prepared.chosen.iter().map(|host| on_host(&work, host, cx));
    let ends: Vec<(Exit, Option<Failure>)> = all.collect::<FuturesUnordered<_>>().collect().await;
    let mut answer = Answer::default();
    for (exit, failure) in ends {
        answer.ended = answer.ended.max(exit);
        answer.failures.extend(failure);
    }
    if cx.interrupt.cancel.is_cancelled() {
        answer.ended = answer.ended.max(Exit::Interrupted);
    }
    Ok(answer)
}

impl Work {
    fn of(
        args: &Args,
        prepared: &Prepared,
        files: &Opened,
        events: &Events,
    ) -> Result<Self, Failure> {
        let Prepared {
            playbook, chosen, ..
        } = prepared;
        let path = std::path::absolute(&args.playbook).map_err(Failure::usage)?;
        let programs = Programs::find().map_err(Failure::new)?;
        let found = match chosen.iter().all(|host| host.destination.is_none()) {
            true => programs.require(std::env::consts::ARCH),
            false => programs.require_some(),
        };
        found.map_err(|error| {
            let hint = error.hint();
            let mut failure = Failure::usage(error);
            failure.hint = hint.map(str::to_owned);
            failure
        })?;
        let bundle = Bundle::of(needed(prepared, files), files.vault());
        let bundle = bundle.map_err(Failure::usage)?;
        bundle
            .notes()
            .iter()
            .for_each(|note| events.warn(note.clone()));
        refuse_decrypt(files, playbook)?;
        Ok(Self {
            programs,
            entry: Entry::Playbook {
                path: path.clone(),
                vars: serde_json::Map::new(),
            },
            bundle,
            asks: AskPolicy {
                step: args.step,
                allow_pipe: args.allow_pipe,
                folders: path.parent().map(Path::to_path_buf).into_iter().collect(),
                secrets: secrets(args),
                ..AskPolicy::default()
            },
            password: password(args)?,
            turns: (chosen.len() > 1).then(|| {
                let first = |host: &Chosen| u32::try_from(host.first_play).unwrap_or(u32::MAX);
                let hosts = chosen.iter().map(|host| (host.name(), first(host)));
                let may_end = playbook
                    .files
                    .iter()
                    .any(|file| names_end_play(files, file));
                Turns::new(hosts, playbook.plays.len(), may_end)
            }),
            connecting: Semaphore::new(CONNECTING),
            tasks: syntax::task_count(playbook, &args.choice.listed().of),
        })
    }

    fn request(&self, host: &Chosen) -> RunRequest<'_> {
        let password = host.password.clone().or_else(|| self.password.clone());
        RunRequest {
            programs: &self.programs,
            privilege: match host.needs_root {
                true => Privilege::Root { password },
                false => Privilege::AsIs,
            },
            entries: vec![self.entry.clone()],
            options: host.options.clone(),
            bundle: &self.bundle,
            asks: &self.asks,
            after_reboot: None,
            turns: self.turns.as_ref(),
            tasks: self.tasks,
        }
    }
}

/// Returns whether a file of the playbook has `meta: end_play`, perhaps.
fn names_end_play(files: &Opened, path: &Path) -> bool {
    const END_PLAY: &[u8] = b"end_play";
    let text = files.read(path).unwrap_or_default();
    text.windows(END_PLAY.len()).any(|found| found == END_PLAY)
}

/// Finds the files that the playbook may read for any of the hosts.
fn needed(prepared: &Prepared, files: &Opened) -> Found {
    let Prepared {
        playbook,
        chosen,
        syntax,
    } = prepared;
    let given = Given {
        vars: chosen.iter().flat_map(variables).collect(),
        hosts: chosen.iter().map(|host| host.name().to_owned()).collect(),
        options: syntax.clone(),
        ..provision::here()
    };
    reads::needed(files, playbook, &given)
}

fn variables(host: &Chosen) -> [&serde_json::Map<String, serde_json::Value>; 4] {
    let options = &host.options;
    [
        &options.extra_vars,
        &options.all_vars,
        &options.group_vars,
        &options.host_vars,
    ]
}

/// Returns the files that the run's own passwords lie in, by their real paths.
fn secrets(args: &Args) -> Vec<PathBuf> {
    let files = args
        .vault
        .files()
        .chain(args.become_password_file.as_deref());
    files.filter_map(|file| file.canonicalize().ok()).collect()
}

/// Asks for the password of sudo, or reads it.
fn password(args: &Args) -> Result<Option<Secret<String>>, Failure> {
    if args.ask_become_pass {
        let typed = prompt::secret("BECOME password: ");
        return typed.map(|text| Some(Secret::new(text))).map_err(|error| {
            Failure::usage(error).with_hint("without a terminal, use --become-password-file")
        });
    }
    let Some(path) = &args.become_password_file else {
        return Ok(None);
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ))),
        Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
    }
}

/// Everything encrypted is opened before it travels: what shall stay encrypted would not.
fn refuse_decrypt(files: &Opened, playbook: &Playbook) -> Result<(), Failure> {
    if files.vault().is_empty() {
        return Ok(());
    }
    for path in playbook.files.iter().filter(|path| files.is_file(path)) {
        if let Ok(document) = yaml::load(files, path)
            && let Some(at) = keeps_encrypted(&document.root)
        {
            let place = format!("{}:{}", path.display(), at.span.line);
            return Err(Failure::usage(format!(
                "{place}: `decrypt: false` is not supported together with a vault password"
            )));
        }
    }
    Ok(())
}

fn keeps_encrypted(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Map(pairs) => pairs.iter().find_map(|(key, value)| {
            let named = key.scalar_text();
            let is_it = named.as_deref() == Some("decrypt") && value.kind == Kind::Bool(false);
            is_it.then_some(key).or_else(|| keeps_encrypted(value))
        }),
        Kind::Seq(items) => items.iter().find_map(keeps_encrypted),
        _ => None,
    }
}

/// Runs on one host, and tells how that went: in the recap, or as a failure.
async fn on_host(work: &Work, host: &Chosen, cx: &CommandContext) -> (Exit, Option<Failure>) {
    let mut ended = run_on_host(work, host, cx).await;
    if let Some(turns) = &work.turns
        && turns.leave(host.name(), ended.0 != Exit::Done)
    {
        ended.0 = ended.0.max(Exit::Failed);
    }
    ended
}

async fn run_on_host(work: &Work, host: &Chosen, cx: &CommandContext) -> (Exit, Option<Failure>) {
    let events = cx.events.about(host.name());
    match reach_and_run(work, host, &events, cx).await {
        Err(HostError::NotWanted) => (Exit::Done, None),
        Ok(ended) => {
            events.send(Event::HostFinished { recap: ended.recap });
            if ended.refused_asks > 0 {
                let count = ended.refused_asks;
                events.warn(format!("{count} questions of the machine were refused: no file of the playbook asks them"));
            }
            let failed = ended.recap.has_failed() || ended.error.is_some();
            (if failed { Exit::Failed } else { Exit::Done }, None)
        }
        Err(HostError::Interrupted | HostError::Agent(AgentError::Interrupted)) => {
            (Exit::Interrupted, None)
        }
        Err(HostError::Ssh(error)) => {
            let hint = error.hint();
            unreachable(&events, &error, hint)
        }
        Err(HostError::Agent(error @ AgentError::Link(_))) => unreachable(&events, &error, None),
        Err(HostError::Agent(source)) => {
            let recap = Recap {
                failed: 1,
                ..Recap::default()
            };
            events.send(Event::HostFinished { recap });
            let hint = source.hint();
            let host = host.name().to_owned();
            let mut failure = Failure::new(NotRun { host, source });
            failure.hint = hint.map(str::to_owned);
            (Exit::Failed, Some(failure))
        }
    }
}

fn unreachable(
    events: &Events,
    error: &(dyn std::error::Error + 'static),
    hint: Option<String>,
) -> (Exit, Option<Failure>) {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        causes.push(error.to_string());
        source = error.source();
    }
    events.send(Event::HostUnreachable { causes, hint });
    (Exit::Failed, None)
}

async fn reach_and_run(
    work: &Work,
    host: &Chosen,
    events: &Events,
    cx: &CommandContext,
) -> Result<Ended, HostError> {
    if let Some(turns) = &work.turns {
        let first = u32::try_from(host.first_play).unwrap_or(u32::MAX);
        let wanted = tokio::select! {
            wanted = turns.await_first(host.name(), first) => wanted,
            () = cx.interrupt.cancel.cancelled() => return Err(HostError::Interrupted),
        };
        if !wanted {
            return Err(HostError::NotWanted);
        }
    }
    let Some(destination) = &host.destination else {
        return follow(&Local, work, host, events, cx).await;
    };
    let connecting = work.connecting.acquire().await;
    let since = Instant::now();
    let link = tokio::select! {
        link = ssh::connect(destination.clone(), RetryPolicy::ONE_TRY, events) => link.map_err(HostError::Ssh)?,
        () = cx.interrupt.cancel.cancelled() => return Err(HostError::Interrupted),
    };
    drop(connecting);
    events.send(Event::HostConnected {
        elapsed_ms: millis(since.elapsed()),
    });
    let ended = follow(&link, work, host, events, cx).await;
    link.close().await;
    ended
}

/// The first interrupt ends the running task there; the second, this.
async fn follow(
    transport: &dyn Transport,
    work: &Work,
    host: &Chosen,
    events: &Events,
    cx: &CommandContext,
) -> Result<Ended, HostError> {
    let request = work.request(host);
    tokio::select! {
        ended = agent::run_reported(transport, &request, events, &cx.interrupt.cancel) => ended.map_err(HostError::Agent),
        () = cx.interrupt.abort.cancelled() => Err(HostError::Interrupted),
    }
}
