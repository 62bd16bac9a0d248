//! Bytes that are no UTF-8 in texts, as Python's `surrogateescape` keeps them there.
//!
//! Python has U+DC80 to U+DCFF for them, which no Rust text can hold. The same numbers on the last private plane stand for them
//! here. They become bytes again where a text is written to a file; a module that is given one fails, as Ansible's do.

use std::borrow::Cow;

/// The private plane.
const PLANE: u32 = 0x10_0000;
const FIRST: u32 = PLANE + 0xDC80;
const LAST: u32 = PLANE + 0xDCFF;

/// Returns a text of bytes, in which those that are no UTF-8 can be found again.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte(c) {
                // A character of theirs is given byte by byte, so that it comes back as it was.
                Some(_) => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(escaped)),
                None => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(escaped));
    }
    text
}

/// Returns the bytes of such a text.
#[must_use]
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|c| byte(c).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// Returns the number that Python has for `c`, if it is one of these.
#[must_use]
pub fn number(c: char) -> Option<u32> {
    byte(c).map(|_| u32::from(c) - PLANE)
}

/// Says in Python's words why a text cannot be encoded, if it has such bytes.
#[must_use]
pub fn complaint(text: &str) -> Option<String> {
    let mut found = (0..)
        .zip(text.chars())
        .filter_map(|(at, c)| Some((at, number(c)?)));
    let (first, number) = found.next()?;
    let run = found
        .zip(first + 1..)
        .take_while(|((at, _), wanted)| at == wanted);
    let last: usize = run.map(|((at, _), _)| at).last().unwrap_or(first);
    let which = match first == last {
        true => format!("character '\\u{number:04x}' in position {first}"),
        false => format!("characters in position {first}-{last}"),
    };
    Some(format!(
        "'utf-8' codec can't encode {which}: surrogates not allowed"
    ))
}

fn escaped(byte: u8) -> char {
    let code = PLANE + 0xDC00 + u32::from(byte);
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    (FIRST..=LAST)
        .contains(&code)
        .then(|| code.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let theirs = "\u{10DC80}\u{e4}\u{10DCFF}".as_bytes();
        for given in [
            b"".as_slice(),
            b"plain",
            "\u{e4}\u{1F600}".as_bytes(),
            b"\xe1\xe9a",
            &all,
            theirs,
        ] {
            assert_eq!(&*bytes(&text(given)), given);
        }
        assert_eq!(text(b"\xe1\xe9a").chars().count(), 3);
        assert_eq!(text("\u{e4}".as_bytes()), "\u{e4}");
    }

    #[test]
    fn what_cannot_be_encoded_is_told_as_python_tells_it() {
        let told = |bytes: &[u8]| complaint(&text(bytes));
        let pair = "'utf-8' codec can't encode characters in position 5-6: surrogates not allowed";
        assert_eq!(told(b"echo \xe1\xe9a\xe1").as_deref(), Some(pair));
        let one =
            "'utf-8' codec can't encode character '\\udce1' in position 1: surrogates not allowed";
        assert_eq!(told(b"a\xe1b\xe9").as_deref(), Some(one));
        assert_eq!(told("\u{e4}".as_bytes()), None);
    }
}
