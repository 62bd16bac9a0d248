//! What a run on one machine is asked for, and what it answers.

use amibake_protocol::event::{Event, Place, Recap};
use amibake_protocol::job::{Entry, Options};
use serde_json::{Map, Value as Json};

use super::asks::AskPolicy;
use super::collect::Bundle;
use super::program::Programs;
use super::reboot::AfterReboot;
use super::turns::Turns;
use crate::fact_cache::FactCache;
use crate::secret::Secret;

/// How the agent gets the rights it needs.
#[derive(Debug, Clone)]
pub(crate) enum Privilege {
    /// It runs as the login user.
    AsIs,
    /// It runs as root, by `sudo` unless the login is root's already.
    Root {
        /// What `sudo` asks for; `None` is `sudo -n`.
        password: Option<Secret<String>>,
    },
}

/// All that is needed for one run on one machine.
pub(crate) struct RunRequest<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) privilege: Privilege,
    pub(crate) entries: Vec<Entry>,
    pub(crate) options: Options,
    pub(crate) bundle: &'a Bundle,
    pub(crate) asks: &'a AskPolicy,
    /// What a machine of ours needs after a reboot.
    pub(crate) after_reboot: Option<&'a dyn AfterReboot>,
    /// How it goes from play to play together with other hosts.
    pub(crate) turns: Option<&'a Turns<'a>>,
    /// Where the facts of hosts are kept.
    pub(crate) fact_cache: Option<&'a FactCache>,
    /// How many tasks there will be, as far as is known: for showing how far it is.
    pub(crate) tasks: usize,
}

impl RunRequest<'_> {
    /// Keeps what is known of the host.
    pub(super) fn keep_facts(&self, facts: &Map<String, Json>) -> Result<(), String> {
        let cache = self.fact_cache.ok_or("facts are not kept")?;
        let host = &self.options.inventory_hostname;
        cache.write(host, facts).map_err(|error| error.to_string())
    }
}

/// An event, and about how much memory it takes.
#[derive(Debug)]
pub(crate) struct SizedEvent {
    pub(crate) event: Event,
    pub(crate) bytes: usize,
}

/// How a run ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) recap: Recap,
    /// Why it could not go on, when it was no task's failure.
    pub(crate) error: Option<String>,
    /// Asks that were refused: a sound run has none.
    pub(crate) refused_asks: u64,
    /// The task that failed last, for who follows the events of the run.
    pub(crate) failed: Option<FailedTask>,
}

/// A task that failed, and nothing caught it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedTask {
    /// Number of the task in its run.
    pub(crate) index: u32,
    /// As Ansible prints it.
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Its result's `msg`, and what the command said last.
    pub(crate) why: String,
}
