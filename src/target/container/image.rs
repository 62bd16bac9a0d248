//! A container's image: the root as a tarball, and a result file beside it.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::TargetError;
use super::host::{make_folder, run};
use crate::plan::BakePlan;

/// Packs a stopped machine's root.
pub(super) async fn pack(root: &Path, tarball: &Path) -> Result<(), TargetError> {
    make_folder(tarball.parent().unwrap_or(Path::new("/")))?;
    let (root, tarball) = (root.display().to_string(), tarball.display().to_string());
    let kept = [
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--numeric-owner",
        "--one-file-system",
    ];
    let args = [
        "--create",
        "--file",
        &tarball,
        "--use-compress-program=zstd -3 -T0",
        "--directory",
        &root,
    ];
    run("tar", args.into_iter().chain(kept).chain(["."])).await
}

/// Returns where the result of the image at `tarball` lies.
pub(super) fn result_path(tarball: &Path) -> PathBuf {
    let text = tarball.display().to_string();
    PathBuf::from(format!("{}.json", text.trim_end_matches(".tar.zst")))
}

/// Gives the candidate its final name and writes the result file.
pub(super) fn publish(
    plan: &BakePlan,
    base: &str,
    candidate: &Path,
    tarball: &Path,
) -> Result<(), TargetError> {
    let failed = |e: std::io::Error| {
        TargetError::new(format!("could not publish {}", tarball.display())).because(e)
    };
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(candidate).map_err(failed)?;
    let size_bytes = std::io::copy(&mut file, &mut hash).map_err(failed)?;
    let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let result = serde_json::json!({
        "image": tarball,
        "name": plan.image.name,
        "arch": plan.arch,
        "base": base,
        "run": plan.run,
        "size_bytes": size_bytes,
        "sha256": digest,
    });
    std::fs::write(result_path(tarball), format!("{result:#}\n")).map_err(failed)?;
    std::fs::rename(candidate, tarball).map_err(failed)
}
