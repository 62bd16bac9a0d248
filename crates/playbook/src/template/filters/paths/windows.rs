//! Paths of Windows, as Python's `ntpath` takes them apart.

const SEPARATORS: [char; 2] = ['\\', '/'];

/// Splits off `C:` or `\\host\share`.
pub(super) fn split_drive(path: &str) -> (&str, &str) {
    let plain = path.replace('/', "\\");
    if plain.starts_with("\\\\") {
        let device = plain.get(..8).map(str::to_uppercase);
        let start = match device.as_deref() {
            Some("\\\\?\\UNC\\") => 8,
            _ => 2,
        };
        let next = |from: usize| plain[from..].find('\\').map(|at| from + at);
        let share = next(start).and_then(|host| next(host + 1));
        return path.split_at(share.unwrap_or(path.len()));
    }
    match plain.char_indices().nth(1) {
        Some((at, ':')) => path.split_at(at + 1),
        _ => ("", path),
    }
}

/// Returns the drive, the folder and the name.
pub(super) fn split(path: &str) -> (&str, &str, &str) {
    let (drive, rest) = split_drive(path);
    let at = rest.rfind(SEPARATORS).map_or(0, |at| at + 1);
    let (head, tail) = rest.split_at(at);
    let stripped = head.trim_end_matches(SEPARATORS);
    (
        drive,
        if stripped.is_empty() { head } else { stripped },
        tail,
    )
}
