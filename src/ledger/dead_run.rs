//! The runs of this host as their journals tell: which go on, and which are dead and owe something.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use time::OffsetDateTime;

use super::Debt;
use super::journal::{JournalError, has_failed, is_garbled, kept_until, replay, state_folder};
use crate::debug_login;
use crate::run::RunId;

/// What the journals of this host say.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Runs that ended without paying. They are ours while held.
    pub(crate) dead: Vec<DeadRun>,
    pub(crate) running: BTreeSet<RunId>,
    /// Journals of which nothing is known, since they cannot be opened, locked or read.
    pub(crate) unusable: Vec<JournalError>,
}

/// A run whose process is gone, and what its journal says it owes.
#[derive(Debug)]
pub(crate) struct DeadRun {
    pub(crate) run: RunId,
    /// Its debts, oldest first.
    pub(crate) owed: Vec<Debt>,
    /// Until when somebody wants to look at what is there.
    pub(crate) kept_until: Option<OffsetDateTime>,
    /// When something was written there last.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(dead_code, reason = "only EC2 lists things late")
    )]
    pub(crate) written: SystemTime,
    /// Whether it says that the bake had failed before its process went.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(dead_code, reason = "only EC2 releases in two calls")
    )]
    pub(crate) has_failed: bool,
    /// Whether the journal has a line that this version cannot read.
    pub(crate) is_garbled: bool,
    path: PathBuf,
    _lock: File,
}

impl DeadRun {
    /// Returns whether its debts are due: it is the one that was `named`, or none was, and nobody
    /// wants to look at it any more.
    pub(crate) fn is_due(&self, named: Option<&RunId>, now: OffsetDateTime) -> bool {
        match named {
            Some(run) => *run == self.run,
            None => self.kept_until.is_none_or(|until| until < now),
        }
    }

    /// Returns whether it owes anything, as far as its journal can be read.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty() || self.is_garbled
    }

    /// Removes the journal, and the keys of what was kept: all is paid.
    pub(crate) fn forget(self) {
        if let Some(folder) = self.path.parent() {
            debug_login::forget(folder, &self.run);
        }
        let _stays = std::fs::remove_file(&self.path);
    }
}

/// Returns the runs of this host.
pub(crate) fn runs() -> Result<Runs, JournalError> {
    runs_in(&state_folder()?)
}

pub(crate) fn runs_in(folder: &Path) -> Result<Runs, JournalError> {
    let mut runs = Runs::default();
    for (run, path) in journals(folder)? {
        match state(&run, &path) {
            Ok(State::Dead(dead)) => runs.dead.push(dead),
            Ok(State::Running) => _ = runs.running.insert(run),
            Ok(State::Gone) => {}
            Err(source) => runs.unusable.push(JournalError::File { path, source }),
        }
    }
    Ok(runs)
}

/// Returns all journals, the oldest first.
fn journals(folder: &Path) -> Result<BTreeMap<RunId, PathBuf>, JournalError> {
    let failed = |source| JournalError::File {
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(error)),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let of_run = |path: PathBuf| {
        let run = path.file_name()?.to_str()?.strip_suffix(".journal")?;
        Some((run.parse().ok()?, path))
    };
    Ok(paths.filter_map(of_run).collect())
}

/// Returns whether a run has a journal in `folder` that nobody holds. Not knowing is no.
pub(super) fn is_dead(folder: &Path, run: &RunId) -> bool {
    let path = folder.join(format!("{run}.journal"));
    matches!(state(run, &path), Ok(State::Dead(_)))
}

/// What a journal says of its run by itself.
enum State {
    Dead(DeadRun),
    /// Its process holds it.
    Running,
    /// It was removed meanwhile: all is paid.
    Gone,
}

