//! `ansible.cfg`: which one counts here, and what it says; and where Ansible looks for roles and collections.
//!
//! What its settings do to a playbook is `cli/apply/settings.rs`'s, which Galaxy servers it names is `galaxy`'s.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use amibake_playbook::files::normal;

/// A setting as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// In small letters, as the key is.
    pub(crate) section: String,
    pub(crate) key: String,
    /// Lines that go on are joined by newlines.
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// The one file that counts here, if there is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AnsibleConfig {
    pub(crate) path: Option<PathBuf>,
    pub(crate) settings: Vec<Setting>,
    /// One that does not count, since everybody writes in its folder.
    pub(crate) passed_over: Option<PathBuf>,
}

/// What a setting depends on beside the file: of this process, or of a test.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) home: Option<&'a Path>,
    pub(crate) working_folder: &'a Path,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Where Ansible looks for what lies not beside a playbook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SearchPaths {
    pub(crate) roles: Vec<PathBuf>,
    /// Folders that have `ansible_collections` in them.
    pub(crate) collections: Vec<PathBuf>,
}

/// Runs `work` with what this process has around it.
pub(crate) fn with_surroundings<T>(work: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    work(&Surroundings {
        home: home.as_deref(),
        working_folder: &here,
        variable: &|name| std::env::var(name).ok(),
    })
}

impl SearchPaths {
    /// Returns where Ansible would look here.
    pub(crate) fn here() -> Self {
        with_surroundings(|around| Self::of(&AnsibleConfig::find(around), around))
    }

    pub(crate) fn of(config: &AnsibleConfig, around: &Surroundings<'_>) -> Self {
        let home = config.ansible_home(around);
        let usual_roles = ["/usr/share/ansible/roles", "/etc/ansible/roles"];
        let usual = |own: &str, others: &[&str]| -> Vec<PathBuf> {
            let own = home.iter().map(|home| home.join(own));
            own.chain(others.iter().map(PathBuf::from)).collect()
        };
        let roles = config.paths("ANSIBLE_ROLES_PATH", &["roles_path"], around);
        // The second spelling went with ansible-core 2.19; files from before have it.
        let keys = ["collections_path", "collections_paths"];
        let collections = config.paths("ANSIBLE_COLLECTIONS_PATH", &keys, around);
        let collections = collections
            .unwrap_or_else(|| usual("collections", &["/usr/share/ansible/collections"]));
        Self {
            roles: roles.unwrap_or_else(|| usual("roles", &usual_roles)),
            collections: collections.into_iter().map(above_collections).collect(),
        }
    }

    /// Returns these places, and the others after them.
    pub(crate) fn before(mut self, others: &Self) -> Self {
        self.roles.extend_from_slice(&others.roles);
        self.collections.extend_from_slice(&others.collections);
        self
    }

    /// Returns the role of a name: below a folder of roles, or in a collection where it has three parts.
    pub(crate) fn role(&self, name: &str) -> Option<PathBuf> {
        let mut places: Vec<PathBuf> = Vec::new();
        if let [namespace, collection, role] = name.split('.').collect::<Vec<_>>()[..] {
            let below = Path::new("ansible_collections").join(namespace);
            let below = below.join(collection).join("roles").join(role);
            places.extend(self.collections.iter().map(|root| root.join(&below)));
        }
        places.extend(self.roles.iter().map(|folder| folder.join(name)));
        places.into_iter().find(|place| place.is_dir())
    }
}

/// A path may name the folder `ansible_collections` itself.
fn above_collections(path: PathBuf) -> PathBuf {
    match (path.file_name(), path.parent()) {
        (Some(name), Some(above)) if name == "ansible_collections" => above.to_path_buf(),
        _ => path,
    }
}

impl AnsibleConfig {
    /// Reads the file that Ansible would read here.
    pub(crate) fn here() -> Self {
        with_surroundings(Self::find)
    }

