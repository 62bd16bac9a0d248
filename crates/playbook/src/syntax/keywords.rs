//! The keywords of ansible-core 2.19: where each is valid, and what becomes of it here.
//!
//! `docs/playbooks.md` shows this table. What values of a keyword are refused is [`super::support`]'s.

use Place::{Block, Handler, ImportPlaybook, Play, Role, Task};
use Support::{NoEffect, OneHost, Partly, Refused, Works};

/// What becomes of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As in Ansible.
    Works,
    /// As in Ansible for one host, which it hardly matters to; with several it is refused.
    OneHost,
    /// Some values work; others are refused where they stand.
    Partly,
    /// It changes nothing here; a warning says so.
    NoEffect,
    /// Refused where it stands.
    Refused,
}

impl Support {
    /// Returns the words of the table for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Works => "works",
            OneHost => "one host",
            Partly => "partly",
            NoEffect => "no effect, with a warning",
            Refused => "refused",
        }
    }
}

/// A keyword.
#[derive(Debug, Clone, Copy)]
pub struct Keyword {
    pub name: &'static str,
    /// Where it may stand.
    pub places: &'static [Place],
    /// What becomes of it.
    pub support: Support,
    /// What a reader should know besides.
    pub note: &'static str,
}

const fn keyword(
    name: &'static str,
    places: &'static [Place],
    support: Support,
    note: &'static str,
) -> Keyword {
    Keyword {
        name,
        places,
        support,
        note,
    }
}

/// Where what plays, roles, blocks and tasks share may stand.
const ALL: &[Place] = &[Play, Block, Task, Handler, Role, ImportPlaybook];
const TASKS: &[Place] = &[Task, Handler];
const DELEGATING: &[Place] = &[Block, Task, Handler, Role];

