//! Which hosts are meant, what applies to each, and where each is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostics;
use amibake_playbook::files::Files as _;
use amibake_playbook::hosts::{self, Groups};
use amibake_playbook::reads::{self, Given};
use amibake_playbook::syntax::{self, Playbook};
use amibake_playbook::value::tagged;
use amibake_protocol::job::{ControllerInfo, HostVars, Options, Route};
use serde_json::{Value as Json, json};

use super::{CommandContext, TargetArgs, folder_of};
use crate::exit::Failure;
use crate::inventory::{Host, Inventory, Vars};
use crate::provision::{self, local_user};
use crate::ssh::{self, Destination, Overrides, PublicLine, SshError, parse_address};
use crate::vault::Opened;

/// A host that is to be run on.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Options with this host's variables in them.
    pub(super) options: Options,
    /// Where it is; none is this machine.
    pub(super) destination: Option<Destination>,
}

impl Chosen {
    pub(super) fn name(&self) -> &str {
        &self.options.inventory_hostname
    }

    /// Returns a variable of this host, as text.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let options = &self.options;
        let nearest = [
            &options.extra_vars,
            &options.host_vars,
            &options.group_vars,
            &options.all_vars,
        ];
        nearest.iter().find_map(|vars| text(vars, name))
    }
}

/// Reads the inventory, or makes one of `--host` or `--local`.
pub(super) fn inventory(
    target: &TargetArgs,
    playbook: &Path,
    files: &Opened,
) -> Result<Inventory, Failure> {
    let mut inventory = match &target.inventory {
        Some(path) => Inventory::read(path, files).map_err(Failure::usage)?,
        None if target.local => Inventory::of(["localhost".to_owned()], files),
        None => Inventory::of(target.host.iter().map(|host| parse_address(host).1), files),
    };
    if let Some(path) = &target.inventory {
        inventory
            .add_vars_of(folder_of(path))
            .map_err(Failure::usage)?;
    }
    inventory
        .add_vars_of(folder_of(playbook))
        .map_err(Failure::usage)?;
    Ok(inventory)
}

/// Returns whether `--limit` is given and does not name the controller.
pub(super) fn leaves_out_controller(target: &TargetArgs, groups: &Groups) -> Result<bool, Failure> {
    let Some(limit) = limit(target)? else {
        return Ok(false);
    };
    let matched = hosts::matching(groups, &limit).map_err(Failure::usage)?;
    Ok(!matched.controller)
}

/// Returns the patterns of `--limit`. Those of a file, `@FILE`, stand in its lines.
fn limit(target: &TargetArgs) -> Result<Option<Vec<String>>, Failure> {
    let Some(text) = &target.limit else {
        return Ok(None);
    };
    let mut patterns = Vec::new();
    for pattern in text.split(',') {
        let Some(file) = pattern.trim().strip_prefix('@') else {
            patterns.push(pattern.to_owned());
            continue;
        };
        let lines = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("--limit @{file}: {error}")))?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        patterns.extend(lines.map(str::to_owned));
    }
    // A regular expression may have commas of its own.
    let whole = !text.contains('@');
    Ok(Some(if whole { vec![text.clone()] } else { patterns }))
}

/// Refuses a play whose hosts cannot be served, and warns of patterns that name nobody.
pub(super) fn check_plays(
    target: &TargetArgs,
    playbook: &Playbook,
    shared: &Options,
    cx: &CommandContext,
) -> Result<(), Failure> {
    let wrong = if target.inventory.is_some() {
        let (wrong, in_vain) = playbook.check_hosts(&shared.groups, shared.limited);
        for pattern in in_vain {
            cx.events.warn(pattern.to_string());
        }
        wrong
    } else if target.local {
        Vec::new()
    } else {
        playbook.localhost_beside_others()
    };
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(Diagnostics(wrong))),
    }
}

/// Resolves every host that is not left out by `--limit`. Nothing is connected to.
pub(super) fn choose(
    target: &TargetArgs,
    inventory: &Inventory,
    shared: &Options,
    cx: &CommandContext,
) -> Result<Vec<Chosen>, Failure> {
    let patterns = limit(target)?.unwrap_or_else(|| vec!["all".to_owned()]);
    let matched = hosts::matching(&shared.groups, &patterns).map_err(Failure::usage)?;
    for name in matched.in_vain {
        cx.events
            .warn(format!("no host matches the pattern `{name}`"));
    }
    if matched.hosts.is_empty() {
        let patterns = patterns.join(",");
        return Err(Failure::usage(format!("no host matches `{patterns}`")));
    }
    let names = matched.hosts;
    let (mut chosen, mut warnings) = (Vec::new(), BTreeSet::new());
    for name in names {
        let host = with_source(inventory.host(&name), shared);
        chosen.push(choose_host(target, &host, shared, &mut warnings)?);
    }
    // What a file says about fifty hosts is said once.
    for warning in warnings {
        cx.events.warn(warning);
    }
    Ok(chosen)
}

