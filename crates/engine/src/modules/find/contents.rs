//! What `find` looks for in files, which it reads as text.

use std::fs;
use std::path::Path;

use amibake_playbook::codec::Codec;
use amibake_playbook::pyre::Regex;

use super::compiled;
use crate::args::Args;
use crate::module::Failure;

/// How much Python reads at once; an error is met with all that came with it.
const CHUNK_BYTES: usize = 8192;

pub(super) struct Contents {
    pattern: Regex,
    /// The name as it was given; by default the locale's, which is UTF-8.
    encoding: Option<String>,
    whole: bool,
}

impl Contents {
    pub(super) fn read(args: &Args) -> Result<Option<Self>, Failure> {
        let pattern = args.str("contains").map(compiled).transpose()?;
        Ok(pattern.map(|pattern| Self {
            pattern,
            encoding: args.str("encoding").map(str::to_owned),
            whole: args.bool("read_whole_file"),
        }))
    }

    /// Returns whether the file has it. One that cannot be read has not.
    ///
    /// # Errors
    /// What Python says of an encoding that it does not know, or that is not the file's.
    pub(super) fn are_in(&self, path: &Path) -> Result<bool, String> {
        let name = self.encoding.as_deref().unwrap_or("utf-8");
        let codec = Codec::called(name).ok_or_else(|| format!("unknown encoding: {name}"))?;
        let Ok(bytes) = fs::read(path) else {
            return Ok(false);
        };
        match codec.decode(&bytes) {
            Ok(text) => Ok(self.matches(&text)),
            Err(_) if !self.whole && self.matches(before_error(codec, &bytes)) => Ok(true),
            Err(_) => Err(format!(
                "Failed to read the file {} due to an encoding error. current encoding: {}",
                path.display(),
                self.encoding.as_deref().unwrap_or(
                    "None (default determined by the Python built-in function \"open\")"
                )
            )),
        }
    }

    fn matches(&self, text: &str) -> bool {
        // As Python's text files have it, each way to end a line is a newline.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        if self.whole {
            return self.pattern.is_match(text.as_bytes()).unwrap_or(false);
        }
        text.split_inclusive('\n').any(|line| {
            let found = self.pattern.search(line.as_bytes(), 0).ok().flatten();
            found.is_some_and(|found| found.whole().start == 0)
        })
    }
}

/// Returns the lines that Python has seen before it meets the first byte that is no text.
fn before_error(codec: Codec, bytes: &[u8]) -> &str {
    if codec != Codec::Utf8 {
        return "";
    }
    let valid = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
    let read = &bytes[..valid / CHUNK_BYTES * CHUNK_BYTES];
    let lines = read.iter().rposition(|byte| *byte == b'\n');
    let lines = &read[..lines.map_or(0, |at| at + 1)];
    std::str::from_utf8(lines).unwrap_or_default()
}
