//! Kernel, host names, machine id.

use serde_json::{Map, Value as Json, json};

use super::read;
use crate::getent::getent;

/// Collects what `uname` and the host's names say.
pub(super) fn collect(facts: &mut Map<String, Json>) {
    let Ok(uname) = nix::sys::utsname::uname() else {
        return;
    };
    let show = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let (node, machine) = (show(uname.nodename()), show(uname.machine()));
    let fqdn = fqdn(&node);
    let domain = fqdn.split_once('.').map_or("", |(_, domain)| domain);
    let bits = if cfg!(target_pointer_width = "64") {
        "64"
    } else {
        "32"
    };
    let mut set = |name: &str, value: Json| facts.insert(name.to_owned(), value);
    set("system", json!(show(uname.sysname())));
    set("kernel", json!(show(uname.release())));
    set("kernel_version", json!(show(uname.version())));
    set("machine", json!(machine));
    set("domain", json!(domain));
    set("fqdn", json!(fqdn));
    set("hostname", json!(node.split('.').next()));
    set("nodename", json!(node));
    set("architecture", json!(machine));
    set("userspace_bits", json!(bits));
    if machine == "x86_64" {
        set("userspace_architecture", json!("x86_64"));
    }
    let machine_id =
        read::text("/var/lib/dbus/machine-id").or_else(|| read::text("/etc/machine-id"));
    if let Some(id) = machine_id {
        set("machine_id", json!(id.lines().next()));
    }
}

/// Returns the full name that this host has now; empty where it has no name.
pub(crate) fn full_host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| fqdn(&name.to_string_lossy()))
}

/// Returns what Python's `socket.getfqdn` answers for this host.
fn fqdn(node: &str) -> String {
    let hosts = read::text("/etc/hosts").unwrap_or_default();
    let names = names_in(&hosts, node).or_else(|| {
        let address = words_of("ahosts", node)?.into_iter().next()?;
        let answer = words_of("hosts", &address)?;
        Some(answer.into_iter().skip(1).collect())
    });
    let names: Vec<String> = names.unwrap_or_default();
    names
        .iter()
        .find(|name| name.contains('.'))
        .or(names.first())
        .map_or(node, String::as_str)
        .to_owned()
}

/// Returns the names of the first address that `/etc/hosts` gives `node`, canonical name first.
fn names_in(hosts: &str, node: &str) -> Option<Vec<String>> {
    let entries = || {
        hosts.lines().filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            Some((words.next()?, words.collect::<Vec<_>>()))
        })
    };
    let address = entries()
        .filter(|(_, names)| names.iter().any(|n| n.eq_ignore_ascii_case(node)))
        .map(|(address, _)| address)
        // `gethostbyaddr` prefers IPv4, as `AF_UNSPEC` lookups of files list it first.
        .min_by_key(|address| address.contains(':'))?;
    let (_, names) = entries().find(|(known, _)| *known == address)?;
    Some(names.into_iter().map(str::to_owned).collect())
}

/// Returns the words of the first line that the name services have.
fn words_of(database: &str, key: &str) -> Option<Vec<String>> {
    let text = getent(database, key)?;
    let words = text.lines().next()?.split_whitespace();
    Some(words.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "127.0.0.1 localhost\n127.0.1.1 web.example.org web # us\n::1 web\n";

    #[test]
    fn the_full_name_is_that_of_the_first_ipv4_line() {
        let names = names_in(HOSTS, "web").unwrap();
        assert_eq!(names, ["web.example.org", "web"]);
    }

    #[test]
    fn a_name_beside_localhost_is_localhost() {
        let hosts = "127.0.0.1 localhost\n127.0.0.1 vm\n";
        assert_eq!(names_in(hosts, "vm").unwrap(), ["localhost"]);
    }

    #[test]
    fn an_unknown_name_has_no_entry() {
        assert_eq!(names_in(HOSTS, "db"), None);
    }
}
