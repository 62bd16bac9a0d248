//! INI inventories: hosts with variables on their lines, `[group]`, `[group:vars]`,
//! `[group:children]`.

use std::path::Path;

use amibake_playbook::shell::{Comments, split};
use serde_json::Value as Json;

use super::literal::literal;
use super::{Inventory, InventoryError, Vars, add, expand};

enum Section {
    Hosts(String),
    Vars(String),
    Children(String),
}

pub(super) fn read(
    inventory: &mut Inventory,
    path: &Path,
    text: &str,
) -> Result<(), InventoryError> {
    let mut section = Section::Hosts("ungrouped".into());
    for (text, line) in text.lines().zip(1..) {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let wrong = |message: &str| InventoryError::Line {
            path: path.to_owned(),
            line,
            message: message.to_owned(),
        };
        if let Some(heading) = text.strip_prefix('[')
            && let Some((name, _comment)) = heading.split_once(']')
            && !heading.starts_with(':')
        {
            section = heading_of(name)
                .ok_or_else(|| wrong("a section is [group], [group:vars] or [group:children]"))?;
            let (Section::Hosts(group) | Section::Vars(group) | Section::Children(group)) =
                &section;
            inventory.groups.entry(group.clone()).or_default();
            continue;
        }
        entry(inventory, &section, text).map_err(|message| wrong(&message))?;
    }
    Ok(())
}

fn heading_of(name: &str) -> Option<Section> {
    match name.split_once(':') {
        None => Some(Section::Hosts(name.to_owned())),
        Some((group, "vars")) => Some(Section::Vars(group.to_owned())),
        Some((group, "children")) => Some(Section::Children(group.to_owned())),
        Some(_) => None,
    }
}

fn entry(inventory: &mut Inventory, section: &Section, text: &str) -> Result<(), String> {
    match section {
        Section::Hosts(group) => host_line(inventory, group, text),
        Section::Vars(group) => {
            let (name, value) = text
                .split_once('=')
                .ok_or("a variable is written name=value")?;
            let vars = &mut inventory.groups.entry(group.clone()).or_default().vars;
            vars.insert(name.trim().to_owned(), literal(value.trim()));
            Ok(())
        }
        Section::Children(group) => {
            let child = text.split('#').next().unwrap_or(text).trim();
            inventory.groups.entry(child.to_owned()).or_default();
            let children = &mut inventory.groups.entry(group.clone()).or_default().children;
            children.push(child.to_owned());
            Ok(())
        }
    }
}

fn host_line(inventory: &mut Inventory, group: &str, text: &str) -> Result<(), String> {
    let words = split(text, Comments::Skipped)?;
    let (name, assignments) = words.split_first().ok_or("a host was expected")?;
    let mut vars = Vars::new();
    for word in assignments {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not name=value"))?;
        vars.insert(key.to_owned(), literal(value));
    }
    for host in add_hosts(inventory, group, name)? {
        let known = inventory.host_vars.entry(host).or_default();
        add(known, vars.clone(), inventory.merges);
    }
    Ok(())
}

/// Adds the hosts of `name`, which may have a range and a port, and returns them.
pub(super) fn add_hosts(
    inventory: &mut Inventory,
    group: &str,
    name: &str,
) -> Result<Vec<String>, String> {
    let (name, port) = match name.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && !port.contains(']') => {
            (host, port.parse::<u16>().ok())
        }
        _ => (name, None),
    };
    let hosts = expand(name).ok_or("a range is written [first:last]")?;
    for host in &hosts {
        inventory.add_to_group(group, host);
        if let Some(port) = port {
            let known = inventory.host_vars.entry(host.clone()).or_default();
            known.insert("ansible_port".to_owned(), Json::from(port));
        }
    }
    Ok(hosts)
}