    /// Finds the file in Ansible's order, and reads it.
    pub(crate) fn find(around: &Surroundings<'_>) -> Self {
        let mut passed_over = None;
        let found = match (around.variable)("ANSIBLE_CONFIG") {
            Some(named) => {
                let named = around.full(&named, around.working_folder, None);
                Some(match named.is_dir() {
                    true => named.join("ansible.cfg"),
                    false => named,
                })
            }
            None => {
                let mut here = Some(around.working_folder.join("ansible.cfg"));
                if is_open_to_all(around.working_folder) {
                    passed_over = here.take().filter(|file| file.is_file());
                }
                let home = around.home.map(|home| home.join(".ansible.cfg"));
                let everybodys = PathBuf::from("/etc/ansible/ansible.cfg");
                let files = here.into_iter().chain(home).chain([everybodys]);
                files.into_iter().find(|file| file.is_file())
            }
        };
        let text = found.as_deref().map(std::fs::read_to_string);
        let text = text.and_then(Result::ok).unwrap_or_default();
        Self {
            settings: settings(&text),
            path: found,
            passed_over,
        }
    }

    /// Returns a file's settings that is known already.
    #[cfg(test)]
    pub(crate) fn read(path: &Path, text: &str) -> Self {
        Self {
            path: Some(path.to_path_buf()),
            settings: settings(text),
            passed_over: None,
        }
    }

    /// Returns which file does not count, and why, in words.
    pub(crate) fn told_passed_over(&self) -> Option<String> {
        let file = self.passed_over.as_ref()?.display();
        Some(format!(
            "{file} is not read, since everybody may write in its folder"
        ))
    }

    /// Returns a setting's value; of several the last counts.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let mut all = self.settings.iter().rev();
        let found = all.find(|setting| setting.section == section && setting.key == key);
        found.map(|setting| setting.value.as_str())
    }

    /// Returns a setting's value as Ansible finds it: the environment's first.
    pub(crate) fn value(
        &self,
        variable: &str,
        (section, key): (&str, &str),
        around: &Surroundings<'_>,
    ) -> Option<String> {
        let here = (around.variable)(variable);
        here.or_else(|| self.get(section, key).map(str::to_owned))
    }

    /// Returns Ansible's own folder: `~/.ansible`.
    pub(crate) fn ansible_home(&self, around: &Surroundings<'_>) -> Option<PathBuf> {
        if let Some(path) = (around.variable)("ANSIBLE_HOME") {
            return Some(around.full(&path, around.working_folder, None));
        }
        match self.get("defaults", "home") {
            Some(path) => Some(around.full(path, self.folder(around), None)),
            None => around.home.map(|home| home.join(".ansible")),
        }
    }

    /// Returns a path that a setting names, which starts at the file's folder; the environment's at the working folder.
    pub(crate) fn path(
        &self,
        variable: &str,
        (section, key): (&str, &str),
        around: &Surroundings<'_>,
    ) -> Option<PathBuf> {
        let home = self.ansible_home(around);
        if let Some(path) = (around.variable)(variable) {
            return Some(around.full(&path, around.working_folder, home.as_deref()));
        }
        let path = self.get(section, key)?;
        Some(around.full(path, self.folder(around), home.as_deref()))
    }

    fn paths(
        &self,
        variable: &str,
        keys: &[&str],
        around: &Surroundings<'_>,
    ) -> Option<Vec<PathBuf>> {
        let home = self.ansible_home(around);
        let all = |text: &str, folder: &Path| -> Vec<PathBuf> {
            let parts = text.split(':').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            let full = |part| around.full(part, folder, home.as_deref());
            parts.map(full).collect()
        };
        if let Some(text) = (around.variable)(variable) {
            return Some(all(&text, around.working_folder));
        }
        let text = keys.iter().find_map(|key| self.get("defaults", key))?;
        Some(all(text, self.folder(around)))
    }

    fn folder<'a>(&'a self, around: &'a Surroundings<'_>) -> &'a Path {
        let folder = self.path.as_deref().and_then(Path::parent);
        folder.unwrap_or(around.working_folder)
    }
}

