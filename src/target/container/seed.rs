//! A container's first words from us, through cloud-init as on EC2: who may log in, and the host
//! key it proves itself with. They lie in the root before it boots.

use std::path::Path;

use russh::keys::ssh_key::LineEnding;

use super::super::{Keys, TargetError};

const SEED: &str = "var/lib/cloud/seed/nocloud";

/// Writes the seed into a root that has not booted.
pub(super) fn write(root: &Path, name: &str, user: &str, keys: &Keys) -> Result<(), TargetError> {
    let bad =
        |e: russh::keys::ssh_key::Error| TargetError::new("a key could not be written").because(e);
    let private = keys.host.to_openssh(LineEnding::LF).map_err(bad)?;
    let user_data = serde_json::json!({
        "users": [{
            "name": user,
            "gecos": "amibake",
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
    let folder = root.join(SEED);
    let written = std::fs::create_dir_all(&folder)
        // JSON is YAML.
        .and_then(|()| {
            std::fs::write(
                folder.join("user-data"),
                format!("#cloud-config\n{user_data}\n"),
            )
        })
        .and_then(|()| std::fs::write(folder.join("meta-data"), format!("{meta_data}\n")));
    written
        .map_err(|e| TargetError::new(format!("could not write {}", folder.display())).because(e))
}

/// Removes the seed from a stopped machine: an image has none.
pub(super) fn remove(root: &Path) -> Result<(), TargetError> {
    let folder = root.join("var/lib/cloud/seed");
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(TargetError::new(format!("could not remove {}", folder.display())).because(e))
        }
        _ => Ok(()),
    }
}
