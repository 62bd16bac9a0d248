//! What `file` reads of the machine before it plans.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::below::Below;
use super::{Now, State, Want};
use crate::attrs::{self, Meta};
use crate::modules::paths;
use crate::place;

pub(super) fn read(want: &Want) -> io::Result<Now> {
    let own = match Meta::read(&want.path) {
        Err(e) if place::is_untrusted(&e) => return looked_at(want, e),
        own => own?,
    };
    let link = match &own {
        Some(meta) if meta.is_link() => Some(std::fs::read_link(&want.path)?),
        _ => None,
    };
    let path = match &link {
        Some(_) if want.follow => match behind(want) {
            Err(e) if place::is_untrusted(&e) => return looked_at(want, e),
            behind => behind?,
        },
        _ => want.path.clone(),
    };
    let meta = Meta::read(&path)?;
    let touched = link.is_some() && want.state == State::Touch;
    let nowhere = touched && Meta::follow(&want.path)?.is_none();
    let nowhere = nowhere.then(|| path.clone());
    let target = meta.map(|meta| want.attributes.target(&path, meta));
    let (accessed, modified) = times_of(&path);
    let is_dir = target.as_ref().is_some_and(|t| t.meta.is_dir());
    let below = match is_dir && want.recurse {
        true => Below::of(&path, want)?,
        false => Vec::new(),
    };
    let (parent, missing) = match (want.state, &target) {
        (State::Directory, None) => paths::missing(&path)?,
        (_, None) => (Meta::follow(paths::folder(&path))?, Vec::new()),
        (_, Some(_)) => (None, Vec::new()),
    };
    // Reading a directory changes when it was accessed: only where it matters.
    let occupied = want.state == State::Link
        && own.as_ref().is_some_and(Meta::is_dir)
        && std::fs::read_dir(&want.path).is_ok_and(|mut entries| entries.next().is_some());
    Ok(Now {
        before: own.as_ref().map_or("absent", attrs::state_of),
        source: None,
        target,
        accessed,
        modified,
        below,
        missing,
        parent,
        link,
        nowhere,
        occupied,
        untrusted: None,
    })
}

/// Reads what a link leads to that is not trusted. Whoever may look needs no trust, and so nothing
/// is refused where nothing is to be changed.
fn looked_at(want: &Want, refused: io::Error) -> io::Result<Now> {
    let looks = matches!(want.state, State::Directory | State::File) && !want.recurse;
    let (true, true, Ok(real)) = (looks, want.follow, std::fs::canonicalize(&want.path)) else {
        return Err(refused);
    };
    let (Some(meta), link) = (Meta::read(&real)?, want.path.is_symlink()) else {
        return Err(refused);
    };
    let (accessed, modified) = times_of(&real);
    let before = match link {
        true => "link",
        false => attrs::state_of(&meta),
    };
    let shown = if link { &real } else { &want.path };
    Ok(Now {
        before,
        target: Some(want.attributes.target(shown, meta)),
        accessed,
        modified,
        below: Vec::new(),
        missing: Vec::new(),
        parent: None,
        link: None,
        nowhere: None,
        source: None,
        occupied: false,
        untrusted: Some(refused.to_string()),
    })
}

/// Returns where the link at the path leads. One that is not trusted may still be replaced.
fn behind(want: &Want) -> io::Result<PathBuf> {
    let itself = matches!(want.state, State::Absent | State::Link | State::Hard);
    match place::real(&want.path) {
        Err(e) if itself && place::is_untrusted(&e) => Ok(want.path.clone()),
        found => found,
    }
}

pub(super) fn times_of(path: &Path) -> (SystemTime, SystemTime) {
    let Ok(meta) = std::fs::metadata(path) else {
        return (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    };
    let time = |seconds: i64, nanos: i64| {
        let seconds = Duration::from_secs(seconds.unsigned_abs());
        let nanos = Duration::from_nanos(nanos.unsigned_abs());
        SystemTime::UNIX_EPOCH + seconds + nanos
    };
    (
        time(meta.atime(), meta.atime_nsec()),
        time(meta.mtime(), meta.mtime_nsec()),
    )
}

/// Resolves `src` of a link: relative to where the link lies; of a hard link: where a new name is to
/// follow it.
pub(super) fn source(want: &Want, now: &Now) -> io::Result<Option<(PathBuf, Option<Meta>)>> {
    let src = match (&want.src, want.state) {
        (Some(src), State::Link | State::Hard) => PathBuf::from(src),
        (None, State::Link) => match &now.link {
            Some(old) if want.follow && want.path.exists() => old.to_owned(),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let base = match now.before {
        "directory" => want.path.clone(),
        _ => paths::folder(&want.path).to_owned(),
    };
    let absolute = match want.state {
        State::Link => base.join(src),
        _ => src,
    };
    let changed = want.state == State::Hard || want.attributes.any() || want.times.any();
    let meta = match Meta::follow(&absolute) {
        Err(e) if !changed && place::is_untrusted(&e) => {
            let there = absolute.exists();
            let foreseen = there.then(|| Meta::foreseen(attrs::NewFile::Regular, None));
            return Ok(Some((absolute, foreseen)));
        }
        found => found?,
    };
    let real = match want.state {
        State::Hard if !want.follow || now.before != "absent" => absolute,
        _ => place::real(&absolute)?,
    };
    Ok(Some((real, meta)))
}
