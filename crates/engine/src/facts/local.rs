//! Local facts: `*.fact` files below `/etc/ansible/facts.d`, JSON, INI, or programs that print them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use amibake_playbook::ini::{self, Ini};
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
    let ini = Ini::parse(&text, ini::Options::default()).map_err(|_| {
        format!("error loading facts as JSON or ini - please check content: {shown}")
    })?;
    let mut sections = Map::new();
    for name in ini.sections.keys() {
        let keys = ini.section(name).unwrap_or_default();
        let value = |key: &String| match Ini::interpolated(name, &keys, key) {
            Ok(value) => Ok((key.clone(), json!(value))),
            Err(e) => Err(format!(
                "error loading facts as ini - please check content: {shown} ({e})"
            )),
        };
        let values = keys.keys().map(value).collect::<Result<Map<_, _>, _>>()?;
        sections.insert(name.clone(), Json::Object(values));
    }
    Ok(Json::Object(sections))
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
        write("f.fact", "[bad]\nvalue = a % b\n", 0o644);
        write("g.fact", "no section\n", 0o644);
        let mut warnings = Vec::new();
        let facts = collect(folder.path(), &mut warnings);
        assert_eq!(
            facts["a"],
            json!({"main": {"name": "one\ntwo", "other": "2"}})
        );
        assert_eq!(facts["b"], json!({"x": [1]}));
        assert_eq!(facts["c"], json!({"run": true}));
        assert!(facts["d"].as_str().unwrap().contains("rc: 3"));
        let shown = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            facts["f"],
            format!(
                "error loading facts as ini - please check content: {} ('%' must be followed by \
                 '%' or '(', found: '% b')",
                shown("f.fact")
            )
        );
        assert_eq!(
            facts["g"],
            format!(
                "error loading facts as JSON or ini - please check content: {}",
                shown("g.fact")
            )
        );
        assert_eq!(warnings.len(), 3);
        assert_eq!(facts.len(), 6);
    }
}
