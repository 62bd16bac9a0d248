//! `pam_limits`: a line of `/etc/security/limits.conf`.

use std::path::Path;

use rustix::fs::{Access, access};
use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::text_file::TextFile;

pub(super) struct PamLimits;

impl ActionModule for PamLimits {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let dest = Path::new(args.required("dest")?);
        let file = TextFile::read(dest)?;
        refuse_unwritable(dest, &file)?;
        if args.bool("use_max") && args.bool("use_min") {
            let msg = "Cannot use use_min and use_max at the same time.";
            return Err(Failure::new(msg));
        }
        let limit = Limit::read(args)?;
        check(limit.item, limit.value, "")?;
        let edited = limit.set_in(file.text(), dest)?;
        let changed = edited.changed || file.text.is_none();
        let mut fields = json!({"msg": edited.line});
        let mut changes: Vec<Change> = Vec::new();
        if args.bool("backup") {
            let (copy, name) = file.back_up().unzip();
            changes.extend(copy);
            fields["backup_file"] = Json::from(name.unwrap_or_default());
        }
        if changed {
            changes.push(file.write(&edited.text));
        }
        if !context.check {
            change::apply(&changes, context)?;
        }
        let mut outcome = Outcome::of(changed, fields);
        outcome.diff = json!({"before": file.text(), "after": edited.text});
        Ok(outcome)
    }
}

fn refuse_unwritable(dest: &Path, file: &TextFile) -> Result<(), Failure> {
    let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    if file.text.is_some() {
        return match writable(dest) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} is not writable. Use sudo",
                dest.display()
            ))),
        };
    }
    let folder = dest.parent().unwrap_or(Path::new("/"));
    if folder.is_dir() && writable(folder) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "directory {} is not writable (check presence, access rights, use sudo)",
        folder.display()
    )))
}

/// Refuses a value that its item cannot have.
fn check(item: &str, value: &str, before: &str) -> Result<(), Failure> {
    let number = value.trim().parse::<i64>();
    let (fits, why) = if matches!(item, "nice" | "priority") {
        let fits = number.is_ok_and(|n| (-20..=19).contains(&n));
        (
            fits,
            "Value must be a number in the range -20 to 19 inclusive. Refer to the \
                limits.conf(5) manual pages for more details.",
        )
    } else {
        let digits = !value.is_empty() && value.chars().all(|c| c.is_ascii_digit());
        (
            digits || is_unlimited(value),
            "Value must either be 'unlimited', 'infinity' or -1, all of \
                which indicate no limit, or a limit of 0 or larger. Refer to the limits.conf(5) \
                manual pages for more details.",
        )
    };
    match fits {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{before} Value of '{value}' for item '{item}' is invalid. {why}"
        ))),
    }
}

fn is_unlimited(value: &str) -> bool {
    matches!(value, "unlimited" | "infinity" | "-1")
}

/// What a task asks for.
struct Limit<'a> {
    domain: &'a str,
    kind: &'a str,
    item: &'a str,
    value: &'a str,
    comment: &'a str,
    max: bool,
    min: bool,
}

/// The file after editing.
struct Edited {
    text: String,
    changed: bool,
    /// The line that counts.
    line: String,
}

impl<'a> Limit<'a> {
    fn read(args: &'a Args) -> Result<Self, Failure> {
        Ok(Self {
            domain: args.required("domain")?,
            kind: args.required("limit_type")?,
            item: args.required("limit_item")?,
            value: args.required("value")?,
            comment: args.str("comment").unwrap_or_default(),
            max: args.bool("use_max"),
            min: args.bool("use_min"),
        })
    }

    fn set_in(&self, text: &str, dest: &Path) -> Result<Edited, Failure> {
        let mut edited = Edited {
            text: String::new(),
            changed: false,
            line: String::new(),
        };
        // As Ansible has it: without one of its own, a line takes the first comment of the file.
        let mut comment = self.comment.to_owned();
        let (mut found, mut value) = (false, self.value.to_owned());
        let invalid = format!("Invalid configuration found in '{}'.", dest.display());
        for line in text.split_inclusive('\n') {
            let (setting, remark) = line.split_once('#').unwrap_or((line, ""));
            let whole = !line.starts_with('#') && !line.trim().is_empty();
            if whole && comment.is_empty() {
                remark.clone_into(&mut comment);
            }
            let fields: Vec<&str> = setting.split_whitespace().collect();
            let [domain, kind, item, now] = fields[..] else {
                edited.text.push_str(line);
                continue;
            };
            check(item, now, &invalid)?;
            if (domain, kind, item) != (self.domain, self.kind, self.item) {
                edited.text.push_str(line);
                continue;
            }
            found = true;
            if now != self.value {
                value = self.merged(now, value)?;
            }
            if now == self.value || value == now {
                line.clone_into(&mut edited.line);
            } else {
                edited.changed = true;
                edited.line = self.line(&value, &mut comment);
            }
            edited.text.push_str(&edited.line);
        }
        if !found {
            edited.changed = true;
            edited.line = self.line(&value, &mut comment);
            edited.text.push_str(&edited.line);
        }
        Ok(edited)
    }

    /// Returns the value that goes in the place of `now`.
    fn merged(&self, now: &str, value: String) -> Result<String, Failure> {
        if !self.max && !self.min {
            return Ok(value);
        }
        let endless = (is_unlimited(self.value), is_unlimited(now));
        let number = |text: &str| {
            let read = text.trim().parse::<i64>();
            read.map_err(|e| Failure::new(format!("the limit {text} cannot be compared: {e}")))
        };
        Ok(match (self.max, endless) {
            (true, (_, true)) | (false, (true, _)) => now.to_owned(),
            (true, (true, false)) | (false, (false, true)) => self.value.to_owned(),
            (true, _) => number(self.value)?.max(number(now)?).to_string(),
            (false, _) => number(self.value)?.min(number(now)?).to_string(),
        })
    }

    fn line(&self, value: &str, comment: &mut String) -> String {
        if !comment.is_empty() {
            *comment = format!("\t#{comment}");
        }
        let Self {
            domain, kind, item, ..
        } = self;
        format!("{domain}\t{kind}\t{item}\t{value}{comment}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, value: &str, max: bool, min: bool) -> Edited {
        let limit = Limit {
            domain: "app",
            kind: "soft",
            item: "nofile",
            value,
            comment: "",
            max,
            min,
        };
        limit.set_in(text, Path::new("/x")).unwrap()
    }

    #[test]
    fn a_limit_is_added_changed_and_left_alone() {
        let added = set("# x\n", "10", false, false);
        assert_eq!(added.text, "# x\napp\tsoft\tnofile\t10\n");
        assert!(!set(&added.text, "10", false, false).changed);
        let text = set(&added.text, "unlimited", false, false).text;
        assert_eq!(text, "# x\napp\tsoft\tnofile\tunlimited\n");
    }

    #[test]
    fn the_greater_or_the_lesser_stays() {
        let text = "app soft nofile 50\n";
        assert!(!set(text, "10", true, false).changed);
        assert!(set(text, "10", false, true).changed);
        assert!(set(text, "infinity", true, false).changed);
        assert!(!set(text, "infinity", false, true).changed);
    }
}
