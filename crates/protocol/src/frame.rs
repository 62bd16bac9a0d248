//! Frames: a length, a kind, a body. Owns the sizes that neither side may exceed.
//!
//! The synchronous reader is here; the controller's asynchronous one uses [`Header`].

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a header: a big-endian length of kind and body, then the kind.
pub const HEADER_BYTES: usize = 5;
/// The longest body of a frame.
pub const MAX_BODY_BYTES: usize = 8 << 20;
/// The most that a message to the controller may weigh; see [`weight`].
pub const MAX_WEIGHT: usize = 1 << 20;
/// What one value inside a message takes in memory, generously.
const VALUE_BYTES: usize = 96;
/// How much of a file one frame carries; small enough that other messages get between.
pub const BLOB_BYTES: usize = 256 << 10;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON message.
    Message,
    /// Bytes of the content that the message before announced.
    Blob,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message, still JSON.
    Message(Vec<u8>),
    /// Bytes of a content.
    Blob(Vec<u8>),
}

/// Why bytes are no frame, or a frame no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("could not read a frame")]
    Io(#[source] io::Error),
    /// It ended inside a frame.
    #[error("the peer stopped in the middle of a frame")]
    CutShort,
    /// The header asks for more than any frame may have, or for nothing.
    #[error("the peer announced a frame of {bytes} bytes")]
    BadLength {
        /// The length announced.
        bytes: u64,
    },
    /// The header names a kind that does not exist.
    #[error("the peer sent a frame of the unknown kind {0}")]
    BadKind(u8),
    /// The body is no message of this protocol.
    #[error("the peer sent something that is not a message")]
    BadMessage(#[source] serde_json::Error),
    /// A message is too long to be sent.
    #[error("a message of {bytes} bytes is too long to send")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A content came where a message should, or the other way round.
    #[error("the peer sent {found:?} where {wanted:?} should be")]
    OutOfPlace { found: Kind, wanted: Kind },
}

/// A header that has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Bytes of the body.
    pub len: usize,
}

impl Header {
    /// Reads a header and refuses sizes beyond the cap.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let announced = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let kind = match bytes[4] {
            b'j' => Kind::Message,
            b'b' => Kind::Blob,
            other => return Err(FrameError::BadKind(other)),
        };
        match (announced as usize).checked_sub(1) {
            Some(len) if len <= MAX_BODY_BYTES => Ok(Self { kind, len }),
            _ => Err(FrameError::BadLength {
                bytes: announced.into(),
            }),
        }
    }

    fn bytes(self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Message => b'j',
            Kind::Blob => b'b',
        };
        let [a, b, c, d] = u32::try_from(self.len + 1)
            .unwrap_or(u32::MAX)
            .to_be_bytes();
        [a, b, c, d, kind]
    }
}

impl Frame {
    /// Puts header and body together.
    #[must_use]
    pub fn assemble(kind: Kind, body: Vec<u8>) -> Self {
        match kind {
            Kind::Message => Self::Message(body),
            Kind::Blob => Self::Blob(body),
        }
    }

    /// Returns the message in this frame.
    pub fn message<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        match self {
            Self::Message(body) => serde_json::from_slice(body).map_err(FrameError::BadMessage),
            Self::Blob(_) => Err(FrameError::OutOfPlace {
                found: Kind::Blob,
                wanted: Kind::Message,
            }),
        }
    }

    /// Returns the bytes of a content in this frame.
    pub fn blob(self) -> Result<Vec<u8>, FrameError> {
        match self {
            Self::Blob(body) => Ok(body),
            Self::Message(_) => Err(FrameError::OutOfPlace {
                found: Kind::Message,
                wanted: Kind::Blob,
            }),
        }
    }
}

/// Returns `message` as the bytes of a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::BadMessage)?;
    let len = frame.len() - HEADER_BYTES;
    if len > MAX_BODY_BYTES {
        return Err(FrameError::TooLong { bytes: len });
    }
    let kind = Kind::Message;
    frame[..HEADER_BYTES].copy_from_slice(&Header { kind, len }.bytes());
    Ok(frame)
}

/// Returns part of a content as the bytes of a frame; at most [`BLOB_BYTES`] are meant.
#[must_use]
pub fn encode_blob(part: &[u8]) -> Vec<u8> {
    assemble_bytes(Kind::Blob, part)
}

fn assemble_bytes(kind: Kind, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let mut frame = Vec::with_capacity(HEADER_BYTES + len);
    frame.extend_from_slice(&Header { kind, len }.bytes());
    frame.extend_from_slice(body);
    frame
}

