//! Encodings of text, by Python's names.

use encoding_rs::Encoding;

/// How text becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Utf8,
    Ascii,
    Latin1,
    /// Big-endian or not; `None` writes a mark of the order.
    Utf16(Option<bool>),
    Utf32(Option<bool>),
    /// One that needs a table.
    Table(&'static Encoding),
}

/// Text that an encoding has no bytes for, or bytes that are no text in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("'{codec}' codec can't encode characters: ordinal not in range({limit})")]
    Range { codec: &'static str, limit: u32 },
    #[error("'{codec}' codec can't encode characters")]
    Encode { codec: &'static str },
    #[error("'{codec}' codec can't decode bytes")]
    Decode { codec: &'static str },
}

impl Codec {
    /// Returns the one that Python knows by this name.
    #[must_use]
    pub fn called(name: &str) -> Option<Self> {
        let bare = name.to_lowercase().replace(['-', '_', ' '], "");
        Some(match bare.as_str() {
            "utf8" | "u8" => Self::Utf8,
            "ascii" | "usascii" | "646" => Self::Ascii,
            "latin1" | "latin" | "iso88591" | "l1" | "8859" => Self::Latin1,
            "utf16" | "u16" => Self::Utf16(None),
            "utf16le" => Self::Utf16(Some(false)),
            "utf16be" => Self::Utf16(Some(true)),
            "utf32" | "u32" => Self::Utf32(None),
            "utf32le" => Self::Utf32(Some(false)),
            "utf32be" => Self::Utf32(Some(true)),
            _ => return Self::table(name),
        })
    }

    /// Browsers, whose names these are, take some ISO encodings for Microsoft's; Python does not.
    fn table(name: &str) -> Option<Self> {
        let labels = [name.replace('_', "-"), name.replace('-', "_")];
        let found = labels
            .iter()
            .find_map(|label| Encoding::for_label(label.as_bytes()))?;
        let (label, name) = (name.to_lowercase(), found.name());
        let mistaken = name.starts_with("windows-") && !label.contains("125");
        Some(Self::Table(found)).filter(|_| !mistaken && found.is_ascii_compatible())
    }

    /// Its name where it is complained of.
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Ascii => "ascii",
            Self::Latin1 => "latin-1",
            Self::Utf16(_) => "utf-16",
            Self::Utf32(_) => "utf-32",
            Self::Table(encoding) => encoding.name(),
        }
    }

    /// Returns the text's bytes.
    ///
    /// # Errors
    /// A character that the encoding does not have.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, CodecError> {
        let codec = self.name();
        let single = |limit: u32| {
            let byte = |c: char| {
                u8::try_from(u32::from(c))
                    .ok()
                    .filter(|b| u32::from(*b) < limit)
            };
            let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
            bytes.ok_or(CodecError::Range { codec, limit })
        };
        // Without an order this machine's is written, after a mark.
        let marked = |order: Option<bool>| match order {
            None => format!("\u{feff}{text}"),
            Some(_) => text.to_owned(),
        };
        Ok(match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Ascii => single(128)?,
            Self::Latin1 => single(256)?,
            Self::Utf16(order) => marked(order)
                .encode_utf16()
                .flat_map(|unit| ordered(unit.to_be_bytes(), order))
                .collect(),
            Self::Utf32(order) => marked(order)
                .chars()
                .flat_map(|c| ordered(u32::from(c).to_be_bytes(), order))
                .collect(),
            Self::Table(encoding) => match encoding.encode(text) {
                (bytes, _, false) => bytes.into_owned(),
                (_, _, true) => return Err(CodecError::Encode { codec }),
            },
        })
    }

    /// Returns the bytes' text.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn decode(self, bytes: &[u8]) -> Result<String, CodecError> {
        let text = match self {
            Self::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
            Self::Ascii => bytes
                .is_ascii()
                .then(|| bytes.iter().copied().map(char::from).collect()),
            Self::Latin1 => Some(bytes.iter().copied().map(char::from).collect()),
            Self::Utf16(order) => utf16(bytes, order),
            Self::Utf32(order) => utf32(bytes, order),
            Self::Table(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned),
        };
        text.ok_or(CodecError::Decode { codec: self.name() })
    }
}

fn ordered<const N: usize>(mut big: [u8; N], order: Option<bool>) -> [u8; N] {
    if order != Some(true) {
        big.reverse();
    }
    big
}

/// Returns the units of `N` bytes, most significant first, after a mark of the order if one is due.
fn units<const N: usize>(bytes: &[u8], order: Option<bool>) -> Option<Vec<[u8; N]>> {
    let mut big = order.unwrap_or(false);
    let mut bytes = bytes;
    if order.is_none() {
        let mark = |order| {
            let mut mark = [0; N];
            mark[N - 2..].copy_from_slice(&[0xfe, 0xff]);
            ordered(mark, Some(order))
        };
        for candidate in [true, false] {
            if let Some(rest) = bytes.strip_prefix(&mark(candidate)) {
                (big, bytes) = (candidate, rest);
                break;
            }
        }
    }
    let chunks = bytes.chunks(N).map(|chunk| {
        let unit: [u8; N] = chunk.try_into().ok()?;
        Some(ordered(unit, Some(big)))
    });
    chunks.collect()
}

fn utf16(bytes: &[u8], order: Option<bool>) -> Option<String> {
    let units: Vec<u16> = units(bytes, order)?
        .into_iter()
        .map(u16::from_be_bytes)
        .collect();
    String::from_utf16(&units).ok()
}

fn utf32(bytes: &[u8], order: Option<bool>) -> Option<String> {
    let units = units(bytes, order)?.into_iter().map(u32::from_be_bytes);
    units.map(char::from_u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_go_by_pythons_names() {
        let hello = "\u{4f60}\u{597d}";
        let gbk = Codec::called("gbk").unwrap();
        assert_eq!(gbk.encode(hello).unwrap(), b"\xc4\xe3\xba\xc3");
        assert_eq!(gbk.decode(b"\xc4\xe3\xba\xc3").unwrap(), hello);
        assert!(gbk.decode(b"\xff\xff").is_err());
        assert_eq!(Codec::called("Shift-JIS"), Codec::called("shift_jis"));
        assert!(Codec::called("koi8_r").is_some());
        assert!(Codec::called("cp1252").is_some());
        // What browsers call so is another one.
        assert_eq!(Codec::called("iso8859_9"), None);
        assert_eq!(Codec::called("hex"), None);
        assert_eq!(Codec::called("replacement"), None);
    }
}
