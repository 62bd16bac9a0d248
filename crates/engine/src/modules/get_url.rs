//! `get_url`: a file from the network, by checksum or date only if it has to be.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use amibake_playbook::pyre::{Flags, Regex};
use nix::errno::Errno;
use serde_json::{Map, Value as Json, json};
use tempfile::NamedTempFile;

use crate::args::Args;
use crate::atomic::How;
use crate::attrs::{self, Attributes, Meta, NewFile};
use crate::change::{self, Change, Content};
use crate::digest;
use crate::http::{Call, HttpError, Reply, masked};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::source::Source;

pub(super) struct GetUrl;

/// The checksum asked for.
struct Expected {
    algorithm: String,
    hex: String,
}

/// What was downloaded, not yet in its place.
struct Download {
    file: NamedTempFile,
    reply: Reply,
}

impl ActionModule for GetUrl {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut dest = PathBuf::from(args.required("dest")?);
        let url = args.required("url")?;
        let start = Instant::now();
        let mut fields = first_fields(url, &dest);
        let expected = expected(args, context, &fields)?;
        let is_dir = dest.is_dir();
        let mut force = args.bool("force");
        let mut since = None;
        if !is_dir && dest.exists() {
            if let Some(expected) = expected.as_ref().filter(|_| !force) {
                if expected.matches(&dest)? {
                    return already_there(args, &dest, fields, context);
                }
                force = true;
            }
            since = std::fs::metadata(&dest)
                .and_then(|m| m.modified())
                .ok()
                .filter(|_| !force);
        }
        let download = fetch(args, context, force, since, &dest)?;
        fields.insert("elapsed".to_owned(), Json::from(start.elapsed().as_secs()));
        let Some(download) = download else {
            let answer = json!({"url": masked(url), "dest": dest.to_string_lossy(), "status_code": 304,
                "msg": "HTTP Error 304: Not Modified", "elapsed": start.elapsed().as_secs()});
            return Ok(outcome(
                false,
                answer.as_object().cloned().unwrap_or_default(),
            ));
        };
        if is_dir {
            dest.push(file_name(&download.reply));
            fields.insert("dest".to_owned(), Json::from(dest.to_string_lossy()));
        }
        place(args, context, &dest, &download, expected.as_ref(), fields)
    }
}

fn first_fields(url: &str, dest: &Path) -> Map<String, Json> {
    let fields = json!({
        "checksum_dest": null, "checksum_src": null, "dest": dest.to_string_lossy(),
        "elapsed": 0, "url": masked(url),
    });
    fields.as_object().cloned().unwrap_or_default()
}

fn with(mut failure: Failure, fields: &Map<String, Json>) -> Failure {
    for (name, value) in fields {
        failure.result.entry(name.clone()).or_insert(value.clone());
    }
    failure
}

fn outcome(changed: bool, mut result: Map<String, Json>) -> Outcome {
    attrs::add_path_info(&mut result);
    Outcome {
        changed,
        result,
        ..Outcome::default()
    }
}

impl Expected {
    fn matches(&self, path: &Path) -> Result<bool, Failure> {
        let found = digest::file_checksum(path, &self.algorithm).map_err(|e| {
            let (path, algorithm) = (path.display(), &self.algorithm);
            Failure::new(format!(
                "Could not hash file '{path}' with algorithm '{algorithm}': {e}"
            ))
        })?;
        Ok(found == self.hex)
    }
}

/// Reads `sha256:HEX` or `sha256:https://…/SHA256SUMS`.
fn expected(
    args: &Args,
    context: &Context<'_>,
    fields: &Map<String, Json>,
) -> Result<Option<Expected>, Failure> {
    let given = args.str("checksum").unwrap_or_default();
    if given.is_empty() {
        return Ok(None);
    }
    let Some((algorithm, sum)) = given.split_once(':') else {
        let msg = "The checksum parameter has to be in format <algorithm>:<checksum>";
        return Err(with(Failure::new(msg), fields));
    };
    let scheme = sum.split_once("://").map(|(scheme, _)| scheme);
    let hex = match scheme {
        Some("http" | "https" | "ftp" | "file") => listed(args, context, sum)?,
        _ => sum.to_owned(),
    };
    let hex: String = hex
        .chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase();
    if hex.is_empty() || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        let failure = Failure::new("The checksum format is invalid");
        return Err(with(failure, fields));
    }
    Ok(Some(Expected {
        algorithm: algorithm.to_owned(),
        hex,
    }))
}

