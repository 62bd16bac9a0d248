//! Distribution and LSB facts, by `/etc/os-release` and the files Ansible tries around it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::read;

/// Families by distribution, of the systems a builder is likely to be; others are their own.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "Debian",
        &[
            "Debian",
            "Ubuntu",
            "Raspbian",
            "Neon",
            "KDE neon",
            "Linux Mint",
            "SteamOS",
            "Devuan",
            "Kali",
            "Cumulus Linux",
            "Pop!_OS",
            "Parrot",
            "Pardus GNU/Linux",
            "Uos",
            "Deepin",
            "OSMC",
            "Linux Mint Debian Edition",
        ],
    ),
    (
        "RedHat",
        &[
            "RedHat",
            "RHEL",
            "Fedora",
            "CentOS",
            "Scientific",
            "OracleLinux",
            "Amazon",
            "AlmaLinux",
            "Rocky",
            "EuroLinux",
            "openEuler",
            "CloudLinux",
        ],
    ),
    (
        "Suse",
        &[
            "SuSE",
            "SLES",
            "SLED",
            "openSUSE",
            "openSUSE Tumbleweed",
            "openSUSE Leap",
        ],
    ),
    ("Archlinux", &["Archlinux", "Manjaro"]),
    ("Alpine", &["Alpine"]),
    ("Gentoo", &["Gentoo"]),
];

/// Collects `distribution*` and `os_family`.
pub(super) fn collect(facts: &mut Map<String, Json>) {
    let text = read::text("/etc/os-release").or_else(|| read::text("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let found = from_os_release(
        &text,
        &read::text("/etc/debian_version").unwrap_or_default(),
    );
    facts.extend(found);
}

/// Collects `lsb`, as `lsb_release` answers where it is installed.
pub(super) fn collect_lsb(facts: &mut Map<String, Json>) {
    let file = assignments(&read::text("/etc/lsb-release").unwrap_or_default());
    let os = if read::program("lsb_release").is_some() {
        assignments(&read::text("/etc/os-release").unwrap_or_default())
    } else {
        BTreeMap::new()
    };
    facts.insert("lsb".to_owned(), Json::Object(lsb(&file, &os)));
}

fn from_os_release(text: &str, debian_version: &str) -> Map<String, Json> {
    let os = assignments(text);
    let get = |key: &str| os.get(key).map_or("", String::as_str);
    let name = distribution(get("ID"), get("NAME"));
    let mut version = get("VERSION_ID").to_owned();
    // `distro` reads the point release from here, where os-release has none.
    if name == "Debian" && debian_version.starts_with(|c: char| c.is_ascii_digit()) {
        debian_version.clone_into(&mut version);
    }
    let major = version.split('.').next().unwrap_or_default().to_owned();
    let or_na = |text: String| {
        if text.is_empty() {
            "NA".to_owned()
        } else {
            text
        }
    };
    let release = codename(get("ID"), get("VERSION_CODENAME"), get("VERSION"));
    let family = FAMILIES
        .iter()
        .find(|(_, names)| names.contains(&name.as_str()))
        .map_or(name.as_str(), |(family, _)| family)
        .to_owned();
    let variety = if family == "Debian" { "Debian" } else { "NA" };
    let mut facts = Map::new();
    let mut set = |name: &str, value: Json| facts.insert(format!("distribution{name}"), value);
    set("", json!(name));
    set("_version", json!(or_na(version.clone())));
    set("_release", json!(release));
    set("_major_version", json!(or_na(major)));
    if let (true, Some((_, minor))) = (name == "Debian", version.split_once('.')) {
        set("_minor_version", json!(minor));
    }
    set("_file_path", json!("/etc/os-release"));
    set("_file_variety", json!(variety));
    set("_file_parsed", json!(true));
    facts.insert("os_family".to_owned(), json!(family));
    facts
}

/// Ansible's name for an `ID`; an unknown one goes by its `NAME`.
fn distribution(id: &str, name: &str) -> String {
    let known = match id {
        "debian" | "raspbian" => "Debian",
        "ubuntu" => "Ubuntu",
        "amzn" => "Amazon",
        "rhel" => "RedHat",
        "centos" => "CentOS",
        "fedora" => "Fedora",
        "rocky" => "Rocky",
        "almalinux" => "AlmaLinux",
        "ol" => "OracleLinux",
        "arch" => "Archlinux",
        "alpine" => "Alpine",
        "gentoo" => "Gentoo",
        "kali" => "Kali",
        "devuan" => "Devuan",
        "linuxmint" => "Linux Mint",
        "opensuse-leap" => "openSUSE Leap",
        "opensuse-tumbleweed" => "openSUSE Tumbleweed",
        "sles" => "SLES",
        _ if name.is_empty() => "NA",
        _ => name,
    };
    known.to_owned()
}

fn codename(id: &str, codename: &str, version: &str) -> String {
    if !codename.is_empty() || id == "fedora" {
        return codename.to_owned();
    }
    let inner = version
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    inner.map_or("NA", |(name, _)| name).to_owned()
}

fn lsb(file: &BTreeMap<String, String>, os: &BTreeMap<String, String>) -> Map<String, Json> {
    let mut lsb = Map::new();
    let pairs = [
        ("id", "DISTRIB_ID", "ID"),
        ("description", "DISTRIB_DESCRIPTION", "PRETTY_NAME"),
        ("release", "DISTRIB_RELEASE", "VERSION_ID"),
        ("codename", "DISTRIB_CODENAME", "VERSION_CODENAME"),
    ];
    for (name, in_file, in_os) in pairs {
        let value = file.get(in_file).cloned().or_else(|| {
            let value = os.get(in_os)?;
            Some(if name == "id" {
                capitalised(value)
            } else {
                value.clone()
            })
        });
        if let Some(value) = value {
            lsb.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(release) = lsb.get("release").and_then(Json::as_str) {
        let major = json!(release.split('.').next());
        lsb.insert("major_release".to_owned(), major);
    }
    lsb
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Reads `KEY=value` lines, quotes removed.
fn assignments(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let value = value.trim().trim_matches(['"', '\'']);
            (key.trim().to_owned(), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UBUNTU: &str = "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\n\
        VERSION=\"24.04.1 LTS (Noble Numbat)\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n";

    #[test]
    fn ubuntu_is_a_debian_by_family_and_itself_by_name() {
        let facts = from_os_release(UBUNTU, "trixie/sid");
        assert_eq!(facts["distribution"], "Ubuntu");
        assert_eq!(facts["distribution_version"], "24.04");
        assert_eq!(facts["distribution_major_version"], "24");
        assert_eq!(facts["distribution_release"], "noble");
        assert_eq!(facts["os_family"], "Debian");
        assert!(!facts.contains_key("distribution_minor_version"));
    }

    #[test]
    fn debian_takes_its_point_release_from_its_own_file() {
        let os = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        let facts = from_os_release(os, "12.11");
        assert_eq!(facts["distribution_version"], "12.11");
        assert_eq!(facts["distribution_major_version"], "12");
        assert_eq!(facts["distribution_minor_version"], "11");
    }
}
