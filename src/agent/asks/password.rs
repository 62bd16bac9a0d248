//! The lookup `password`: reads the file of a password on this machine, or makes it.
//!
//! A name that the author wrote as it is may be any file, as with Ansible. One that an expression makes
//! could be of the target's choosing: it must lie in a folder of the run's playbooks, through no link, be no YAML and no
//! password of the run itself, and what is there already must be private and one line.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use amibake_playbook::files::normal;
use amibake_playbook::password::{Request, Stored};
use serde_json::{Map, Value as Json};
use sha1::{Digest as _, Sha1};

use super::AskPolicy;
use crate::private_file;

/// How long another process may hold the lock, as Ansible waits.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// No file of a password is longer.
const MOST_BYTES: u64 = 128 << 10;

/// How sure it is that the author means this file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meant<'a> {
    /// The author wrote the name.
    Written,
    /// An expression made it; the policy says where it may be.
    Computed(&'a AskPolicy),
}

/// The lock of a password's file, which goes when dropped.
struct Lock(PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // who removes it first does not matter
    }
}

/// Answers for one term. Relative names begin in `base`.
pub(super) async fn password(
    term: &str,
    options: &Map<String, Json>,
    meant: Meant<'_>,
    base: &Path,
) -> Result<String, String> {
    let request = Request::read(term, options)?;
    if request.is_stored_nowhere() {
        return request.answer(None, fill).map(|answer| answer.value);
    }
    let path = normal(&base.join(&request.path));
    let told = |error: io::Error| format!("the password file {}: {error}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    if let Meant::Computed(policy) = meant {
        confined(&path, &policy.folders)?;
        unlinked(folder, &policy.folders)?;
        foreign(&path, &policy.secrets)?;
    }
    private_folders(folder).map_err(told)?;
    let _lock = lock(&path, folder).await?;
    let stored = read(&path, meant)?;
    let answer = request.answer(stored, fill)?;
    if let Some(store) = answer.store {
        write(&path, &store.content()).map_err(told)?;
    }
    Ok(answer.value)
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("every Linux has a source of chance");
}

fn confined(path: &Path, folders: &[PathBuf]) -> Result<(), String> {
    let inside = folders
        .iter()
        .find_map(|folder| path.strip_prefix(folder).ok());
    let hidden = |part: Component<'_>| part.as_os_str().to_string_lossy().starts_with('.');
    match inside {
        Some(rest) if !rest.components().any(hidden) => Ok(()),
        _ => Err(format!(
            "the password file {} is not below the playbook's folder; write its name in the lookup as it is",
            path.display()
        )),
    }
}

/// Refuses what other readers take for theirs: YAML, and the files of the run's own passwords.
fn foreign(path: &Path, secrets: &[PathBuf]) -> Result<(), String> {
    let yaml = path.extension().is_some_and(|end| {
        ["yml", "yaml", "json"]
            .iter()
            .any(|known| end.eq_ignore_ascii_case(known))
    });
    let secret = fs::canonicalize(path).is_ok_and(|path| secrets.contains(&path));
    match yaml || secret {
        true => Err(format!("{} is no file of this password", path.display())),
        false => Ok(()),
    }
}

/// Refuses a folder that a link leads out of the playbooks' folders.
fn unlinked(folder: &Path, folders: &[PathBuf]) -> Result<(), String> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    // What is not there yet is made below what is.
    let folder = folder.ancestors().find_map(real);
    let inside = |root: &PathBuf| {
        let both = folder.as_ref().zip(real(root));
        both.is_some_and(|(folder, root)| folder.starts_with(root))
    };
    match folders.iter().any(inside) {
        true => Ok(()),
        false => Err("a link leads the password file out of the playbook's folder".to_owned()),
    }
}

