//! A build's events on disk, and how long its phases took.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::event::{Event, Phase, Report};

/// How many bytes of events are kept.
const MOST_EVENTS: u64 = 64 << 20;

/// Writes down events as they happen.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` when all is written.
    file: Mutex<Option<Recording>>,
    timings: Mutex<Vec<Timing>>,
}

#[derive(Debug)]
struct Recording {
    file: BufWriter<File>,
    written: u64,
}

/// How long a phase took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Timing {
    phase: Phase,
    ok: bool,
    elapsed_ms: u64,
}

impl Recorder {
    /// Returns one that writes to `file`.
    pub(crate) fn new(file: File) -> Self {
        let file = BufWriter::new(file);
        Self {
            file: Mutex::new(Some(Recording { file, written: 0 })),
            timings: Mutex::default(),
        }
    }

    /// Writes one down, as long as there is room.
    pub(crate) fn write(&self, report: &Report) {
        if let Event::PhaseFinished {
            phase,
            ok,
            elapsed_ms,
            ..
        } = &report.event
        {
            let (phase, ok, elapsed_ms) = (*phase, *ok, *elapsed_ms);
            let mut timings = self.timings.lock().unwrap_or_else(PoisonError::into_inner);
            timings.push(Timing {
                phase,
                ok,
                elapsed_ms,
            });
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recording) = file.as_mut() else {
            return;
        };
        let Ok(mut line) = serde_json::to_vec(report) else {
            return;
        };
        line.push(b'\n');
        recording.written += line.len() as u64;
        // The build goes on without it.
        let _lost = match recording.written > MOST_EVENTS {
            true => Ok(()),
            false => recording.file.write_all(&line),
        };
    }

    /// Writes all, and returns the times.
    pub(crate) fn finish(&self) -> Vec<Timing> {
        let file = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let _lost = file.map(|mut recording| recording.file.flush());
        let timings = self.timings.lock().unwrap_or_else(PoisonError::into_inner);
        timings.clone()
    }
}