/// Gets a list of checksums and finds our file in it.
fn listed(args: &Args, context: &Context<'_>, url: &str) -> Result<String, Failure> {
    let dest = Path::new(args.required("dest")?);
    let unread = |e: io::Error| Failure::new(format!("could not read {}: {e}", masked(url)));
    let text = match url.strip_prefix("file://") {
        Some(path) => {
            let copy = local(path, url, dest)?.file;
            list_text(copy.reopen().map_err(unread)?)
        }
        None => {
            let mut call = Call::read(args, &context.environment);
            url.clone_into(&mut call.url);
            let mut reply = call.send().map_err(|e| unreachable(&e, url, dest))?;
            if reply.status != 200 {
                return Err(refused(&reply, url, dest));
            }
            list_text(reply.reader())
        }
    };
    let text = text.map_err(unread)?;
    let name = url_name(args.required("url")?);
    find_sum(&text, &name).ok_or_else(|| {
        let shown = masked(url);
        Failure::new(format!(
            "Unable to find a checksum for file '{name}' in '{shown}'"
        ))
    })
}

fn list_text(from: impl io::Read) -> io::Result<String> {
    const LIMIT: u64 = 16 << 20;
    io::read_to_string(from.take(LIMIT))
}

/// Finds the sum of `name` in a list as BSD or GNU tools write it, or in a file of one sum.
fn find_sum(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    if let [line] = lines[..]
        && line.split_whitespace().count() == 1
    {
        return Some(line.to_owned());
    }
    let bsd = Regex::new(
        r"^(\w+) ?\((?P<path>.+)\) ?= (?P<digest>[\w.]+)$",
        Flags::default(),
    )
    .ok()?;
    let gnu = Regex::new(
        r"^(?P<digest>[\w.]+)\s+(\*|\.\/|\.)?(?P<path>.+)$",
        Flags::default(),
    )
    .ok()?;
    lines.iter().find_map(|line| {
        let bytes = line.as_bytes();
        let part = |range: Option<std::ops::Range<usize>>| line.get(range?);
        if let Some(found) = bsd.search(bytes, 0).ok()? {
            return (part(found.get(2)) == Some(name))
                .then(|| part(found.get(3)).map(str::to_owned))?;
        }
        let found = gnu.search(bytes, 0).ok()??;
        let path = part(found.get(3))?.trim_start_matches(['.', '/']);
        (path == name).then(|| part(found.get(1)).map(str::to_owned))?
    })
}

fn already_there(
    args: &Args,
    dest: &Path,
    mut fields: Map<String, Json>,
    context: &mut Context<'_>,
) -> Result<Outcome, Failure> {
    let changed = give_attributes(args, dest, context)?;
    let msg = match changed {
        true => "file already exists but file attributes changed",
        false => "file already exists",
    };
    fields.insert("msg".to_owned(), Json::from(msg));
    Ok(outcome(changed, fields))
}

/// Sets mode and owner, unless in check mode; returns whether they differ.
pub(super) fn give_attributes(
    args: &Args,
    dest: &Path,
    context: &mut Context<'_>,
) -> Result<bool, Failure> {
    let attributes = Attributes::read(args, dest)?;
    let meta = Meta::read(dest).ok().flatten();
    let Some(meta) = meta else {
        return Ok(attributes.any());
    };
    let changes = attributes.plan(&attributes.target(dest, meta), context.check)?;
    if !context.check {
        change::apply(&changes, context)?;
    }
    Ok(!changes.is_empty())
}

