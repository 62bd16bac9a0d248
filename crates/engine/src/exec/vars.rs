//! What a variable is worth: Ansible's levels of precedence, for one host.
//!
//! Every level is a mapping; a task sees them as a list, strongest first, and a name is looked
//! up when it is read. Nothing is merged or copied per task.

use std::rc::Rc;

use amibake_playbook::template::Scope;
use amibake_playbook::value::{Dict, Key, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::kept;
use super::model::{Enclosing, Keywords, Task};
use super::role::Role;

/// The variables of a run, by where they come from.
#[derive(Default)]
pub(super) struct Vars {
    /// `-e`.
    pub(super) extra: Dict,
    /// The inventory's: groups below host.
    pub(super) inventory: Dict,
    /// The playbook's own `group_vars` and `host_vars`.
    pub(super) beside: Dict,
    /// Variables given with an entry of the project.
    pub(super) entry: Dict,
    /// Facts without `ansible_`, as `ansible_facts` shows them.
    pub(super) facts: Dict,
    /// Facts as variables of their own.
    pub(super) injected: Dict,
    /// `include_vars`.
    pub(super) included: Dict,
    /// `set_fact` and `register`.
    pub(super) set: Dict,
    /// What only Ansible itself sets.
    pub(super) magic: Dict,
    /// What it says of the connection, where nobody else does.
    pub(super) connection: Dict,
    /// Every host of the inventory with what is known of it, in its order; what this one has is looked up.
    pub(super) hosts: Dict,
    /// Whether `localhost` in `hostvars` is this host, too.
    pub(super) is_localhost: std::cell::Cell<bool>,
    /// Facts by their own names, if they are kept for the runs to come.
    pub(super) cached: Option<Dict>,
    /// Whether mappings of one name are merged where levels come together.
    pub(super) merges: bool,
    /// Whether facts are in `ansible_facts` alone.
    pub(super) facts_apart: bool,
    /// This play's `vars`.
    pub(super) play: Dict,
    /// This play's `vars_files`.
    pub(super) play_files: Dict,
    /// The roles of this play, whose variables the whole play sees.
    pub(super) play_roles: std::cell::RefCell<Vec<Rc<Role>>>,
}

/// Variables that a task sets: seen by itself at once, by others when it has not failed.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(super) struct NewVars {
    /// `set_fact`.
    #[serde(with = "kept::dict")]
    pub(super) set: Dict,
    /// `include_vars`.
    #[serde(with = "kept::dict")]
    pub(super) included: Dict,
    /// Facts: those of a module, and of `set_fact` with `cacheable`.
    #[serde(with = "kept::dict")]
    pub(super) facts: Dict,
    /// Facts for modules, which know no other variables.
    pub(super) module_facts: Map<String, Json>,
    /// The host that they are set for, if it is another (`delegate_facts`).
    pub(super) host: Option<String>,
}

/// What one task sees: levels, strongest first.
#[derive(Clone, Default)]
pub(super) struct VarScope {
    /// The loop's variables, and results while the task runs; they win over all.
    pub(super) local: Dict,
    levels: Vec<Dict>,
    /// Those of them that are the host's, whatever the play and the task.
    of_host: Vec<Dict>,
    connection: Dict,
    facts: Dict,
    host: String,
    hosts: Dict,
    is_localhost: bool,
    merges: bool,
}

/// Magic variables that depend on the play, which `hostvars` does not have.
const OF_PLAY: &[&str] = &[
    "ansible_dependent_role_names",
    "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_name",
    "ansible_play_role_names",
    "ansible_role_names",
    "play_hosts",
    "role_names",
];

impl Vars {
    /// Returns what a task sees.
    pub(super) fn scope(&self, enclosing: &Rc<Enclosing>, task: Option<&Task>) -> VarScope {
        let mut levels = vec![
            task_magic(enclosing),
            self.magic.clone(),
            self.extra.clone(),
            self.entry.clone(),
        ];
        for enclosing in enclosing.chain() {
            levels.push(enclosing.include_params.clone());
        }
        let role = enclosing.role.as_ref();
        if let Some(role) = role {
            levels.push(role.params.clone());
            levels.extend(role.chain.iter().rev().map(|parent| parent.params.clone()));
        }
        levels.push(self.set.clone());
        levels.push(self.included.clone());
        levels.extend(task.map(|task| task.keywords.vars.clone()));
        // The play's own `vars` rank lower: they come below.
        levels.extend(
            enclosing
                .chain()
                .filter(|enclosing| enclosing.parent.is_some())
                .map(|enclosing| enclosing.keywords.vars.clone()),
        );
        if let Some(role) = role {
            role.push_vars(&mut levels);
        }
        for role in self.play_roles.borrow().iter().rev() {
            role.push_exported(&mut levels);
        }
        levels.push(self.play_files.clone());
        levels.push(self.play.clone());
        levels.push(self.injected.clone());
        levels.push(self.beside.clone());
        levels.push(self.inventory.clone());
        if let Some(role) = role {
            role.push_defaults(&mut levels);
        }
        for role in self.play_roles.borrow().iter().rev() {
            role.push_own_defaults(&mut levels);
        }
        levels.retain(|level| !level.is_empty());
        VarScope {
            levels,
            of_host: self.of_host(),
            connection: self.connection_of(enclosing, task),
            facts: self.facts.clone(),
            host: self
                .magic
                .get("inventory_hostname")
                .map_or_else(String::new, |h| h.to_string()),
            hosts: self.hosts.clone(),
            is_localhost: self.is_localhost.get(),
            merges: self.merges,
            ..VarScope::default()
        }
    }

