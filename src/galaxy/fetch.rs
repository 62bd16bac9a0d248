//! Fetches one role or collection and unpacks it beside its place: a pin says which, or what is asked for does.

use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use url::Url;

use super::archive::{ArchiveError, LIMITS, unpack_file, unreadable};
use super::cache::sha256_of;
use super::collection::{self, About, CollectionError};
use super::git::{Commit, Git, GitError, Remote};
use super::http::{Client, HttpError, Login, shown as shown_url};
use super::lock::{Origin, Pin};
use super::place::{self, Stage};
use super::requirement::{Address, CollectionRequirement, CollectionSource, Place};
use super::requirement::{RoleRequirement, RoleSource};
use super::role::{self, RoleError};
use super::server::{Release, RoleFound, Server, ServerError};
use super::version::Version;

/// Why one role or collection is not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it is no role")]
    Role(#[from] RoleError),
    #[error("it is no collection")]
    Collection(#[from] CollectionError),
    #[error("{0}")]
    Requirement(Diagnostic),
    #[error("{0}")]
    NotFound(String),
}

/// A role that lies unpacked beside its place.
#[derive(Debug)]
pub(super) struct StagedRole {
    pub(super) pin: Pin,
    pub(super) folder: PathBuf,
    pub(super) needs: Vec<RoleRequirement>,
}

/// A collection likewise.
#[derive(Debug)]
pub(super) struct StagedCollection {
    pub(super) pin: Pin,
    pub(super) folder: PathBuf,
    pub(super) about: About,
    /// What its server says of it, where it was asked.
    pub(super) release: Option<Release>,
}

pub(super) struct Fetcher<'a> {
    pub(super) client: Client<'a>,
    pub(super) git: Git<'a>,
    pub(super) servers: &'a [Server],
    pub(super) roles: &'a Stage,
    pub(super) collections: &'a Stage,
}

/// What is known of something that was unpacked.
struct Had {
    origin: Origin,
    source: String,
    revision: String,
    commit: Option<String>,
    url: Option<String>,
    /// Of the archive, if it was one.
    sha256: Option<String>,
}

impl Had {
    fn new(origin: Origin, source: impl Into<String>) -> Self {
        Self {
            origin,
            source: source.into(),
            revision: String::new(),
            commit: None,
            url: None,
            sha256: None,
        }
    }

    fn pin(
        self,
        name: &str,
        version: String,
        folder: &Path,
        files: &Path,
    ) -> Result<Pin, ArchiveError> {
        let sha256 = match self.sha256 {
            Some(sha256) => sha256,
            None => place::digest(files)?,
        };
        Ok(Pin {
            name: name.to_owned(),
            origin: self.origin,
            source: self.source,
            folder: folder.display().to_string(),
            version,
            revision: self.revision,
            commit: self.commit,
            url: self.url,
            sha256,
        })
    }
}

