//! The lookup `config`: what Ansible's settings are, as far as they mean something here.

use amibake_playbook::template::{Error, Kwargs};
use amibake_playbook::value::Value;
use amibake_protocol::job::Gathering;

use super::eval;
use super::run::Run;

/// Options of Ansible's own plugins for `become`: the plugin, the option, what it is where nobody says otherwise.
const OF_BECOME: &[(&str, &str, &str)] = &[
    ("sudo", "become_exe", "sudo"),
    ("sudo", "become_flags", "-H -S -n"),
    ("sudo", "become_user", "root"),
    ("su", "become_exe", "su"),
    ("su", "become_flags", ""),
    ("su", "become_user", "root"),
];

/// Options of the connection `ssh` that are nothing where nobody says otherwise, and the variables that say it, the
/// last one first.
const OF_SSH: &[(&str, &[&str])] = &[
    ("remote_user", &["ansible_ssh_user", "ansible_user"]),
    ("port", &["ansible_ssh_port", "ansible_port"]),
    (
        "private_key_file",
        &["ansible_ssh_private_key_file", "ansible_private_key_file"],
    ),
];

/// Returns a variable's value.
type Variable<'v> = &'v dyn Fn(&str) -> Option<Value>;

/// Answers the lookup.
pub(super) fn config(
    run: &Run<'_>,
    variable: Variable<'_>,
    terms: &[Value],
    options: &Kwargs,
) -> Result<Vec<Value>, Error> {
    let text = |name: &str| options.get(name).map(ToString::to_string);
    let plugin = match (text("plugin_type"), text("plugin_name")) {
        (Some(kind), Some(name)) => Some((kind, name)),
        (None, None) => None,
        _ => {
            return Err(Error::failed(
                "Both plugin_type and plugin_name are required, cannot use one without the other.",
            ));
        }
    };
    let shows_origin = options.get("show_origin").and_then(eval::truth) == Some(true);
    let mut found = Vec::new();
    for term in terms {
        let Value::Str(name) = term else {
            let shown = term.repr();
            return Err(Error::failed(format!(
                "Invalid setting identifier, {shown} is not a <class 'str'>, its a <class '{}'>.",
                term.type_name()
            )));
        };
        let known = match &plugin {
            Some((kind, plugin)) => of_plugin(kind, plugin, name, variable),
            None => setting(run, name),
        };
        match known {
            Some(value) if shows_origin => {
                found.push(Value::list(vec![value, Value::str("default")]));
            }
            Some(value) => found.push(value),
            None => missing(run, name, text("on_missing").as_deref())?,
        }
    }
    Ok(found)
}

fn missing(run: &Run<'_>, name: &str, how: Option<&str>) -> Result<(), Error> {
    match how.unwrap_or("error") {
        "skip" => Ok(()),
        "warn" => {
            run.warn(
                format!("Skipping {name}: no such setting is known here."),
                None,
            );
            Ok(())
        }
        "error" => Err(Error::failed(format!(
            "Setting '{name}' is none that is known here"
        ))),
        other => Err(Error::failed(format!(
            "Invalid value '{other}' for config 'on_missing' for 'config' lookup plugin."
        ))),
    }
}

fn of_plugin(kind: &str, plugin: &str, option: &str, variable: Variable<'_>) -> Option<Value> {
    if (kind, plugin) == ("connection", "ssh") {
        let (_, names) = OF_SSH.iter().find(|(name, _)| *name == option)?;
        let said = names.iter().find_map(|name| variable(name));
        return Some(said.unwrap_or(Value::None));
    }
    let plugin = plugin.strip_prefix("ansible.builtin.").unwrap_or(plugin);
    let mut all = OF_BECOME.iter().filter(|_| kind == "become");
    let found = all.find(|(of, name, _)| (*of, *name) == (plugin, option));
    found.map(|(.., value)| Value::str(value))
}

/// Returns what a setting is: what `ansible.cfg` or the environment says where that is followed, or what it is there
/// where nobody says anything.
fn setting(run: &Run<'_>, name: &str) -> Option<Value> {
    let (options, settings) = (run.options, &run.options.settings);
    let privilege = &options.privilege;
    Some(match name {
        "ALLOW_BROKEN_CONDITIONALS"
        | "DEFAULT_JINJA2_NATIVE"
        | "DEFAULT_UNDEFINED_VAR_BEHAVIOR"
        | "INVENTORY_UNPARSED_WARNING" => Value::Bool(true),
        "DEFAULT_HASH_BEHAVIOUR" if settings.merges_mappings => Value::str("merge"),
        "DEFAULT_HASH_BEHAVIOUR" => Value::str("replace"),
        "DEFAULT_GATHERING" => Value::str(match options.gathering {
            Gathering::Implicit => "implicit",
            Gathering::Explicit => "explicit",
            Gathering::Smart => "smart",
        }),
        "DEFAULT_STRATEGY" => Value::str(settings.strategy.as_deref().unwrap_or("linear")),
        "DEFAULT_PRIVATE_ROLE_VARS" => Value::Bool(settings.private_role_vars == Some(true)),
        "ERROR_ON_MISSING_HANDLER" => Value::Bool(!settings.passes_missing_handlers),
        "INJECT_FACTS_AS_VARS" => Value::Bool(!settings.facts_apart),
        "DEFAULT_FORCE_HANDLERS" => Value::Bool(options.force_handlers),
        "DEFAULT_BECOME" => Value::Bool(privilege.always),
        "DEFAULT_BECOME_METHOD" => Value::str(privilege.method.as_deref().unwrap_or("sudo")),
        "DEFAULT_BECOME_USER" => Value::str(privilege.user.as_deref().unwrap_or("root")),
        "DEFAULT_FORKS" => Value::Int(i64::from(options.forks.unwrap_or(5))),
        "DEFAULT_TIMEOUT" => Value::Int(10),
        "DEFAULT_POLL_INTERVAL" => Value::Int(15),
        "DEFAULT_VERBOSITY" => Value::Int(i64::from(options.verbosity)),
        "DEFAULT_EXECUTABLE" => Value::str("/bin/sh"),
        "DEFAULT_MANAGED_STR" => Value::str("Ansible managed"),
        "DEFAULT_TRANSPORT" => Value::str("ssh"),
        "DEFAULT_NO_LOG" | "ANY_ERRORS_FATAL" | "DEFAULT_ALLOW_UNSAFE_LOOKUPS" => {
            Value::Bool(false)
        }
        "DEFAULT_ROLES_PATH" if options.roles_path.is_empty() => {
            let others = ["/usr/share/ansible/roles", "/etc/ansible/roles"];
            unset_paths(run, "roles", &others)
        }
        "DEFAULT_ROLES_PATH" => paths(&options.roles_path),
        "COLLECTIONS_PATHS" if options.collections_path.is_empty() => {
            unset_paths(run, "collections", &["/usr/share/ansible/collections"])
        }
        "COLLECTIONS_PATHS" => paths(&options.collections_path),
        _ => return None,
    })
}

/// Returns what a search path is where nobody says otherwise: a folder of Ansible's in the home, and those of the system.
fn unset_paths(run: &Run<'_>, name: &str, others: &[&str]) -> Value {
    let home = run.options.home.as_deref().unwrap_or("~".as_ref());
    let own = home.join(".ansible").join(name);
    let mut all = vec![own];
    all.extend(others.iter().map(std::path::PathBuf::from));
    paths(&all)
}

fn paths(paths: &[std::path::PathBuf]) -> Value {
    let paths = paths.iter().map(|path| Value::str(path.to_string_lossy()));
    Value::list(paths.collect())
}
