//! Where a checkout's repository is: below it, or in a folder of its own that `.git` names.

use std::path::{Path, PathBuf};

use super::Run;
use crate::module::Failure;
use crate::modules::paths;

/// Returns the folder of the repository, which need not exist.
pub(super) fn of(dest: &Path, bare: bool) -> Result<PathBuf, Failure> {
    let inside = dest.join(".git");
    if bare || !inside.is_file() {
        return Ok(if bare { dest.to_owned() } else { inside });
    }
    let text = std::fs::read_to_string(&inside).map_err(|e| invalid(&e.to_string()))?;
    let named = match text.trim_end().split_once("gitdir: ") {
        Some(("", named)) => dest.join(named),
        Some(_) => return Err(invalid(".git file has invalid git dir reference format")),
        None => return Err(invalid("not enough values to unpack (expected 2, got 1)")),
    };
    match named.is_dir() {
        true => Ok(named),
        false => Err(invalid(&format!("{} is not a directory", named.display()))),
    }
}

fn invalid(details: &str) -> Failure {
    let msg = "Current repo does not have a valid reference to a separate Git dir or it refers to \
               the invalid path";
    Failure::new(msg).with("details", details)
}

impl Run<'_, '_> {
    /// Returns whether there is a checkout already, its repository moved where it is wanted.
    pub(super) fn found(&mut self) -> Result<bool, Failure> {
        let Some(dest) = self.dest.clone() else {
            return Ok(false);
        };
        let mut repository = of(&dest, self.args.bool("bare"))?;
        let wanted = self.args.str("separate_git_dir");
        if let Some(wanted) = wanted.map(|wanted| paths::real(Path::new(wanted)))
            && repository.exists()
            && wanted != repository
        {
            self.changed = true;
            if !self.context.check {
                self.relocate(&repository, &wanted)?;
                repository = wanted;
            }
        }
        Ok(repository.join("config").exists())
    }

    fn relocate(&mut self, old: &Path, new: &Path) -> Result<(), Failure> {
        let shown = new.display().to_string();
        if new.exists() {
            let msg = format!("Separate-git-dir path {shown} already exists.");
            return Err(Failure::new(msg));
        }
        let to = format!("--separate-git-dir={shown}");
        self.told(
            "move the repository",
            &["init", "--quiet", "--template=", &to],
        )?;
        self.set("git_dir_before", old.to_string_lossy().into());
        self.set("git_dir_now", shown.into());
        Ok(())
    }
}
