//! The report on a terminal: what runs now moves at the bottom, what happened stays above it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amibake_protocol::event::{Diff, Event as HostEvent, Status};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use terminal_size::{Width, terminal_size_of};

use super::plain::{Plain, phase_word};
use super::text::{self, Colour, Paint};
use crate::event::{Event, Phase, Report};

/// Tasks named as the slowest at the end.
const SLOWEST: usize = 5;

/// A task faster than this is nobody's concern.
const SLOW_MS: u64 = 500;

/// Characters of a host's or build's name at the front of its bar.
const NAME: usize = 24;

/// Bars for what runs, and lines for what stays.
pub(super) struct Live {
    bars: MultiProgress,
    running: HashMap<Arc<str>, Running>,
    plain: Plain,
    paint: Paint,
    utf8: bool,
    columns: usize,
    verbosity: u8,
    slowest: Vec<(u64, String)>,
}

/// A host or a build at work, and how far it is.
struct Running {
    bar: ProgressBar,
    /// `phase 4 of 9`, in a build.
    phase: Option<String>,
    /// Tasks begun in this phase.
    begun: usize,
    /// How many there will be, roughly.
    planned: Option<usize>,
}

impl Running {
    /// Returns which task this is: `task 7 of about 41`.
    fn task(&self) -> String {
        match self.planned.filter(|planned| self.begun <= *planned) {
            Some(planned) => format!("task {} of about {planned}", self.begun),
            // More than foreseen: files were included by computed names.
            None => format!("task {}", self.begun),
        }
    }
}

