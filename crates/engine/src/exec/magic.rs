//! Variables that only Ansible itself sets.

use std::path::Path;
use std::rc::Rc;

use amibake_playbook::hosts::Groups;
use amibake_playbook::names::bare;
use amibake_playbook::syntax::STRATEGIES;
use amibake_playbook::template::{Nowhere, Templar};
use amibake_playbook::value::{Dict, Key, Value};
use amibake_protocol::job::ImplicitLocalhost;
use serde_json::{Map, Value as Json};

use super::model::{Enclosing, Play};
use super::play_hosts::PlayHosts;
use super::reserved;
use super::role::Role;
use super::run::{Run, Stop};
use super::vars::merged_values;

/// Where a controller has its Python; Ansible's is the one that it runs by.
const PYTHON: &str = "/usr/bin/python3";

/// The version of Ansible whose behaviour is matched.
const VERSION: [i64; 3] = [2, 19, 14];

/// Sets what is the same for the whole run.
pub(super) fn set(run: &Run<'_>) {
    let options = run.options;
    let magic = &run.vars.magic;
    let host = Value::str(&options.inventory_hostname);
    let short = options
        .inventory_hostname
        .split('.')
        .next()
        .unwrap_or_default();
    magic.set("inventory_hostname", host.clone());
    magic.set("inventory_hostname_short", Value::str(short));
    set_groups(run);
    magic.set("ansible_check_mode", Value::Bool(options.check));
    magic.set("ansible_diff_mode", Value::Bool(options.diff));
    magic.set(
        "ansible_verbosity",
        Value::Int(i64::from(options.verbosity)),
    );
    magic.set("ansible_run_tags", texts(run.tags.only()));
    magic.set("ansible_skip_tags", texts(run.tags.skip()));
    magic.set("ansible_forks", Value::Int(5));
    magic.set("ansible_config_file", Value::None);
    let controller = &options.controller;
    magic.set("ansible_inventory_sources", texts(&controller.inventory));
    if let Some(limit) = &controller.limit {
        magic.set("ansible_limit", Value::str(limit));
    }
    magic.set("ansible_playbook_python", Value::str(PYTHON));
    magic.set("ansible_version", version());
    add(&run.vars.inventory, &options.all_vars);
    add(&run.vars.inventory, &options.group_vars);
    add(&run.vars.inventory, &options.host_vars);
    add(&run.vars.extra, &options.extra_vars);
    for given in [&run.vars.inventory, &run.vars.extra] {
        for name in given.keys() {
            reserved::check(run, &name.to_string(), None);
        }
    }
    run.take_cached();
    set_connection(run);
    set_hosts(run);
}

/// Sets what is known of groups: the inventory's, and those that the run has made.
pub(super) fn set_groups(run: &Run<'_>) {
    let magic = &run.vars.magic;
    let shown = Dict::new();
    for (name, hosts) in groups(run) {
        shown.set(&name, texts(&hosts));
    }
    magic.set("groups", Value::Dict(shown));
    let mut names = group_names(run);
    names.sort();
    // Of no group is only the controller that no inventory names.
    if names.is_empty() && run.options.localhost != ImplicitLocalhost::This {
        names.push("ungrouped".to_owned());
    }
    magic.set("group_names", texts(&names));
}

/// Takes a group in that the host has joined, and what the playbook says of it.
pub(super) fn regroup(run: &Run<'_>) {
    set_groups(run);
    let folder = run.entry_dir.borrow().clone();
    set_beside(run, &folder);
}

/// Returns the groups of the host, parents before their children, without `all`.
fn group_names(run: &Run<'_>) -> Vec<String> {
    let known = &run.options.group_names;
    let mut names = [known.clone(), run.grouping.borrow().names(known)].concat();
    let added = run.added.borrow();
    let own = added.get(&run.options.inventory_hostname);
    for group in own.into_iter().flat_map(|own| &own.groups) {
        if !names.contains(group) {
            names.push(group.clone());
        }
    }
    names
}

/// Sets what Ansible says of a connection where neither the inventory nor a task does.
fn set_connection(run: &Run<'_>) {
    let (options, connection) = (run.options, &run.vars.connection);
    let way = if options.local { "local" } else { "ssh" };
    connection.set("ansible_connection", Value::str(way));
    connection.set("ansible_shell_executable", Value::str("/bin/sh"));
    connection.set("ansible_module_compression", Value::str("ZIP_DEFLATED"));
    let both = |name: &str, value: Value| {
        connection.set(&format!("ansible_{name}"), value.clone());
        connection.set(&format!("ansible_ssh_{name}"), value);
    };
    both("host", Value::str(&options.inventory_hostname));
    both("timeout", Value::Int(10));
    both("pipelining", Value::Bool(false));
    // What the inventory says under one name holds under the other.
    let said = |name: &str| {
        let levels = [&options.host_vars, &options.group_vars, &options.all_vars];
        levels
            .iter()
            .find_map(|vars| vars.get(name))
            .map(Value::from_authored_json)
    };
    for name in ["host", "port", "user"] {
        let given =
            said(&format!("ansible_{name}")).or_else(|| said(&format!("ansible_ssh_{name}")));
        if let Some(value) = given {
            both(name, value);
        }
    }
    if let Some(user) = &options.route.user {
        both("user", Value::str(user));
    }
    if let Some(port) = options.route.port {
        both("port", Value::Int(i64::from(port)));
    }
}

