//! Embeds the agents of a release, which `cargo xtask dist` has built before.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=AMIBAKE_EMBED_AGENTS");
    let mut table = String::from(
        "/// Architecture, hash of the program, the program compressed by gzip.\n\
         pub(super) const EMBEDDED: &[(&str, &str, &[u8])] = &[\n",
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
            let hash = sha256(&program);
            writeln!(
                table,
                "    ({architecture:?}, {hash:?}, include_bytes!({:?})),",
                packed.display().to_string()
            )
            .expect("a string takes everything");
        }
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("agents.rs");
    fs::write(out, table).expect("cargo's folder can be written");
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output();
    let output = output.expect("sha256sum is there");
    assert!(output.status.success(), "{} is not there", file.display());
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}