impl Live {
    /// Draws on `target`; `utf8` says that it shows more than ASCII.
    pub(super) fn new(paint: Paint, utf8: bool, verbosity: u8, target: ProgressDrawTarget) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(target),
            running: HashMap::new(),
            plain: Plain::new(paint, verbosity),
            paint,
            utf8,
            columns: text::WIDTH,
            verbosity,
            slowest: Vec::new(),
        }
    }

    pub(super) fn show(&mut self, report: &Report) {
        let about = &report.about;
        // The window may have been resized.
        if let Some((Width(columns), _)) = terminal_size_of(std::io::stderr()) {
            self.columns = columns.into();
            self.plain.fit(self.columns.saturating_sub(1));
        }
        match &report.event {
            Event::PhaseStarted {
                phase,
                number,
                total,
            } => {
                let running = self.running(about);
                running.phase = Some(format!("phase {number} of {total}"));
                (running.begun, running.planned) = (0, None);
                self.now(about, phase_word(*phase));
            }
            Event::RunPlanned { tasks } => self.running(about).planned = Some(*tasks),
            Event::PhaseProgress {
                phase,
                message,
                percent,
            } => {
                let percent = percent.map_or_else(String::new, |p| format!(" {p} %"));
                let message = text::printable(message);
                self.now(
                    about,
                    &format!("{}: {message}{percent}", phase_word(*phase)),
                );
            }
            Event::Host(HostEvent::TaskStarted { name, .. }) => {
                let running = self.running(about);
                running.begun += 1;
                let doing = format!("{}: {}", running.task(), text::name(name));
                self.now(about, &doing);
            }
            Event::Host(HostEvent::TaskFinished {
                index,
                status,
                elapsed_ms,
                diff,
                ..
            }) => {
                self.remember_slow(about, *index, *elapsed_ms);
                if self.verbosity == 0 && self.is_one_line(about, *index, *status) {
                    if *status == Status::Changed {
                        self.changed(about, *index, *elapsed_ms, diff);
                    }
                    self.plain.render(report);
                    self.plain.forget_heading();
                    return;
                }
            }
            // A build goes on to its next phase.
            Event::Host(HostEvent::Finished { .. }) | Event::HostUnreachable { .. }
                if !self.is_build(about) =>
            {
                self.over(about);
            }
            Event::PhaseFinished {
                phase: Phase::Teardown,
                ..
            } => self.over(about),
            _ => {}
        }
        let text = self.plain.render(report);
        if self.is_passing(&report.event) {
            self.plain.forget_heading();
        } else {
            self.print(&text);
        }
    }

    /// Ends the bars and prints the figures.
    pub(super) fn end(&mut self) {
        for (_, running) in self.running.drain() {
            running.bar.finish_and_clear();
        }
        let recap = self.plain.end();
        self.print(&recap);
        if !self.slowest.is_empty() {
            let mut text = String::from("slowest tasks:\n");
            let room = self.columns.saturating_sub(16).max(NAME);
            for (elapsed, name) in &self.slowest {
                let name = text::shortened(name, room);
                text += &format!("  {:>12}  {name}\n", text::seconds(*elapsed));
            }
            self.print(&text);
        }
    }

    /// Headings and good results are in the bar; they stay only with `-v`.
    fn is_passing(&self, event: &Event) -> bool {
        self.verbosity == 0
            && matches!(
                event,
                Event::PhaseStarted { .. }
                    | Event::PhaseProgress { .. }
                    | Event::Host(
                        HostEvent::TaskStarted { .. }
                            | HostEvent::Included { .. }
                            | HostEvent::ItemFinished {
                                status: Status::Ok | Status::Skipped,
                                ..
                            }
                    )
            )
    }

    /// Returns whether a task that went well leaves a line at most: one that talks is shown whole,
    /// unless it was skipped.
    fn is_one_line(&self, about: &Arc<str>, index: u32, status: Status) -> bool {
        match status {
            Status::Changed | Status::Skipped => true,
            Status::Ok => !self.plain.talks(about, index),
            Status::Failed | Status::Ignored | Status::Rescued => false,
        }
    }

    /// Leaves a line, and the diff where one was asked for, of a task that changed something.
    fn changed(&self, about: &Arc<str>, index: u32, elapsed_ms: u64, diffs: &[Diff]) {
        for diff in diffs.iter().filter(|diff| diff.before != diff.after) {
            self.print(&text::diff(diff, self.paint));
        }
        let line = format!("changed: [{about}] {}", self.plain.name(about, index));
        let time = format!("({})", text::seconds(elapsed_ms));
        let line = self.paint.paint(Colour::Yellow, &line);
        let time = self.paint.paint(Colour::Dim, &time);
        self.print(&format!("{line} {time}\n"));
    }

    fn remember_slow(&mut self, about: &Arc<str>, index: u32, elapsed_ms: u64) {
        if elapsed_ms >= SLOW_MS {
            let name = self.plain.name(about, index);
            self.slowest.push((elapsed_ms, format!("{name} [{about}]")));
            self.slowest
                .sort_by_key(|(elapsed, _)| std::cmp::Reverse(*elapsed));
            self.slowest.truncate(SLOWEST);
        }
    }

    fn is_build(&self, about: &Arc<str>) -> bool {
        let running = self.running.get(about);
        running.is_some_and(|running| running.phase.is_some())
    }

    fn running(&mut self, about: &Arc<str>) -> &mut Running {
        let (bars, style) = (&self.bars, self.style());
        let running = self.running.entry(Arc::clone(about));
        running.or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner().with_style(style));
            bar.enable_steady_tick(Duration::from_millis(100));
            Running {
                bar,
                phase: None,
                begun: 0,
                planned: None,
            }
        })
    }

    /// Says what a host or a build is doing now; the clock of what it does starts anew.
    fn now(&mut self, about: &Arc<str>, doing: &str) {
        let utf8 = self.utf8;
        let shown = |text: String| if utf8 { text } else { text::ascii(&text) };
        let running = self.running(about);
        let name = text::shortened(&text::printable(about), NAME);
        let prefix = match &running.phase {
            Some(phase) => format!("{name} ({phase})"),
            None => name,
        };
        running.bar.set_prefix(shown(prefix));
        running.bar.set_message(shown(doing.to_owned()));
        running.bar.reset_elapsed();
    }

    fn style(&self) -> ProgressStyle {
        let template = match self.paint {
            Paint(true) => "{spinner} {prefix:.dim} {wide_msg} {clock:.dim}",
            Paint(false) => "{spinner} {prefix} {wide_msg} {clock}",
        };
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let began = Instant::now();
        let style = style.with_key(
            "clock",
            move |state: &ProgressState, out: &mut dyn Write| {
                let (now, whole) = (state.elapsed(), began.elapsed());
                let _infallible = write!(out, "{} ({} in all)", clock(now), clock(whole));
            },
        );
        match self.utf8 {
            true => style,
            false => style.tick_chars("-\\|/ "),
        }
    }

    fn over(&mut self, about: &Arc<str>) {
        if let Some(running) = self.running.remove(about) {
            running.bar.finish_and_clear();
            self.bars.remove(&running.bar);
        }
    }

    fn print(&self, text: &str) {
        if !text.is_empty() {
            let text = text.trim_end_matches('\n');
            let _gone = match self.utf8 {
                true => self.bars.println(text),
                false => self.bars.println(text::ascii(text)),
            };
        }
    }
}

