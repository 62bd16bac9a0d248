//! What the container target needs of this host: root, tools, and running them.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::super::TargetError;
use super::cgroup;
use crate::manifest::Arch;

/// Where machines, and by default images, are.
pub(super) const HOME: &str = "/var/lib/amibake";

/// Where base roots are.
pub(super) const CACHE: &str = "/var/cache/amibake";

/// The tools, and the Debian package each is in.
const TOOLS: [(&str, &str); 9] = [
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("tar", "tar"),
    ("zstd", "zstd"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Whose suites mmdebstrap makes roots of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    Debian,
    Ubuntu,
}

/// Where packages put the keys that archives are signed with.
const KEYRINGS: &str = "/usr/share/keyrings";

impl Distribution {
    /// Returns the keyring that mmdebstrap takes for its suites, and the package it is in, which
    /// the other one has too and does not install by itself.
    fn keyring(self) -> (&'static str, &'static str) {
        match self {
            Self::Debian => ("debian-archive-keyring.gpg", "debian-archive-keyring"),
            Self::Ubuntu => ("ubuntu-archive-keyring.gpg", "ubuntu-keyring"),
        }
    }
}

/// Looks for what a distribution's packages are checked with. Without it mmdebstrap fails when it
/// has asked the mirror, and says no more than apt does.
pub(super) fn check_keyring(of: Distribution) -> Result<(), TargetError> {
    keyring(of, Path::new(KEYRINGS), on_path("gpg"))
}

fn keyring(of: Distribution, folder: &Path, has_gpg: bool) -> Result<(), TargetError> {
    let (file, package) = of.keyring();
    // mmdebstrap asks gpg whether apt trusts these keys already.
    let needed = [(folder.join(file).is_file(), package), (has_gpg, "gpg")];
    let missing = needed.iter().filter(|(there, _)| !there);
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install {}", missing.join(" "));
    let hint = match of {
        Distribution::Ubuntu if missing.contains(&package) => {
            format!("{install}; Debian 12 has {package} in bookworm-backports")
        }
        Distribution::Debian | Distribution::Ubuntu => install,
    };
    Err(TargetError::manifest(format!(
        "the container target lacks {}, by which it knows that packages are {of:?}'s",
        missing.join(", ")
    ))
    .with_hint(hint))
}

/// Looks at everything that would fail later.
pub(super) fn check(arch: Arch) -> Result<(), TargetError> {
    if !rustix::process::geteuid().is_root() {
        return Err(TargetError::manifest(
            "the container target needs root, for namespaces and mounts",
        )
        .with_hint("run it with sudo"));
    }
    if Arch::here() != Some(arch) {
        return Err(TargetError::manifest(format!(
            "a container runs on this host's processor, which is {}, not {arch}",
            std::env::consts::ARCH
        )));
    }
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !on_path(tool))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        return Err(TargetError::manifest(format!(
            "the container target lacks {}",
            missing.join(", ")
        ))
        .with_hint(format!("apt-get install {}", missing.join(" "))));
    }
    nested()?;
    not_on_an_overlay()
}

/// Makes a namespace of each kind and mounts in it: what cannot work is told before anything is made.
fn nested() -> Result<(), TargetError> {
    let works = std::process::Command::new("unshare")
        .args([
            "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "mount", "-t", "tmpfs",
            "none", "/mnt",
        ])
        .output();
    if works.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let inside = if Path::new("/.dockerenv").exists() {
        ": it seems to be a Docker container"
    } else if std::fs::read_to_string("/proc/version")
        .is_ok_and(|v| v.to_lowercase().contains("microsoft"))
    {
        ": it seems to be WSL"
    } else {
        ""
    };
    Err(TargetError::manifest(format!(
        "this host does not let root make namespaces and mounts{inside}"
    ))
    .with_hint("use a machine, or a virtual machine, with Debian or Ubuntu"))
}