    /// Returns the levels that `hostvars` has of this host, strongest first.
    fn of_host(&self) -> Vec<Dict> {
        let all = [
            &self.magic,
            &self.extra,
            &self.entry,
            &self.set,
            &self.included,
            &self.injected,
            &self.beside,
            &self.inventory,
        ];
        all.into_iter()
            .filter(|level| !level.is_empty())
            .cloned()
            .collect()
    }

    /// Returns what is said of the connection of a task: `remote_user` is a part of it.
    fn connection_of(&self, enclosing: &Rc<Enclosing>, task: Option<&Task>) -> Dict {
        let none = Keywords::default();
        let own = task.map_or(&none, |task| &task.keywords);
        let users = enclosing.levels(own, |k| k.remote_user.clone());
        let Some(user) = users.first() else {
            return self.connection.clone();
        };
        let connection = self.connection.copy();
        for name in ["ansible_user", "ansible_ssh_user"] {
            connection.set(name, user.clone());
        }
        connection
    }

    /// Returns what a play's own keywords see, which hold for all its hosts: nothing of any host.
    pub(super) fn scope_of_play(&self) -> VarScope {
        let magic = self.magic.copy();
        for name in [
            "inventory_hostname",
            "inventory_hostname_short",
            "group_names",
        ] {
            magic.remove(&name.into());
        }
        VarScope {
            levels: vec![
                magic,
                self.extra.clone(),
                self.entry.clone(),
                self.play_files.clone(),
                self.play.clone(),
            ],
            ..VarScope::default()
        }
    }

    /// Takes what a task has set.
    pub(super) fn add(&self, new: &NewVars) {
        fill(&self.set, &new.set);
        fill(&self.included, &new.included);
        if let Some(cached) = &self.cached {
            fill(cached, &new.facts);
        }
        match self.facts_apart {
            true => add_facts(&new.facts, &self.facts, &Dict::new()),
            false => add_facts(&new.facts, &self.facts, &self.injected),
        }
    }

    /// Forgets all facts (`meta: clear_facts`).
    pub(super) fn clear_facts(&self) {
        self.facts.clear();
        self.injected.clear();
        if let Some(cached) = &self.cached {
            cached.clear();
        }
    }
}

impl NewVars {
    /// Returns the facts that a module found.
    pub(super) fn found(facts: Map<String, Json>) -> Self {
        let named = facts
            .iter()
            .map(|(name, value)| (Key::from(name.as_str()), Value::from_json(value)));
        Self {
            facts: named.collect(),
            module_facts: facts,
            ..Self::default()
        }
    }
}

/// Gives a level the variables of another.
pub(super) fn fill(level: &Dict, with: &Dict) {
    for (name, value) in with.entries() {
        level.insert(name, value);
    }
}

/// Adds facts to `ansible_facts`, and to what has them as variables of their own.
fn add_facts(new: &Dict, facts: &Dict, injected: &Dict) {
    for (name, value) in new.entries() {
        let long = name.value().to_string();
        let short = match long.as_str() {
            // Ansible keeps this name alone as it is.
            "ansible_local" => &long,
            _ => long.strip_prefix("ansible_").unwrap_or(&long),
        };
        facts.set(short, value.clone());
        if !is_connection_variable(&long) {
            injected.set(&long, value);
        }
    }
}

