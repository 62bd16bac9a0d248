//! Zip files, as Python's `zipfile` writes them: deflated, with modes and local times.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::write::DeflateEncoder;
use flate2::{Compression, CrcReader};

use super::Sums;
use crate::place::Place;

/// What a field of 32 bits says when the number stands elsewhere.
const ELSEWHERE: u32 = u32::MAX;
/// From here on sizes stand elsewhere; so far below the limit that what deflates badly fits, too.
const LARGE: u64 = 0xf000_0000;
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const END_64_PLACE: &[u8; 4] = b"PK\x06\x07";

/// Writes an archive.
pub(super) struct Writer {
    out: File,
    entries: Vec<Entry>,
}

struct Entry {
    name: Vec<u8>,
    /// As DOS has it: the time, then the date.
    modified: (u16, u16),
    is_folder: bool,
    mode: u32,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its header begins.
    at: u64,
    is_large: bool,
}

impl Writer {
    pub(super) fn new(out: File) -> Self {
        Self {
            out,
            entries: Vec::new(),
        }
    }

    /// Adds what `path` leads to. Returns whether it is found again by `name`: a folder has a slash after it.
    pub(super) fn add(&mut self, path: &Path, name: &[u8]) -> io::Result<bool> {
        let place = Place::behind(path)?;
        let meta = place.metadata()?;
        let mut entry = Entry {
            name: normal(name),
            modified: dos_time(meta.mtime())?,
            is_folder: meta.is_dir(),
            mode: meta.mode(),
            crc: 0,
            packed: 0,
            size: meta.len(),
            at: self.out.stream_position()?,
            is_large: meta.len() > LARGE,
        };
        let is_found = entry.name == name && !entry.is_folder;
        if entry.is_folder {
            entry.name.push(b'/');
            entry.size = 0;
            self.out.write_all(&entry.local())?;
        } else {
            self.deflate(&mut entry, place.open_to_read()?)?;
        }
        self.entries.push(entry);
        Ok(is_found)
    }

    /// Writes a file, then its sizes into the header before it.
    fn deflate(&mut self, entry: &mut Entry, file: File) -> io::Result<()> {
        self.out.write_all(&entry.local())?;
        let begin = self.out.stream_position()?;
        let mut content = CrcReader::new(io::BufReader::new(file.take(entry.size)));
        let mut deflated = DeflateEncoder::new(&mut self.out, Compression::default());
        let read = io::copy(&mut content, &mut deflated)?;
        deflated.finish()?;
        if read < entry.size {
            return Err(io::Error::other("the file became shorter as it was read"));
        }
        let end = self.out.stream_position()?;
        entry.crc = content.crc().sum();
        entry.packed = end - begin;
        self.out.seek(SeekFrom::Start(entry.at))?;
        self.out.write_all(&entry.local())?;
        self.out.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    /// Ends the archive with the list of its entries.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let begin = self.out.stream_position()?;
        for entry in &self.entries {
            self.out.write_all(&entry.central())?;
        }
        let size = self.out.stream_position()? - begin;
        let count = self.entries.len() as u64;
        let is_large = count > 0xfffe || size.max(begin) > LARGE;
        if is_large {
            self.out.write_all(&large_end(begin, size, count))?;
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let mut end = END.to_vec();
        end.extend([0; 4]);
        end.extend(count.to_le_bytes());
        end.extend(count.to_le_bytes());
        end.extend(short(size, is_large));
        end.extend(short(begin, is_large));
        end.extend([0; 2]);
        self.out.write_all(&end)?;
        self.out.flush()
    }
}

impl Entry {
    /// Returns its header, which stands before its content.
    fn local(&self) -> Vec<u8> {
        let mut header = LOCAL.to_vec();
        header.extend(self.common());
        let more: Vec<u64> = match self.is_large {
            true => vec![self.size, self.packed],
            false => Vec::new(),
        };
        header.extend(length(&self.name));
        let more = extra(&more);
        header.extend(length(&more));
        header.extend_from_slice(&self.name);
        header.extend(more);
        header
    }

    /// Returns what the list at the end says of it.
    fn central(&self) -> Vec<u8> {
        let mut header = CENTRAL.to_vec();
        header.extend([self.version(), 3]); // by whom: Unix
        header.extend(self.common());
        let far = self.at > LARGE;
        let mut more = Vec::new();
        if self.is_large {
            more.extend([self.size, self.packed]);
        }
        if far {
            more.push(self.at);
        }
        let more = extra(&more);
        header.extend(length(&self.name));
        header.extend(length(&more));
        header.extend([0; 6]); // no comment, the first disk, no text
        let folder = if self.is_folder { 0x10 } else { 0 };
        header.extend((self.mode << 16 | folder).to_le_bytes());
        header.extend(short(self.at, far));
        header.extend_from_slice(&self.name);
        header.extend(more);
        header
    }

