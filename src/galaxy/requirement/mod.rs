//! What is asked for: `requirements.yml` as `ansible-galaxy` reads it, and what roles and collections ask for themselves.
//!
//! Every value that reaches git, a path or an address is looked at once, in [`values`]: none can be an option, a program
//! or a folder above the one that it belongs to.

mod entries;
mod logins;
mod pinned;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics, Span};
use amibake_playbook::files::Disk;
use amibake_playbook::yaml::{self, Kind, Node};
use url::Url;

use super::git::without_login;
use super::http::shown;
use super::version::Range;
use entries::collection;
pub(super) use entries::{collection_at, is_elsewhere, role};
pub(super) use pinned::{pinned_collection, pinned_role};
pub(super) use values::{Base, is_collection_name};

/// All that a file asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    pub(super) roles: Vec<RoleRequirement>,
    pub(super) collections: Vec<CollectionRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleRequirement {
    /// The folder that it will have.
    pub(super) name: String,
    pub(super) source: RoleSource,
    pub(super) version: Option<String>,
}

/// Where something is, and how that is told and kept: as it was written, without a login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) at: String,
    pub(super) shown: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Address {
    fn file(path: &Path, shown: &str) -> Self {
        Self {
            at: path.display().to_string(),
            shown: shown.to_owned(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.at)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoleSource {
    Git(Address),
    Archive(Place),
    Folder(Address),
    /// `owner.role`
    Galaxy(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Url(Url),
    File(Address),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CollectionRequirement {
    pub(super) source: CollectionSource,
    /// A range, or of git a branch, tag or commit; `*` is any.
    pub(super) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CollectionSource {
    Galaxy {
        /// `namespace.name`
        name: String,
        range: Range,
        /// The name or address of the one server that is asked.
        server: Option<String>,
    },
    Git {
        address: Address,
        /// Where in the repository it lies.
        folder: PathBuf,
    },
    Archive(Place),
    /// A collection, or a folder with several.
    Folder {
        address: Address,
        /// Which of several.
        folder: PathBuf,
    },
}

impl Requirements {
    /// Reads a file and those that it includes.
    pub(super) fn read(path: &Path) -> Result<Self, Diagnostics> {
        let document = yaml::load(&Disk::here(), path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let base = Base::File(folder);
        let mut all = Self::default();
        match &document.root.kind {
            Kind::Seq(items) => all.add_roles(items, base)?,
            Kind::Map(_) => {
                let fields = document
                    .root
                    .fields("the file", &["roles", "collections"])?;
                let listed = |key| match fields.get(key) {
                    Some(node) if node.is_null() => Ok(&[][..]),
                    _ => fields.seq(key),
                };
                all.add_roles(listed("roles")?, base)?;
                for item in listed("collections")? {
                    all.collections.push(collection(item, base)?);
                }
            }
            Kind::Null => {
                let span = Span::whole(path);
                return Err(Diagnostic::new(&span, "it asks for nothing").into());
            }
            _ => {
                let root = &document.root;
                return Err(root
                    .unexpected("requirements", "a list or a mapping")
                    .into());
            }
        }
        all.each_once(&document.root.span)?;
        Ok(all)
    }

    fn add_roles(&mut self, items: &[Node], base: Base<'_>) -> Result<(), Diagnostic> {
        for item in items {
            let Some(included) = item.get("include") else {
                self.roles.push(role(item, base)?);
                continue;
            };
            let path = base.path(included, &included.expect_text("`include`")?)?;
            let document = yaml::load(&Disk::here(), &path)?;
            let items = document.root.expect_seq("an included file")?;
            for item in items {
                self.roles.push(role(item, base)?);
            }
        }
        Ok(())
    }

    /// A role that is asked for twice in one way is one; in two ways, nobody knows which is meant.
    fn each_once(&mut self, span: &Span) -> Result<(), Diagnostic> {
        let mut seen: Vec<RoleRequirement> = Vec::new();
        for role in std::mem::take(&mut self.roles) {
            match seen.iter().find(|other| other.name == role.name) {
                None => seen.push(role),
                Some(other) if *other == role => {}
                Some(_) => {
                    let twice = format!("the role `{}` is asked for in two ways", role.name);
                    return Err(
                        Diagnostic::new(span, twice).hint("give one of them another `name`")
                    );
                }
            }
        }
        self.roles = seen;
        Ok(())
    }

    /// Returns each as a line that is the same as long as the same is asked for.
    pub(super) fn lines(&self) -> BTreeSet<String> {
        let roles = self.roles.iter().map(RoleRequirement::line);
        let collections = self.collections.iter().map(CollectionRequirement::line);
        roles.chain(collections).collect()
    }
}

impl RoleRequirement {
    /// Returns it as the lock file has it, without logins.
    pub(super) fn line(&self) -> String {
        let version = self.version.as_deref().unwrap_or("*");
        format!("role {} {} {version}", self.name, self.source.shown())
    }
}

impl RoleSource {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Git(address) => format!("git+{}", address.shown),
            Self::Archive(place) => place.shown(),
            Self::Folder(address) => address.shown.clone(),
            Self::Galaxy(name) => name.clone(),
        }
    }
}

impl Place {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown(url),
            Self::File(address) => address.shown.clone(),
        }
    }
}

impl CollectionRequirement {
    pub(super) fn line(&self) -> String {
        format!("collection {} {}", self.source.shown(), self.version)
    }

    /// Returns the one server that it is to come from.
    pub(super) fn server(&self) -> Option<&str> {
        match &self.source {
            CollectionSource::Galaxy { server, .. } => server.as_deref(),
            CollectionSource::Git { .. }
            | CollectionSource::Archive(_)
            | CollectionSource::Folder { .. } => None,
        }
    }
}

impl CollectionSource {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Galaxy { name, server, .. } => match server {
                Some(server) => format!("{name} from {}", without_login(server)),
                None => name.clone(),
            },
            Self::Git { address, folder } => match folder.as_os_str().is_empty() {
                true => format!("git+{}", address.shown),
                false => format!("git+{}#{}", address.shown, folder.display()),
            },
            Self::Archive(place) => place.shown(),
            Self::Folder { address, folder } => match folder.as_os_str().is_empty() {
                true => address.shown.clone(),
                false => format!("{}/{}", address.shown, folder.display()),
            },
        }
    }
}
