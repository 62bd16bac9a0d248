//! `selinux`, `seboolean` and `seport` where there is no SELinux: nothing to do, and a word about it.
//!
//! Ansible's modules fail there for want of a library, although nothing is wrong.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(super) struct SeLinux;
pub(super) struct SeBoolean;
pub(super) struct SePort;

impl ActionModule for SeLinux {
    fn run(&self, args: &Args, _: &mut Context<'_>) -> Result<Outcome, Failure> {
        if args.str("state") != Some("disabled") && !args.has("policy") {
            let msg = "Policy is required if state is not 'disabled'";
            return Err(Failure::new(msg));
        }
        nothing_to_do(
            "selinux",
            json!({
                "msg": "", "configfile": args.str("configfile"), "policy": args.str("policy"),
                "state": args.str("state"), "reboot_required": false,
            }),
        )
    }
}

impl ActionModule for SeBoolean {
    fn run(&self, args: &Args, _: &mut Context<'_>) -> Result<Outcome, Failure> {
        nothing_to_do(
            "seboolean",
            json!({
                "name": args.str("name"), "persistent": args.bool("persistent"),
                "state": args.bool("state"),
            }),
        )
    }
}

impl ActionModule for SePort {
    fn run(&self, args: &Args, _: &mut Context<'_>) -> Result<Outcome, Failure> {
        nothing_to_do(
            "seport",
            json!({
                "ports": args.list("ports"), "proto": args.str("proto"),
                "setype": args.str("setype"), "state": args.str("state"),
            }),
        )
    }
}

/// Whether the kernel runs with SELinux, as `libselinux` finds out.
fn is_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn nothing_to_do(module: &str, fields: Json) -> Result<Outcome, Failure> {
    if is_enabled() {
        return Err(Failure::new(format!(
            "{module} is not supported where SELinux is on: run `semanage`, `setsebool` or \
             `setenforce` by `command`"
        )));
    }
    let mut outcome = Outcome::of(false, fields);
    outcome.warnings = vec![format!(
        "SELinux is not on this machine, so {module} had nothing to do"
    )];
    Ok(outcome)
}
