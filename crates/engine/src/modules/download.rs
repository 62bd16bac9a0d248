//! Small files from the network: keys of repositories, and what tells about them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::args::Args;
use crate::http::{Call, masked};
use crate::module::Context;

use super::paths;

/// More than this is no key.
const LIMIT: u64 = 16 << 20;

/// Why there is nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// The server answered, and the answer was no.
    #[error("{msg}")]
    Refused { status: u16, msg: String },
    #[error("{reason}")]
    Failed { reason: String },
}

/// Returns what is at `url`, which may also be a file of this machine's.
pub(super) fn get(url: &str, args: &Args, context: &Context<'_>) -> Result<Vec<u8>, DownloadError> {
    let failed = |reason: String| DownloadError::Failed { reason };
    if let Some(path) = url.strip_prefix("file://") {
        let file = File::open(Path::new(path)).map_err(|e| {
            let code = e.raw_os_error().unwrap_or_default();
            let reason = paths::reason(&e);
            failed(format!(
                "Request failed: <urlopen error [Errno {code}] {reason}: '{path}'>"
            ))
        })?;
        return all(file).map_err(failed);
    }
    let call = Call::get(url, args, &context.environment);
    let mut reply = call.send().map_err(|e| failed(e.told()))?;
    if !reply.success() {
        return Err(DownloadError::Refused {
            status: reply.status,
            msg: reply.msg,
        });
    }
    all(reply.reader()).map_err(|reason| failed(format!("{}: {reason}", masked(url))))
}

fn all(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    match bytes.len() as u64 > LIMIT {
        true => Err(format!("it is larger than {} MiB", LIMIT >> 20)),
        false => Ok(bytes),
    }
}