/// Returns how much memory a JSON message takes once it is read, without reading it: a body of a
/// few megabytes can hold millions of tiny values.
#[must_use]
pub fn weight(body: &[u8]) -> usize {
    let (mut values, mut in_text, mut escaped) = (1_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    body.len() + values * VALUE_BYTES
}

/// Reads one frame; `None` is the end between two frames. Never reads past the frame, so that
/// another reader may go on with the same stream.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    if !fill_or_end(from, &mut header)? {
        return Ok(None);
    }
    let Header { kind, len } = Header::parse(header)?;
    let mut body = Vec::new(); // grows with what arrives, not with what was announced
    from.take(len as u64)
        .read_to_end(&mut body)
        .map_err(FrameError::Io)?;
    if body.len() < len {
        return Err(FrameError::CutShort);
    }
    Ok(Some(Frame::assemble(kind, body)))
}

fn fill_or_end(from: &mut impl Read, buffer: &mut [u8]) -> Result<bool, FrameError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(FrameError::CutShort),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(FrameError::Io(e)),
        }
    }
    Ok(true)
}

/// Reads one message; `None` is the end.
pub fn read_message<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    read(from)?.map(|frame| frame.message()).transpose()
}

/// Writes one message and flushes it.
pub fn write_message<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let frame = encode(message)?;
    to.write_all(&frame)
        .and_then(|()| to.flush())
        .map_err(FrameError::Io)
}

/// Writes all of `from` as blobs. The reader stops when it has the size announced before.
pub fn write_content(to: &mut impl Write, from: &mut impl Read) -> Result<(), FrameError> {
    let mut part = vec![0; BLOB_BYTES];
    loop {
        match from.read(&mut part).map_err(FrameError::Io)? {
            0 => return to.flush().map_err(FrameError::Io),
            n => to
                .write_all(&encode_blob(&part[..n]))
                .map_err(FrameError::Io)?,
        }
    }
}

/// Reads blobs until `size` bytes are there and gives every one to `sink`.
pub fn read_content(
    from: &mut impl Read,
    size: u64,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), FrameError> {
    let mut left = size;
    while left > 0 {
        let part = read(from)?.ok_or(FrameError::CutShort)?.blob()?;
        left = left
            .checked_sub(part.len() as u64)
            .filter(|_| !part.is_empty())
            .ok_or(FrameError::BadLength {
                bytes: part.len() as u64,
            })?;
        sink(&part).map_err(FrameError::Io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Ok(Some(_)) = read(&mut rest) {}
        }

        #[test]
        fn any_bytes_have_a_weight_not_below_their_own(bytes: Vec<u8>) {
            prop_assert!(weight(&bytes) > bytes.len());
        }

        #[test]
        fn a_stream_may_be_cut_and_split_anywhere(text: String, content: Vec<u8>, at: prop::sample::Index) {
            let mut wire = encode(&text).unwrap();
            write_content(&mut wire, &mut content.as_slice()).unwrap();
            let at = at.index(wire.len() + 1);
            // Split: what arrives in pieces reads as what arrives at once.
            let mut whole = wire.as_slice();
            let mut split = (&wire[..at]).chain(&wire[at..]);
            loop {
                let (one, other) = (read(&mut whole).unwrap(), read(&mut split).unwrap());
                prop_assert_eq!(&one, &other);
                if one.is_none() {
                    break;
                }
            }
            // Cut: never a frame that was not sent, never a panic.
            let mut cut = &wire[..at];
            let mut frames = 0;
            while let Ok(Some(_)) = read(&mut cut) {
                frames += 1;
            }
            prop_assert!(frames <= 1 + content.len().div_ceil(BLOB_BYTES));
        }

        #[test]
        fn messages_and_contents_come_back_as_they_were(text: String, content: Vec<u8>) {
            let mut wire = encode(&text).unwrap();
            write_content(&mut wire, &mut content.as_slice()).unwrap();
            let mut from = wire.as_slice();
            prop_assert_eq!(read_message::<String>(&mut from).unwrap(), Some(text));
            let mut got = Vec::new();
            read_content(&mut from, content.len() as u64, &mut |part| {
                got.extend_from_slice(part);
                Ok(())
            }).unwrap();
            prop_assert_eq!(got, content);
            prop_assert!(read(&mut from).unwrap().is_none());
        }
    }

    #[test]
    fn a_forged_length_is_refused_before_anything_is_kept() {
        let announce = |len: u32| {
            let mut bytes = len.to_be_bytes().to_vec();
            bytes.push(b'j');
            read(&mut bytes.as_slice())
        };
        assert!(matches!(announce(0), Err(FrameError::BadLength { .. })));
        assert!(matches!(
            announce(u32::MAX),
            Err(FrameError::BadLength { .. })
        ));
        assert!(matches!(announce(1 << 20), Err(FrameError::CutShort)));
    }

    #[test]
    fn a_content_longer_than_announced_is_an_error() {
        let wire = encode_blob(b"four");
        let read = read_content(&mut wire.as_slice(), 3, &mut |_| Ok(()));
        assert!(matches!(read, Err(FrameError::BadLength { bytes: 4 })));
    }
}