/// Sets what the inventory says of its hosts. Variables of others are rendered now, among their own.
fn set_hosts(run: &Run<'_>) {
    let (options, vars) = (run.options, &run.vars);
    vars.is_localhost.set(match options.localhost {
        ImplicitLocalhost::Absent => options.every_play,
        ImplicitLocalhost::Beside => false,
        ImplicitLocalhost::This => true,
    });
    for name in groups(run).get("all").into_iter().flatten() {
        set_host(run, name);
    }
}

/// Sets what is known of a host: what the inventory says of it, and what the run has added.
pub(super) fn set_host(run: &Run<'_>, name: &str) {
    let (options, vars) = (run.options, &run.vars);
    let (other, added) = (options.others.get(name), run.added.borrow());
    let added = added.get(name);
    if name == options.inventory_hostname {
        return vars.hosts.set(name, Value::None);
    }
    if other.is_none() && added.is_none() {
        return;
    }
    let own = vars.magic.copy();
    own.set("inventory_hostname", Value::str(name));
    let short = name.split('.').next().unwrap_or_default();
    own.set("inventory_hostname_short", Value::str(short));
    let mut names = other.map_or_else(Vec::new, |other| other.group_names.clone());
    names.extend(added.into_iter().flat_map(|added| added.groups.clone()));
    names.sort();
    names.dedup();
    if names.is_empty() {
        names.push("ungrouped".to_owned());
    }
    own.set("group_names", texts(&names));
    for (name, value) in vars.extra.entries() {
        own.insert(name, value);
    }
    // Of those of the inventory, the controller has said what is beside the playbook.
    if other.is_none() {
        let folder = run.entry_dir.borrow().join("group_vars");
        for group in std::iter::once("all").chain(names.iter().map(String::as_str)) {
            for (name, value) in read_beside(run, &folder.join(group)).entries() {
                if !vars.extra.has_key(&name) {
                    own.insert(name, value);
                }
            }
        }
    }
    let said = other.into_iter().flat_map(|other| &other.vars);
    for (name, value) in said.chain(added.into_iter().flat_map(|added| &added.vars)) {
        if !vars.extra.has(name) {
            own.set(name, Value::from_authored_json(value));
        }
    }
    vars.hosts.set(name, Value::Dict(rendered(&own)));
}

/// Returns variables rendered among themselves; what fails says so where it is used.
fn rendered(own: &Dict) -> Dict {
    let templar = Templar::new(own, &Nowhere);
    let all = Dict::new();
    for (name, value) in own.entries() {
        let value = templar
            .render(&value)
            .unwrap_or_else(|e| Value::missing(e.message));
        all.insert(name, value);
    }
    let unknown = "facts of other hosts are not known: every host runs by itself";
    all.set("ansible_facts", Value::missing(unknown.to_owned()));
    all
}

/// Returns the inventory's groups; without an inventory, those that every host is in. The run's own are among them.
pub(super) fn groups(run: &Run<'_>) -> Groups {
    let options = run.options;
    let mut groups = options.groups.clone();
    let host = || vec![options.inventory_hostname.clone()];
    groups.entry("all".to_owned()).or_insert_with(host);
    let is_alone = options.group_names.is_empty();
    groups
        .entry("ungrouped".to_owned())
        .or_insert_with(|| if is_alone { host() } else { Vec::new() });
    let grouping = run.grouping.borrow();
    grouping.fill(&mut groups, &options.inventory_hostname);
    run.added.borrow().fill(&mut groups);
    groups
}

fn version() -> Value {
    let [major, minor, revision] = VERSION;
    let full = format!("{major}.{minor}.{revision}");
    Value::dict([
        ("string", Value::str(&full)),
        ("full", Value::str(&full)),
        ("major", Value::Int(major)),
        ("minor", Value::Int(minor)),
        ("revision", Value::Int(revision)),
    ])
}

fn texts(items: &[String]) -> Value {
    Value::list(items.iter().map(Value::str).collect())
}

fn add(level: &Dict, vars: &Map<String, Json>) {
    for (name, value) in vars {
        level.set(name, Value::from_authored_json(value));
    }
}

/// Begins an entry: its folder, and its variables over all but extra vars.
pub(super) fn enter(run: &Run<'_>, folder: &Path, vars: &Map<String, Json>) {
    run.playbook_dir.replace(folder.to_path_buf());
    run.vars
        .magic
        .set("playbook_dir", Value::str(folder.to_string_lossy()));
    run.vars.entry.clear();
    add(&run.vars.entry, vars);
    run.entry_dir.replace(folder.to_path_buf());
    set_beside(run, folder);
}

