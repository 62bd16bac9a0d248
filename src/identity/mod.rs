//! What an image is made of, as digests by name: two builds of one content need one image.
//!
//! [`Inputs`] are what is known before anything is called; with the source that the target finds they are a
//! [`Content`]. What they are computed from is `gather`'s; who looks for an image of a content is the target's.
//! Where an image goes, and who is told of it, is no part of its content: that is compared with the account.

mod changes;
mod commits;
mod content;
mod gather;
mod key;

pub(crate) use changes::Change;
#[cfg(feature = "ec2")]
pub(crate) use changes::changes;
pub(crate) use commits::{Commits, commits};
pub(crate) use content::{Content, ContentHash, Input, Inputs};
#[cfg(all(test, feature = "ec2"))]
pub(crate) use gather::of_manifest;
pub(crate) use gather::{Engine, asks_for_computed_environment, inputs};
pub(crate) use key::ContentKey;
