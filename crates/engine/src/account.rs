//! Steps of a user's plan that no single program does: home directories and SSH keys.
//!
//! They name the user rather than its numbers, since `useradd` chooses those on the way.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;

use crate::by_descriptor;
use crate::context::{Context, Failure};
use crate::place::{self, Place};
use crate::run_command::Command;
use crate::terminal::{Heard, Program, Terminal};
use crate::users::{self, User};

/// How often `ssh-keygen` asks for a passphrase.
const ASKED: usize = 2;
/// How long it may take to ask, or to end.
const PATIENCE: Duration = Duration::from_secs(900);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Make a home directory from a skeleton, unless it is there by now.
    Home {
        path: PathBuf,
        /// What is copied; nothing if it is missing.
        skeleton: PathBuf,
    },
    /// Give a home directory, and all that is in it, to its user.
    OwnHome { name: String, path: PathBuf },
    /// Make an SSH key pair for the user.
    SshKey {
        name: String,
        /// The private key, also relative to the home directory.
        file: PathBuf,
        /// The arguments of `ssh-keygen` besides the file.
        arguments: Vec<String>,
        /// What locks the private key, if anything does.
        #[serde(skip)]
        passphrase: Option<Passphrase>,
        /// Whether an older pair is replaced.
        overwrite: bool,
    },
}

/// What locks a private key; nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(pub(crate) String);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Takes one step.
pub(crate) fn take(step: &Step, context: &mut Context<'_>) -> Result<(), Failure> {
    match step {
        Step::Home { path, skeleton } => make_home(path, skeleton).map_err(|e| at(path, &e)),
        Step::OwnHome { name, path } => {
            let user = known(name)?;
            Place::of(path)
                .and_then(|home| by_descriptor::own_tree(&home, user.uid, user.gid))
                .map_err(|e| at(path, &e))
        }
        Step::SshKey {
            name,
            file,
            arguments,
            passphrase,
            overwrite,
        } => {
            let user = known(name)?;
            let make = |new: &Path| {
                let argv = keygen(arguments, new);
                match passphrase {
                    Some(passphrase) => make_locked(argv, passphrase, context),
                    None => Command::new(argv).checked(context).map(|_| ()),
                }
            };
            make_key(&user, file, *overwrite, make)
        }
    }
}

fn known(name: &str) -> Result<User, Failure> {
    users::user(name).ok_or_else(|| Failure::new(format!("failed to look up user name: {name}")))
}

fn at(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{error}: '{}'", path.display()))
}

fn make_home(path: &Path, skeleton: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    let made = Place::of(path)?.hold()?;
    let path = &place::by_descriptor(made.as_fd());
    if skeleton.is_dir() {
        copy_tree(skeleton, path)?;
    }
    if let Some(mode) = fs::read_to_string("/etc/login.defs")
        .ok()
        .map(|defs| home_mode(&defs))
    {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Copies files with their modes, and links as links.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Returns the mode that `login.defs` gives a home: `HOME_MODE`, then `UMASK`, then 0755.
fn home_mode(login_defs: &str) -> u32 {
    let octal = |name: &str| {
        let mut found = login_defs.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let digits = rest.trim();
            let fits = rest.starts_with(char::is_whitespace);
            u32::from_str_radix(digits, 8).ok().filter(|_| fits)
        });
        found.next_back()
    };
    octal("HOME_MODE").unwrap_or_else(|| octal("UMASK").map_or(0o755, |umask| 0o777 & !umask))
}

fn make_key(
    user: &User,
    file: &Path,
    overwrite: bool,
    make: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let file = Path::new(&user.home).join(file);
    let folder = file.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        make_key_folder(folder, user)
            .map_err(|e| Failure::new(format!("Failed to create {}: {e}", folder.display())))?;
    }
    // Made where nobody else can write: ssh-keygen follows any link.
    let apart = tempfile::tempdir().map_err(|e| at(&file, &e))?;
    let new = apart.path().join("key");
    make(&new)?;
    for (from, to) in [(&new, &file), (&public_key(&new), &public_key(&file))] {
        give_key(from, to, user, overwrite).map_err(|e| at(to, &e))?;
    }
    Ok(())
}

fn keygen(arguments: &[String], file: &Path) -> Vec<String> {
    let mut argv = vec!["ssh-keygen".to_owned()];
    argv.extend_from_slice(arguments);
    argv.extend(["-f".to_owned(), file.to_string_lossy().into_owned()]);
    argv
}

