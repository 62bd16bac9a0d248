//! Which hosts there are, in which groups, with which variables: Ansible's static inventories.
//!
//! Owns INI and YAML inventories, `group_vars` and `host_vars`. Host patterns are
//! [`amibake_playbook::hosts`]'s; inventory plugins and scripts are refused by name.

mod ini;
mod literal;
pub(crate) mod sources;
mod yaml;

pub(crate) use yaml::{vars_file, vars_text};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_protocol::ask::AddedHost;
use serde_json::{Map, Value as Json};

use crate::vault::Opened;
use amibake_playbook::hosts::{Groups, LOCALHOST};

/// Variables by name.
pub(crate) type Vars = Map<String, Json>;

/// Hosts, groups and their variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inventory {
    files: Opened,
    /// Whether mappings of one name are merged where variables come together (`hash_behaviour = merge`).
    merges: bool,
    /// What is being read.
    source: String,
    /// What named each host first.
    sources: BTreeMap<String, String>,
    hosts: Vec<String>,
    host_vars: BTreeMap<String, Vars>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone, Default)]
struct Group {
    hosts: Vec<String>,
    children: Vec<String>,
    /// What the inventory itself says of it.
    vars: Vars,
    /// What `group_vars` say.
    file_vars: Vars,
}

/// A host with everything that applies to it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_field_names, reason = "variables of three ranks")]
pub(crate) struct Host {
    pub(crate) name: String,
    /// Its groups, parents before children, without `all`.
    pub(crate) group_names: Vec<String>,
    /// Variables that `group_vars/all` of a playbook wins over: those that the inventory itself says of its groups, nearer
    /// groups winning, and `group_vars/all` beside it.
    pub(crate) all_vars: Vars,
    /// Variables of its groups by `group_vars`, nearer groups winning.
    pub(crate) group_vars: Vars,
    pub(crate) host_vars: Vars,
}

/// An inventory, or a pattern, that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InventoryError {
    #[error("the inventory {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: {message}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{0}")]
    Yaml(Box<Diagnostic>),
    /// A list of hosts.
    #[error("the inventory `{list}`: {message}")]
    List { list: String, message: String },
    #[error("{what} is not supported yet")]
    Unsupported { what: String },
}

impl From<Diagnostic> for InventoryError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Yaml(Box::new(diagnostic))
    }
}

impl Inventory {
    /// Returns an inventory of hosts without groups.
    pub(crate) fn of(hosts: impl IntoIterator<Item = String>, files: &Opened) -> Self {
        let mut inventory = Self {
            files: files.clone(),
            ..Self::default()
        };
        for host in hosts {
            inventory.add_host(&host);
        }
        inventory
    }

    /// Adds what Ansible says of the controller where no inventory does.
    pub(crate) fn add_controller(&mut self) {
        let known = self.host_vars.entry(LOCALHOST.to_owned()).or_default();
        let python = "{{ ansible_playbook_python }}";
        for (name, value) in [("connection", "local"), ("python_interpreter", python)] {
            known.insert(format!("ansible_{name}"), Json::from(value));
        }
    }

