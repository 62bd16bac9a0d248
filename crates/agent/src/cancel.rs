//! Cancelling: what the running task started is ended, in this process and in its workers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use amibake_protocol::event::{Event, Recap};
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::hub::Hub;

/// How long the run may take to notice; then it is ended in the middle of its task.
const LAST_TASK: Duration = Duration::from_secs(30);

/// Ends the run: its commands at once, the rest at the next task.
pub(crate) fn cancel(hub: &Arc<Hub>) {
    if hub.with(|state| std::mem::replace(&mut state.cancelled, true)) {
        return;
    }
    let hub = hub.clone();
    thread::spawn(move || {
        let since = Instant::now();
        while hub
            .wait(Duration::from_millis(200), |state| {
                state.finished.then_some(())
            })
            .is_none()
        {
            end_commands();
            if since.elapsed() > LAST_TASK {
                hub.event(Event::Finished {
                    recap: Recap::default(),
                    error: Some("cancelled; the running task did not stop".to_owned()),
                    elsewhere: false,
                });
            }
        }
    });
}

/// Cancels a run whose controller has not been heard for `alone`: it was killed, or its machine is
/// gone, and nobody will ever ask what became of the run and of the secrets in its folder.
pub(crate) fn unless_heard(hub: &Arc<Hub>, alone: Duration) {
    let hub = hub.clone();
    thread::spawn(move || {
        loop {
            let left = hub.with(|state| alone.checked_sub(state.followed_at.elapsed()));
            let Some(left) = left else {
                return cancel(&hub);
            };
            let ended = hub.wait(left, |state| state.finished.then_some(()));
            if ended.is_some() {
                return;
            }
        }
    });
}

/// Ends every descendant but the workers, whose tasks then fail by themselves.
fn end_commands() {
    amibake_engine::run_command::cancel();
    let parents = parents();
    let me = getpid().as_raw_nonzero().get();
    let ours = std::fs::metadata("/proc/self/exe").ok();
    for &pid in parents.keys() {
        if descends(pid, me, &parents)
            && !is_same_program(pid, ours.as_ref())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn is_same_program(pid: i32, ours: Option<&std::fs::Metadata>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let theirs = std::fs::metadata(format!("/proc/{pid}/exe")).ok();
    let of = |m: &std::fs::Metadata| (m.dev(), m.ino());
    theirs.as_ref().map(of) == ours.map(of)
}

fn parents() -> HashMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(&entry.path())?))
        })
        .collect()
}

fn parent(process: &Path) -> Option<i32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn descends(pid: i32, from: i32, parents: &HashMap<i32, i32>) -> bool {
    let mut at = pid;
    for _ in 0..parents.len() {
        match parents.get(&at) {
            Some(&parent) if parent == from => return true,
            Some(&parent) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::EventLog;

    #[test]
    fn a_run_that_nobody_follows_any_more_is_cancelled_and_one_that_is_followed_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let hub = |name: &str| {
            let log = EventLog::create(&temp.path().join(name)).unwrap();
            Arc::new(Hub::new(log))
        };
        let (left, followed) = (hub("left"), hub("followed"));
        for hub in [&left, &followed] {
            unless_heard(hub, Duration::from_millis(300));
        }
        for _ in 0..20 {
            followed.with(|state| state.followed_at = Instant::now());
            thread::sleep(Duration::from_millis(50));
        }
        assert!(left.with(|state| state.cancelled));
        assert!(!followed.with(|state| state.cancelled));
        for hub in [&left, &followed] {
            hub.event(Event::Finished {
                recap: Recap::default(),
                error: None,
                elsewhere: false,
            });
        }
    }
}
