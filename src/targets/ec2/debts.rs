//! What is owed to EC2, how it is written down, and its words. Paying is `undo`'s.

use serde::{Deserialize, Serialize};

use super::Ec2;
use super::publish::Outward;
use crate::exit::Leftover;
use crate::ledger::{Debt, Undo};
use crate::run::RunId;
use crate::targets::reap::command;
use crate::targets::{EC2, Role};

/// What undoes one creation in EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ec2Undo {
    pub(super) region: String,
    /// Value of the tag that finds it again after a crash.
    pub(super) run: RunId,
    #[serde(flatten)]
    pub(super) removal: Removal,
}

/// The removing call, and what it goes by as long as no id is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub(super) enum Removal {
    /// Terminate the run's instance of this role.
    TerminateInstance { role: Role },
    /// Delete the run's security group, once nothing uses it.
    DeleteSecurityGroup { name: String },
    /// Deregister the run's image of this name.
    DeregisterImage { name: String },
    /// Delete the run's snapshots, once no image uses them.
    DeleteSnapshots {
        /// How many there will be, where that is known: one for each of the builder's volumes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<usize>,
    },
    /// Register an image again from its spare where the name is free, and deregister the spare.
    RestoreImage { name: String, spare: String },
    /// Delete the run's lock of this name.
    DeleteLock { name: String },
    /// Take back what others may already act on.
    Withdraw(Outward),
}

impl From<Ec2Undo> for Undo {
    fn from(undo: Ec2Undo) -> Self {
        Self::new(EC2, &undo)
    }
}

impl Ec2 {
    /// Returns what undoes a creation of `run` here.
    pub(super) fn undoing(&self, run: &RunId, removal: Removal) -> Ec2Undo {
        Ec2Undo {
            region: self.region.clone(),
            run: run.clone(),
            removal,
        }
    }
}

impl Ec2Undo {
    /// Returns it in words, with the command that does it.
    pub(super) fn leftover(&self, learned: &[String]) -> Leftover {
        Leftover {
            what: self.what(learned),
            remove_with: self.remedy(learned),
        }
    }

    /// Returns what it removes, for people.
    pub(super) fn what(&self, learned: &[String]) -> String {
        let Self { region, run, .. } = self;
        let (noun, otherwise) = match &self.removal {
            Removal::TerminateInstance { role } => {
                (format!("{role} instance"), format!("of run {run}"))
            }
            Removal::DeleteSecurityGroup { name } => ("security group".to_owned(), name.clone()),
            Removal::DeregisterImage { name } => ("image".to_owned(), name.clone()),
            Removal::DeleteSnapshots { .. } => ("snapshot".to_owned(), format!("of run {run}")),
            Removal::DeleteLock { name } => ("lock".to_owned(), name.clone()),
            Removal::RestoreImage { name, spare } => {
                let spare = learned.first().unwrap_or(spare);
                return format!(
                    "spare {spare} of image {name} in {region} (which is registered again where its name is free)"
                );
            }
            Removal::Withdraw(outward) => return format!("{} in {region}", outward.what()),
        };
        let named = match learned {
            [] => otherwise,
            ids => ids.join(", "),
        };
        format!("{noun} {named} in {region}")
    }

    fn remedy(&self, learned: &[String]) -> String {
        let Self { region, run, .. } = self;
        if let Removal::Withdraw(outward) = &self.removal {
            let remedy = outward.remedy(region, learned);
            return remedy.unwrap_or_else(|| command(Some(run), Some(region)));
        }
        if let Removal::RestoreImage { .. } = &self.removal {
            return command(Some(run), Some(region));
        }
        let [id] = learned else {
            // None is known, or several, for which EC2 has no one command.
            return command(Some(run), Some(region));
        };
        let (call, option) = match &self.removal {
            Removal::TerminateInstance { .. } => ("terminate-instances", "instance-ids"),
            Removal::DeleteSecurityGroup { .. } => ("delete-security-group", "group-id"),
            Removal::DeregisterImage { .. } => ("deregister-image", "image-id"),
            Removal::DeleteSnapshots { .. } => ("delete-snapshot", "snapshot-id"),
            Removal::DeleteLock { .. } => ("delete-launch-template", "launch-template-id"),
            Removal::Withdraw(_) | Removal::RestoreImage { .. } => {
                return command(Some(run), Some(region));
            }
        };
        format!("aws ec2 {call} --region {region} --{option} {id}")
    }
}

impl Removal {
    /// Returns what it is paid by where no id was ever learned: some have their name before the call.
    pub(super) fn own_name(&self) -> Option<String> {
        match self {
            Self::Withdraw(outward) => Some(outward.what()),
            Self::TerminateInstance { .. }
            | Self::DeleteSecurityGroup { .. }
            | Self::DeregisterImage { .. }
            | Self::DeleteSnapshots { .. }
            | Self::RestoreImage { .. }
            | Self::DeleteLock { .. } => None,
        }
    }

    /// Returns whether both remove the same of their run.
    pub(super) fn is_for(&self, other: &Self) -> bool {
        match (self, other) {
            // How many are expected is not always known.
            (Self::DeleteSnapshots { .. }, Self::DeleteSnapshots { .. }) => true,
            (one, other) => one == other,
        }
    }
}

/// Returns a debt in words, also one that another version has written.
pub(super) fn leftover(debt: &Debt, run: Option<&RunId>) -> Leftover {
    match debt.undo.read::<Ec2Undo>() {
        Ok(undo) => undo.leftover(&debt.learned),
        Err(_) => Leftover {
            what: format!("something in EC2 {}", debt.learned.join(", ")),
            remove_with: command(run, None),
        },
    }
}
