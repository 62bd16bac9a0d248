//! `apt_repository`: one line of apt's older form, in a file of its own.
//!
//! Here: what is asked and done. The files and their lines are in [`sources`], Launchpad's archives
//! in [`ppa`].

mod ppa;
mod sources;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::apt::update;
use crate::args::Args;
use crate::attrs::{Attributes, Meta, NewFile, Target};
use crate::change;
use crate::deadline;
use crate::module::{ActionModule, Context, Failure, Outcome};
use ppa::Archive;
use sources::{Line, Sources};

pub(super) struct AptRepository;

impl ActionModule for AptRepository {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let repo = args.required("repo")?;
        if repo.is_empty() {
            let msg = "Please set argument 'repo' to a non-empty value";
            return Err(Failure::new(msg));
        }
        let state = args.str("state").unwrap_or("present");
        let before = Sources::read(Path::new("/etc/apt"))?;
        let mut after = before.clone();
        let made = match state {
            "present" => present(&mut after, repo, args, context)?,
            _ => {
                after.remove(&wanted(repo, args)?);
                None
            }
        };
        let changed = before.rendered() != after.rendered();
        let (added, removed) = before.difference(&after);
        let mut warnings = Vec::new();
        if changed && !context.check {
            save(&after, made.as_deref(), args, context)?;
            if args.bool("update_cache") {
                warnings = update_cache(args, context).inspect_err(|_| {
                    // The failure is the update's: what cannot be put back is there to be seen.
                    let back = before.restoration(&after);
                    let _ = back.and_then(|changes| change::apply(&changes, context));
                })?;
            }
        }
        let diff = match context.diff {
            true => diff(&before, &after, &added, &removed),
            false => json!([]),
        };
        let fields = json!({
            "repo": repo, "state": state, "diff": diff,
            "sources_added": shown(&added), "sources_removed": shown(&removed),
        });
        Ok(Outcome {
            warnings,
            ..Outcome::of(changed, fields)
        })
    }
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect()
}

/// Returns the source that a repository's text stands for.
fn wanted(repo: &str, args: &Args) -> Result<String, Failure> {
    match Archive::parse(repo, args)? {
        Some(archive) => Ok(archive.source()),
        None => valid(repo),
    }
}

fn valid(repo: &str) -> Result<String, Failure> {
    let line = Line::parse(repo);
    match line.is_valid && line.is_enabled {
        true => Ok(line.source),
        false => Err(Failure::new(format!(
            "Invalid repository string: {}",
            line.text
        ))),
    }
}

/// Adds the source, with its key if it is of Launchpad's; returns the file it is new in.
fn present(
    sources: &mut Sources,
    repo: &str,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let (source, suggested) = match Archive::parse(repo, args)? {
        Some(archive) => {
            let source = archive.source();
            if sources.has_enabled(&source) {
                return Ok(None);
            }
            archive.trust(args, context)?;
            (source, format!("{repo}_{}", archive.codename))
        }
        None => {
            let source = valid(repo)?;
            (source.clone(), source)
        }
    };
    let name = match args.str("filename") {
        Some(name) => name.to_owned(),
        None => sources::file_name(&suggested),
    };
    Ok(sources.add(&source, &format!("{name}.list")))
}

/// Writes what differs; a file that is new gets the mode that was asked for.
fn save(
    to: &Sources,
    made: Option<&Path>,
    args: &Args,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let mut changes = to.changes()?;
    if let Some(path) = made {
        let attributes = Attributes::read(args, path)?;
        let meta = Meta::follow(path).ok().flatten();
        let target = Target {
            path: path.to_owned(),
            meta: meta.unwrap_or_else(|| Meta::foreseen(NewFile::Regular, None)),
            flags: String::new(),
        };
        changes.extend(attributes.plan(&target, false)?);
    }
    change::apply(&changes, context)
}

/// Fetches the lists, and tries again with growing pauses; returns warnings.
fn update_cache(args: &Args, context: &mut Context<'_>) -> Result<Vec<String>, Failure> {
    let retries = args.int("update_cache_retries").unwrap_or(5);
    let longest = args.int("update_cache_retry_max_delay").unwrap_or(12);
    let mut warnings = Vec::new();
    let mut reason = "unknown reason".to_owned();
    for retry in 0..retries {
        match update::fetch_once(args, context)? {
            None => return Ok(warnings),
            Some(stderr) => reason = stderr,
        }
        warnings.push(format!(
            "Failed to update cache after {} due to {reason} retry, retrying",
            retry + 1
        ));
        let delay = (1_i64 << retry.clamp(0, 20)).min(longest).max(0);
        deadline::sleep(Duration::from_secs(delay.unsigned_abs()));
        warnings.push(format!(
            "Sleeping for {delay} seconds, before attempting to update the cache again"
        ));
    }
    let msg = format!("Failed to update apt cache after {retries} retries: {reason}");
    match warnings.is_empty() {
        true => Err(Failure::new(msg)),
        false => Err(Failure::new(msg).with("warnings", warnings)),
    }
}

/// As in Ansible only files that come or go are shown.
fn diff(before: &Sources, after: &Sources, added: &[PathBuf], removed: &[PathBuf]) -> Json {
    let (before, after) = (before.rendered(), after.rendered());
    let one = |path: &PathBuf| {
        let header = |there: bool| match there {
            true => path.to_string_lossy().into_owned(),
            false => "/dev/null".to_owned(),
        };
        json!({
            "before": before.get(path).cloned().unwrap_or_default(),
            "after": after.get(path).cloned().unwrap_or_default(),
            "before_header": header(before.contains_key(path)),
            "after_header": header(after.contains_key(path)),
        })
    };
    added.iter().chain(removed).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::check;

    #[test]
    fn what_is_no_source_is_told_as_it_was_read() {
        for (repo, told) in [
            ("http://a b c", "http://a b c"),
            ("# deb http://a b c", " deb http://a b c"),
            ("rpm http://a # why", "rpm http://a "),
        ] {
            let failure = check("apt_repository", json!({"repo": repo})).unwrap_err();
            assert_eq!(failure.msg, format!("Invalid repository string: {told}"));
        }
        let failure = check("apt_repository", json!({"repo": ""})).unwrap_err();
        assert!(failure.msg.contains("non-empty"));
    }
}