fn state(run: &RunId, path: &Path) -> io::Result<State> {
    let lock = match File::open(path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Gone),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(State::Running),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if !path.exists() {
        return Ok(State::Gone); // and this is the last of it
    }
    let mut text = Vec::new();
    (&lock).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(State::Dead(DeadRun {
        run: run.clone(),
        written: lock.metadata()?.modified()?,
        owed: replay(&text),
        kept_until: kept_until(&text),
        has_failed: has_failed(&text),
        is_garbled: is_garbled(&text),
        path: path.to_owned(),
        _lock: lock,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Leftover;
    use crate::ledger::journal::tests::{owed, run};
    use crate::ledger::{self, BakeEnd, Due, Ledger, Paid};
    use crate::targets::{self, TargetError};
    use async_trait::async_trait;
    use std::time::Duration;

    /// Knows one kind of debt.
    struct Payer;

    #[async_trait]
    impl ledger::Payer for Payer {
        fn leftover(&self, debt: &Debt, run: Option<&RunId>) -> Leftover {
            assert_eq!(debt.undo, owed());
            let remove_with = targets::reap::command(run, None);
            let what = "/x".to_owned();
            Leftover { what, remove_with }
        }

        async fn pay(&self, _debt: &Debt) -> Result<Paid, TargetError> {
            unreachable!("nothing is paid")
        }
    }

    #[test]
    fn what_is_kept_is_due_when_it_expires_or_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), &run()).unwrap();
        ledger.owe(Due::Always, owed()).unwrap();
        let until = run().began();
        ledger.keep(until).unwrap();
        let left = ledger.outstanding(&Payer, BakeEnd::Failed);
        let by_name = format!("amibake reap --run {}", run());
        assert_eq!(left[0].remove_with, by_name);
        drop(ledger);

        let runs = runs_in(folder.path()).unwrap();
        let [dead] = runs.dead.as_slice() else {
            panic!("{runs:?}");
        };
        let (early, late) = (
            until - Duration::from_secs(1),
            until + Duration::from_secs(1),
        );
        let other = "20260727t101500z-ffffff".parse().unwrap();
        for (named, now, due) in [
            (None, early, false),
            (None, late, true),
            (Some(&run()), early, true),
            (Some(&other), late, false),
        ] {
            assert_eq!(dead.is_due(named, now), due, "{named:?} at {now}");
        }
    }

    #[test]
    fn only_a_journal_that_is_held_is_a_run_s_that_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), &run()).unwrap();
        // A link to itself cannot be opened; a folder can, and cannot be read.
        let of = |run: &str| folder.path().join(format!("{run}.journal"));
        let circle = of("20260727t101500z-aaaaaa");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        std::fs::create_dir(of("20260727t101500z-bbbbbb")).unwrap();
        std::os::unix::fs::symlink("nowhere", of("20260727t101500z-cccccc")).unwrap();

        let Runs {
            dead,
            running,
            unusable,
        } = runs_in(folder.path()).unwrap();
        assert!(dead.is_empty(), "{dead:?}");
        for run in [run(), "20260727t101500z-aaaaaa".parse().unwrap()] {
            assert!(!is_dead(folder.path(), &run), "{run}");
        }
        assert_eq!(running, BTreeSet::from([run()]));
        let told: Vec<String> = unusable.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].ends_with("20260727t101500z-aaaaaa.journal"),
            "{told:?}"
        );
        assert!(
            told[1].ends_with("20260727t101500z-bbbbbb.journal"),
            "{told:?}"
        );

        drop(ledger);
        let runs = runs_in(folder.path()).unwrap();
        assert_eq!((runs.dead.len(), runs.running.len()), (1, 0));
        drop(runs);
        assert!(is_dead(folder.path(), &run()));
    }

    #[test]
    fn a_journal_that_is_no_text_is_a_dead_run_s_nevertheless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{}.journal", run()));
        std::fs::write(path, b"\xff\xfe\n").unwrap();
        let runs = runs_in(folder.path()).unwrap();
        assert!(runs.dead[0].is_garbled && runs.dead[0].owes());
    }
}
