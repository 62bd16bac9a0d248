//! Where a host is: what the command line and its variables say of the way to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use amibake_playbook::template::{Nowhere, Templar};
use amibake_playbook::value::{Dict, Value, tagged};
use amibake_protocol::job::Route;
use serde_json::Value as Json;

use super::target::TargetArgs;
use crate::exit::Failure;
use crate::inventory::{Host, Vars};
use crate::secret::Secret;
use crate::ssh::{self, Destination, Overrides, PublicLine, SshError, parse_address};

/// What is said of a host, `-e` included.
pub(super) struct Said {
    vars: Vars,
    /// The same, as templates see it.
    known: Dict,
}

impl Said {
    pub(super) fn of(host: &Host, extra: &Vars) -> Self {
        let mut vars = host.all_vars.clone();
        vars.extend(host.group_vars.clone());
        vars.extend(host.host_vars.clone());
        vars.extend(extra.clone());
        let known = Dict::new();
        known.set("inventory_hostname", Value::str(&host.name));
        let short = host.name.split('.').next().unwrap_or_default();
        known.set("inventory_hostname_short", Value::str(short));
        for (name, value) in &vars {
            known.set(name, Value::from_authored_json(value));
        }
        Self { vars, known }
    }

    /// Returns a variable as text, rendered if it is a template.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        // The older names of some.
        let alias = match name {
            "ansible_host" => "ansible_ssh_host",
            "ansible_port" => "ansible_ssh_port",
            "ansible_user" => "ansible_ssh_user",
            other => other,
        };
        let (name, written) = match (self.vars.get(name), self.vars.get(alias)) {
            (Some(written), _) => (name, written),
            (None, Some(written)) => (alias, written),
            (None, None) => return Ok(None),
        };
        let value = Value::from_authored_json(written);
        if !value.is_latent() {
            return Ok(text(&self.vars, name));
        }
        let rendered = Templar::new(&self.known, &Nowhere).render(&value);
        let rendered = rendered.map_err(|error| {
            let host = self.known.get("inventory_hostname").unwrap_or_default();
            Failure::usage(format!("`{name}` of {host} cannot be rendered: {error}"))
                .with_hint("what is needed to reach a host may name its other variables")
        })?;
        Ok(match rendered {
            Value::None | Value::Omit => None,
            value => Some(value.to_string()),
        })
    }

    /// Returns whether tasks become another user, and the password that `sudo` is to be given. What cannot be
    /// rendered yet is warned of: perhaps nobody needs it.
    pub(super) fn privilege(
        &self,
        warnings: &mut BTreeSet<String>,
    ) -> (bool, Option<Secret<String>>) {
        let mut known = |name: &str| {
            let text = self.text(name);
            text.unwrap_or_else(|failure| {
                warnings.insert(failure.error.to_string());
                None
            })
        };
        let becomes = known("ansible_become");
        let becomes =
            becomes.is_some_and(|text| !["false", "no", "0"].contains(&&*text.to_lowercase()));
        let password = known("ansible_become_password").or_else(|| known("ansible_become_pass"));
        (becomes, password.map(Secret::new))
    }

    /// Returns whether the host is this machine.
    pub(super) fn is_local(&self) -> Result<bool, Failure> {
        let way = self.text("ansible_connection")?;
        Ok(way.is_some_and(|way| matches!(way.as_str(), "local" | "ansible.builtin.local")))
    }
}

/// Returns what the command line says of the way to a host.
pub(super) fn route(target: &TargetArgs, name: &str) -> Route {
    let typed = target.host.iter().map(|text| parse_address(text));
    let typed = typed.into_iter().find(|(_, host, _)| host == name);
    let (user, _, port) = typed.unwrap_or((None, String::new(), None));
    Route {
        user: user.or_else(|| target.user.clone()),
        port,
    }
}

pub(super) fn destination(
    target: &TargetArgs,
    host: &Host,
    said: &Said,
    warnings: &mut BTreeSet<String>,
) -> Result<Destination, Failure> {
    let typed = target.host.iter().map(|text| parse_address(text));
    let (user, _, port) = typed
        .into_iter()
        .find(|(_, name, _)| *name == host.name)
        .unwrap_or((None, String::new(), None));
    let key_file = said
        .text("ansible_ssh_private_key_file")?
        .map(PathBuf::from);
    let overrides = Overrides {
        user: user
            .or(said.text("ansible_user")?)
            .or_else(|| target.user.clone()),
        port: port.or(said
            .text("ansible_port")?
            .and_then(|port| port.parse().ok())),
        address: said.text("ansible_host")?,
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

/// Returns a variable that is no template as text.
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
    use serde_json::json;

    use super::*;

    fn said(host_vars: Json) -> Said {
        let host = Host {
            name: "web1.example.org".to_owned(),
            group_names: Vec::new(),
            all_vars: Vars::from_iter([("net".to_owned(), json!("10.0.0"))]),
            group_vars: Vars::new(),
            host_vars: serde_json::from_value(host_vars).unwrap(),
        };
        Said::of(
            &host,
            &Vars::from_iter([("ansible_user".to_owned(), json!("me"))]),
        )
    }

    #[test]
    fn what_says_how_a_host_is_reached_may_be_a_template() {
        let said = said(json!({
            "ansible_host": "{{ net }}.{{ id }}", "id": 7, "ansible_port": "{{ 2200 + id }}",
            "ansible_user": "them", "ansible_connection": "{{ way }}", "way": "local",
            "ansible_become_pass": "{{ inventory_hostname_short }}!",
        }));
        let text = |name: &str| said.text(name).unwrap().unwrap();
        assert_eq!(text("ansible_host"), "10.0.0.7");
        assert_eq!(text("ansible_port"), "2207");
        assert_eq!(text("ansible_user"), "me");
        assert!(said.is_local().unwrap());
        let mut warnings = BTreeSet::new();
        let (_, password) = said.privilege(&mut warnings);
        assert_eq!(password.unwrap().expose(), "web1!");
        assert_eq!(warnings, BTreeSet::new());
    }

    #[test]
    fn what_cannot_be_rendered_is_named() {
        let said =
            said(json!({"ansible_host": "{{ nobody }}", "ansible_become_pass": "{{ nobody }}"}));
        let failure = said.text("ansible_host").unwrap_err();
        let wrong = "`ansible_host` of web1.example.org cannot be rendered: 'nobody' is undefined";
        assert!(
            failure.error.to_string().starts_with(wrong),
            "{}",
            failure.error
        );
        let mut warnings = BTreeSet::new();
        assert!(said.privilege(&mut warnings).1.is_none());
        assert!(warnings.first().unwrap().contains("`ansible_become_pass`"));
    }
}
