//! `acl`: an entry of a file's access control list, by `setfacl` and `getfacl`.

use serde_json::json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct Acl;

/// An entry: `user:joe:rwx`, or `default:user:joe:rwx`.
struct Entry {
    default: bool,
    kind: String,
    entity: String,
    permissions: Option<String>,
}

/// What is done with it.
#[derive(Clone, Copy, PartialEq)]
enum Verb {
    Get,
    Set,
    Remove,
}

impl ActionModule for Acl {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if !std::path::Path::new(args.required("path")?).exists() {
            return Err(Failure::new("Path not found or not accessible."));
        }
        refuse_misuse(args)?;
        let entry = Entry::read(args)?;
        let nfs = args.bool("use_nfsv4_acls");
        let (changed, msg) = match args.str("state") {
            Some("present") => {
                let text = entry.text(nfs, true);
                let changed = change(args, &entry, Verb::Set, &text, context)?;
                (changed, format!("{text} is present"))
            }
            Some("absent") => {
                let text = entry.text(nfs, nfs);
                let changed = change(args, &entry, Verb::Remove, &text, context)?;
                (changed, format!("{text} is absent"))
            }
            _ => (false, "current acl".to_owned()),
        };
        let argv = command(args, &entry, Verb::Get, "", context)?;
        let acl = lines(&Command::new(argv).checked(context)?);
        Ok(Outcome::of(changed, json!({"msg": msg, "acl": acl})))
    }
}

fn refuse_misuse(args: &Args) -> Result<(), Failure> {
    let state = args.required("state")?;
    let given = |name: &str| args.str(name).is_some_and(|text| !text.is_empty());
    let masked = matches!(args.str("recalculate_mask"), Some("mask" | "no_mask"));
    let colons = args.str("entry").unwrap_or_default().matches(':').count();
    let msg = match (state, given("entry")) {
        ("query", _) if args.bool("recursive") => "'recursive' MUST NOT be set when 'state=query'.",
        ("query", _) if masked => {
            "'recalculate_mask' MUST NOT be set to 'mask' or 'no_mask' when 'state=query'."
        }
        ("absent", false) if given("permissions") && !args.bool("use_nfsv4_acls") => {
            "'permissions' MUST NOT be set when 'state=absent'."
        }
        ("absent", false) if !given("entity") => "'entity' MUST be set when 'state=absent'.",
        ("present" | "absent", false) if !given("etype") => {
            return Err(Failure::new(format!(
                "'etype' MUST be set when 'state={state}'."
            )));
        }
        (_, true) if given("etype") || given("entity") || given("permissions") => {
            "'entry' MUST NOT be set when 'entity', 'etype' or 'permissions' are set."
        }
        ("present", true) if !matches!(colons, 2 | 3) => {
            "'entry' MUST have 3 or 4 sections divided by ':' when 'state=present'."
        }
        ("absent", true) if !matches!(colons, 1 | 2) => {
            "'entry' MUST have 2 or 3 sections divided by ':' when 'state=absent'."
        }
        ("query", true) => "'entry' MUST NOT be set when 'state=query'.",
        _ => return Ok(()),
    };
    Err(Failure::new(msg))
}

impl Entry {
    fn read(args: &Args) -> Result<Self, Failure> {
        let Some(text) = args.str("entry").filter(|text| !text.is_empty()) else {
            let text = |name: &str| args.str(name).unwrap_or_default().to_owned();
            return Ok(Self {
                default: args.bool("default"),
                kind: text("etype"),
                entity: text("entity"),
                permissions: args.str("permissions").map(str::to_owned),
            });
        };
        let mut parts: Vec<&str> = text.split(':').collect();
        let marked = text.starts_with(['d', 'D']);
        if marked {
            parts.remove(0);
        }
        let ([kind, entity], permissions) = (match parts[..] {
            [kind, entity] => Ok(([kind, entity], None)),
            [kind, entity, permissions] => Ok(([kind, entity], Some(permissions))),
            _ => Err(Failure::new(format!(
                "the entry '{text}' has another number of sections than an entry of an ACL"
            ))),
        })?;
        Ok(Self {
            default: marked || args.bool("default"),
            kind: kind_of(kind)
                .ok_or_else(|| Failure::new(format!("the entry '{text}' is of no known type")))?
                .to_owned(),
            entity: entity.to_owned(),
            permissions: permissions.map(str::to_owned),
        })
    }

