//! `add_host`: adds a host to the inventory of the run, and what is set for other hosts (`delegate_facts`).

use amibake_playbook::hosts::LOCALHOST;
use amibake_playbook::names::bare;
use amibake_playbook::value::{Dict, Value, tagged};
use amibake_protocol::ask::{AddedHost, Ask, News, Told};
use serde_json::{Map, Value as Json, json};

use super::actions::plain;
use super::eval;
use super::magic;
use super::outcome::Attempt;
use super::run::{Run, Stop};
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use super::vars::NewVars;

/// Parameters that are no variables of the host.
const NO_VARIABLES: &[&str] = &["name", "hostname", "groupname", "groups"];

impl Run<'_> {
    /// `add_host`.
    pub(super) fn add_host(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let mut args = self.args(cx)?;
        if let Some(Value::Dict(raw)) = args.remove(&"_raw_params".into()) {
            let given = std::mem::replace(&mut args, raw.copy());
            for (name, value) in given.entries() {
                args.insert(name, value);
            }
        } else if let Some(raw) = self.args(cx)?.get("_raw_params") {
            let wrong = format!(
                "Invalid raw parameters passed, requires a dictionary/mapping got a  <class '{}'>",
                raw.type_name()
            );
            return Err(refused(wrong));
        }
        if !self.is_on_controller() {
            return Err(refused(
                "add_host is done where the play runs on this machine (`hosts: localhost`): another may not say which \
                 machines are connected to",
            ));
        }
        let new = added(&args)?;
        let mut attempt = plain(json!({}));
        let shown = Value::dict([
            ("host_name", Value::str(&new.name)),
            (
                "groups",
                Value::list(new.groups.iter().map(Value::str).collect()),
            ),
            (
                "host_vars",
                Value::from_authored_json(&Json::Object(new.vars.clone())),
            ),
        ]);
        attempt.put("add_host", &shown);
        let changed = self.take_added(&new);
        attempt.fields.insert("changed".to_owned(), json!(changed));
        self.tell(News::Added(new))
            .map_err(|stop| refused(stop.said))?;
        Ok(attempt)
    }

    /// Returns whether this run is done on the machine that the whole run is steered from.
    pub(super) fn is_on_controller(&self) -> bool {
        self.options.local || self.options.untouched
    }

    /// Takes a host in that the run adds. Returns whether anything of it is new.
    fn take_added(&self, new: &AddedHost) -> bool {
        let groups = magic::groups(self);
        let changed = self.added.borrow_mut().add(new, &groups);
        magic::regroup(self);
        magic::set_host(self, &new.name);
        changed
    }

    /// Tells the controller what other hosts are to know.
    fn tell(&self, news: News) -> Result<(), Stop> {
        if self.options.together.is_empty() {
            return Ok(());
        }
        let taken: Option<bool> = self.ask_others(Ask::Tell { news })?;
        match taken {
            Some(false) => Err(super::turn::not_awaited(
                "the controller takes no news of this host",
            )),
            Some(true) | None => Ok(()),
        }
    }

    /// Takes in what is set for another host.
    pub(super) fn take_for(&self, host: &str, new: &NewVars) -> Result<(), Stop> {
        self.note_of(host, new);
        if !self.is_of_run(host) {
            return Ok(());
        }
        let json = |dict: &Dict| {
            let json = Value::Dict(dict.clone()).to_tagged_json();
            json.map_err(|error| Stop::new(format!("what is set for {host}: {error}")))
        };
        self.tell(News::Facts {
            host: host.to_owned(),
            set: json(&new.set)?,
            facts: json(&new.facts)?,
        })
    }

    /// Returns whether a host takes part in the run, or may.
    pub(super) fn is_of_run(&self, host: &str) -> bool {
        let mut together = self.options.together.iter();
        together.any(|name| name == host) || self.added.borrow().get(host).is_some()
    }

    /// Shows in `hostvars` what is set for another host.
    fn note_of(&self, host: &str, new: &NewVars) {
        let known = match self.vars.hosts.get(host) {
            Some(Value::Dict(known)) => known.copy(),
            _ => Dict::new(),
        };
        for (name, value) in new.facts.entries().into_iter().chain(new.set.entries()) {
            known.insert(name, value);
        }
        self.vars.hosts.set(host, Value::Dict(known));
    }

    /// Takes in what is new in the run. Returns whether anything was.
    pub(super) fn hear(&self, news: &[Told]) -> bool {
        let heard = self.added.borrow().heard;
        let own = &self.options.inventory_hostname;
        for Told { news, .. } in news.iter().skip(heard).filter(|told| told.by != *own) {
            match news {
                News::Added(new) => {
                    self.take_added(new);
                }
                News::Facts { host, set, facts } => {
                    let dict = |json: &Json| {
                        let value = Value::from_authored_json(json);
                        value.as_dict().cloned().unwrap_or_default()
                    };
                    let new = NewVars {
                        set: dict(set),
                        facts: dict(facts),
                        ..NewVars::default()
                    };
                    match host == own {
                        true => self.take(&new),
                        false => self.note_of(host, &new),
                    }
                }
            }
        }
        self.added.borrow_mut().heard = news.len().max(heard);
        news.len() > heard
    }

    /// Returns whether a host is this machine, where this machine is the controller.
    pub(super) fn is_this_machine(&self, host: &str) -> bool {
        let added = self.added.borrow();
        let way = added
            .get(host)
            .and_then(|added| added.vars.get("ansible_connection"));
        match way {
            Some(way) => bare(tagged::text(way).unwrap_or_default()) == "local",
            None => self.options.local_hosts.iter().any(|name| name == host),
        }
    }

    /// Returns whether a host is one whose facts are others' to set: not this one, by any of its names.
    pub(super) fn is_another(&self, host: &str) -> bool {
        let is_localhost = host == LOCALHOST && self.vars.is_localhost.get();
        !(is_localhost || host == self.options.inventory_hostname)
    }
}

