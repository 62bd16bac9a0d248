//! Lines as Python ends them.

/// Splits as Python's `splitlines`, which ends lines at a carriage return too: apt draws with them.
pub(crate) fn splitlines(text: &str) -> Vec<String> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<String> = text.split(ENDS).map(str::to_owned).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_end_where_pythons_do() {
        let text = "Reading... 0%\rReading... Done\r\nbuilt\u{2028}last\n";
        let lines = super::splitlines(text);
        assert_eq!(lines, ["Reading... 0%", "Reading... Done", "built", "last"]);
        assert!(super::splitlines("").is_empty());
    }
}
