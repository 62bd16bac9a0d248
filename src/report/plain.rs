//! Plain lines: what a log, a CI job or an Ansible user expects.
//!
//! Pure: an event goes in, text comes out. Where it goes is the caller's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use amibake_protocol::event::{Diff, Event as HostEvent, Place, Recap, Status};
use serde_json::{Map, Value as Json};

use super::text::{self, Colour, Details, Paint};
use crate::event::{Event, Phase, Report};

/// What has to be remembered from one line to the next.
#[derive(Debug)]
pub(super) struct Plain {
    paint: Paint,
    verbosity: u8,
    /// The heading printed last, and the number of its task; hosts that are at the same task share it.
    heading: (String, u32),
    /// The task that each host is at: it begins no other before that one has ended, and one
    /// that does begins one and the same, however often it says so.
    tasks: HashMap<Arc<str>, Task>,
    /// The heading of the play printed last.
    play: String,
    recaps: BTreeMap<Arc<str>, Recap>,
    /// Whether the playbook itself ended the run: as Ansible, no figures are given then.
    is_broken: bool,
    /// What each build said last of its progress: it is asked often, and says it once.
    progress: HashMap<Arc<str>, String>,
    /// Builds whose candidate is being looked at.
    tested: HashSet<Arc<str>>,
    width: usize,
}

#[derive(Debug)]
struct Task {
    index: u32,
    name: String,
    heading: String,
    details: Details,
    /// Where it stands.
    place: String,
    /// Whether it has said all that there is to say: its items, what it includes.
    items: bool,
}

impl Plain {
    pub(super) fn new(paint: Paint, verbosity: u8) -> Self {
        Self {
            paint,
            verbosity,
            heading: (String::new(), 0),
            tasks: HashMap::new(),
            play: String::new(),
            recaps: BTreeMap::new(),
            is_broken: false,
            progress: HashMap::new(),
            tested: HashSet::new(),
            width: text::WIDTH,
        }
    }

    /// Draws headings for a terminal of this many columns.
    pub(super) fn fit(&mut self, columns: usize) {
        self.width = columns.min(text::WIDTH);
    }

    /// Lets the next result of a task print its heading: the one before was not shown.
    pub(super) fn forget_heading(&mut self) {
        self.heading = (String::new(), 0);
    }

    /// Returns the lines for one event.
    pub(super) fn render(&mut self, report: &Report) -> String {
        let about = &report.about;
        match &report.event {
            Event::PhaseStarted {
                phase,
                number,
                total,
            } => {
                match phase {
                    Phase::Test => self.tested.insert(Arc::clone(about)),
                    _ => self.tested.remove(about),
                };
                self.phase(about, *phase, format!(" (phase {number} of {total})…"))
            }
            Event::PhaseProgress {
                phase,
                message,
                percent,
            } => self.progress(about, *phase, message, *percent),
            Event::PhaseFinished {
                phase,
                ok,
                elapsed_ms,
                summary,
            } => self.phase(about, *phase, ended(*ok, *elapsed_ms, summary.as_deref())),
            Event::HostConnected { elapsed_ms } if self.verbosity > 0 => {
                format!("connected: [{about}] in {}\n", text::seconds(*elapsed_ms))
            }
            Event::HostUnreachable { causes, hint } => {
                self.unreachable(about, causes, hint.as_deref())
            }
            Event::HostFinished { recap } => {
                self.recaps.insert(Arc::clone(about), *recap);
                String::new()
            }
            Event::Note { message } => format!("{}\n", text::printable(message)),
            Event::Warning { message, place } => self.warning(message, place.as_ref()),
            Event::StackChanged {
                resource,
                resource_type,
                status,
                reason,
            } => self.stack_event(resource, resource_type, status, reason.as_deref()),
            Event::ImageReady { image_id, name } => format!("image: {image_id} ({name})\n"),
            Event::ImageReused { image_id, name } => {
                format!("image: {image_id} ({name}), made before of the same content\n")
            }
            // A failure is told when all else has been, figures included.
            Event::HostConnected { .. } | Event::RunPlanned { .. } | Event::Failed { .. } => {
                String::new()
            }
            Event::Host(event) => self.host(about, event),
        }
    }

