//! A container's image: the root as a tarball, and a result file beside it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::super::TargetError;
use super::host::{make_folder, run};
use crate::guest::gate::GateRecord;
use crate::plan::BakePlan;
use crate::private_file;

/// Packs a stopped machine's root, for root alone to read: password hashes and keys are in it.
pub(super) async fn pack(root: &Path, tarball: &Path) -> Result<(), TargetError> {
    make_folder(tarball.parent().unwrap_or(Path::new("/")))?;
    let made = private_file::create_new(tarball);
    made.map_err(|e| TargetError::new(format!("could not make {}", tarball.display())).because(e))?;
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
    gate: &GateRecord,
    base: &str,
    candidate: &Path,
    tarball: &Path,
) -> Result<(), TargetError> {
    let failed = |e: std::io::Error| {
        TargetError::new(format!("could not publish {}", tarball.display())).because(e)
    };
    let size_bytes = candidate.metadata().map_err(failed)?.len();
    let digest = sha256(candidate).map_err(failed)?;
    let result = serde_json::json!({
        "image": tarball,
        "name": plan.image.name,
        "arch": plan.arch,
        "base": base,
        "run": plan.run,
        "size_bytes": size_bytes,
        "sha256": digest,
        "ports": plan.image.ports,
        "hardening": plan.hardening(),
        "gate": gate,
    });
    std::fs::write(result_path(tarball), format!("{result:#}\n")).map_err(failed)?;
    std::fs::rename(candidate, tarball).map_err(failed)
}

/// Returns a file's SHA-256 in hexadecimal digits.
pub(super) fn sha256(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let (mut hash, mut buffer) = (Context::new(&SHA256), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let digest = hash.finish();
    Ok(hex::encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn an_image_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tarball = folder.path().join("images/web.tar.zst");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        pack(&root, &tarball).await.unwrap();
        let mode = tarball.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