/// Reads what is to be added.
fn added(args: &Dict) -> Result<AddedHost, TaskError> {
    let first = |names: &[&str]| names.iter().find_map(|name| args.get(name));
    let name = first(&["name", "hostname", "host"])
        .filter(|name| !matches!(name, Value::None))
        .ok_or_else(|| refused("name, host or hostname needs to be provided"))?;
    let (name, port) = address(&name.to_string());
    let groups = match first(&["groupname", "groups", "group"]) {
        None | Some(Value::None) => Vec::new(),
        Some(Value::Str(text)) if text.is_empty() => Vec::new(),
        Some(Value::Str(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::List(list)) => eval::texts(&Value::List(list)),
        Some(_) => return Err(refused("Groups must be specified as a list.")),
    };
    let mut vars = Map::new();
    for (key, value) in args.entries() {
        let key = key.value().to_string();
        if !NO_VARIABLES.contains(&key.as_str()) {
            let value = value.to_tagged_json();
            vars.insert(key, value.map_err(|error| refused(error.to_string()))?);
        }
    }
    if let Some(port) = port {
        vars.insert("ansible_ssh_port".to_owned(), json!(port));
    }
    let mut unique: Vec<String> = Vec::new();
    for group in groups.iter().map(|group| group.trim()) {
        if !unique.iter().any(|known| known == group) {
            unique.push(group.to_owned());
        }
    }
    Ok(AddedHost {
        name,
        groups: unique,
        vars,
    })
}

/// Splits `host:port`, `[v6]:port`.
fn address(text: &str) -> (String, Option<u16>) {
    let split = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok()?;
        match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(v6) => Some((v6, port)),
            None => (!host.contains(':')).then_some((host, port)),
        }
    });
    match split {
        Some((host, port)) => (host.to_owned(), Some(port)),
        None => (text.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_a_port() {
        assert_eq!(
            address("127.0.1.1:2222"),
            ("127.0.1.1".to_owned(), Some(2222))
        );
        assert_eq!(address("[::1]:22"), ("::1".to_owned(), Some(22)));
        assert_eq!(address("::1"), ("::1".to_owned(), None));
        assert_eq!(address("web"), ("web".to_owned(), None));
        assert_eq!(address("web:no"), ("web:no".to_owned(), None));
    }

    #[test]
    fn groups_are_a_list_or_a_text_with_commas_and_the_rest_are_variables() {
        let args = Dict::new();
        args.set("hostname", Value::str("n"));
        args.set("groups", Value::str("a, b,a"));
        args.set("host_role", Value::Int(1));
        let new = added(&args).ok().unwrap();
        assert_eq!(
            (new.name.as_str(), new.groups),
            ("n", vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            new.vars,
            json!({"host_role": 1}).as_object().cloned().unwrap()
        );
        args.set("groups", Value::Int(3));
        assert!(added(&args).is_err());
    }
}
