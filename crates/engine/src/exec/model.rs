//! Plays, blocks and tasks in the shape the executor walks: shared, and with every keyword that
//! is inherited in one place. Made from the syntax tree by [`super::convert`].

use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Place;

/// Keywords that plays, roles, blocks and tasks share. `None` and empty mean "as around it".
#[derive(Clone, Default)]
pub(super) struct Keywords {
    pub(super) name: Option<Value>,
    pub(super) when: Vec<Value>,
    pub(super) tags: Vec<Value>,
    pub(super) vars: Dict,
    pub(super) environment: Vec<Value>,
    pub(super) module_defaults: Vec<Value>,
    pub(super) become_: Option<Value>,
    pub(super) become_user: Option<Value>,
    pub(super) become_method: Option<Value>,
    pub(super) remote_user: Option<Value>,
    pub(super) check_mode: Option<Value>,
    pub(super) diff: Option<Value>,
    pub(super) ignore_errors: Option<Value>,
    pub(super) ignore_unreachable: Option<Value>,
    pub(super) any_errors_fatal: Option<Value>,
    pub(super) no_log: Option<Value>,
    pub(super) delegate_to: Option<Value>,
    pub(super) delegate_facts: Option<Value>,
    pub(super) run_once: Option<Value>,
    pub(super) throttle: Option<Value>,
    pub(super) timeout: Option<Value>,
    pub(super) collections: Vec<Value>,
    pub(super) notify: Vec<Value>,
}

impl Keywords {
    /// Sets the keyword called `name`, if it is one of these.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let single = match name {
            "become" => &mut self.become_,
            "become_user" => &mut self.become_user,
            "become_method" => &mut self.become_method,
            "remote_user" | "user" => &mut self.remote_user,
            "check_mode" => &mut self.check_mode,
            "diff" => &mut self.diff,
            "ignore_errors" => &mut self.ignore_errors,
            "ignore_unreachable" => &mut self.ignore_unreachable,
            "any_errors_fatal" => &mut self.any_errors_fatal,
            "no_log" => &mut self.no_log,
            "delegate_to" => &mut self.delegate_to,
            "delegate_facts" => &mut self.delegate_facts,
            "run_once" => &mut self.run_once,
            "throttle" => &mut self.throttle,
            "timeout" => &mut self.timeout,
            "name" => {
                self.name = Some(value).filter(|name| !matches!(name, Value::None));
                return;
            }
            "vars" => {
                self.vars = value.as_dict().cloned().unwrap_or_default();
                return;
            }
            _ => return self.set_list(name, value),
        };
        *single = Some(value);
    }

    fn set_list(&mut self, name: &str, value: Value) {
        let list = match name {
            "when" => &mut self.when,
            "tags" => &mut self.tags,
            "environment" => &mut self.environment,
            "module_defaults" => &mut self.module_defaults,
            "collections" => &mut self.collections,
            "notify" => &mut self.notify,
            _ => return,
        };
        *list = listed(value);
    }
}

/// Returns the items of a list, or the one value; nothing for null.
pub(super) fn listed(value: Value) -> Vec<Value> {
    match value {
        Value::None => Vec::new(),
        Value::List(list) => list.items(),
        one => vec![one],
    }
}

/// A loop: `loop`, or `with_` something.
#[derive(Clone)]
pub(super) struct Loop {
    /// The lookup of `with_*`; `None` for `loop`.
    pub(super) lookup: Option<String>,
    /// What is looped over.
    pub(super) over: Value,
    /// `loop_control`, as written.
    pub(super) control: Dict,
}

/// One task or handler.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) keywords: Keywords,
    /// The module as written.
    pub(super) action: String,
    /// Its parameters; free-form text stands under `_raw_params`.
    pub(super) args: Dict,
    /// A template that yields more parameters, which those named win over.
    pub(super) more_args: Option<Value>,
    pub(super) register: Option<String>,
    pub(super) looping: Option<Loop>,
    pub(super) until: Vec<Value>,
    pub(super) retries: Option<Value>,
    pub(super) delay: Option<Value>,
    pub(super) changed_when: Vec<Value>,
    pub(super) failed_when: Vec<Value>,
    pub(super) listen: Vec<Value>,
    pub(super) asynchronous: Option<Value>,
    pub(super) poll: Option<Value>,
    /// Why it fails when it is reached: it asks for what is not here.
    pub(super) refused: Option<String>,
    pub(super) place: Place,
}

