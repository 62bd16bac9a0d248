//! Which modules there are and which parameters they take, as their Ansible documentation says.
//!
//! Both sides use this table: the static checks before a machine exists, and the engine when it
//! coerces templated arguments. What a module does with them is the engine's.

mod accounts;
mod commands;
mod controller;
mod databases;
mod files;
mod firewall;
mod keys;
mod mounts;
mod packages;
mod refused;
mod selinux;
mod settings;
mod system;
mod validate;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use refused::{LINKS_ARE_FOLLOWED, refused};
pub use validate::{Malformed, Verdict, validate, why_not};

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
    /// The parameter that makes its value a secret where it is true.
    pub no_log_if: Option<&'static str>,
    /// Whether it is a word of the executor to the module, which no list of parameters shows.
    pub internal: bool,
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
            no_log_if: None,
            internal: false,
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

    /// Marks its value as secret where another parameter is true.
    #[must_use]
    pub const fn no_log_if(mut self, other: &'static str) -> Self {
        self.no_log_if = Some(other);
        self
    }

    /// Makes it the executor's own.
    #[must_use]
    pub const fn internal(mut self) -> Self {
        self.internal = true;
        self
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
        last_part(self.name)
    }

    /// Returns all names that it has.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Returns every module there is.
pub fn all() -> impl Iterator<Item = &'static ModuleSpec> {
    [
        accounts::MODULES,
        commands::MODULES,
        controller::MODULES,
        databases::MODULES,
        files::MODULES,
        firewall::MODULES,
        keys::MODULES,
        mounts::MODULES,
        packages::MODULES,
        selinux::MODULES,
        settings::MODULES,
        system::MODULES,
    ]
    .into_iter()
    .flatten()
}

/// The collection whose modules have no short names: Ansible ships others of the same ones.
const BY_FULL_NAME: &str = "debops.";

/// Returns the module called `name`: fully qualified, or short, alone or after `ansible.builtin.` or
/// `ansible.legacy.`, where ansible-core finds the modules that moved to collections, too.
#[must_use]
pub fn find(name: &str) -> Option<&'static ModuleSpec> {
    let short = ["ansible.builtin.", "ansible.legacy."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let found = NAMES.full.get(name).or_else(|| NAMES.short.get(short));
    found.copied()
}

/// Modules by their names. Of two of one short name the first has it.
#[derive(Default)]
struct Names {
    full: HashMap<&'static str, &'static ModuleSpec>,
    short: HashMap<&'static str, &'static ModuleSpec>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names::default();
    for spec in all() {
        for name in spec.names() {
            names.full.entry(name).or_insert(spec);
            if !name.starts_with(BY_FULL_NAME) {
                names.short.entry(last_part(name)).or_insert(spec);
            }
        }
    }
    names
});

fn last_part(name: &'static str) -> &'static str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_found_by_each_of_its_names_and_by_their_short_forms() {
        for spec in all().filter(|spec| !spec.name.starts_with(BY_FULL_NAME)) {
            for full in std::iter::once(&spec.name).chain(spec.aliases) {
                let short = last_part(full);
                let builtin = format!("ansible.builtin.{short}");
                let legacy = format!("ansible.legacy.{short}");
                for name in [*full, short, &builtin, &legacy] {
                    assert_eq!(find(name).map(|s| s.name), Some(spec.name), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_name_of_another_collection_is_none_of_ours() {
        assert!(find("acme.tools.copy").is_none());
        assert!(find("ansible.builtin.acme.copy").is_none());
        assert!(find("").is_none());
    }
}
