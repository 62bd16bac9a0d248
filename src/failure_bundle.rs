//! What is kept of a build that failed, for whoever looks at it when its machines are gone: its events,
//! the times of its phases, its machines' consoles, and their logs as far as they could be had.
//!
//! The folder is there from the build's beginning, so that one that is killed leaves its events; a build
//! that goes well removes it. No secret of the manifest is in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use amibake_protocol::mask::Mask;
use time::OffsetDateTime;

use crate::clock;
use crate::event_recorder::Recorder;
use crate::exit::Failure;
use crate::guest::RootShell;
use crate::guest::logs;
use crate::run::RunId;
use crate::targets::{Machine, Target};

/// Folder below the state folder.
const FOLDER: &str = "failed";

/// How long what is kept stays.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// How long the machine may take to give its logs: it is paid for meanwhile, and the build has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The bundle of one build.
#[derive(Debug, Clone)]
pub(crate) struct FailureBundle {
    folder: PathBuf,
    mask: Mask,
    recorder: Arc<Recorder>,
}

impl FailureBundle {
    /// Makes the folder of a run, below `parent` or the state folder, and removes what is old there.
    pub(crate) fn open(
        state_folder: &Path,
        parent: Option<&Path>,
        run: &RunId,
        mask: Mask,
    ) -> io::Result<Self> {
        let parent = parent.map_or_else(|| state_folder.join(FOLDER), Path::to_path_buf);
        let folder = parent.join(run.as_str());
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder)?;
        let _stays = remove_old(&parent, OffsetDateTime::now_utc());
        let events = create(&folder.join("events.jsonl"))?;
        Ok(Self {
            folder,
            mask,
            recorder: Arc::new(Recorder::new(events)),
        })
    }

    /// Returns what writes down the build's events.
    pub(crate) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    /// Keeps the logs of a machine that can be logged in to.
    pub(crate) async fn keep_logs(&self, shell: &dyn RootShell, role: &str) {
        let Ok(Ok(found)) = clock::timeout(PATIENCE, logs::collect(shell)).await else {
            return; // it was ill, which its console may tell
        };
        for (name, text) in found {
            self.keep(&format!("{role}-{name}"), text);
        }
    }

    /// Keeps what a machine wrote to its console.
    pub(crate) async fn keep_console(&self, target: &dyn Target, machine: &Machine) {
        let asked = clock::timeout(PATIENCE, target.console(machine)).await;
        if let Ok(Some(text)) = asked {
            self.keep(&format!("{}-console.log", machine.id), text);
        }
    }

    /// Ends it for a build that failed; returns where it is.
    pub(crate) fn end(self, failure: &Failure) -> PathBuf {
        if let Ok(text) = serde_json::to_string_pretty(&failure.event()) {
            self.keep("failure.json", text);
        }
        let timings = self.recorder.finish();
        if let Ok(text) = serde_json::to_string_pretty(&timings) {
            self.keep("timings.json", text);
        }
        self.folder
    }

    /// Removes it: the build went well.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.recorder.finish();
        std::fs::remove_dir_all(&self.folder)
    }

    /// A disk that is full must not make the failure another.
    fn keep(&self, name: &str, mut text: String) {
        self.mask.text(&mut text);
        let name = name.replace('/', "-");
        let file = create(&self.folder.join(name));
        let _lost = file.and_then(|mut file| file.write_all(text.as_bytes()));
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Removes the bundles of runs that began long ago. Nothing else in the folder is ours.
fn remove_old(parent: &Path, now: OffsetDateTime) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.parse::<RunId>().ok());
        if run.is_some_and(|run| run.began() < now - KEPT) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{self, Phase};
    use std::os::unix::fs::PermissionsExt;

    fn run() -> RunId {
        RunId::new(OffsetDateTime::now_utc()).unwrap()
    }

    #[test]
    fn a_failed_build_s_events_and_times_are_kept_for_its_owner_alone_and_without_secrets() {
        let state = tempfile::tempdir().unwrap();
        let mask = Mask::from_iter(["hunter22"]);
        let bundle = FailureBundle::open(state.path(), None, &run(), mask.clone()).unwrap();
        let (events, _reports) = event::channel();
        let events = events.masked(mask).recorded(bundle.recorder());
        events.phase(Phase::Launch).finish(None);
        events.warn("hunter22 is slow");
        bundle.keep("builder-cloud-init.log", "token hunter22\n".to_owned());
        let folder = bundle.end(&Failure::new("no hunter22").with_hint("none"));
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let lines = read("events.jsonl");
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert!(read("timings.json").contains("\"launch\""));
        assert!(read("failure.json").contains("no ********"));
        assert_eq!(read("builder-cloud-init.log"), "token ********\n");
        assert!(!lines.contains("hunter22"), "{lines}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("events.jsonl")), 0o600);
    }

    #[test]
    fn a_build_that_went_well_leaves_none_and_old_ones_go() {
        let parent = tempfile::tempdir().unwrap();
        let old = parent.path().join("20260727t101500z-0a1b2c");
        let other = parent.path().join("mine");
        std::fs::create_dir(&old).unwrap();
        std::fs::create_dir(&other).unwrap();
        let now = "20260727t101500z-0a1b2c".parse::<RunId>().unwrap().began();
        remove_old(parent.path(), now + KEPT).unwrap();
        assert!(old.exists());
        remove_old(parent.path(), now + KEPT + Duration::from_secs(1)).unwrap();
        assert!(!old.exists() && other.exists());

        let bundle =
            FailureBundle::open(parent.path(), Some(parent.path()), &run(), Mask::default());
        bundle.unwrap().remove().unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