/// The magic variables that depend on where a task stands.
fn task_magic(enclosing: &Rc<Enclosing>) -> Dict {
    let magic = Dict::new();
    if let Some(role) = &enclosing.role {
        magic.set("role_name", Value::str(role.short_name()));
        magic.set("ansible_role_name", Value::str(&role.name));
        let collection = role.collection().map_or(Value::None, Value::str);
        magic.set("ansible_collection_name", collection);
        magic.set("role_path", Value::str(role.path.to_string_lossy()));
        let parents: Vec<&Rc<Role>> = role.chain.iter().rev().collect();
        if !parents.is_empty() {
            let names = parents.iter().map(|p| Value::str(&p.name)).collect();
            let paths = parents
                .iter()
                .map(|p| Value::str(p.path.to_string_lossy()))
                .collect();
            magic.set("ansible_parent_role_names", Value::list(names));
            magic.set("ansible_parent_role_paths", Value::list(paths));
        }
    }
    magic
}

/// Variables that steer the connection and must not come from a machine's answers.
fn is_connection_variable(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ansible_connection",
        "ansible_host",
        "ansible_port",
        "ansible_user",
        "ansible_password",
        "ansible_shell_executable",
        "ansible_python_interpreter",
        "ansible_rsync_path",
        "ansible_playbook_python",
    ];
    NAMES.contains(&name)
        || name.starts_with("ansible_become")
        || name.starts_with("ansible_ssh_") && !name.starts_with("ansible_ssh_host_key")
}

impl VarScope {
    /// Returns the same view with its own local level, over what `self` has there.
    pub(super) fn with_local(&self) -> Self {
        Self {
            local: self.local.copy(),
            ..self.clone()
        }
    }

    /// Shows a task what it has just set, over all that it sees. Facts are there as variables of
    /// their own only: Ansible adds them to `ansible_facts` when the task has ended.
    pub(super) fn see(&self, new: &NewVars) {
        fill(&self.local, &new.set);
        fill(&self.local, &new.included);
        add_facts(&new.facts, &Dict::new(), &self.local);
    }

    /// Returns whether a variable of that name is in reach.
    pub(super) fn has(&self, name: &str) -> bool {
        Scope::get(self, name).is_some()
    }

    /// Returns a variable that somebody has set, or that is the same for every connection.
    pub(super) fn given(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.local.get(name) {
            return Some(value);
        }
        match self.merges {
            false => self.levels.iter().find_map(|level| level.get(name)),
            true => self
                .levels
                .iter()
                .rev()
                .filter_map(|level| level.get(name))
                .reduce(|weaker, stronger| merged_values(&weaker, stronger)),
        }
    }

    /// Returns whether somebody has set a variable, the task itself aside.
    pub(super) fn is_said(&self, name: &str) -> bool {
        self.levels.iter().any(|level| level.has(name))
    }

    /// Every variable in one mapping: what `vars` shows.
    fn merged(&self) -> Dict {
        merged(&self.levels, &self.facts, self.merges)
    }

    /// What `hostvars` shows of all hosts.
    fn hostvars(&self) -> Dict {
        let own = merged(&self.of_host, &self.facts, self.merges);
        for name in OF_PLAY {
            own.remove(&Key::from(*name));
        }
        let hosts = self.hosts.copy();
        if self.is_localhost {
            hosts.set("localhost", Value::Dict(own.clone()));
        }
        hosts.set(&self.host, Value::Dict(own));
        hosts
    }
}

/// Returns one value over another of the same name: mappings have what either has.
pub(super) fn merged_values(weaker: &Value, stronger: Value) -> Value {
    match (weaker, &stronger) {
        (Value::Dict(weaker), Value::Dict(over)) => {
            let all = weaker.copy();
            for (key, value) in over.entries() {
                let value = match weaker.get_key(&key) {
                    Some(known) => merged_values(&known, value),
                    None => value,
                };
                all.insert(key, value);
            }
            Value::Dict(all)
        }
        _ => stronger,
    }
}

fn merged(levels: &[Dict], facts: &Dict, merges: bool) -> Dict {
    let all = Dict::new();
    for level in levels.iter().rev() {
        match merges {
            false => fill(&all, level),
            true => {
                let known = merged_values(&Value::Dict(all.copy()), Value::Dict(level.clone()));
                fill(&all, known.as_dict().unwrap_or(level));
            }
        }
    }
    all.set("ansible_facts", Value::Dict(facts.clone()));
    all
}

impl Scope for VarScope {
    fn get(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.given(name) {
            return Some(value);
        }
        match name {
            "ansible_facts" => Some(Value::Dict(self.facts.clone())),
            "omit" => Some(Value::Omit),
            "vars" => Some(Value::Dict(self.merged())),
            "hostvars" => Some(Value::Dict(self.hostvars())),
            _ => self.connection.get(name),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::iter::once(&self.local)
            .chain(&self.levels)
            .chain([&self.connection])
            .flat_map(|level| {
                level
                    .keys()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