/// Returns a time in whole seconds: what moves ten times a second is not read.
fn clock(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::build;
    use indicatif::InMemoryTerm;

    /// Returns what stands on the terminal after each of the events.
    fn screens(events: &[Report]) -> Vec<String> {
        let term = InMemoryTerm::new(30, 100);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut live = Live::new(Paint(false), true, 0, target);
        let shown = |report| {
            live.show(report);
            for running in live.running.values() {
                running.bar.force_draw();
            }
            term.contents()
        };
        events.iter().map(shown).collect()
    }

    #[test]
    fn a_build_says_in_which_phase_and_at_which_task_it_is() {
        let events = build();
        let screens = screens(&events);
        let at = |wanted: fn(&Event) -> bool| {
            let found = events.iter().position(|report| wanted(&report.event));
            screens[found.unwrap()].lines().last().unwrap().to_owned()
        };
        let task = at(|event| matches!(event, Event::Host(HostEvent::TaskStarted { .. })));
        let wanted = "web (phase 4 of 9) task 1 of about 41: web : Install Python";
        assert!(task.contains(wanted), "{task}");
        assert!(task.trim_end().ends_with("0 s (0 s in all)"), "{task}");
        let capture = at(|event| {
            matches!(
                event,
                Event::PhaseProgress {
                    percent: Some(60),
                    ..
                }
            )
        });
        let wanted = "web (phase 6 of 9) capture: snap-0abc is pending 60 %";
        assert!(capture.contains(wanted), "{capture}");
    }

    #[test]
    fn only_the_slowest_tasks_are_remembered() {
        let target = ProgressDrawTarget::hidden();
        let mut live = Live::new(Paint(false), true, 0, target);
        let host = Arc::from("web1");
        for elapsed in [700, 900, 600, 1_000, 800, 1_100, 499, 500] {
            live.remember_slow(&host, 1, elapsed);
        }
        let times: Vec<u64> = live.slowest.iter().map(|(elapsed, _)| *elapsed).collect();
        assert_eq!(times, [1_100, 1_000, 900, 800, 700]);
    }

    #[test]
    fn what_changed_stays_and_the_bar_goes_with_the_last_phase() {
        let mut events = build();
        let report = |event| Report {
            event,
            ..events[0].clone()
        };
        let ended = report(Event::PhaseFinished {
            phase: Phase::Teardown,
            ok: true,
            elapsed_ms: 1,
            summary: None,
        });
        events.push(report(Event::started(Phase::Teardown)));
        events.push(ended);
        let screens = screens(&events);
        let last = screens.last().unwrap();
        assert!(
            last.contains("changed: [web] web : Install Python (31 s)"),
            "{last}"
        );
        assert!(!last.contains("of 9)"), "{last}");
    }
}
