//! `update_cache`: the package lists, fetched again when they are too old.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::deadline;
use crate::module::{Context, Failure, Outcome};

use super::{apt_command, dpkg};

/// What became of the lists.
pub(super) struct Cache {
    pub(super) updated: bool,
    /// When they were last updated, in seconds since 1970.
    pub(super) time: i64,
    pub(super) warnings: Vec<String>,
}

impl Cache {
    /// Adds the fields that a `register` sees.
    pub(super) fn report(&self, mut outcome: Outcome) -> Outcome {
        let result = &mut outcome.result;
        result.insert("cache_updated".to_owned(), self.updated.into());
        result.insert("cache_update_time".to_owned(), self.time.into());
        outcome.warnings.extend(self.warnings.iter().cloned());
        outcome
    }
}

/// Updates the lists if that was asked for and they are older than `cache_valid_time`.
pub(super) fn refresh(args: &Args, context: &mut Context<'_>) -> Result<Cache, Failure> {
    let mut cache = Cache {
        updated: false,
        time: dpkg::lists_updated(),
        warnings: Vec::new(),
    };
    let valid = args.int("cache_valid_time").unwrap_or(0);
    let wanted = args.bool("update_cache") || valid != 0;
    if !wanted || cache.time + valid >= now() {
        return Ok(cache);
    }
    if context.check {
        cache.updated = true;
        return Ok(cache);
    }
    let before = cache.time;
    fetch(args, &mut cache.warnings, context)?;
    cache.time = dpkg::lists_updated();
    cache.updated = cache.time != before;
    Ok(cache)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Fetches, and tries again with growing pauses.
fn fetch(
    args: &Args,
    warnings: &mut Vec<String>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let retries = args.int("update_cache_retries").unwrap_or(5);
    let longest = args.int("update_cache_retry_max_delay").unwrap_or(12);
    let mut reason = "unknown reason".to_owned();
    for retry in 0..retries {
        match fetch_once(args, context)? {
            None => return Ok(()),
            Some(stderr) => reason = stderr,
        }
        warnings.push(format!(
            "Failed to update cache after {} retries due to {reason}, retrying",
            retry + 1
        ));
        let doubled = 1_i64 << retry.clamp(0, 20);
        let delay = doubled.min(longest).max(0);
        deadline::sleep(Duration::from_secs(delay.unsigned_abs()));
        warnings.push(format!(
            "Sleeping for {delay} seconds, before attempting to refresh the cache again"
        ));
    }
    Err(Failure::new(format!(
        "Failed to update apt cache after {retries} retries: {reason}"
    )))
}

/// Returns what apt-get complained about, if it failed. The lists' lock is waited for here, as
/// `DPkg::Lock::Timeout` is about dpkg's locks only.
pub(in crate::modules) fn fetch_once(
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Option<String>, Failure> {
    let limit = args.int("lock_timeout").unwrap_or(60).max(0).unsigned_abs();
    let deadline = Instant::now() + Duration::from_secs(limit);
    let lock = format!("DPkg::Lock::Timeout={limit}");
    let argv = [
        "apt-get",
        "update",
        "-q",
        "-o",
        "APT::Update::Error-Mode=any",
        "-o",
        &lock,
    ];
    let command = apt_command(argv).streamed();
    loop {
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        if ran.rc == 0 {
            return Ok(None);
        }
        if !ran.stderr.contains("Could not get lock") {
            return Ok(Some(ran.stderr.trim().to_owned()));
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "Failed to lock apt for exclusive operation: {}",
                ran.stderr.trim()
            )));
        }
        deadline::sleep(Duration::from_secs(1));
    }
}