/// Every keyword of plays, roles, blocks, tasks and handlers.
pub const KEYWORDS: &[Keyword] = &[
    keyword("action", TASKS, Works, ""),
    keyword("always", &[Block], Works, ""),
    keyword("any_errors_fatal", ALL, Works, ""),
    keyword("args", TASKS, Works, ""),
    keyword(
        "async",
        TASKS,
        Works,
        "a limit on the time of the task; with `poll: 0` it goes on by itself, and outlives the run",
    ),
    keyword("become", ALL, Works, ""),
    keyword(
        "become_exe",
        ALL,
        Partly,
        "`sudo` and `su`, also by path: neither program is run",
    ),
    keyword(
        "become_flags",
        ALL,
        Partly,
        "`-H`, `-S`, `-n`: what Ansible gives `sudo` by itself",
    ),
    keyword(
        "become_method",
        ALL,
        Partly,
        "`sudo` and `su`: the environment is the one each gives; no password is asked for",
    ),
    keyword("become_user", ALL, Works, ""),
    keyword("block", &[Block], Works, ""),
    keyword("changed_when", TASKS, Works, ""),
    keyword("check_mode", ALL, Works, ""),
    keyword(
        "collections",
        &[Play, Block, Task, Handler, Role],
        Works,
        "",
    ),
    keyword(
        "connection",
        ALL,
        Partly,
        "`ssh` and its kin; `local` where all hosts of the play are this machine",
    ),
    keyword("debugger", ALL, Partly, "`never`"),
    keyword("delay", TASKS, Works, ""),
    keyword(
        "delegate_facts",
        DELEGATING,
        Works,
        "for other hosts of the run where the play runs on this machine",
    ),
    keyword(
        "delegate_to",
        DELEGATING,
        Partly,
        "the host itself; `localhost` for what touches no machine, and where the host is this machine, too",
    ),
    keyword("diff", ALL, Works, ""),
    keyword("environment", ALL, Works, ""),
    keyword("fact_path", &[Play], Works, ""),
    keyword("failed_when", TASKS, Works, ""),
    keyword("force_handlers", &[Play], Works, ""),
    keyword("gather_facts", &[Play], Works, ""),
    keyword("gather_subset", &[Play], Works, ""),
    keyword(
        "gather_timeout",
        &[Play],
        NoEffect,
        "facts are read without waiting for programs",
    ),
    keyword("handlers", &[Play], Works, ""),
    keyword(
        "hosts",
        &[Play],
        Works,
        "patterns as Ansible's; `localhost` is this machine with `apply`, and refused beside others in a build",
    ),
    keyword("ignore_errors", ALL, Works, ""),
    keyword(
        "ignore_unreachable",
        ALL,
        Works,
        "a host that cannot be connected to runs what does not touch it",
    ),
    keyword(
        "import_playbook",
        &[ImportPlaybook],
        Partly,
        "its name may be made of its own `vars` and of extra variables; `vars`, `when` and `tags` reach the plays",
    ),
    keyword("listen", &[Handler], Works, ""),
    keyword("local_action", TASKS, Partly, "as `delegate_to: localhost`"),
    keyword("loop", TASKS, Works, ""),
    keyword("loop_control", TASKS, Works, ""),
    keyword("max_fail_percentage", &[Play], OneHost, ""),
    keyword(
        "module_defaults",
        ALL,
        Partly,
        "by module, and by group as `action_groups` of the playbook's collections say; where they are not installed `community.mysql.all` and `community.postgresql.all` are known, and of any other group that Ansible ships it is told that its defaults have no effect",
    ),
    keyword("name", ALL, Works, ""),
    keyword(
        "no_log",
        ALL,
        Works,
        "also hides what templates put into the name of the task",
    ),
    keyword("notify", &[Block, Task, Handler], Works, ""),
    keyword("order", &[Play], Works, ""),
    keyword("poll", TASKS, Partly, "see `async`"),
    keyword(
        "port",
        ALL,
        Refused,
        "`ansible_port` in the inventory, or `--host ADDRESS:PORT`",
    ),
    keyword("post_tasks", &[Play], Works, ""),
    keyword("pre_tasks", &[Play], Works, ""),
    keyword("register", TASKS, Works, ""),
    keyword(
        "remote_user",
        ALL,
        Works,
        "tasks run as that user by the agent, which must be root to do so; the log-in itself is the command line's",
    ),
    keyword("rescue", &[Block], Works, ""),
    keyword("retries", TASKS, Works, ""),
    keyword("role", &[Role], Works, ""),
    keyword("roles", &[Play], Works, ""),
    keyword(
        "run_once",
        ALL,
        Works,
        "as with Ansible, by `strategy: linear` only",
    ),
    keyword("serial", &[Play], Works, ""),
    keyword(
        "strategy",
        &[Play],
        Partly,
        "`linear`, `free` and `host_pinned`, which are the same for one host; each host runs by itself",
    ),
    keyword("tags", ALL, Works, ""),
    keyword("tasks", &[Play], Works, ""),
    keyword("throttle", ALL, Works, ""),
    keyword(
        "timeout",
        ALL,
        Works,
        "programs that the task started are ended with it",
    ),
    keyword("until", TASKS, Works, ""),
    keyword("user", &[Play], Works, "`remote_user`"),
    keyword(
        "validate_argspec",
        &[Play],
        Works,
        "as in ansible-core 2.20: the spec stands in `PLAYBOOK.meta.yml`",
    ),
    keyword("vars", ALL, Works, ""),
    keyword("vars_files", &[Play], Works, ""),
    keyword(
        "vars_prompt",
        &[Play],
        Works,
        "`apply` asks on the terminal; without one, and in a build, the default counts",
    ),
    keyword(
        "when",
        &[Block, Task, Handler, Role, ImportPlaybook],
        Works,
        "",
    ),
];

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

/// Keywords whose texts are conditions.
pub const CONDITIONS: &[&str] = &["when", "failed_when", "changed_when", "until", "break_when"];

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
pub enum Place {
    Play,
    Block,
    Task,
    Handler,
    /// A role where it is used.
    Role,
    /// `import_playbook`.
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
        let valid = KEYWORDS.iter().filter(move |k| k.places.contains(&self));
        valid.map(|keyword| keyword.name)
    }

    pub(super) fn knows(self, name: &str) -> bool {
        self.keywords().any(|known| known == name)
    }
}
