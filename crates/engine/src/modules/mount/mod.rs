//! `mount`: a file system in fstab, mounted, or both.
//!
//! What fstab says is in `table`, what is mounted in `mounted`; here is the order of the steps.

mod mounted;
mod table;

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use self::mounted::Mounted;
use self::table::Entry;
use crate::args::Args;
use crate::change::{self, Change};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::modules::text_file::TextFile;
use crate::place::Place;
use crate::run_command::{Command, required_bin};

pub(super) struct Mount;

struct Task<'a> {
    args: &'a Args,
    entry: Entry,
    fstab: PathBuf,
    boot: &'static str,
    mounted: Mounted,
    backup: String,
}

impl ActionModule for Mount {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut warnings = Vec::new();
        let mut task = Task::read(args, &mut warnings);
        let changed = match args.required("state")? {
            "absent_from_fstab" => task.remove_entry(context)?,
            "absent" => task.absent(context)?,
            "unmounted" => task.unmounted(context)?,
            "mounted" => task.mounted(context)?,
            "ephemeral" => task.ephemeral(context)?,
            "remounted" => task.remounted(context)?,
            _ => task.set_entry(context)?,
        };
        let mut outcome = Outcome::of(changed, task.fields());
        outcome.warnings = warnings;
        Ok(outcome)
    }
}

impl<'a> Task<'a> {
    fn read(args: &'a Args, warnings: &mut Vec<String>) -> Self {
        let text = |name: &str, default: &str| args.str(name).unwrap_or(default).to_owned();
        let mut entry = Entry {
            src: args.str("src").map(str::to_owned),
            name: text("path", ""),
            fstype: args.str("fstype").map(str::to_owned),
            opts: text("opts", "defaults"),
            dump: text("dump", "0"),
            passno: text("passno", "0"),
        };
        let mut boot = "yes";
        let noauto = entry.opts.split(',').any(|opt| opt == "noauto");
        match args.opt_bool("boot").unwrap_or(true) {
            true if noauto => {
                warnings.push("Ignore the 'boot' due to 'opts' contains 'noauto'.".to_owned());
            }
            true => {}
            false => {
                boot = "no";
                entry.opts.push_str(",noauto");
            }
        }
        Self {
            args,
            entry,
            fstab: PathBuf::from(text("fstab", "/etc/fstab")),
            boot,
            mounted: Mounted::read(),
            backup: String::new(),
        }
    }

    fn fields(&self) -> Json {
        let entry = &self.entry;
        let mut fields = json!({
            "name": entry.name, "opts": entry.opts, "dump": entry.dump, "passno": entry.passno,
            "fstab": self.fstab.to_string_lossy(), "boot": self.boot, "backup_file": self.backup,
        });
        if let Some(src) = &entry.src {
            fields["src"] = json!(src);
        }
        if let Some(fstype) = &entry.fstype {
            fields["fstype"] = json!(fstype);
        }
        fields
    }

    fn path(&self) -> &Path {
        Path::new(&self.entry.name)
    }

    fn is_mount_point(&self) -> bool {
        mounted::is_mount_point(self.path())
    }

    /// Reads fstab; one that is not there is made first.
    fn read_fstab(&self, context: &mut Context<'_>) -> Result<TextFile, Failure> {
        let file = TextFile::read(&self.fstab)?;
        if file.text.is_none() && !context.check {
            let failed = |reason: String| {
                let fstab = self.fstab.display();
                Failure::new(format!("Failed to open {fstab} due to {reason}"))
            };
            let folder = self.fstab.parent().unwrap_or(Path::new("/"));
            let (_, missing) = paths::missing(folder).map_err(|e| failed(e.to_string()))?;
            let mut changes: Vec<Change> = missing
                .into_iter()
                .map(|path| Change::Directory { path })
                .collect();
            changes.push(file.write(""));
            change::apply(&changes, context).map_err(|e| failed(e.msg))?;
            return TextFile::read(&self.fstab);
        }
        Ok(file)
    }

