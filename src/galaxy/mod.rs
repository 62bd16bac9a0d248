//! `amibake install`: roles and collections of a requirements file, from git, archives, folders and Galaxy servers,
//! with a lock file. What `ansible-galaxy install -r` does, at once and pinned.
//!
//! Everything is fetched and unpacked beside its place, then compared with the lock file, and only then put there.
//! Nothing here is asynchronous: who calls it gives it a thread.

mod archive;
mod cache;
mod collection;
mod fetch;
mod gather;
mod git;
mod http;
mod installed;
mod lock;
mod place;
mod requirement;
mod resolve;
mod role;
mod server;
mod set;
#[cfg(test)]
mod tests;
mod version;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use amibake_playbook::diagnostic::Diagnostics;
use tokio_util::sync::CancellationToken;

use crate::ansible_config::{AnsibleConfig, SearchPaths, Surroundings};
use archive::ArchiveError;
pub(crate) use cache::Cache;
use cache::CacheError;
use fetch::{Fault, Fetcher, StagedCollection, StagedRole};
use git::Git;
use http::Client;
pub(crate) use installed::{Installed, Kind, NotRemoved, installed, remove};
pub(crate) use lock::LockError;
pub(crate) use lock::lock_path;
use lock::{Lock, Pin};
use place::Stage;
use requirement::{CollectionRequirement, Requirements};
use resolve::Unresolved;
use server::Server;
pub(crate) use set::{AT_ONCE, LockedSet};

/// What a lock file that is there is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Locking {
    /// What it says is taken; what it does not say is found out and added.
    #[default]
    Follow,
    /// It has to be there, and to be the answer to these requirements.
    Locked,
    /// It is written anew.
    Upgrade,
}

/// What is to be installed, where, and how.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The requirements file, by an absolute path.
    pub(crate) file: PathBuf,
    pub(crate) roles: PathBuf,
    /// The folder that `ansible_collections` is in.
    pub(crate) collections: PathBuf,
    pub(crate) locking: Locking,
    /// Whether what is there is installed again, and what nothing installed gives way.
    pub(crate) force: bool,
    pub(crate) dependencies: bool,
    pub(crate) prereleases: bool,
    pub(crate) offline: bool,
    pub(crate) at_once: NonZeroUsize,
    /// The name or address of the one server to ask.
    pub(crate) server: Option<String>,
    /// How long is waited before something that failed is tried again.
    pub(crate) pause: Duration,
    /// Ends it before the next thing is fetched.
    pub(crate) cancel: CancellationToken,
}

/// What became of one role or collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) place: PathBuf,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Installed,
    Replaced,
    Unchanged,
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{0}")]
    Requirements(Diagnostics),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Place(#[from] ArchiveError),
    #[error("{kind} {name} could not be had")]
    Fault {
        kind: Kind,
        name: String,
        source: Fault,
    },
    #[error("versions of collections that go together were not found")]
    Unresolved(#[source] Unresolved<Fault>),
    #[error("{} is there, and nothing says that it was installed", place.display())]
    Occupied { place: PathBuf },
    #[error("no Galaxy server is called `{0}`")]
    NoServer(String),
    #[error("interrupted")]
    Interrupted,
}

impl InstallError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Lock(error) => error.hint().map(str::to_owned),
            Self::Occupied { .. } => Some("--force puts another in its place".to_owned()),
            Self::Requirements(_)
            | Self::Cache(_)
            | Self::Place(_)
            | Self::Fault { .. }
            | Self::Unresolved(_)
            | Self::NoServer(_)
            | Self::Interrupted => None,
        }
    }

    /// Whether a file that was given is wrong, rather than the world.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Requirements(_) | Self::NoServer(_) | Self::Occupied { .. } => true,
            Self::Lock(error) => !matches!(error, LockError::Unwritable { .. }),
            Self::Cache(_)
            | Self::Place(_)
            | Self::Fault { .. }
            | Self::Unresolved(_)
            | Self::Interrupted => false,
        }
    }
}

/// Tells how it goes, a line at a time.
pub(crate) type Tell<'a> = &'a (dyn Fn(String) + Sync);

/// Installs what a file asks for.
pub(crate) fn install(
    request: &Request,
    cache: &Cache,
    config: &AnsibleConfig,
    around: &Surroundings<'_>,
    tell: Tell<'_>,
) -> Result<Vec<Outcome>, InstallError> {
    let wanted = Requirements::read(&request.file).map_err(InstallError::Requirements)?;
    let path = lock_path(&request.file);
    let old = usable_lock(request, &path, &wanted)?;
    let servers = servers(request, config, around, &wanted)?;
    let (roles, collections) = (
        Stage::in_folder(&request.roles)?,
        Stage::in_folder(&request.collections)?,
    );
    let run = Run {
        request,
        fetcher: Fetcher {
            client: Client::new(cache, request.offline, request.pause),
            git: Git {
                cache,
                offline: request.offline,
            },
            servers: &servers,
            roles: &roles,
            collections: &collections,
        },
        tell,
        done: AtomicUsize::new(0),
    };
    let is_whole = |old: &&Lock| request.dependencies && old.difference(&wanted.lines()).is_none();
    let staged = match old.as_ref().filter(is_whole) {
        Some(lock) => run.pinned(lock, &wanted)?,
        None => run.gathered(&wanted, old.as_ref())?,
    };
    let mut lock = Lock::new(wanted.lines());
    lock.roles = staged.roles.iter().map(|role| role.pin.clone()).collect();
    let pins = staged.collections.iter();
    lock.collections = pins.map(|collection| collection.pin.clone()).collect();
    let outcomes = run.put(&staged)?;
    if request.locking != Locking::Locked && request.dependencies {
        lock.write(&path)?;
    }
    Ok(outcomes)
}

