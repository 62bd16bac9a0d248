//! `--on-error keep`: how to get into what stays. The only place that writes a login key to a disk.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use amibake_playbook::shell::quote;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;

use crate::private_file;
use crate::run::RunId;
use crate::targets::Machine;

/// A machine that can be logged in to, as it can be now.
#[derive(Debug, Clone)]
pub(crate) struct DebugLogin {
    host: String,
    port: u16,
    user: String,
    login_key: PrivateKey,
    /// `ssh-ed25519 AAAA…`: the key it has to show.
    host_key: String,
}

impl DebugLogin {
    /// Returns the way into a machine that shows the host key it was given.
    pub(crate) fn of(machine: &Machine) -> Self {
        Self {
            host: machine.host.clone(),
            port: machine.port,
            user: machine.user.clone(),
            login_key: machine.login_key.clone(),
            host_key: machine.host_key.to_openssh().unwrap_or_default(),
        }
    }

    /// Returns the same for a machine that has made itself another host key.
    pub(crate) fn pinned(self, host_key: impl Into<String>) -> Self {
        Self {
            host_key: host_key.into(),
            ..self
        }
    }

    /// Writes login key and pin to `folder`, for their owner alone; returns the command that logs in.
    pub(crate) fn write(&self, folder: &Path, run: &RunId) -> io::Result<String> {
        let [key, pin] = files(folder, run);
        let pem = self.login_key.to_openssh(LineEnding::LF);
        private(&key, pem.map_err(io::Error::other)?.as_bytes())?;
        private(&pin, self.known_host().as_bytes())?;
        let (key, pin) = (key.display().to_string(), pin.display().to_string());
        Ok(format!(
            "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -p {} {}@{}",
            quote(&key),
            quote(&pin),
            self.port,
            self.user,
            self.host
        ))
    }

    /// A port that is not 22 is part of the name, in brackets.
    fn known_host(&self) -> String {
        let Self { host, port, .. } = self;
        let name = match port {
            22 => host.clone(),
            _ => format!("[{host}]:{port}"),
        };
        format!("{name} {}\n", self.host_key.trim())
    }
}

/// Removes what [`DebugLogin::write`] wrote, if it did.
pub(crate) fn forget(folder: &Path, run: &RunId) {
    for file in files(folder, run) {
        let _was_not_there = std::fs::remove_file(file);
    }
}

fn files(folder: &Path, run: &RunId) -> [PathBuf; 2] {
    ["key", "known_hosts"].map(|kind| folder.join(format!("{run}.{kind}")))
}

fn private(path: &Path, content: &[u8]) -> io::Result<()> {
    private_file::create_new(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Keys;
    use std::os::unix::fs::PermissionsExt;

    fn debug_login(port: u16) -> DebugLogin {
        let keys = Keys::make().unwrap();
        DebugLogin::of(&Machine {
            id: "i-1".into(),
            host: "10.0.0.7".into(),
            port,
            user: "ubuntu".into(),
            host_key: keys.host.public_key().clone(),
            login_key: keys.login,
        })
    }

    #[test]
    fn key_and_pin_are_their_owner_s_alone_and_go_when_the_run_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        debug_login(22).write(folder.path(), &run).unwrap();
        for file in files(folder.path(), &run) {
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        forget(folder.path(), &run);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_pin_is_the_key_that_the_machine_made_and_names_its_port() {
        let pin = debug_login(2222).pinned("ssh-ed25519 AAAA\n").known_host();
        assert_eq!(pin, "[10.0.0.7]:2222 ssh-ed25519 AAAA\n");
        assert!(
            debug_login(22)
                .known_host()
                .starts_with("10.0.0.7 ssh-ed25519 ")
        );
    }
}