    /// Returns the figures of all hosts; nothing if none ran.
    pub(super) fn end(&self) -> String {
        if self.recaps.is_empty() || self.is_broken {
            return String::new();
        }
        let mut text = text::banner("PLAY RECAP", self.width);
        // As Ansible: a host on which nothing ran has no figures.
        let ran = self
            .recaps
            .iter()
            .filter(|(_, recap)| **recap != Recap::default());
        for (host, recap) in ran {
            text += &text::recap_line(host, recap, self.paint);
        }
        text + "\n"
    }

    /// Returns whether a task talks: what it says is shown whatever came of it.
    pub(super) fn talks(&self, host: &Arc<str>, index: u32) -> bool {
        let task = self.at(host, index);
        task.is_some_and(|task| task.details == Details::Message)
    }

    /// Returns a task's name, as people read it.
    pub(super) fn name(&self, host: &Arc<str>, index: u32) -> &str {
        self.at(host, index).map_or("", |task| &task.name)
    }

    fn at(&self, host: &Arc<str>, index: u32) -> Option<&Task> {
        self.tasks.get(host).filter(|task| task.index == index)
    }

    /// Says what a phase does when it does something else; each per cent only with `-v`.
    fn progress(
        &mut self,
        about: &Arc<str>,
        phase: Phase,
        message: &str,
        percent: Option<u8>,
    ) -> String {
        let message = text::printable(message);
        let line = match percent {
            Some(percent) if self.verbosity > 0 => format!(": {message} {percent} %"),
            _ => format!(": {message}"),
        };
        let last = self.progress.insert(Arc::clone(about), line.clone());
        if last.as_ref() == Some(&line) {
            return String::new();
        }
        self.phase(about, phase, line)
    }

    fn phase(&self, about: &str, phase: Phase, rest: String) -> String {
        let build = if about.is_empty() {
            String::new()
        } else {
            format!("{about}: ")
        };
        self.paint
            .paint(Colour::Dim, &format!("{build}{}{rest}", phase_word(phase)))
            + "\n"
    }

    fn stack_event(
        &self,
        resource: &str,
        kind: &str,
        status: &str,
        reason: Option<&str>,
    ) -> String {
        let colour = match status {
            _ if status.ends_with("_FAILED") => Colour::Red,
            _ if status.ends_with("_IN_PROGRESS") => Colour::Dim,
            _ => Colour::Green,
        };
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let line = format!("{status} {resource} ({kind}){reason}");
        self.paint.paint(colour, &text::printable(&line)) + "\n"
    }

    fn unreachable(&mut self, host: &Arc<str>, causes: &[String], hint: Option<&str>) -> String {
        let recap = self.recaps.entry(Arc::clone(host)).or_default();
        recap.unreachable = 1;
        let mut line = format!("fatal: [{host}]: UNREACHABLE! => {}", causes.join(": "));
        if let Some(hint) = hint {
            let _infallible = write!(line, "\n  hint: {hint}");
        }
        self.paint.paint(Colour::Red, &text::printable_lines(&line)) + "\n"
    }

    /// Ours may have several lines, a line of the playbook among them; a machine's are one.
    fn warning(&self, message: &str, place: Option<&Place>) -> String {
        let place = place.map_or_else(String::new, |place| match (place.line, place.column) {
            (0, _) => format!(" ({})", place.file),
            (line, 0) => format!(" ({}:{line})", place.file),
            (line, column) => format!(" ({}:{line}:{column})", place.file),
        });
        let line = text::printable_lines(&format!("[WARNING]: {message}{place}"));
        self.paint.paint(Colour::Yellow, &line) + "\n"
    }

