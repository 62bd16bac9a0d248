//! Several hosts go from play to play together, as with Ansible: the controller says when the next one begins.
//! Within a play each host runs by itself, but for the tasks whose failure is everybody's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use amibake_playbook::hosts::{self, Matched, PatternError};
use amibake_playbook::value::Value;
use amibake_protocol::ask::{Ask, Turn};
use amibake_protocol::job::ImplicitLocalhost;

use super::effects::{Effects, Flow};
use super::eval;
use super::magic::groups;
use super::model::{Enclosing, Keywords, Play, Task};
use super::play_hosts::PlayHosts;
use super::run::{Run, Stop};

impl Run<'_> {
    /// Returns whom a play's `hosts` name.
    pub(super) fn hosts_of(
        &self,
        play: &Play,
        enclosing: &Rc<Enclosing>,
    ) -> Result<PlayHosts, Stop> {
        let options = self.options;
        let own = &options.inventory_hostname;
        let scope = self.vars.scope_of_play();
        let hosts = self.render(&play.hosts, &scope, enclosing);
        if self.means_all_hosts() && options.localhost == ImplicitLocalhost::Absent {
            let patterns = hosts.map_or_else(|_| Vec::new(), |hosts| eval::texts(&hosts));
            let grouping = self.grouping.borrow();
            let ours = !grouping.leaves_out(&patterns);
            let all = match options.together.is_empty() {
                true => vec![own.clone()],
                false => options.together.clone(),
            };
            return Ok(PlayHosts::new(ours, self.in_order(play, all, enclosing)?));
        }
        let hosts = hosts.map_err(|e| Stop::new(e.to_string()))?;
        let matched = self.matched(&eval::texts(&hosts))?;
        // What is written plainly was judged before the run; a template is judged here.
        if matched.controller && !options.limited && options.localhost == ImplicitLocalhost::Absent
        {
            return Err(Stop::new(format!(
                "{}:{}: a play for `localhost` is not supported where a template that needs more than extra variables names it",
                play.place.file, play.place.line
            )));
        }
        let mut all = matched.hosts;
        if matched.controller && !options.limited {
            all.push(hosts::LOCALHOST.to_owned());
        }
        let added = self.added.borrow();
        let takes_part = |name: &String| {
            name == own || options.together.contains(name) || added.get(name).is_some()
        };
        all.retain(takes_part);
        let all = self.in_order(play, all, enclosing)?;
        let ours = match options.localhost {
            ImplicitLocalhost::This => matched.controller && !options.limited,
            ImplicitLocalhost::Absent | ImplicitLocalhost::Beside => all.contains(own),
        };
        Ok(PlayHosts::new(ours, all))
    }

    /// Returns hosts in the order that a play asks for.
    fn in_order(
        &self,
        play: &Play,
        mut hosts: Vec<String>,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Vec<String>, Stop> {
        let Some(order) = &play.order else {
            return Ok(hosts);
        };
        let order = self.render(order, &self.vars.scope_of_play(), enclosing);
        let order = order.map_err(|e| Stop::new(e.to_string()))?;
        if matches!(order, Value::None | Value::Omit) {
            return Ok(hosts);
        }
        match order.to_string().as_str() {
            "inventory" => {}
            "reverse_inventory" => hosts.reverse(),
            "sorted" => hosts.sort(),
            "reverse_sorted" => hosts.sort_by(|a, b| b.cmp(a)),
            // All hosts come to the same order.
            "shuffle" => hosts.sort_by_key(|host| {
                let mut hasher = DefaultHasher::new();
                (self.options.shuffle_seed, host).hash(&mut hasher);
                hasher.finish()
            }),
            other => {
                let place = &play.place;
                return Err(Stop::new(format!(
                    "{}:{}: Invalid 'order' specified for inventory hosts: {other}",
                    place.file, place.line
                )));
            }
        }
        Ok(hosts)
    }

    /// Returns whether every name that is not `localhost` means the hosts that were named without an inventory. Where
    /// the run itself has made one, names are its.
    fn means_all_hosts(&self) -> bool {
        let has_own = self.options.local && !self.added.borrow().is_empty();
        self.options.every_play && !has_own
    }

    /// Returns which hosts patterns name. Without an inventory, all but `localhost` are the hosts there are.
    pub(super) fn matched(&self, patterns: &[String]) -> Result<Matched, Stop> {
        if !self.means_all_hosts() {
            return hosts::matching(&groups(self), patterns).map_err(|e| Stop::new(told(&e)));
        }
        let (controller, elsewhere) = hosts::kinds(patterns);
        let known = groups(self).remove("all").unwrap_or_default();
        Ok(Matched {
            hosts: if elsewhere { known } else { Vec::new() },
            controller,
            in_vain: Vec::new(),
        })
    }

    /// Waits until the other hosts have come as far as to the play of this number. Returns whom it is for, which what
    /// they have told may change.
    pub(super) fn await_turn(
        &self,
        number: u32,
        play: &Play,
        enclosing: &Rc<Enclosing>,
    ) -> Result<(PlayHosts, Flow), Stop> {
        let mut hosts = self.hosts_of(play, enclosing)?;
        if self.options.together.is_empty() {
            return Ok((hosts, Flow::Next));
        }
        loop {
            let took_part = hosts.ours;
            let Some(turn) = self.ask_turn(number, None, took_part)? else {
                return Ok((hosts, Flow::Cancelled));
            };
            if self.hear(&turn.news) {
                hosts = self.hosts_of(play, enclosing)?;
                if hosts.ours != took_part {
                    continue;
                }
            }
            hosts.lose(&turn.gone);
            let flow = match turn.goes_on {
                true => Flow::Next,
                false => Flow::Cancelled,
            };
            return Ok((hosts, flow));
        }
    }

    /// Waits until the batches before this host's have gone through the play. Nothing follows one that failed as a
    /// whole, nor the end of the play for all.
    pub(super) fn await_batch(
        &self,
        play: u32,
        batches: &[Vec<String>],
        hosts: &mut PlayHosts,
    ) -> Result<(usize, Flow), Stop> {
        let own = &self.options.inventory_hostname;
        let batch = batches.iter().position(|batch| batch.contains(own));
        let batch = batch.unwrap_or_default();
        hosts.batch = batches.get(batch).cloned().unwrap_or_default();
        self.batch.replace(hosts.batch.clone());
        hosts.batch.retain(|host| hosts.living.contains(host));
        self.accompanied.set(hosts.batch.len() > 1);
        if batch == 0 {
            return Ok((batch, Flow::Next));
        }
        let began = hosts.living.clone();
        let Some(turn) = self.ask_turn(play, u32::try_from(batch).ok(), true)? else {
            return Ok((batch, Flow::Cancelled));
        };
        hosts.lose(&turn.gone);
        // One whose hosts had all failed before is passed over.
        let is_lost = |batch: &Vec<String>| {
            let mut began = batch.iter().filter(|host| began.contains(host)).peekable();
            began.peek().is_some() && began.all(|host| turn.gone.contains(host))
        };
        let flow = match () {
            () if turn.ended => Flow::EndPlay,
            () if !turn.goes_on || batches[..batch].iter().any(is_lost) => Flow::Cancelled,
            () => Flow::Next,
        };
        Ok((batch, flow))
    }

    /// Tells that the last play was ended for all, if it was: batches of it wait.
    pub(super) fn tell_end(&self, plays: u32) -> Result<(), Stop> {
        if self.ended.get().is_some() && !self.options.together.is_empty() {
            self.ask_turn(plays, None, false)?;
        }
        Ok(())
    }

    /// Asks the controller to go on. Nothing is that the run was cancelled meanwhile.
    fn ask_turn(
        &self,
        play: u32,
        batch: Option<u32>,
        takes_part: bool,
    ) -> Result<Option<Turn>, Stop> {
        self.ask_others(Ask::Turn {
            play,
            batch,
            takes_part,
            ended: self.ended.take(),
        })
    }
}

