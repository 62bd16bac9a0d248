//! Base roots: Debian or Ubuntu by mmdebstrap, made once and kept.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::{Base, TargetError};
use super::host::{make_folder, run};
use crate::manifest::{Arch, Source};

/// What a server image has that mmdebstrap's `minbase` has not.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,cloud-init,python3,iproute2,\
                        ca-certificates,procps,locales,curl,gzip,less,libnss-myhostname";

/// Where a root's cloud-init looks for its data: a folder, or nothing.
const CLOUD_CONFIG: &str = "\
datasource_list: [ NoCloud, None ]
locale: C.UTF-8
apt_preserve_sources_list: true
network: {config: disabled}
system_info:
  default_user: {name: amibake, lock_passwd: true, gecos: amibake, groups: [adm, sudo], \
sudo: [\"ALL=(ALL) NOPASSWD:ALL\"], shell: /bin/bash}
";

/// Returns the root that `source` names, made now if it is not there yet.
pub(super) async fn base(source: &Source, arch: Arch) -> Result<Base, TargetError> {
    let suite = suite(source)?;
    let recipe = format!(
        "{suite} {arch} {PACKAGES} {CLOUD_CONFIG} {} hosts",
        host_certificates_digest()
    );
    let digest: String = Sha256::digest(recipe)
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    let name = format!("{suite}-{arch}-{digest}");
    let path = Path::new("/var/cache/amibake/roots").join(&name);
    if !path.is_dir() {
        make(&suite, arch, &path).await?;
    }
    Ok(Base {
        id: path.display().to_string(),
        name,
        arch,
    })
}

/// Returns the suite's code name; mmdebstrap knows the mirror and the keys of each.
fn suite(source: &Source) -> Result<String, TargetError> {
    match source {
        Source::Debian(suite) => Ok(suite.clone()),
        Source::Ubuntu(release) => Ok(ubuntu_code_name(release)),
        Source::Ami(_) | Source::Ssm(_) | Source::Filter(_) => Err(TargetError::manifest(
            "the container target cannot start from an AMI",
        )
        .with_hint("say `targets: {container: {source: {debian: bookworm}}}`")),
        Source::Image { .. } => Err(TargetError::manifest(
            "the container target starts from a suite, not yet from an image",
        )),
    }
}

fn ubuntu_code_name(release: &str) -> String {
    let name = match release {
        "20.04" => "focal",
        "22.04" => "jammy",
        "24.04" => "noble",
        "26.04" => "resolute",
        other => other,
    };
    name.to_owned()
}

/// Makes a root under another name first: a half-made one never appears at `path`.
async fn make(suite: &str, arch: Arch, path: &Path) -> Result<(), TargetError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    remove_half_made(folder);
    let work = path.with_extension(format!("making-{}", std::process::id()));
    let made = fill(suite, arch, &work).await;
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&work); // the error to tell is the one before
    }
    made?;
    match std::fs::rename(&work, path) {
        // Another process was faster; its root is as good.
        Err(_) if path.is_dir() => std::fs::remove_dir_all(&work),
        other => other,
    }
    .map_err(|e| {
        TargetError::new(format!("could not put the base root at {}", path.display())).because(e)
    })
}

/// Removes what processes that are no more left unfinished.
fn remove_half_made(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let maker = path
            .extension()
            .and_then(|e| e.to_str()?.strip_prefix("making-"));
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(&path); // in the way of nothing but the disk
        }
    }
}

async fn fill(suite: &str, arch: Arch, work: &Path) -> Result<(), TargetError> {
    let (include, architecture) = (
        format!("--include={PACKAGES}"),
        format!("--architectures={arch}"),
    );
    let target = work.display().to_string();
    run(
        "mmdebstrap",
        [
            "--quiet",
            "--variant=minbase",
            &include,
            &architecture,
            suite,
            &target,
        ],
    )
    .await?;
    write(work, "etc/cloud/cloud.cfg.d/90_amibake.cfg", CLOUD_CONFIG)?;
    // mmdebstrap copies the host's; the container gets its own at boot.
    write(work, "etc/resolv.conf", "")?;
    write(work, "etc/hostname", "localhost\n")?;
    // mmdebstrap makes none, and not every resolver knows this name by itself.
    write(
        work,
        "etc/hosts",
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    )?;
    write(work, "etc/machine-id", "")?;
    for key in glob_host_keys(work) {
        std::fs::remove_file(&key).map_err(|e| {
            TargetError::new(format!("could not remove {}", key.display())).because(e)
        })?;
    }
    // mmdebstrap empties the lists; by its date the folder would pass for a fresh cache.
    let lists = work.join("var/lib/apt/lists").display().to_string();
    run("touch", ["--date=@0", &lists]).await?;
    trust_host(work).await
}

fn write(root: &Path, path: &str, text: &str) -> Result<(), TargetError> {
    let path = root.join(path);
    std::fs::write(&path, text)
        .map_err(|e| TargetError::new(format!("could not write {}", path.display())).because(e))
}

fn glob_host_keys(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("etc/ssh"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|e| e.path())
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("ssh_host_"))
        })
        .collect()
}

const LOCAL_CERTIFICATES: &str = "usr/local/share/ca-certificates";

fn host_certificates() -> Vec<PathBuf> {
    let folder = Path::new("/").join(LOCAL_CERTIFICATES);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "crt"))
        .collect();
    paths.sort();
    paths
}

fn host_certificates_digest() -> String {
    let mut hash = Sha256::new();
    for path in host_certificates() {
        hash.update(std::fs::read(path).unwrap_or_default());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Lets the builder trust the certificates this host's administrator added: behind a company's
/// proxy nothing can be installed otherwise. They do not stay in the image ([`untrust_host`]).
async fn trust_host(root: &Path) -> Result<(), TargetError> {
    let certificates = host_certificates();
    for path in &certificates {
        let name = path.file_name().unwrap_or_default();
        let to = root
            .join(LOCAL_CERTIFICATES)
            .join(format!("amibake-host-{}", name.to_string_lossy()));
        std::fs::copy(path, &to).map_err(|e| {
            TargetError::new(format!("could not copy {}", path.display())).because(e)
        })?;
    }
    if certificates.is_empty() {
        Ok(())
    } else {
        update_certificates(root).await
    }
}

/// Removes from a stopped machine what [`trust_host`] put there.
pub(super) async fn untrust_host(root: &Path) -> Result<(), TargetError> {
    let entries = std::fs::read_dir(root.join(LOCAL_CERTIFICATES))
        .into_iter()
        .flatten()
        .flatten();
    let ours: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("amibake-host-"))
        })
        .collect();
    for path in &ours {
        std::fs::remove_file(path).map_err(|e| {
            TargetError::new(format!("could not remove {}", path.display())).because(e)
        })?;
    }
    if ours.is_empty() {
        Ok(())
    } else {
        update_certificates(root).await
    }
}

async fn update_certificates(root: &Path) -> Result<(), TargetError> {
    let root = root.display().to_string();
    run(
        "chroot",
        [root.as_str(), "update-ca-certificates", "--fresh"],
    )
    .await
}
