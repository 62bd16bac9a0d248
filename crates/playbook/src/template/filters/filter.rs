//! One filter: its name, its parameters, what runs it.

use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::given::Given;
use crate::value::Value;

/// What runs a filter.
pub(in crate::template) type Run = fn(&Evaluator<'_>, Value, &Given) -> Result<Value, Error>;

/// One filter.
pub(in crate::template) struct Filter {
    pub(in crate::template) name: &'static str,
    /// The parameters after the input; a last `*` takes any number, `**` any name, `=x` only by
    /// its name.
    pub(in crate::template) params: &'static [&'static str],
    /// Whether it wants to see undefined values.
    pub(in crate::template) takes_undefined: bool,
    pub(in crate::template) run: Run,
}

pub(in crate::template) const fn filter(
    name: &'static str,
    params: &'static [&'static str],
    run: Run,
) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: false,
        run,
    }
}

pub(in crate::template) const fn lenient(
    name: &'static str,
    params: &'static [&'static str],
    run: Run,
) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: true,
        run,
    }
}
