//! The run itself: every host by itself and at the same time, each through its own agent.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use amibake_playbook::files::Files as _;
use amibake_playbook::reads::{self, Found, Given};
use amibake_playbook::syntax::{self, Playbook};
use amibake_playbook::yaml::{self, Kind, Node};
use amibake_protocol::event::Recap;
use amibake_protocol::job::Entry;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::Instant;

use super::hosts::Chosen;
use super::newcomers::Newcomers;
use super::{Args, CommandContext, Prepared};
use crate::agent::asks::AskPolicy;
use crate::agent::collect::Bundle;
use crate::agent::program::Programs;
use crate::agent::{self, AgentError, Ended, Privilege, RunRequest, Turns};
use crate::event::{Event, Events, millis};
use crate::exit::{Answer, Exit, Failure};
use crate::fact_cache::FactCache;
use crate::prompt;
use crate::provision;
use crate::secret::Secret;
use crate::ssh::{self, RetryPolicy, SshError};
use crate::transport::{Local, Transport};
use crate::vault::Opened;

/// How many hosts are connected to at the same time.
const CONNECTING: usize = 50;

/// What every host's run needs.
struct Work<'a> {
    programs: Programs,
    entry: Entry,
    bundle: Bundle,
    asks: AskPolicy,
    password: Option<Secret<String>>,
    /// How several hosts go from play to play.
    turns: Option<Turns<'a>>,
    /// Whether hosts that cannot be reached may go on.
    ignores_unreachable: bool,
    /// Where the facts of hosts are kept.
    fact_cache: Option<&'a FactCache>,
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
    let (joining, mut newcomers) = mpsc::unbounded_channel();
    if let Some(cache) = prepared.fact_cache.as_ref().filter(|_| args.flush_cache) {
        let hosts = prepared.chosen.iter();
        hosts.for_each(|host| cache.forget(host.name()));
    }
    let work = Work::of(args, prepared, files, &cx.events, joining)?;
    // All at once: each waits for the others before a play.
    let all = prepared.chosen.iter().map(|host| on_host(&work, host, cx));
    let mut running: FuturesUnordered<_> = all.map(FutureExt::boxed_local).collect();
    let mut answer = Answer::default();
    loop {
        tokio::select! {
            biased;
            Some(host) = newcomers.recv() => running.push(on_newcomer(&work, host, cx).boxed_local()),
            ended = running.next() => {
                let Some((exit, failure)) = ended else { break };
                answer.ended = answer.ended.max(exit);
                answer.failures.extend(failure);
            }
        }
    }
    if cx.interrupt.cancel.is_cancelled() {
        answer.ended = answer.ended.max(Exit::Interrupted);
    }
    Ok(answer)
}

impl<'a> Work<'a> {
    fn of(
        args: &'a Args,
        prepared: &'a Prepared,
        files: &'a Opened,
        events: &Events,
        joining: UnboundedSender<Chosen>,
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
            turns: (chosen.len() > 1 || prepared.adds_hosts)
                .then(|| turns(args, prepared, files, events, joining)),
            ignores_unreachable: is_named(playbook, files, "ignore_unreachable"),
            fact_cache: prepared.fact_cache.as_ref(),
            connecting: Semaphore::new(CONNECTING),
            tasks: syntax::task_count(playbook, &args.choice.listed().of),
        })
    }

    fn request(&self, host: &Chosen) -> RunRequest<'_> {
        let password = host.password.clone().or_else(|| self.password.clone());
        let mut options = host.options.clone();
        options.cached_facts = self.fact_cache.map(|cache| cache.read(host.name()));
        RunRequest {
            programs: &self.programs,
            privilege: match host.needs_root {
                true => Privilege::Root { password },
                false => Privilege::AsIs,
            },
            entries: vec![self.entry.clone()],
            options,
            bundle: &self.bundle,
            asks: &self.asks,
            after_reboot: None,
            fact_cache: self.fact_cache,
            turns: self.turns.as_ref(),
            tasks: self.tasks,
        }
    }
}

