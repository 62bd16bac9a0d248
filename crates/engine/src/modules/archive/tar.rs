//! Tar archives, header by header as Python's `tarfile` writes and reads them: Ansible compares their sums.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::Sums;
use crate::place::Place;
use crate::users;

const BLOCK: usize = 512;
/// An archive ends at a multiple of this.
const RECORD: u64 = 20 * BLOCK as u64;
/// Where in a header its sum stands.
const SUM: std::ops::Range<usize> = 148..156;

/// Returns the name that a tar stores: it is never absolute.
pub(super) fn stored_name(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|byte| *byte != b'/');
    &name[start.unwrap_or(name.len())..]
}

/// Writes an archive.
pub(super) struct Writer<W: Write> {
    out: W,
    written: u64,
    /// Files with other names, by device and inode, and the name that each went in by.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            linked: HashMap::new(),
        }
    }

    /// Adds what is at `path`, no link followed. A socket is passed over, and told by `false`.
    pub(super) fn add(&mut self, path: &Path, name: &[u8]) -> io::Result<bool> {
        let place = Place::of(path)?;
        let meta = place.metadata()?;
        if meta.file_type().is_socket() {
            return Ok(false);
        }
        let mut header = Header::of(name, &meta);
        if meta.is_symlink() {
            let target = std::fs::read_link(place.path())?;
            header.link = target.as_os_str().as_bytes().to_vec();
        }
        let id = (meta.dev(), meta.ino());
        match self.linked.get(&id) {
            Some(first) if meta.is_file() && meta.nlink() > 1 && first != name => {
                header.kind = b'1';
                header.link.clone_from(first);
            }
            _ => {
                self.linked.insert(id, name.to_vec());
            }
        }
        if header.kind != b'0' {
            self.put(&header.bytes())?;
            return Ok(true);
        }
        let mut file = place.open_to_read()?;
        header.size = file.metadata()?.len();
        self.put(&header.bytes())?;
        self.content(&mut file, header.size)?;
        Ok(true)
    }

    fn content(&mut self, file: &mut File, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut file.take(size), &mut self.out)?;
        self.written += copied;
        if copied < size {
            return Err(io::Error::other("unexpected end of data"));
        }
        self.pad(BLOCK as u64)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        let missing = self.written.next_multiple_of(to) - self.written;
        let zeros = vec![0; usize::try_from(missing).unwrap_or(0)];
        self.put(&zeros)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        self.pad(RECORD)?;
        self.out.flush()
    }
}

/// What an entry says of a file.
struct Header {
    name: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// As Python has it: seconds, with what a double keeps of their parts.
    modified: f64,
    kind: u8,
    link: Vec<u8>,
    user: Vec<u8>,
    group: Vec<u8>,
    device: Option<(u64, u64)>,
}

impl Header {
    fn of(name: &[u8], meta: &Metadata) -> Self {
        let kind = match meta.file_type() {
            kind if kind.is_dir() => b'5',
            kind if kind.is_symlink() => b'2',
            kind if kind.is_fifo() => b'6',
            kind if kind.is_char_device() => b'3',
            kind if kind.is_block_device() => b'4',
            _ => b'0',
        };
        let mut name = name.to_vec();
        if kind == b'5' && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let device = matches!(kind, b'3' | b'4').then(|| {
            let number = meta.rdev();
            (nix::sys::stat::major(number), nix::sys::stat::minor(number))
        });
        let user = users::user_by_id(meta.uid()).map(|user| user.name);
        let group = users::group_by_id(meta.gid()).map(|group| group.name);
        Self {
            name,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            size: 0,
            modified: seconds(meta.mtime(), meta.mtime_nsec()),
            kind,
            link: Vec::new(),
            user: user.unwrap_or_default().into_bytes(),
            group: group.unwrap_or_default().into_bytes(),
            device,
        }
    }

