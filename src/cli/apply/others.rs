//! What a host is told of the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use amibake_playbook::files::Files as _;
use amibake_playbook::reads::{self, Given};
use amibake_playbook::syntax::{self, Playbook};
use amibake_protocol::job::{HostVars, Options};
use serde_json::Value as Json;

use super::hosts::{Chosen, with_source};
use crate::inventory::{Host, Inventory, Vars};
use crate::provision;
use crate::vault::Opened;

/// Returns what the inventory says of every host, if the playbook or the inventory names `hostvars`: what
/// nobody reads stays here, as it may hold secrets of other hosts.
pub(super) fn asked_for(
    inventory: &Inventory,
    playbook: &Playbook,
    shared: &Options,
    files: &Opened,
    options: syntax::Options,
    chosen: &[Chosen],
) -> BTreeMap<String, HostVars> {
    let names = shared.groups.get("all").cloned().unwrap_or_default();
    let is_alone = |name: &String| matches!(chosen, [host] if host.name() == name);
    if names.iter().all(is_alone) {
        return BTreeMap::new(); // nobody else to tell of
    }
    let hosts = names.iter().map(|name| with_source(inventory, name));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::hosts::{controller, inventory, tests::typed};
    use super::*;
    use crate::event;

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
        let inventory =
            inventory(&target, folder.path(), &files, false, &event::channel().0).unwrap();
        let shared = Options {
            groups: inventory.groups(),
            controller: controller(&target),
            ..Options::default()
        };
        let asked = |tasks: &str| {
            let path = at("site.yml", &format!("- hosts: all\n  tasks: [{tasks}]\n"));
            let playbook = syntax::parse(&files, &path, &syntax::Options::default()).unwrap();
            let options = syntax::Options::default();
            asked_for(&inventory, &playbook, &shared, &files, options, &[])
        };
        assert_eq!(asked("debug: {msg: a}"), BTreeMap::new());
        let known = asked("debug: {msg: '{{ hostvars.a.secret }}'}");
        assert_eq!(known["a"].group_names, ["web"]);
        assert_eq!(known["a"].vars["secret"], json!(1));
        assert_eq!(known["b"].vars["inventory_file"], json!(hosts));
        assert_eq!(known["b"].vars["inventory_dir"], json!(folder.path()));
    }
}