    fn text(&self, nfs: bool, with_permissions: bool) -> String {
        let permissions = self.permissions.as_deref().unwrap_or_default();
        if nfs {
            let group = if self.kind == "group" { "g" } else { "" };
            return format!("A:{group}:{}:{permissions}tcy", self.entity);
        }
        match with_permissions && !permissions.is_empty() {
            true => format!("{}:{}:{permissions}", self.kind, self.entity),
            false => format!("{}:{}", self.kind, self.entity),
        }
    }
}

fn kind_of(word: &str) -> Option<&'static str> {
    let first = word.chars().next().map(|c| c.to_ascii_lowercase());
    match first? {
        'u' => Some("user"),
        'g' => Some("group"),
        'm' => Some("mask"),
        'o' => Some("other"),
        _ => None,
    }
}

/// Makes the change if a test says that there is one.
fn change(
    args: &Args,
    entry: &Entry,
    verb: Verb,
    text: &str,
    context: &mut Context<'_>,
) -> Result<bool, Failure> {
    let argv = command(args, entry, verb, text, context)?;
    let mut test = argv.clone();
    test.insert(1, "--test".to_owned());
    let said = lines(&Command::new(test).checked(context)?);
    let changed = match args.bool("use_nfsv4_acls") {
        // A new entry is shown before those that are there: one shown twice was there.
        true => said.iter().filter(|line| *line == text).count() != 2,
        false => !said.iter().any(|line| line.ends_with("*,*")),
    };
    if !changed || context.check {
        return Ok(changed);
    }
    let command = Command::new(argv);
    match verb {
        Verb::Remove => command.run(context).map_err(|e| e.failure(&command))?,
        Verb::Set | Verb::Get => command.checked(context)?,
    };
    Ok(true)
}

fn command(
    args: &Args,
    entry: &Entry,
    verb: Verb,
    text: &str,
    context: &Context<'_>,
) -> Result<Vec<String>, Failure> {
    let nfs = args.bool("use_nfsv4_acls");
    let program = match (verb, nfs) {
        (Verb::Get, true) => "nfs4_getfacl",
        (Verb::Get, false) => "getfacl",
        (_, true) => "nfs4_setfacl",
        (_, false) => "setfacl",
    };
    let mut argv = vec![required_bin(program, context)?];
    let mut add = |flag: &str| argv.push(flag.to_owned());
    if entry.default {
        add("-d");
    }
    match verb {
        Verb::Get if nfs => add("--omit-header"),
        Verb::Get => ["--absolute-names", "--omit-header"]
            .into_iter()
            .for_each(&mut add),
        Verb::Set => [if nfs { "-a" } else { "-m" }, text]
            .into_iter()
            .for_each(&mut add),
        Verb::Remove => ["-x", text].into_iter().for_each(&mut add),
    }
    if args.bool("recursive") && !nfs {
        add("--recursive");
    }
    match args.str("recalculate_mask") {
        Some("mask") if verb != Verb::Get => add("--mask"),
        Some("no_mask") if verb != Verb::Get => add("--no-mask"),
        _ => {}
    }
    if !args.opt_bool("follow").unwrap_or(true) && !nfs {
        add("--physical");
    }
    add(args.required("path")?);
    Ok(argv)
}

/// Returns the lines that are no comments, without an empty one at the end.
fn lines(ran: &Ran) -> Vec<String> {
    let lines = ran.stdout.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
