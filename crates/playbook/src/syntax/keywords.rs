//! Which keywords are valid where, as the classes of ansible-core 2.19 declare them.

/// What plays, roles, blocks and tasks share.
const COMMON: &[&str] = &[
    "any_errors_fatal",
    "become",
    "become_exe",
    "become_flags",
    "become_method",
    "become_user",
    "check_mode",
    "collections",
    "connection",
    "debugger",
    "diff",
    "environment",
    "ignore_errors",
    "ignore_unreachable",
    "module_defaults",
    "name",
    "no_log",
    "port",
    "remote_user",
    "run_once",
    "tags",
    "throttle",
    "timeout",
    "vars",
];

const PLAY: &[&str] = &[
    "fact_path",
    "force_handlers",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "handlers",
    "hosts",
    "max_fail_percentage",
    "order",
    "post_tasks",
    "pre_tasks",
    "roles",
    "serial",
    "strategy",
    "tasks",
    "user",
    "vars_files",
    "vars_prompt",
];

const BLOCK: &[&str] = &[
    "always",
    "block",
    "delegate_facts",
    "delegate_to",
    "notify",
    "rescue",
    "when",
];

const TASK: &[&str] = &[
    "action",
    "args",
    "async",
    "changed_when",
    "delay",
    "delegate_facts",
    "delegate_to",
    "failed_when",
    "local_action",
    "loop",
    "loop_control",
    "notify",
    "poll",
    "register",
    "retries",
    "until",
    "when",
];

const ROLE: &[&str] = &["delegate_facts", "delegate_to", "role", "when"];

const IMPORT_PLAYBOOK: &[&str] = &["import_playbook", "when"];

/// What `include_tasks` and `include_role` take besides themselves.
pub(super) const INCLUDE: &[&str] = &[
    "action",
    "args",
    "collections",
    "debugger",
    "ignore_errors",
    "local_action",
    "loop",
    "loop_control",
    "name",
    "no_log",
    "register",
    "run_once",
    "tags",
    "timeout",
    "vars",
    "when",
];

/// What `loop_control` takes.
pub(super) const LOOP_CONTROL: &[&str] = &[
    "break_when",
    "extended",
    "extended_allitems",
    "index_var",
    "label",
    "loop_var",
    "pause",
];

/// What `with_` may be followed by.
pub(super) const LOOKUPS: &[&str] = &[
    "config",
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "lines",
    "list",
    "nested",
    "password",
    "pipe",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "unvault",
    "url",
    "varnames",
    "vars",
    "filetree",
    "cartesian",
];

/// Keywords whose value is true or false, or a template of it.
pub(super) const BOOLEANS: &[&str] = &[
    "any_errors_fatal",
    "become",
    "check_mode",
    "diff",
    "force_handlers",
    "gather_facts",
    "ignore_errors",
    "ignore_unreachable",
    "no_log",
    "run_once",
    "delegate_facts",
];

/// Where a keyword stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Play,
    Block,
    Task,
    Handler,
    Role,
    ImportPlaybook,
}

impl Place {
    pub(super) fn named(self) -> &'static str {
        match self {
            Self::Play => "a play",
            Self::Block => "a block",
            Self::Task => "a task",
            Self::Handler => "a handler",
            Self::Role => "a role",
            Self::ImportPlaybook => "import_playbook",
        }
    }

    /// Returns the keywords valid here.
    pub(super) fn keywords(self) -> impl Iterator<Item = &'static str> {
        let (own, more): (&[&str], &[&str]) = match self {
            Self::Play => (PLAY, &[]),
            Self::Block => (BLOCK, &[]),
            Self::Task => (TASK, &[]),
            Self::Handler => (TASK, &["listen"]),
            Self::Role => (ROLE, &[]),
            Self::ImportPlaybook => (IMPORT_PLAYBOOK, &[]),
        };
        COMMON.iter().chain(own).chain(more).copied()
    }

    pub(super) fn knows(self, name: &str) -> bool {
        self.keywords().any(|known| known == name)
    }
}
