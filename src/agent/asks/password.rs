//! The lookup `password`: reads the file of a password on this machine, or makes it.
//!
//! A name that the author wrote as it is may be any file, as with Ansible. One that an expression makes
//! could be of the target's choosing: it must lie in a folder of the run's playbooks, through no link, and
//! hold what the expression's own texts say, or else be private and one line.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use amibake_playbook::password::{Request, Stored};
use serde_json::{Map, Value as Json};
use sha1::{Digest as _, Sha1};

/// How long another process may hold the lock, as Ansible waits.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// No file of a password is longer.
const MOST_BYTES: u64 = 128 << 10;

/// How sure it is that the author means this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// The author wrote the name.
    Written,
    /// The texts that the author wrote are in it, in their order.
    Spelled,
    /// An expression made it, and nothing more is known.
    Computed,
}

/// The lock of a password's file, which goes when dropped.
struct Lock(PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // who removes it first does not matter
    }
}

/// Answers for one term. Relative names begin in `base`; `folders` are those of the run's playbooks.
pub(super) async fn password(
    term: &str,
    options: &Map<String, Json>,
    meant: Meant,
    base: &Path,
    folders: &[PathBuf],
) -> Result<String, String> {
    let request = Request::read(term, options)?;
    if request.is_stored_nowhere() {
        return request.answer(None, fill).map(|answer| answer.value);
    }
    let path = plain(&base.join(&request.path));
    let told = |error: io::Error| format!("the password file {}: {error}", path.display());
    if meant != Meant::Written {
        confined(&path, folders)?;
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if meant != Meant::Written {
        unlinked(folder, folders)?;
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

/// Returns a path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
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

fn read(path: &Path, meant: Meant) -> Result<Option<Stored>, String> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("the password file {}: {e}", path.display())),
    };
    let link = found.file_type().is_symlink();
    if meant != Meant::Written && (link || !found.is_file()) {
        return Err(format!("the password file {} is no file", path.display()));
    }
    let told = |e: io::Error| format!("the password file {}: {e}", path.display());
    if path.metadata().map_err(told)?.len() > MOST_BYTES {
        return Err(format!("the password file {} is too long", path.display()));
    }
    let content = fs::read_to_string(path).map_err(told)?;
    let private = matches!(found.permissions().mode() & 0o077, 0);
    let one_line = content.trim_end().lines().count() <= 1;
    if meant == Meant::Computed && !(private && one_line) {
        return Err(format!(
            "{} is not private to its owner and one line, as password files are; write its name, or a part of it, in the lookup",
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
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&new);
    let written = made.and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        fs::rename(&new, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new); // it may never have been there
    }
    written
}

/// Returns whether a lookup of `password` in `text`, on a line for which `near` holds, makes names of this
/// kind: its own texts are in `term`, in their order.
pub(super) fn spells(text: &str, near: impl Fn(u32) -> bool, term: &str) -> bool {
    (1..).zip(text.lines()).any(|(line, content)| {
        near(line)
            && content.match_indices("password").any(|(at, word)| {
                let pieces = pieces(&content[at + word.len()..]);
                !pieces.is_empty() && in_order(&pieces, term)
            })
    })
}

fn in_order(pieces: &[&str], term: &str) -> bool {
    let mut rest = term;
    pieces.iter().all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// Returns the literal texts of a lookup's first argument: those in quotes, without templates in them.
fn pieces(after_name: &str) -> Vec<&str> {
    let Some((_, args)) = after_name.split_once(',') else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut rest = args.trim_start();
    loop {
        let end = rest.find(['\'', '"', ',', ')']).unwrap_or(rest.len());
        let Some(quote) = rest[end..].chars().next().filter(|c| "'\"".contains(*c)) else {
            break;
        };
        let inner = &rest[end + 1..];
        let Some(close) = inner.find(quote) else {
            break;
        };
        let mut literal = &inner[..close];
        while let Some((before, after)) = literal.split_once("{{") {
            found.push(before);
            literal = after.split_once("}}").map_or("", |(_, after)| after);
        }
        found.push(literal);
        rest = &inner[close + 1..];
    }
    found.retain(|piece| piece.chars().any(char::is_alphanumeric));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(term: &str, meant: Meant, folder: &Path) -> Result<String, String> {
        password(term, &Map::new(), meant, folder, &[folder.to_path_buf()]).await
    }

    #[tokio::test]
    async fn a_password_is_made_once_and_kept_private() {
        let temp = tempfile::tempdir().unwrap();
        let first = ask("creds/db length=12", Meant::Spelled, temp.path())
            .await
            .unwrap();
        assert_eq!(first.chars().count(), 12);
        let again = ask("creds/db", Meant::Spelled, temp.path()).await.unwrap();
        assert_eq!(again, first);
        let file = temp.path().join("creds/db");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{first}\n"));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let nowhere = ask("/dev/null", Meant::Computed, temp.path())
            .await
            .unwrap();
        assert_ne!(nowhere, first);
    }

    #[tokio::test]
    async fn what_the_target_may_have_chosen_stays_in_the_playbooks_folder() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("play");
        fs::create_dir(&root).unwrap();
        let outside = temp.path().join("secret");
        fs::write(&outside, "secret\n").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(temp.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        fs::write(root.join("vars.yml"), "a: 1\nb: 2\n").unwrap();
        fs::write(root.join("shared"), "word\n").unwrap();
        for (name, meant) in [
            ("../secret", Meant::Spelled),
            (outside.to_str().unwrap(), Meant::Spelled),
            ("out/secret", Meant::Spelled),
            ("out/new/secret", Meant::Spelled),
            ("link", Meant::Spelled),
            (".vault", Meant::Spelled),
            ("vars.yml", Meant::Computed),
            ("shared", Meant::Computed),
        ] {
            let answer = ask(name, meant, &root).await;
            assert!(answer.is_err(), "{name}: {answer:?}");
        }
        assert_eq!(ask("shared", Meant::Spelled, &root).await.unwrap(), "word");
        assert_eq!(
            ask("../secret", Meant::Written, &root).await.unwrap(),
            "secret"
        );
    }

    #[test]
    fn a_name_is_spelled_if_the_lookups_texts_are_in_it() {
        let text = "x: \"{{ lookup('password', 'creds/' + host + '/db length=15') }}\"";
        let near = |_| true;
        assert!(spells(text, near, "creds/web1/db length=15"));
        assert!(!spells(text, near, "vault_pass"));
        assert!(!spells(text, |line| line > 1, "creds/web1/db length=15"));
        let embedded = "x: \"{{ lookup('password', 'pw/{{ host }}.txt', length=5) }}\"";
        assert!(spells(embedded, near, "pw/web1.txt"));
        assert!(!spells(
            "{{ lookup('password', name) }}",
            near,
            "vault_pass"
        ));
    }
}
