//! Which hosts are meant, what applies to each, and where each is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostics;
use amibake_playbook::hosts::{self, Groups};
use amibake_playbook::syntax::Playbook;
use amibake_playbook::value::tagged;
use amibake_protocol::job::Options;
use serde_json::Value as Json;

use super::{CommandContext, TargetArgs, folder_of};
use crate::exit::Failure;
use crate::inventory::{Host, Inventory, Vars};
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
    let Some(limit) = &target.limit else {
        return Ok(false);
    };
    let matched = hosts::matching(groups, &[limit]).map_err(Failure::usage)?;
    Ok(!matched.controller)
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
    let pattern = target.limit.as_deref().unwrap_or("all");
    let matched = hosts::matching(&shared.groups, &[pattern]).map_err(Failure::usage)?;
    for name in matched.in_vain {
        cx.events
            .warn(format!("no host matches the pattern `{name}`"));
    }
    if matched.hosts.is_empty() {
        return Err(Failure::usage(format!("no host matches `{pattern}`")));
    }
    let names = matched.hosts;
    let (mut chosen, mut warnings) = (Vec::new(), BTreeSet::new());
    for name in names {
        let host = inventory.host(&name);
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
        ..shared.clone()
    };
    Ok(Chosen {
        options,
        destination,
    })
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

fn local_user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".into())
}