fn choose_host(
    target: &TargetArgs,
    host: &Host,
    shared: &Options,
    warnings: &mut BTreeSet<String>,
) -> Result<Chosen, Failure> {
    let mut vars = host.all_vars.clone();
    vars.extend(host.group_vars.clone());
    vars.extend(host.host_vars.clone());
    vars.extend(shared.extra_vars.clone());
    let local = target.local || text(&vars, "ansible_connection").as_deref() == Some("local");
    let destination = match local {
        true => None,
        false => Some(destination(target, host, &vars, warnings)?),
    };
    let options = Options {
        login_user: destination
            .as_ref()
            .map_or_else(local_user, |to| to.user.clone()),
        inventory_hostname: host.name.clone(),
        group_names: host.group_names.clone(),
        all_vars: host.all_vars.clone(),
        group_vars: host.group_vars.clone(),
        host_vars: host.host_vars.clone(),
        local,
        route: route(target, &host.name),
        others: others(shared, &host.name),
        ..shared.clone()
    };
    Ok(Chosen {
        options,
        destination,
    })
}

/// Adds to what is said of a host where it is said.
fn with_source(mut host: Host, shared: &Options) -> Host {
    let file = shared.controller.inventory.first();
    let folder = file.map(Path::new).filter(|file| file.is_absolute());
    let folder = folder.and_then(Path::parent);
    for (name, value) in [
        ("inventory_file", json!(file)),
        ("inventory_dir", json!(folder)),
    ] {
        host.host_vars.entry(name).or_insert(value);
    }
    host
}

/// Returns what the command line says of the way to a host.
fn route(target: &TargetArgs, name: &str) -> Route {
    let typed = target.host.iter().map(|text| parse_address(text));
    let typed = typed.into_iter().find(|(_, host, _)| host == name);
    let (user, _, port) = typed.unwrap_or((None, String::new(), None));
    Route {
        user: user.or_else(|| target.user.clone()),
        port,
    }
}

/// Returns the hosts that are known besides one.
fn others(shared: &Options, name: &str) -> BTreeMap<String, HostVars> {
    let mut others = shared.others.clone();
    others.remove(name);
    others
}

/// Returns what the inventory says of every host, if the playbook or the inventory names `hostvars`: what
/// nobody reads stays here, as it may hold secrets of other hosts.
pub(super) fn asked_for(
    inventory: &Inventory,
    playbook: &Playbook,
    shared: &Options,
    files: &Opened,
    options: syntax::Options,
) -> BTreeMap<String, HostVars> {
    let names = shared.groups.get("all").cloned().unwrap_or_default();
    if names.len() < 2 {
        return BTreeMap::new(); // nobody else to tell of
    }
    let hosts = names
        .iter()
        .map(|name| with_source(inventory.host(name), shared));
    let hosts: Vec<Host> = hosts.collect();
    let said = |vars: &Vars| Json::Object(vars.clone()).to_string().contains(HOSTVARS);
    let of_host =
        |host: &Host| said(&host.all_vars) || said(&host.group_vars) || said(&host.host_vars);
    let of_hosts = hosts
        .iter()
        .flat_map(|host| [&host.all_vars, &host.group_vars, &host.host_vars]);
    let given = Given {
        vars: of_hosts.chain([&shared.extra_vars]).collect(),
        options,
        ..provision::here()
    };
    let read = reads::needed(files, playbook, &given).paths;
    let mentions = |path: &PathBuf| {
        let text = files.read(path).unwrap_or_default();
        text.windows(HOSTVARS.len())
            .any(|found| found == HOSTVARS.as_bytes())
    };
    if !said(&shared.extra_vars) && !hosts.iter().any(of_host) && !read.iter().any(mentions) {
        return BTreeMap::new();
    }
    let known = |host: Host| {
        let mut vars = host.all_vars;
        vars.extend(host.group_vars);
        vars.extend(host.host_vars);
        let group_names = host.group_names;
        (host.name, HostVars { group_names, vars })
    };
    hosts.into_iter().map(known).collect()
}

const HOSTVARS: &str = "hostvars";

