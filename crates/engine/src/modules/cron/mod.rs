//! `cron`: a job or a variable in a user's crontab, or in a file below `/etc/cron.d`.
//!
//! The lines and what is done to them are in `table`; here they are read and written.

mod table;

use std::io::Write;
use std::path::Path;

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Value as Json, json};
use tempfile::NamedTempFile;

use self::table::{Table, Times};
use crate::args::Args;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::modules::text_file::TextFile;
use crate::run_command::{Command, required_bin};
use crate::users;

pub(super) struct Cron;

/// Where the lines are.
enum Origin {
    File(TextFile),
    /// A user's, by the program `crontab`; `None` is whoever runs the task.
    User(Option<String>),
}

struct Crontab {
    origin: Origin,
    program: String,
    /// As it was, without the header that `crontab -l` adds.
    before: String,
    table: Table,
}

impl ActionModule for Cron {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let file = args.str("cron_file").filter(|file| !file.is_empty());
        if file == Some("/etc/crontab") {
            let msg = "Will not manage /etc/crontab via cron_file, see documentation.";
            return Err(Failure::new(msg));
        }
        let mut warnings: Vec<String> = file.and_then(odd_name).into_iter().collect();
        let mut crontab = Crontab::read(args, context)?;
        refuse_misuse(args)?;
        let present = args.str("state") == Some("present");
        let job = args.str("job").map(|job| job.trim_matches(['\r', '\n']));
        if !args.bool("env") && present && job.is_some_and(|job| job.contains(['\r', '\n'])) {
            warnings.push("Job should not contain line breaks".to_owned());
        }
        let original = crontab.table.clone();
        let mut changed = apply(args, &mut crontab.table)?;
        let emptied = changed && !present && !args.bool("env") && crontab.table.is_empty();
        if let (true, Origin::File(at)) = (emptied, &crontab.origin) {
            return remove_file(args, &crontab, at, context);
        }
        changed |= !crontab.before.is_empty() && !crontab.before.ends_with(['\r', '\n']);
        let mut outcome = crontab.outcome(changed, context);
        outcome.warnings = warnings;
        if changed && !context.check {
            crontab.write(context)?;
            if args.bool("backup") {
                let (_, kept) = temporary(&original.render())?
                    .keep()
                    .map_err(|e| Failure::new(format!("could not keep the old crontab: {e}")))?;
                let kept = kept.to_string_lossy().into_owned();
                outcome
                    .result
                    .insert("backup_file".to_owned(), Json::from(kept));
            }
        }
        if let Some(file) = file {
            outcome
                .result
                .insert("cron_file".to_owned(), Json::from(file));
        }
        Ok(outcome)
    }
}

fn odd_name(file: &str) -> Option<String> {
    let name = paths::basename(file);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (name.is_empty() || !name.chars().all(plain)).then(|| {
        format!(
            "Filename portion of cron_file (\"{name}\") should consist solely of upper- and \
             lower-case letters, digits, underscores, and hyphens"
        )
    })
}

fn refuse_misuse(args: &Args) -> Result<(), Failure> {
    let times = ["minute", "hour", "day", "month", "weekday"];
    let timed = times.iter().any(|name| args.str(name) != Some("*"));
    let present = args.str("state") == Some("present");
    let given = |name: &str| args.str(name).is_some_and(|text| !text.is_empty());
    let placed = given("insertafter") || given("insertbefore");
    let msg = if given("special_time") && timed {
        "You cannot combine special_time with any of the time or day/date parameters."
    } else if present && given("cron_file") && !given("user") {
        "To use cron_file=... parameter you must specify user=... as well"
    } else if present && !args.has("job") {
        "You must specify 'job' to install a new cron job or variable"
    } else if present && placed && !args.bool("env") {
        "Insertafter and insertbefore parameters are valid only with env=yes"
    } else {
        return Ok(());
    };
    Err(Failure::new(msg))
}

/// Does what the task asks for to the lines.
fn apply(args: &Args, table: &mut Table) -> Result<bool, Failure> {
    let name = args.required("name")?;
    let job = args.str("job");
    let present = args.str("state") == Some("present");
    if args.bool("env") {
        if name.contains(' ') {
            return Err(Failure::new("Invalid name for environment variable"));
        }
        return match present {
            true => {
                let value = job.unwrap_or_default();
                let place = (args.str("insertafter"), args.str("insertbefore"));
                table.set_variable(name, &format!("{name}=\"{value}\""), place)
            }
            false => Ok(table.remove_variable(name)),
        };
    }
    if !present {
        return Ok(table.remove_job(name));
    }
    let time = |name: &str| args.str(name).unwrap_or("*");
    let times = Times {
        special: args.str("special_time"),
        fields: ["minute", "hour", "day", "month", "weekday"].map(time),
        disabled: args.bool("disabled"),
        user: args.str("cron_file").and(args.str("user")),
    };
    Ok(table.set_job(name, &times.line(job.unwrap_or_default())))
}

