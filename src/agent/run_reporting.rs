//! A run whose events go to the reporter, no faster than it shows them. What failed is remembered.

use amibake_protocol::event::{Event, Status};
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{AgentError, Ended, FailedTask, RunRequest, SizedEvent, run};
use crate::event::{Event as Reported, Events};
use crate::transport::Transport;

/// How many events may be under way between the two.
const UNDER_WAY: usize = 2;

/// How much of a reason is kept.
const REASON_CAP_BYTES: usize = 2000;

/// Runs `request` as [`run`] does, and tells `events` what happens.
pub(crate) async fn run_reported(
    transport: &dyn Transport,
    request: &RunRequest<'_>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Ended, AgentError> {
    let tasks = request.tasks;
    events.send(Reported::RunPlanned { tasks });
    let (sender, happened) = mpsc::channel(UNDER_WAY);
    let running = async move {
        let ended = run(transport, request, &sender, cancel).await;
        drop(sender); // the other half ends with it
        ended
    };
    let (ended, failed) = tokio::join!(running, report(happened, events));
    ended.map(|ended| Ended { failed, ..ended })
}

/// Returns the task that failed last.
async fn report(mut happened: mpsc::Receiver<SizedEvent>, events: &Events) -> Option<FailedTask> {
    let (mut task, mut failed) = (None, None);
    while let Some(SizedEvent { event, bytes }) = happened.recv().await {
        events.room().await;
        match &event {
            Event::TaskStarted {
                index, name, place, ..
            } => {
                task = Some(FailedTask {
                    index: *index,
                    name: name.clone(),
                    place: place.clone(),
                    why: String::new(),
                });
            }
            // In a loop the items know why, and the task only that some failed.
            Event::ItemFinished { status, result, .. } if *status == Status::Failed => {
                if let Some(task) = &mut task {
                    task.why = reason(result);
                }
            }
            Event::TaskFinished { status, result, .. } if *status == Status::Failed => {
                failed = task.take().map(|task| match task.why.is_empty() {
                    true => FailedTask {
                        why: reason(result),
                        ..task
                    },
                    false => task,
                });
            }
            _ => {}
        }
        events.host(event, bytes);
    }
    failed
}

/// Returns what a result says of its failure: the message, and of a command its last line.
fn reason(result: &Map<String, Json>) -> String {
    let text = |key: &str| result.get(key).and_then(Json::as_str).unwrap_or_default();
    let mut why = text("msg").trim().to_owned();
    if let Some(rc) = result.get("rc").and_then(Json::as_i64) {
        let said = [text("stderr"), text("stdout")]
            .into_iter()
            .find_map(|stream| stream.trim().lines().next_back());
        why = match said {
            Some(said) => format!("exit status {rc}: {said}"),
            None if why.is_empty() => format!("exit status {rc}"),
            None => format!("exit status {rc}: {why}"),
        };
    }
    ending(&why, REASON_CAP_BYTES)
}

/// Keeps the last lines of a text that fit into `cap` bytes, since they say what went wrong; of one
/// line that is longer, its first words.
fn ending(text: &str, cap: usize) -> String {
    if text.len() <= cap {
        return text.to_owned();
    }
    let mut room = cap;
    let fits = |line: &&str| {
        let taken = line.len() + 1;
        let fits = taken <= room;
        room = room.saturating_sub(taken);
        fits
    };
    let mut lines: Vec<&str> = text.lines().rev().take_while(fits).collect();
    lines.reverse();
    if !lines.is_empty() {
        return format!("…\n{}", lines.join("\n"));
    }
    let last = text.lines().next_back().unwrap_or_default();
    let kept = &last[..last.floor_char_boundary(cap)];
    let whole = kept
        .rsplit_once(char::is_whitespace)
        .map_or(kept, |(words, _)| words);
    format!("{whole} …")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(result: Json) -> String {
        reason(result.as_object().unwrap())
    }

    #[test]
    fn a_long_reason_is_cut_between_lines_or_words_and_keeps_what_says_why() {
        let collected = "Collecting flask==99\n".repeat(200);
        let said = "ERROR: No matching distribution found for flask==99";
        let failed = json!({"msg": format!("stdout: {collected}\n:stderr: {said}")});
        let why = of(failed);
        assert!(why.starts_with("…\nCollecting flask==99\n"), "{why}");
        assert!(
            why.ends_with(&format!(":stderr: {said}")) && why.len() <= 2010,
            "{why}"
        );
        let why = of(json!({"msg": "wörter ".repeat(1000)}));
        assert!(why.ends_with("wörter …") && why.len() <= 2010, "{why}");
        assert_eq!(ending("short", 10), "short");
    }

    #[test]
    fn a_command_s_last_words_are_the_reason() {
        let failed = json!({"rc": 2, "msg": "non-zero return code", "stderr": "a\nbad option\n", "stdout": "x"});
        assert_eq!(of(failed), "exit status 2: bad option");
        let mute = json!({"rc": 1, "msg": "non-zero return code", "stderr": "", "stdout": ""});
        assert_eq!(of(mute), "exit status 1: non-zero return code");
        assert_eq!(of(json!({"msg": "no such package"})), "no such package");
    }
}
