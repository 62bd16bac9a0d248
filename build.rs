//! Embeds the agents of a release, which `cargo xtask dist` has built before, and says from which sources the
//! program is built: images of another one are not its own.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

fn main() {
    println!("cargo::rustc-env=AMIBAKE_BUILD={}", sources());
    println!("cargo::rerun-if-env-changed=AMIBAKE_EMBED_AGENTS");
    let mut table = String::from(
        "/// Architecture, SHA-256 and BLAKE2b of the program, the program compressed by gzip.\n\
         pub(super) const EMBEDDED: &[(&str, &str, &str, &[u8])] = &[\n",
    );
    // The programs `amibake-agent-ARCH`, each with its compressed form beside it.
    if let Some(agents) = env::var_os("AMIBAKE_EMBED_AGENTS") {
        for program in env::split_paths(&agents) {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let architecture = name
                .strip_prefix("amibake-agent-")
                .expect("the name of an agent");
            let packed = PathBuf::from(format!("{}.gz", program.display()));
            println!("cargo::rerun-if-changed={}", packed.display());
            let (hash, sum) = (digest("sha256sum", &program), digest("b2sum", &program));
            writeln!(
                table,
                "    ({architecture:?}, {hash:?}, {sum:?}, include_bytes!({:?})),",
                packed.display().to_string()
            )
            .expect("a string takes everything");
        }
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("agents.rs");
    fs::write(out, table).expect("cargo's folder can be written");
}

/// Has a program of coreutils' compute the digest of a file.
fn digest(program: &str, file: &Path) -> String {
    let output = Command::new(program).arg(file).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is there"));
    assert!(output.status.success(), "{} is not there", file.display());
    let line = String::from_utf8_lossy(&output.stdout);
    let digest = line.split_whitespace().next();
    digest.expect("it prints a digest").to_owned()
}

/// Returns the hash of all sources, wherever they lie.
fn sources() -> String {
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for name in ["Cargo.lock", "crates", "src"] {
        println!("cargo::rerun-if-changed={name}");
        list(&home.join(name), &mut files);
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let name = file
            .strip_prefix(&home)
            .expect("it lies there")
            .to_string_lossy();
        let bytes = fs::read(&file).expect("a source can be read");
        hasher.update(format!("{name}\n{}\n", bytes.len()));
        hasher.update(bytes);
    }
    hex::encode(hasher.finalize())
}

fn list(path: &Path, files: &mut Vec<PathBuf>) {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .for_each(|entry| list(&entry.path(), files)),
        Err(_) if path.is_file() => files.push(path.to_owned()),
        Err(_) => {} // a package of one crate has no others beside it
    }
}
