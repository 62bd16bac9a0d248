//! Modules that Ansible knows: which this program runs, which it does not have yet.

use crate::argspec::{self, ModuleSpec};
pub(super) use crate::names::bare;

/// What the executor does itself, without parameters to check.
pub const STATEMENTS: &[&str] = &[
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "include_vars",
    "meta",
    "setup",
    "gather_facts",
    "ping",
    "wait_for_connection",
    "set_fact",
];

/// ansible.builtin of 2.19, completely.
const BUILTIN: &[&str] = &[
    "add_host",
    "apt",
    "apt_key",
    "apt_repository",
    "assemble",
    "assert",
    "async_status",
    "blockinfile",
    "command",
    "copy",
    "cron",
    "deb822_repository",
    "debconf",
    "debug",
    "dnf",
    "dnf5",
    "dpkg_selections",
    "expect",
    "fail",
    "fetch",
    "file",
    "find",
    "gather_facts",
    "get_url",
    "getent",
    "git",
    "group",
    "group_by",
    "hostname",
    "import_playbook",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "iptables",
    "known_hosts",
    "lineinfile",
    "meta",
    "mount_facts",
    "package",
    "package_facts",
    "pause",
    "ping",
    "pip",
    "raw",
    "reboot",
    "replace",
    "rpm_key",
    "script",
    "service",
    "service_facts",
    "set_fact",
    "set_stats",
    "setup",
    "shell",
    "slurp",
    "stat",
    "subversion",
    "systemd",
    "systemd_service",
    "sysvinit",
    "tempfile",
    "template",
    "unarchive",
    "uri",
    "user",
    "validate_argument_spec",
    "wait_for",
    "wait_for_connection",
    "yum",
    "yum_repository",
];

/// The collections' modules that ansible-core finds by their short names, and others often met.
const OTHERS: &[&str] = &[
    "ansible.posix.acl",
    "ansible.posix.at",
    "ansible.posix.authorized_key",
    "ansible.posix.firewalld",
    "ansible.posix.mount",
    "ansible.posix.patch",
    "ansible.posix.seboolean",
    "ansible.posix.selinux",
    "ansible.posix.synchronize",
    "ansible.posix.sysctl",
    "community.general.alternatives",
    "community.general.apk",
    "community.general.archive",
    "community.general.capabilities",
    "community.general.cargo",
    "community.general.composer",
    "community.general.dconf",
    "community.general.filesystem",
    "community.general.flatpak",
    "community.general.gem",
    "community.general.git_config",
    "community.general.github_release",
    "community.general.haproxy",
    "community.general.homebrew",
    "community.general.htpasswd",
    "community.general.ini_file",
    "community.general.interfaces_file",
    "community.general.java_cert",
    "community.general.kernel_blacklist",
    "community.general.ldap_entry",
    "community.general.locale_gen",
    "community.general.lvg",
    "community.general.lvol",
    "community.general.make",
    "community.general.modprobe",
    "community.general.monit",
    "community.general.nmcli",
    "community.general.npm",
    "community.general.open_iscsi",
    "community.general.openssl_dhparam",
    "community.general.pacman",
    "community.general.pam_limits",
    "community.general.pamd",
    "community.general.parted",
    "community.general.pipx",
    "community.general.runit",
    "community.general.seport",
    "community.general.slack",
    "community.general.snap",
    "community.general.ssh_config",
    "community.general.sudoers",
    "community.general.supervisorctl",
    "community.general.timezone",
    "community.general.ufw",
    "community.general.xml",
    "community.general.zypper",
    "community.crypto.acme_certificate",
    "community.crypto.openssh_keypair",
    "community.crypto.openssl_csr",
    "community.crypto.openssl_dhparam",
    "community.crypto.openssl_pkcs12",
    "community.crypto.openssl_privatekey",
    "community.crypto.x509_certificate",
    "community.docker.docker_compose_v2",
    "community.docker.docker_container",
    "community.docker.docker_image",
    "community.docker.docker_network",
    "community.docker.docker_volume",
    "community.mysql.mysql_db",
    "community.mysql.mysql_user",
    "community.postgresql.postgresql_db",
    "community.postgresql.postgresql_user",
];

/// What a name in a task stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// A module here.
    Module(&'static ModuleSpec),
    /// Something the executor does itself.
    Statement,
    /// Known to Ansible, not here.
    Missing,
    /// Of some collection: nobody here can tell whether it exists.
    Foreign,
    /// Known to nobody.
    Unknown,
}

pub(super) fn name(name: &str) -> Name {
    if let Some(spec) = argspec::find(name) {
        return match argspec::NOT_YET.contains(&spec.name) {
            true => Name::Missing,
            false => Name::Module(spec),
        };
    }
    let bare = bare(name);
    if STATEMENTS.contains(&bare) {
        return Name::Statement;
    }
    let other = |full: &&str| **full == *name || full.rsplit('.').next() == Some(name);
    if BUILTIN.contains(&bare) || OTHERS.iter().any(other) {
        return Name::Missing;
    }
    let foreign = name.split('.').count() >= 3 && bare == name;
    if foreign {
        Name::Foreign
    } else {
        Name::Unknown
    }
}

/// Returns the fully qualified name of a name known to Ansible.
pub(super) fn full(name: &str) -> String {
    if let Some(spec) = argspec::find(name) {
        return spec.name.to_owned();
    }
    if BUILTIN.contains(&bare(name)) {
        return format!("ansible.builtin.{}", bare(name));
    }
    let found = OTHERS
        .iter()
        .find(|full| full.rsplit('.').next() == Some(name));
    found.map_or_else(|| name.to_owned(), |full| (*full).to_owned())
}

/// Returns names that a misspelt one may have meant, in the form in which it was written.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for short in BUILTIN {
        all.push((*short).to_owned());
        all.push(format!("ansible.builtin.{short}"));
    }
    for full in argspec::all()
        .map(|spec| spec.name)
        .chain(OTHERS.iter().copied())
    {
        all.push(full.to_owned());
        all.extend(full.rsplit('.').next().map(str::to_owned));
    }
    all.retain(|candidate| candidate.contains('.') == name.contains('.'));
    all
}