fn private_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Takes the lock that Ansible takes, so that of several runs one makes the password.
async fn lock(path: &Path, folder: &Path) -> Result<Lock, String> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = hex::encode(Sha1::digest(path.as_os_str().as_bytes()));
    let lock = folder.join(format!("{name}.ansible_lockfile"));
    let mut waits = WAITS.into_iter();
    loop {
        match OpenOptions::new().write(true).create_new(true).open(&lock) {
            Ok(_) => return Ok(Lock(lock)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("{} cannot be made: {e}", lock.display())),
        }
        match waits.next() {
            Some(wait) => tokio::time::sleep(wait).await,
            None => {
                return Err(format!(
                    "Password lookup cannot get the lock in 7 seconds, abort... remove {} if no other run has it",
                    lock.display()
                ));
            }
        }
    }
}

fn read(path: &Path, meant: Meant<'_>) -> Result<Option<Stored>, String> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("the password file {}: {e}", path.display())),
    };
    let computed = matches!(meant, Meant::Computed(_));
    // A link is none either.
    if computed && !found.is_file() {
        return Err(format!("the password file {} is no file", path.display()));
    }
    let told = |e: io::Error| format!("the password file {}: {e}", path.display());
    if path.metadata().map_err(told)?.len() > MOST_BYTES {
        return Err(format!("the password file {} is too long", path.display()));
    }
    let content = fs::read_to_string(path).map_err(told)?;
    let private = matches!(found.permissions().mode() & 0o077, 0);
    let one_line = content.trim_end().lines().count() <= 1;
    if computed && !(private && one_line) {
        return Err(format!(
            "{} is not private to its owner and one line, as password files are; write its name in the lookup as it is",
            path.display()
        ));
    }
    Ok(Some(Stored::parse(&content)))
}

/// Replaces the file with one that only its owner reads.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = private_file::create_new(&new).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        fs::rename(&new, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new); // it may never have been there
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(folder: &Path) -> AskPolicy {
        AskPolicy {
            folders: vec![folder.to_path_buf()],
            ..AskPolicy::default()
        }
    }

    async fn computed(term: &str, policy: &AskPolicy) -> Result<String, String> {
        password(
            term,
            &Map::new(),
            Meant::Computed(policy),
            &policy.folders[0],
        )
        .await
    }

    #[tokio::test]
    async fn a_password_is_made_once_and_kept_private() {
        let temp = tempfile::tempdir().unwrap();
        let policy = policy(temp.path());
        let first = computed("creds/db length=12", &policy).await.unwrap();
        assert_eq!(first.chars().count(), 12);
        let again = computed("creds/db", &policy).await.unwrap();
        assert_eq!(again, first);
        let file = temp.path().join("creds/db");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{first}\n"));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let nowhere = computed("/dev/null", &policy).await.unwrap();
        assert_ne!(nowhere, first);
    }

    #[tokio::test]
    async fn what_the_target_may_have_chosen_stays_in_the_playbooks_folder() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("play");
        fs::create_dir(&root).unwrap();
        let outside = temp.path().join("secret");
        let private = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        private(&outside, "secret\n");
        std::os::unix::fs::symlink(temp.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        private(&root.join("vars.yml"), "a\n");
        private(&root.join("two"), "a: 1\nb: 2\n");
        private(&root.join("vault_pass"), "word\n");
        private(&root.join("own"), "word\n");
        fs::write(root.join("shared"), "word\n").unwrap();
        let policy = AskPolicy {
            secrets: vec![root.join("vault_pass").canonicalize().unwrap()],
            ..policy(&root)
        };
        for name in [
            "../secret",
            outside.to_str().unwrap(),
            "out/secret",
            "out/new/secret",
            "link",
            ".vault",
            "vars.yml",
            "pw/../vars.yml",
            "vars.yml chars=pw/",
            "new.YAML",
            "two",
            "vault_pass",
            "pw/../vault_pass",
            "shared",
        ] {
            let answer = computed(name, &policy).await;
            assert!(answer.is_err(), "{name}: {answer:?}");
        }
        assert_eq!(computed("own", &policy).await.unwrap(), "word");
        let written = password("../secret", &Map::new(), Meant::Written, &root).await;
        assert_eq!(written.unwrap(), "secret");
    }
}
