//! How debts on this host are paid.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::debts::Removal;
use super::{Container, host, network};
use crate::exit::Leftover;
use crate::ledger::{Debt, Paid, Payer};
use crate::run::RunId;
use crate::targets::reap::command;
use crate::targets::{TargetError, unreadable};

#[async_trait]
impl Payer for Container {
    fn leftover(&self, debt: &Debt, run: Option<&RunId>) -> Leftover {
        let what = match debt.undo.read::<Removal>() {
            Ok(removal) => removal.what(),
            Err(_) => "something on this host".to_owned(),
        };
        // Only `reap` knows what here holds on to what, and unmounts.
        let remove_with = command(run, None);
        Leftover { what, remove_with }
    }

    async fn pay(&self, debt: &Debt) -> Result<Paid, TargetError> {
        match debt.undo.read().map_err(unreadable)? {
            Removal::StopContainer { name } => self.kill(&name).await?,
            Removal::RemoveNetwork { name } => self.remove_network(&name).await?,
            Removal::RemovePath { path } => self.remove(&path).await?,
        }
        // The names are ours: what is not there by its name is nowhere.
        Ok(Paid::Gone)
    }
}

impl Container {
    /// Removes a network: one of ours is free for others when it is gone.
    async fn remove_network(&self, name: &str) -> Result<(), TargetError> {
        if !self.networks().contains_key(name) {
            return network::remove_left(name).await;
        }
        network::remove(name).await?;
        self.networks().remove(name);
        Ok(())
    }

    /// Removes a file, or a machine's folder once its container is down.
    async fn remove(&self, path: &Path) -> Result<(), TargetError> {
        if let Some(name) = path
            .file_name()
            .and_then(|n| n.to_str())
            .filter(|_| path.starts_with(&self.machines))
        {
            self.kill(name).await?;
            // A candidate lies on the builder's layer: lazily, so the order does not matter.
            host::unmount(&path.join("root")).await?;
        }
        let mut tries = 0;
        loop {
            let removed = match path.symlink_metadata() {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
                Ok(_) => std::fs::remove_file(path),
                Err(gone) => Err(gone),
            };
            tries += 1;
            match removed {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                // What was writing there has been killed, and may not be gone yet.
                Err(_) if tries < 20 => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(e) => {
                    let message = format!("could not remove {}", path.display());
                    return Err(TargetError::new(message).because(e));
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}
