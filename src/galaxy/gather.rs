//! Without a whole lock file: finds out what is asked for, with all that it needs. Roles come in waves, each with what
//! the one before needs, as `ansible-galaxy` comes to them; versions of collections are resolved together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use amibake_playbook::diagnostic::Span;
use amibake_playbook::yaml::{Kind as Value, Node};

use super::fetch::{Fault, StagedCollection, StagedRole};
use super::lock::{Lock, Origin, Pin};
use super::requirement::{self, Base, CollectionRequirement, CollectionSource};
use super::requirement::{Requirements, RoleRequirement, RoleSource};
use super::resolve::{self, Given, Index, Wish};
use super::server::Release;
use super::version::{NoVersion, Range, Version};
use super::{InstallError, Kind, Ready, Run, Staged};
use crate::exit::chain;

impl Run<'_> {
    /// Fetches what is asked for. Of what the old lock file has, its versions are taken.
    pub(super) fn gathered(
        &self,
        wanted: &Requirements,
        old: Option<&Lock>,
    ) -> Result<Staged, InstallError> {
        let pins: (&[Pin], &[Pin]) = match old {
            Some(old) => (&old.roles, &old.collections),
            None => (&[], &[]),
        };
        let roles = self.roles(wanted.roles.clone(), pins.0)?;
        let collections = self.collections(&wanted.collections, pins.1)?;
        Ok(Staged {
            roles: ready(roles, |role| &role.pin),
            collections: ready(collections, |collection| &collection.pin),
        })
    }

    fn roles(
        &self,
        mut wave: Vec<RoleRequirement>,
        pins: &[Pin],
    ) -> Result<Vec<StagedRole>, InstallError> {
        let mut all: Vec<StagedRole> = Vec::new();
        let mut known: BTreeMap<String, RoleRequirement> = BTreeMap::new();
        while !wave.is_empty() {
            let named = wave.iter().map(|role| (role.name.clone(), role.clone()));
            known.extend(named);
            let staged = self.each(&wave, |role| self.role(role, pins))?;
            wave.clear();
            for role in &staged {
                for needed in role.needs.iter().filter(|_| self.request.dependencies) {
                    match known.get(&needed.name) {
                        None => {
                            known.insert(needed.name.clone(), needed.clone());
                            wave.push(needed.clone());
                        }
                        Some(first) => self.tell_other(first, needed, &role.pin.name),
                    }
                }
            }
            all.extend(staged);
        }
        Ok(all)
    }

    /// The first that asks for a role has its way, as in `ansible-galaxy`; the other is told.
    fn tell_other(&self, first: &RoleRequirement, other: &RoleRequirement, by: &str) {
        let asks_for_any = other.version.is_none();
        if first.version != other.version && !asks_for_any {
            let any =
                |version: &Option<String>| version.clone().unwrap_or_else(|| "any".to_owned());
            (self.tell)(format!(
                "role {by} wants version {} of {}, which was asked for in version {} before: that one is taken",
                any(&other.version),
                other.name,
                any(&first.version)
            ));
        }
    }

    fn role(&self, role: &RoleRequirement, pins: &[Pin]) -> Result<StagedRole, InstallError> {
        let pin = pins.iter().find(|pin| is_pin_of(pin, role));
        let staged = self.fetcher.role(role, pin);
        let staged = staged.map_err(|source| InstallError::Fault {
            kind: Kind::Role,
            name: role.name.clone(),
            source,
        })?;
        if let Some(pin) = pin {
            self.checked(pin, &staged.pin)?;
        }
        self.fetched(Kind::Role, &role.name, &staged.pin.version, None);
        Ok(staged)
    }

    fn collections(
        &self,
        wanted: &[CollectionRequirement],
        pins: &[Pin],
    ) -> Result<Vec<StagedCollection>, InstallError> {
        let is_galaxys =
            |one: &&CollectionRequirement| matches!(one.source, CollectionSource::Galaxy { .. });
        let (galaxys, others): (Vec<_>, Vec<_>) = wanted.iter().partition(is_galaxys);
        let mut fixed = self.fixed(others.into_iter().cloned().collect(), pins)?;
        let given = self.given(&galaxys, &fixed, pins)?;
        let offers = Offers::new(self, &galaxys);
        offers.ask_ahead(&given);
        let chosen = resolve::resolve(&given, &offers).map_err(InstallError::Unresolved)?;
        let chosen: Vec<(String, Version)> = chosen.into_iter().collect();
        let released = self.each(&chosen, |(name, version)| {
            let failed = |source| InstallError::Fault {
                kind: Kind::Collection,
                name: name.clone(),
                source,
            };
            let offer = offers.release(name, version).map_err(failed)?;
            let is_it = |pin: &&Pin| {
                pin.origin == Origin::Galaxy
                    && pin.name == *name
                    && pin.version == version.to_string()
            };
            let pin = pins.iter().find(is_it);
            let server = &self.fetcher.servers[offer.server];
            let staged = self
                .fetcher
                .released(server, (name, version), &offer.release, pin)
                .map_err(failed)?;
            if let Some(pin) = pin {
                self.checked(pin, &staged.pin)?;
            }
            self.fetched(Kind::Collection, name, &staged.pin.version, None);
            Ok(staged)
        })?;
        fixed.extend(released);
        Ok(fixed)
    }

    /// Fetches what is no server's, and what that needs that is no server's either.
    fn fixed(
        &self,
        mut wave: Vec<CollectionRequirement>,
        pins: &[Pin],
    ) -> Result<Vec<StagedCollection>, InstallError> {
        let mut all: Vec<StagedCollection> = Vec::new();
        let mut asked: BTreeSet<String> = BTreeSet::new();
        while !wave.is_empty() {
            wave.retain(|one| asked.insert(one.line()));
            let staged = self.each(&wave, |one| {
                let pin = pins.iter().find(|pin| is_pin_of_source(pin, one));
                let staged = self.fetcher.collections_at(one, pin);
                let staged = staged.map_err(|source| InstallError::Fault {
                    kind: Kind::Collection,
                    name: one.source.shown(),
                    source,
                })?;
                for one in &staged {
                    if let Some(pin) = pins.iter().find(|pin| pin.name == one.pin.name)
                        && pin.commit == one.pin.commit
                        && pin.source == one.pin.source
                    {
                        self.checked(pin, &one.pin)?;
                    }
                    self.fetched(Kind::Collection, &one.pin.name, &one.pin.version, None);
                }
                Ok(staged)
            })?;
            wave = Vec::new();
            for one in staged.into_iter().flatten() {
                if all.iter().any(|other| other.pin.name == one.pin.name) {
                    continue;
                }
                for (name, version) in &one.about.dependencies {
                    if self.request.dependencies && !requirement::is_collection_name(name) {
                        wave.push(needed(name, version, &one.pin.name)?);
                    }
                }
                all.push(one);
            }
        }
        Ok(all)
    }

    /// Returns what the versions have to go together with.
    fn given(
        &self,
        galaxys: &[&CollectionRequirement],
        fixed: &[StagedCollection],
        pins: &[Pin],
    ) -> Result<Given, InstallError> {
        let mut wishes = Vec::new();
        for one in galaxys {
            if let CollectionSource::Galaxy { name, range, .. } = &one.source {
                let by = "the requirements file".to_owned();
                let range = range.clone();
                wishes.push((name.clone(), Wish { range, by }));
            }
        }
        for one in fixed.iter().filter(|_| self.request.dependencies) {
            let by = format!("{} {}", one.pin.name, one.pin.version);
            for (name, range) in &one.about.dependencies {
                if requirement::is_collection_name(name) {
                    let range = range
                        .parse::<Range>()
                        .map_err(|e| unreadable(&one.pin.name, e))?;
                    let by = by.clone();
                    wishes.push((name.clone(), Wish { range, by }));
                }
            }
        }
        let version = |one: &StagedCollection| (one.pin.name.clone(), one.about.version.clone());
        let preferred = pins.iter().filter(|pin| pin.origin == Origin::Galaxy);
        let preferred = preferred
            .filter_map(|pin| Some((pin.name.clone(), pin.version.parse::<Version>().ok()?)));
        Ok(Given {
            wishes,
            fixed: fixed.iter().map(version).collect(),
            preferred: preferred.collect(),
            prereleases: self.request.prereleases,
        })
    }
}

