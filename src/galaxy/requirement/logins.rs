//! The logins in addresses: a lock file has none, and what it names is let in by those of the requirements file.

use std::collections::BTreeMap;

use super::{Address, CollectionSource, Place, Requirements, RoleSource};

impl Requirements {
    /// Returns the addresses with a login by how they are told: a lock file has no logins.
    pub(crate) fn logins(&self) -> BTreeMap<String, String> {
        let roles = self.roles.iter().filter_map(|role| role.source.login());
        let collections = self.collections.iter();
        let collections = collections.filter_map(|collection| collection.source.login());
        roles.chain(collections).collect()
    }
}

impl Place {
    fn login(&self) -> Option<(String, String)> {
        match self {
            Self::Url(url) => Some((self.shown(), url.to_string())),
            Self::File(_) => None,
        }
    }

    fn log_in(&mut self, logins: &BTreeMap<String, String>) {
        let whole = logins
            .get(&self.shown())
            .and_then(|whole| whole.parse().ok());
        if let (Self::Url(url), Some(whole)) = (self, whole) {
            *url = whole;
        }
    }
}

impl Address {
    fn log_in(&mut self, logins: &BTreeMap<String, String>) {
        if let Some(whole) = logins.get(&self.shown) {
            self.at.clone_from(whole);
        }
    }
}

impl RoleSource {
    fn login(&self) -> Option<(String, String)> {
        match self {
            Self::Git(address) => Some((address.shown.clone(), address.at.clone())),
            Self::Archive(place) => place.login(),
            Self::Folder(_) | Self::Galaxy(_) => None,
        }
    }

    /// Puts back the login that a lock file left out.
    pub(crate) fn log_in(&mut self, logins: &BTreeMap<String, String>) {
        match self {
            Self::Git(address) => address.log_in(logins),
            Self::Archive(place) => place.log_in(logins),
            Self::Folder(_) | Self::Galaxy(_) => {}
        }
    }
}

impl CollectionSource {
    fn login(&self) -> Option<(String, String)> {
        match self {
            Self::Git { address, .. } => Some((address.shown.clone(), address.at.clone())),
            Self::Archive(place) => place.login(),
            Self::Folder { .. } | Self::Galaxy { .. } => None,
        }
    }

    pub(crate) fn log_in(&mut self, logins: &BTreeMap<String, String>) {
        match self {
            Self::Git { address, .. } => address.log_in(logins),
            Self::Archive(place) => place.log_in(logins),
            Self::Folder { .. } | Self::Galaxy { .. } => {}
        }
    }
}
