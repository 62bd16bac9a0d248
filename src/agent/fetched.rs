//! Files that `fetch` brings here. Where they may lie is decided by the playbook's own words and the
//! inventory's name of the host; what the target says of it is only compared with them.

use std::io;
use std::path::Path;

use amibake_playbook::reads::Reads;
use amibake_protocol::fetched::{Arriving, Fetch};
use serde_json::{Value as Json, json};

/// The largest file that is taken.
const FILE_BYTES: u64 = 4 << 30;
/// The most bytes that one run may bring.
const ALL_BYTES: u64 = 64 << 30;

/// What becomes of a file that the target offers.
pub(super) enum Offered {
    /// It is not wanted: the task's result.
    Result(Json),
    /// It is wanted.
    Wanted(Box<Arriving>),
}

/// A file under way.
pub(super) struct Incoming {
    /// The question that it answers.
    pub(super) id: u64,
    arriving: Option<Box<Arriving>>,
    left: u64,
    failed: Option<io::Error>,
}

/// Decides about a file.
///
/// # Errors
/// That no `fetch` of the playbook can bring it where it is to go.
pub(super) fn offered(
    fetch: &Fetch,
    reads: &Reads,
    host: &str,
    mark: &str,
) -> Result<Offered, String> {
    let failed = |msg: String| {
        Ok(Offered::Result(
            json!({"failed": true, "changed": false, "msg": msg}),
        ))
    };
    let folder = Path::new(&fetch.dest);
    let dest = match fetch.destination(host) {
        Ok(dest) => dest,
        Err(wrong) => return failed(wrong.to_string()),
    };
    let may = match fetch.flat {
        true => reads.permits_writing(&dest),
        false => reads.permits_storing(folder),
    };
    if !may {
        return Err(format!(
            "no fetch of the playbook names {} as its destination",
            dest.display()
        ));
    }
    match fetch.unchanged(&dest) {
        Ok(Some(unchanged)) => return Ok(Offered::Result(Json::Object(unchanged))),
        Ok(None) => {}
        Err(error) => return failed(format!("{}: {error}", dest.display())),
    }
    match Arriving::begin(fetch.clone(), dest.clone(), mark) {
        Ok(arriving) => Ok(Offered::Wanted(Box::new(arriving))),
        Err(error) => failed(format!("{}: {error}", dest.display())),
    }
}

impl Incoming {
    pub(super) fn new(id: u64, arriving: Box<Arriving>) -> Self {
        Self {
            id,
            arriving: Some(arriving),
            left: 0,
            failed: None,
        }
    }

    /// Notes how long it will be; `brought` counts what the run has brought.
    ///
    /// # Errors
    /// That it is too much.
    pub(super) fn announce(&mut self, size: u64, brought: &mut u64) -> Result<(), &'static str> {
        *brought = brought.saturating_add(size);
        if size > FILE_BYTES || *brought > ALL_BYTES {
            return Err("files");
        }
        self.left = size;
        Ok(())
    }

    /// Takes bytes; more than were announced are refused.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or("bytes of a file")?;
        if let (Some(arriving), None) = (&mut self.arriving, &self.failed) {
            self.failed = arriving.add(bytes).err();
        }
        Ok(())
    }

    /// Returns the task's result when all of it is there.
    pub(super) fn finished(&mut self) -> Option<Json> {
        if self.left > 0 {
            return None;
        }
        let arriving = self.arriving.take()?;
        let done = match self.failed.take() {
            Some(error) => Err(error),
            None => arriving.finish(),
        };
        Some(done.map_or_else(
            |error| json!({"failed": true, "changed": false, "msg": format!("Failed to fetch the file: {error}")}),
            Json::Object,
        ))
    }
}