/// Returns where Ansible installs to: the first of the folders in which it looks.
pub(crate) fn usual_places(search: &SearchPaths) -> Option<(PathBuf, PathBuf)> {
    Some((
        search.roles.first()?.clone(),
        search.collections.first()?.clone(),
    ))
}

/// Reads the lock file that counts.
fn usable_lock(
    request: &Request,
    path: &Path,
    wanted: &Requirements,
) -> Result<Option<Lock>, InstallError> {
    match request.locking {
        Locking::Upgrade => Ok(None),
        Locking::Follow => Ok(Lock::read(path)?),
        Locking::Locked => {
            let path = path.to_path_buf();
            let Some(lock) = Lock::read(&path)? else {
                return Err(LockError::Missing { path }.into());
            };
            match lock.difference(&wanted.lines()) {
                None => Ok(Some(lock)),
                Some(difference) => Err(LockError::Other { path, difference }.into()),
            }
        }
    }
}

/// Returns the servers that are asked, and those that a requirement names by its address.
fn servers(
    request: &Request,
    config: &AnsibleConfig,
    around: &Surroundings<'_>,
    wanted: &Requirements,
) -> Result<Vec<Server>, InstallError> {
    let mut servers = server::servers(config, around);
    if let Some(one) = &request.server {
        servers.retain(|server| server.is(one));
        match (servers.is_empty(), one.contains("://")) {
            (true, true) => servers.push(Server::at(one)),
            (true, false) => return Err(InstallError::NoServer(one.clone())),
            (false, _) => servers.truncate(1),
        }
    }
    for source in wanted
        .collections
        .iter()
        .filter_map(CollectionRequirement::server)
    {
        if servers.iter().any(|server| server.is(source)) {
            continue;
        }
        match source.contains("://") {
            true => servers.push(Server::named_by_requirement(source)),
            false => return Err(InstallError::NoServer(source.to_owned())),
        }
    }
    Ok(servers)
}

/// All that was fetched.
struct Staged {
    roles: Vec<Ready<StagedRole>>,
    collections: Vec<Ready<StagedCollection>>,
}

/// What is to be at its place: it may be there already.
struct Ready<T> {
    pin: Pin,
    staged: Option<T>,
}

/// One run of `install`.
struct Run<'a> {
    request: &'a Request,
    fetcher: Fetcher<'a>,
    tell: Tell<'a>,
    /// How many were fetched.
    done: AtomicUsize,
}