    /// Returns whether a source names this host.
    pub(crate) fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known == host)
    }

    /// Adds what `group_vars` and `host_vars` in `folder` say.
    pub(crate) fn add_vars_of(&mut self, folder: &Path) -> Result<(), InventoryError> {
        let mut groups: Vec<String> = self.groups.keys().cloned().collect();
        groups.push("all".into());
        for name in groups {
            let vars = yaml::vars_files(&self.files, &folder.join("group_vars"), &name)?;
            if !vars.is_empty() {
                let group = self.groups.entry(name).or_default();
                add(&mut group.file_vars, vars, self.merges);
            }
        }
        // The controller has variables even where no inventory names it.
        let localhost = LOCALHOST.to_owned();
        for name in self.hosts.iter().chain([&localhost]) {
            let vars = yaml::vars_files(&self.files, &folder.join("host_vars"), name)?;
            let known = self.host_vars.entry(name.clone()).or_default();
            add(known, vars, self.merges);
        }
        Ok(())
    }

    /// Returns a host with everything that applies to it.
    pub(crate) fn host(&self, name: &str) -> Host {
        let mut nearest = self.groups_of(name);
        nearest
            .sort_by_cached_key(|group| (self.depth(group), self.priority(group), group.clone()));
        let none = Group::default();
        let group = |name: &str| self.groups.get(name).unwrap_or(&none);
        let mut all_vars = group("all").vars.clone();
        let mut group_vars = Vars::new();
        for group in nearest.iter().map(|name| group(name)) {
            add(&mut all_vars, group.vars.clone(), self.merges);
            add(&mut group_vars, group.file_vars.clone(), self.merges);
        }
        add(&mut all_vars, group("all").file_vars.clone(), self.merges);
        Host {
            name: name.to_owned(),
            all_vars,
            group_vars,
            host_vars: self.host_vars.get(name).cloned().unwrap_or_default(),
            group_names: nearest,
        }
    }

    /// Returns every group with its hosts, those of its children included.
    pub(crate) fn groups(&self) -> Groups {
        let mut all = Groups::new();
        for name in self.groups.keys() {
            all.insert(name.clone(), self.members(name));
        }
        let grouped: BTreeSet<&String> = all
            .iter()
            .filter(|(name, _)| *name != "all" && *name != "ungrouped")
            .flat_map(|(_, hosts)| hosts)
            .collect();
        let alone = |host: &&String| !grouped.contains(host);
        let ungrouped = self.hosts.iter().filter(alone).cloned().collect();
        all.insert("ungrouped".into(), ungrouped);
        all.insert("all".into(), self.hosts.clone());
        all
    }

    fn add_host(&mut self, name: &str) {
        if !self.hosts.iter().any(|host| host == name) {
            self.hosts.push(name.to_owned());
            self.sources.insert(name.to_owned(), self.source.clone());
        }
    }

    /// Adds what a run adds.
    pub(crate) fn add(&mut self, added: &AddedHost) {
        self.source.clear(); // no file says so
        self.add_host(&added.name);
        for group in &added.groups {
            self.add_to_group(group, &added.name);
        }
        let known = self.host_vars.entry(added.name.clone()).or_default();
        known.extend(added.vars.clone());
    }

    /// Returns what named a host first: a file, or a list of hosts.
    pub(crate) fn source_of(&self, host: &str) -> Option<&str> {
        let source = self.sources.get(host).map(String::as_str);
        source.filter(|source| !source.is_empty())
    }

    fn add_to_group(&mut self, group: &str, host: &str) {
        self.add_host(host);
        let hosts = &mut self.groups.entry(group.to_owned()).or_default().hosts;
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }

    fn vars_of(&self, group: &str) -> Vars {
        let both = |group: &Group| {
            let mut vars = group.vars.clone();
            add(&mut vars, group.file_vars.clone(), self.merges);
            vars
        };
        self.groups.get(group).map(both).unwrap_or_default()
    }

    fn priority(&self, group: &str) -> i64 {
        let priority = self.vars_of(group).get("ansible_group_priority").cloned();
        priority.and_then(|value| value.as_i64()).unwrap_or(1)
    }

    fn members(&self, group: &str) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.collect(group, &mut seen, &mut BTreeSet::new());
        let within = |host: &&String| seen.contains(*host);
        self.hosts.iter().filter(within).cloned().collect()
    }

    fn collect(&self, group: &str, hosts: &mut BTreeSet<String>, visited: &mut BTreeSet<String>) {
        if !visited.insert(group.to_owned()) {
            return;
        }
        if let Some(group) = self.groups.get(group) {
            hosts.extend(group.hosts.iter().cloned());
            for child in &group.children {
                self.collect(child, hosts, visited);
            }
        }
    }

    fn groups_of(&self, host: &str) -> Vec<String> {
        let has = |name: &&String| {
            !matches!(name.as_str(), "all" | "ungrouped")
                && self.members(name).iter().any(|member| member == host)
        };
        self.groups.keys().filter(has).cloned().collect()
    }

    /// How far below `all` a group is: the longest way down to it.
    fn depth(&self, group: &str) -> usize {
        self.depth_below(group, self.groups.len())
    }

    fn depth_below(&self, group: &str, left: usize) -> usize {
        if left == 0 {
            return 0;
        }
        let parents = self
            .groups
            .iter()
            .filter(|(name, parent)| *name != "all" && parent.children.iter().any(|c| c == group));
        let above = parents.map(|(name, _)| self.depth_below(name, left - 1) + 1);
        above.max().unwrap_or(1)
    }
}

/// Adds variables over those of the same names, or mappings to mappings.
fn add(known: &mut Vars, new: Vars, merges: bool) {
    for (name, value) in new {
        match (known.get_mut(&name), value) {
            (Some(Json::Object(known)), Json::Object(new)) if merges => add(known, new, true),
            (_, value) => {
                known.insert(name, value);
            }
        }
    }
}

