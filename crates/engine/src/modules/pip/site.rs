//! What a Python finds installed, read from its folders' metadata without starting it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep508_rs::{
    ExtraName, MarkerEnvironment, MarkerEnvironmentBuilder, Requirement, VersionOrUrl,
};

use super::requirement::{Installed, Plain, canonical};

/// Where Debian keeps its python3.
pub(super) const PYTHON: &str = "/usr/bin/python3";
/// The script that Debian's pip is.
const SCRIPT: &str = "#!/usr/bin/python3\n";
/// Parts of a marker whose values only the interpreter knows.
const UNKNOWN: &[&str] = &[
    "python_full_version",
    "implementation_version",
    "platform_release",
    "platform_version",
];

/// The distributions that one Python imports.
#[derive(Debug)]
pub(super) struct Site {
    found: BTreeMap<String, Distribution>,
    /// `3.11`.
    python: String,
    managed: bool,
}

#[derive(Debug)]
struct Distribution {
    version: String,
    metadata: PathBuf,
}

/// A requirement of a distribution, and the marker's extras that it was asked for with.
type Wanted = (String, BTreeSet<String>);

impl Site {
    /// Reads a virtual environment. `None` if it also sees the system's packages, or is none.
    pub(super) fn of_environment(environment: &Path) -> Option<Self> {
        let settings = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
        let shares = settings
            .lines()
            .filter_map(|line| line.split_once('='))
            .any(|(name, value)| {
                name.trim() == "include-system-site-packages" && value.trim() == "true"
            });
        if shares {
            return None;
        }
        let pythons = fs::read_dir(environment.join("lib")).ok()?;
        let mut pythons: Vec<PathBuf> = pythons.flatten().map(|entry| entry.path()).collect();
        pythons.retain(|python| python.join("site-packages").is_dir());
        let [python] = &pythons[..] else {
            return None;
        };
        let version = python.file_name()?.to_str()?.strip_prefix("python")?;
        Self::read(&[python.join("site-packages")], version)
    }

    /// Reads what the `python3` of the distribution below `root` sees for a user with this home.
    pub(super) fn of_system(root: &Path, home: &Path) -> Option<Self> {
        let name = name_of_system(root)?;
        let version = name.strip_prefix("python")?;
        let mut folders = vec![home.join(format!(".local/lib/{name}/site-packages"))];
        folders.extend(folders_of_system(root, &name));
        let mut site = Self::read(&folders, version)?;
        site.managed = root
            .join(format!("usr/lib/{name}/EXTERNALLY-MANAGED"))
            .exists();
        Some(site)
    }

    /// Reads the folders of a Python's path; what comes first counts.
    fn read(folders: &[PathBuf], python: &str) -> Option<Self> {
        let mut found = BTreeMap::new();
        for folder in folders {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let elsewhere = [".egg-link", ".egg"].iter().any(|end| name.ends_with(end))
                    || adds_a_path(&entry.path());
                if elsewhere {
                    return None;
                }
                if let Some((name, version)) = distribution(&name) {
                    found.entry(name).or_insert(Distribution {
                        version,
                        metadata: entry.path(),
                    });
                }
            }
        }
        Some(Self {
            found,
            python: python.to_owned(),
            managed: false,
        })
    }

    /// Returns whether pip refuses to touch it (PEP 668) unless told to.
    pub(super) fn is_managed(&self) -> bool {
        self.managed
    }

    /// Returns the version of what is installed under this name.
    pub(super) fn version(&self, name: &str) -> Option<&str> {
        self.found
            .get(&canonical(name))
            .map(|found| found.version.as_str())
    }

    /// Returns whether a version that will do is installed.
    pub(super) fn meets(&self, plain: &Plain) -> bool {
        let found = self.found.get(plain.name());
        found.is_some_and(|found| plain.takes(&found.version))
    }

    /// Returns whether pip would find nothing to install for `plain`: it is there, and so is what
    /// it requires, and what that requires. False where the metadata alone cannot tell.
    pub(super) fn satisfies(&self, plain: &Plain) -> bool {
        if !self.meets(plain) {
            return false;
        }
        let Some(environment) = environment(&self.python) else {
            return false;
        };
        let mut seen: BTreeSet<Wanted> = BTreeSet::new();
        let mut open = vec![(plain.name().to_owned(), BTreeSet::new())];
        while let Some(wanted) = open.pop() {
            if !seen.insert(wanted.clone()) {
                continue;
            }
            match self.required(&wanted, &environment) {
                Some(more) => open.extend(more),
                None => return false,
            }
        }
        true
    }

    /// Returns what a distribution requires, if all of it is there.
    fn required(&self, wanted: &Wanted, environment: &MarkerEnvironment) -> Option<Vec<Wanted>> {
        let (name, extras) = wanted;
        let extras: Vec<ExtraName> = extras
            .iter()
            .filter_map(|extra| ExtraName::from_str(extra).ok())
            .collect();
        let mut more = Vec::new();
        for line in requirements(&self.found.get(name)?.metadata)? {
            if UNKNOWN.iter().any(|part| line.contains(part)) {
                return None;
            }
            let requirement = Requirement::<pep508_rs::VerbatimUrl>::from_str(&line).ok()?;
            if !requirement.evaluate_markers(environment, &extras) {
                continue;
            }
            let name = canonical(requirement.name.as_ref());
            let version = self.found.get(&name)?.version.parse().ok()?;
            match requirement.version_or_url {
                None => {}
                Some(VersionOrUrl::VersionSpecifier(wanted)) if wanted.contains(&version) => {}
                Some(_) => return None,
            }
            let extras = requirement.extras.iter().map(ToString::to_string).collect();
            more.push((name, extras));
        }
        Some(more)
    }
}

