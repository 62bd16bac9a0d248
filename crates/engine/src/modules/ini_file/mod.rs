//! `ini_file`: an option in a section of an ini file. What the lines become is in `lines`.

mod lines;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use self::lines::{Condition, Edit};
use crate::args::Args;
use crate::attrs::{self, Attributes, Meta, NewFile, Target};
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::modules::text_file::TextFile;
use crate::place;

pub(super) struct IniFile;

impl ActionModule for IniFile {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let path = PathBuf::from(args.required("path")?);
        let edit = edit(args)?;
        let target = match args.bool("follow") && path.is_symlink() {
            true => place::real(&path)
                .map_err(|e| Failure::new(format!("could not find {}: {e}", path.display())))?,
            false => path.clone(),
        };
        let file = TextFile::read(&target)?;
        if file.text.is_none() && args.opt_bool("create") == Some(false) {
            let msg = format!("Destination {} does not exist!", target.display());
            return Err(Failure::new(msg).with("rc", 257));
        }
        let before = plain(file.text());
        let edited = edit.apply(&before);
        let mut fields = json!({"msg": edited.msg, "path": path.to_string_lossy()});
        let mut changes = Vec::new();
        if edited.changed && !context.check {
            if args.bool("backup") {
                let (copy, name) = file.back_up().unzip();
                changes.extend(copy);
                fields["backup_file"] = Json::from(name.unwrap_or_default());
            }
            changes.extend(write(args, &target, &edited.text)?);
        }
        let attributes = attributes(args, &path, edited.changed, context.check)?;
        let changed = edited.changed || !attributes.is_empty();
        changes.extend(attributes);
        change::apply(&changes, context)?;
        let mut outcome = Outcome::of(changed, fields);
        attrs::add_path_info(&mut outcome.result);
        let shown = |text: &str| {
            if context.diff {
                text.to_owned()
            } else {
                String::new()
            }
        };
        let title = format!("{} (content)", path.display());
        outcome.diff = json!({"before": shown(&before), "after": shown(&edited.text),
            "before_header": title, "after_header": title});
        Ok(outcome)
    }
}

/// Returns a text as Python reads it: without a mark of its encoding, lines ended by `\n` alone.
fn plain(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn edit(args: &Args) -> Result<Edit, Failure> {
    let present = args.str("state") != Some("absent");
    let values: Vec<String> = match args.str("value") {
        Some(value) => vec![value.to_owned()],
        None => args
            .list("values")
            .iter()
            .map(|v| (*v).to_owned())
            .collect(),
    };
    let allow_no_value = args.bool("allow_no_value");
    if present && !allow_no_value && values.is_empty() {
        return Err(Failure::new(
            "Parameter 'value(s)' must be defined if state=present and allow_no_value=False.",
        ));
    }
    let mut unique = Vec::new();
    for value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    let given = |name: &str| args.str(name).filter(|t| !t.is_empty()).map(str::to_owned);
    let conditions = args.raw("section_has_values").and_then(Json::as_array);
    Ok(Edit {
        section: given("section"),
        conditions: conditions
            .into_iter()
            .flatten()
            .map(condition)
            .collect::<Result<_, _>>()?,
        option: given("option"),
        values: unique,
        present,
        exclusive: args.opt_bool("exclusive").unwrap_or(true),
        no_extra_spaces: args.bool("no_extra_spaces"),
        ignore_spaces: args.bool("ignore_spaces"),
        allow_no_value,
        modify_inactive_option: args.opt_bool("modify_inactive_option").unwrap_or(true),
    })
}

/// Reads an element of `section_has_values`.
fn condition(given: &Json) -> Result<Condition, Failure> {
    let none = Map::new();
    let given = given.as_object().unwrap_or(&none);
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    };
    let values = match (given.get("value"), given.get("values")) {
        (Some(value), _) if !value.is_null() => vec![text(value)],
        (_, Some(Json::Array(values))) => values.iter().map(text).collect(),
        _ => Vec::new(),
    };
    let option = given.get("option").map(text).ok_or_else(|| {
        Failure::new("missing required arguments: option found in section_has_values")
    })?;
    Ok(Condition { option, values })
}

fn write(args: &Args, target: &Path, text: &str) -> Result<Vec<Change>, Failure> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let (_, missing) = paths::missing(folder)
        .map_err(|e| Failure::new(format!("could not look at {}: {e}", folder.display())))?;
    let mut changes: Vec<Change> = missing
        .into_iter()
        .map(|path| Change::Directory { path })
        .collect();
    changes.push(Change::Write {
        path: target.to_owned(),
        content: change::Content::text(text.as_bytes().to_vec()),
        how: crate::atomic::How {
            unsafe_writes: args.bool("unsafe_writes"),
            ..Default::default()
        },
    });
    Ok(changes)
}

/// Plans the attributes of what is there, or is about to be; check mode leaves them out, as
/// Ansible's module does.
fn attributes(
    args: &Args,
    path: &Path,
    written: bool,
    check: bool,
) -> Result<Vec<Change>, Failure> {
    let wanted = Attributes::read(args, path)?;
    if check || !wanted.any() {
        return Ok(Vec::new());
    }
    let looked = |e| Failure::new(format!("could not look at {}: {e}", path.display()));
    let real = match args.bool("follow") {
        true => place::real(path).map_err(looked)?,
        false => path.to_owned(),
    };
    let target = match Meta::read(&real).map_err(looked)? {
        Some(meta) => wanted.target(&real, meta),
        None if written => {
            let parent = Meta::follow(real.parent().unwrap_or(Path::new("/"))).map_err(looked)?;
            Target {
                path: real,
                meta: Meta::foreseen(NewFile::Regular, parent.as_ref()),
                flags: String::new(),
            }
        }
        None => return Ok(Vec::new()),
    };
    wanted.plan(&target, false)
}
