//! Base roots: a suite of Debian or Ubuntu by mmdebstrap, or a root tarball. Made once and kept.
//!
//! A root is somebody else's: what is done in one is done by its own programs in a container
//! ([`inside`]), so that no link in it leads us to a file of this host.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::{Base, PhaseContext, TargetError};
use super::debts::Removal;
use super::host::{
    CACHE, Distribution, check_keyring, forget, make_folder, run, run_apart, set_mode,
};
use super::image::sha256;
use crate::ledger::Due;
use crate::manifest::{Arch, Source};
use crate::plan::BakePlan;

/// What a server image has that mmdebstrap's `minbase` has not.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,cloud-init,python3,iproute2,\
                        ca-certificates,procps,locales,curl,gzip,less,libnss-myhostname";

/// Where a root's cloud-init looks for its data: a folder, or nothing.
const CLOUD_CONFIG: &str = "\
datasource_list: [ NoCloud, None ]
locale: C.UTF-8
apt_preserve_sources_list: true
network: {config: disabled}
";

/// Makes a root one to boot from. Its argument is cloud-init's configuration.
const PREPARE: &str = r#"
set -eu
mkdir -p /etc/cloud/cloud.cfg.d
printf '%s' "$1" >/etc/cloud/cloud.cfg.d/90_container.cfg
# The container gets its own at boot; a link of the root would lead nowhere yet.
rm -f /etc/resolv.conf
: >/etc/resolv.conf
echo localhost >/etc/hostname
# mmdebstrap makes none, and not every resolver knows this name by itself.
[ -s /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >/etc/hosts
: >/etc/machine-id
rm -f /etc/ssh/ssh_host_*
# By its date the emptied folder would pass for a fresh cache.
[ ! -d /var/lib/apt/lists ] || touch --date=@0 /var/lib/apt/lists
for file in /run/host-certificates/*.crt; do
  [ -e "$file" ] || continue
  cp "$file" "/usr/local/share/ca-certificates/amibake-host-${file##*/}"
  found=yes
done
[ -z "${found-}" ] || update-ca-certificates --fresh >/dev/null
"#;

/// Takes out of a stopped machine what was the builder's alone.
const UNPREPARE: &str = r"
set -eu
rmdir /var/lib/cloud/seed/nocloud /var/lib/cloud/seed 2>/dev/null || :
for file in /usr/local/share/ca-certificates/amibake-host-*; do
  [ -e $file ] || continue
  rm -f $file
  found=yes
done
[ -z ${found-} ] || update-ca-certificates --fresh >/dev/null
";

/// What a root is made of.
pub(super) enum Recipe {
    /// By mmdebstrap, which knows the mirror and the keys of each suite.
    Suite {
        /// Whose it is.
        of: Distribution,
        /// Its code name.
        suite: String,
    },
    /// Unpacked.
    Tarball {
        /// A path, or a URL.
        location: String,
        /// SHA-256 in hexadecimal digits.
        checksum: String,
    },
}

/// Returns what the root that `plan` starts from is made of: it is there, or can be made.
pub(super) fn recipe(plan: &BakePlan) -> Result<Recipe, TargetError> {
    let recipe = Recipe::of(plan)?;
    match &recipe {
        Recipe::Suite { of, .. } if !recipe.path(plan.arch).is_dir() => check_keyring(*of)?,
        Recipe::Suite { .. } | Recipe::Tarball { .. } => {}
    }
    Ok(recipe)
}

impl Recipe {
    fn of(plan: &BakePlan) -> Result<Self, TargetError> {
        match &plan.source {
            Source::Debian(suite) => Ok(Self::Suite {
                of: Distribution::Debian,
                suite: suite.clone(),
            }),
            Source::Ubuntu(release) => Ok(Self::Suite {
                of: Distribution::Ubuntu,
                suite: ubuntu_code_name(release),
            }),
            Source::Image { location, checksum } => tarball(plan, location, checksum.as_deref()),
            Source::Ami(_) | Source::Ssm(_) | Source::Filter(_) | Source::Manifest(_) => Err(
                TargetError::manifest("the container target cannot start from an AMI")
                    .with_hint("say `targets: {container: {source: {debian: bookworm}}}`"),
            ),
        }
    }

    /// Returns the root it makes, there or not.
    pub(super) fn base(&self, arch: Arch) -> Base {
        Base::Root {
            path: self.path(arch),
            name: self.name(arch),
        }
    }

    /// Returns where the root is kept.
    fn path(&self, arch: Arch) -> PathBuf {
        Path::new(CACHE).join("roots").join(self.name(arch))
    }

    /// Returns the root's name, which another recipe does not have.
    fn name(&self, arch: Arch) -> String {
        let made_of = match self {
            Self::Suite { suite, .. } => format!("{suite} {arch} {PACKAGES}"),
            Self::Tarball { checksum, .. } => checksum.clone(),
        };
        let digest = Sha256::digest(format!(
            "{made_of} {CLOUD_CONFIG} {PREPARE} {}",
            host_certificates_digest()
        ));
        let digest = hex::encode(&digest[..6]);
        match self {
            Self::Suite { suite, .. } => format!("{suite}-{arch}-{digest}"),
            Self::Tarball { .. } => format!("image-{arch}-{digest}"),
        }
    }
}