impl Run<'_> {
    /// Does something at a part of where the run is: all hosts number the parts alike.
    pub(super) fn at_part<T>(&self, part: usize, act: impl FnOnce() -> T) -> T {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        self.position.borrow_mut().push(part);
        let result = act();
        self.position.borrow_mut().pop();
        result
    }

    /// Makes a failure of the task on any host this host's, too, if the task says so.
    pub(super) fn share_failure(
        &self,
        task: &Task,
        enclosing: &Rc<Enclosing>,
        done: Result<Effects, Stop>,
    ) -> Result<Effects, Stop> {
        if !self.accompanied.get() || !self.fails_for_all(task, enclosing)? {
            return done;
        }
        let failed = match &done {
            Ok(effects) => effects.flow == Flow::Failed,
            Err(_) => true,
        };
        let ask = Ask::AnyError {
            play: self.plays.get().saturating_sub(1),
            at: self.position.borrow().clone(),
            failed,
        };
        let on_any = self.ask_others::<bool>(ask);
        let mut effects = done?;
        match on_any? {
            Some(true) if !failed => {
                effects.walk.clear();
                effects.found.clear();
                effects.flow = Flow::Failed;
            }
            Some(_) => {}
            None => effects.flow = Flow::Cancelled,
        }
        Ok(effects)
    }

    /// Returns whether `any_errors_fatal` holds for a task, and `ignore_errors` does not.
    fn fails_for_all(&self, task: &Task, enclosing: &Rc<Enclosing>) -> Result<bool, Stop> {
        let said = |pick: &dyn Fn(&Keywords) -> &Option<Value>| {
            let mut levels = enclosing
                .levels(&task.keywords, |keywords| pick(keywords).clone())
                .into_iter();
            self.is_true(levels.next().as_ref(), enclosing)
        };
        Ok(said(&|keywords| &keywords.any_errors_fatal)?
            && !said(&|keywords| &keywords.ignore_errors)?)
    }
}

pub(super) fn not_awaited(why: &str) -> Stop {
    Stop::new(format!("the other hosts cannot be waited for: {why}"))
}

fn told(error: &PatternError) -> String {
    match error {
        PatternError::Regex { source, .. } => format!("{error}: {source}"),
        PatternError::Subscript { .. } => error.to_string(),
    }
}
