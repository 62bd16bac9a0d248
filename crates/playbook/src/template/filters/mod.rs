//! Filters: their table.

mod addresses;
mod collections;
mod comment;
mod crypto;
mod dates;
mod debops;
mod dicts;
mod filter;
mod general;
mod internal;
mod json;
mod lists;
mod numbers;
mod paths;
mod random;
mod regex;
mod select;
mod sets;
mod strings;
mod vault;
mod web;
mod yaml;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::names::bare;

pub(in crate::template) use addresses::is_global;
pub(super) use collections::short;
pub(super) use filter::{Filter, filter, lenient};
pub(super) use lists::attribute_path;

pub(super) use super::given::Given;
pub(super) use paths::split_url;
pub(crate) use random::seeded_text;

/// A filter and the collection it is of.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) collection: &'static str,
    pub(super) filter: &'static Filter,
}

const BUILTIN: &str = "ansible.builtin";

fn table() -> &'static HashMap<(&'static str, &'static str), Found> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Found>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = [
            (BUILTIN, comment::FILTERS),
            (BUILTIN, crypto::FILTERS),
            (BUILTIN, dates::FILTERS),
            (BUILTIN, dicts::FILTERS),
            (BUILTIN, json::FILTERS),
            (BUILTIN, lists::FILTERS),
            (BUILTIN, numbers::FILTERS),
            (BUILTIN, paths::FILTERS),
            (BUILTIN, random::FILTERS),
            (BUILTIN, regex::FILTERS),
            (BUILTIN, select::FILTERS),
            (BUILTIN, sets::FILTERS),
            (BUILTIN, strings::FILTERS),
            (BUILTIN, vault::FILTERS),
            (BUILTIN, web::FILTERS),
            (BUILTIN, yaml::FILTERS),
            ("ansible._protomatter", internal::FILTERS),
        ];
        let all = all.into_iter().chain(collections::TABLES.iter().copied());
        let all = all.flat_map(|(collection, filters)| {
            filters
                .iter()
                .map(move |filter| Found { collection, filter })
        });
        all.map(|found| ((found.collection, found.filter.name), found))
            .collect()
    })
}

/// Returns the filter called `name`, with its collection's name or, where Ansible needs none,
/// without.
pub(super) fn find(name: &str) -> Option<Found> {
    let (collection, name) = match bare(name).rsplit_once('.') {
        Some((collection, name)) => (collections::moved(collection, name), name),
        None => (BUILTIN, bare(name)),
    };
    let found = table().get(&(collection, name));
    match found {
        None if collection == BUILTIN => {
            let redirected = collections::short(name)?;
            table().get(&(redirected, name)).copied()
        }
        found => found.copied(),
    }
}

/// Returns the names of all filters here, as they are written in full.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    table().keys().copied()
}
