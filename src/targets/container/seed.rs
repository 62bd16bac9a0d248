//! A container's first words from us, through cloud-init as on EC2: who may log in, and the host
//! key it proves itself with, and when it ends itself. They lie beside the root, and are mounted in it while it runs.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;

use super::super::{Keys, TargetError};
use crate::manifest::Source;
use crate::plan::BakePlan;

/// Where cloud-init finds it.
pub(super) const PLACE: &str = "/var/lib/cloud/seed/nocloud";

/// What keeps systemd-networkd from an interface that is configured from outside: a root that was made elsewhere may ask for
/// DHCP. A file of this name beside the seed, and its place.
pub(super) const UNMANAGED: (&str, &str) = (
    "unmanaged.network",
    "/run/systemd/network/00-amibake.network",
);

/// Returns the user that images of this kind have: `debian`, `ubuntu`.
pub(super) fn usual_user(plan: &BakePlan, lowers: &[PathBuf]) -> String {
    let named = match &plan.source {
        Source::Ubuntu(_) => Some("ubuntu".to_owned()),
        Source::Debian(_) => Some("debian".to_owned()),
        Source::Ami(_) | Source::Ssm(_) | Source::Filter(_) | Source::Manifest(_) => None,
        Source::Image { .. } => lowers.last().and_then(|root| distribution(root)),
    };
    named.unwrap_or_else(|| "amibake".to_owned())
}

/// Reads the distribution's name; most roots have it at this place, and a link is not followed.
fn distribution(root: &Path) -> Option<String> {
    let file = root.join("usr/lib/os-release");
    let text = std::fs::read_to_string(file).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("ID="))?;
    let id = id.trim_matches(['"', '\'']);
    let fits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase());
    fits.then(|| id.to_owned())
}

/// Writes the seed to `folder`. `timer` is the command that arms the machine's own end.
pub(super) fn write(
    folder: &Path,
    name: &str,
    user: &str,
    keys: &Keys,
    timer: &str,
) -> Result<(), TargetError> {
    let bad =
        |e: russh::keys::ssh_key::Error| TargetError::new("a key could not be written").because(e);
    let private = keys.host.to_openssh(LineEnding::LF).map_err(bad)?;
    let user_data = serde_json::json!({
        "bootcmd": [["sh", "-c", timer]],
        "users": [{
            "name": user,
            "groups": ["adm", "sudo"],
            "shell": "/bin/bash",
            "lock_passwd": true,
            "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
            "ssh_authorized_keys": [keys.login.public_key().to_openssh().map_err(bad)?],
        }],
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": private.as_str(),
            "ed25519_public": keys.host.public_key().to_openssh().map_err(bad)?,
        },
    });
    let meta_data = serde_json::json!({ "instance-id": name, "local-hostname": "builder" });
    let written = std::fs::create_dir_all(folder)
        // JSON is YAML.
        .and_then(|()| {
            std::fs::write(
                folder.join("user-data"),
                format!("#cloud-config\n{user_data}\n"),
            )
        })
        .and_then(|()| std::fs::write(folder.join("meta-data"), format!("{meta_data}\n")))
        .and_then(|()| {
            std::fs::write(
                folder.join(UNMANAGED.0),
                "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n",
            )
        });
    written
        .map_err(|e| TargetError::new(format!("could not write {}", folder.display())).because(e))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::guest::prepare::arm_timer;
    use crate::targets::Role;

    #[test]
    fn a_machine_that_nobody_reaches_ends_itself() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::make().unwrap();
        let run = "20260727t101500z-0a1b2c".parse().unwrap();
        let timer = arm_timer(&run, Role::Builder, Duration::from_secs(90));
        write(folder.path(), "m", "debian", &keys, &timer).unwrap();
        let text = std::fs::read_to_string(folder.path().join("user-data")).unwrap();
        let (_, config) = text.split_once('\n').unwrap();
        let config: serde_json::Value = serde_json::from_str(config).unwrap();
        let command = config["bootcmd"][0][2].as_str().unwrap();
        assert!(command.contains("--on-active=90s"), "{command}");
    }
}
