//! `service`: hands a task on to the module of the service manager, `systemd` or `sysvinit`.

use std::path::Path;

use amibake_playbook::argspec;
use serde_json::{Map, Value as Json};

use super::systemd::Systemd;
use super::sysvinit::SysVInit;
use crate::args::Args;
use crate::facts;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(super) struct Service;

/// What systemd makes no use of, and `service` takes for other managers' sake.
const UNUSED_BY_SYSTEMD: &[&str] = &["pattern", "runlevel", "sleep", "arguments", "args"];

const SYSTEMD: &str = "ansible.builtin.systemd_service";
const SYSVINIT: &str = "ansible.builtin.sysvinit";
/// The modules that it hands on to.
pub(crate) const MANAGERS: &[&str] = &[SYSTEMD, SYSVINIT];

impl ActionModule for Service {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let manager = manager(args, context)?;
        let mut given: Map<String, Json> = args.all().clone();
        given.remove("use");
        let defaults = given.remove("_defaults");
        let mut warnings = Vec::new();
        // Ansible drops them for the manager that the facts name, and not for one asked for by
        // its full name.
        if manager == "systemd" {
            for unused in UNUSED_BY_SYSTEMD {
                if given.remove(*unused).is_some() {
                    warnings.push(format!(
                        "Ignoring \"{unused}\" as it is not used in \"systemd\""
                    ));
                }
            }
        }
        let is_sysvinit = argspec::find(&manager).is_some_and(|spec| spec.name == SYSVINIT);
        let (name, module): (_, &dyn ActionModule) = match is_sysvinit {
            true => (SYSVINIT, &SysVInit),
            false => (SYSTEMD, &Systemd),
        };
        let defaults = defaults.as_ref().and_then(|all| all.get(name)?.as_object());
        for (key, value) in defaults.into_iter().flatten() {
            given.entry(key).or_insert_with(|| value.clone());
        }
        let spec = argspec::find(name)
            .ok_or_else(|| Failure::new(format!("there is no module {name}")))?;
        let given = Args::coerce_within(spec, given, &context.environment)?;
        match module.run(&given, context) {
            Ok(mut outcome) => {
                outcome.warnings.splice(0..0, warnings);
                Ok(outcome)
            }
            Err(failure) if warnings.is_empty() => Err(failure),
            Err(failure) => Err(failure.with("warnings", warnings)),
        }
    }
}

/// Returns which module does it: by `use`, by the facts, or by a look at the machine.
fn manager(args: &Args, context: &Context<'_>) -> Result<String, Failure> {
    let wanted = args.str("use").unwrap_or("auto").to_lowercase();
    let is_known = |name: &str| {
        let name = argspec::find(name).map(|spec| spec.name);
        name.is_some_and(|name| MANAGERS.contains(&name))
    };
    if wanted == "auto" {
        let fact = context.facts.get("service_mgr").and_then(Json::as_str);
        let manager = fact.map_or_else(facts::service_manager_name, str::to_owned);
        return Ok(match is_known(&manager) {
            true => manager,
            // Ansible's own generic module prefers systemctl likewise.
            false if Path::new("/run/systemd/system").exists() => "systemd".to_owned(),
            false => fallback(args),
        });
    }
    if is_known(&wanted) {
        return Ok(wanted);
    }
    Err(Failure::new(format!(
        "service: use: {wanted} is not supported; services are managed by `systemd` or `sysvinit`"
    )))
}

/// Returns who manages a service where process 1 is something else, as in a container.
fn fallback(args: &Args) -> String {
    let script = args
        .str("name")
        .map(|name| Path::new("/etc/init.d").join(name));
    match script.is_some_and(|script| script.exists()) {
        true => "sysvinit".to_owned(),
        false => "systemd".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::tests::check;

    #[test]
    fn what_systemd_takes_is_passed_on_and_what_it_lacks_is_named() {
        let args = json!({"name": "a*", "use": "systemd", "daemon_reload": true, "sleep": 1});
        let failure = check("service", args).unwrap_err();
        assert!(failure.msg.contains("glob patterns"), "{}", failure.msg);
        let args = json!({"name": "a", "use": "systemd", "state": "started", "runlevels": ["2"]});
        let failure = check("service", args).unwrap_err();
        assert!(failure.msg.contains("runlevels"), "{}", failure.msg);
    }

    #[test]
    fn a_script_of_its_own_name_is_asked_for_by_use() {
        let args = json!({"name": "no-such-script", "use": "sysvinit", "state": "started"});
        let failure = check("service", args).unwrap_err();
        let msg = "Could not find the requested service no-such-script: ";
        assert_eq!(failure.msg, msg);
    }

    #[test]
    fn another_manager_is_refused_by_name() {
        let args = json!({"name": "a", "use": "runit", "state": "started"});
        let failure = check("service", args).unwrap_err();
        assert!(failure.msg.contains("use: runit is not supported"));
    }
}
