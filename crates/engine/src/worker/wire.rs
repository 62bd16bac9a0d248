//! Between the agent and a worker: lengths and JSON over a socket pair, files beside it.
//!
//! A worker is less trusted than the agent, so what it announces is capped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use amibake_protocol::event::Stream;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::module::{Context, Failure, Outcome};
use crate::source::Source;

/// The longest message; two kept streams of a command fit in, escaped.
const MAX_BYTES: usize = 256 << 20;
/// Files in one piece; the kernel takes at most 253.
const FILES_AT_ONCE: usize = 128;

/// One task.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) module: String,
    pub(super) args: Map<String, Json>,
    pub(super) check: bool,
    pub(super) diff: bool,
    pub(super) environment: Vec<(String, String)>,
    /// `None` is: as with the last task.
    pub(super) facts: Option<Map<String, Json>>,
    pub(super) sources: Vec<(String, Packed)>,
    /// How long it may take.
    pub(super) limit: Option<std::time::Duration>,
}

impl Request {
    /// Returns a task as it travels, and the files that go with it; without `facts` they are those of the last.
    pub(super) fn of(
        module: &str,
        args: &Map<String, Json>,
        context: &Context<'_>,
        facts: Option<Map<String, Json>>,
        limit: Option<std::time::Duration>,
    ) -> io::Result<(Self, Vec<Arc<File>>)> {
        let (sources, files) = pack(&context.sources)?;
        let request = Self {
            module: module.to_owned(),
            args: args.clone(),
            check: context.check,
            diff: context.diff,
            environment: context.environment.clone(),
            facts,
            sources,
            limit,
        };
        Ok((request, files))
    }
}

/// A source as it travels; files and bytes take one descriptor each, in order.
#[derive(Serialize, Deserialize)]
pub(super) enum Packed {
    File { mode: u32 },
    Bytes,
    Directory,
    Link(String),
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Output {
        stream: Stream,
        line: String,
    },
    Outcome(WireOutcome),
    Failure {
        msg: String,
        result: Map<String, Json>,
    },
}

/// An [`Outcome`] as it travels.
#[derive(Serialize, Deserialize)]
pub(super) struct WireOutcome {
    changed: bool,
    skipped: bool,
    result: Map<String, Json>,
    diff: Json,
    warnings: Vec<String>,
}

impl Reply {
    pub(super) fn of(answer: Result<Outcome, Failure>) -> Self {
        match answer {
            Ok(outcome) => Self::Outcome(WireOutcome {
                changed: outcome.changed,
                skipped: outcome.skipped,
                result: outcome.result,
                diff: outcome.diff,
                warnings: outcome.warnings,
            }),
            Err(Failure { msg, result }) => Self::Failure { msg, result },
        }
    }
}

impl From<WireOutcome> for Outcome {
    fn from(wire: WireOutcome) -> Self {
        Self {
            changed: wire.changed,
            skipped: wire.skipped,
            result: wire.result,
            diff: wire.diff,
            warnings: wire.warnings,
        }
    }
}

/// Writes one message.
pub(super) fn send<T: Serialize>(mut to: &UnixStream, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let len = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_BYTES)
        .ok_or_else(|| io::Error::other("a message is too long for a worker"))?;
    to.write_all(&len.to_be_bytes())?;
    to.write_all(&body)
}

/// Reads one message; `None` is the end.
pub(super) fn receive<T: DeserializeOwned>(mut from: &UnixStream) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > MAX_BYTES {
        return Err(io::Error::other("a worker announced too long a message"));
    }
    let mut body = Vec::new();
    from.take(len as u64).read_to_end(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Turns sources into their description and the descriptors that go with it.
pub(super) fn pack(
    sources: &BTreeMap<String, Source>,
) -> io::Result<(Vec<(String, Packed)>, Vec<Arc<File>>)> {
    let (mut packed, mut files) = (Vec::new(), Vec::new());
    for (name, source) in sources {
        let one = match source {
            Source::File { file, mode } => {
                files.push(file.clone());
                Packed::File { mode: *mode }
            }
            Source::Bytes(bytes) => {
                files.push(Arc::new(in_memory(bytes)?));
                Packed::Bytes
            }
            Source::Directory => Packed::Directory,
            Source::Link(target) => Packed::Link(target.clone()),
        };
        packed.push((name.clone(), one));
    }
    Ok((packed, files))
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("amibake-source", flags)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Passes open files to the other side.
pub(super) fn send_files(to: &UnixStream, files: &[Arc<File>]) -> io::Result<()> {
    for some in files.chunks(FILES_AT_ONCE) {
        let descriptors: Vec<_> = some.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many files for one message"));
        }
        sendmsg(to, &[IoSlice::new(b"f")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Takes the files that `packed` needs and puts the sources together again.
pub(super) fn unpack(
    packed: &[(String, Packed)],
    from: &UnixStream,
) -> io::Result<BTreeMap<String, Source>> {
    let needs_file = |one: &&(String, Packed)| matches!(one.1, Packed::File { .. } | Packed::Bytes);
    let wanted = packed.iter().filter(needs_file).count();
    let mut files = receive_files(from, wanted)?.into_iter();
    let mut sources = BTreeMap::new();
    for (name, one) in packed {
        let mut file = || files.next().ok_or(io::ErrorKind::UnexpectedEof);
        let source = match one {
            Packed::File { mode } => Source::File {
                file: Arc::new(file()?),
                mode: *mode,
            },
            Packed::Bytes => {
                let mut bytes = Vec::new();
                let mut file = file()?;
                file.rewind()?;
                file.read_to_end(&mut bytes)?;
                Source::Bytes(bytes.into())
            }
            Packed::Directory => Source::Directory,
            Packed::Link(target) => Source::Link(target.clone()),
        };
        sources.insert(name.clone(), source);
    }
    Ok(sources)
}

fn receive_files(from: &UnixStream, wanted: usize) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    while files.len() < wanted {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                files.extend(descriptors.map(|fd: OwnedFd| File::from(fd)));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_arrive_as_they_were_sent_also_by_the_hundred() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut sources = BTreeMap::new();
        for n in 0..300 {
            let text = format!("text {n}");
            sources.insert(format!("{n:03}"), Source::of_text(&text));
        }
        sources.insert("d".to_owned(), Source::Directory);
        let (packed, files) = pack(&sources).unwrap();
        send_files(&a, &files).unwrap();
        let got = unpack(&packed, &b).unwrap();
        let mut text = String::new();
        got["299"].reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text 299");
        assert!(matches!(got["d"], Source::Directory));
    }

    #[test]
    fn a_worker_cannot_make_the_agent_take_gigabytes() {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(receive::<Reply>(&a).is_err());
    }
}