impl Task {
    /// Returns a task without arguments or keywords.
    pub(super) fn new(action: &str, place: Place) -> Self {
        Self {
            keywords: Keywords::default(),
            action: action.to_owned(),
            args: Dict::new(),
            more_args: None,
            register: None,
            looping: None,
            until: Vec::new(),
            retries: None,
            delay: None,
            changed_when: Vec::new(),
            failed_when: Vec::new(),
            listen: Vec::new(),
            asynchronous: None,
            poll: None,
            refused: None,
            place,
        }
    }
}

/// A block with its rescue and always sections.
#[derive(Clone, Default)]
pub(super) struct Block {
    pub(super) keywords: Keywords,
    pub(super) tasks: Vec<Node>,
    pub(super) rescue: Vec<Node>,
    pub(super) always: Vec<Node>,
}

/// What a list of tasks holds.
#[derive(Clone)]
pub(super) enum Node {
    Task(Rc<Task>),
    Block(Rc<Block>),
}

/// A role as a play or a `meta/main.yml` names it.
#[derive(Clone)]
pub(super) struct RoleUse {
    /// Its name or path.
    pub(super) name: Value,
    /// Its keywords; their `vars` rank with the role's own variables.
    pub(super) keywords: Keywords,
    /// Its other keys: role parameters.
    pub(super) params: Dict,
    pub(super) place: Place,
}

/// A play.
#[derive(Clone)]
pub(super) struct Play {
    pub(super) keywords: Keywords,
    pub(super) hosts: Value,
    pub(super) gather_facts: Option<Value>,
    pub(super) gather_subset: Option<Value>,
    pub(super) gather_timeout: Option<Value>,
    pub(super) fact_path: Option<Value>,
    pub(super) vars_files: Vec<Value>,
    pub(super) force_handlers: Option<Value>,
    pub(super) strategy: Option<Value>,
    pub(super) serial: Option<Value>,
    pub(super) order: Option<Value>,
    /// `vars_prompt`.
    pub(super) prompts: Vec<Value>,
    /// `validate_argspec`: the spec's name, or whether the play's is it.
    pub(super) argument_spec: Option<Value>,
    pub(super) pre_tasks: Vec<Node>,
    pub(super) roles: Vec<RoleUse>,
    pub(super) tasks: Vec<Node>,
    pub(super) post_tasks: Vec<Node>,
    pub(super) handlers: Vec<Node>,
    pub(super) place: Place,
}

/// What stands around a task, innermost first: blocks, includes, its role, the play.
pub(super) struct Enclosing {
    pub(super) parent: Option<Rc<Enclosing>>,
    pub(super) keywords: Keywords,
    /// The role whose tasks these are.
    pub(super) role: Option<Rc<super::role::Role>>,
    /// Parameters of an `include_tasks` or `include_role`: they rank near the top.
    pub(super) include_params: Dict,
    /// Whether this is a dynamic include, which hands down variables only.
    pub(super) dynamic: bool,
    /// The folder of the file that the tasks stand in.
    pub(super) folder: std::path::PathBuf,
}

impl Enclosing {
    /// Walks from here outwards.
    pub(super) fn chain(self: &Rc<Self>) -> impl Iterator<Item = Rc<Enclosing>> {
        std::iter::successors(Some(Rc::clone(self)), |enclosing| enclosing.parent.clone())
    }

    /// Returns the values of a keyword, the task's own first.
    pub(super) fn levels<T>(
        self: &Rc<Self>,
        own: &Keywords,
        pick: impl Fn(&Keywords) -> Option<T>,
    ) -> Vec<T> {
        let around = self.chain().filter(|enclosing| !enclosing.dynamic);
        let around = around.filter_map(|enclosing| pick(&enclosing.keywords));
        pick(own).into_iter().chain(around).collect()
    }

    /// Returns a keyword's values from the play inwards, the task's own last.
    pub(super) fn gathered(
        self: &Rc<Self>,
        own: &Keywords,
        pick: impl Fn(&Keywords) -> &Vec<Value>,
    ) -> Vec<Value> {
        let mut levels: Vec<Vec<Value>> = self
            .chain()
            .filter(|enclosing| !enclosing.dynamic)
            .map(|enclosing| pick(&enclosing.keywords).clone())
            .collect();
        levels.reverse();
        levels.push(pick(own).clone());
        levels.concat()
    }

    /// Returns the surroundings of what stands inside `keywords` here.
    pub(super) fn inner(self: &Rc<Self>, keywords: Keywords) -> Rc<Self> {
        Rc::new(Self {
            parent: Some(Rc::clone(self)),
            keywords,
            role: self.role.clone(),
            include_params: Dict::new(),
            dynamic: false,
            folder: self.folder.clone(),
        })
    }
}
