//! Images of one manifest, one for each architecture: no two may have one name, or write to one place.

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;

use super::Wanted;

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
    if one.image.name == other.image.name {
        return Some(("name", one.image.name.clone()));
    }
    let (one, other) = (&one.image.publication, &other.image.publication);
    if let Some(parameter) = &one.ssm_parameter
        && one.ssm_parameter == other.ssm_parameter
    {
        return Some(("ssm_parameter", parameter.clone()));
    }
    let (one, other) = (
        one.launch_template.as_ref()?,
        other.launch_template.as_ref()?,
    );
    (one.template == other.template).then(|| ("launch_template", one.template.to_string()))
}
