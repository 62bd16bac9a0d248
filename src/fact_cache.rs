//! Facts that outlive a run (`fact_caching = jsonfile`): a file of JSON for each host, as Ansible's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value as Json};

/// Where the facts of hosts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FactCache {
    pub(crate) folder: PathBuf,
    /// What the names of its files begin with.
    pub(crate) prefix: String,
    /// How old they may get; nothing is any age.
    pub(crate) timeout: Option<Duration>,
}

impl FactCache {
    /// Returns what is known of a host; nothing if that is too old, or cannot be read.
    pub(crate) fn read(&self, host: &str) -> Map<String, Json> {
        let read = || {
            let path = self.path(host)?;
            let age = path.metadata().ok()?.modified().ok()?.elapsed();
            let is_fresh = self
                .timeout
                .is_none_or(|timeout| age.is_ok_and(|age| age < timeout));
            let text = std::fs::read(&path).ok().filter(|_| is_fresh)?;
            serde_json::from_slice(&text).ok()
        };
        read().unwrap_or_default()
    }

    /// Keeps what is known of a host.
    pub(crate) fn write(&self, host: &str, facts: &Map<String, Json>) -> std::io::Result<()> {
        let Some(path) = self.path(host) else {
            return Ok(());
        };
        std::fs::create_dir_all(&self.folder)?;
        let text = serde_json::to_vec_pretty(facts)?;
        // Another run may read it meanwhile.
        let unready = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&unready, text)?;
        std::fs::rename(unready, path)
    }

    /// Forgets what is known of a host.
    pub(crate) fn forget(&self, host: &str) {
        if let Some(path) = self.path(host) {
            // What is not there is forgotten.
            let _gone = std::fs::remove_file(path);
        }
    }

    /// Returns a host's file, if its name can be a file's.
    fn path(&self, host: &str) -> Option<PathBuf> {
        let name = format!("{}{host}", self.prefix);
        let is_one = Path::new(&name).file_name() == Some(name.as_ref());
        is_one.then(|| self.folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_of_a_host_is_known_until_it_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = FactCache {
            folder: folder.path().join("facts"),
            prefix: "of_".to_owned(),
            timeout: None,
        };
        let facts = json!({"ansible_a": [1], "b": "{{ x }}"});
        let facts = facts.as_object().unwrap();
        assert_eq!(cache.read("h"), Map::new());
        cache.write("h", facts).unwrap();
        assert_eq!(&cache.read("h"), facts);
        assert!(folder.path().join("facts/of_h").is_file());
        cache.timeout = Some(Duration::ZERO);
        assert_eq!(cache.read("h"), Map::new());
        cache.timeout = None;
        cache.forget("h");
        assert_eq!(cache.read("h"), Map::new());
    }

    #[test]
    fn a_host_s_name_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FactCache {
            folder: folder.path().join("facts"),
            prefix: String::new(),
            timeout: None,
        };
        for name in ["../h", "a/b", "..", ""] {
            cache.write(name, &Map::new()).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
