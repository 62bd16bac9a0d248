//! Hosts that join the run while it goes on, because it adds them to the inventory (`add_host`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use amibake_playbook::hosts::Groups;
use amibake_protocol::ask::AddedHost;
use amibake_protocol::job::{ImplicitLocalhost, Options};
use tokio::sync::mpsc::UnboundedSender;

use super::hosts::{self, Chosen};
use super::play_hosts::PlayHosts;
use super::{Args, Prepared, Settling};
use crate::agent::{Joining, Welcome};
use crate::event::Events;
use crate::exit::Failure;
use crate::inventory::Inventory;
use crate::vault::Opened;

/// Who says which of the hosts that are added are run on, and from which play on.
pub(super) struct Newcomers<'a> {
    pub(super) args: &'a Args,
    pub(super) prepared: &'a Prepared,
    pub(super) files: &'a Opened,
    pub(super) events: Events,
    /// As the run has made it so far.
    pub(super) inventory: Mutex<Inventory>,
    /// To where they are run on.
    pub(super) joining: UnboundedSender<Chosen>,
}

impl Welcome for Newcomers<'_> {
    fn take(&self, added: &AddedHost, next: u32, members: &BTreeSet<String>) -> Vec<Joining> {
        let mut inventory = self
            .inventory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        inventory.add(added);
        let groups = inventory.groups();
        // Who joins hears what was added as all others do, and puts it where they do.
        let shared = Options {
            together: members.iter().cloned().collect(),
            localhost: self.localhost(),
            every_play: false,
            ..self.prepared.options.clone()
        };
        let plays = &self.prepared.playbook.plays;
        let plays = PlayHosts::among(&groups, plays, &shared);
        let mut joining = Vec::new();
        for name in self.named(&groups) {
            let first = plays.first_from(&name, usize::try_from(next).unwrap_or(usize::MAX));
            let Some(first) = first.filter(|_| !members.contains(&name)) else {
                continue;
            };
            match self.chosen(&inventory, &shared, &plays, &name, first) {
                Ok(host) => {
                    joining.push(Joining {
                        name,
                        first_play: host.options.first_play,
                        is_here: host.destination.is_none(),
                    });
                    // Nobody listens only when the run is over.
                    let _over = self.joining.send(host);
                }
                Err(failure) => self
                    .events
                    .warn(format!("{name} cannot be run on: {}", failure.error)),
            }
        }
        joining
    }
}

impl Newcomers<'_> {
    /// Returns how the controller takes part, for another host than itself.
    fn localhost(&self) -> ImplicitLocalhost {
        let is_controller = |host: &Chosen| host.options.localhost == ImplicitLocalhost::This;
        match self.prepared.chosen.iter().any(is_controller) {
            true => ImplicitLocalhost::Beside,
            false => ImplicitLocalhost::Absent,
        }
    }

    /// Returns the hosts that `--limit` does not leave out.
    fn named(&self, groups: &Groups) -> Vec<String> {
        hosts::limited(&self.args.target, groups).unwrap_or_default()
    }

    fn chosen(
        &self,
        inventory: &Inventory,
        shared: &Options,
        plays: &PlayHosts,
        name: &str,
        first: usize,
    ) -> Result<Chosen, Failure> {
        let mut warnings = BTreeSet::new();
        let target = &self.args.target;
        let mut shared = shared.clone();
        shared.together.push(name.to_owned());
        shared.first_play = u32::try_from(first).unwrap_or(u32::MAX);
        shared.local_hosts = hosts::local_hosts(target, inventory, &shared)?;
        let host = hosts::with_source(inventory, name);
        let mut host = Chosen {
            first_play: first,
            // It may be another machine than the one that the run is for.
            ..hosts::choose_host(target, &host, false, &shared, &mut warnings)?
        };
        for warning in warnings {
            self.events.warn(warning);
        }
        let settling = Settling {
            playbook: &self.prepared.playbook,
            plays,
            told: &self.prepared.told,
            by_vars: host.becomes,
        };
        self.args.settle(&mut host, &settling, self.files);
        Ok(host)
    }
}
