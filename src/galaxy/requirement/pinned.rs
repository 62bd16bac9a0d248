//! What a lock file names, looked at as what a requirements file says: it is a file like another.

use std::path::Path;

use amibake_playbook::diagnostic::{Diagnostic, Span};
use amibake_playbook::yaml::{Kind, Node};

use super::values::{
    Base, clean, folder_name, is_collection_name, place, repository, revision, subfolder,
};
use super::{CollectionRequirement, CollectionSource, Place, Range, RoleRequirement, RoleSource};
use crate::galaxy::git::is_commit;
use crate::galaxy::lock::{Origin, Pin};

/// Returns the role that a lock file names, looked at as what a requirements file says.
pub(crate) fn pinned_role(pin: &Pin, file: &Path) -> Result<RoleRequirement, Diagnostic> {
    let (node, base) = lock_node(pin, file)?;
    let source = clean(&node, "source", pin.source.clone())?;
    let source = match pin.origin {
        Origin::Git => RoleSource::Git(repository(&node, &source, base)?),
        Origin::Galaxy => RoleSource::Galaxy(source),
        Origin::Archive | Origin::Folder => match place(&node, &source, base)? {
            Some(Place::File(address)) if pin.origin == Origin::Folder => {
                RoleSource::Folder(address)
            }
            Some(place) => RoleSource::Archive(place),
            None => {
                return Err(Diagnostic::new(
                    &node.span,
                    format!("`{source}` is not there"),
                ));
            }
        },
    };
    Ok(RoleRequirement {
        name: folder_name(&node, pin.name.clone())?,
        source,
        version: Some(pin.version.clone()).filter(|version| !version.is_empty()),
    })
}

/// Returns the collection that a lock file names, likewise.
pub(crate) fn pinned_collection(
    pin: &Pin,
    file: &Path,
) -> Result<CollectionRequirement, Diagnostic> {
    let (node, base) = lock_node(pin, file)?;
    if !is_collection_name(&pin.name) {
        let wrong = format!("`{}` is no name of a collection", pin.name);
        return Err(Diagnostic::new(&node.span, wrong));
    }
    let source = clean(&node, "source", pin.source.clone())?;
    let folder = subfolder(&node, &pin.folder)?;
    let source = match pin.origin {
        Origin::Git => CollectionSource::Git {
            address: repository(&node, &source, base)?,
            folder,
        },
        Origin::Galaxy => CollectionSource::Galaxy {
            name: pin.name.clone(),
            range: Range::any(),
            server: Some(source),
        },
        Origin::Archive | Origin::Folder => match place(&node, &source, base)? {
            Some(Place::File(address)) if pin.origin == Origin::Folder => {
                CollectionSource::Folder { address, folder }
            }
            Some(place) => CollectionSource::Archive(place),
            None => {
                return Err(Diagnostic::new(
                    &node.span,
                    format!("`{source}` is not there"),
                ));
            }
        },
    };
    let version = match pin.revision.is_empty() {
        true => "*".to_owned(),
        false => revision(&node, pin.revision.clone())?,
    };
    Ok(CollectionRequirement { source, version })
}

/// Returns what a complaint about a pin is about, and where its paths start; its digests are digests.
fn lock_node<'f>(pin: &Pin, file: &'f Path) -> Result<(Node, Base<'f>), Diagnostic> {
    let span = Span::whole(file);
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = pin.commit.as_deref();
    if !is_digest(&pin.sha256) || commit.is_some_and(|commit| !is_commit(commit)) {
        let wrong = format!("a digest of {} is none", pin.name);
        return Err(Diagnostic::new(&span, wrong));
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let node = Node {
        span,
        tag: None,
        kind: Kind::Null,
    };
    Ok((node, Base::File(folder)))
}
