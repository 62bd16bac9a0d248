//! YAML inventories and files of variables.

use std::path::Path;

use amibake_playbook::value::tagged;
use amibake_playbook::yaml::{self, Node};
use serde_json::Value as Json;

use super::{Inventory, InventoryError, Vars, add, expand};
use crate::vault::Opened;

pub(super) fn read(
    inventory: &mut Inventory,
    path: &Path,
    bytes: &[u8],
) -> Result<(), InventoryError> {
    let document = yaml::parse(path, bytes)?;
    if document.root.get("plugin").is_some() {
        return Err(InventoryError::Unsupported {
            what: format!("the inventory plugin in {}", path.display()),
        });
    }
    for (name, node) in document.root.expect_map("an inventory")? {
        group(inventory, name.expect_str("a group's name")?, node)?;
    }
    Ok(())
}

fn group(inventory: &mut Inventory, name: &str, node: &Node) -> Result<(), InventoryError> {
    inventory.groups.entry(name.to_owned()).or_default();
    if node.is_null() {
        return Ok(());
    }
    for (key, value) in node.expect_map("a group")? {
        match key.expect_str("a key of a group")? {
            "hosts" => hosts(inventory, name, value)?,
            "vars" => {
                let vars = object(value)?;
                let group = inventory.groups.entry(name.to_owned()).or_default();
                add(&mut group.vars, vars, inventory.merges);
            }
            "children" => children(inventory, name, value)?,
            other => {
                let message = format!("`{other}` is not a key of a group: hosts, vars, children");
                return Err(yaml::Diagnostic::new(&key.span, message).into());
            }
        }
    }
    Ok(())
}

fn hosts(inventory: &mut Inventory, group: &str, node: &Node) -> Result<(), InventoryError> {
    if node.is_null() {
        return Ok(());
    }
    for (name, vars) in node.expect_map("hosts")? {
        let pattern = name.expect_text("a host's name")?;
        let names = expand(&pattern).ok_or_else(|| {
            yaml::Diagnostic::new(&name.span, "a range is written [first:last]".to_owned())
        })?;
        let vars = object(vars)?;
        for host in names {
            inventory.add_to_group(group, &host);
            let known = inventory.host_vars.entry(host).or_default();
            add(known, vars.clone(), inventory.merges);
        }
    }
    Ok(())
}

fn children(inventory: &mut Inventory, parent: &str, node: &Node) -> Result<(), InventoryError> {
    if node.is_null() {
        return Ok(());
    }
    for (name, child) in node.expect_map("children")? {
        let name = name.expect_str("a group's name")?;
        group(inventory, name, child)?;
        let children = &mut inventory
            .groups
            .entry(parent.to_owned())
            .or_default()
            .children;
        children.push(name.to_owned());
    }
    Ok(())
}

/// Reads the variables of `name` in a `group_vars` or `host_vars` folder: a file, or a folder.
pub(super) fn vars_files(
    files: &Opened,
    folder: &Path,
    name: &str,
) -> Result<Vars, InventoryError> {
    let mut vars = Vars::new();
    if name.contains('/') || name.starts_with('.') {
        return Ok(vars);
    }
    let inner = folder.join(name);
    if inner.is_dir() {
        let mut paths: Vec<_> = std::fs::read_dir(&inner)
            .map_err(|source| InventoryError::Read {
                path: inner.clone(),
                source,
            })?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_file() && has_vars(path))
            .collect();
        paths.sort();
        for path in paths {
            vars.extend(vars_file(&path, files)?);
        }
        return Ok(vars);
    }
    for extension in ["", ".yml", ".yaml", ".json"] {
        let path = folder.join(format!("{name}{extension}"));
        if path.is_file() {
            vars.extend(vars_file(&path, files)?);
            break;
        }
    }
    Ok(vars)
}

fn has_vars(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(".");
    let extension = path.extension().and_then(|extension| extension.to_str());
    !name.starts_with('.')
        && !name.ends_with('~')
        && matches!(extension, None | Some("yml" | "yaml" | "json"))
}

/// Reads a file of variables: a mapping, or nothing.
pub(crate) fn vars_file(path: &Path, files: &Opened) -> Result<Vars, InventoryError> {
    object(&yaml::load(files, path)?.root)
}

/// Reads variables given as text, in JSON or YAML.
pub(crate) fn vars_text(text: &str) -> Result<Vars, InventoryError> {
    object(&yaml::parse(Path::new("-e"), text.as_bytes())?.root)
}

/// Returns a mapping as variables.
pub(super) fn object(node: &Node) -> Result<Vars, InventoryError> {
    if node.is_null() {
        return Ok(Vars::new());
    }
    let mut vars = Vars::new();
    for (key, value) in node.expect_map("variables")? {
        vars.insert(key.expect_text("a variable's name")?, json(value)?);
    }
    Ok(vars)
}

fn json(node: &Node) -> Result<Json, InventoryError> {
    tagged::encoded(
        node,
        &|node: &Node, text: &str, _| match node.tag.as_deref() {
            Some("!vault") => Err(InventoryError::Unsupported {
                what: format!(
                    "vaulted text without --vault-password-file ({}:{})",
                    node.span.file().display(),
                    node.span.line
                ),
            }),
            _ => Ok(text.to_owned()),
        },
    )
}
