//! What the author gives variables, anywhere: every value that one can have, as far as it is written.
//!
//! Which of them holds when a task runs is the run's to say. A name with several readings leads to
//! several files, and all of them travel.

use std::collections::{BTreeMap, HashMap};

use super::name::Name;
use crate::files::Files;
use crate::names::bare;
use crate::syntax::free_form;
use crate::value::Value;
use crate::yaml::{Kind, Node};

/// More values than this are not told apart.
const MOST_VALUES: usize = 200;

/// What facts say that choose files by the kind of system, where no target is known yet.
const FACTS: &[(&str, &[&str])] = &[
    (
        "os_family",
        &["Debian", "RedHat", "Suse", "Archlinux", "Alpine", "Gentoo"],
    ),
    (
        "distribution",
        &[
            "Debian",
            "Ubuntu",
            "Amazon",
            "RedHat",
            "CentOS",
            "Rocky",
            "AlmaLinux",
            "OracleLinux",
            "Fedora",
            "Alpine",
            "Archlinux",
        ],
    ),
    ("system", &["Linux"]),
    (
        "pkg_mgr",
        &["apt", "dnf", "dnf5", "yum", "zypper", "pacman", "apk"],
    ),
    ("service_mgr", &["systemd", "openrc", "sysvinit"]),
    ("architecture", &["x86_64", "aarch64"]),
];

/// The values of one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub(super) all: Vec<Value>,
    /// Names of files that a lookup gives.
    pub(super) names: Vec<Name>,
    /// Whether it may have others.
    pub(super) open: bool,
}

impl Values {
    /// Returns a name that may be anything.
    pub(super) fn open() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    /// Returns a name with one value.
    pub(super) fn one(value: Value) -> Self {
        Self {
            all: vec![value],
            ..Self::default()
        }
    }

    /// Adds what else it may be.
    pub(super) fn add(&mut self, other: &Self) {
        self.open |= other.open;
        self.names.extend(other.names.iter().cloned());
        self.all.extend(other.all.iter().cloned());
        if self.all.len() > MOST_VALUES || self.names.len() > MOST_VALUES {
            *self = Self::open();
        }
    }
}

/// Every variable that the author's files name.
pub(super) struct Known<'f> {
    /// The files of the controller, whose links `realpath` resolves.
    pub(super) files: &'f dyn Files,
    variables: HashMap<String, Values>,
    facts: HashMap<String, Values>,
}

impl<'f> Known<'f> {
    /// Returns what is known of a target beforehand.
    pub(super) fn of_facts(files: &'f dyn Files, facts: &BTreeMap<String, String>) -> Self {
        let mut known = Self {
            files,
            variables: HashMap::new(),
            facts: HashMap::new(),
        };
        for (name, texts) in FACTS {
            let values = texts.iter().map(Value::str).collect();
            let values = Values {
                all: values,
                ..Values::default()
            };
            known.facts.insert((*name).to_owned(), values);
        }
        for (name, text) in facts {
            let value = Values::one(Value::str(text));
            known.facts.insert(name.clone(), value);
        }
        known
    }

    /// Returns what a variable may be.
    pub(super) fn get(&self, name: &str) -> Option<Values> {
        let given = self.variables.get(name);
        let fact = name.strip_prefix("ansible_");
        let fact = fact.and_then(|name| self.facts.get(name));
        match (given, fact) {
            (Some(given), Some(fact)) => {
                let mut both = given.clone();
                both.add(fact);
                Some(both)
            }
            (given, fact) => given.or(fact).cloned(),
        }
    }

    /// Returns what a fact may be, by its name in `ansible_facts`.
    pub(super) fn fact(&self, name: &str) -> Option<&Values> {
        self.facts.get(name)
    }

    /// Adds values of a variable.
    pub(super) fn add(&mut self, name: &str, values: &Values) {
        self.variables
            .entry(name.to_owned())
            .or_default()
            .add(values);
    }

    /// Has a variable these values and no others: nothing in a file is stronger.
    pub(super) fn set(&mut self, name: &str, values: Values) {
        self.variables.insert(name.to_owned(), values);
    }

    /// Adds every variable that a file gives: all of a file of variables; of plays and tasks what
    /// stands below `vars`, what `set_fact` sets, parameters of roles, and what is registered.
    pub(super) fn add_file(&mut self, root: &Node) {
        if let Kind::Map(pairs) = &root.kind {
            self.add_pairs(pairs);
        }
        self.add_below(root);
    }

    fn add_pairs(&mut self, pairs: &[(Node, Node)]) {
        for (name, value) in pairs {
            if let Some(name) = name.as_str() {
                self.add(name, &Values::one(Value::from_node(value)));
            }
        }
    }

    fn add_below(&mut self, node: &Node) {
        match &node.kind {
            Kind::Seq(items) => items.iter().for_each(|item| self.add_below(item)),
            Kind::Map(pairs) => {
                for (key, value) in pairs {
                    self.add_keyword(key.as_str().unwrap_or_default(), value);
                    self.add_below(value);
                }
            }
            _ => {}
        }
    }

    fn add_keyword(&mut self, key: &str, value: &Node) {
        match (bare(key), &value.kind) {
            ("vars" | "set_fact", Kind::Map(pairs)) => self.add_pairs(pairs),
            ("set_fact", Kind::Str(text)) => {
                for (name, text) in free_form::parse_kv(text, false).unwrap_or_default() {
                    self.add(&name, &Values::one(Value::authored(&text, None)));
                }
            }
            ("register", Kind::Str(name)) => self.add(name, &Values::open()),
            ("roles" | "dependencies", Kind::Seq(items)) => {
                let maps = items.iter().filter_map(Node::as_map);
                maps.for_each(|pairs| self.add_pairs(pairs));
            }
            ("vars_prompt", Kind::Seq(items)) => {
                let names = items.iter().filter_map(|item| item.get("name")?.as_str());
                names.for_each(|name| self.add(name, &Values::open()));
            }
            _ => {}
        }
    }
}