/// Tells `ssh-keygen` the passphrase when it asks: among its arguments everybody could read it.
fn make_locked(
    argv: Vec<String>,
    passphrase: &Passphrase,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let program = Program {
        argv,
        folder: None,
        echo: false,
    };
    let mut terminal = Terminal::start(&program, context)?;
    let line = format!("{}\n", passphrase.0).into_bytes();
    // It asks twice; more often where the two differ, which they do not.
    for _ in 0..=ASKED {
        match terminal.hear(Some(PATIENCE), passphrase_asked)? {
            Heard::Question(..) => terminal.say(&line)?,
            Heard::Nothing(_) => {
                return Err(Failure::new(
                    "ssh-keygen did not ask for a passphrase for 15 minutes",
                ));
            }
            Heard::End(said) => {
                return match terminal.end() {
                    Some(0) => Ok(()),
                    _ => Err(Failure::new(String::from_utf8_lossy(&said).trim())),
                };
            }
        }
    }
    Err(Failure::new("ssh-keygen did not take the passphrase"))
}

/// Returns where a question for the passphrase ends in what was said.
fn passphrase_asked(said: &[u8]) -> Option<(usize, usize)> {
    let text = String::from_utf8_lossy(said);
    let questions = ["Enter passphrase", "Enter same passphrase again"];
    let asked = questions.iter().any(|question| text.contains(question));
    (asked && text.trim_end().ends_with(':')).then_some((0, said.len()))
}

fn make_key_folder(path: &Path, user: &User) -> io::Result<()> {
    let place = Place::of(path)?;
    fs::create_dir(place.path())?;
    let made = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    made.set_permissions(Permissions::from_mode(0o700))?;
    fchown(&made, Some(user.uid), Some(user.gid))
}

/// Copies half a key to a new file of the user's.
fn give_key(from: &Path, to: &Path, user: &User, overwrite: bool) -> io::Result<()> {
    let mut from = File::open(from)?;
    let place = Place::of(to)?;
    if overwrite && place.metadata().is_ok() {
        fs::remove_file(place.path())?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut copy = place.open(flags, 0o600)?;
    io::copy(&mut from, &mut copy)?;
    copy.set_permissions(from.metadata()?.permissions())?;
    fchown(&copy, Some(user.uid), Some(user.gid))
}

/// Returns where the public half of a private key is.
pub(crate) fn public_key(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_command::tests::with_context;

    #[test]
    fn the_mode_of_a_home_comes_from_login_defs() {
        assert_eq!(home_mode("UMASK\t\t022\nHOME_MODE\t0700\n"), 0o700);
        assert_eq!(home_mode("#HOME_MODE 0700\nUMASK 027\n"), 0o750);
        assert_eq!(home_mode(""), 0o755);
    }

    #[test]
    fn a_key_is_locked_by_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let arguments = ["-q", "-t", "ed25519", "-C", "x"].map(str::to_owned);
        let passphrase = Passphrase("opens it".to_owned());
        with_context(|context| {
            make_locked(keygen(&arguments, &file), &passphrase, context).unwrap();
            let mut opens = |passphrase: &str| {
                let file = file.to_string_lossy();
                let argv = ["ssh-keygen", "-y", "-P", passphrase, "-f", &file];
                let ran = Command::new(argv).run(context);
                ran.is_ok_and(|ran| ran.rc == 0)
            };
            assert!(opens("opens it") && !opens("another") && !opens(""));
        });
        let shown = format!("{passphrase:?}");
        assert_eq!(shown, "***");
    }

    #[test]
    fn a_home_is_a_copy_of_the_skeleton() {
        let root = tempfile::tempdir().unwrap();
        let (skeleton, home) = (root.path().join("skel"), root.path().join("a/b"));
        fs::create_dir_all(skeleton.join(".config")).unwrap();
        fs::write(skeleton.join(".config/x"), "x").unwrap();
        symlink("x", skeleton.join(".link")).unwrap();
        make_home(&home, &skeleton).unwrap();
        assert_eq!(fs::read_to_string(home.join(".config/x")).unwrap(), "x");
        assert_eq!(fs::read_link(home.join(".link")).unwrap(), Path::new("x"));
    }
}
