//! What the agent is told to do: what to run, with which options.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::mask::Mask;

/// One thing to run. `vars` rank as role parameters do: above all but extra vars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "kebab-case")]
pub enum Entry {
    /// A playbook: a list of plays.
    Playbook {
        path: PathBuf,
        vars: Map<String, Json>,
    },
    /// A role, as a play that gathers facts and has this one role, with `become: true`.
    Role {
        path: PathBuf,
        vars: Map<String, Json>,
    },
    /// Inline tasks, as a play that gathers facts and has these, with `become: true`.
    Tasks {
        /// The file they stand in; messages name it and relative paths start beside it.
        path: PathBuf,
        /// Their YAML, moved down by empty lines to the line where they stand in that file.
        text: String,
        /// Variables for them.
        vars: Map<String, Json>,
    },
}

/// The privilege defaults of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Become {
    /// `-b`: whether tasks that do not say become anyone.
    pub always: bool,
    /// `--become-user`; root if absent.
    pub user: Option<String>,
    /// `--become-method`; sudo if absent.
    pub method: Option<String>,
}

/// What tasks are told of the way to their host, besides what the inventory says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The user that the command line asked for.
    pub user: Option<String>,
    /// The port that the command line asked for.
    pub port: Option<u16>,
}

/// What tasks are told of the machine that the run was begun on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerInfo {
    /// The name that it has itself.
    pub hostname: String,
    /// Who began the run.
    pub user: String,
    /// `ansible_inventory_sources`.
    pub inventory: Vec<String>,
    /// `--limit`.
    pub limit: Option<String>,
}

/// When plays gather facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gathering {
    /// Unless they say that they do not.
    #[default]
    Implicit,
    /// Only if they say so.
    Explicit,
    /// As `Implicit`, but not again for a host whose facts are known.
    Smart,
}

/// How the controller takes part as `localhost`, where no inventory has a host of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImplicitLocalhost {
    /// No play is for it.
    #[default]
    Absent,
    /// It is another of the hosts.
    Beside,
    /// It is the host of these options.
    This,
}

/// Settings of `ansible.cfg`, and of the environment, that change what playbooks do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `hash_behaviour = merge`: mappings of one name are merged where variables come together.
    pub merges_mappings: bool,
    /// `error_on_missing_handler = false`: such a notification is a warning.
    pub passes_missing_handlers: bool,
    /// `inject_facts_as_vars = false`: facts are in `ansible_facts` alone.
    pub facts_apart: bool,
    /// `private_role_vars`: whether the rest of a play sees the variables of roles.
    pub private_role_vars: Option<bool>,
    /// `strategy`: how plays go that do not say it.
    pub strategy: Option<String>,
}

/// What the inventory says of a host: of its groups, weakest first, and itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostVars {
    pub group_names: Vec<String>,
    pub vars: Map<String, Json>,
}

/// The options of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// `--check`.
    pub check: bool,
    /// `--diff`.
    pub diff: bool,
    /// `--tags`; empty is `all`.
    pub tags: Vec<String>,
    /// `--skip-tags`.
    pub skip_tags: Vec<String>,
    /// `--start-at-task`.
    pub start_at_task: Option<String>,
    /// `--step`: each task is confirmed.
    pub step: bool,
    /// `--force-handlers`.
    pub force_handlers: bool,
    pub gathering: Gathering,
    pub settings: Settings,
    /// What is known of the host from runs before, if facts are kept.
    pub cached_facts: Option<Map<String, Json>>,
    /// `-e`, merged; they win over everything.
    pub extra_vars: Map<String, Json>,
    /// `-b` and its kin.
    #[serde(rename = "become")]
    pub privilege: Become,
    /// The user the controller logs in as: who tasks without `become` run as.
    pub login_user: String,
    /// The host's name in the inventory.
    pub inventory_hostname: String,
    /// Whether every play is for this host, whatever its `hosts` name: there is no inventory.
    pub every_play: bool,
    /// Whether `--limit` leaves out the controller, so that plays for it are passed over.
    pub limited: bool,
    pub localhost: ImplicitLocalhost,
    /// The hosts that take part in this run, if they are several: they go from play to play together.
    pub together: Vec<String>,
    /// How many of them may be at a task at the same time (`--forks`).
    pub forks: Option<u32>,
    /// Number of the first play that may be for it: one that joins later does not run those before.
    pub first_play: u32,
    /// What `order: shuffle` goes by, the same for all of them.
    pub shuffle_seed: u64,
    /// Every group of the inventory with its hosts, `all` and `ungrouped` included.
    pub groups: BTreeMap<String, Vec<String>>,
    /// The groups of this host, parents before children; `all` is left out, as in `group_names`.
    pub group_names: Vec<String>,
    /// Variables that the playbook's `group_vars/all` wins over: those that the inventory itself says of the host's groups,
    /// and its `group_vars/all`.
    pub all_vars: Map<String, Json>,
    /// Variables of the host's groups by files in `group_vars`, merged by depth and priority.
    pub group_vars: Map<String, Json>,
    /// Variables of the host.
    pub host_vars: Map<String, Json>,
    /// The inventory's other hosts, if the playbook asks for any.
    pub others: BTreeMap<String, HostVars>,
    /// What was typed for the `vars_prompt` of each play, by where the play stands: `FILE:LINE`.
    pub prompted: BTreeMap<String, Map<String, Json>>,
    pub route: Route,
    pub controller: ControllerInfo,
    /// `-v`, counted.
    pub verbosity: u8,
    /// Whether this machine is the controller as well: by `--local` or `ansible_connection`.
    pub local: bool,
    /// Whether nothing is to be done on the host: the run is somewhere else.
    pub untouched: bool,
    /// Why the host cannot be reached, if the run goes on all the same with what does not touch it
    /// (`ignore_unreachable`).
    pub unreachable: Option<String>,
    /// The hosts that are the controller, too: what is delegated to one of them from there stays there.
    pub local_hosts: Vec<String>,
    /// Folders searched for roles after the playbook's own `roles/`.
    pub roles_path: Vec<PathBuf>,
    /// Folders searched for collections after the playbook's own `collections/`.
    pub collections_path: Vec<PathBuf>,
    /// Modules in the playbook that nobody knows: Ansible refuses the files that name them.
    pub unknown_modules: BTreeSet<String>,
    /// What `~` means on the controller.
    pub home: Option<PathBuf>,
    /// Where relative paths start on the controller.
    pub working_folder: PathBuf,
    /// What no event may show.
    pub secrets: Mask,
}
