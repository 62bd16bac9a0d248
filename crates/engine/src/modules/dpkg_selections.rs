//! `dpkg_selections`: what dpkg is to do with a package, `hold` for instance.

use serde_json::json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, required_bin};

pub(super) struct DpkgSelections;

impl ActionModule for DpkgSelections {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let (name, selection) = (args.required("name")?, args.required("selection")?);
        let dpkg = required_bin("dpkg", context)?;
        let command = Command::new([dpkg.as_str(), "--get-selections", name]).parsable();
        let ran = command.checked(context)?;
        if ran.stderr.contains("no packages found matching") {
            return Err(Failure::new(format!(
                "Failed to find package '{name}' to perform selection '{selection}'."
            )));
        }
        let before = ran
            .stdout
            .split_whitespace()
            .nth(1)
            .unwrap_or("not present");
        let changed = before != selection;
        if changed && !context.check {
            Command::new([dpkg.as_str(), "--set-selections"])
                .parsable()
                .stdin(format!("{name} {selection}\n"))
                .checked(context)?;
        }
        Ok(Outcome::of(
            changed,
            json!({"before": before, "after": selection}),
        ))
    }
}