    fn host(&mut self, host: &Arc<str>, event: &HostEvent) -> String {
        match event {
            HostEvent::PlayStarted { name } => self.play(name),
            HostEvent::TaskStarted {
                index,
                name,
                module,
                handler,
                place,
            } => self.task(host, *index, name, module, *handler, place),
            HostEvent::TaskOutput { line, .. } if self.verbosity > 1 => {
                format!("  | {}\n", text::printable(line))
            }
            HostEvent::TaskOutput { .. } => String::new(),
            HostEvent::ItemFinished {
                index,
                label,
                status,
                result,
                diff,
            } => {
                let task = self.tasks.get_mut(host);
                if let Some(task) = task.filter(|task| task.index == *index) {
                    task.items = true;
                }
                self.outcome(host, *index, Some(label), *status, result, diff)
            }
            HostEvent::TaskRetrying {
                index,
                retries_left,
            } => self.retrying(host, *index, *retries_left),
            HostEvent::Included { index, name, label } => {
                self.included(host, *index, name, label.as_deref())
            }
            HostEvent::TaskFinished {
                index,
                status,
                result,
                diff,
                ..
            } => self.finished(host, *index, *status, result, diff),
            HostEvent::Warning { message, place } => {
                self.warning(&text::printable(message), place.as_ref())
            }
            HostEvent::Finished {
                recap,
                error,
                elsewhere,
            } => {
                self.is_broken |= error.is_some() && !elsewhere;
                // A build has two runs: what makes the image, and its tests.
                text::add(self.recaps.entry(Arc::clone(host)).or_default(), recap);
                error.as_ref().map_or_else(String::new, |error| {
                    let line = format!("fatal: [{host}]: {}", text::printable_lines(error));
                    self.paint.paint(Colour::Red, &line) + "\n"
                })
            }
        }
    }

    /// Hosts that begin the same play share its heading.
    fn play(&mut self, name: &str) -> String {
        let heading = format!("PLAY [{}]", text::name(name));
        if self.play == heading {
            return String::new();
        }
        self.play.clone_from(&heading);
        text::banner(&heading, self.width)
    }

    fn task(
        &mut self,
        host: &Arc<str>,
        index: u32,
        name: &str,
        module: &str,
        handler: bool,
        place: &Place,
    ) -> String {
        let word = if handler { "RUNNING HANDLER" } else { "TASK" };
        let name = text::name(name);
        let heading = format!("{word} [{name}]");
        let talks = matches!(module.rsplit('.').next(), Some("debug" | "assert"));
        let task = Task {
            index,
            name,
            heading,
            details: match (talks, self.verbosity) {
                (true, _) => Details::Message,
                (false, 0) => Details::None,
                (false, _) => Details::Line,
            },
            place: format!("{}:{}:{}", place.file, place.line, place.column),
            items: false,
        };
        let heading = self.heading_of(&task.heading, index);
        self.tasks.insert(Arc::clone(host), task);
        heading
    }

    /// Returns the heading of a task unless it is the one printed last.
    fn heading_of(&mut self, heading: &str, index: u32) -> String {
        if self.heading.0 == heading && self.heading.1 == index {
            return String::new();
        }
        self.heading = (heading.to_owned(), index);
        text::banner(heading, self.width)
    }

    fn outcome(
        &mut self,
        host: &Arc<str>,
        index: u32,
        label: Option<&str>,
        status: Status,
        result: &Map<String, Json>,
        diff: &[Diff],
    ) -> String {
        let task = self.at(host, index);
        let (heading, details, place) = task.map_or_else(Default::default, |task| {
            (
                task.heading.clone(),
                task.details,
                text::printable(&task.place),
            )
        });
        let details = if status == Status::Skipped {
            Details::None
        } else {
            details
        };
        let mut text = self.heading_of(&heading, index);
        for diff in diff {
            text += &text::diff(diff, self.paint);
        }
        let mut line = text::result_line(host, label, status, result, details);
        if label.is_none() && is_failure(status) && !place.is_empty() {
            let _infallible = write!(line, "\n  task at {place}");
        }
        text + &self.paint.paint(text::colour(status), &line) + "\n"
    }

    fn finished(
        &mut self,
        host: &Arc<str>,
        index: u32,
        status: Status,
        result: &Map<String, Json>,
        diff: &[Diff],
    ) -> String {
        let task = self.at(host, index);
        let failed = is_failure(status);
        // A loop has said how each of its items ended; only its failure is worth a line more.
        let said = task.is_some_and(|task| task.items) && !failed;
        let mut text = if said {
            String::new()
        } else {
            self.outcome(host, index, None, status, result, diff)
        };
        if status == Status::Ignored {
            text += &self.paint.paint(Colour::Cyan, "...ignoring");
            text.push('\n');
        }
        self.tasks.remove(host);
        text
    }

