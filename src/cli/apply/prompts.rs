//! `vars_prompt`: asks on the terminal for the variables that plays want, before anything runs.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use amibake_playbook::syntax::{Play, Playbook};
use amibake_playbook::template::{Nowhere, Templar};
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::job::Options;
use serde_json::{Map, Value as Json};

use crate::exit::Failure;
use crate::prompt;

/// What one entry asks for.
struct Asked {
    name: String,
    question: String,
    private: bool,
    confirm: bool,
}

/// Asks for what the plays want and `-e` does not give. Without a terminal nobody is asked.
pub(super) fn ask(
    playbook: &Playbook,
    options: &Options,
) -> Result<BTreeMap<String, Map<String, Json>>, Failure> {
    let mut all = BTreeMap::new();
    if !io::stdin().is_terminal() {
        return Ok(all);
    }
    for play in &playbook.plays {
        let mut typed = Map::new();
        for asked in wanted(play, options) {
            let answer = answer(&asked).map_err(Failure::usage)?;
            typed.insert(asked.name, Json::from(answer));
        }
        all.insert(play.position(), typed);
    }
    Ok(all)
}

/// Returns what a play asks for; questions may name its variables.
fn wanted(play: &Play, options: &Options) -> Vec<Asked> {
    let known = Dict::new();
    let vars = play.keywords.iter().find(|(name, _)| name == "vars");
    if let Some(vars) = vars.map(|(_, node)| Value::from_node(node)) {
        for (name, value) in vars.as_dict().map(Dict::entries).unwrap_or_default() {
            known.insert(name, value);
        }
    }
    for (name, value) in &options.extra_vars {
        known.set(name, Value::from_authored_json(value));
    }
    let templar = Templar::new(&known, &Nowhere);
    let entries = play.prompts().into_iter().filter_map(|node| {
        let written = Value::from_node(node);
        let entry = templar.render(&written).unwrap_or(written);
        let text = |name: &str| {
            let value = entry
                .get(name)
                .filter(|value| !matches!(value, Value::None));
            value.map(|value| value.to_string())
        };
        let truth = |name: &str, default: bool| match text(name) {
            Some(text) => matches!(
                text.to_lowercase().as_str(),
                "true" | "yes" | "on" | "1" | "y" | "t"
            ),
            None => default,
        };
        let name = text("name")?;
        let shown = text("prompt").unwrap_or_else(|| name.clone());
        Some(Asked {
            question: match text("default") {
                Some(default) => format!("{shown} [{default}]: "),
                None => format!("{shown}: "),
            },
            private: truth("private", true),
            confirm: truth("confirm", false),
            name,
        })
    });
    entries
        .filter(|asked| !known_from_outside(options, &asked.name))
        .collect()
}

fn known_from_outside(options: &Options, name: &str) -> bool {
    options.extra_vars.contains_key(name)
}

fn answer(asked: &Asked) -> io::Result<String> {
    let once = |question: &str| match asked.private {
        true => prompt::secret(question),
        false => line(question),
    };
    loop {
        let first = once(&asked.question)?;
        if !asked.confirm || once(&format!("confirm {}", asked.question))? == first {
            return Ok(first);
        }
        writeln!(io::stderr(), "***** VALUES ENTERED DO NOT MATCH ****")?;
    }
}

fn line(question: &str) -> io::Result<String> {
    let mut shown = io::stderr();
    write!(shown, "{question}")?;
    shown.flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim_end_matches(['\r', '\n']).to_owned())
}
