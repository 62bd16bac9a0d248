//! Literals: the escapes of a text, the extent of a number.

/// Decodes backslash escapes as Python's `unicode-escape` does; unknown ones stay.
#[must_use]
pub fn decode(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => out.push('\\'),
            Some('\n') => {}
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some(c @ ('\\' | '\'' | '"')) => out.push(c),
            Some(c @ ('x' | 'u' | 'U')) => hexadecimal(c, &mut chars, &mut out),
            Some(c @ '0'..='7') => octal(c, &mut chars, &mut out),
            Some(c) => out.extend(['\\', c]),
        }
    }
    out
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn hexadecimal(kind: char, chars: &mut Chars<'_>, out: &mut String) {
    let length = match kind {
        'x' => 2,
        'u' => 4,
        _ => 8,
    };
    let mut digits = String::new();
    while digits.len() < length
        && let Some(digit) = chars.next_if(char::is_ascii_hexdigit)
    {
        digits.push(digit);
    }
    let code = u32::from_str_radix(&digits, 16).ok();
    match code
        .filter(|_| digits.len() == length)
        .and_then(char::from_u32)
    {
        Some(c) => out.push(c),
        None => {
            out.extend(['\\', kind]);
            out.push_str(&digits);
        }
    }
}

fn octal(first: char, chars: &mut Chars<'_>, out: &mut String) {
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let Some(digit) = chars.next_if(|c| c.is_digit(8)) else {
            break;
        };
        code = code * 8 + digit.to_digit(8).unwrap_or(0);
    }
    out.extend(char::from_u32(code));
}

/// Returns how long the number at the start of `text` is, and whether it is a float.
pub(super) fn number_length(text: &str, after_dot: bool) -> (usize, bool) {
    let bytes = text.as_bytes();
    if let [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', digit, ..] = bytes
        && (digit.is_ascii_alphanumeric() || *digit == b'_')
    {
        let end = text[2..].find(|c: char| !c.is_ascii_hexdigit() && c != '_');
        return (end.map_or(text.len(), |end| end + 2), false);
    }
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let ends = rest.iter().position(|b| !b.is_ascii_digit() && *b != b'_');
        from + ends.unwrap_or(rest.len())
    };
    let whole = digits(0);
    if after_dot {
        return (whole, false);
    }
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = whole;
    if bytes.get(end) == Some(&b'.') && is_digit(end + 1) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if is_digit(end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    (end, end != whole)
}
