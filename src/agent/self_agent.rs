//! This program as an agent: a fully static one runs on every machine of its architecture. One with
//! agents embedded is none, so that the compiler leaves the engine out.

use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
use super::program::EMBEDDED;

/// Does an agent's work, if this program was started as one.
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
pub(crate) fn work() -> Option<ExitCode> {
    if !EMBEDDED.is_empty() {
        return None;
    }
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    amibake_agent::is_meant(&arguments).then(|| amibake_agent::main(arguments))
}

/// Returns the architecture and the file of the agent that this program is.
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
pub(super) fn program() -> Option<(&'static str, PathBuf)> {
    // Under this name it is found even where it was replaced meanwhile.
    let program = || (std::env::consts::ARCH, PathBuf::from("/proc/self/exe"));
    EMBEDDED.is_empty().then(program)
}

/// Is no agent: it would look for libraries that a machine need not have.
#[cfg(not(all(target_env = "musl", target_feature = "crt-static")))]
pub(crate) fn work() -> Option<ExitCode> {
    None
}

#[cfg(not(all(target_env = "musl", target_feature = "crt-static")))]
pub(super) fn program() -> Option<(&'static str, PathBuf)> {
    None
}
