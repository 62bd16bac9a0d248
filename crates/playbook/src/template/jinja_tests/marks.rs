//! `ansible._protomatter.tagged_with`: whose word a text is, as ansible-core's own tests ask.

use super::{Test, test};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::given::Given;
use crate::value::{Mark, Value, looks_like_template};

pub(super) const TESTS: &[Test] = &[test("tagged_with", &["tag_name"], tagged_with)];

/// Tags of ansible-core that no value has here.
const NOT_KEPT: &[&str] = &["Deprecated", "Origin", "SourceWasEncrypted", "VaultedValue"];

fn tagged_with(_: &Evaluator<'_>, value: &Value, given: &Given) -> Result<bool, Error> {
    let tag = given.text(0)?;
    match tag.as_str() {
        "TrustedAsTemplate" => Ok(match value.mark() {
            Some(Mark::Author) => true,
            Some(Mark::Literal) => value.as_str().is_some_and(looks_like_template),
            Some(Mark::Data) | None => false,
        }),
        kept if NOT_KEPT.contains(&kept) => Err(Error::failed(format!(
            "values have no tag {tag:?} here, only 'TrustedAsTemplate'"
        ))),
        _ => Err(Error::failed(format!("Unknown tag name '{tag}'."))),
    }
}
