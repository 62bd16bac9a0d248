//! What an image says of itself: the manifest that it was made of, and when.

use serde::Serialize;

use super::error::Ec2Error;
use super::{Ec2, tags};

/// An image, as it is told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageFacts {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// The manifest that it was built of; none of one that is not amibake's.
    pub(crate) manifest: Option<String>,
    /// The hash of what it is made of, by its description.
    pub(crate) content: Option<String>,
    /// When it was made.
    pub(crate) made: Option<String>,
    /// Whether it can still be launched from.
    pub(crate) is_there: bool,
}

impl Ec2 {
    /// Returns what is known of an image, which may be gone.
    pub(crate) async fn image_facts(&self, id: &str) -> Result<ImageFacts, Ec2Error> {
        let filter = tags::filter("image-id", [id]);
        let found = self.images_of(Vec::new(), vec![filter]).await?;
        let image = found.into_iter().next();
        let image = image.as_ref();
        let tag = |key| image.and_then(|image| tags::value(image.tags(), key));
        let content = image.and_then(|image| tags::content_of(image.description()?));
        Ok(ImageFacts {
            id: id.to_owned(),
            name: image.and_then(|image| image.name.clone()),
            manifest: tag(tags::MANIFEST).map(str::to_owned),
            content: content.map(|hash| hash.to_string()),
            made: image.and_then(|image| image.creation_date.clone()),
            is_there: image.is_some(),
        })
    }
}
