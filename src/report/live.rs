//! The report on a terminal: what runs now moves at the bottom, what happened stays above it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use amibake_protocol::event::{Event as HostEvent, Status};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use terminal_size::{Width, terminal_size_of};

use super::plain::{Plain, phase_word};
use super::text::{self, Colour, Paint};
use crate::event::{Event, Report};

/// Tasks named as the slowest at the end.
const SLOWEST: usize = 5;

/// A task faster than this is nobody's concern.
const SLOW_MS: u64 = 500;

/// Characters of a host's or build's name at the front of its bar.
const NAME: usize = 24;

/// Bars for what runs, and lines for what stays.
pub(super) struct Live {
    bars: MultiProgress,
    running: HashMap<Arc<str>, ProgressBar>,
    plain: Plain,
    paint: Paint,
    utf8: bool,
    columns: usize,
    verbosity: u8,
    names: HashMap<(Arc<str>, u32), String>,
    done: HashMap<Arc<str>, u32>,
    slowest: Vec<(u64, String)>,
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
            names: HashMap::new(),
            done: HashMap::new(),
            slowest: Vec::new(),
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, report: &Report) {
        let about = &report.about;
        // The window may have been resized.
        if let Some((Width(columns), _)) = terminal_size_of(std::io::stderr()) {
            self.columns = columns.into();
            self.plain.fit(self.columns.saturating_sub(1));
        }
        match &report.event {
            Event::PhaseStarted { phase } => self.now(about, phase_word(*phase)),
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
            Event::Host(HostEvent::TaskStarted { index, name, .. }) => {
                let name = text::printable(name);
                self.now(about, &name);
                self.names.insert((Arc::clone(about), *index), name);
            }
            Event::Host(HostEvent::TaskFinished {
                index,
                status,
                elapsed_ms,
                ..
            }) => {
                self.task_ended(about, *index, *elapsed_ms);
                if matches!(status, Status::Changed | Status::Ok | Status::Skipped)
                    && self.verbosity == 0
                {
                    self.kept(report, about, *index, *status, *elapsed_ms);
                    return;
                }
            }
            Event::Host(HostEvent::Finished { .. }) | Event::HostUnreachable { .. } => {
                self.over(about);
            }
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
        for (_, bar) in self.running.drain() {
            bar.finish_and_clear();
        }
        let recap = self.plain.end();
        self.print(&recap);
        self.slowest
            .sort_by_key(|(elapsed, _)| std::cmp::Reverse(*elapsed));
        if !self.slowest.is_empty() {
            let mut text = String::from("slowest tasks:\n");
            let room = self.columns.saturating_sub(16).max(NAME);
            for (elapsed, name) in self.slowest.iter().take(SLOWEST) {
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
                            | HostEvent::ItemFinished {
                                status: Status::Ok | Status::Skipped,
                                ..
                            }
                    )
            )
    }

    /// Leaves one line for a task that changed something or talks; none for the others.
    fn kept(
        &mut self,
        report: &Report,
        about: &Arc<str>,
        index: u32,
        status: Status,
        elapsed: u64,
    ) {
        let text = self.plain.render(report);
        let name = self
            .names
            .remove(&(Arc::clone(about), index))
            .unwrap_or_default();
        // What `debug` says comes after its heading, below the line of the result.
        let talks = text.contains(" => {\n");
        if status == Status::Changed {
            let line = format!("changed: [{about}] {name}");
            let time = self
                .paint
                .paint(Colour::Dim, &format!("({})", text::seconds(elapsed)));
            let line = self.paint.paint(Colour::Yellow, &line);
            let diff = text.rsplit_once("\n\n").map_or("", |(diff, _)| diff);
            let diff = if diff.contains("@@") {
                format!("{diff}\n\n")
            } else {
                String::new()
            };
            self.print(&format!("{diff}{line} {time}\n"));
        } else if talks {
            self.print(&text);
        }
    }

    fn task_ended(&mut self, about: &Arc<str>, index: u32, elapsed_ms: u64) {
        *self.done.entry(Arc::clone(about)).or_default() += 1;
        if elapsed_ms >= SLOW_MS
            && let Some(name) = self.names.get(&(Arc::clone(about), index))
        {
            self.slowest.push((elapsed_ms, format!("{name} [{about}]")));
        }
    }

    /// Says what a host or a build is doing now; its clock starts anew.
    fn now(&mut self, about: &Arc<str>, doing: &str) {
        let done = self.done.get(about).copied().unwrap_or(0);
        let style = self.style();
        let bar = self.running.entry(Arc::clone(about)).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let count = if done > 0 {
            format!(" {done}")
        } else {
            String::new()
        };
        let name = text::shortened(&text::printable(about), NAME);
        let (prefix, doing) = (format!("{name}{count}"), doing.to_owned());
        let shown = |text: String| if self.utf8 { text } else { text::ascii(&text) };
        bar.set_prefix(shown(prefix));
        bar.set_message(shown(doing));
        bar.reset_elapsed();
    }

    fn style(&self) -> ProgressStyle {
        let template = match self.paint {
            Paint(true) => "{spinner} {prefix:.dim} {wide_msg} {elapsed:.dim}",
            Paint(false) => "{spinner} {prefix} {wide_msg} {elapsed}",
        };
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        match self.utf8 {
            true => style,
            false => style.tick_chars("-\\|/ "),
        }
    }

    fn over(&mut self, about: &Arc<str>) {
        if let Some(bar) = self.running.remove(about) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
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
