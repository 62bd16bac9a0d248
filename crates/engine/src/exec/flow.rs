//! The walk over everything that runs: entries, plays, sections, roles, blocks, what tasks include, and
//! the flush of handlers. The only recursion of a run; it applies what tasks leave to be done.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::{Event, Recap};

use super::checkpoint::Begun;
use super::convert;
use super::effects::{Effects, Flow, Loaded};
use super::handlers::Handlers;
use super::model::{Block, Enclosing, Keywords, Node, Play, Task};
use super::options::{Entry, Interruption};
use super::role::Role;
use super::run::{FAILED_ELSEWHERE, Run, Stop};

impl Run<'_> {
    /// Runs every entry until one fails, from where a reboot interrupted it if one did, and tells the recap.
    pub(super) fn run(&self, from: Option<&Interruption>) -> Recap {
        super::magic::set(self);
        let begun = from.map_or(Ok(()), |from| self.take_over(from));
        let error = begun.and_then(|()| self.entries()).err();
        let error = error.map(|stop| stop.said);
        let recap = self.recap.get();
        self.keep_facts();
        let elsewhere = error.as_deref() == Some(FAILED_ELSEWHERE);
        self.emit(Event::Finished {
            recap,
            error,
            elsewhere,
        });
        recap
    }

    fn entries(&self) -> Result<(), Stop> {
        let from = self.play_number.get();
        for (number, entry) in self.project.entries.iter().enumerate().skip(from.0) {
            let (dir, vars) = match entry {
                Entry::Playbook { path, vars } | Entry::Tasks { path, vars, .. } => {
                    (path.parent(), vars)
                }
                Entry::Role { path, vars } => (path.parent().and_then(Path::parent), vars),
            };
            super::magic::enter(self, dir.unwrap_or(Path::new("/")), vars);
            let passed = if number == from.0 { from.1 } else { 0 };
            let first = usize::try_from(self.options.first_play).unwrap_or(usize::MAX);
            let passed = passed.max(first);
            for (at, play) in convert::plays(self, entry)?.iter().enumerate().skip(passed) {
                self.play_number.set((number, at));
                if let Entry::Playbook { .. } = entry {
                    super::magic::stand_in(self, Path::new(&play.place.file));
                }
                // Only runs of one playbook are together with those of other hosts.
                let number = u32::try_from(at).unwrap_or(u32::MAX);
                self.plays.set(number.saturating_add(1));
                let flow = self.play(play, number)?;
                if self.is_going_back() && flow != Flow::Cancelled {
                    return Err(Self::lost());
                }
                match flow {
                    Flow::Next | Flow::EndPlay | Flow::EndRole(_) => {}
                    Flow::Failed if !self.recap.get().has_failed() => {
                        return Err(Stop::new(FAILED_ELSEWHERE.to_owned()));
                    }
                    Flow::Failed | Flow::Cancelled => return Ok(()),
                }
            }
        }
        self.tell_end(self.plays.get())
    }

    fn play(&self, play: &Play, number: u32) -> Result<Flow, Stop> {
        self.at.replace(play.place.clone());
        self.trail.borrow_mut().begin_play();
        if !self.is_going_back() {
            self.begun.replace(Begun {
                gathered: self.gathered.get(),
                start_at: self.start_at.borrow().clone(),
            });
        }
        let outside = Self::surroundings(play);
        let name = self.play_name(play, &outside);
        super::magic::begin_play(self, &name);
        let play_vars: Dict = play.keywords.vars.clone();
        self.vars.play.clear();
        for (key, value) in play_vars.entries() {
            self.vars.play.insert(key, value);
        }
        self.vars.play_files.clear();
        self.vars.play_roles.borrow_mut().clear();
        self.completed.borrow_mut().clear();
        self.take_prompted(play, &outside)?;
        super::magic::take_strategy(self, play, &outside)?;
        let (mut hosts, turn) = self.await_turn(number, play, &outside)?;
        if turn != Flow::Next || !hosts.ours {
            return Ok(turn);
        }
        let batches = self.batches(play, &hosts.all, &outside)?;
        let (batch, turn) = self.await_batch(number, &batches, &mut hosts)?;
        if turn != Flow::Next {
            return Ok(turn);
        }
        super::magic::set_play_hosts(self, &hosts);
        self.emit(Event::PlayStarted { name });
        super::files::load_vars_files(self, play, &outside)?;
        let roles = super::roles::load_all(self, play, &outside)?;
        let public = roles.iter().filter(|role| role.public).cloned();
        self.vars.play_roles.replace(public.collect());
        super::magic::role_names(self, &roles);
        self.handlers.replace(Handlers::default());
        self.imports.borrow_mut().clear();
        self.join_play(play, &roles, &outside)?;
        self.at_part(batch, || self.sections(play, &roles, &outside))
    }

    /// Gathers facts, then runs the sections, each with its flush of handlers.
    fn sections(
        &self,
        play: &Play,
        roles: &[Rc<Role>],
        enclosing: &Rc<Enclosing>,
    ) -> Result<Flow, Stop> {
        let mut opening = match self.is_passed_over(play, roles, enclosing)? {
            true => Flow::Next,
            false => self.at_part(0, || self.gather(play, enclosing))?,
        };
        if opening == Flow::Next {
            opening = self.at_part(1, || self.check_play(play, enclosing))?;
        }
        if opening != Flow::Next {
            return Ok(opening);
        }
        let forced = match &play.force_handlers {
            said @ Some(_) => self.is_true(said.as_ref(), enclosing)?,
            None => self.options.force_handlers,
        };
        let first = || self.nodes(&play.pre_tasks, enclosing);
        let second = || {
            for (number, role) in roles.iter().enumerate() {
                match self.at_part(number, || self.role(role, enclosing))? {
                    Flow::Next => {}
                    other => return Ok(other),
                }
            }
            self.at_part(roles.len(), || self.nodes(&play.tasks, enclosing))
        };
        let third = || self.nodes(&play.post_tasks, enclosing);
        let sections: [&dyn Fn() -> Result<Flow, Stop>; 3] = [&first, &second, &third];
        for (section, number) in sections.into_iter().zip(1..) {
            let flow = self.at_part(2 * number, section)?;
            let wanted = flow == Flow::Next || (forced && flow == Flow::Failed);
            let flushed = match wanted {
                true => self.at_part(2 * number + 1, || self.flush())?,
                false => Flow::Next,
            };
            match (flow, flushed) {
                (Flow::Next, Flow::Next) => {}
                (Flow::Next, other) | (other, _) => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    /// Returns whether `--start-at-task` passes over a whole play.
    fn is_passed_over(
        &self,
        play: &Play,
        roles: &[Rc<Role>],
        enclosing: &Rc<Enclosing>,
    ) -> Result<bool, Stop> {
        let Some(wanted) = self.start_at.borrow().clone() else {
            return Ok(false);
        };
        for role in roles {
            if self.role_names_start(role, enclosing, &wanted)? {
                return Ok(false);
            }
        }
        for nodes in [&play.pre_tasks, &play.tasks, &play.post_tasks] {
            if self.names_start(nodes, enclosing, &wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn gather(&self, play: &Play, enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let Some(task) = self.gathering(play, enclosing)? else {
            return Ok(Flow::Next);
        };
        // `--start-at-task` passes it over no more than Ansible does.
        let start_at = self.start_at.take();
        let flow = self.step(&task, enclosing, false);
        self.start_at.replace(start_at);
        flow
    }

    /// Checks the play's variables against its argument spec, if it asks for that.
    fn check_play(&self, play: &Play, enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        match self.play_validation(play, enclosing)? {
            Some(task) => self.step(&task, enclosing, false),
            None => Ok(Flow::Next),
        }
    }

    fn surroundings(play: &Play) -> Rc<Enclosing> {
        Rc::new(Enclosing {
            parent: None,
            keywords: Keywords {
                name: None,
                ..play.keywords.clone()
            },
            role: None,
            include_params: Dict::new(),
            dynamic: false,
            folder: Path::new(&play.place.file)
                .parent()
                .map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
        })
    }

    fn play_name(&self, play: &Play, enclosing: &Rc<Enclosing>) -> String {
        let scope = self.vars.scope(enclosing, None);
        let hidden = play.keywords.no_log.as_ref();
        if hidden.is_some_and(|value| {
            self.boolean("no_log", value, &scope, enclosing)
                .unwrap_or(true)
        }) && let Some(name) = &play.keywords.name
        {
            return name.to_string();
        }
        let shown = play.keywords.name.as_ref().unwrap_or(&play.hosts);
        match shown {
            Value::List(hosts) => {
                let hosts = hosts.items();
                hosts
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(",")
            }
            one => self.text_or_raw(one, &scope, enclosing),
        }
    }

    /// Runs a role: what it depends on first, then its tasks.
    fn role(&self, role: &Rc<Role>, enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let inner = super::roles::surroundings(role, enclosing);
        for (number, dependency) in role.dependencies.iter().enumerate() {
            match self.at_part(number, || self.role(dependency, &inner))? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        if !role.allow_duplicates && self.completed.borrow().contains(&role.identity) {
            return Ok(Flow::Next);
        }
        let after = role.dependencies.len();
        let flow = self.at_part(after, || self.nodes(&role.tasks, &inner))?;
        if role.ran.get() {
            self.completed.borrow_mut().insert(role.identity.clone());
        }
        Ok(match flow {
            Flow::EndRole(which) if which == role.identity => Flow::Next,
            other => other,
        })
    }

    /// Runs tasks and blocks in order.
    fn nodes(&self, nodes: &[Node], enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        for (number, node) in nodes.iter().enumerate() {
            let flow = self.at_part(number, || match node {
                Node::Task(task) => self.step(task, enclosing, false),
                Node::Block(block) => self.block(block, enclosing),
            })?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// Runs a task or handler, and does what it leaves to be done.
    fn step(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
        handler: bool,
    ) -> Result<Flow, Stop> {
        let effects = match self.passed(task, enclosing)? {
            Some(effects) => effects,
            None => self.run_task(task, enclosing, handler)?,
        };
        self.apply(task, effects)
    }

    fn run_task(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
        handler: bool,
    ) -> Result<Effects, Stop> {
        let is_behind = self.trail.borrow().is_behind();
        let done = self.task(task, enclosing, handler);
        if let Some(stop) = self.broken.take() {
            return Err(stop);
        }
        if is_behind {
            return done; // an import, which stands where it stood
        }
        let goes_on = |effects: &Effects| effects.flow != Flow::Cancelled;
        if done.as_ref().is_ok_and(goes_on) && self.is_going_back() {
            return Err(Self::lost()); // it did not come to what reboots
        }
        let mut effects = self.share_failure(task, enclosing, done)?;
        self.mark_task(task, enclosing, &mut effects);
        Ok(effects)
    }

    fn apply(&self, task: &Task, effects: Effects) -> Result<Flow, Stop> {
        for new in &effects.vars {
            match &new.host {
                Some(host) => self.take_for(host, new)?,
                None => self.take(new),
            }
        }
        for (name, value) in effects.set {
            self.vars.set.set(&name, value);
        }
        self.notify(&effects.notify)
            .map_err(|stop| match effects.hidden {
                true => Stop::hidden(&task.place),
                false => stop,
            })?;
        if effects.flush {
            return self.flush();
        }
        match self.run_all(&effects.walk)? {
            Flow::Next => Ok(effects.flow),
            other => Ok(other),
        }
    }

    fn run_all(&self, all: &[Loaded]) -> Result<Flow, Stop> {
        for (number, loaded) in all.iter().enumerate() {
            let flow = self.at_part(number, || self.run_loaded(loaded))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// Runs what was included, or imported.
    fn run_loaded(&self, loaded: &Loaded) -> Result<Flow, Stop> {
        let flow = match loaded {
            Loaded::Tasks(nodes, enclosing) => {
                self.join_imports(nodes, enclosing)?;
                self.nodes(nodes, enclosing)
            }
            Loaded::Role(role, enclosing) => {
                if !self.imports.borrow().brought(role) {
                    self.join_role(role, enclosing)?;
                }
                self.role(role, enclosing)
            }
        };
        self.stranded.take();
        flow
    }

    fn block(&self, block: &Block, enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let inner = enclosing.inner(block.keywords.clone());
        // Without a task that the tags select, Ansible takes the block for one without `rescue`.
        let rescues = u32::from(self.selects_any(&block.rescue, &inner)?);
        self.rescuers.set(self.rescuers.get() + rescues);
        let flow = self.at_part(0, || self.nodes(&block.tasks, &inner));
        self.rescuers.set(self.rescuers.get() - rescues);
        let mut flow = flow?;
        if flow == Flow::Failed && rescues > 0 {
            flow = self.at_part(1, || self.after_stranded(&block.rescue, &inner))?;
        }
        if !matches!(flow, Flow::Next | Flow::Failed) {
            return Ok(flow);
        }
        let before = self.cleared.replace(false);
        let always = self.at_part(2, || self.after_stranded(&block.always, &inner));
        let cleared = self.cleared.replace(before);
        self.stranded.take();
        Ok(match always? {
            Flow::Next if cleared => Flow::Next,
            Flow::Next => flow,
            other => other,
        })
    }

    /// Runs a rescue or `always`, after what a loop of includes right in this block could read and not run, since it could
    /// not read all: Ansible adds that to where a host is once the loop has failed.
    fn after_stranded(&self, nodes: &[Node], enclosing: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let stranded = match nodes {
            [] => Vec::new(),
            _ => self.stranded.take(),
        };
        match self.at_part(nodes.len(), || self.run_all(&stranded))? {
            Flow::Next => self.nodes(nodes, enclosing),
            other => Ok(other),
        }
    }

    /// Runs every handler that is notified, once, in the order they are defined.
    fn flush(&self) -> Result<Flow, Stop> {
        let waiting = self.handlers.borrow_mut().take_waiting();
        for name in &waiting {
            let found = self.find_handlers(name);
            self.handlers.borrow_mut().mark(&found);
        }
        self.handlers.borrow_mut().set_flushing(true);
        let flow = self.run_notified();
        self.handlers.borrow_mut().set_flushing(false);
        flow
    }

    fn run_notified(&self) -> Result<Flow, Stop> {
        let mut from = 0;
        loop {
            let next = self.next_handler(from)?;
            let Some((handler, after)) = next else {
                return Ok(Flow::Next);
            };
            from = after;
            let flow = self.at_part(from, || self.step(&handler.task, &handler.enclosing, true))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
    }
}