/// A machine's disk is an overlay, whose upper layer cannot lie on another: Docker's own disk.
fn not_on_an_overlay() -> Result<(), TargetError> {
    let home = Path::new(HOME);
    let there = home.ancestors().find(|path| path.is_dir());
    let found = there.and_then(|path| rustix::fs::statfs(path).ok());
    if found.is_none_or(|found| found.f_type != OVERLAY) {
        return Ok(());
    }
    Err(TargetError::manifest(format!(
        "{} is on an overlay, as in a Docker container: machines cannot have their disks there",
        home.display()
    ))
    .with_hint(format!("mount a volume at {}", home.display())))
}

/// `OVERLAYFS_SUPER_MAGIC` of statfs(2).
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(tool).is_file())
}

/// Runs a tool to its end. It ends with us, however we end.
pub(super) async fn run<I, S>(program: &str, args: I) -> Result<(), TargetError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let failed = || TargetError::new(format!("`{program}` failed"));
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", program])
        .args(args)
        // An interrupted bake must not leave its tools running.
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| failed().because(e))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed().because(format!("{}: {stderr}", output.status)))
}

/// Runs a tool that starts others and mounts: none of that outlives it.
pub(super) async fn run_apart<I, S>(program: &str, args: I) -> Result<(), TargetError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let apart = ["--pid", "--mount-proc", "--fork", "--kill-child", program];
    let mut words: Vec<OsString> = apart.iter().map(OsString::from).collect();
    words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
    run("unshare", words).await
}

/// Makes a folder and those above it, for root alone.
pub(super) fn make_folder(path: &Path) -> Result<(), TargetError> {
    let mut folder = DirBuilder::new();
    folder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| TargetError::new(format!("could not make {}", path.display())).because(e))
}

/// Sets a folder's mode, as `chmod` does.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), TargetError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| {
        TargetError::new(format!("could not set the mode of {}", path.display())).because(e)
    })
}

/// Makes the folders that machines, images and roots are in. There are password hashes, keys and
/// programs with other people's set-user-id bit in them: nobody but root gets in.
pub(super) fn make_homes() -> Result<(), TargetError> {
    [HOME, CACHE].iter().try_for_each(|home| {
        make_folder(Path::new(home))?;
        refuse_others(Path::new(home))?;
        set_mode(Path::new(home), 0o700)
    })
}

/// Refuses a folder that somebody else made, or could have filled before it was closed.
fn refuse_others(home: &Path) -> Result<(), TargetError> {
    let found = home.symlink_metadata().map_err(|e| {
        TargetError::new(format!("could not look at {}", home.display())).because(e)
    })?;
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let home = home.display();
    let message = format!("{home} is not a folder that root alone can write");
    let hint =
        format!("look what is in it, then remove it, or `chown root {home} && chmod 700 {home}`");
    Err(TargetError::new(message).with_hint(hint))
}

/// Unmounts `path` if anything is mounted there.
pub(super) async fn unmount(path: &Path) -> Result<(), TargetError> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let wanted = path.display().to_string();
    if mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&wanted))
    {
        return run("umount", ["--lazy", &wanted]).await;
    }
    Ok(())
}

/// How long a machine whose plug is pulled may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// How long nspawn may take to see that its guest is gone, and to tidy up after itself.
const NOTICED: Duration = Duration::from_secs(3);

/// Ends the machine in `folder` at once, without asking it: for one that is thrown away.
///
/// The guest's processes are killed, not nspawn: killed alone, it would leave its guest running,
/// and killed by anybody it is not there to be asked.
pub(super) async fn pull_the_plug(name: &str, folder: &Path) -> Result<(), TargetError> {
    let begin = Instant::now();
    loop {
        let (guests, nspawn) = (guests(folder), nspawn(name));
        if guests.is_empty() && nspawn.is_none() && cgroup::remove(folder) {
            forget(name);
            return Ok(());
        }
        if begin.elapsed() > GONE {
            let message = format!("the processes of container {name} cannot be killed");
            return Err(TargetError::new(message));
        }
        let overdue = nspawn.filter(|_| begin.elapsed() > NOTICED);
        for pid in guests.into_iter().chain(overdue) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        sleep(Duration::from_millis(30)).await;
    }
}

