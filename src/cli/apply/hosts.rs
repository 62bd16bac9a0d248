//! Which hosts are meant, what applies to each, and where each is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use amibake_playbook::diagnostic::Diagnostics;
use amibake_playbook::hosts::{self, Groups, LOCALHOST};
use amibake_playbook::syntax::Playbook;
use amibake_protocol::job::{ControllerInfo, HostVars, ImplicitLocalhost, Options};
use serde_json::json;

use super::connection::{self, Said};
use super::play_hosts::PlayHosts;
use super::target::{TargetArgs, folder_of};
use crate::event::Events;
use crate::exit::Failure;
use crate::inventory::{Host, Inventory, sources};
use crate::provision::{self, local_user};
use crate::secret::Secret;
use crate::ssh::{Destination, parse_address};
use crate::vault::Opened;

/// A host that is to be run on.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Options with this host's variables in them.
    pub(super) options: Options,
    /// Where it is; none is this machine.
    pub(super) destination: Option<Destination>,
    /// The first play that is for it, by its number in the playbook.
    pub(super) first_play: usize,
    /// Whether its variables say that tasks become another user.
    pub(super) becomes: bool,
    /// The password of `sudo` that its variables have.
    pub(super) password: Option<Secret<String>>,
    /// Whether the agent is started as root.
    pub(super) needs_root: bool,
    /// Whether it is touched for certain: otherwise it may be needed only to print and to check.
    pub(super) is_touched: bool,
}

impl Chosen {
    pub(super) fn name(&self) -> &str {
        &self.options.inventory_hostname
    }
}

impl Chosen {
    /// Returns what is run for a host that cannot be reached, here: its tasks say so themselves.
    pub(super) fn unreachable(&self, why: String) -> Self {
        let mut host = self.clone();
        host.leave_untouched();
        host.options.unreachable = Some(why);
        host
    }

    /// Takes the way to the host away: its plays only set facts, check and print, which is done here.
    pub(super) fn leave_untouched(&mut self) {
        if self.destination.take().is_some() {
            self.options.untouched = true;
            self.options.login_user = local_user();
            self.needs_root = false;
        }
    }
}

/// Reads the inventory, or makes one of `--host` or `--local`.
pub(super) fn inventory(
    target: &TargetArgs,
    playbook: &Path,
    files: &Opened,
    merges: bool,
    events: &Events,
) -> Result<Inventory, Failure> {
    let mut inventory = if !target.inventory.is_empty() {
        // As Ansible: the others, and this machine, may be all that is wanted.
        let is_there = |source: &&String| {
            let there = sources::is_there(source);
            if !there {
                events.warn(format!(
                    "the inventory {source} is not there: it has no hosts"
                ));
            }
            there
        };
        let found: Vec<String> = target.inventory.iter().filter(is_there).cloned().collect();
        Inventory::read(&found, files, merges).map_err(Failure::usage)?
    } else if target.local {
        Inventory::of([LOCALHOST.to_owned()], files)
    } else {
        Inventory::of(target.host.iter().map(|host| parse_address(host).1), files)
    };
    if target.local || !inventory.names(LOCALHOST) {
        inventory.add_controller();
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
        if Path::new(file).is_dir() {
            let wrong = format!("--limit @{file}: it must be a file, not a directory");
            return Err(Failure::usage(wrong));
        }
        let lines = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("--limit @{file}: {error}")))?;
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        patterns.extend(lines.map(str::to_owned));
    }
    // A regular expression may have commas of its own.
    let whole = !text.contains('@');
    Ok(Some(if whole { vec![text.clone()] } else { patterns }))
}

/// Returns the hosts that `--limit` does not leave out.
pub(super) fn limited(target: &TargetArgs, groups: &Groups) -> Result<Vec<String>, Failure> {
    let patterns = limit(target)?.unwrap_or_else(|| vec!["all".to_owned()]);
    let matched = hosts::matching(groups, &patterns).map_err(Failure::usage)?;
    Ok(matched.hosts)
}

