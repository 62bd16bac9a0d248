//! `sudoers`: a file of rules for sudo that holds one rule.

use std::path::Path;

use serde_json::json;

use crate::args::Args;
use crate::attrs::Meta;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::text_file::TextFile;
use crate::run_command::{Command, bin_path, required_bin};

pub(super) struct Sudoers;

/// sudo passes over files that others can write.
const MODE: u32 = 0o440;

impl ActionModule for Sudoers {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let folder = Path::new(args.required("sudoers_path")?);
        let path = folder.join(args.required("name")?);
        if args.str("state") == Some("absent") {
            let there = path.exists();
            if there && !context.check {
                change::apply(&[Change::Remove { path }], context)?;
            }
            return Ok(Outcome::of(there, json!({})));
        }
        let rule = rule(args)?;
        validate(args, &rule, context)?;
        let file = TextFile::read(&path)?;
        let meta = Meta::follow(&path)
            .map_err(|e| Failure::new(format!("could not look at {}: {e}", path.display())))?;
        let same = file.text.as_ref() == Some(&rule);
        if same && meta.is_some_and(|meta| meta.bits() & 0o777 == MODE) {
            return Ok(Outcome::of(false, json!({})));
        }
        if !context.check {
            let mode = Change::Mode {
                path,
                mode: MODE,
                of: None,
            };
            change::apply(&[file.write(&rule), mode], context)?;
        }
        Ok(Outcome::of(true, json!({})))
    }
}

/// Returns the line that the file is to hold.
fn rule(args: &Args) -> Result<String, Failure> {
    let given = |name: &str| args.str(name).filter(|text| !text.is_empty());
    let owner = match (given("user"), given("group")) {
        (Some(user), _) => user.to_owned(),
        (None, Some(group)) => format!("%{group}"),
        (None, None) => return Err(Failure::new("a rule needs a user or a group")),
    };
    let flag = |name: &str, word: &'static str| if args.bool(name) { word } else { "" };
    let runas = args.str("runas").map(|user| format!("({user})"));
    Ok(format!(
        "{owner} {}={}{}{}{} {}\n",
        args.required("host")?,
        runas.unwrap_or_default(),
        flag("noexec", "NOEXEC:"),
        flag("nopassword", "NOPASSWD:"),
        flag("setenv", "SETENV:"),
        args.list("commands").join(", "),
    ))
}

/// Has `visudo` read the rule, where it is there or has to be.
fn validate(args: &Args, rule: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let program = match args.str("validation") {
        Some("absent") => return Ok(()),
        Some("required") => required_bin("visudo", context)?,
        _ => match bin_path("visudo", context) {
            Some(path) => path.to_string_lossy().into_owned(),
            None => return Ok(()),
        },
    };
    let command = Command::new([&*program, "-c", "-f", "-"]).stdin(rule);
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc == 0 {
        return Ok(());
    }
    let said = if ran.stdout.is_empty() {
        &ran.stderr
    } else {
        &ran.stdout
    };
    let mut failure = Failure::new(format!("Failed to validate sudoers rule:\n{said}"));
    failure.result = ran.fields();
    failure.result.shift_remove("rc");
    Err(failure)
}
