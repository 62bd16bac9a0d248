//! Local facts: `*.fact` files below `/etc/ansible/facts.d`, JSON, INI, or programs that print them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value as Json, json};

use super::read;

/// Returns the local facts by the file's name.
#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "`x.FACT` is no fact to Ansible"
)]
pub(super) fn collect(folder: &Path, warnings: &mut Vec<String>) -> Map<String, Json> {
    let mut names = read::names(folder);
    names.retain(|name| name.ends_with(".fact") && !name.starts_with('.'));
    names.sort();
    let mut facts = Map::new();
    for name in names {
        let fact = read_fact(&folder.join(&name)).unwrap_or_else(|problem| {
            warnings.push(problem.clone());
            json!(problem)
        });
        facts.insert(name.replace(".fact", ""), fact);
    }
    facts
}

fn read_fact(path: &Path) -> Result<Json, String> {
    let shown = path.display();
    let mode =
        std::fs::metadata(path).map_err(|e| format!("Could not stat fact ({shown}): {e}"))?;
    let bytes = if mode.permissions().mode() & 0o100 == 0 {
        std::fs::read(path).unwrap_or_default()
    } else {
        stdout_of(path)?
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("error loading fact - output of running \"{shown}\" was not utf-8"))?;
    if let Ok(value) = serde_json::from_str(&text) {
        return Ok(value);
    }
    ini(&text).ok_or_else(|| {
        format!("error loading facts as JSON or ini - please check content: {shown}")
    })
}

fn stdout_of(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let output = Command::new(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("Could not execute fact script ({shown}): {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let code = output.status.code().unwrap_or(-1);
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "Failure executing fact script ({shown}), rc: {code}, err: {stderr}"
    ))
}

/// Reads INI as Python's `configparser` does; `None` where it would raise.
fn ini(text: &str) -> Option<Json> {
    let mut sections: Map<String, Json> = Map::new();
    let mut section: Option<String> = None;
    let mut option: Option<String> = None;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        let continued = line.starts_with([' ', '\t']);
        if let (true, Some(section), Some(option)) = (continued, &section, &option) {
            let value = &mut sections[section.as_str()][option.as_str()];
            *value = json!(format!("{}\n{bare}", value.as_str().unwrap_or_default()));
        } else if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            sections.entry(name.0).or_insert_with(|| json!({}));
            section = Some(name.0.to_owned());
            option = None;
        } else {
            let at = bare.find(['=', ':'])?;
            let name = bare[..at].trim().to_lowercase();
            let values = sections.get_mut(section.as_deref()?)?.as_object_mut()?;
            values.insert(name.clone(), json!(bare[at + 1..].trim()));
            option = Some(name);
        }
    }
    Some(Json::Object(sections))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ini_json_and_programs_are_read_and_failures_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("a.fact", "[main]\nName = one\n  two\nother: 2\n", 0o644);
        write("b.fact", "{\"x\": [1]}", 0o644);
        write("c.fact", "#!/bin/sh\necho '{\"run\": true}'\n", 0o755);
        write("d.fact", "#!/bin/sh\nexit 3\n", 0o755);
        write("e.txt", "{}", 0o644);
        let mut warnings = Vec::new();
        let facts = collect(folder.path(), &mut warnings);
        assert_eq!(
            facts["a"],
            json!({"main": {"name": "one\ntwo", "other": "2"}})
        );
        assert_eq!(facts["b"], json!({"x": [1]}));
        assert_eq!(facts["c"], json!({"run": true}));
        assert!(facts["d"].as_str().unwrap().contains("rc: 3"));
        assert_eq!(warnings.len(), 1);
        assert_eq!(facts.len(), 4);
    }
}
