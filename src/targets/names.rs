//! The names of targets, as journals have them.

use serde_json::{Map, Value};

pub(crate) const CONTAINER: &str = "container";
pub(crate) const EC2: &str = "ec2";

/// Returns the name of the target whose debt has this form, in journals that do not say it.
pub(crate) fn writer_of_unnamed(data: &Map<String, Value>) -> &'static str {
    match data.contains_key("region") {
        true => EC2,
        false => CONTAINER,
    }
}
