//! A run that a reboot interrupts tells what it knows and where it is, and the run that goes on comes back to it.

use std::rc::Rc;
use std::time::Duration;

use amibake_playbook::names::bare;

use super::checkpoint::{Checkpoint, Interrupted, KeptVars, Progress, Since};
use super::effects::Effects;
use super::handlers::Handler;
use super::magic;
use super::model::{Enclosing, Task};
use super::options::Interruption;
use super::run::{Run, Stop};
use super::trail::{Mark, TaskMark, Trail};

fn is_import(task: &Task) -> bool {
    matches!(bare(&task.action), "import_tasks" | "import_role")
}

impl Run<'_> {
    /// Returns what the run is at, for whoever goes on with it.
    pub(super) fn checkpoint(&self, boot_time: &str) -> Result<Vec<u8>, serde_json::Error> {
        let vars = &self.vars;
        let checkpoint = Checkpoint {
            play: self.play_number.get(),
            way: self.trail.borrow().marks().to_vec(),
            vars: KeptVars {
                facts: vars.facts.clone(),
                injected: vars.injected.clone(),
                included: vars.included.clone(),
                set: vars.set.clone(),
                play: vars.play.clone(),
            },
            module_facts: self.module_facts.borrow().clone(),
            grouping: self.grouping.borrow().clone(),
            added: self.added.borrow().clone(),
            recap: self.recap.get(),
            index: self.index.get().saturating_sub(1),
            stepping: self.stepping.get(),
            begun: self.begun.borrow().clone(),
            gathered: self.gathered.get(),
            handlers: self.handlers.borrow().waiting(),
            progress: self.progress.borrow().clone(),
            boot_time: boot_time.to_owned(),
        };
        serde_json::to_vec(&checkpoint)
    }

    /// Takes over what an interrupted run knew; where it was is found by the walk.
    pub(super) fn take_over(&self, from: &Interruption) -> Result<(), Stop> {
        let checkpoint: Result<Checkpoint, _> = serde_json::from_slice(&from.checkpoint);
        let mut checkpoint = checkpoint
            .map_err(|e| Stop::new(format!("what the run was at cannot be read: {e}")))?;
        let (ours, kept) = (&self.vars, &checkpoint.vars);
        for (level, with) in [
            (&ours.facts, &kept.facts),
            (&ours.injected, &kept.injected),
            (&ours.included, &kept.included),
            (&ours.set, &kept.set),
        ] {
            super::vars::fill(level, with);
        }
        self.module_facts.replace(checkpoint.module_facts.clone());
        self.grouping.replace(checkpoint.grouping.clone());
        self.added.replace(checkpoint.added.clone());
        magic::set_groups(self);
        let begun = checkpoint.begun.clone();
        self.gathered.set(begun.gathered);
        self.start_at.replace(begun.start_at.clone());
        self.begun.replace(begun);
        self.play_number.set(checkpoint.play);
        self.trail
            .replace(Trail::again(std::mem::take(&mut checkpoint.way)));
        self.interrupted.replace(Some(Interrupted {
            checkpoint,
            since: Since::ago(from.ago),
        }));
        Ok(())
    }

    /// Makes the rest as it was, now that the walk is where it was. The task itself is still to be gone into.
    pub(super) fn arrive(&self) {
        let interrupted = self.interrupted.borrow();
        let Some(Interrupted { checkpoint, .. }) = interrupted.as_ref() else {
            return;
        };
        self.vars.play.clear();
        super::vars::fill(&self.vars.play, &checkpoint.vars.play);
        self.recap.set(checkpoint.recap);
        self.index.set(checkpoint.index);
        self.stepping.set(checkpoint.stepping);
        self.gathered.set(checkpoint.gathered);
        self.start_at.replace(None);
        self.handlers.borrow_mut().wait_again(&checkpoint.handlers);
        self.progress.replace(checkpoint.progress.clone());
    }

    /// Returns whether the run is on its way to where it was: nothing of that is told again.
    pub(super) fn is_going_back(&self) -> bool {
        self.interrupted.borrow().is_some()
    }

    /// Returns how long the task at hand was at it before a reboot.
    pub(super) fn time_before_reboot(&self) -> Duration {
        let interrupted = self.interrupted.borrow();
        interrupted
            .as_ref()
            .map_or(Duration::ZERO, |before| before.since.elapsed())
    }

    /// Begins to note how far a task is, unless that is known from before a reboot.
    pub(super) fn begin_progress(&self) {
        if !self.is_going_back() {
            self.progress.replace(Progress::default());
        }
    }

    /// Notes how far a task is, if it may reboot the machine.
    pub(super) fn note_progress(&self, task: &Task, note: impl FnOnce(&mut Progress)) {
        if bare(&task.action) == "reboot" {
            note(&mut self.progress.borrow_mut());
        }
    }

    /// Returns why a walk does not come to where it was.
    pub(super) fn lost() -> Stop {
        Stop::new(
            "the machine was rebooted, and what the playbook includes is another now".to_owned(),
        )
    }

    /// Returns what a task came to before the reboot. Once there is none, the run is where it was. What
    /// imports bring is read anew.
    pub(super) fn passed(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Option<Effects>, Stop> {
        if is_import(task) || !self.trail.borrow().is_behind() {
            return Ok(None);
        }
        let mark = match self.trail.borrow_mut().pass() {
            None => {
                self.arrive();
                return Ok(None);
            }
            Some(Mark::Task(mark)) if mark.line == task.place.line => mark,
            Some(Mark::Task(_) | Mark::Handler(_)) => return Err(Self::lost()),
        };
        if let Some(role) = enclosing.role.as_ref().filter(|_| mark.ran) {
            role.ran.set(true);
        }
        self.cleared.set(mark.cleared);
        let read = mark.found.into_iter();
        let read = read.map(|found| Ok(self.load(task, enclosing, found)?.0));
        Ok(Some(Effects {
            flow: mark.flow,
            flush: mark.flush,
            walk: read.collect::<Result<_, Stop>>()?,
            ..Effects::default()
        }))
    }

    /// Notes what a task came to.
    pub(super) fn mark_task(&self, task: &Task, enclosing: &Enclosing, effects: &mut Effects) {
        if is_import(task) {
            return;
        }
        self.trail.borrow_mut().add(Mark::Task(TaskMark {
            line: task.place.line,
            flow: effects.flow.clone(),
            flush: effects.flush,
            cleared: self.cleared.get(),
            ran: enclosing.role.as_ref().is_some_and(|role| role.ran.get()),
            found: std::mem::take(&mut effects.found),
        }));
    }

    /// Returns the next handler that a flush runs, from `at` on, and where to go on from.
    pub(super) fn next_handler(&self, at: usize) -> Result<Option<(Handler, usize)>, Stop> {
        let mut trail = self.trail.borrow_mut();
        if !trail.is_behind() {
            let next = self.handlers.borrow_mut().next_notified(at);
            let place = next.as_ref().map(|(_, after)| after - 1);
            trail.add(Mark::Handler(place));
            return Ok(next);
        }
        let Some(Mark::Handler(place)) = trail.pass() else {
            return Err(Self::lost());
        };
        let handlers = self.handlers.borrow();
        let handler = |at: usize| {
            let handler = handlers.all().get(at).ok_or_else(Self::lost)?;
            Ok((handler.clone(), at + 1))
        };
        place.map(handler).transpose()
    }
}
