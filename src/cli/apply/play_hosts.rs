//! Whom the plays are for, before the run: who is connected to, and what may be said of its plays.

use std::collections::BTreeSet;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::hosts::{Groups, LOCALHOST, Matched};
use amibake_playbook::syntax::{self, Among, Play};
use amibake_protocol::job::{ImplicitLocalhost, Options};

use super::hosts::Chosen;
use super::target::TargetArgs;

/// Whom each play is for; nothing where only the run can tell.
pub(super) struct PlayHosts(Vec<Option<Matched>>);

impl PlayHosts {
    pub(super) fn of(target: &TargetArgs, plays: &[Play], shared: &Options) -> Self {
        let names: &[String] = shared.groups.get("all").map_or(&[], Vec::as_slice);
        let among = match (target.inventory.is_empty(), target.local) {
            (false, _) => Among::Inventory(&shared.groups),
            (true, true) => Among::Local(LOCALHOST),
            (true, false) => Among::Named(names),
        };
        Self(syntax::play_hosts(plays, &among, &shared.extra_vars))
    }

    /// Returns whom each play is for, of an inventory that the run has made.
    pub(super) fn among(groups: &Groups, plays: &[Play], shared: &Options) -> Self {
        let among = Among::Inventory(groups);
        Self(syntax::play_hosts(plays, &among, &shared.extra_vars))
    }

    /// Returns the first play that is, or may be, for a host. A playbook that could not be read is for everybody.
    pub(super) fn first_for(&self, host: &str) -> Option<usize> {
        match self.0.is_empty() {
            true => Some(0),
            false => self.first_from(host, 0),
        }
    }

    /// Returns the first play from `next` on that is, or may be, for a host.
    pub(super) fn first_from(&self, host: &str, next: usize) -> Option<usize> {
        let named = |play: &Option<Matched>| {
            let is_in = |matched: &Matched| matched.hosts.iter().any(|name| name == host);
            play.as_ref().is_none_or(is_in)
        };
        let mut later = self.0.iter().enumerate().skip(next);
        later.find(|(_, play)| named(play)).map(|(at, _)| at)
    }

    /// Returns the first play for the controller, where no inventory names that.
    pub(super) fn first_for_controller(&self) -> Option<usize> {
        let is_for = |play: &Option<Matched>| play.as_ref().is_some_and(|play| play.controller);
        self.0.iter().position(is_for)
    }

    /// Returns those of `plays` that are, or may be, for a host.
    pub(super) fn of_host<'p>(&self, host: &Options, plays: &'p [Play]) -> Vec<&'p Play> {
        let both = plays.iter().zip(&self.0);
        let own = both.filter(|(_, known)| is_for(known.as_ref(), host));
        own.map(|(play, _)| play).collect()
    }

    /// Returns whether a host may be touched by one of `plays`.
    pub(super) fn may_touch(&self, host: &str, plays: &[Play], gathers: bool) -> bool {
        plays.iter().zip(&self.0).any(|(play, known)| {
            let named =
                |known: &Matched| is_open(known) || known.hosts.iter().any(|name| name == host);
            known.as_ref().is_none_or(named) && play.may_touch(gathers)
        })
    }

    /// Returns whether a host is touched by one of `plays`, whatever they include.
    pub(super) fn touches(&self, host: &str, plays: &[Play], gathers: bool) -> bool {
        plays.iter().zip(&self.0).any(|(play, known)| {
            let named = |known: &Matched| known.hosts.iter().any(|name| name == host);
            known.as_ref().is_none_or(named) && play.touches_itself(gathers)
        })
    }

    /// Returns which plays run on this machine only.
    pub(super) fn local(&self, chosen: &[Chosen]) -> BTreeSet<usize> {
        let here = |play: &usize| self.hosts(*play, chosen).all(|host| host.options.local);
        let known = |play: &usize| self.0[*play].is_some();
        (0..self.0.len()).filter(known).filter(here).collect()
    }

    /// Returns what of `wrong`, each of a play, is so of a play that is for several hosts.
    pub(super) fn of_several(
        &self,
        wrong: Vec<(usize, Diagnostic)>,
        chosen: &[Chosen],
    ) -> Vec<Diagnostic> {
        let several = wrong
            .into_iter()
            .filter(|(play, _)| self.hosts(*play, chosen).nth(1).is_some());
        several.map(|(_, wrong)| wrong).collect()
    }

    /// Returns the hosts of the run that a play is, or may be, for.
    fn hosts<'c>(&self, play: usize, chosen: &'c [Chosen]) -> impl Iterator<Item = &'c Chosen> {
        let matched = self.0.get(play).cloned().flatten();
        let is_for = move |host: &&Chosen| is_for(matched.as_ref(), &host.options);
        chosen.iter().filter(is_for)
    }
}

/// Returns whether a play, as far as it is known, is or may be for a host.
fn is_for(matched: Option<&Matched>, host: &Options) -> bool {
    let Some(matched) = matched.filter(|matched| !is_open(matched)) else {
        return true;
    };
    match host.localhost {
        ImplicitLocalhost::This => matched.controller,
        ImplicitLocalhost::Absent | ImplicitLocalhost::Beside => {
            matched.hosts.contains(&host.inventory_hostname)
        }
    }
}

/// Returns whether some of the patterns name a group that is yet to be made (`group_by`), perhaps.
fn is_open(matched: &Matched) -> bool {
    !matched.in_vain.is_empty()
}