impl From<&Site> for Installed {
    fn from(site: &Site) -> Self {
        let pairs = site.found.iter();
        Self::of(pairs.map(|(name, found)| (name.clone(), found.version.clone())))
    }
}

/// Returns whether the `python3` of the distribution below `root` can run `-m pip`.
pub(super) fn has_pip(root: &Path) -> bool {
    let folders = name_of_system(root).map(|name| folders_of_system(root, &name));
    let mut folders = folders.into_iter().flatten();
    folders.any(|folder| folder.join("pip/__init__.py").exists())
}

/// Returns whether a program is a script of the distribution's `python3`.
pub(super) fn is_script_of_system(program: &Path) -> bool {
    fs::read(program).is_ok_and(|text| text.starts_with(SCRIPT.as_bytes()))
}

/// Returns what the distribution's `python3` is called: `python3.11`.
fn name_of_system(root: &Path) -> Option<String> {
    let name = fs::read_link(root.join(PYTHON.trim_start_matches('/'))).ok()?;
    Some(name.to_str()?.to_owned())
}

/// Returns the folders that all users of the Python called `name` share, in the order of its path.
fn folders_of_system(root: &Path, name: &str) -> [PathBuf; 3] {
    [
        root.join(format!("usr/local/lib/{name}/dist-packages")),
        root.join("usr/lib/python3/dist-packages"),
        root.join(format!("usr/lib/{name}/dist-packages")),
    ]
}

/// Returns whether this is a `.pth` file that names a folder to look in.
fn adds_a_path(file: &Path) -> bool {
    if file.extension().is_none_or(|end| end != "pth") {
        return false;
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        let line = line.trim_end();
        !(line.is_empty() || line.starts_with('#') || line.starts_with("import"))
    })
}

/// Reads `Some_Name-1.0.dist-info` and `Name-1.0-py3.11.egg-info`.
fn distribution(folder: &str) -> Option<(String, String)> {
    let stem = folder
        .strip_suffix(".dist-info")
        .or_else(|| folder.strip_suffix(".egg-info"))?;
    // A tilde marks what pip had to leave half removed.
    if stem.starts_with('~') {
        return None;
    }
    let (name, rest) = stem.split_once('-')?;
    let version = rest.split("-py").next().unwrap_or(rest);
    Some((canonical(name), version.to_owned()))
}

/// Returns the requirements that a distribution's metadata states, each as PEP 508 writes it.
fn requirements(metadata: &Path) -> Option<Vec<String>> {
    // distutils wrote one file, which has no requirements.
    if metadata.is_file() {
        return Some(Vec::new());
    }
    if metadata.extension().is_some_and(|end| end == "egg-info") {
        let text = fs::read_to_string(metadata.join("requires.txt")).unwrap_or_default();
        return Some(of_sections(&text));
    }
    let text = fs::read(metadata.join("METADATA")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let head = text.lines().take_while(|line| !line.is_empty());
    let lines = head.filter_map(|line| line.strip_prefix("Requires-Dist:"));
    Some(lines.map(|line| line.trim().to_owned()).collect())
}

/// Reads setuptools' `requires.txt`: requirements, then those of `[extra]`, `[:marker]` and
/// `[extra:marker]`.
fn of_sections(text: &str) -> Vec<String> {
    let mut marker = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let (extra, given) = section.split_once(':').unwrap_or((section, ""));
            marker = match (extra, given) {
                ("", given) => format!("; {given}"),
                (extra, "") => format!("; extra == '{extra}'"),
                (extra, given) => format!("; ({given}) and extra == '{extra}'"),
            };
            continue;
        }
        found.push(format!("{line}{marker}"));
    }
    found
}