impl Run<'_> {
    /// Fetches what the lock file says, but for what is there already.
    fn pinned(&self, lock: &Lock, wanted: &Requirements) -> Result<Staged, InstallError> {
        let total = lock.roles.len() + lock.collections.len();
        let logins = wanted.logins();
        let roles = self.each(&lock.roles, |pin| {
            if self.is_there(Kind::Role, pin) {
                return Ok(Ready {
                    pin: pin.clone(),
                    staged: None,
                });
            }
            let named = requirement::pinned_role(pin, &lock_path(&self.request.file));
            let staged = named.map_err(Fault::Requirement).and_then(|mut named| {
                named.source.log_in(&logins);
                self.fetcher.role(&named, Some(pin))
            });
            let staged = self.told(Kind::Role, pin, staged, total)?;
            let pin = self.checked(pin, &staged.pin)?;
            Ok(Ready {
                pin,
                staged: Some(staged),
            })
        })?;
        let collections = self.each(&lock.collections, |pin| {
            if self.is_there(Kind::Collection, pin) {
                return Ok(Ready {
                    pin: pin.clone(),
                    staged: None,
                });
            }
            let staged = self.pinned_collection(pin, &logins);
            let staged = self.told(Kind::Collection, pin, staged, total)?;
            let pin = self.checked(pin, &staged.pin)?;
            Ok(Ready {
                pin,
                staged: Some(staged),
            })
        })?;
        Ok(Staged { roles, collections })
    }

    fn pinned_collection(
        &self,
        pin: &Pin,
        logins: &BTreeMap<String, String>,
    ) -> Result<StagedCollection, Fault> {
        let named = requirement::pinned_collection(pin, &lock_path(&self.request.file));
        let mut named = named.map_err(Fault::Requirement)?;
        named.source.log_in(logins);
        let staged = match pin.origin {
            lock::Origin::Galaxy => vec![self.fetcher.pinned_release(pin)?],
            lock::Origin::Git | lock::Origin::Archive | lock::Origin::Folder => {
                self.fetcher.collections_at(&named, Some(pin))?
            }
        };
        let mut ours = staged.into_iter().filter(|one| one.pin.name == pin.name);
        ours.next()
            .ok_or_else(|| Fault::NotFound(format!("{} is not in {}", pin.name, pin.source)))
    }

    /// Compares what was fetched with what the lock file says. A folder is the user's own to change.
    fn checked(&self, pin: &Pin, now: &Pin) -> Result<Pin, InstallError> {
        if pin.origin != lock::Origin::Folder || self.request.locking == Locking::Locked {
            pin.check(now)?;
        }
        Ok(now.clone())
    }

    /// Says what was fetched, or puts a fault into its place.
    fn told<T>(
        &self,
        kind: Kind,
        pin: &Pin,
        staged: Result<T, Fault>,
        total: usize,
    ) -> Result<T, InstallError> {
        let staged = staged.map_err(|source| InstallError::Fault {
            kind,
            name: pin.name.clone(),
            source,
        })?;
        self.fetched(kind, &pin.name, &pin.version, Some(total));
        Ok(staged)
    }

    fn fetched(&self, kind: Kind, name: &str, version: &str, total: Option<usize>) {
        let number = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let counted = match total {
            Some(total) => format!("{number} of {total}"),
            None => number.to_string(),
        };
        let version = match version {
            "" => String::new(),
            version => format!(" {version}"),
        };
        (self.tell)(format!("fetched {counted}: {kind} {name}{version}"));
    }

    /// Whether something is installed that is this very thing.
    fn is_there(&self, kind: Kind, pin: &Pin) -> bool {
        let there = installed::record(&self.place(kind, &pin.name), kind, &pin.name);
        let there = there.and_then(|record| record.sha256);
        !self.request.force && there.as_ref() == Some(&pin.sha256)
    }

    fn place(&self, kind: Kind, name: &str) -> PathBuf {
        match kind {
            Kind::Role => self.request.roles.join(name),
            Kind::Collection => installed::collection_place(&self.request.collections, name),
        }
    }

    /// Puts everything at its place, once it is known that everything can be.
    fn put(&self, staged: &Staged) -> Result<Vec<Outcome>, InstallError> {
        let mut outcomes = Vec::new();
        let all = staged
            .roles
            .iter()
            .map(|one| (Kind::Role, &one.pin, one.staged.is_some()));
        let pins = staged.collections.iter();
        let all = all.chain(pins.map(|one| (Kind::Collection, &one.pin, one.staged.is_some())));
        for (kind, pin, was_fetched) in all {
            let place = self.place(kind, &pin.name);
            let change = match was_fetched && !self.is_there(kind, pin) {
                true => self.change(kind, &place, &pin.name)?,
                false => Change::Unchanged,
            };
            outcomes.push(Outcome {
                kind,
                name: pin.name.clone(),
                version: pin.version.clone(),
                place,
                change,
            });
        }
        let changed = |kind, name: &str| {
            let mut all = outcomes.iter();
            let outcome = all.find(|outcome| outcome.kind == kind && outcome.name == name);
            outcome.filter(|outcome| outcome.change != Change::Unchanged)
        };
        for Ready { pin, staged } in &staged.roles {
            if let (Some(staged), Some(outcome)) = (staged, changed(Kind::Role, &pin.name)) {
                installed::put_role(self.fetcher.roles, staged, &outcome.place)?;
            }
        }
        for Ready { pin, staged } in &staged.collections {
            if let (Some(staged), Some(outcome)) = (staged, changed(Kind::Collection, &pin.name)) {
                installed::put_collection(self.fetcher.collections, staged, &outcome.place)?;
            }
        }
        Ok(outcomes)
    }

    fn change(&self, kind: Kind, place: &Path, name: &str) -> Result<Change, InstallError> {
        if place.symlink_metadata().is_err() {
            return Ok(Change::Installed);
        }
        let is_ours = installed::record(place, kind, name).is_some();
        let may_go = is_ours || (self.request.force && installed::is_one(kind, place));
        match may_go {
            true => Ok(Change::Replaced),
            false => Err(InstallError::Occupied {
                place: place.to_path_buf(),
            }),
        }
    }

    /// Does work for each of several, so many at once. The first fault in their order is the one that counts.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, InstallError> + Sync,
    ) -> Result<Vec<R>, InstallError> {
        let next = AtomicUsize::new(0);
        let failed = AtomicUsize::new(usize::MAX);
        let results: Mutex<BTreeMap<usize, Result<R, InstallError>>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.request.at_once.get().min(items.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { break };
                        let is_over = failed.load(Ordering::Relaxed) < index;
                        if is_over || self.request.cancel.is_cancelled() {
                            break;
                        }
                        let result = work(item);
                        if result.is_err() {
                            failed.fetch_min(index, Ordering::Relaxed);
                        }
                        let mut results = results.lock().expect("no thread panics with it");
                        results.insert(index, result);
                    }
                });
            }
        });
        if self.request.cancel.is_cancelled() {
            return Err(InstallError::Interrupted);
        }
        let results = results.into_inner().expect("no thread panics with it");
        results.into_values().collect()
    }
}
