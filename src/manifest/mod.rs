//! The manifest: YAML to a typed [`Manifest`], with line and column in every complaint.

mod model;

pub(crate) use model::*;