impl Surroundings<'_> {
    /// Returns a path as Ansible reads one in a setting: `~`, variables and its own words filled in.
    fn full(&self, path: &str, folder: &Path, ansible_home: Option<&Path>) -> PathBuf {
        let mut text = path.replace("{{CWD}}", &self.working_folder.to_string_lossy());
        if let Some(home) = ansible_home {
            for word in ["{{ANSIBLE_HOME}}", "{{ ANSIBLE_HOME }}"] {
                text = text.replace(word, &home.to_string_lossy());
            }
        }
        let text = self.expanded(&text);
        let path = match (text.strip_prefix('~'), self.home) {
            (Some(""), Some(home)) => home.to_path_buf(),
            (Some(below), Some(home)) if below.starts_with('/') => home.join(&below[1..]),
            _ => PathBuf::from(&text),
        };
        normal(&folder.join(path))
    }

    /// Fills in `$NAME` and `${NAME}`; a variable that is not set stays as it is written.
    pub(crate) fn expanded(&self, text: &str) -> String {
        let (mut done, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            done.push_str(&rest[..at]);
            rest = &rest[at..];
            let braced = rest[1..].strip_prefix('{').and_then(|r| r.split_once('}'));
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, whole) = match braced {
                Some((name, _)) => (name, name.len() + 3),
                None => {
                    let end = rest[1..].find(|c| !is_part(c));
                    let name = &rest[1..end.map_or(rest.len(), |end| end + 1)];
                    (name, name.len() + 1)
                }
            };
            match (self.variable)(name).filter(|_| !name.is_empty()) {
                Some(value) => done.push_str(&value),
                None => done.push_str(&rest[..whole]),
            }
            rest = &rest[whole..];
        }
        done + rest
    }
}

/// As Ansible: a folder in which everybody writes may hold anybody's file.
fn is_open_to_all(folder: &Path) -> bool {
    let writable = |found: std::fs::Metadata| found.permissions().mode() & 0o002 != 0;
    // A folder that cannot be looked at holds no file that could be read.
    folder.metadata().is_ok_and(writable)
}