/// Refuses patterns that are none, and warns of those that name nobody.
pub(super) fn check_plays(
    target: &TargetArgs,
    playbook: &Playbook,
    shared: &Options,
    events: &Events,
) -> Result<(), Failure> {
    if target.inventory.is_empty() {
        return Ok(());
    }
    let (wrong, in_vain) = playbook.check_hosts(&shared.groups);
    for pattern in in_vain {
        events.warn(pattern.to_string());
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(Diagnostics(wrong))),
    }
}

/// Resolves every host that a play is for and `--limit` does not leave out. Nothing is connected to.
pub(super) fn choose(
    target: &TargetArgs,
    inventory: &Inventory,
    shared: &Options,
    plays: &PlayHosts,
    events: &Events,
) -> Result<Vec<Chosen>, Failure> {
    let patterns = limit(target)?.unwrap_or_else(|| vec!["all".to_owned()]);
    let matched = hosts::matching(&shared.groups, &patterns).map_err(Failure::usage)?;
    for name in matched.in_vain {
        events.warn(format!("no host matches the pattern `{name}`"));
    }
    let controller = plays.first_for_controller();
    let controller = controller.filter(|_| !shared.limited);
    if matched.hosts.is_empty() && controller.is_none() {
        let patterns = patterns.join(",");
        return Err(Failure::usage(format!("no host matches `{patterns}`")));
    }
    let mut shared = shared.clone();
    shared.local_hosts = local_hosts(target, inventory, &shared)?;
    if controller.is_some() {
        shared.localhost = ImplicitLocalhost::Beside;
    }
    let (mut chosen, mut warnings) = (Vec::new(), BTreeSet::new());
    for name in matched.hosts {
        // Hosts that nothing is to be done on are not even connected to.
        if let Some(first_play) = plays.first_for(&name) {
            let host = with_source(inventory, &name);
            chosen.push(Chosen {
                first_play,
                ..choose_host(target, &host, target.local, &shared, &mut warnings)?
            });
        }
    }
    if let Some(first_play) = controller {
        let host = inventory.host(LOCALHOST);
        chosen.push(Chosen {
            first_play,
            ..implicit_localhost(&host, &shared, &mut warnings)
        });
    }
    if chosen.len() > 1 {
        let names: Vec<String> = chosen.iter().map(|host| host.name().to_owned()).collect();
        for host in &mut chosen {
            host.options.together.clone_from(&names);
        }
    }
    // What a file says about fifty hosts is said once.
    for warning in warnings {
        events.warn(warning);
    }
    Ok(chosen)
}

/// Returns the names of the hosts that are this machine.
pub(super) fn local_hosts(
    target: &TargetArgs,
    inventory: &Inventory,
    shared: &Options,
) -> Result<Vec<String>, Failure> {
    let known = shared.groups.get("all").map_or(&[][..], Vec::as_slice);
    let implicit = hosts::CONTROLLER.iter().map(|name| (*name).to_owned());
    let implicit = implicit.filter(|name| target.local || !known.contains(name));
    let mut local: Vec<String> = implicit.collect();
    for name in known {
        if !local.contains(name)
            // What is wrong with one that is wanted is told when it is chosen.
            && Said::of(&inventory.host(name), &shared.extra_vars)
                .is_local()
                .unwrap_or(false)
        {
            local.push(name.clone());
        }
    }
    Ok(local)
}

/// Returns this machine, as Ansible adds it where no inventory names it.
fn implicit_localhost(host: &Host, shared: &Options, warnings: &mut BTreeSet<String>) -> Chosen {
    let privilege = Said::of(host, &shared.extra_vars).privilege(warnings);
    Chosen {
        becomes: privilege.0,
        password: privilege.1,
        needs_root: false,
        is_touched: true,
        options: Options {
            login_user: local_user(),
            inventory_hostname: host.name.clone(),
            group_names: Vec::new(),
            all_vars: host.all_vars.clone(),
            host_vars: host.host_vars.clone(),
            local: true,
            localhost: ImplicitLocalhost::This,
            ..shared.clone()
        },
        destination: None,
        first_play: 0,
    }
}

