//! What the container target needs of this host: root, tools, and running them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::super::TargetError;
use super::host_arch;
use crate::manifest::Arch;

/// The tools, and the Debian package each is in.
const TOOLS: [(&str, &str); 7] = [
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("tar", "tar"),
    ("zstd", "zstd"),
    ("mount", "mount"),
];

/// Looks at everything that would fail later.
pub(super) fn check(arch: Arch) -> Result<(), TargetError> {
    if !rustix::process::geteuid().is_root() {
        return Err(TargetError::manifest(
            "the container target needs root, for namespaces and mounts",
        )
        .with_hint("run it with sudo"));
    }
    if host_arch() != Some(arch) {
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
    nested()
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

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(tool).is_file())
}

/// Runs a tool to its end.
pub(super) async fn run<I, S>(program: &str, args: I) -> Result<(), TargetError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let failed = || TargetError::new(format!("`{program}` failed"));
    let output = Command::new(program)
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

/// Makes a folder and those above it, for root alone to list.
pub(super) fn make_folder(path: &Path) -> Result<(), TargetError> {
    std::fs::create_dir_all(path)
        .map_err(|e| TargetError::new(format!("could not make {}", path.display())).because(e))
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

/// Ends a container that another process started, by its name.
pub(super) async fn end_by_name(name: &str) -> Result<(), TargetError> {
    let wanted = format!("--machine={}", machine_name(name));
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let nspawn = command.starts_with(b"systemd-nspawn\0");
        if nspawn
            && command
                .split(|b| *b == 0)
                .any(|arg| arg == wanted.as_bytes())
        {
            let pid = entry.file_name().to_string_lossy().into_owned();
            run("kill", ["-TERM", &pid]).await?;
            wait_for_end(&entry.path()).await;
        }
    }
    Ok(())
}

async fn wait_for_end(process: &Path) {
    let deadline = tokio::time::Instant::now() + super::POWER_OFF;
    while process.exists() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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