fn ready<T>(staged: Vec<T>, pin: impl Fn(&T) -> &Pin) -> Vec<Ready<T>> {
    let one = |staged| Ready {
        pin: pin(&staged).clone(),
        staged: Some(staged),
    };
    staged.into_iter().map(one).collect()
}

/// Whether a pin is what the same role was before.
fn is_pin_of(pin: &Pin, role: &RoleRequirement) -> bool {
    let source = match &role.source {
        RoleSource::Git(address) => (Origin::Git, address.shown.clone()),
        RoleSource::Archive(place) => (Origin::Archive, place.shown()),
        RoleSource::Folder(address) => (Origin::Folder, address.shown.clone()),
        RoleSource::Galaxy(name) => (Origin::Galaxy, name.clone()),
    };
    // A role of Galaxy's without a version stays at the one that was the newest.
    let same_version = match &role.version {
        Some(version) => *version == pin.version,
        None => pin.origin == Origin::Galaxy || pin.version.is_empty(),
    };
    pin.name == role.name && (pin.origin, pin.source.clone()) == source && same_version
}

/// Whether a pin is of what the same source was before, which is then taken again.
fn is_pin_of_source(pin: &Pin, one: &CollectionRequirement) -> bool {
    match &one.source {
        CollectionSource::Archive(place) => {
            pin.origin == Origin::Archive && pin.source == place.shown()
        }
        CollectionSource::Git { address, .. } => {
            let asked = Some(one.version.as_str()).filter(|version| *version != "*");
            pin.origin == Origin::Git
                && pin.source == address.shown
                && pin.revision == asked.unwrap_or_default()
        }
        CollectionSource::Folder { .. } | CollectionSource::Galaxy { .. } => false,
    }
}