/// Expands `web[01:03].example.com` and `db[a:c]`.
fn expand(name: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = name.split_once('[') else {
        return Some(vec![name.to_owned()]);
    };
    let (range, after) = rest.split_once(']')?;
    let parts: Vec<&str> = range.split(':').collect();
    let (from, to) = (*parts.first()?, *parts.get(1)?);
    let step: usize = parts.get(2).map_or(Some(1), |step| step.parse().ok())?;
    let middles: Vec<String> = if let (Ok(first), Ok(last)) = (from.parse::<u32>(), to.parse()) {
        let width = if from.len() > 1 && from.starts_with('0') {
            from.len()
        } else {
            0
        };
        (first..=last)
            .step_by(step.max(1))
            .map(|n| format!("{n:0width$}"))
            .collect()
    } else {
        let (first, last) = (from.chars().next()?, to.chars().next()?);
        (first..=last)
            .step_by(step.max(1))
            .map(String::from)
            .collect()
    };
    let mut names = Vec::new();
    for tail in expand(after)? {
        names.extend(
            middles
                .iter()
                .map(|middle| format!("{before}{middle}{tail}")),
        );
    }
    names.sort();
    Some(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use amibake_playbook::value::{Mark, Value};
    use std::fs;
    use std::process::Command;

    const INI: &str = "
lonely ansible_host=10.0.0.1 ansible_port=2200
[web]
web[01:03].example.com http_port=80 name='a b' flag=True list=\"['x', 'y']\" # comment
[db]
db-[a:b] tier=1
[prod:children]
web
db
[prod:vars]
env=production
tier=0
[web:vars]
ratio=1.5
text=plain words here
";

    const YAML: &str = "
all:
  vars: {site: one}
  hosts:
    lonely: {ansible_host: 10.0.0.1}
  children:
    web:
      hosts:
        web[1:2]: {http_port: 80}
      vars: {role: web}
    prod:
      children:
        web:
      vars: {role: any, env: production}
";

    /// What `ansible-inventory --list` makes of sources.
    pub(super) fn listed_by_ansible(sources: &[String]) -> Json {
        serde_json::from_str(&listing_of_ansible(sources)).unwrap()
    }

    /// The same as it is printed: numbers that no [`Json`] holds are in it.
    pub(super) fn listing_of_ansible(sources: &[String]) -> String {
        let home = tempfile::tempdir().unwrap();
        let out = Command::new(python().with_file_name("ansible-inventory"))
            .env("ANSIBLE_HOME", home.path())
            .args(sources.iter().flat_map(|source| ["-i", source]))
            .arg("--list")
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    pub(super) fn python() -> PathBuf {
        std::env::var_os("AMIBAKE_TEST_PYTHON")
            .expect("./test sets it")
            .into()
    }

    fn read(path: &Path) -> Inventory {
        Inventory::read(&[path.display().to_string()], &Opened::default(), false).unwrap()
    }

    pub(super) fn merged(host: &Host) -> Vars {
        let mut vars = host.all_vars.clone();
        vars.extend(host.group_vars.clone());
        vars.extend(host.host_vars.clone());
        vars
    }

    #[test]
    #[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
    fn variables_and_groups_are_what_ansible_makes_of_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("group_vars/web")).unwrap();
        fs::create_dir(folder.path().join("host_vars")).unwrap();
        fs::write(folder.path().join("group_vars/all.yml"), "site: files\n").unwrap();
        fs::write(
            folder.path().join("group_vars/web/a.yml"),
            "from_folder: yes\n",
        )
        .unwrap();
        fs::write(folder.path().join("host_vars/lonely.yml"), "mine: 1\n").unwrap();
        for (name, text) in [("hosts", INI), ("hosts.yml", YAML)] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let ours = read(&path);
            let lonely = ours.host("lonely");
            assert_eq!(merged(&lonely)["mine"], 1);
            assert_eq!(merged(&lonely)["site"], "files");
            let theirs = listed_by_ansible(&[path.display().to_string()]);
            for host in &ours.hosts {
                let vars = Json::Object(merged(&ours.host(host)));
                assert_eq!(vars, theirs["_meta"]["hostvars"][host], "{host} in {name}");
            }
        }
    }

    #[test]
    fn what_json_cannot_say_arrives_all_the_same() {
        let text = "a: !unsafe '{% endraw %}{{ x }}'\n\
                    b: [123456789012345678901234567890, .inf]\n\
                    c: !unsafe ['{{ x }}', {'{{ k }}': '{{ x }}'}]\n\
                    d: {80: '{{ x }}'}\n";
        let vars = vars_text(text).unwrap();
        let arrived = |name: &str| Value::from_authored_json(&vars[name]);
        assert_eq!(arrived("a").mark(), Some(Mark::Data));
        assert_eq!(arrived("a").as_str(), Some("{% endraw %}{{ x }}"));
        let numbers = arrived("b").repr();
        assert_eq!(numbers, "[123456789012345678901234567890, inf]");
        assert_eq!(arrived("c").repr(), "['{{ x }}', {'{{ k }}': '{{ x }}'}]");
        assert!(!arrived("c").is_latent());
        assert_eq!(arrived("d").repr(), "{80: '{{ x }}'}");
        assert!(arrived("d").is_latent());
    }

    #[test]
    fn an_inventory_is_read_with_its_types() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, INI).unwrap();
        let inventory = read(&path);
        let web = inventory.host("web02.example.com");
        assert_eq!(web.group_names, ["prod", "web"]);
        assert_eq!(web.host_vars["http_port"], 80);
        assert_eq!(web.host_vars["name"], "a b");
        assert_eq!(web.host_vars["flag"], true);
        assert_eq!(web.host_vars["list"], serde_json::json!(["x", "y"]));
        assert_eq!(web.all_vars["ratio"], 1.5);
        assert_eq!(inventory.host("db-a").host_vars["tier"], 1);
        assert_eq!(inventory.groups()["ungrouped"], ["lonely"]);
    }
}