    fn common(&self) -> Vec<u8> {
        let text = if self.name.is_ascii() { 0 } else { 0x800_u16 };
        let method = if self.is_folder { 0 } else { 8_u16 };
        let mut fields = vec![self.version(), 0];
        for field in [text, method, self.modified.0, self.modified.1] {
            fields.extend(field.to_le_bytes());
        }
        fields.extend(self.crc.to_le_bytes());
        fields.extend(short(self.packed, self.is_large));
        fields.extend(short(self.size, self.is_large));
        fields
    }

    fn version(&self) -> u8 {
        let is_large = self.is_large || self.at > LARGE;
        if is_large { 45 } else { 20 }
    }
}

/// Returns a number, unless it stands elsewhere.
fn short(number: u64, elsewhere: bool) -> [u8; 4] {
    let short = u32::try_from(number).ok().filter(|_| !elsewhere);
    short.unwrap_or(ELSEWHERE).to_le_bytes()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes()
}

/// Returns the field with what is too large for the others.
fn extra(numbers: &[u64]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    match bytes.is_empty() {
        true => bytes,
        false => [&1_u16.to_le_bytes(), &length(&bytes), &*bytes].concat(),
    }
}

/// Returns the end of a large archive, which stands before the end of every archive.
fn large_end(begin: u64, size: u64, count: u64) -> Vec<u8> {
    let mut end = END_64.to_vec();
    end.extend(44_u64.to_le_bytes());
    end.extend([45, 3, 45, 0]);
    end.extend([0; 8]);
    for number in [count, count, size, begin] {
        end.extend(number.to_le_bytes());
    }
    end.extend_from_slice(END_64_PLACE);
    end.extend([0; 4]);
    end.extend((begin + size).to_le_bytes());
    end.extend(1_u32.to_le_bytes());
    end
}

/// Returns a name as zip has them: no slash before it, nothing twice.
fn normal(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|byte| *byte == b'/');
    let named = |part: &&[u8]| !part.is_empty() && *part != b".";
    let parts: Vec<&[u8]> = parts.filter(named).collect();
    parts.join(&b'/')
}

/// Returns a time of the epoch as DOS has it, in local time and steps of two seconds.
fn dos_time(seconds: i64) -> io::Result<(u16, u16)> {
    let moment = jiff::Timestamp::from_second(seconds).map_err(io::Error::other)?;
    let local = moment.to_zoned(jiff::tz::TimeZone::system());
    let years = local.year() - 1980;
    if !(0..=127).contains(&years) {
        let wrong = match years < 0 {
            true => "ZIP does not support timestamps before 1980",
            false => "ZIP does not support timestamps after 2107",
        };
        return Err(io::Error::other(wrong));
    }
    let bits = |number: i8, by: u32| u16::from(number.unsigned_abs()) << by;
    let time = bits(local.hour(), 11) | bits(local.minute(), 5) | bits(local.second() / 2, 0);
    let date = years.unsigned_abs() << 9 | bits(local.month(), 5) | bits(local.day(), 0);
    Ok((time, date))
}

/// Returns the names in an archive with their checksums, or nothing if it is none.
pub(super) fn sums(file: &mut File) -> Option<Sums> {
    let list = central_list(file)?;
    let mut sums = Sums::new();
    let mut rest = &*list;
    while rest.starts_with(CENTRAL) {
        let crc = u32::from_le_bytes(rest.get(16..20)?.try_into().ok()?);
        let [name, more, comment] = [28, 30, 32].map(|at| at_16(rest, at));
        let name = usize::from(name?);
        sums.insert((rest.get(46..46 + name)?.to_vec(), crc));
        rest = rest.get(46 + name + usize::from(more?) + usize::from(comment?)..)?;
    }
    Some(sums)
}

/// Returns the list of entries, which the end of the archive leads to.
fn central_list(file: &mut File) -> Option<Vec<u8>> {
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(22 + u64::from(u16::MAX));
    let tail = read_at(file, from, length - from)?;
    let end = tail.windows(4).rposition(|four| four == END)?;
    let end_of_list = &tail[end..];
    let mut size = u64::from(at_32(end_of_list, 12)?);
    let mut begin = u64::from(at_32(end_of_list, 16)?);
    let before = end.checked_sub(20).map(|at| &tail[at..]);
    if let Some(place) = before.filter(|before| before.starts_with(END_64_PLACE)) {
        let large = read_at(file, at_64(place, 8)?, 56)?;
        size = at_64(&large, 40)?;
        begin = at_64(&large, 48)?;
    }
    read_at(file, begin, size)
}

fn read_at(file: &mut File, at: u64, size: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

fn at_16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn at_32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn at_64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
