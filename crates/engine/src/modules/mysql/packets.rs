//! Packets of MySQL's protocol, and the pieces that they are made of.

use std::io::{self, Read, Write};

/// What carries packets: a socket, or in tests a text.
pub(super) trait Channel: Read + Write {}

impl<T: Read + Write> Channel for T {}

/// The longest piece that a packet is cut into.
const PIECE: usize = 0xff_ffff;
/// How much one packet may hold.
const MOST_BYTES: usize = 64 << 20;

/// A conversation, packet by packet.
pub(super) struct Packets {
    channel: Box<dyn Channel>,
    number: u8,
}

impl Packets {
    pub(super) fn new(channel: Box<dyn Channel>) -> Self {
        Self { channel, number: 0 }
    }

    /// Begins a command, whose packets are numbered from 0.
    pub(super) fn begin(&mut self) {
        self.number = 0;
    }

    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let mut head = [0; 4];
            self.channel.read_exact(&mut head)?;
            let length =
                usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            self.number = head[3].wrapping_add(1);
            let from = whole.len();
            if from + length > MOST_BYTES {
                return Err(io::Error::other("an answer of the server is too large"));
            }
            whole.resize(from + length, 0);
            self.channel.read_exact(&mut whole[from..])?;
            if length < PIECE {
                return Ok(whole);
            }
        }
    }

    pub(super) fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let mut rest = body;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE));
            let length = u32::try_from(piece.len()).unwrap_or_default().to_le_bytes();
            let mut packet = vec![length[0], length[1], length[2], self.number];
            packet.extend_from_slice(piece);
            self.channel.write_all(&packet)?;
            self.number = self.number.wrapping_add(1);
            rest = after;
            // A piece that is full has another behind it, if an empty one.
            if piece.len() < PIECE {
                return self.channel.flush();
            }
        }
    }
}

/// Reads a packet from its beginning.
pub(super) struct Fields<'p>(pub(super) &'p [u8]);

impl<'p> Fields<'p> {
    pub(super) fn bytes(&mut self, count: usize) -> io::Result<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> io::Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        let bytes = self.bytes(2)?;
        Ok(u16::from(bytes[0]) | u16::from(bytes[1]) << 8)
    }

    fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let bytes = self.bytes(bytes)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads a number that tells how long it is; none stands for NULL.
    pub(super) fn length(&mut self) -> io::Result<Option<u64>> {
        Ok(Some(match self.u8()? {
            0xfb => return Ok(None),
            0xfc => self.number(2)?,
            0xfd => self.number(3)?,
            0xfe => self.number(8)?,
            0xff => return Err(cut()),
            small => u64::from(small),
        }))
    }

    /// Reads a text that begins with its length.
    pub(super) fn text(&mut self) -> io::Result<Option<&'p [u8]>> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| cut())?;
        self.bytes(length).map(Some)
    }

    /// Reads a text that ends with a zero, or with the packet.
    pub(super) fn until_zero(&mut self) -> &'p [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (text, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a packet of the server is cut short",
    )
}

/// Adds a text with its length before it.
pub(super) fn put_text(packet: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 0xfb => packet.push(length),
        _ => {
            packet.push(0xfe);
            packet.extend_from_slice(&(text.len() as u64).to_le_bytes());
        }
    }
    packet.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn a_packet_of_several_pieces_comes_as_one() {
        for length in [0, 5, PIECE - 1, PIECE, PIECE + 7] {
            let body: Vec<u8> = (0..length)
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            let mut packets = Packets::new(Box::new(VecDeque::new()));
            packets.write(&body).unwrap();
            assert!(packets.read().unwrap() == body, "{length}");
        }
    }

    #[test]
    fn numbers_and_texts_tell_their_lengths() {
        let long = vec![b'x'; 300];
        let mut packet = vec![0xfb, 0xfc, 1, 2];
        put_text(&mut packet, b"ab");
        put_text(&mut packet, &long);
        packet.extend_from_slice(b"name\0rest");
        let mut fields = Fields(&packet);
        assert_eq!(fields.length().unwrap(), None);
        assert_eq!(fields.length().unwrap(), Some(0x201));
        assert_eq!(fields.text().unwrap(), Some(&b"ab"[..]));
        assert_eq!(fields.text().unwrap(), Some(&long[..]));
        assert_eq!(fields.until_zero(), b"name");
        assert_eq!(fields.until_zero(), b"rest");
        assert!(fields.u8().is_err());
        assert!(Fields(&[0xfc, 1]).length().is_err());
        assert!(Fields(&[5, 1]).text().is_err());
    }
}