/// Returns the nspawn that runs the machine `name`, whoever started it, or what is about to be it.
fn nspawn(name: &str) -> Option<Pid> {
    let wanted = format!("--machine={}", machine_name(name));
    processes().find(|pid| {
        let command = std::fs::read(proc(*pid, "cmdline")).unwrap_or_default();
        let has = |word: &[u8]| command.split(|b| *b == 0).any(|w| w == word);
        has(b"systemd-nspawn") && has(wanted.as_bytes())
    })
}

/// Returns the processes whose root is the overlay of the machine in `folder`.
fn guests(folder: &Path) -> Vec<Pid> {
    let layer = format!("upperdir={},", folder.join("upper").display());
    let ours = namespace(rustix::process::getpid());
    let of_machine = |pid: &Pid| {
        let mounts = std::fs::read_to_string(proc(*pid, "mountinfo")).unwrap_or_default();
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        root.is_some_and(|line| line.contains(&layer))
    };
    processes()
        .filter(|pid| namespace(*pid) != ours)
        .filter(of_machine)
        .collect()
}

/// Returns the mount namespace of a process, by its inode.
fn namespace(pid: Pid) -> Option<u64> {
    std::fs::metadata(proc(pid, "ns/mnt"))
        .ok()
        .map(|found| found.ino())
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

fn proc(pid: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Removes what an nspawn that was killed could not: it keeps folders by its machine's name.
pub(super) fn forget(name: &str) {
    let entries = std::fs::read_dir("/run/systemd/nspawn")
        .into_iter()
        .flatten();
    for kind in entries.flatten() {
        let left = kind.path().join(machine_name(name));
        let _not_there = std::fs::remove_dir_all(left);
    }
}

/// Returns the name nspawn is given: a host name has at most 64 characters.
pub(super) fn machine_name(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Returns the file with this host's name servers, as they can be reached from another namespace:
/// the stub of systemd-resolved listens on loopback only.
pub(super) fn resolver() -> PathBuf {
    let upstream = Path::new("/run/systemd/resolve/resolv.conf");
    let stub =
        std::fs::read_to_string("/etc/resolv.conf").is_ok_and(|text| text.contains("127.0.0.53"));
    if stub && upstream.exists() {
        upstream.to_owned()
    } else {
        PathBuf::from("/etc/resolv.conf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_not_begun_without_the_keys_of_its_packages() {
        use Distribution::{Debian, Ubuntu};
        let keyrings = tempfile::tempdir().unwrap();
        let said = |of, has_gpg| {
            let error = keyring(of, keyrings.path(), has_gpg).unwrap_err();
            format!("{error}: {}", error.hint().unwrap())
        };
        let ubuntu = said(Ubuntu, true);
        assert!(ubuntu.contains("lacks ubuntu-keyring,"), "{ubuntu}");
        let debian = said(Debian, false);
        let both = "apt-get install debian-archive-keyring gpg";
        assert!(debian.ends_with(both), "{debian}");
        std::fs::write(keyrings.path().join("debian-archive-keyring.gpg"), "").unwrap();
        assert!(said(Debian, false).ends_with("apt-get install gpg"));
        keyring(Debian, keyrings.path(), true).unwrap();
        said(Ubuntu, true);
    }

    #[test]
    fn a_state_folder_that_another_could_have_filled_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("amibake");
        make_folder(&folder).unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(refuse_others(&link).is_err());
        set_mode(&folder, 0o775).unwrap();
        let refused = refuse_others(&folder).unwrap_err();
        assert!(
            refused.to_string().ends_with("root alone can write"),
            "{refused}"
        );
        set_mode(&folder, 0o700).unwrap();
        if rustix::process::geteuid().is_root() {
            refuse_others(&folder).unwrap();
            std::os::unix::fs::chown(&folder, Some(65534), None).unwrap();
        }
        assert!(refuse_others(&folder).is_err());
    }

    #[test]
    fn folders_are_for_root_alone() {
        let home = tempfile::tempdir().unwrap();
        let images = home.path().join("amibake/images");
        make_folder(&images).unwrap();
        for path in [images.as_path(), images.parent().unwrap()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        }
    }
}
