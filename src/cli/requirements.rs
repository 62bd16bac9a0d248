//! What a manifest's `requirements` name is there before the manifest is read: its roles are found by their names.

use std::path::Path;

use super::CommandContext;
use super::install::installing;
use crate::exit::Failure;
use crate::manifest;

/// Installs what the lock file says, into the cache. A manifest without `requirements` needs nothing.
pub(super) async fn make_ready(
    path: &Path,
    offline: bool,
    cx: &CommandContext,
) -> Result<(), Failure> {
    let Some(set) = manifest::requirements(path).map_err(Failure::usage)? else {
        return Ok(());
    };
    if set.is_there() {
        return Ok(());
    }
    let cancel = cx.interrupt.cancel.clone();
    installing(cx, move |cache, config, around, tell| {
        set.install(cache, config, around, offline, &cancel, tell)
    })
    .await
}
