//! `modprobe`: a module of the kernel, now and at boot, with its parameters.

use std::path::{Path, PathBuf};

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::modules::text_file::TextFile;
use crate::run_command::{Command, Ran, required_bin};
use crate::shlex;

pub(super) struct Modprobe;

struct Task<'a> {
    args: &'a Args,
    name: &'a str,
    params: &'a str,
    program: String,
    changed: bool,
    warnings: Vec<String>,
}

impl ActionModule for Modprobe {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut task = Task {
            args,
            name: args.required("name")?,
            params: args.str("params").unwrap_or_default(),
            program: required_bin("modprobe", context)?,
            changed: false,
            warnings: Vec::new(),
        };
        match (args.str("state"), task.is_loaded()?) {
            (Some("present"), false) => task.load(context)?,
            (Some("absent"), true) => task.unload(context)?,
            _ => {}
        }
        let changes = match args.str("persistent") {
            Some("present") => Boot::read(task.name)?.plan_present(task.params)?,
            Some("absent") => Boot::read(task.name)?.plan_absent(),
            _ => Vec::new(),
        };
        task.changed |= !changes.is_empty();
        if !context.check {
            change::apply(&changes, context)?;
        }
        let mut outcome = Outcome::of(task.changed, Json::Object(task.fields()));
        outcome.result.shift_remove("changed");
        outcome.warnings = task.warnings;
        Ok(outcome)
    }
}

impl Task<'_> {
    fn fields(&self) -> Map<String, Json> {
        let fields = json!({
            "changed": self.changed, "name": self.name, "params": self.params,
            "state": self.args.str("state"),
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    fn is_loaded(&self) -> Result<bool, Failure> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|e| {
                let mut failure = Failure::new(paths::python_error(&e, path));
                failure.result = self.fields();
                failure
            })
        };
        let wanted = format!("{} ", self.name.replace('-', "_"));
        if read("/proc/modules")?
            .lines()
            .any(|line| line.starts_with(&wanted))
        {
            return Ok(true);
        }
        let file = format!("/{}.ko", self.name);
        let builtin = read(&format!("/lib/modules/{}/modules.builtin", release()))?;
        Ok(builtin.lines().any(|line| line.trim_end().ends_with(&file)))
    }

    fn modprobe(
        &self,
        flags: &[&str],
        params: bool,
        context: &mut Context<'_>,
    ) -> Result<Ran, Failure> {
        let mut argv = vec![self.program.clone()];
        argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
        argv.push(self.name.to_owned());
        if params {
            argv.extend(shlex::split(self.params).map_err(Failure::new)?);
        }
        let command = Command::new(argv);
        command.run(context).map_err(|e| e.failure(&command))
    }

    fn load(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let flags: &[&str] = if context.check { &["-n"] } else { &[] };
        let ran = self.modprobe(flags, true, context)?;
        self.succeeded(&ran)?;
        if context.check || self.is_loaded()? {
            self.changed = true;
            return Ok(());
        }
        let ran = self.modprobe(&["-n", "--first-time"], true, context)?;
        if ran.rc != 0 {
            self.warnings.push(ran.stderr);
        }
        Ok(())
    }

    fn unload(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let flags: &[&str] = if context.check {
            &["-r", "-n"]
        } else {
            &["-r"]
        };
        let ran = self.modprobe(flags, false, context)?;
        self.succeeded(&ran)?;
        self.changed = true;
        Ok(())
    }

    fn succeeded(&self, ran: &Ran) -> Result<(), Failure> {
        if ran.rc == 0 {
            return Ok(());
        }
        let mut failure = Failure::new(&*ran.stderr);
        failure.result = self.fields();
        failure.result.extend(ran.fields());
        Err(failure)
    }
}

fn release() -> String {
    let name = nix::sys::utsname::uname();
    name.map_or_else(
        |_| String::new(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

const LOADED_AT_BOOT: &str = "/etc/modules-load.d";
const OPTIONS: &str = "/etc/modprobe.d";

/// What is configured for the next boot.
struct Boot<'a> {
    name: &'a str,
    loads: Vec<TextFile>,
    options: Vec<TextFile>,
    /// A line that loads the module.
    load: Regex,
    /// A line with one of its parameters.
    option: Regex,
}

impl<'a> Boot<'a> {
    fn read(name: &'a str) -> Result<Self, Failure> {
        let literal: String = name.chars().flat_map(escaped).collect();
        let regex = |pattern: &str| {
            Regex::new(pattern, Flags::default())
                .map_err(|e| Failure::new(format!("the name {name} cannot be looked for: {e}")))
        };
        Ok(Self {
            name,
            loads: files(LOADED_AT_BOOT)?,
            options: files(OPTIONS)?,
            load: regex(&format!(r"\A *{literal} *(?:[#;].*)?\n?\Z"))?,
            option: regex(&format!(r"\Aoptions {literal} (\w+=\S+) *(?:[#;].*)?\n?\Z"))?,
        })
    }

    fn plan_present(&self, params: &str) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        if !self.loads.iter().any(|file| has(file, &self.load)) {
            changes.push(self.new_file(LOADED_AT_BOOT, &format!("{}\n", self.name))?);
        }
        let mut wanted: Vec<&str> = params.split_whitespace().collect();
        let lines = wanted
            .iter()
            .map(|param| format!("options {} {param}", self.name));
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        let mut now = self.parameters();
        for words in [&mut wanted, &mut now] {
            words.sort_unstable();
            words.dedup();
        }
        if wanted != now {
            changes.extend(switch_off(&self.options, &self.option));
            changes.push(self.new_file(OPTIONS, &text)?);
        }
        Ok(changes)
    }

    fn plan_absent(&self) -> Vec<Change> {
        let loads = switch_off(&self.loads, &self.load);
        loads
            .chain(switch_off(&self.options, &self.option))
            .collect()
    }

    fn parameters(&self) -> Vec<&str> {
        let found = |line: &'_ str| -> Option<std::ops::Range<usize>> {
            let groups = self.option.search(line.as_bytes(), 0).ok()??;
            groups.get(1)
        };
        let lines = self
            .options
            .iter()
            .flat_map(|f| f.text().split_inclusive('\n'));
        lines.filter_map(|line| line.get(found(line)?)).collect()
    }

    fn new_file(&self, folder: &str, text: &str) -> Result<Change, Failure> {
        let path = Path::new(folder).join(format!("{}.conf", self.name));
        Ok(TextFile::read(&path)?.write(text))
    }
}

fn escaped(c: char) -> Vec<char> {
    match c.is_alphanumeric() || c == '_' {
        true => vec![c],
        false => vec!['\\', c],
    }
}

fn files(folder: &str) -> Result<Vec<TextFile>, Failure> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(|path| TextFile::read(path)).collect()
}

fn has(file: &TextFile, regex: &Regex) -> bool {
    let mut lines = file.text().split_inclusive('\n');
    lines.any(|line| regex.is_match(line.as_bytes()).unwrap_or(false))
}

/// Plans to make comments of the lines that match.
fn switch_off<'a>(files: &'a [TextFile], regex: &'a Regex) -> impl Iterator<Item = Change> + 'a {
    files.iter().filter(|file| has(file, regex)).map(|file| {
        let lines = file.text().split_inclusive('\n');
        let lines = lines.map(|line| match regex.is_match(line.as_bytes()) {
            Ok(true) => format!("#{line}"),
            _ => line.to_owned(),
        });
        // As Ansible has it: between lines that end, one that is empty.
        file.write(&lines.collect::<Vec<_>>().join("\n"))
    })
}