/// Returns what markers are judged by. What stands in [`UNKNOWN`] is made up.
fn environment(python: &str) -> Option<MarkerEnvironment> {
    let machine = nix::sys::utsname::uname().ok()?;
    let full = format!("{python}.0");
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: machine.machine().to_str()?,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &full,
        python_version: python,
        sys_platform: "linux",
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a root for tests, and its text.
    type Text<'a> = (&'a str, &'a str);

    fn root(files: &[Text<'_>]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn environment_of(files: &[Text<'_>]) -> tempfile::TempDir {
        let root = root(files);
        let settings = "include-system-site-packages = false\n";
        fs::write(root.path().join("pyvenv.cfg"), settings).unwrap();
        root
    }

    fn satisfies(root: &tempfile::TempDir, requirement: &str) -> bool {
        let site = Site::of_environment(root.path()).unwrap();
        site.satisfies(&Plain::parse(requirement).unwrap())
    }

    #[test]
    fn an_environment_is_read_from_its_metadata_folders() {
        let site = "lib/python3.11/site-packages";
        let root = environment_of(&[
            (&format!("{site}/Flask_Login-0.6.3.dist-info/METADATA"), ""),
            (&format!("{site}/old-1.0-py3.11.egg-info/PKG-INFO"), ""),
            (&format!("{site}/flask_login/__init__.py"), ""),
            (&format!("{site}/~ip-1.dist-info/METADATA"), ""),
        ]);
        let found = Installed::from(&Site::of_environment(root.path()).unwrap());
        assert_eq!(found, Installed::listed("flask-login==0.6.3\nold==1.0\n"));
        fs::remove_file(root.path().join("pyvenv.cfg")).unwrap();
        assert!(Site::of_environment(root.path()).is_none());
    }

    #[test]
    fn what_a_requirement_requires_must_be_there_too() {
        let site = "lib/python3.11/site-packages";
        let flask = "Name: flask\nRequires-Dist: click (>=8)\n\
                     Requires-Dist: asgiref; extra == 'async'\n\
                     Requires-Dist: old; python_version < '3'\n\nRequires-Dist: prose\n";
        let click = "Name: click\nRequires-Dist: colors; sys_platform == 'win32'\n";
        let flask = (format!("{site}/flask-3.0.dist-info/METADATA"), flask);
        let root = environment_of(&[(&flask.0, flask.1)]);
        assert!(!satisfies(&root, "flask"));
        let add = |name: &str, text: &str| {
            let path = root.path().join(site).join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("METADATA"), text).unwrap();
        };
        add("click-7.0.dist-info", click);
        assert!(!satisfies(&root, "flask"));
        fs::remove_dir_all(root.path().join(site).join("click-7.0.dist-info")).unwrap();
        add("click-8.1.dist-info", click);
        assert!(satisfies(&root, "flask"));
        assert!(!satisfies(&root, "flask>3"));
        add(
            "unsure-1.dist-info",
            "Requires-Dist: click; python_full_version < '4'\n",
        );
        assert!(
            !satisfies(&root, "unsure"),
            "no metadata tells the full version"
        );
    }

    #[test]
    fn setuptools_sections_are_markers() {
        let text =
            "click>=8\n\n[async]\nasgiref\n\n[:python_version<'3']\nold\n\n[a:os_name=='nt']\nb\n";
        assert_eq!(
            of_sections(text),
            [
                "click>=8",
                "asgiref; extra == 'async'",
                "old; python_version<'3'",
                "b; (os_name=='nt') and extra == 'a'"
            ]
        );
    }

    #[test]
    fn the_system_is_read_in_the_order_of_its_path() {
        let root = root(&[
            ("usr/bin/pip3", "#!/usr/bin/python3\nimport re\n"),
            ("usr/local/bin/pip3", "#!/opt/python/bin/python3\n"),
            (
                "usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO",
                "",
            ),
            (
                "usr/local/lib/python3.11/dist-packages/six-1.17.dist-info/METADATA",
                "",
            ),
            ("usr/lib/python3.11/EXTERNALLY-MANAGED", ""),
            (
                "home/.local/lib/python3.11/site-packages/own-1.dist-info/METADATA",
                "",
            ),
        ]);
        std::os::unix::fs::symlink("python3.11", root.path().join("usr/bin/python3")).unwrap();
        let home = root.path().join("home");
        let site = Site::of_system(root.path(), &home).unwrap();
        assert_eq!(site.version("six"), Some("1.17"), "what comes first counts");
        assert_eq!(site.version("Own"), Some("1"));
        assert!(site.is_managed());
        assert!(is_script_of_system(&root.path().join("usr/bin/pip3")));
        assert!(!is_script_of_system(
            &root.path().join("usr/local/bin/pip3")
        ));
        assert!(!has_pip(root.path()));
        let packages = root.path().join("usr/lib/python3/dist-packages");
        fs::create_dir(packages.join("pip")).unwrap();
        fs::write(packages.join("pip/__init__.py"), "").unwrap();
        assert!(has_pip(root.path()));
        fs::write(packages.join("more.pth"), "/srv/python\n").unwrap();
        let site = Site::of_system(root.path(), &home);
        assert!(site.is_none(), "there is more than was read");
    }
}