    /// Returns the header, after one with what does not fit into its fields.
    fn bytes(&self) -> Vec<u8> {
        let mut more = Vec::new();
        let texts = [
            ("path", &self.name, 100),
            ("linkpath", &self.link, 100),
            ("uname", &self.user, 32),
            ("gname", &self.group, 32),
        ];
        for (key, text, most) in texts {
            let chars = String::from_utf8_lossy(text).chars().count();
            if !text.is_ascii() || chars > most {
                more.extend(record(key, text));
            }
        }
        let fits = |value: u64, digits: u32| value < 8u64.pow(digits);
        for (key, value, digits) in [
            ("uid", u64::from(self.uid), 7),
            ("gid", u64::from(self.gid), 7),
            ("size", self.size, 11),
        ] {
            if !fits(value, digits) {
                more.extend(record(key, value.to_string().as_bytes()));
            }
        }
        // A double, which never is one of the header's whole numbers.
        more.extend(record("mtime", format!("{:?}", self.modified).as_bytes()));
        let mut bytes = extended(&more);
        bytes.extend(self.block());
        bytes
    }

    fn block(&self) -> [u8; BLOCK] {
        let seconds = self.modified.round_ties_even();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was checked"
        )]
        let seconds = match (0.0..8f64.powi(11)).contains(&seconds) {
            true => seconds as u64,
            false => 0,
        };
        let mut block = Block::new();
        block.text(100, &self.name);
        block.number(8, self.mode.into());
        block.number(8, self.uid.into());
        block.number(8, self.gid.into());
        block.number(12, self.size);
        block.number(12, seconds);
        block.end(
            self.kind,
            &self.link,
            (&self.user, &self.group),
            self.device,
        )
    }
}

/// Returns what `os.stat` of Python makes of a time.
#[expect(clippy::cast_precision_loss, reason = "Python's loses the same")]
fn seconds(seconds: i64, nanoseconds: i64) -> f64 {
    seconds as f64 + 1e-9 * nanoseconds as f64
}

/// Returns `LENGTH KEY=VALUE`, whose length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3; // a space, an equals sign and a newline
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// Returns the entry that says more of the one that follows.
fn extended(records: &[u8]) -> Vec<u8> {
    let mut block = Block::new();
    block.text(100, b"././@PaxHeader");
    for width in [8, 8, 8] {
        block.number(width, 0);
    }
    block.number(12, records.len() as u64);
    block.number(12, 0);
    let mut bytes = block.end(b'x', b"", (b"", b""), None).to_vec();
    bytes.extend_from_slice(records);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// A header while it is written.
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self(Vec::with_capacity(BLOCK))
    }

    /// Writes a text as ASCII; what is none is a question mark.
    fn text(&mut self, width: usize, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let ascii = text.chars().map(|c| u8::try_from(c).unwrap_or(b'?'));
        let ascii = ascii.map(|byte| if byte.is_ascii() { byte } else { b'?' });
        let end = self.0.len() + width;
        self.0.extend(ascii.take(width));
        self.0.resize(end, 0);
    }

    /// Writes a number in octal digits; one that does not fit is 0, and stands elsewhere.
    fn number(&mut self, width: usize, value: u64) {
        let digits = width - 1;
        let text = format!("{value:0digits$o}");
        let text = match text.len() > digits {
            true => "0".repeat(digits),
            false => text,
        };
        self.text(width, text.as_bytes());
    }

    fn end(
        mut self,
        kind: u8,
        link: &[u8],
        names: (&[u8], &[u8]),
        device: Option<(u64, u64)>,
    ) -> [u8; BLOCK] {
        self.0.extend([b' '; 8]); // the sum, which counts itself as spaces
        self.0.push(kind);
        self.text(100, link);
        self.0.extend(b"ustar\x0000");
        self.text(32, names.0);
        self.text(32, names.1);
        match device {
            Some((major, minor)) => {
                self.number(8, major);
                self.number(8, minor);
            }
            None => self.text(16, b""),
        }
        self.0.resize(BLOCK, 0);
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.0);
        block[SUM.start..SUM.start + 7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }
}