fn tarball(plan: &BakePlan, location: &str, checksum: Option<&str>) -> Result<Recipe, TargetError> {
    let remote = location.contains("://");
    let beside = plan.manifest.parent().unwrap_or(Path::new("."));
    let location = if remote {
        location.to_owned()
    } else {
        beside.join(location).display().to_string()
    };
    let checksum = match checksum.and_then(|sum| sum.strip_prefix("sha256:")) {
        Some(sum) => sum.to_lowercase(),
        None => sha256(Path::new(&location)).map_err(|e| {
            TargetError::manifest(format!("source.image {location} cannot be read")).because(e)
        })?,
    };
    Ok(Recipe::Tarball { location, checksum })
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

/// Makes the root that `plan` starts from; under another name first, so that a half-made one never
/// appears at `path`.
pub(super) async fn make(
    plan: &BakePlan,
    path: &Path,
    cx: &PhaseContext<'_>,
) -> Result<(), TargetError> {
    let recipe = &recipe(plan)?;
    let doing = match recipe {
        Recipe::Suite { suite, .. } => {
            format!("making the base root of {suite}, once (about a minute)")
        }
        Recipe::Tarball { location, .. } => format!("unpacking {location}, once"),
    };
    cx.phase.progress(doing, None);
    make_folder(path.parent().unwrap_or(Path::new("/")))?;
    let work = path.with_extension(format!("making-{}", plan.run));
    let undo = Removal::RemovePath { path: work.clone() };
    cx.ledger.owe(Due::Always, undo)?;
    make_folder(&work)?;
    let root = work.join("root");
    match recipe {
        Recipe::Suite { suite, .. } => debootstrap(suite, plan.arch, &root).await?,
        Recipe::Tarball { location, checksum } => unpack(location, checksum, &work, &root).await?,
    }
    let certificates = format!("--bind-ro={HOST_CERTIFICATES}:/run/host-certificates");
    let has_some = !host_certificates().is_empty();
    let bind: Vec<&str> = has_some
        .then_some(certificates.as_str())
        .into_iter()
        .collect();
    inside(&root, &bind, PREPARE, &[CLOUD_CONFIG]).await?;
    match std::fs::rename(&root, path) {
        // Another process was faster; its root is as good.
        Err(_) if path.is_dir() => Ok(()),
        other => other,
    }
    .map_err(|e| {
        TargetError::new(format!("could not put the base root at {}", path.display())).because(e)
    })
}

async fn debootstrap(suite: &str, arch: Arch, root: &Path) -> Result<(), TargetError> {
    let (include, architecture) = (
        format!("--include={PACKAGES}"),
        format!("--architectures={arch}"),
    );
    let target = root.display().to_string();
    run_apart(
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
    .await
}

/// Unpacks a tarball that has been checked.
async fn unpack(
    location: &str,
    checksum: &str,
    work: &Path,
    root: &Path,
) -> Result<(), TargetError> {
    let file = fetched(location, work).await?;
    let found = sha256(&file)
        .map_err(|e| TargetError::new(format!("could not read {}", file.display())).because(e))?;
    if found != checksum {
        let message = format!("{location} has the checksum sha256:{found}, not sha256:{checksum}");
        return Err(TargetError::new(message));
    }
    make_folder(root)?;
    // A tarball need not have an entry for its root.
    set_mode(root, 0o755)?;
    let (file, target) = (file.display().to_string(), root.display().to_string());
    run(
        "tar",
        [
            "--extract",
            "--file",
            &file,
            "--directory",
            &target,
            "--preserve-permissions",
        ]
        .into_iter()
        .chain([
            "--numeric-owner",
            "--acls",
            "--xattrs",
            "--xattrs-include=*",
        ]),
    )
    .await
}

/// Returns the tarball's file: itself, or what was fetched from its URL.
async fn fetched(location: &str, work: &Path) -> Result<PathBuf, TargetError> {
    if !location.contains("://") {
        return Ok(PathBuf::from(location));
    }
    let file = work.join("image");
    let to = file.display().to_string();
    let options = [
        "--fail",
        "--location",
        "--silent",
        "--show-error",
        "--output",
    ];
    run("curl", options.into_iter().chain([to.as_str(), location])).await?;
    Ok(file)
}

/// Takes out of a stopped machine's root what was put there for building.
pub(super) async fn unprepare(root: &Path) -> Result<(), TargetError> {
    inside(root, &[], UNPREPARE, &[]).await
}

/// Runs a script in a container of its own over `root`, without a network.
async fn inside(
    root: &Path,
    options: &[&str],
    script: &str,
    arguments: &[&str],
) -> Result<(), TargetError> {
    let root = format!("--directory={}", root.display());
    // nspawn keeps a folder by this name, which a second one of it would share.
    let name = format!("amibake-inside-{:08x}", random()?);
    let machine = format!("--machine={name}");
    let fixed = [
        "--quiet",
        "--as-pid2",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--private-network",
        "--resolv-conf=off",
        "--timezone=off",
        "--pipe",
        &machine,
        &root,
    ];
    let mut words = fixed.to_vec();
    words.extend(options);
    words.extend(["/bin/sh", "-c", script, "sh"]);
    words.extend(arguments);
    let done = run_apart("systemd-nspawn", words).await;
    forget(&name);
    done
}

fn random() -> Result<u32, TargetError> {
    getrandom::u32()
        .map_err(|e| TargetError::new("a container's name could not be made").because(e))
}

const HOST_CERTIFICATES: &str = "/usr/local/share/ca-certificates";

/// Returns the certificates this host's administrator added. The builder trusts them: behind a
/// company's proxy nothing can be installed otherwise. They do not stay in the image.
fn host_certificates() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(HOST_CERTIFICATES).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .flatten()
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
    hex::encode(hash.finalize())
}
