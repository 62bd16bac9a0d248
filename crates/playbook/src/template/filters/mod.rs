//! Filters: their table.

mod crypto;
mod dates;
mod dicts;
mod json;
mod lists;
mod numbers;
mod paths;
mod random;
mod regex;
mod select;
mod sets;
mod strings;
mod yaml;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::eval::Evaluator;
pub(super) use super::given::Given;
use super::{Error, ErrorKind};
use crate::names::bare;
use crate::value::Value;

pub(super) use lists::attribute_path;

/// What runs a filter.
type Run = fn(&Evaluator<'_>, Value, &Given) -> Result<Value, Error>;

/// One filter.
pub(super) struct Filter {
    pub(super) name: &'static str,
    /// The parameters after the input; a last `*` takes any number, `**` any name.
    pub(super) params: &'static [&'static str],
    /// Whether it wants to see undefined values.
    pub(super) takes_undefined: bool,
    pub(super) run: Run,
}

const fn filter(name: &'static str, params: &'static [&'static str], run: Run) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: false,
        run,
    }
}

const fn lenient(name: &'static str, params: &'static [&'static str], run: Run) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: true,
        run,
    }
}

fn table() -> &'static HashMap<&'static str, &'static Filter> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Filter>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = [
            crypto::FILTERS,
            dates::FILTERS,
            dicts::FILTERS,
            json::FILTERS,
            lists::FILTERS,
            numbers::FILTERS,
            paths::FILTERS,
            random::FILTERS,
            regex::FILTERS,
            select::FILTERS,
            sets::FILTERS,
            strings::FILTERS,
            yaml::FILTERS,
        ];
        let all = all.into_iter().flatten();
        all.map(|filter| (filter.name, filter)).collect()
    })
}

/// Returns the filter called `name`.
pub(super) fn find(name: &str) -> Option<&'static Filter> {
    table().get(bare(name)).copied()
}

/// Returns the error of a filter that does not exist.
pub(super) fn unknown(name: &str) -> Error {
    let known = table().keys().copied();
    Error::new(
        ErrorKind::Syntax,
        format!("No filter named '{name}'.{}", nearest(bare(name), known)),
    )
}

/// Returns ` Did you mean …?` if a known name is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .map_or_else(String::new, |(_, near)| format!(" Did you mean '{near}'?"))
}