/// Returns how the hosts go from play to play.
fn turns<'a>(
    args: &'a Args,
    prepared: &'a Prepared,
    files: &'a Opened,
    events: &Events,
    joining: UnboundedSender<Chosen>,
) -> Turns<'a> {
    let Prepared {
        playbook, chosen, ..
    } = prepared;
    let first = |host: &Chosen| u32::try_from(host.first_play).unwrap_or(u32::MAX);
    let hosts = chosen.iter().map(|host| (host.name(), first(host)));
    let may_end = is_named(playbook, files, "end_play");
    let here = chosen.iter().filter(|host| host.destination.is_none());
    let here = here.map(|host| host.name().to_owned()).collect();
    let newcomers = Newcomers {
        args,
        prepared,
        files,
        events: events.clone(),
        inventory: Mutex::new(prepared.inventory.clone()),
        joining,
    };
    Turns::new(hosts, playbook.plays.len(), may_end).with_newcomers(here, newcomers)
}

/// Returns whether a file of the playbook names something, perhaps `meta: end_play`.
pub(super) fn is_named(playbook: &Playbook, files: &Opened, what: &str) -> bool {
    playbook.files.iter().any(|path| {
        let text = files.read(path).unwrap_or_default();
        let mut places = text.windows(what.len());
        places.any(|found| found == what.as_bytes())
    })
}

/// Finds the files that the playbook may read for any of the hosts.
fn needed(prepared: &Prepared, files: &Opened) -> Found {
    let Prepared {
        playbook,
        chosen,
        syntax,
        ..
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

async fn on_newcomer(
    work: &Work<'_>,
    host: Chosen,
    cx: &CommandContext,
) -> (Exit, Option<Failure>) {
    on_host(work, &host, cx).await
}

/// Runs on one host, and tells how that went: in the recap, or as a failure.
async fn on_host(work: &Work<'_>, host: &Chosen, cx: &CommandContext) -> (Exit, Option<Failure>) {
    let mut ended = run_on_host(work, host, cx).await;
    if let Some(turns) = &work.turns
        && turns.leave(host.name(), ended.0 != Exit::Done)
    {
        ended.0 = ended.0.max(Exit::Failed);
    }
    ended
}

async fn run_on_host(
    work: &Work<'_>,
    host: &Chosen,
    cx: &CommandContext,
) -> (Exit, Option<Failure>) {
    let events = cx.events.about(host.name());
    match reach_and_run(work, host, &events, cx).await {
        Err(HostError::NotWanted) => (Exit::Done, None),
        Ok(ended) => {
            events.send(Event::HostFinished { recap: ended.recap });
            if ended.refused_asks > 0 {
                let count = ended.refused_asks;
                events.warn(format!("{count} questions of the machine were refused: no file of the playbook asks them"));
            }
            let recap = ended.recap;
            let failed = recap.has_failed() || recap.unreachable > 0 || ended.error.is_some();
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
    let causes = causes(error);
    events.send(Event::HostUnreachable { causes, hint });
    (Exit::Failed, None)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect()
}

async fn reach_and_run(
    work: &Work<'_>,
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
        link = ssh::connect(destination.clone(), RetryPolicy::ONE_TRY, events) => link,
        () = cx.interrupt.cancel.cancelled() => return Err(HostError::Interrupted),
    };
    drop(connecting);
    let link = match link {
        Ok(link) => link,
        // Whether that ends its run is said where its tasks stand.
        Err(error) if work.ignores_unreachable || !host.is_touched => {
            let host = host.unreachable(causes(&error).join(": "));
            return follow(&Local, work, &host, events, cx).await;
        }
        Err(error) => return Err(HostError::Ssh(error)),
    };
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
    work: &Work<'_>,
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
