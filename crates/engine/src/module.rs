//! What a module is: the two kinds.
//!
//! A *state* module inspects the machine, plans changes (pure), and leaves the doing to
//! [`crate::change`]; an *action* module just runs, and declares its answer in check mode.

use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
pub use crate::context::{Context, Failure, Outcome};

/// A module that runs something: `command`, `apt`, `git`.
pub trait ActionModule: Sync {
    /// Runs with `args`, already checked and coerced against the module's spec.
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure>;
}

/// A module that makes a state true: `file`, `user`, `sysctl`.
pub trait StateModule: Sync {
    /// The state asked for.
    type Want;
    /// The state found.
    type Now;
    /// Reads the arguments.
    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Self::Want, Failure>;
    /// Reads the machine. Changes nothing.
    fn inspect(&self, want: &Self::Want, context: &mut Context<'_>) -> Result<Self::Now, Failure>;
    /// Plans what makes `want` true: pure. An empty plan is "ok".
    fn plan(&self, want: &Self::Want, now: &Self::Now) -> Result<Vec<Change>, Failure>;
    /// Returns the fields of the result once the plan is applied (or would be).
    fn result(
        &self,
        want: &Self::Want,
        now: &Self::Now,
        context: &Context<'_>,
    ) -> Map<String, Json>;
    /// Returns whether the plan is told as a change: some of Ansible's modules tell of a part of it.
    fn changed(&self, _want: &Self::Want, _now: &Self::Now, plan: &[Change]) -> bool {
        !plan.is_empty()
    }
    /// Returns the result's `diff` where diffs are wanted, in the shape of Ansible's module.
    fn diff(&self, _want: &Self::Want, _now: &Self::Now, _plan: &[Change]) -> Json {
        Json::Null
    }
    /// Returns the result's `diff` where diffs are not wanted: some of Ansible's modules have one.
    fn diff_unasked(&self, _want: &Self::Want, _now: &Self::Now) -> Json {
        Json::Null
    }
    /// Adds to a failure of applying the plan what Ansible's module answers with it, and undoes what that would.
    fn failed(&self, _want: &Self::Want, _now: &Self::Now, failure: Failure) -> Failure {
        failure
    }
    /// Returns sentences for the author.
    fn warnings(&self, _want: &Self::Want, _now: &Self::Now) -> Vec<String> {
        Vec::new()
    }
}