    fn rewrite(
        &self,
        file: &TextFile,
        text: &str,
        context: &mut Context<'_>,
    ) -> Result<String, Failure> {
        let (backup, name) = file.back_up().filter(|_| self.args.bool("backup")).unzip();
        let changes: Vec<Change> = backup.into_iter().chain([file.write(text)]).collect();
        change::apply(&changes, context)?;
        Ok(name.unwrap_or_default())
    }

    fn set_entry(&mut self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let file = self.read_fstab(context)?;
        let Some(text) = self.entry.set_in(file.text()) else {
            return Ok(false);
        };
        if !context.check {
            self.backup = self.rewrite(&file, &text, context)?;
        }
        Ok(true)
    }

    fn remove_entry(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let file = self.read_fstab(context)?;
        let Some(text) = self.entry.removed_from(file.text()) else {
            return Ok(false);
        };
        if !context.check {
            self.rewrite(&file, &text, context)?;
        }
        Ok(true)
    }

    fn absent(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let changed = self.remove_entry(context)?;
        if !changed || context.check {
            return Ok(changed);
        }
        if self.is_mount_point() || self.mounted.is_at(&self.entry.name) {
            self.unmount(context)?;
        }
        if self.path().exists() {
            remove_folder(self.path()).map_err(|e| {
                let name = &self.entry.name;
                Failure::new(format!(
                    "Error rmdir {name}: {}",
                    paths::python_error(&e, name)
                ))
            })?;
        }
        Ok(true)
    }

    fn unmounted(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        self.read_fstab(context)?;
        let there = self.is_mount_point() || self.mounted.is_at(&self.entry.name);
        if there && !context.check {
            self.unmount(context)?;
        }
        Ok(there)
    }

    fn unmount(&self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.umount(context)?
            .map_err(|said| Failure::new(format!("Error unmounting {}: {said}", self.entry.name)))
    }

    fn mounted(&mut self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let file = self.read_fstab(context)?;
        let made = self.make_folders(context)?;
        let changed = self.set_entry(context)?;
        let src = self.entry.src.as_deref().unwrap_or_default();
        if self.is_mount_point() || self.mounted.is_of(&self.entry.name, src) {
            if changed && !context.check {
                let done = self.remount(context)?;
                self.undo_unless(done, Some(&file), &made, context)?;
            }
            return Ok(changed);
        }
        if !context.check {
            let done = self.mount(context)?;
            self.undo_unless(done, Some(&file), &made, context)?;
        }
        Ok(true)
    }

    fn ephemeral(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let made = self.make_folders(context)?;
        let src = self.entry.src.as_deref().unwrap_or_default();
        if !self.is_mount_point() && !self.mounted.is_of(&self.entry.name, src) {
            if !context.check {
                let done = self.mount(context)?;
                self.undo_unless(done, None, &made, context)?;
            }
            return Ok(true);
        }
        if !self.has_source(src, context)? {
            return Err(Failure::new(
                "Ephemeral mount point is already mounted with a different source than the \
                 specified one. Failing in order to prevent an unwanted unmount or override \
                 operation. Try replacing this command with a \"state: unmounted\" followed by a \
                 \"state: ephemeral\", or use a different destination path.",
            ));
        }
        if !context.check {
            let done = self.remount(context)?;
            self.undo_unless(done, None, &made, context)?;
        }
        Ok(true)
    }

    fn remounted(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        self.read_fstab(context)?;
        if !context.check {
            self.remount(context)?.map_err(|said| {
                Failure::new(format!("Error remounting {}: {said}", self.entry.name))
            })?;
        }
        Ok(true)
    }

    /// Makes the mount point, and returns the folders that were missing, outermost first.
    fn make_folders(&self, context: &mut Context<'_>) -> Result<Vec<PathBuf>, Failure> {
        if context.check || self.path().exists() {
            return Ok(Vec::new());
        }
        let failed =
            |reason: &str| Failure::new(format!("Error making dir {}: {reason}", self.entry.name));
        let (_, missing) = paths::missing(self.path()).map_err(|e| failed(&e.to_string()))?;
        let changes: Vec<Change> = missing
            .iter()
            .map(|path| Change::Directory { path: path.clone() })
            .collect();
        change::apply(&changes, context).map_err(|e| failed(&e.msg))?;
        Ok(missing)
    }