    /// As Ansible says it, in place of the task's own result.
    fn included(&mut self, host: &Arc<str>, index: u32, name: &str, label: Option<&str>) -> String {
        let task = self.tasks.get_mut(host).filter(|task| task.index == index);
        let heading = task.map_or_else(String::new, |task| {
            task.items = true;
            task.heading.clone()
        });
        let label = label.map_or_else(String::new, |label| format!(" => (item={label})"));
        let line = text::printable(&format!("included: {name} for {host}{label}"));
        self.heading_of(&heading, index) + &self.paint.paint(Colour::Cyan, &line) + "\n"
    }

    fn retrying(&self, host: &Arc<str>, index: u32, retries_left: u32) -> String {
        let name = self.name(host, index);
        // What a candidate is waited for with is no playbook's task, and has not failed yet.
        let line = match self.tested.contains(host) {
            true => format!("waiting: [{host}]: {name} (up to {retries_left} more tries)"),
            false => format!("FAILED - RETRYING: [{host}]: {name} ({retries_left} retries left)."),
        };
        self.paint.paint(Colour::Dim, &line) + "\n"
    }
}

fn is_failure(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Ignored | Status::Rescued)
}

fn ended(ok: bool, elapsed_ms: u64, summary: Option<&str>) -> String {
    let word = if ok { "done" } else { "failed" };
    let time = text::seconds(elapsed_ms);
    match summary {
        Some(summary) => format!(": {word} in {time}: {summary}"),
        None => format!(": {word} in {time}"),
    }
}

