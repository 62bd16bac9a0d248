//! Of `ansible._protomatter`, ansible-core's own collection, what its tests use.

use super::{Filter, filter};
use crate::template::finalize;

pub(super) const FILTERS: &[Filter] = &[filter("finalize", &[], |_, value, _| {
    finalize::result(value)
})];