/// Removes a file of which nothing is left.
fn remove_file(
    args: &Args,
    crontab: &Crontab,
    file: &TextFile,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let there = file.text.is_some();
    if there && !context.check {
        let path = file.path.clone();
        change::apply(&[Change::Remove { path }], context)?;
    }
    let diff = match context.diff {
        true => json!({"before": crontab.before, "before_header": crontab.title(),
            "after": "", "after_header": "/dev/null"}),
        false => json!({}),
    };
    let fields = json!({"cron_file": args.str("cron_file"), "state": args.str("state")});
    let mut outcome = Outcome::of(there, fields);
    outcome.diff = diff;
    Ok(outcome)
}

/// Writes lines to a file of the folder for temporary ones, which is removed unless it is kept. Some
/// versions of `crontab` write its name into the table, and know it again by how it begins.
fn temporary(text: &str) -> Result<NamedTempFile, Failure> {
    let made = tempfile::Builder::new().prefix("crontab").tempfile();
    made.and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file))
        .map_err(|e| Failure::new(format!("could not write the crontab to a file: {e}")))
}

impl Crontab {
    fn read(args: &Args, context: &mut Context<'_>) -> Result<Self, Failure> {
        let program = required_bin("crontab", context)?;
        let given = |name: &str| args.str(name).filter(|text| !text.is_empty());
        if let Some(file) = given("cron_file") {
            let file = TextFile::read(&Path::new("/etc/cron.d").join(file))?;
            return Ok(Self {
                before: file.text().to_owned(),
                table: Table::of_text(file.text()),
                origin: Origin::File(file),
                program,
            });
        }
        let mut crontab = Self {
            origin: Origin::User(given("user").map(str::to_owned)),
            program,
            before: String::new(),
            table: Table::of_text(""),
        };
        let command = Command::new(crontab.argv("-l"));
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        // 1 can mean that there are no jobs.
        if !matches!(ran.rc, 0 | 1) {
            return Err(Failure::new("Unable to read crontab"));
        }
        (crontab.before, crontab.table) = without_header(&ran.stdout);
        Ok(crontab)
    }

    fn argv(&self, last: &str) -> Vec<String> {
        let me = users::user_by_id(nix::unistd::geteuid().as_raw()).map(|user| user.name);
        let other = match &self.origin {
            Origin::User(user) => user.as_ref().filter(|user| Some(*user) != me.as_ref()),
            Origin::File(_) => None,
        };
        let mut argv = vec![self.program.clone()];
        if let Some(user) = other {
            argv.extend(["-u".to_owned(), user.clone()]);
        }
        argv.push(last.to_owned());
        argv
    }

    fn title(&self) -> String {
        match &self.origin {
            Origin::File(file) => file.path.to_string_lossy().into_owned(),
            Origin::User(Some(user)) => format!("crontab for user \"{user}\""),
            Origin::User(None) => "crontab".to_owned(),
        }
    }

    fn outcome(&self, changed: bool, context: &Context<'_>) -> Outcome {
        let fields = json!({"jobs": self.table.jobs(), "envs": self.table.variables()});
        let mut outcome = Outcome::of(changed, fields);
        if changed && context.diff {
            outcome.diff = json!({"before": self.before, "before_header": self.title(),
                "after": self.table.render(), "after_header": self.title()});
        }
        outcome
    }

    fn write(&self, context: &mut Context<'_>) -> Result<(), Failure> {
        let text = self.table.render();
        let Origin::File(file) = &self.origin else {
            return self.install(&text, context);
        };
        let mut changes = vec![file.write(&text)];
        if file.text.is_none() {
            // cron passes over a file that others can write.
            let (path, mode) = (file.path.clone(), 0o644);
            changes.push(Change::Mode {
                path,
                mode,
                of: None,
            });
        }
        change::apply(&changes, context)
    }