/// Returns the names in an archive with their headers' sums, or nothing if it is none.
pub(super) fn sums(mut from: impl Read) -> Option<Sums> {
    let mut sums = Sums::new();
    let mut said = Said::default();
    let mut first = true;
    loop {
        let mut block = [0; BLOCK];
        match from.read_exact(&mut block) {
            Ok(()) => {}
            Err(_) if first => return None,
            Err(_) => return Some(sums),
        }
        if block.iter().all(|byte| *byte == 0) {
            return Some(sums);
        }
        let Some(sum) = sum_of(&block) else {
            return (!first).then_some(sums);
        };
        first = false;
        let size = number(&block[124..136])?;
        let kind = block[156];
        let has_content = !matches!(kind, b'1'..=b'6');
        let size = said.size.filter(|_| kind != b'x').unwrap_or(size);
        let padded = match has_content {
            true => size.next_multiple_of(BLOCK as u64),
            false => 0,
        };
        match kind {
            b'x' | b'L' | b'K' => {
                let mut content = Vec::new();
                (&mut from).take(padded).read_to_end(&mut content).ok()?;
                content.truncate(usize::try_from(size).ok()?);
                said.hear(kind, &content);
                continue;
            }
            b'g' => {}
            _ => {
                sums.insert((said.name(&block, kind), sum));
                said = Said::default();
            }
        }
        if io::copy(&mut (&mut from).take(padded), &mut io::sink()).ok()? < padded {
            return None; // cut short
        }
    }
}

/// What was said of the entry that follows.
#[derive(Default)]
struct Said {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Said {
    fn hear(&mut self, kind: u8, content: &[u8]) {
        match kind {
            b'L' => {
                let end = content.iter().position(|byte| *byte == 0);
                self.name = Some(content[..end.unwrap_or(content.len())].to_vec());
            }
            b'x' => self.hear_records(content),
            _ => {}
        }
    }

    fn hear_records(&mut self, mut content: &[u8]) {
        while let Some(space) = content.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&content[..space]).ok();
            let length: Option<usize> = length.and_then(|length| length.parse().ok());
            let record = length.and_then(|length| content.get(space + 1..length.checked_sub(1)?));
            let (Some(record), Some(length)) = (record, length) else {
                return;
            };
            if let Some(path) = record.strip_prefix(b"path=") {
                self.name = Some(path.to_vec());
            }
            if let Some(size) = record.strip_prefix(b"size=") {
                self.size = std::str::from_utf8(size).ok().and_then(|s| s.parse().ok());
            }
            content = content.get(length..).unwrap_or_default();
        }
    }

    /// Returns the name of the entry of this header.
    fn name(&self, block: &[u8; BLOCK], kind: u8) -> Vec<u8> {
        let own = until_nul(&block[..100]);
        let prefix = until_nul(&block[345..500]);
        let mut name = match (&self.name, prefix) {
            (Some(name), _) => name.clone(),
            (None, b"") => own.to_vec(),
            (None, prefix) => [prefix, b"/", own].concat(),
        };
        while kind == b'5' && name.ends_with(b"/") {
            name.pop();
        }
        name
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Returns the sum of a header, if it is right.
fn sum_of(block: &[u8; BLOCK]) -> Option<u32> {
    let told = number(&block[SUM])?;
    let counted = |at: usize, byte: u8| match SUM.contains(&at) {
        true => u32::from(b' '),
        false => u32::from(byte),
    };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, b)| counted(at, *b))
        .sum();
    (u64::from(sum) == told).then_some(sum)
}

/// Reads a number: octal digits, or bytes where those are too few.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0o200 {
        let value = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        return Some(field[1..].iter().fold(0, value));
    }
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim();
    match text {
        "" => Some(0),
        text => u64::from_str_radix(text, 8).ok(),
    }
}