/// Returns what a fetched collection needs by an address.
fn needed(name: &str, version: &str, by: &str) -> Result<CollectionRequirement, InstallError> {
    let node = Node {
        span: Span::whole(format!("galaxy.yml of {by}")),
        tag: None,
        kind: Value::Null,
    };
    let version = Some(version.to_owned());
    let needed = requirement::collection_at(&node, name, version, None, None, Base::Fetched);
    needed.map_err(|wrong| unreadable(by, Fault::Requirement(wrong)))
}

fn unreadable(name: &str, why: impl Into<Unreadable>) -> InstallError {
    let Unreadable(source) = why.into();
    InstallError::Fault {
        kind: Kind::Collection,
        name: name.to_owned(),
        source,
    }
}

/// Why what a collection needs cannot be read.
struct Unreadable(Fault);

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<NoVersion> for Unreadable {
    fn from(error: NoVersion) -> Self {
        Self(Fault::NotFound(format!(
            "what it needs cannot be read: {error}"
        )))
    }
}

/// A version that a server has.
#[derive(Debug, Clone)]
struct Offer {
    server: usize,
    release: Release,
}

type Memo<K, V> = Mutex<BTreeMap<K, Arc<V>>>;

/// What all servers together have, each asked once.
struct Offers<'a> {
    run: &'a Run<'a>,
    /// The one server that a requirement names for a collection.
    only: BTreeMap<String, String>,
    versions: Memo<String, Vec<(Version, usize)>>,
    releases: Memo<(String, String), Offer>,
}

impl<'a> Offers<'a> {
    fn new(run: &'a Run<'a>, galaxys: &[&CollectionRequirement]) -> Self {
        let only = galaxys.iter().filter_map(|one| match &one.source {
            CollectionSource::Galaxy {
                name,
                server: Some(server),
                ..
            } => Some((name.clone(), server.clone())),
            _ => None,
        });
        Self {
            run,
            only: only.collect(),
            versions: Mutex::default(),
            releases: Mutex::default(),
        }
    }