/// Returns what tasks are told of this machine.
pub(super) fn controller(target: &TargetArgs) -> ControllerInfo {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let inventory = match &target.inventory {
        Some(path) => absolute(path).to_string_lossy().into_owned(),
        None if target.local => "localhost,".to_owned(),
        None => {
            let names = target.host.iter().map(|host| parse_address(host).1);
            names.map(|name| name + ",").collect()
        }
    };
    ControllerInfo {
        inventory: vec![inventory],
        limit: target.limit.clone(),
        ..provision::controller()
    }
}

fn destination(
    target: &TargetArgs,
    host: &Host,
    vars: &Vars,
    warnings: &mut BTreeSet<String>,
) -> Result<Destination, Failure> {
    let typed = target.host.iter().map(|text| parse_address(text));
    let (user, _, port) = typed
        .into_iter()
        .find(|(_, name, _)| *name == host.name)
        .unwrap_or((None, String::new(), None));
    let key_file = text(vars, "ansible_ssh_private_key_file").map(PathBuf::from);
    let overrides = Overrides {
        user: user
            .or_else(|| text(vars, "ansible_user"))
            .or_else(|| target.user.clone()),
        port: port.or_else(|| text(vars, "ansible_port").and_then(|port| port.parse().ok())),
        address: text(vars, "ansible_host"),
        identities: target.identity.iter().cloned().chain(key_file).collect(),
        host_keys: host_keys(target)?,
        known_hosts: target.known_hosts.clone(),
        accept_new: target.accept_new_host_key,
        may_prompt: std::io::IsTerminal::is_terminal(&std::io::stdin()),
    };
    let (destination, noticed) = ssh::destination(&host.name, &overrides).map_err(refused)?;
    warnings.extend(noticed);
    Ok(destination)
}

fn host_keys(target: &TargetArgs) -> Result<Vec<PublicLine>, Failure> {
    let lines = target.host_key.iter();
    let keys: Result<_, _> = lines.map(|line| line.parse()).collect();
    keys.map_err(|error| refused(SshError::Key(error)))
}

fn refused(error: SshError) -> Failure {
    let hint = error.hint();
    let mut failure = Failure::usage(error);
    failure.hint = hint;
    failure
}

fn text(vars: &Vars, name: &str) -> Option<String> {
    let value = vars.get(name)?;
    if let Some(text) = tagged::text(value) {
        return Some(text.to_owned());
    }
    match value {
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: crate::cli::apply::Args,
    }

    fn typed(words: &[&str]) -> TargetArgs {
        let words = ["apply", "site.yml"].iter().chain(words);
        Typed::try_parse_from(words).unwrap().args.target
    }

    #[test]
    fn a_limit_may_stand_in_a_file_with_one_pattern_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("failed.retry");
        std::fs::write(&file, "web1\n\n web2 \n").unwrap();
        let at = format!("@{}", file.display());
        let of = |text: &str| limit(&typed(&["--host", "web1", "--limit", text])).unwrap();
        assert_eq!(of(&at), Some(vec!["web1".to_owned(), "web2".to_owned()]));
        let mixed = of(&format!("db,{at}")).unwrap();
        assert_eq!(mixed, ["db", "web1", "web2"]);
        assert_eq!(of("~w(a,b)"), Some(vec!["~w(a,b)".to_owned()]));
        let absent = limit(&typed(&["--host", "web1", "--limit", "@/nowhere"])).unwrap_err();
        assert!(absent.error.to_string().contains("--limit @/nowhere"));
    }

    #[test]
    fn other_hosts_are_told_only_to_who_asks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let hosts = at("hosts", "[web]\na secret=1 url=\"{{ x }}\"\nb\n");
        let target = typed(&["--inventory", &hosts.to_string_lossy()]);
        let files = Opened::default();
        let inventory = inventory(&target, folder.path(), &files).unwrap();
        let shared = Options {
            groups: inventory.groups(),
            controller: controller(&target),
            ..Options::default()
        };
        let asked = |tasks: &str| {
            let path = at("site.yml", &format!("- hosts: all\n  tasks: [{tasks}]\n"));
            let playbook = syntax::parse(&files, &path, &syntax::Options::default()).unwrap();
            let options = syntax::Options::default();
            asked_for(&inventory, &playbook, &shared, &files, options)
        };
        assert_eq!(asked("debug: {msg: a}"), BTreeMap::new());
        let known = asked("debug: {msg: '{{ hostvars.a.secret }}'}");
        assert_eq!(known["a"].group_names, ["web"]);
        assert_eq!(known["a"].vars["secret"], json!(1));
        assert_eq!(known["b"].vars["inventory_file"], json!(hosts));
        assert_eq!(known["b"].vars["inventory_dir"], json!(folder.path()));
    }
}
