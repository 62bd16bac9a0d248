//! The one way from a task to what does its work: a call goes in, an outcome comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use amibake_protocol::event::Stream;
use serde_json::{Map, Value as Json};

use crate::module::{Context, Failure, Outcome};
use crate::modules;
use crate::open_files::FdLimit;
use crate::source::Source;
use crate::worker::{Begun, Identity, Workers};

/// A call of a module, rendered and checked: all that it needs, wherever it is made.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) args: Map<String, Json>,
    pub(super) check: bool,
    pub(super) diff: bool,
    pub(super) environment: Vec<(String, String)>,
    pub(super) sources: BTreeMap<String, Source>,
    /// For as long as many sources are open.
    pub(super) fd_limit: Option<FdLimit>,
    pub(super) who: Identity,
    pub(super) limit: Option<Duration>,
}

/// What makes calls.
pub(super) trait Executor {
    /// Makes a call and waits for its answer; `facts` are those that modules choose by.
    fn call(
        &mut self,
        call: Call,
        facts: &Map<String, Json>,
        output: &mut dyn FnMut(Stream, &str),
    ) -> Result<Outcome, Failure>;

    /// Makes a call that goes on by itself for at most `limit`; its result is written below `folder`.
    fn start_job(
        &mut self,
        call: Call,
        limit: Duration,
        folder: &str,
        facts: &Map<String, Json>,
    ) -> Result<Begun, Failure>;
}

/// The modules of this program, each run by the worker process of its identity.
impl Executor for Workers {
    fn call(
        &mut self,
        call: Call,
        facts: &Map<String, Json>,
        output: &mut dyn FnMut(Stream, &str),
    ) -> Result<Outcome, Failure> {
        if modules::find(call.name).is_none() {
            return Err(Failure::new(format!(
                "the module {} is not supported yet",
                call.name
            )));
        }
        let _fd_limit = call.fd_limit;
        let mut context = Context {
            check: call.check,
            diff: call.diff,
            environment: call.environment,
            sources: call.sources,
            facts,
            output,
        };
        // An account in use cannot be removed or renamed.
        if call.name == "ansible.builtin.user"
            && let Some(user) = ["name", "user"]
                .iter()
                .find_map(|name| call.args.get(*name)?.as_str())
        {
            self.leave(user, &call.who);
        }
        let answer = self.run(&call.who, call.limit, call.name, &call.args, &mut context);
        // A user's groups are those of the process that was started for it.
        if matches!(call.name, "ansible.builtin.user" | "ansible.builtin.group") {
            self.forget();
        }
        answer
    }

    fn start_job(
        &mut self,
        call: Call,
        limit: Duration,
        folder: &str,
        facts: &Map<String, Json>,
    ) -> Result<Begun, Failure> {
        let mut context = Context {
            check: call.check,
            diff: call.diff,
            environment: call.environment,
            sources: call.sources,
            facts,
            output: &mut |_, _| (),
        };
        Workers::start_job(
            self,
            &call.who,
            limit,
            folder,
            (call.name, &call.args),
            &mut context,
        )
    }
}