    /// Asks for all at once what will be asked one after the other. What fails here fails there, and is told then.
    fn ask_ahead(&self, given: &Given) {
        let names: BTreeSet<&String> = given.wishes.iter().map(|(name, _)| name).collect();
        let names: Vec<&String> = names.into_iter().collect();
        let _told_later = self.run.each(&names, |name| {
            let ranges = given.wishes.iter().filter(|(of, _)| of == *name);
            let ranges: Vec<&Range> = ranges.map(|(_, wish)| &wish.range).collect();
            if let Ok(versions) = self.all(name) {
                let will_do = |version: &&Version| {
                    !version.is_prerelease() && ranges.iter().all(|range| range.contains(version))
                };
                let best = versions.iter().map(|(version, _)| version);
                if let Some(best) = best.filter(will_do).max() {
                    let _told_later = self.release(name, best);
                }
            }
            Ok(())
        });
    }

    /// Returns the versions of a collection, each with the first server that has it.
    fn all(&self, name: &str) -> Result<Arc<Vec<(Version, usize)>>, Fault> {
        if let Some(known) = known(&self.versions, &name.to_owned()) {
            return Ok(known);
        }
        let fetcher = &self.run.fetcher;
        let only = self.only.get(name);
        let (mut found, mut answered, mut failed) = (Vec::new(), false, None);
        for (index, server) in fetcher.servers.iter().enumerate() {
            let is_asked = match only {
                Some(only) => server.is(only),
                None => server.is_general,
            };
            if !is_asked {
                continue;
            }
            match server.versions(&fetcher.client, parts(name)) {
                Ok(versions) => {
                    answered = true;
                    for version in versions {
                        if !found.iter().any(|(known, _)| *known == version) {
                            found.push((version, index));
                        }
                    }
                }
                Err(error) => {
                    (self.run.tell)(format!("{}: {}", server.name, chain(&error)));
                    failed.get_or_insert(error);
                }
            }
        }
        if let (false, Some(error)) = (answered, failed) {
            return Err(error.into());
        }
        Ok(keep(&self.versions, name.to_owned(), found))
    }

    fn release(&self, name: &str, version: &Version) -> Result<Arc<Offer>, Fault> {
        let key = (name.to_owned(), version.to_string());
        if let Some(known) = known(&self.releases, &key) {
            return Ok(known);
        }
        let all = self.all(name)?;
        let found = all.iter().find(|(known, _)| known == version);
        let missing = || Fault::NotFound(format!("no server has {name} {version}"));
        let (version, server) = found.ok_or_else(missing)?;
        let fetcher = &self.run.fetcher;
        let release = fetcher.servers[*server].release(&fetcher.client, parts(name), version)?;
        let server = *server;
        Ok(keep(&self.releases, key, Offer { server, release }))
    }
}

impl Index for Offers<'_> {
    type Error = Fault;

    fn versions(&self, name: &str) -> Result<Vec<Version>, Fault> {
        let all = self.all(name)?;
        Ok(all.iter().map(|(version, _)| version.clone()).collect())
    }

    fn needs(&self, name: &str, version: &Version) -> Result<Vec<(String, Range)>, Fault> {
        if !self.run.request.dependencies {
            return Ok(Vec::new());
        }
        let offer = self.release(name, version)?;
        let needs = offer.release.dependencies.iter();
        needs
            .map(|(needed, range)| {
                let wrong = |why: String| {
                    Fault::NotFound(format!("{name} {version} needs {needed}, and {why}"))
                };
                if !requirement::is_collection_name(needed) {
                    return Err(wrong("that is no name of a collection".to_owned()));
                }
                let range = range.parse::<Range>().map_err(|e| wrong(format!("{e}")))?;
                Ok((needed.clone(), range))
            })
            .collect()
    }
}

fn known<K: Ord, V>(memo: &Memo<K, V>, key: &K) -> Option<Arc<V>> {
    memo.lock()
        .expect("no thread panics with it")
        .get(key)
        .cloned()
}

fn keep<K: Ord, V>(memo: &Memo<K, V>, key: K, value: V) -> Arc<V> {
    let value = Arc::new(value);
    let mut memo = memo.lock().expect("no thread panics with it");
    memo.insert(key, Arc::clone(&value));
    value
}

fn parts(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}
