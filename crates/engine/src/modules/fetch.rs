//! `fetch`, on this side: the file's content into the file that the executor has opened for it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::digest;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::shlex;
use crate::source::Source;

pub(super) struct Fetch;

/// What is said of a folder.
pub(crate) const FOLDER: &str = "remote file is a directory, fetch cannot work on directories";

impl ActionModule for Fetch {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let src = shlex::expand_user(args.required("src")?, &context.environment);
        let Some(Source::File { file, .. }) = context.sources.get("into") else {
            return Err(Failure::new("fetch needs the controller"));
        };
        let copied = copy(&src, file);
        let checksum = copied.map_err(|error| unreadable(&src, &error))?;
        let mut outcome = Outcome::default();
        outcome.result.insert("source".to_owned(), Json::from(src));
        outcome
            .result
            .insert("checksum".to_owned(), Json::from(checksum));
        Ok(outcome)
    }
}

/// Copies a file and returns its checksum.
fn copy(src: &str, into: &File) -> io::Result<String> {
    let from = File::open(src)?;
    if from.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    digest::checksum(Copied { from, into }, "sha1")
}

/// A file that is written elsewhere as it is read.
struct Copied<'a> {
    from: File,
    into: &'a File,
}

impl Read for Copied<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(part)?;
        self.into.write_all(&part[..n])?;
        Ok(n)
    }
}

fn unreadable(src: &str, error: &io::Error) -> Failure {
    let msg = match error.kind() {
        ErrorKind::NotFound => {
            "the remote file does not exist, not transferring, ignored".to_owned()
        }
        ErrorKind::IsADirectory => FOLDER.to_owned(),
        ErrorKind::PermissionDenied => format!("File is not readable: {src}"),
        _ => format!("Unable to slurp file: {src}: {error}"),
    };
    Failure::new(msg).with("source", json!(src))
}