/// Downloads beside the destination (or to `tmp_dest`); `None` if it is not newer.
fn fetch(
    args: &Args,
    context: &Context<'_>,
    force: bool,
    since: Option<SystemTime>,
    dest: &Path,
) -> Result<Option<Download>, Failure> {
    let mut call = Call::read(args, &context.environment);
    if context.check {
        "HEAD".clone_into(&mut call.method);
    }
    if let Some(time) = since.and_then(|time| jiff::Timestamp::try_from(time).ok()) {
        let date = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        call.default_header("If-Modified-Since", &date);
    } else if force {
        call.default_header("cache-control", "no-cache");
    }
    let url = args.required("url")?;
    if let Some(path) = url.strip_prefix("file://") {
        return local(path, url, dest).map(Some);
    }
    let mut reply = call.send().map_err(|e| unreachable(&e, url, dest))?;
    match reply.status {
        304 => return Ok(None),
        200 => {}
        _ => return Err(refused(&reply, url, dest)),
    }
    let mut file = temporary(args)?;
    let copied = io::copy(&mut reply.reader(), file.as_file_mut());
    copied.map_err(|e| Failure::new(format!("failed to create temporary content file: {e}")))?;
    Ok(Some(Download { file, reply }))
}

fn temporary(args: &Args) -> Result<NamedTempFile, Failure> {
    let made = match args.str("tmp_dest") {
        None => NamedTempFile::new(),
        Some(folder) if Path::new(folder).is_dir() => NamedTempFile::new_in(folder),
        Some(folder) if Path::new(folder).exists() => {
            return Err(Failure::new(format!(
                "{folder} is a file but should be a directory."
            )));
        }
        Some(folder) => return Err(Failure::new(format!("{folder} directory does not exist."))),
    };
    made.map_err(|e| Failure::new(format!("failed to create temporary content file: {e}")))
}

/// What a file of the machine itself comes with.
const NO_STATUS: u16 = 0;

fn local(path: &str, url: &str, dest: &Path) -> Result<Download, Failure> {
    let failed = |e: io::Error| {
        let reason = match e.raw_os_error().map(Errno::from_raw) {
            Some(code) => format!("[Errno {}] {}: '{path}'", code as i32, code.desc()),
            None => e.to_string(),
        };
        Failure::new(format!("Request failed: <urlopen error {reason}>"))
            .with("url", url)
            .with("dest", dest.to_string_lossy())
            .with("elapsed", 0)
    };
    let mut from = File::open(path).map_err(failed)?;
    let mut file = NamedTempFile::new().map_err(failed)?;
    let size = io::copy(&mut from, file.as_file_mut()).map_err(failed)?;
    Ok(Download {
        file,
        reply: Reply {
            status: NO_STATUS,
            msg: format!("OK ({size} bytes)"),
            url: url.to_owned(),
            headers: std::collections::BTreeMap::new(),
            cookies: Vec::new(),
            body: None,
            decompress: false,
        },
    })
}

fn unreachable(error: &HttpError, url: &str, dest: &Path) -> Failure {
    let failure = Failure::new(error.told()).with("url", masked(url));
    match error {
        HttpError::NoScheme { .. } => failure.with("status", -1),
        _ => failure
            .with("dest", dest.to_string_lossy())
            .with("elapsed", 0),
    }
}

fn refused(reply: &Reply, url: &str, dest: &Path) -> Failure {
    Failure::new("Request failed")
        .with("status_code", reply.status)
        .with("response", reply.msg.as_str())
        .with("url", masked(url))
        .with("dest", dest.to_string_lossy())
        .with("elapsed", 0)
}

pub(super) fn file_name(reply: &Reply) -> String {
    let header = reply
        .headers
        .get("content-disposition")
        .map_or("", String::as_str);
    let named = header
        .split(';')
        .find_map(|part| part.trim().strip_prefix("filename="));
    let name = named.map(|name| paths::basename(name.trim_matches('"')).to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| url_name(&reply.url))
}

/// Returns the last part of an address's path.
pub(super) fn url_name(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path.split_once('/').map(|(_, path)| paths::basename(path)) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "index.html".to_owned(),
    }
}