/// Reads the `group_vars` and `host_vars` in the playbook's folder, weakest first.
fn set_beside(run: &Run<'_>, folder: &Path) {
    let host = &run.options.inventory_hostname;
    run.vars.beside.clear();
    let names = group_names(run);
    let read = |kind: &str, name: &str| {
        for (name, value) in read_beside(run, &folder.join(kind).join(name)).entries() {
            put_beside(run, name, value);
        }
    };
    let put = |vars: &Map<String, Json>| {
        for (name, value) in vars {
            put_beside(run, Key::authors(name), Value::from_authored_json(value));
        }
    };
    read("group_vars", "all");
    // What is said of a group is nearer, wherever, and of the host itself nearer still.
    put(&run.options.group_vars);
    names.iter().for_each(|name| read("group_vars", name));
    put(&run.options.host_vars);
    read("host_vars", host);
}

/// Moves to the folder of the playbook a play stands in: an imported one may be elsewhere.
pub(super) fn stand_in(run: &Run<'_>, playbook: &Path) {
    let folder = super::search::folder_of(playbook);
    run.vars
        .magic
        .set("playbook_dir", Value::str(folder.to_string_lossy()));
    run.playbook_dir.replace(folder);
}

/// Reads `group_vars/all`, with any extension, or every file of a folder of that name.
fn read_beside(run: &Run<'_>, path: &Path) -> Dict {
    let files = run.project.files;
    let mut found = Vec::new();
    for extension in ["", ".yml", ".yaml", ".json"] {
        let file = Path::new(&format!("{}{extension}", path.display())).to_path_buf();
        if files.is_file(&file) {
            found.push(file);
        }
    }
    if files.is_dir(path) {
        let names = files.list(path).unwrap_or_default();
        let shown = names.iter().filter(|name| !name.starts_with('.'));
        found.extend(shown.map(|name| path.join(name)));
    }
    let all = Dict::new();
    for file in found {
        match super::convert::variables(run, &file) {
            Ok(vars) => super::vars::fill(&all, &vars),
            Err(stop) => run.warn(stop.said, None),
        }
    }
    all
}

/// Sets a variable over a weaker one of the same name, or adds it to that.
fn put_beside(run: &Run<'_>, name: Key, value: Value) {
    let beside = &run.vars.beside;
    let weaker = beside.get_key(&name).filter(|_| run.vars.merges);
    let value = match weaker {
        Some(weaker) => merged_values(&weaker, value),
        None => value,
    };
    beside.insert(name, value);
}

/// Sets what a play is called.
pub(super) fn begin_play(run: &Run<'_>, name: &str) {
    let magic = &run.vars.magic;
    magic.set("ansible_play_name", Value::str(name));
    let own = vec![run.options.inventory_hostname.clone()];
    set_play_hosts(run, &PlayHosts::new(true, own));
}

/// Sets for whom a play runs.
pub(super) fn set_play_hosts(run: &Run<'_>, hosts: &PlayHosts) {
    let magic = &run.vars.magic;
    magic.set("ansible_play_hosts_all", texts(&hosts.all));
    magic.set("ansible_play_batch", texts(&hosts.batch));
    for name in ["ansible_play_hosts", "play_hosts"] {
        magic.set(name, texts(&hosts.living));
    }
}

/// Sets the names of a play's roles.
pub(super) fn role_names(run: &Run<'_>, roles: &[Rc<Role>]) {
    let magic = &run.vars.magic;
    let direct: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
    let mut dependent: Vec<String> = Vec::new();
    for role in roles.iter().flat_map(|role| role.dependencies.iter()) {
        for role in role.with_dependencies() {
            if !dependent.contains(&role.name) {
                dependent.push(role.name.clone());
            }
        }
    }
    let mut all = dependent.clone();
    for name in &direct {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    magic.set("ansible_play_role_names", texts(&direct));
    magic.set("role_names", texts(&direct));
    magic.set("ansible_dependent_role_names", texts(&dependent));
    magic.set("ansible_role_names", texts(&all));
}

/// Takes in how the hosts of a play go together. Refuses a strategy that a template names and that there is not.
pub(super) fn take_strategy(
    run: &Run<'_>,
    play: &Play,
    enclosing: &Rc<Enclosing>,
) -> Result<(), Stop> {
    let usual = run.options.settings.strategy.as_deref();
    let usual = usual.unwrap_or("linear");
    let rendered = match &play.strategy {
        Some(strategy) => run
            .render(strategy, &run.vars.scope_of_play(), enclosing)
            .map_err(|e| Stop::new(e.to_string()))?,
        None => Value::None,
    };
    let name = match rendered {
        Value::None | Value::Omit => usual.to_owned(),
        strategy => strategy.to_string(),
    };
    run.in_step.set(bare(&name) == "linear");
    match STRATEGIES.contains(&bare(&name)) {
        true => Ok(()),
        false => Err(Stop::new(format!(
            "{}:{}: `strategy: {name}` is not supported",
            play.place.file, play.place.line
        ))),
    }
}
