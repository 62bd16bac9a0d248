//! Images of one manifest, one for each architecture: no two may have one name, or write to one place.

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;

use super::{Image, Wanted};

/// Refuses images that would take each other's place; `image` is the section, `whole` the manifest.
pub(super) fn refuse_clashes(
    images: &[Wanted],
    image: Option<&Node>,
    whole: &Node,
) -> Result<(), Diagnostic> {
    for (number, one) in images.iter().enumerate() {
        for other in &images[..number] {
            if let Some((key, value)) = clash(one, other) {
                let place = image.and_then(|image| image.get(key)).unwrap_or(whole);
                let message = format!(
                    "the images of {} and {} would have the same `image.{key}`: {value}",
                    other.arch, one.arch
                );
                let wrong = Diagnostic::new(&place.span, message);
                return Err(wrong.hint("put {{ arch }} into it: each image has its own"));
            }
        }
    }
    Ok(())
}

/// Returns the key and the value that two images share and may not.
fn clash(one: &Wanted, other: &Wanted) -> Option<(&'static str, String)> {
    let all = one.image.of_its_own().into_iter();
    let mut shared = all.zip(other.image.of_its_own());
    let ((key, value), _) = shared.find(|(one, other)| one.1.is_some() && one == other)?;
    Some((key, value?))
}

impl Image {
    /// Returns what no two images may share: keys below `image:`, and what this one has there.
    pub(crate) fn of_its_own(&self) -> [(&'static str, Option<String>); 3] {
        let publication = &self.publication;
        let template = publication.launch_template.as_ref();
        [
            ("name", Some(self.name.clone())),
            ("ssm_parameter", publication.ssm_parameter.clone()),
            (
                "launch_template",
                template.map(|launch| launch.template.to_string()),
            ),
        ]
    }
}
