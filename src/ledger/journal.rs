//! The journal's file: one JSON record a line, on the disk before the call it is about.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Debt, DebtId, Due, Undo};
use crate::run::{RunId, parse_rfc3339};
use crate::targets::TargetError;

/// Why a journal could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("no state folder: neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    #[error("could not use the journal {path}")]
    File { path: PathBuf, source: io::Error },
}

impl From<JournalError> for TargetError {
    fn from(error: JournalError) -> Self {
        Self::new("what was about to be created could not be recorded").because(error)
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// Something is about to be created.
    Owe {
        id: DebtId,
        due: Due,
        #[serde(flatten)]
        undo: Undo,
    },
    /// It has a name now.
    Learn {
        id: DebtId,
        /// `i-0abc12`.
        name: String,
    },
    /// It is gone, or never was.
    Settle { id: DebtId },
    /// The bake has failed: what was to be its product is not, whatever that says of itself.
    Fail,
    /// It has, and somebody wants to look at what is there.
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

    /// Writes a record, which is there as a whole or not at all: what follows half a line would be
    /// lost with it.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(record).expect("a record has plain fields");
        line.push(b'\n');
        self.append_line(&line)
            .map_err(|source| JournalError::File {
                path: self.path.clone(),
                source,
            })
    }

    fn append_line(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(line);
        let written = written.and_then(|()| self.file.sync_data());
        if written.is_err() {
            self.file.set_len(before)?;
        }
        written
    }

    /// Returns where journals lie.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
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

/// Returns the debts a journal's text still holds, oldest first.
///
/// A last line cut short by a crash is left out: its call was never made.
pub(crate) fn replay(text: &str) -> Vec<Debt> {
    let mut open: Vec<(DebtId, Debt)> = Vec::new();
    for record in text.lines().filter_map(|l| serde_json::from_str(l).ok()) {
        match record {
            Record::Owe { id, undo, .. } => {
                let learned = Vec::new();
                open.push((id, Debt { undo, learned }));
            }
            Record::Learn { id, name } => {
                if let Some((_, debt)) = open.iter_mut().find(|(of, _)| *of == id) {
                    debt.learned.push(name);
                }
            }
            Record::Settle { id } => open.retain(|(of, _)| *of != id),
            Record::Fail | Record::Keep { .. } => {}
        }
    }
    open.into_iter().map(|(_, debt)| debt).collect()
}

/// Returns until when a journal's text says that what is there is kept.
pub(super) fn kept_until(text: &str) -> Option<OffsetDateTime> {
    let mut latest = text.lines().rev();
    latest.find_map(|line| match serde_json::from_str(line).ok()? {
        Record::Keep { until } => parse_rfc3339(&until),
        Record::Owe { .. } | Record::Learn { .. } | Record::Settle { .. } | Record::Fail => None,
    })
}

/// Returns whether a journal's text says that the bake has failed.
pub(super) fn has_failed(text: &str) -> bool {
    let mut records = text.lines().filter_map(|l| serde_json::from_str(l).ok());
    records.any(|record| matches!(record, Record::Fail | Record::Keep { .. }))
}

/// Returns whether a line cannot be read. The last one may be cut short, and then has no end.
pub(super) fn is_garbled(text: &str) -> bool {
    let mut whole = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    whole.any(|line| serde_json::from_str::<Record>(line).is_err())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger::Payer as _;
    use crate::targets::container::Container;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use rustix::process::Resource;

    pub(in crate::ledger) fn run() -> RunId {
        "20260727t101500z-0a1b2c".parse().unwrap()
    }

    pub(in crate::ledger) fn owed() -> Undo {
        Undo::new("somewhere", &serde_json::json!({"path": "/x"}))
    }

    #[test]
    fn a_journal_replays_to_what_is_still_owed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &run()).unwrap();
        for id in [DebtId(0), DebtId(1)] {
            let (due, undo) = (Due::Always, owed());
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
        let still = vec![Debt {
            undo: owed(),
            learned: vec!["i-1".to_owned()],
        }];
        assert_eq!(replay(&text), still);
        let torn = format!("{text}{{\"record\":\"ow");
        assert_eq!(replay(&torn), still, "a torn line");
        assert!(!is_garbled(&torn));
        assert!(is_garbled(&format!("{{\"record\":\"lend\"}}\n{text}")));
    }

    #[test]
    fn a_journal_from_before_targets_were_named_is_read_as_theirs() {
        let text = r#"{"record":"owe","id":0,"due":"always","undo":"terminate-instance","region":"eu-west-1","run":"20260727t101500z-0a1b2c","role":"builder"}
{"record":"owe","id":1,"due":"on-failure","undo":"remove-path","path":"/var/lib/amibake/images/web.tar.zst"}
{"record":"learn","id":0,"name":"i-0abc12"}
"#;
        let owed = replay(text);
        let targets: Vec<&str> = owed.iter().map(|debt| debt.undo.target()).collect();
        assert_eq!(targets, ["ec2", "container"]);
        let container = Container::new(None);
        let told = container.leftover(&owed[1], Some(&run()));
        assert_eq!(told.what, "/var/lib/amibake/images/web.tar.zst");
        assert!(!is_garbled(text));
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

    /// Names the folder of the journal that a process writes whose files may not grow.
    const FULL: &str = "AMIBAKE_TEST_FULL_DISK";

    #[test]
    fn a_record_that_cannot_be_written_leaves_no_half_of_it() {
        if let Some(folder) = std::env::var_os(FULL).map(PathBuf::from) {
            return fill(&folder);
        }
        let folder = tempfile::tempdir().unwrap();
        let name = "ledger::journal::tests::a_record_that_cannot_be_written_leaves_no_half_of_it";
        let filled = Command::new("sh")
            .args([
                "-c",
                r#"trap "" XFSZ; ulimit -S -f 1; exec "$0" --exact --nocapture "$@""#,
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(FULL, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&filled.stdout);
        assert!(
            filled.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    /// Owes until that cannot be written, and then learns.
    fn fill(folder: &Path) {
        let mut journal = Journal::create(folder, &run()).unwrap();
        let mut owe = |id| {
            let (due, undo) = (Due::Always, owed());
            journal.append(&Record::Owe { id, due, undo })
        };
        let written = (0..999).take_while(|&id| owe(DebtId(id)).is_ok()).count();
        assert!(0 < written && written < 999, "{written}");
        let text = std::fs::read_to_string(&journal.path).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        let mut limit = rustix::process::getrlimit(Resource::Fsize);
        limit.current = limit.maximum;
        rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
        journal.append(&Record::Settle { id: DebtId(0) }).unwrap();
        let text = std::fs::read_to_string(&journal.path).unwrap();
        assert!(!is_garbled(&text));
        assert_eq!(replay(&text).len(), written - 1);
    }
}
