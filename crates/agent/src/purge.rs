//! Removing every trace of ours, as before a machine becomes an image.

use std::io;
use std::path::Path;

use crate::{AgentError, io as failed};

/// Removes the folders named as arguments: the agents' and the runs'. This program's file too.
pub(crate) fn run(folders: &[String]) -> Result<(), AgentError> {
    for folder in folders {
        let folder = Path::new(folder);
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(failed("remove", folder))?,
        }
    }
    Ok(())
}
