//! `stat`: all there is to know about a file.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::attrs;
use crate::digest;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::run_command::{Command, bin_path};
use crate::users;

pub(super) struct Stat;

impl ActionModule for Stat {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let given = args.required("path")?;
        let path = Path::new(given);
        let read = match args.bool("follow") {
            true => std::fs::metadata(path),
            false => std::fs::symlink_metadata(path),
        };
        let meta = match read {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(answer(json!({"exists": false})));
            }
            Err(e) => return Err(Failure::new(paths::reason(&e))),
        };
        let mut stat = Map::new();
        stat.insert("exists".to_owned(), Json::from(true));
        stat.insert("path".to_owned(), Json::from(given));
        stat.extend(facts(&meta));
        stat.extend(more_facts(path, &meta));
        if args.bool("get_checksum") && meta.is_file() && stat["readable"] == true {
            let algorithm = args.required("checksum_algorithm")?;
            let checksum = digest::file_checksum(path, algorithm).map_err(|e| {
                Failure::new(format!(
                    "Could not hash file '{given}' with algorithm '{algorithm}': {e}"
                ))
            })?;
            stat.insert("checksum".to_owned(), Json::from(checksum));
        }
        if args.bool("get_mime") {
            stat.extend(mime(given, context));
        }
        if args.bool("get_attributes") {
            stat.extend(flags(path));
        }
        Ok(answer(Json::Object(stat)))
    }
}

fn answer(stat: Json) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.result.insert("stat".to_owned(), stat);
    outcome
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

/// The fields that `stat` and `find` share, `find`'s order aside.
pub(super) fn facts(meta: &Metadata) -> Map<String, Json> {
    let mode = meta.mode();
    let kind = meta.file_type();
    let bit = |bit: u32| mode & bit != 0;
    #[expect(clippy::cast_precision_loss, reason = "Python's float does the same")]
    let time = |seconds: i64, nanos: i64| seconds as f64 + nanos as f64 * 1e-9;
    object(json!({
        "mode": format!("{:04o}", meta.permissions().mode() & 0o7777),
        "isdir": kind.is_dir(),
        "ischr": kind.is_char_device(),
        "isblk": kind.is_block_device(),
        "isreg": kind.is_file(),
        "isfifo": kind.is_fifo(),
        "islnk": kind.is_symlink(),
        "issock": kind.is_socket(),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "size": meta.size(),
        "inode": meta.ino(),
        "dev": meta.dev(),
        "nlink": meta.nlink(),
        "atime": time(meta.atime(), meta.atime_nsec()),
        "mtime": time(meta.mtime(), meta.mtime_nsec()),
        "ctime": time(meta.ctime(), meta.ctime_nsec()),
        "wusr": bit(0o200), "rusr": bit(0o400), "xusr": bit(0o100),
        "wgrp": bit(0o020), "rgrp": bit(0o040), "xgrp": bit(0o010),
        "woth": bit(0o002), "roth": bit(0o004), "xoth": bit(0o001),
        "isuid": bit(0o4000), "isgid": bit(0o2000),
    }))
}

/// The fields of `stat` alone.
fn more_facts(path: &Path, meta: &Metadata) -> Map<String, Json> {
    let mut facts = object(json!({
        "blocks": meta.blocks(),
        "block_size": meta.blksize(),
        "device_type": meta.rdev(),
        "readable": access(path, AccessFlags::R_OK).is_ok(),
        "writeable": access(path, AccessFlags::W_OK).is_ok(),
        "executable": access(path, AccessFlags::X_OK).is_ok(),
    }));
    let mut put = |name: &str, value: String| facts.insert(name.to_owned(), Json::from(value));
    if meta.file_type().is_symlink() {
        put(
            "lnk_source",
            paths::real(path).to_string_lossy().into_owned(),
        );
        if let Ok(target) = std::fs::read_link(path) {
            put("lnk_target", target.to_string_lossy().into_owned());
        }
    }
    if let Some(user) = users::user_by_id(meta.uid()) {
        put("pw_name", user.name);
    }
    if let Some(group) = users::group_by_id(meta.gid()) {
        put("gr_name", group.name);
    }
    facts
}

/// Asks the `file` command, where there is one.
fn mime(path: &str, context: &mut Context<'_>) -> Map<String, Json> {
    let mut found = ("unknown".to_owned(), "unknown".to_owned());
    if let Some(program) = bin_path("file", context) {
        let program = program.to_string_lossy();
        let command = Command::new([program.as_ref(), "--mime-type", "--mime-encoding", path]);
        let ran = command.run(context).ok().filter(|ran| ran.rc == 0);
        if let Some(parsed) = ran.as_ref().and_then(|ran| parse_mime(&ran.stdout)) {
            found = parsed;
        }
    }
    object(json!({"mimetype": found.0, "charset": found.1}))
}

/// Reads `PATH: text/plain; charset=us-ascii`.
fn parse_mime(output: &str) -> Option<(String, String)> {
    let (kind, charset) = output.rsplit_once(':')?.1.split_once(';')?;
    let charset = charset.split_once('=')?.1;
    Some((kind.trim().to_owned(), charset.trim().to_owned()))
}

const FLAG_NAMES: &[(char, &str)] = &[
    ('A', "noatime"),
    ('a', "append"),
    ('c', "compressed"),
    ('C', "nocow"),
    ('d', "nodump"),
    ('D', "dirsync"),
    ('e', "extents"),
    ('E', "encrypted"),
    ('h', "blocksize"),
    ('i', "immutable"),
    ('I', "indexed"),
    ('j', "journalled"),
    ('N', "inline"),
    ('s', "zero"),
    ('S', "synchronous"),
    ('t', "notail"),
    ('T', "blockroot"),
    ('u', "undelete"),
    ('X', "compressedraw"),
    ('Z', "compresseddirty"),
];

fn flags(path: &Path) -> Map<String, Json> {
    let Some(found) = attrs::flags_of(path) else {
        return object(json!({"version": null, "attributes": [], "attr_flags": ""}));
    };
    let name = |flag| {
        FLAG_NAMES
            .iter()
            .find(|(known, _)| *known == flag)
            .map(|(_, name)| *name)
    };
    let names: Vec<&str> = found.flags.chars().filter_map(name).collect();
    object(json!({"version": found.version, "attributes": names, "attr_flags": found.flags}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mime_type_is_read_past_colons_in_the_path() {
        assert_eq!(
            parse_mime("/a:b: text/plain; charset=us-ascii\n"),
            Some(("text/plain".to_owned(), "us-ascii".to_owned()))
        );
    }
}
