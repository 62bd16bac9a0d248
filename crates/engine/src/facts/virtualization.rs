//! What this machine runs in, by the same signs in the same order as Ansible's.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::read;

/// What was found so far: the first sign names the type, every sign a technology.
#[derive(Default)]
struct Found {
    kind: Option<(String, &'static str)>,
    guest: BTreeSet<String>,
    host: BTreeSet<String>,
}

impl Found {
    fn guest(&mut self, tech: &str) {
        self.guest.insert(tech.to_owned());
        self.kind.get_or_insert_with(|| (tech.to_owned(), "guest"));
    }

    fn host(&mut self, tech: &str) {
        self.host.insert(tech.to_owned());
        self.kind.get_or_insert_with(|| (tech.to_owned(), "host"));
    }
}

/// Collects `virtualization_*`.
pub(super) fn collect(facts: &mut Map<String, Json>) {
    let mut found = Found::default();
    containers(&mut found);
    firmware(&mut found);
    processors(&mut found);
    modules(&mut found);
    if read::exists("/dev/kvm") {
        found.host("kvm");
    }
    let (kind, role) = found.kind.unwrap_or_else(|| ("NA".to_owned(), "NA"));
    facts.insert("virtualization_type".to_owned(), json!(kind));
    facts.insert("virtualization_role".to_owned(), json!(role));
    facts.insert("virtualization_tech_guest".to_owned(), json!(found.guest));
    facts.insert("virtualization_tech_host".to_owned(), json!(found.host));
}

fn containers(found: &mut Found) {
    for line in read::lines("/proc/1/cgroup") {
        if in_docker(&line) {
            found.guest("docker");
        }
        if line.contains("/lxc/") || line.contains("/machine.slice/machine-lxc") {
            found.guest("lxc");
        }
        if line.contains("/system.slice/containerd.service") {
            found.guest("containerd");
        }
    }
    for variable in read::text("/proc/1/environ")
        .unwrap_or_default()
        .split('\0')
    {
        if variable.contains("container=lxc") {
            found.guest("lxc");
        }
        if variable.contains("container=podman") {
            found.guest("podman");
        }
        if variable
            .strip_prefix("container=")
            .is_some_and(|v| !v.is_empty())
        {
            found.guest("container");
        }
    }
    if read::exists("/proc/vz") && !read::exists("/proc/lve") {
        if read::exists("/proc/bc") {
            found.host("openvz");
        } else {
            found.guest("openvz");
        }
    }
    let systemd = read::text("/run/systemd/container");
    if let Some(container) = &systemd {
        found.guest(container);
    }
    if read::exists("/.dockerenv") || read::exists("/.dockerinit") {
        found.guest("docker");
    }
    let known = ["docker", "lxc", "podman", "openvz", "containerd"];
    if systemd.is_some() || known.iter().any(|tech| found.guest.contains(*tech)) {
        found.guest.insert("container".to_owned());
    }
    if read::exists("/proc/xen") {
        let control = read::text("/proc/xen/capabilities").is_some_and(|c| c.contains("control_d"));
        if control {
            found.host("xen");
        } else {
            // Ansible names the type here, and lists no technology.
            found
                .kind
                .get_or_insert_with(|| ("xen".to_owned(), "guest"));
        }
    }
}

/// Whether a cgroup is below `/docker/` or in `/docker-<hex>.scope`.
fn in_docker(line: &str) -> bool {
    line.match_indices("/docker").any(|(at, sign)| {
        let rest = &line[at + sign.len()..];
        let scope = || {
            let id = rest.strip_prefix('-')?;
            let end = id
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(id.len());
            Some(end > 0 && id[end..].starts_with(".scope"))
        };
        rest.starts_with('/') || scope() == Some(true)
    })
}

fn firmware(found: &mut Found) {
    let dmi =
        |file: &str| read::text(format!("/sys/devices/virtual/dmi/id/{file}")).unwrap_or_default();
    let (product, vendor, bios) = (dmi("product_name"), dmi("sys_vendor"), dmi("bios_vendor"));
    if [
        "KVM",
        "KVM Server",
        "Bochs",
        "AHV",
        "CloudStack KVM Hypervisor",
    ]
    .contains(&product.as_str())
    {
        found.guest("kvm");
    }
    if vendor == "oVirt" {
        found.guest("oVirt");
    }
    if vendor == "Red Hat" && dmi("product_family") == "RHV" {
        found.guest("RHV");
    } else if vendor == "Red Hat" && product == "RHEV Hypervisor" {
        found.guest("RHEV");
    }
    if product.starts_with("VMware") {
        found.guest("VMware");
    }
    if ["OpenStack Compute", "OpenStack Nova"].contains(&product.as_str()) {
        found.guest("openstack");
    }
    match bios.as_str() {
        "Xen" => found.guest("xen"),
        "innotek GmbH" => found.guest("virtualbox"),
        "Amazon EC2" | "DigitalOcean" | "Hetzner" | "Linode" => found.guest("kvm"),
        _ => {}
    }
    match vendor.as_str() {
        "QEMU" | "Amazon EC2" | "DigitalOcean" | "Google" | "Scaleway" | "Nutanix" => {
            found.guest("kvm");
        }
        "KubeVirt" => found.guest("KubeVirt"),
        "Microsoft Corporation" => found.guest("VirtualPC"),
        "Parallels Software International Inc." => found.guest("parallels"),
        "OpenStack Foundation" => found.guest("openstack"),
        _ => {}
    }
    if product.contains("BHYVE") && read::program("dmidecode").is_some() {
        found.guest("bhyve");
    }
}

fn processors(found: &mut Found) {
    for line in read::lines("/proc/cpuinfo") {
        if line.starts_with("model name") && line.contains("QEMU Virtual CPU") {
            found.guest("kvm");
        } else if (line.starts_with("vendor_id") && line.contains("User Mode Linux"))
            || (line.starts_with("model name") && line.contains("UML"))
        {
            found.guest("uml");
        }
    }
}

fn modules(found: &mut Found) {
    let modules = read::lines("/proc/modules");
    let loaded = |name: &str| {
        modules
            .iter()
            .any(|line| line.split(' ').next() == Some(name))
    };
    if loaded("kvm") {
        found.host("kvm");
    }
    if loaded("vboxdrv") {
        found.host("virtualbox");
    }
    if loaded("virtio") {
        found.host.insert("kvm".to_owned());
        found
            .kind
            .get_or_insert_with(|| ("kvm".to_owned(), "guest"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_names_the_type_and_every_sign_is_listed() {
        let mut found = Found::default();
        found.guest("docker");
        found.host("kvm");
        assert_eq!(found.kind, Some(("docker".to_owned(), "guest")));
        assert!(found.host.contains("kvm"));
    }

    #[test]
    fn docker_is_seen_in_both_kinds_of_cgroup() {
        assert!(in_docker("5:cpu:/docker/0123"));
        assert!(in_docker("0::/system.slice/docker-0a1f.scope"));
        assert!(!in_docker("0::/system.slice/docker-registry.service"));
    }
}
