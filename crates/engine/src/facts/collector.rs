//! Which collectors there are and which of them a `gather_subset` selects.

use std::collections::BTreeSet;

/// One source of facts, named as in `gather_subset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Collector {
    Platform,
    Distribution,
    Lsb,
    Selinux,
    Apparmor,
    Chroot,
    Fips,
    Python,
    Caps,
    PkgMgr,
    ServiceMgr,
    Cmdline,
    DateTime,
    Env,
    Loadavg,
    SshPubKeys,
    User,
    Systemd,
    Virtual,
    Hardware,
    Dns,
    FibreChannel,
    Network,
    Iscsi,
    Nvme,
    Local,
    Facter,
    Ohai,
}

/// A `gather_subset` that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Bad subset '{name}' given to Ansible. gather_subset options allowed: all, {allowed}")]
pub struct BadSubset {
    name: String,
    allowed: String,
}

impl Collector {
    /// All of them, in Ansible's order: later ones read what earlier ones found.
    pub(super) const ALL: &[Self] = &[
        Self::Platform,
        Self::Distribution,
        Self::Lsb,
        Self::Selinux,
        Self::Apparmor,
        Self::Chroot,
        Self::Fips,
        Self::Python,
        Self::Caps,
        Self::PkgMgr,
        Self::ServiceMgr,
        Self::Cmdline,
        Self::DateTime,
        Self::Env,
        Self::Loadavg,
        Self::SshPubKeys,
        Self::User,
        Self::Systemd,
        Self::Virtual,
        Self::Hardware,
        Self::Dns,
        Self::FibreChannel,
        Self::Network,
        Self::Iscsi,
        Self::Nvme,
        Self::Local,
        Self::Facter,
        Self::Ohai,
    ];

    /// The names that select it: its own first, then its facts'.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Platform => &[
                "platform",
                "system",
                "kernel",
                "kernel_version",
                "machine",
                "python_version",
                "architecture",
                "machine_id",
            ],
            Self::Distribution => &[
                "distribution",
                "distribution_version",
                "distribution_release",
                "distribution_major_version",
                "os_family",
            ],
            Self::Lsb => &["lsb"],
            Self::Selinux => &["selinux"],
            Self::Apparmor => &["apparmor"],
            Self::Chroot => &["chroot", "is_chroot"],
            Self::Fips => &["fips"],
            Self::Python => &["python"],
            Self::Caps => &[
                "caps",
                "system_capabilities",
                "system_capabilities_enforced",
            ],
            Self::PkgMgr => &["pkg_mgr"],
            Self::ServiceMgr => &["service_mgr"],
            Self::Cmdline => &["cmdline"],
            Self::DateTime => &["date_time"],
            Self::Env => &["env"],
            Self::Loadavg => &["loadavg"],
            Self::SshPubKeys => &[
                "ssh_pub_keys",
                "ssh_host_pub_keys",
                "ssh_host_key_dsa_public",
                "ssh_host_key_rsa_public",
                "ssh_host_key_ecdsa_public",
                "ssh_host_key_ed25519_public",
            ],
            Self::User => &[
                "user",
                "user_id",
                "user_uid",
                "user_gid",
                "user_gecos",
                "user_dir",
                "user_shell",
                "real_user_id",
                "effective_user_id",
                "effective_group_ids",
            ],
            Self::Systemd => &["systemd"],
            Self::Virtual => &[
                "virtual",
                "virtualization_type",
                "virtualization_role",
                "virtualization_tech_guest",
                "virtualization_tech_host",
            ],
            Self::Hardware => &[
                "hardware",
                "processor",
                "processor_cores",
                "processor_count",
                "mounts",
                "devices",
            ],
            Self::Dns => &["dns"],
            Self::FibreChannel => &["fibre_channel_wwn"],
            Self::Network => &[
                "network",
                "interfaces",
                "default_ipv4",
                "default_ipv6",
                "all_ipv4_addresses",
                "all_ipv6_addresses",
            ],
            Self::Iscsi => &["iscsi"],
            Self::Nvme => &["nvme"],
            Self::Local => &["local"],
            Self::Facter => &["facter"],
            Self::Ohai => &["ohai"],
        }
    }

    /// Whether `!all` keeps it.
    fn is_minimal(self) -> bool {
        matches!(
            self,
            Self::Apparmor
                | Self::Caps
                | Self::Cmdline
                | Self::DateTime
                | Self::Distribution
                | Self::Dns
                | Self::Env
                | Self::Fips
                | Self::Local
                | Self::Lsb
                | Self::PkgMgr
                | Self::Platform
                | Self::Python
                | Self::Selinux
                | Self::ServiceMgr
                | Self::SshPubKeys
                | Self::User
        )
    }

    /// What it reads of others' facts.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::PkgMgr => &[Self::Distribution],
            Self::ServiceMgr | Self::Network => &[Self::Platform, Self::Distribution],
            Self::Hardware => &[Self::Platform],
            _ => &[],
        }
    }
}

/// Returns the collectors that `subset` selects: the minimum, plus, minus, by name.
pub(super) fn wanted(subset: &[String]) -> Result<BTreeSet<Collector>, BadSubset> {
    let all = || Collector::ALL.iter().copied();
    let mut added = BTreeSet::new();
    let mut removed = BTreeSet::new();
    let mut named = BTreeSet::new();
    let everything = ["all".to_owned()];
    let subset = if subset.is_empty() {
        &everything
    } else {
        subset
    };
    added.extend(all().filter(|c| c.is_minimal()));
    for item in subset {
        let (name, not) = item
            .strip_prefix('!')
            .map_or((item.as_str(), false), |n| (n, true));
        match (name, not) {
            ("all", false) => added.extend(all()),
            ("all", true) => removed.extend(all().filter(|c| !c.is_minimal())),
            ("min", false) => added.extend(all().filter(|c| c.is_minimal())),
            ("min", true) => removed.extend(all().filter(|c| c.is_minimal())),
            // What nobody knows can be left out.
            (name, true) => removed.extend(find(name).unwrap_or_default()),
            (name, false) => named.extend(find(name)?),
        }
    }
    let mut wanted: BTreeSet<_> = added.difference(&removed).copied().collect();
    wanted.extend(named);
    let needed: Vec<_> = wanted.iter().flat_map(|c| c.needs()).copied().collect();
    wanted.extend(needed);
    Ok(wanted)
}

fn find(name: &str) -> Result<Vec<Collector>, BadSubset> {
    let found: Vec<_> = Collector::ALL
        .iter()
        .copied()
        .filter(|c| c.names().contains(&name))
        .collect();
    if found.is_empty() {
        let mut allowed: Vec<_> = Collector::ALL
            .iter()
            .flat_map(|c| c.names())
            .copied()
            .collect();
        allowed.sort_unstable();
        return Err(BadSubset {
            name: name.to_owned(),
            allowed: allowed.join(", "),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(subset: &[&str]) -> BTreeSet<Collector> {
        wanted(&subset.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn nothing_asked_is_everything() {
        assert_eq!(names(&[]).len(), Collector::ALL.len());
    }

    #[test]
    fn what_is_named_stays_though_all_is_excluded() {
        let found = names(&["!all", "!min", "network"]);
        let expected = [
            Collector::Platform,
            Collector::Distribution,
            Collector::Network,
        ];
        assert_eq!(found, expected.into());
    }

    #[test]
    fn an_unknown_subset_is_named() {
        let error = wanted(&["nonsense".to_owned()]).unwrap_err();
        assert!(error.to_string().starts_with("Bad subset 'nonsense'"));
        assert_eq!(names(&["!nonsense"]), names(&["min"]));
    }
}
