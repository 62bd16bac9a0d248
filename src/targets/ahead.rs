//! What a build would find and make, as `plan` shows it.

use serde::Serialize;

use super::{Fault, TargetError};
use crate::exit::Exit;
use crate::identity::{Change, Content};

/// What a target knows of a build beforehand.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Ahead {
    /// Where it would be made, if the target has regions.
    pub(crate) region: Option<String>,
    /// What it starts from: `None` where nothing was asked.
    pub(crate) source_image: Option<Source>,
    #[serde(skip)]
    pub(crate) content: Option<Content>,
    /// Images of this content, the newest first.
    pub(crate) same_content: Vec<Known>,
    /// The newest released image of this manifest, and what changed since.
    pub(crate) last: Option<Last>,
    /// What a build makes, and what of it stays.
    pub(crate) resources: Vec<String>,
    /// What is done so that the image is published as the manifest wants it, region by region.
    pub(crate) publication: Vec<ToPublish>,
    /// The calls that change something, in their order.
    pub(crate) calls: Vec<&'static str>,
    /// What a build would tell: what it leaves as it is, or what could not be looked at.
    pub(crate) notes: Vec<String>,
    /// What a build would stop at.
    pub(crate) problems: Vec<Problem>,
}

/// What a build would stop at, and whose fault that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Problem {
    pub(crate) told: String,
    #[serde(skip)]
    pub(crate) fault: Fault,
}

impl Problem {
    /// Returns that the manifest, or this program, asks for what cannot be.
    pub(crate) fn of_manifest(told: String) -> Self {
        let fault = Fault::Manifest;
        Self { told, fault }
    }

    /// Returns how a build would end by it.
    pub(crate) fn exit(&self) -> Exit {
        self.fault.exit()
    }
}

impl From<&TargetError> for Problem {
    fn from(error: &TargetError) -> Self {
        Self {
            told: error.on_one_line(),
            fault: error.fault,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Source {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// An image that is there.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) made: String,
    /// Why it is not the result; `None` where it would be.
    pub(crate) unfit: Option<String>,
    /// Whether it lacks nothing but its publication, which a build goes on with.
    pub(crate) passed: bool,
}

/// One thing that publishing does.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ToPublish {
    pub(crate) region: String,
    pub(crate) change: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Last {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) made: String,
    /// `None` where its tag is gone that says what it is made of.
    pub(crate) changes: Option<Vec<Change>>,
}

impl Ahead {
    /// Returns the image that a build would print without making one.
    pub(crate) fn finished(&self) -> Option<&Known> {
        self.same_content.iter().find(|image| image.unfit.is_none())
    }

    /// Returns the image that a build would publish without making one.
    pub(crate) fn passed(&self) -> Option<&Known> {
        let mut known = self.same_content.iter();
        known
            .find(|image| image.passed)
            .filter(|_| self.finished().is_none())
    }
}