/// Compares what came with what is there, and replaces it.
fn place(
    args: &Args,
    context: &mut Context<'_>,
    dest: &Path,
    download: &Download,
    expected: Option<&Expected>,
    mut fields: Map<String, Json>,
) -> Result<Outcome, Failure> {
    let folder = dest
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let sum = |path: &Path, algorithm| digest::file_checksum(path, algorithm).ok();
    let (new, old) = (sum(download.file.path(), "sha1"), sum(dest, "sha1"));
    fields.insert("checksum_src".to_owned(), Json::from(new.clone()));
    fields.insert("checksum_dest".to_owned(), Json::from(old.clone()));
    let temporary = download.file.path().to_string_lossy().into_owned();
    fields.insert("src".to_owned(), Json::from(temporary.as_str()));
    if !dest.exists() && !folder.exists() {
        let msg = format!("Destination {} does not exist", folder.display());
        return Err(with(Failure::new(msg), &fields));
    }
    fields.insert("msg".to_owned(), Json::from(download.reply.msg.as_str()));
    if context.check {
        return Ok(outcome(new != old, fields));
    }
    if let Some(expected) = expected
        && !expected.matches(download.file.path())?
    {
        let found = sum(download.file.path(), &expected.algorithm).unwrap_or_default();
        let hex = &expected.hex;
        let msg = format!("The checksum for {temporary} did not match {hex}; it was {found}.");
        return Err(with(Failure::new(msg), &fields));
    }
    let mut changed = new != old;
    if changed {
        replace(args, context, dest, download, &mut fields)
            .map_err(|f| with(f, &fields.clone()))?;
    } else {
        changed = give_attributes(args, dest, context)?;
    }
    fields.insert("md5sum".to_owned(), Json::from(sum(dest, "md5")));
    let status = Some(download.reply.status).filter(|status| *status != NO_STATUS);
    fields.insert("status_code".to_owned(), Json::from(status));
    Ok(outcome(changed, fields))
}

fn replace(
    args: &Args,
    context: &mut Context<'_>,
    dest: &Path,
    download: &Download,
    fields: &mut Map<String, Json>,
) -> Result<(), Failure> {
    let mut changes = Vec::new();
    if args.bool("backup") && dest.exists() {
        let to = paths::backup_name(dest);
        fields.insert("backup_file".to_owned(), Json::from(to.to_string_lossy()));
        let path = dest.to_owned();
        changes.push(Change::Backup { path, to });
    }
    let opened = File::open(download.file.path()).and_then(Source::of_file);
    let source = opened.map_err(|e| Failure::new(format!("could not read the download: {e}")))?;
    changes.push(Change::Write {
        path: dest.to_owned(),
        content: Content {
            source,
            shown: String::new(),
        },
        how: How {
            unsafe_writes: args.bool("unsafe_writes"),
            ..How::default()
        },
    });
    // In one plan with the file: they are for what was written, whatever lies there by then.
    let attributes = Attributes::read(args, dest)?;
    let old = Meta::follow(dest).ok().flatten();
    let folder = dest.parent().and_then(|folder| Meta::follow(folder).ok());
    let meta = old.unwrap_or_else(|| Meta::foreseen(NewFile::Regular, folder.flatten().as_ref()));
    changes.extend(attributes.plan(&attributes.target(dest, meta), false)?);
    change::apply(&changes, context)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn sums_may_be_listed_in_a_file_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        std::fs::write(folder.path().join("f"), "x").unwrap();
        let listed = |sum: &str| {
            std::fs::write(folder.path().join("sums"), format!("{sum}  f\n")).unwrap();
            run(
                "get_url",
                json!({
                    "url": format!("file://{here}/f"), "dest": format!("{here}/got"),
                    "checksum": format!("sha256:file://{here}/sums"),
                }),
            )
        };
        let wrong = listed(&"0".repeat(64)).unwrap_err().msg;
        assert!(wrong.contains("did not match"), "{wrong}");
        let sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert!(listed(sum).unwrap().changed);
        assert_eq!(std::fs::read(folder.path().join("got")).unwrap(), b"x");
    }

    #[test]
    fn a_sum_is_found_in_every_kind_of_list() {
        assert_eq!(find_sum("abc\n", "f").as_deref(), Some("abc"));
        assert_eq!(find_sum("1 a\n2  *f\n3 g\n", "f").as_deref(), Some("2"));
        assert_eq!(find_sum("1 a\n2  ./f\n", "f").as_deref(), Some("2"));
        assert_eq!(
            find_sum("x y\nSHA256 (f) = 12\n", "f").as_deref(),
            Some("12")
        );
        assert_eq!(find_sum("1 a\n2 b\n", "f"), None);
    }

    #[test]
    fn a_file_is_named_after_its_address() {
        assert_eq!(url_name("http://h/a/b.tgz?x=/y"), "b.tgz");
        assert_eq!(url_name("http://h"), "index.html");
        assert_eq!(url_name("http://h/a/"), "index.html");
    }
}
