//! The journal's file: one JSON record a line, on the disk before the call it is about.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{DebtId, Due, Undo};
use crate::debug_login;
use crate::run::{RunId, parse_rfc3339};

/// Why a journal could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// Neither `XDG_STATE_HOME` nor `HOME` is set.
    #[error("no state folder: neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    /// The file could not be used.
    #[error("could not use the journal {path}")]
    File {
        /// Its path.
        path: PathBuf,
        source: io::Error,
    },
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// Something is about to be created.
    Owe {
        /// Its number.
        id: DebtId,
        /// When it is due.
        due: Due,
        /// What undoes it.
        #[serde(flatten)]
        undo: Undo,
    },
    /// It has a name now.
    Learn {
        /// Which debt.
        id: DebtId,
        /// `i-0abc12`.
        name: String,
    },
    /// It is gone, or never was.
    Settle {
        /// Which debt.
        id: DebtId,
    },
    /// Somebody wants to look at what is there.
    Keep {
        /// Until then: `2026-07-27T10:15:00Z`.
        until: String,
    },
}

/// An open journal. While it is open it is locked, so that `reap` knows that the run lives.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    pub(super) fn create(folder: &Path, run: &RunId) -> Result<Self, JournalError> {
        let path = folder.join(format!("{run}.journal"));
        let failed = |source| JournalError::File {
            path: path.clone(),
            source,
        };
        let mut state = DirBuilder::new();
        let made = state.recursive(true).mode(0o700).create(folder);
        made.map_err(failed)?;
        if path.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        // It has its name when it is locked: `reap` takes an unlocked one for a dead run's.
        let unnamed = folder.join(format!("{run}.new"));
        let mut options = OpenOptions::new();
        let options = options.append(true).create_new(true).mode(0o600);
        let file = options.open(&unnamed).map_err(failed)?;
        file.lock().map_err(failed)?;
        std::fs::rename(&unnamed, &path).map_err(failed)?;
        // The name must be on the disk too.
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(failed)?;
        Ok(Self { path, file })
    }

    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }

    pub(super) fn remove(&self) {
        // A journal of paid debts that stays is read again by `reap`, which then removes it.
        let _stays = std::fs::remove_file(&self.path);
    }
}

/// Returns where journals lie: `$XDG_STATE_HOME/amibake`.
pub(crate) fn state_folder() -> Result<PathBuf, JournalError> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("amibake"))
        .ok_or(JournalError::NoHome)
}

/// Returns the debts a journal's text still holds, oldest first, with what was learned of each.
///
/// A last line cut short by a crash is left out: its call was never made.
pub(crate) fn replay(text: &str) -> Vec<(Due, Undo, Vec<String>)> {
    let mut open: Vec<(DebtId, Due, Undo, Vec<String>)> = Vec::new();
    for record in text.lines().filter_map(|l| serde_json::from_str(l).ok()) {
        match record {
            Record::Owe { id, due, undo } => open.push((id, due, undo, Vec::new())),
            Record::Learn { id, name } => {
                if let Some(debt) = open.iter_mut().find(|debt| debt.0 == id) {
                    debt.3.push(name);
                }
            }
            Record::Settle { id } => open.retain(|debt| debt.0 != id),
            Record::Keep { .. } => {}
        }
    }
    open.into_iter()
        .map(|(_, due, undo, learned)| (due, undo, learned))
        .collect()
}

/// Returns until when a journal's text says that what is there is kept.
fn kept_until(text: &str) -> Option<OffsetDateTime> {
    let mut latest = text.lines().rev();
    latest.find_map(|line| match serde_json::from_str(line).ok()? {
        Record::Keep { until } => parse_rfc3339(&until),
        Record::Owe { .. } | Record::Learn { .. } | Record::Settle { .. } => None,
    })
}

/// A run whose process is gone, and what its journal says it owes.
#[derive(Debug)]
pub(crate) struct DeadRun {
    /// The run.
    pub(crate) run: RunId,
    /// Its debts, oldest first, with what was learned of each.
    pub(crate) owed: Vec<(Undo, Vec<String>)>,
    kept_until: Option<OffsetDateTime>,
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

    /// Removes the journal, and the keys of what was kept: all is paid.
    pub(crate) fn forget(self) {
        if let Some(folder) = self.path.parent() {
            debug_login::forget(folder, &self.run);
        }
        let _stays = std::fs::remove_file(&self.path);
    }
}

/// Returns the runs of this host that ended without paying. They are ours while held.
pub(crate) fn dead_runs() -> Result<Vec<DeadRun>, JournalError> {
    let folder = state_folder()?;
    let failed = |source| JournalError::File {
        path: folder.clone(),
        source,
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths.into_iter().filter_map(dead_run).collect())
}

fn dead_run(path: PathBuf) -> Option<DeadRun> {
    let run = path.file_name()?.to_str()?.strip_suffix(".journal")?;
    let run = run.parse().ok()?;
    let lock = File::open(&path).ok()?;
    lock.try_lock().ok()?;
    let text = std::fs::read_to_string(&path).ok()?;
    let owed = replay(&text);
    Some(DeadRun {
        run,
        owed: owed
            .into_iter()
            .map(|(_, undo, known)| (undo, known))
            .collect(),
        kept_until: kept_until(&text),
        path,
        _lock: lock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{BakeEnd, Ledger};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn run() -> RunId {
        "20260727t101500z-0a1b2c".parse().unwrap()
    }

    fn group() -> Undo {
        Undo::RemovePath { path: "/x".into() }
    }

    #[test]
    fn a_journal_replays_to_what_is_still_owed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &run()).unwrap();
        for id in [DebtId(0), DebtId(1)] {
            let (due, undo) = (Due::Always, group());
            journal.append(&Record::Owe { id, due, undo }).unwrap();
        }
        journal.append(&Record::Settle { id: DebtId(0) }).unwrap();
        let name = "i-1".to_owned();
        journal
            .append(&Record::Learn {
                id: DebtId(1),
                name,
            })
            .unwrap();
        let text = std::fs::read_to_string(&journal.path).unwrap();
        let owed = vec![(Due::Always, group(), vec!["i-1".to_owned()])];
        assert_eq!(replay(&text), owed);
        assert_eq!(
            replay(&format!("{text}{{\"record\":\"ow")),
            owed,
            "a torn line"
        );
    }

    #[test]
    fn a_journal_is_its_owner_s_alone_and_locked_while_the_run_lives() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("amibake");
        let journal = Journal::create(&folder, &run()).unwrap();
        for (path, mode) in [(&folder, 0o700), (&journal.path, 0o600)] {
            let found = std::fs::metadata(path).unwrap().permissions();
            assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
        }
        assert!(File::open(&journal.path).unwrap().try_lock().is_err());
        assert!(
            Journal::create(&folder, &run()).is_err(),
            "a run has one journal"
        );
    }

    #[test]
    fn what_is_kept_is_due_when_it_expires_or_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), &run()).unwrap();
        ledger.owe(Due::Always, group()).unwrap();
        let until = run().began();
        ledger.keep(until).unwrap();
        let left = ledger.outstanding(BakeEnd::Failed);
        let by_name = format!("amibake reap --run {}", run());
        assert_eq!(left[0].remove_with, by_name);
        drop(ledger);

        let dead = dead_run(folder.path().join(format!("{}.journal", run()))).unwrap();
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
}