impl Fetcher<'_> {
    pub(super) fn role(
        &self,
        wanted: &RoleRequirement,
        pin: Option<&Pin>,
    ) -> Result<StagedRole, Fault> {
        let unpacked = self.roles.new_folder()?;
        let mut version = wanted.version.clone().unwrap_or_default();
        let had = match &wanted.source {
            RoleSource::Git(address) => {
                let commit = self.commit(address, wanted.version.as_deref(), pin)?;
                commit.unpack(&unpacked)?;
                Had {
                    commit: Some(commit.id),
                    ..Had::new(Origin::Git, &address.shown)
                }
            }
            RoleSource::Archive(place) => self.unpack_archive(place, pin, &unpacked)?,
            RoleSource::Folder(address) => {
                place::copy(address.path(), &unpacked)?;
                Had::new(Origin::Folder, &address.shown)
            }
            RoleSource::Galaxy(name) => {
                let (url, found) = self.role_of_galaxy(name, wanted.version.as_deref(), pin)?;
                version = found;
                // As `ansible-galaxy`: what a role is downloaded from is mostly another host.
                let had = self.unpack_url(&url, None, pin, &unpacked)?;
                Had {
                    origin: Origin::Galaxy,
                    source: name.clone(),
                    ..had
                }
            }
        };
        let folder = role::top(&unpacked)?;
        role::without_empty_folders(&folder)?;
        let needs = role::dependencies(&folder)?;
        let pin = had.pin(&wanted.name, version, Path::new(""), &folder)?;
        Ok(StagedRole { pin, folder, needs })
    }

    fn commit(
        &self,
        address: &Address,
        version: Option<&str>,
        pin: Option<&Pin>,
    ) -> Result<Commit, GitError> {
        let remote = Remote(&address.at);
        match pin.and_then(|pin| pin.commit.as_deref()) {
            Some(commit) => self.git.fetch_commit(remote, commit),
            None => self.git.fetch(remote, version),
        }
    }

    fn unpack_archive(&self, place: &Place, pin: Option<&Pin>, into: &Path) -> Result<Had, Fault> {
        match place {
            Place::Url(url) => {
                let had = self.unpack_url(url, None, pin, into)?;
                Ok(Had { url: None, ..had })
            }
            Place::File(address) => {
                let path = address.path();
                let failed = |e| unreadable(path, e);
                let sha256 = sha256_of(path).map_err(failed)?;
                unpack_file(path, into, LIMITS)?;
                Ok(Had {
                    sha256: Some(sha256),
                    ..Had::new(Origin::Archive, &address.shown)
                })
            }
        }
    }

    fn unpack_url(
        &self,
        url: &Url,
        login: Option<&Login>,
        pin: Option<&Pin>,
        into: &Path,
    ) -> Result<Had, Fault> {
        let known = pin.map(|pin| pin.sha256.as_str());
        let (sha256, path) = self.client.archive(url, login, known)?;
        unpack_file(&path, into, LIMITS)?;
        let shown = shown_url(url);
        Ok(Had {
            sha256: Some(sha256),
            url: Some(shown.clone()),
            ..Had::new(Origin::Archive, shown)
        })
    }

    /// Returns where a role of Galaxy's is downloaded from, and its version.
    fn role_of_galaxy(
        &self,
        name: &str,
        version: Option<&str>,
        pin: Option<&Pin>,
    ) -> Result<(Url, String), Fault> {
        if let Some(pin) = pin
            && let Some(url) = pin.url.as_deref().and_then(|url| url.parse().ok())
        {
            return Ok((url, pin.version.clone()));
        }
        let mut asked = Vec::new();
        let mut failed = None;
        for server in self.servers.iter().filter(|server| server.is_general) {
            match server.role(&self.client, name, version) {
                Ok(Some(RoleFound::Release(release))) => return Ok((release.url, release.version)),
                Ok(Some(RoleFound::NoVersion(names))) => {
                    return Err(Fault::NotFound(format!(
                        "{} has no version {} of it, only {}",
                        server.address(),
                        version.unwrap_or_default(),
                        names.join(", ")
                    )));
                }
                Ok(Some(RoleFound::Incomparable(names))) => {
                    return Err(Fault::NotFound(format!(
                        "which of its versions is the newest cannot be told, name one: {}",
                        names.join(", ")
                    )));
                }
                Ok(None) => asked.push(server.address()),
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Err(Fault::NotFound(format!(
                "it is not on {}",
                asked.join(", ")
            ))),
        }
    }

    /// Fetches what is no server's: one collection, or several that lie in one repository or folder.
    pub(super) fn collections_at(
        &self,
        wanted: &CollectionRequirement,
        pin: Option<&Pin>,
    ) -> Result<Vec<StagedCollection>, Fault> {
        match &wanted.source {
            CollectionSource::Git { address, folder } => {
                let version = Some(wanted.version.as_str()).filter(|version| *version != "*");
                let commit = self.commit(address, version, pin)?;
                let clone = self.collections.new_folder()?;
                commit.check_out(&clone)?;
                let had = || Had {
                    revision: version.unwrap_or_default().to_owned(),
                    commit: Some(commit.id.clone()),
                    ..Had::new(Origin::Git, &address.shown)
                };
                self.built(&clone, folder, had)
            }
            CollectionSource::Folder { address, folder } => {
                let had = || Had::new(Origin::Folder, &address.shown);
                self.built(address.path(), folder, had)
            }
            CollectionSource::Archive(place) => {
                let unpacked = self.collections.new_folder()?;
                let had = self.unpack_archive(place, pin, &unpacked)?;
                Ok(vec![self.of_archive(had, &unpacked, None)?])
            }
            CollectionSource::Galaxy { name, .. } => {
                unreachable!("{name} is a server's: who calls this has looked")
            }
        }
    }

    fn built(
        &self,
        root: &Path,
        folder: &Path,
        had: impl Fn() -> Had,
    ) -> Result<Vec<StagedCollection>, Fault> {
        let mut staged = Vec::new();
        for source in collection::found_in(&root.join(folder))? {
            let into = self.collections.new_path();
            let about = collection::from_source(&source, &into)?;
            let below = source.strip_prefix(root).unwrap_or(folder);
            let pin = had().pin(&about.full_name(), about.version_text(), below, &into)?;
            staged.push(StagedCollection {
                pin,
                folder: into,
                about,
                release: None,
            });
        }
        Ok(staged)
    }

    fn of_archive(
        &self,
        had: Had,
        unpacked: &Path,
        release: Option<Release>,
    ) -> Result<StagedCollection, Fault> {
        let into = self.collections.new_path();
        let about = collection::from_archive(unpacked, &into)?;
        let pin = had.pin(
            &about.full_name(),
            about.version_text(),
            Path::new(""),
            &into,
        )?;
        Ok(StagedCollection {
            pin,
            folder: into,
            about,
            release,
        })
    }

    /// Fetches a version that a server has, and that has to be what the server said of it.
    pub(super) fn released(
        &self,
        server: &Server,
        (name, version): (&str, &Version),
        release: &Release,
        pin: Option<&Pin>,
    ) -> Result<StagedCollection, Fault> {
        let unpacked = self.collections.new_folder()?;
        let login = server.login(&self.client)?;
        let known = pin.map_or(release.sha256.as_str(), |pin| &pin.sha256);
        let (sha256, path) = self
            .client
            .archive(&release.url, login.as_ref(), Some(known))?;
        if sha256 != release.sha256 {
            return Err(Fault::NotFound(format!(
                "{} has the SHA-256 {sha256}, and {} said {}",
                shown_url(&release.url),
                server.address(),
                release.sha256
            )));
        }
        unpack_file(&path, &unpacked, LIMITS)?;
        let had = Had {
            sha256: Some(sha256),
            url: Some(shown_url(&release.url)),
            ..Had::new(Origin::Galaxy, server.address())
        };
        let staged = self.of_archive(had, &unpacked, Some(release.clone()))?;
        let is = (staged.about.full_name(), staged.about.version.as_ref());
        if is != (name.to_owned(), Some(version)) {
            return Err(Fault::NotFound(format!(
                "what {} gave for {name} {version} is {} {}",
                server.address(),
                is.0,
                staged.about.version_text()
            )));
        }
        Ok(staged)
    }

    /// Fetches what a lock file says of a server's collection: nobody is asked which there are.
    pub(super) fn pinned_release(&self, pin: &Pin) -> Result<StagedCollection, Fault> {
        let missing = || Fault::NotFound("the lock file names no download for it".to_owned());
        let url = pin.url.as_deref().ok_or_else(missing)?;
        let url: Url = url.parse().map_err(|_| missing())?;
        let unpacked = self.collections.new_folder()?;
        let cached = self.client.cache.archive(&pin.sha256).is_some();
        let server = self.servers.iter().find(|server| server.is(&pin.source));
        let login = match server {
            Some(server) if !cached => server.login(&self.client)?,
            _ => None,
        };
        let had = self.unpack_url(&url, login.as_ref(), Some(pin), &unpacked)?;
        let had = Had {
            origin: Origin::Galaxy,
            source: pin.source.clone(),
            ..had
        };
        self.of_archive(had, &unpacked, None)
    }
}
