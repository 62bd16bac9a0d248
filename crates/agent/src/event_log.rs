//! The events of a run, as frames in a file: written once, read by whoever attaches.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use amibake_protocol::event::Event;
use amibake_protocol::frame::{self, FrameError};
use amibake_protocol::message::ToController;
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value as Json;

/// Text in a result is cut to this when the event would be too heavy for the controller.
const CUT_BYTES: usize = 64 << 10;
/// Acknowledged events are given back to the memory in pieces of this size.
const PIECE_BYTES: u64 = 4 << 20;
/// Output of commands is dropped while this much waits for a controller.
pub(crate) const BACKLOG_BYTES: u64 = 32 << 20;

/// The events written so far.
pub(crate) struct EventLog {
    file: File,
    /// Where each event begins, and where the next one will.
    offsets: Vec<u64>,
    acked: usize,
    freed: u64,
}

impl EventLog {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            file,
            offsets: vec![0],
            acked: 0,
            freed: 0,
        })
    }

    /// Returns how many events there are.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Returns how many bytes wait for an acknowledgement.
    pub(crate) fn backlog(&self) -> u64 {
        self.end() - self.offsets[self.acked]
    }

    pub(crate) fn append(&mut self, event: Event) -> Result<(), FrameError> {
        let seq = self.len() as u64;
        let message = ToController::Event { seq, event };
        let bytes = match (frame::encode(&message), message) {
            (Ok(bytes), _) if frame::weight(&bytes) <= frame::MAX_WEIGHT => bytes,
            (Ok(_) | Err(FrameError::TooLong { .. }), ToController::Event { event, .. }) => {
                let event = shortened(event);
                frame::encode(&ToController::Event { seq, event })?
            }
            (encoded, _) => encoded?,
        };
        let at = self.end();
        self.file.write_all_at(&bytes, at).map_err(FrameError::Io)?;
        self.offsets.push(at + bytes.len() as u64);
        Ok(())
    }

    /// Returns the frames of some events from `seq` on, and the number of the one after them.
    pub(crate) fn piece(&self, seq: usize, at_most: u64) -> io::Result<(Vec<u8>, usize)> {
        let (from, mut next) = (self.offsets[seq], seq);
        while next < self.len() && (next == seq || self.offsets[next + 1] - from <= at_most) {
            next += 1;
        }
        let bytes = usize::try_from(self.offsets[next] - from).unwrap_or(0);
        let mut piece = vec![0; bytes];
        self.file.read_exact_at(&mut piece, from)?;
        Ok((piece, next))
    }

    /// Notes that all events before `seq` were taken, and gives their memory back.
    pub(crate) fn acknowledge(&mut self, seq: u64) {
        let seq = usize::try_from(seq).unwrap_or(usize::MAX).min(self.len());
        self.acked = self.acked.max(seq);
        let taken = self.offsets[self.acked];
        if taken - self.freed >= PIECE_BYTES {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if fallocate(&self.file, how, self.freed, taken - self.freed).is_ok() {
                self.freed = taken;
            }
        }
    }

    /// Returns the first event that can still be read.
    pub(crate) fn first_kept(&self) -> usize {
        if self.freed == 0 { 0 } else { self.acked }
    }

    fn end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }
}

/// Cuts the long texts of a result, so that the event fits into a frame.
fn shortened(mut event: Event) -> Event {
    match &mut event {
        Event::TaskFinished { result, diff, .. } | Event::ItemFinished { result, diff, .. } => {
            result.values_mut().for_each(cut);
            diff.clear();
            let weight = serde_json::to_vec(result).map_or(0, |bytes| frame::weight(&bytes));
            if weight > frame::MAX_WEIGHT / 2 {
                result.clear();
                result.insert("msg".to_owned(), "the result is too long to show".into());
            }
        }
        Event::TaskOutput { line, .. } => cut_text(line),
        _ => {}
    }
    event
}

fn cut(value: &mut Json) {
    match value {
        Json::String(text) => cut_text(text),
        Json::Array(items) => {
            items.truncate(100);
            items.iter_mut().for_each(cut);
        }
        Json::Object(fields) => fields.values_mut().for_each(cut),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn cut_text(text: &mut String) {
    if text.len() > CUT_BYTES {
        text.truncate(text.floor_char_boundary(CUT_BYTES));
        text.push_str(" … (cut)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(message: &str) -> Event {
        Event::Warning {
            message: message.to_owned(),
            place: None,
        }
    }

    #[test]
    fn events_are_read_again_from_any_number() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(&temp.path().join("events")).unwrap();
        for n in 0..10 {
            log.append(warning(&n.to_string())).unwrap();
        }
        let (bytes, next) = log.piece(7, u64::MAX).unwrap();
        let mut from = bytes.as_slice();
        let first: ToController = frame::read_message(&mut from).unwrap().unwrap();
        let event = warning("7");
        assert_eq!(first, ToController::Event { seq: 7, event });
        assert_eq!(next, 10);
    }

    #[test]
    fn an_event_longer_than_a_frame_is_cut_and_not_lost() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(&temp.path().join("events")).unwrap();
        let mut result = serde_json::Map::new();
        result.insert("stdout".to_owned(), "x".repeat(9 << 20).into());
        let event = Event::TaskFinished {
            index: 1,
            status: amibake_protocol::event::Status::Ok,
            result,
            diff: Vec::new(),
            elapsed_ms: 1,
        };
        log.append(event).unwrap();
        assert!(log.piece(0, u64::MAX).unwrap().0.len() < 1 << 20);
    }
}