    /// After a mount that failed, brings fstab and folders back: what cannot be mounted may end the
    /// next boot.
    fn undo_unless(
        &self,
        done: Result<(), String>,
        fstab: Option<&TextFile>,
        made: &[PathBuf],
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let Err(said) = done else {
            return Ok(());
        };
        let mut msg = format!("Error mounting {}: {said}", self.entry.name);
        if let Some(file) = fstab
            && let Err(e) = change::apply(&[file.write(file.text())], context)
        {
            msg = format!(
                "{msg}; and {} could not be restored: {e}",
                file.path.display()
            );
        }
        for folder in made.iter().rev() {
            // One that is in use by now stays.
            let _ = remove_folder(folder);
        }
        Err(Failure::new(msg))
    }

    fn mount(&self, context: &mut Context<'_>) -> Result<Result<(), String>, Failure> {
        let mut argv = vec![required_bin("mount", context)?];
        argv.extend(self.table_or_source());
        argv.push(self.entry.name.clone());
        run(argv, context)
    }

    fn umount(&self, context: &mut Context<'_>) -> Result<Result<(), String>, Failure> {
        let program = required_bin("umount", context)?;
        run(vec![program, self.entry.name.clone()], context)
    }

    /// Remounts, or, where that is not possible, unmounts and mounts again.
    fn remount(&self, context: &mut Context<'_>) -> Result<Result<(), String>, Failure> {
        let own = self.args.str("state") == Some("remounted") && self.entry.opts != "defaults";
        let opts = match own {
            true => format!("remount,{}", self.entry.opts),
            false => "remount".to_owned(),
        };
        let mut argv = vec![required_bin("mount", context)?, "-o".to_owned(), opts];
        argv.extend(self.table_or_source());
        argv.push(self.entry.name.clone());
        if run(argv, context)?.is_ok() {
            return Ok(Ok(()));
        }
        if own {
            return Err(Failure::new(
                "Options were specified with remounted, but the remount command failed. Failing in \
                 order to prevent an unexpected mount result. Try replacing this command with a \
                 \"state: unmounted\" followed by a \"state: mounted\" using the full desired mount \
                 options instead.",
            ));
        }
        match self.umount(context)? {
            Ok(()) => self.mount(context),
            refused => Ok(refused),
        }
    }

    /// Returns what tells `mount` the rest: another fstab, or all of it without one.
    fn table_or_source(&self) -> Vec<String> {
        if self.args.str("state") != Some("ephemeral") {
            let fstab = self.fstab.to_string_lossy().into_owned();
            return match &*fstab {
                "/etc/fstab" | "" => Vec::new(),
                _ => vec!["-T".to_owned(), fstab],
            };
        }
        let mut argv = vec!["-t".to_owned()];
        argv.extend(self.entry.fstype.clone());
        if self.entry.opts != "defaults" {
            argv.extend(["-o".to_owned(), self.entry.opts.clone()]);
        }
        argv.extend(self.entry.src.clone());
        argv
    }

    /// Returns whether what is mounted there is `src`.
    fn has_source(&self, src: &str, context: &mut Context<'_>) -> Result<bool, Failure> {
        if self.mounted.is_of(&self.entry.name, src) {
            return Ok(true);
        }
        let command = Command::new([&*required_bin("mount", context)?, "-v"]);
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        if ran.stdout.is_empty() {
            let shown = command.shown();
            return Err(Failure::new(format!(
                "Unable to retrieve mount info with command '{shown}'"
            )));
        }
        Ok(ran.stdout.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            matches!(fields[..], [of, _, at, ..] if of == src && at == self.entry.name)
        }))
    }
}

/// Runs a program; a refusal is what it wrote.
fn run(argv: Vec<String>, context: &mut Context<'_>) -> Result<Result<(), String>, Failure> {
    let command = Command::new(argv);
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    Ok(match ran.rc {
        0 => Ok(()),
        _ => Err(ran.stdout + &ran.stderr),
    })
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    std::fs::remove_dir(Place::of(path)?.path())
}
