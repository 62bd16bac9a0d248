//! Which modules there are and which parameters they take, as their Ansible documentation says.
//!
//! Both sides use this table: the static checks before a machine exists, and the engine when it
//! coerces templated arguments. What a module does with them is the engine's.

mod accounts;
mod commands;
mod files;
mod packages;
mod refused;
mod system;

pub use refused::{LINKS_ARE_FOLLOWED, refused};

/// The type of a parameter, as in Ansible's argument specs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any scalar, as text.
    Str,
    /// Text with `~` and variables of the environment expanded.
    Path,
    /// `yes`, `no`, `true`, `1`, ….
    Bool,
    /// A whole number, or text that is one.
    Int,
    Float,
    /// A list of texts; a comma-separated text is split.
    List,
    /// A list whose elements may be anything.
    RawList,
    /// A mapping; `k=v,k2=v2` and JSON texts are read.
    Dict,
    /// Anything, as it came.
    Raw,
}

/// One parameter of a module.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Its default as YAML would write it; `None` if absent stays absent.
    pub default: Option<&'static str>,
    /// The values allowed; empty for any.
    pub choices: &'static [&'static str],
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Whether its value is a secret.
    pub no_log: bool,
}

impl Param {
    /// Returns an optional parameter without a default.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: false,
            default: None,
            choices: &[],
            aliases: &[],
            no_log: false,
        }
    }

    /// Makes it required.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Gives it a default, written as YAML would.
    #[must_use]
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Restricts its values.
    #[must_use]
    pub const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Gives it other names.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Returns the only choice that YAML reads as `truth`, as Ansible takes a boolean back.
    #[must_use]
    pub fn choice_for(&self, truth: bool) -> Option<&'static str> {
        let words: &[&str] = match truth {
            true => &["y", "yes", "on", "1", "true", "t"],
            false => &["n", "no", "off", "0", "false", "f"],
        };
        let mut fitting = self.choices.iter().filter(|c| words.contains(c));
        fitting.next().filter(|_| fitting.next().is_none()).copied()
    }

    /// Marks its value as secret.
    #[must_use]
    pub const fn no_log(mut self) -> Self {
        self.no_log = true;
        self
    }
}

/// A module's interface.
#[derive(Debug, Clone, Copy)]
pub struct ModuleSpec {
    /// Its fully qualified name: `ansible.builtin.copy`.
    pub name: &'static str,
    /// Other fully qualified names: `ansible.legacy.copy` is understood for every builtin.
    pub aliases: &'static [&'static str],
    /// Its parameters; `file`'s common ones (`mode`, `owner`, …) included by listing them.
    pub params: &'static [Param],
    /// Whether `module: some text` is the text itself (`command`) rather than `k=v` pairs.
    pub free_form: bool,
    /// Whether any other parameter is taken too (`set_fact`).
    pub open: bool,
    /// At least one parameter of each set must be given.
    pub required_one_of: &'static [&'static [&'static str]],
    /// At most one parameter of each set may be given.
    pub mutually_exclusive: &'static [&'static [&'static str]],
    /// Of each set, all parameters must be given or none.
    pub required_together: &'static [&'static [&'static str]],
    /// What a value of one parameter makes necessary.
    pub required_if: &'static [RequiredIf],
    /// A parameter, and those that must be given along with it.
    pub required_by: &'static [(&'static str, &'static [&'static str])],
}

/// Parameters that a value of another makes necessary.
#[derive(Debug, Clone, Copy)]
pub struct RequiredIf {
    /// The parameter that decides.
    pub param: &'static str,
    /// Its value, as YAML would write it.
    pub is: &'static str,
    /// What must be given then.
    pub needs: &'static [&'static str],
    /// Whether one of them is enough.
    pub any: bool,
}

impl ModuleSpec {
    /// Returns a module with these parameters and no further rules.
    #[must_use]
    pub const fn new(name: &'static str, params: &'static [Param]) -> Self {
        Self {
            name,
            aliases: &[],
            params,
            free_form: false,
            open: false,
            required_one_of: &[],
            mutually_exclusive: &[],
            required_together: &[],
            required_if: &[],
            required_by: &[],
        }
    }

    /// Returns the parameter called `name`, also by an alias.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params
            .iter()
            .find(|p| p.name == name || p.aliases.contains(&name))
    }

    /// Returns the last part of the name: `copy`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// Returns every module there is.
pub fn all() -> impl Iterator<Item = &'static ModuleSpec> {
    [
        accounts::MODULES,
        commands::MODULES,
        files::MODULES,
        packages::MODULES,
        system::MODULES,
    ]
    .into_iter()
    .flatten()
}

/// Modules whose interface is known and which are not written yet.
pub const NOT_YET: &[&str] = &[
    "ansible.builtin.apt_key",
    "ansible.builtin.apt_repository",
    "ansible.builtin.cron",
    "ansible.builtin.deb822_repository",
    "ansible.builtin.debconf",
    "ansible.builtin.dpkg_selections",
    "ansible.builtin.getent",
    "ansible.builtin.hostname",
    "ansible.builtin.known_hosts",
    "ansible.builtin.package_facts",
    "ansible.builtin.reboot",
    "ansible.builtin.service_facts",
    "ansible.posix.authorized_key",
    "community.general.alternatives",
    "community.general.locale_gen",
    "community.general.modprobe",
    "community.general.timezone",
];

/// Returns the module called `name`: fully qualified, `ansible.legacy.`, or short.
#[must_use]
pub fn find(name: &str) -> Option<&'static ModuleSpec> {
    let short = name
        .strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."));
    all().find(|m| {
        m.name == name
            || m.aliases.contains(&name)
            || (!name.contains('.') && m.short_name() == name)
            || (short == Some(m.short_name()) && m.name.starts_with("ansible.builtin."))
    })
}
