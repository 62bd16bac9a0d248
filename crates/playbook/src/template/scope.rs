//! What a template sees of the world: variables, lookups, the controller's files, the clock.

use indexmap::IndexMap;

use crate::template::Error;
use crate::value::{Place, Value};

/// The variables in reach, as they were written: templates in them are rendered when read.
pub trait Scope {
    /// Returns the variable called `name`.
    fn get(&self, name: &str) -> Option<Value>;

    /// Returns every name there is, for `vars` and for hints at misspelt names.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Keyword arguments of a call.
pub type Kwargs = IndexMap<String, Value>;

/// What only the host of the evaluator can answer. Every method has a default that says so.
pub trait Outside {
    /// Runs the lookup plugin `name`. Terms and options are rendered already; the answer is
    /// always a list, as with `query`. `place` is the expression's, as far as it is known.
    fn lookup(
        &self,
        name: &str,
        _terms: &[Value],
        _options: &Kwargs,
        _place: Option<&Place>,
    ) -> Result<Vec<Value>, Error> {
        Err(Error::failed(format!(
            "lookup plugin ({name}) cannot be used here"
        )))
    }

    /// Answers a test on a file of the controller: `exists`, `file`, `directory`, `link`,
    /// `link_exists`, `same_file` (with a second path), `mount`, `abs` is not asked.
    fn file_test(&self, test: &str, path: &str, _other: Option<&str>) -> Result<bool, Error> {
        Err(Error::failed(format!(
            "'{path}' cannot be tested for '{test}' here"
        )))
    }

    /// Returns the paths on the controller that match a shell pattern (`fileglob`).
    fn glob(&self, pattern: &str) -> Result<Vec<String>, Error> {
        Err(Error::failed(format!(
            "'{pattern}' cannot be searched here"
        )))
    }

    /// Returns the text of an included, imported or extended template and its path.
    fn load(&self, name: &str, _from: Option<&str>) -> Result<(String, String), Error> {
        Err(Error::failed(format!("template not found: {name}")))
    }

    /// Resolves links in a path of the controller (`realpath`); asked for by the expression at `place`.
    fn realpath(&self, path: &str, _place: Option<&Place>) -> Result<String, Error> {
        Err(Error::failed(format!("'{path}' cannot be resolved here")))
    }

    /// Returns the controller's working folder, where relative paths begin (`relpath`).
    fn working_folder(&self) -> Result<String, Error> {
        Err(Error::failed("the working folder is not known here"))
    }

    /// Returns the value of an environment variable of the controller, if it has it; asked for
    /// by the expression at `place`.
    fn environment(&self, _name: &str, _place: Option<&Place>) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Returns the time as seconds and nanoseconds since 1970, and the local offset from UTC
    /// in seconds.
    fn now(&self) -> (i64, u32, i32) {
        (0, 0, 0)
    }

    /// Fills `bytes` with randomness, for salts and `random` without a seed.
    fn entropy(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    /// Returns whether an unknown filter, test or lookup is known to the host.
    fn knows_lookup(&self, _name: &str) -> bool {
        false
    }
}

/// A world without lookups, files, clock or chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Outside for Nowhere {}

/// Variables in one mapping.
impl Scope for crate::value::Dict {
    fn get(&self, name: &str) -> Option<Value> {
        crate::value::Dict::get(self, name)
    }

    fn names(&self) -> Vec<String> {
        self.keys().iter().map(ToString::to_string).collect()
    }
}