    fn install(&self, text: &str, context: &mut Context<'_>) -> Result<(), Failure> {
        let file = temporary(text)?;
        let path = file.path().to_string_lossy().into_owned();
        let command = Command::new(self.argv(&path));
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        if ran.rc == 0 {
            return Ok(());
        }
        let mut failure = Failure::new(format!("Failed to install new cronfile: {path}"));
        failure.result = ran.fields();
        Err(failure)
    }
}

/// Drops what some versions of `crontab` write before the lines, which is among the first three.
fn without_header(text: &str) -> (String, Table) {
    let header = Regex::new(
        r"# DO NOT EDIT THIS FILE - edit the master and reinstall.|# \(/tmp/.*installed on.*\)|# \(.*version.*\)",
        Flags::default(),
    );
    let is_header = |line: &str| {
        let found = header.as_ref().ok().map(|r| r.search(line.as_bytes(), 0));
        found.is_some_and(|f| f.is_ok_and(|f| f.is_some_and(|groups| groups.whole().start == 0)))
    };
    let mut before = text.to_owned();
    let mut rest = String::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        match at < 3 && is_header(line) {
            true => before = before.replacen(line, "", 1),
            false => rest.push_str(line),
        }
    }
    (before, Table::of_text(&rest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use amibake_playbook::argspec;

    use super::*;
    use crate::run_command::tests::with_context;

    /// Gives a context whose `crontab` keeps the table in a file, and refuses one with `bad` in it.
    fn with_crontab(test: impl FnOnce(&mut Context<'_>, &Path)) {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        let program = folder.path().join("crontab");
        let at = table.display();
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -l ]; then exec /bin/cat {at}; fi\n\
             if /bin/grep -q bad \"$1\"; then echo bad minute >&2; exit 1; fi\n\
             exec /bin/cp \"$1\" {at}\n"
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let path = folder.path().to_string_lossy().into_owned();
        with_context(|context| {
            context.environment = vec![("PATH".to_owned(), path)];
            test(context, &table);
        });
    }

    fn run(args: Json, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let spec = argspec::find("ansible.builtin.cron").unwrap();
        let args = Args::coerce(spec, args.as_object().unwrap().clone())?;
        Cron.run(&args, context)
    }

    #[test]
    fn a_job_is_installed_once_and_check_mode_only_shows_it() {
        with_crontab(|context, table| {
            let task = json!({"name": "x", "job": "/bin/x", "special_time": "daily"});
            (context.check, context.diff) = (true, true);
            let outcome = run(task.clone(), context).unwrap();
            assert_eq!(outcome.diff["after"], "#Ansible: x\n@daily /bin/x\n");
            assert!(outcome.changed && !table.exists());
            context.check = false;
            for changed in [true, false] {
                let outcome = run(task.clone(), context).unwrap();
                assert_eq!(outcome.changed, changed);
                assert_eq!(outcome.result["jobs"], json!(["x"]));
            }
            let text = std::fs::read_to_string(table).unwrap();
            assert_eq!(text, "#Ansible: x\n@daily /bin/x\n");
        });
    }

    #[test]
    fn a_table_that_is_refused_stays_and_the_program_is_quoted() {
        with_crontab(|context, table| {
            let task = json!({"name": "x", "job": "/bin/x", "minute": "bad"});
            let failure = run(task, context).unwrap_err();
            assert!(failure.msg.starts_with("Failed to install new cronfile: "));
            assert_eq!(failure.result["stderr"], "bad minute\n");
            assert!(!table.exists());
        });
    }

    #[test]
    fn a_backup_has_the_table_as_it_was() {
        with_crontab(|context, table| {
            std::fs::write(table, "A=1\n").unwrap();
            let task = json!({"name": "A", "env": true, "state": "absent", "backup": true});
            let outcome = run(task, context).unwrap();
            let kept = outcome.result["backup_file"].as_str().unwrap();
            assert_eq!(std::fs::read_to_string(kept).unwrap(), "A=1\n");
            std::fs::remove_file(kept).unwrap();
            assert_eq!(std::fs::read_to_string(table).unwrap(), "");
        });
    }

    #[test]
    fn the_header_of_an_older_crontab_is_no_line_of_it() {
        let text = "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n# (/tmp/x installed \
                    on Mon)\n# (Cron version V5)\n# (Cron version V5)\n* * * * * a\n";
        let (before, table) = without_header(text);
        assert_eq!(before, "# (Cron version V5)\n* * * * * a\n");
        assert_eq!(table.render(), before);
    }
}
