//! What a manifest's `requirements` name is there before the manifest is read: its roles are found by their names.

use std::path::Path;

use super::CommandContext;
use super::install::{failed, on_a_thread, tell_passed_over};
use crate::ansible_config::{AnsibleConfig, with_surroundings};
use crate::exit::Failure;
use crate::galaxy::Cache;
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
    let (events, cancel) = (cx.events.clone(), cx.interrupt.cancel.clone());
    on_a_thread(cx, move || {
        let cache = Cache::here().map_err(Failure::new)?;
        let config = AnsibleConfig::here();
        tell_passed_over(&config, &events);
        let tell = |line| events.note(line);
        with_surroundings(|around| set.install(&cache, &config, around, offline, &cancel, &tell))
            .map_err(failed)
    })
    .await
}
