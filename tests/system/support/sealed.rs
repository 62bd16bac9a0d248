//! What every image is, on whichever target it was made: sealed, looked into offline for everything
//! that EC2.md's "sealed root" lists, and able to boot by itself.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::wait_for;

/// Paths of which none may be in an image; `*` stands for any name.
const ABSENT: [&str; 59] = [
    // Host keys, ours and the machine's.
    "etc/ssh/ssh_host_*",
    "etc/ssh/amibake_new_key*",
    // cloud-init's state, the user data it kept, what it rendered.
    "var/lib/cloud/instance",
    "var/lib/cloud/instances",
    "var/lib/cloud/data",
    "var/lib/cloud/sem",
    "var/lib/cloud/handlers/*",
    "var/lib/cloud/scripts/per-instance/*",
    "run/cloud-init/instance-data*.json",
    "etc/netplan/50-cloud-init.yaml",
    "etc/network/interfaces.d/50-cloud-init*",
    "etc/systemd/network/10-cloud-init-*.network",
    "etc/systemd/network/50-cloud-init-*.link",
    "etc/NetworkManager/system-connections/cloud-init-*.nmconnection",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/udev/rules.d/85-persistent-net-cloud-init.rules",
    "etc/sudoers.d/90-cloud-init-users",
    // Randomness, leases.
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dhcp/*",
    "var/lib/dhclient/*",
    "var/lib/NetworkManager/*.lease",
    "run/systemd/netif/leases/*",
    // Registrations.
    "var/lib/amazon/ssm/*",
    "var/lib/ubuntu-advantage/private",
    "var/lib/ubuntu-advantage/machine-access",
    "var/lib/snapd/device/private-keys-v1/*",
    "var/lib/snapd/assertions/asserts-v0/serial",
    "var/lib/landscape/client/*.bpickle",
    // What each machine makes for itself.
    "etc/docker/key.json",
    "var/lib/docker/engine-id",
    "var/lib/mysql/auto.cnf",
    "etc/salt/minion_id",
    "etc/salt/pki/minion/minion.pem",
    "etc/cockpit/ws-certs.d/0-self-signed*",
    "var/lib/zerotier-one/identity.*",
    "var/lib/netdata/registry/netdata.public.unique.id",
    // Who may log in, and what they did.
    "root/.ssh/authorized_keys*",
    "home/*/.ssh/authorized_keys*",
    "etc/ssh/keys.d/*",
    "root/.*_history",
    "home/*/.*_history",
    "home/*/.local/share/fish/fish_history",
    "root/.lesshst",
    "root/.viminfo",
    "root/.wget-hsts",
    "root/.ansible*",
    "home/*/.ansible*",
    "home/*/.sudo_as_admin_successful",
    // Packages, crashes, temporary things.
    "var/lib/apt/lists/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/crash/*",
    "tmp/*",
    "var/tmp/*",
    // Agent and bundle.
    "var/lib/amibake",
    "run/amibake",
    "etc/systemd/system/amibake*",
    "root/.cache/amibake",
];

/// Returns everything of a builder that is in `root`, sorted.
pub(crate) fn residue(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = ABSENT
        .iter()
        .flat_map(|pattern| matches(root, pattern))
        .map(|path| path.strip_prefix(root).unwrap().display().to_string())
        .collect();
    found.extend(logs(&root.join("var/log"), root));
    found.extend(identity(root));
    found.sort();
    found
}

fn identity(root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    match std::fs::metadata(root.join("etc/machine-id")) {
        Ok(id) if id.size() == 0 => {}
        Ok(_) => wrong.push("etc/machine-id is not empty".to_owned()),
        Err(_) => wrong.push("etc/machine-id is not there".to_owned()),
    }
    let second = root.join("var/lib/dbus/machine-id");
    if second.symlink_metadata().is_ok() && !second.is_symlink() {
        wrong.push("var/lib/dbus/machine-id is not a link".to_owned());
    }
    let name = std::fs::read_to_string(root.join("etc/hostname")).unwrap_or_default();
    if !["", "localhost"].contains(&name.trim()) {
        wrong.push(format!("etc/hostname is {}", name.trim()));
    }
    wrong
}

/// Logs may be there, empty. What writes on the way down is no trace of the build: wtmp.
fn logs(folder: &Path, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let of = path.symlink_metadata().unwrap();
        if of.is_dir() {
            found.extend(logs(&path, root));
        } else if of.is_file() && of.size() > 0 && !path.ends_with("wtmp") {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    found
}

/// Returns what there is at `pattern`, of which each part may hold one or more `*`.
fn matches(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![root.to_path_buf()];
    for part in pattern.split('/') {
        folders = folders
            .iter()
            .flat_map(|folder| children(folder, part))
            .collect();
    }
    folders
}

fn children(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains('*') {
        let path = folder.join(part);
        return path
            .symlink_metadata()
            .is_ok()
            .then_some(path)
            .into_iter()
            .collect();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| fits(&path.file_name().unwrap().to_string_lossy(), part))
        .collect()
}

/// Whether `name` is as `part` says. A bare `*` leaves hidden files out no more than others.
fn fits(name: &str, part: &str) -> bool {
    match part.split_once('*') {
        None => name == part,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(i, _)| i).chain([rest.len()]);
            starts.into_iter().any(|i| fits(&rest[i..], after))
        }),
    }
}

/// Boots a copy of the disk without any user data, and sees it make itself new host keys.
pub(crate) fn assert_boots_alone(root: &Path) {
    let copy = tempfile::tempdir().unwrap();
    let disk = copy.path().join("root");
    let copied = Command::new("cp").arg("-a").arg(root).arg(&disk).status();
    assert!(copied.unwrap().success());
    let mut machine = Command::new("systemd-nspawn")
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--private-network",
            "--console=pipe",
        ])
        .arg("--directory")
        .arg(&disk)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("new host keys", Duration::from_secs(240), || {
        disk.join("etc/ssh/ssh_host_ed25519_key").exists()
    });
    assert!(machine.try_wait().unwrap().is_none(), "it is up");
    Command::new("kill")
        .args(["-TERM", &machine.id().to_string()])
        .status()
        .unwrap();
    machine.wait().unwrap();
}