/// Reads the lines as Python's configparser does for Ansible: ` ;` begins a comment, a line that is set in goes on
/// with the value above it.
fn settings(text: &str) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    let (mut section, mut goes_on) = (String::new(), false);
    for (number, whole) in (1..).zip(text.lines()) {
        let line = whole.split(" ;").next().unwrap_or_default();
        let set_in = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if set_in && goes_on {
            if let Some(last) = all.last_mut() {
                last.value.push('\n');
                last.value.push_str(line);
            }
        } else if let Some(heading) = line.strip_prefix('[') {
            section = heading.trim_end_matches(']').trim().to_lowercase();
            goes_on = false;
        } else if let Some((key, value)) = line.split_once(['=', ':']) {
            all.push(Setting {
                section: section.clone(),
                key: key.trim().to_lowercase(),
                value: value.trim().to_owned(),
                line: number,
            });
            goes_on = true;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    /// Runs `work` in a folder `here` with a `home` beside it.
    fn in_a_folder(variables: &[(&str, &str)], work: impl FnOnce(&Path, &Surroundings<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["here", "home", "elsewhere"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let filled = |(name, value): &(&str, &str)| {
            let value = value.replace("ROOT", root.to_str().unwrap());
            ((*name).to_owned(), value)
        };
        let variables: BTreeMap<String, String> = variables.iter().map(filled).collect();
        let around = Surroundings {
            home: Some(&root.join("home")),
            working_folder: &root.join("here"),
            variable: &|name| variables.get(name).cloned(),
        };
        work(&root, &around);
    }

    #[test]
    fn without_a_file_the_paths_are_ansibles_own() {
        in_a_folder(&[], |root, around| {
            let config = AnsibleConfig::default();
            let paths = SearchPaths::of(&config, around);
            let own = root.join("home/.ansible");
            assert_eq!(
                paths.roles,
                [
                    own.join("roles"),
                    "/usr/share/ansible/roles".into(),
                    "/etc/ansible/roles".into()
                ]
            );
            assert_eq!(
                paths.collections,
                [
                    own.join("collections"),
                    "/usr/share/ansible/collections".into()
                ]
            );
        });
    }

    #[test]
    fn the_environment_wins_over_the_file_whose_paths_start_beside_it() {
        let file = "[defaults]\nroles_path = roles:~/more ; ours\ncollections_path=./deps/ansible_collections\n";
        in_a_folder(&[], |root, around| {
            fs::write(root.join("here/ansible.cfg"), file).unwrap();
            let paths = SearchPaths::of(&AnsibleConfig::find(around), around);
            assert_eq!(
                paths.roles,
                [root.join("here/roles"), root.join("home/more")]
            );
            assert_eq!(paths.collections, [root.join("here/deps")]);
        });
        let variables = [
            ("ANSIBLE_ROLES_PATH", "a:$BASE/b"),
            ("BASE", "/srv"),
            ("ANSIBLE_HOME", "ROOT/elsewhere"),
        ];
        in_a_folder(&variables, |root, around| {
            fs::write(root.join("here/ansible.cfg"), file).unwrap();
            let config = AnsibleConfig::find(around);
            let paths = SearchPaths::of(&config, around);
            assert_eq!(paths.roles, [root.join("here/a"), "/srv/b".into()]);
            assert_eq!(
                config.ansible_home(around),
                Some(root.join("elsewhere")),
                "whatever lies in the home"
            );
        });
    }

    #[test]
    fn the_file_is_the_named_one_or_the_first_of_three() {
        in_a_folder(&[], |root, around| {
            fs::write(root.join("home/.ansible.cfg"), "[defaults]\n").unwrap();
            let found = |around| AnsibleConfig::find(around).path;
            assert_eq!(found(around), Some(root.join("home/.ansible.cfg")));
            let here = root.join("here/ansible.cfg");
            fs::write(&here, "[defaults]\n").unwrap();
            assert_eq!(found(around), Some(here));
        });
        in_a_folder(&[("ANSIBLE_CONFIG", "ROOT/elsewhere")], |root, around| {
            fs::write(root.join("here/ansible.cfg"), "[defaults]\n").unwrap();
            let config = AnsibleConfig::find(around);
            assert_eq!(config.path, Some(root.join("elsewhere/ansible.cfg")));
            assert_eq!(config.settings, []);
        });
    }

    #[test]
    fn in_a_folder_that_everybody_writes_in_no_file_counts_and_that_is_told() {
        in_a_folder(&[], |root, around| {
            let (folder, file) = (root.join("here"), root.join("here/ansible.cfg"));
            fs::write(&file, "[defaults]\nroles_path = evil\n").unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
            let config = AnsibleConfig::find(around);
            assert_eq!(config.get("defaults", "roles_path"), None);
            assert_eq!(config.passed_over, Some(file));
        });
    }

    #[test]
    fn a_value_goes_on_where_its_next_lines_are_set_in() {
        let text =
            "[galaxy]\nserver_list = a,\n  b\n# [x]\n[Galaxy_Server.a]\nURL: https://a ; here\n";
        let config = AnsibleConfig::read(Path::new("/c"), text);
        assert_eq!(config.get("galaxy", "server_list"), Some("a,\nb"));
        assert_eq!(config.get("galaxy_server.a", "url"), Some("https://a"));
    }

    #[test]
    fn a_role_is_found_by_its_name_alone_or_in_its_collection() {
        in_a_folder(&[], |root, _| {
            let paths = SearchPaths {
                roles: vec![root.join("here"), root.join("elsewhere")],
                collections: vec![root.join("home")],
            };
            let web = root.join("elsewhere/org.web");
            let nginx = root.join("home/ansible_collections/a/b/roles/nginx");
            for folder in [&web, &nginx] {
                fs::create_dir_all(folder).unwrap();
            }
            assert_eq!(paths.role("org.web"), Some(web));
            assert_eq!(paths.role("a.b.nginx"), Some(nginx));
            assert_eq!(paths.role("a.b.none"), None);
        });
    }
}
