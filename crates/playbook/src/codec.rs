//! Encodings of text, by Python's names.

use crate::template::Error;

/// How text becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Utf8,
    Ascii,
    Latin1,
    /// Big-endian or not; `None` writes a mark of the order.
    Utf16(Option<bool>),
    Utf32(Option<bool>),
}

impl Codec {
    pub(super) fn called(name: &str) -> Option<Self> {
        let name = name.to_lowercase().replace(['-', '_', ' '], "");
        Some(match name.as_str() {
            "utf8" | "u8" => Self::Utf8,
            "ascii" | "usascii" | "646" => Self::Ascii,
            "latin1" | "latin" | "iso88591" | "l1" | "8859" => Self::Latin1,
            "utf16" | "u16" => Self::Utf16(None),
            "utf16le" => Self::Utf16(Some(false)),
            "utf16be" => Self::Utf16(Some(true)),
            "utf32" | "u32" => Self::Utf32(None),
            "utf32le" => Self::Utf32(Some(false)),
            "utf32be" => Self::Utf32(Some(true)),
            _ => return None,
        })
    }

    pub(super) fn encode(self, text: &str) -> Result<Vec<u8>, Error> {
        let single = |limit: u32, name: &str| {
            let byte = |c: char| {
                u8::try_from(u32::from(c))
                    .ok()
                    .filter(|b| u32::from(*b) < limit)
            };
            let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
            bytes.ok_or_else(|| {
                Error::failed(format!(
                    "'{name}' codec can't encode characters: ordinal not in range({limit})"
                ))
            })
        };
        // Without an order this machine's is written, after a mark.
        let marked = |order: Option<bool>| match order {
            None => format!("\u{feff}{text}"),
            Some(_) => text.to_owned(),
        };
        Ok(match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Ascii => single(128, "ascii")?,
            Self::Latin1 => single(256, "latin-1")?,
            Self::Utf16(order) => marked(order)
                .encode_utf16()
                .flat_map(|unit| ordered(unit.to_be_bytes(), order))
                .collect(),
            Self::Utf32(order) => marked(order)
                .chars()
                .flat_map(|c| ordered(u32::from(c).to_be_bytes(), order))
                .collect(),
        })
    }

    pub(super) fn decode(self, bytes: &[u8]) -> Result<String, Error> {
        let text = match self {
            Self::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
            Self::Ascii => bytes
                .is_ascii()
                .then(|| bytes.iter().copied().map(char::from).collect()),
            Self::Latin1 => Some(bytes.iter().copied().map(char::from).collect()),
            Self::Utf16(order) => utf16(bytes, order),
            Self::Utf32(order) => utf32(bytes, order),
        };
        text.ok_or_else(|| {
            let name = format!("{self:?}").to_lowercase();
            Error::failed(format!("'{name}' codec can't decode bytes"))
        })
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