/// Returns a phase's name as people read it.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolve => "resolve",
        Phase::Launch => "launch",
        Phase::Connect => "connect",
        Phase::Provision => "provision",
        Phase::Seal => "seal",
        Phase::Capture => "capture",
        Phase::Test => "test",
        Phase::Publish => "publish",
        Phase::Teardown => "tear down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Json) -> Map<String, Json> {
        match value {
            Json::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn started(index: u32, name: &str, module: &str) -> HostEvent {
        HostEvent::TaskStarted {
            index,
            name: name.into(),
            module: module.into(),
            handler: false,
            place: Place {
                file: "site.yml".into(),
                line: 3,
                column: 7,
            },
        }
    }

    fn finished(index: u32, status: Status, result: Json) -> HostEvent {
        HostEvent::TaskFinished {
            index,
            status,
            result: object(result),
            diff: Vec::new(),
            elapsed_ms: 1200,
        }
    }

    fn render(plain: &mut Plain, host: &str, events: Vec<HostEvent>) -> String {
        let mut text = String::new();
        for event in events {
            text += &plain.render(&Report {
                time_ms: 0,
                about: Arc::from(host),
                event: Event::Host(event),
                bytes: 0,
            });
        }
        text
    }

    #[test]
    fn what_a_candidate_is_waited_for_with_has_not_failed() {
        let mut plain = Plain::new(Paint(false), 0);
        let phase = |phase| Report {
            time_ms: 0,
            about: Arc::from("web"),
            event: Event::PhaseStarted {
                phase,
                number: 1,
                total: 9,
            },
            bytes: 0,
        };
        let waits = || {
            let (index, retries_left) = (1, 60);
            vec![
                started(index, "http://localhost:8080/", "uri"),
                HostEvent::TaskRetrying {
                    index,
                    retries_left,
                },
            ]
        };
        plain.render(&phase(Phase::Test));
        let told = render(&mut plain, "web", waits());
        let line = "waiting: [web]: http://localhost:8080/ (up to 60 more tries)\n";
        assert!(told.ends_with(line), "{told}");
        plain.render(&phase(Phase::Provision));
        let told = render(&mut plain, "web", waits());
        assert!(told.contains("FAILED - RETRYING: [web]: "), "{told}");
    }

    #[test]
    fn a_run_reads_as_ansible_prints_it() {
        let mut plain = Plain::new(Paint(false), 0);
        let item = |label: &str, status| HostEvent::ItemFinished {
            index: 4,
            label: label.into(),
            status,
            result: object(json!({"msg": "no such package", "failed": true})),
            diff: Vec::new(),
        };
        let events = vec![
            HostEvent::PlayStarted { name: "all".into() },
            started(1, "Gathering Facts", "setup"),
            finished(1, Status::Ok, json!({})),
            started(2, "web : greet", "ansible.builtin.debug"),
            finished(2, Status::Ok, json!({"msg": "hello", "changed": false})),
            started(3, "motd", "copy"),
            HostEvent::TaskFinished {
                index: 3,
                status: Status::Changed,
                result: Map::new(),
                diff: vec![Diff {
                    before_header: "/etc/motd".into(),
                    after_header: "/etc/motd".into(),
                    before: "one\ntwo\n".into(),
                    after: "one\n2\n".into(),
                }],
                elapsed_ms: 3,
            },
            started(4, "packages", "apt"),
            item("curl", Status::Ok),
            item("crul", Status::Failed),
            finished(
                4,
                Status::Ignored,
                json!({"msg": "One or more items failed"}),
            ),
            started(5, "check", "command"),
            HostEvent::TaskRetrying {
                index: 5,
                retries_left: 2,
            },
            finished(
                5,
                Status::Failed,
                json!({"changed": true, "rc": 2, "msg": "non-zero return code",
                       "stdout": "a\nb", "stderr": "bad \u{1b}[2Jthing", "stdout_lines": ["a", "b"]}),
            ),
            HostEvent::Finished {
                recap: Recap {
                    ok: 4,
                    changed: 1,
                    failed: 1,
                    ignored: 1,
                    ..Recap::default()
                },
                error: None,
                elsewhere: false,
            },
        ];
        let text = render(&mut plain, "web1", events) + &plain.end();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn each_task_has_a_heading_and_an_include_says_what_it_includes() {
        let mut plain = Plain::new(Paint(false), 0);
        let included = |name: &str, label: Option<&str>| HostEvent::Included {
            index: 1,
            name: name.into(),
            label: label.map(str::to_owned),
        };
        let events = vec![
            started(1, "more", "include_tasks"),
            included("/p/a.yml", Some("1")),
            included("/p/b.yml", None),
            finished(1, Status::Ok, json!({})),
            started(2, "say", "command"),
            finished(2, Status::Ok, json!({})),
            started(3, "say", "command"),
            finished(3, Status::Failed, json!({"msg": "no"})),
        ];
        let text = render(&mut plain, "web1", events);
        assert_eq!(text.matches("TASK [say] ***").count(), 2, "{text}");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("TASK"))
            .collect();
        assert_eq!(
            lines,
            [
                "included: /p/a.yml for web1 => (item=1)",
                "included: /p/b.yml for web1",
                "ok: [web1]",
                "fatal: [web1]: FAILED! => {\"msg\": \"no\"}",
                "  task at site.yml:3:7",
            ]
        );
    }

    #[test]
    fn hosts_at_the_same_task_share_its_heading() {
        let mut plain = Plain::new(Paint(false), 0);
        let play = || HostEvent::PlayStarted { name: "all".into() };
        let mut text = render(&mut plain, "web1", vec![play(), started(1, "motd", "copy")]);
        text += &render(&mut plain, "web2", vec![play(), started(1, "motd", "copy")]);
        text += &render(&mut plain, "web2", vec![finished(1, Status::Ok, json!({}))]);
        text += &render(
            &mut plain,
            "web1",
            vec![finished(1, Status::Changed, json!({}))],
        );
        assert_eq!(text.matches("PLAY [all]").count(), 1);
        assert_eq!(text.matches("TASK [motd]").count(), 1);
        assert!(text.ends_with("ok: [web2]\nchanged: [web1]\n"));
    }

    #[test]
    fn an_unreachable_host_is_counted_and_told_why() {
        let mut plain = Plain::new(Paint(false), 0);
        let text = plain.render(&Report {
            time_ms: 0,
            about: Arc::from("web1"),
            event: Event::HostUnreachable {
                causes: vec!["web1 port 22 cannot be reached".into(), "refused".into()],
                hint: Some("is sshd running?".into()),
            },
            bytes: 0,
        });
        assert!(text.starts_with("fatal: [web1]: UNREACHABLE! => web1 port 22 cannot"));
        assert!(plain.end().contains("unreachable=1"));
    }
}