/// Resolves how a host is reached; `here` if it is this machine, whatever is said of it.
pub(super) fn choose_host(
    target: &TargetArgs,
    host: &Host,
    here: bool,
    shared: &Options,
    warnings: &mut BTreeSet<String>,
) -> Result<Chosen, Failure> {
    let said = Said::of(host, &shared.extra_vars);
    let local = here || said.is_local()?;
    let destination = match local {
        true => None,
        false => Some(connection::destination(target, host, &said, warnings)?),
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
        route: connection::route(target, &host.name),
        ..shared.clone()
    };
    let (becomes, password) = said.privilege(warnings);
    Ok(Chosen {
        options,
        destination,
        first_play: 0,
        becomes,
        password,
        needs_root: false,
        is_touched: true,
    })
}

/// Returns a host of the inventory, with what is said of where it is said.
pub(super) fn with_source(inventory: &Inventory, name: &str) -> Host {
    let mut host = inventory.host(name);
    let file = inventory.source_of(name);
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

/// Returns what a host is told of the others.
pub(super) fn others(known: &BTreeMap<String, HostVars>, name: &str) -> BTreeMap<String, HostVars> {
    let mut others = known.clone();
    others.remove(name);
    others
}

/// Returns what tasks are told of this machine.
pub(super) fn controller(target: &TargetArgs) -> ControllerInfo {
    let inventory = if !target.inventory.is_empty() {
        target
            .inventory
            .iter()
            .map(|source| sources::told(source))
            .collect()
    } else if target.local {
        vec!["localhost,".to_owned()]
    } else {
        let names = target.host.iter().map(|host| parse_address(host).1);
        vec![names.map(|name| name + ",").collect()]
    };
    ControllerInfo {
        inventory,
        limit: target.limit.clone(),
        ..provision::controller()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser as _;

    use amibake_playbook::syntax;

    use super::*;
    use crate::event;

    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: crate::cli::apply::Args,
    }

    pub(in crate::cli::apply) fn typed(words: &[&str]) -> TargetArgs {
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
    fn hosts_are_chosen_that_a_play_is_for_and_the_controller_if_one_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let text = "[web]\na ansible_connection=local\nb ansible_connection=local\n[db]\nc ansible_connection=local\n";
        std::fs::write(&path, text).unwrap();
        let target = typed(&["--inventory", &path.to_string_lossy()]);
        let files = Opened::default();
        let inventory =
            inventory(&target, folder.path(), &files, false, &event::channel().0).unwrap();
        let shared = Options {
            groups: inventory.groups(),
            ..Options::default()
        };
        let play = |hosts: &str| format!("- {{hosts: {hosts}, gather_facts: false}}\n");
        let chosen = |playbook: &str| {
            let site = folder.path().join("site.yml");
            std::fs::write(&site, playbook).unwrap();
            let plays = syntax::read_playbook(&files, &site, &syntax::Options::default());
            let plays = PlayHosts::of(&target, &plays.unwrap().it, &shared);
            let chosen = choose(&target, &inventory, &shared, &plays, &event::channel().0);
            let told = |host: Chosen| {
                let Options {
                    inventory_hostname,
                    localhost,
                    together,
                    ..
                } = host.options;
                format!(
                    "{inventory_hostname} {} {localhost:?} {}",
                    host.first_play,
                    together.len()
                )
            };
            chosen.unwrap().into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&play("db")), ["c 0 Absent 0"]);
        let both = chosen(&(play("localhost") + &play("b:db")));
        assert_eq!(both, ["b 1 Beside 3", "c 1 Beside 3", "localhost 0 This 3"]);
        assert_eq!(chosen(&play("nobody")), Vec::<String>::new());
    }
}
