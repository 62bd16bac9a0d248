//! A machine's console: what its systemd says of the boot, and its journal.

use std::path::{Path, PathBuf};

use super::super::tail;

/// What fails in a boot often takes others with it: the first ones tell.
const FAILED_UNITS: usize = 5;

/// How systemd marks what failed, what was not tried therefore, and what took too long.
const MARKS: [&str; 3] = ["[FAILED]", "[DEPEND]", "[ TIME ]"];

/// Returns where the console of the machine in `folder` is kept.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("console.log")
}

/// Returns what failed in the boot, then the end of the console.
pub(super) fn causes(console: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(console);
    let failed = text
        .lines()
        .map(str::trim)
        .filter(|line| MARKS.iter().any(|mark| line.starts_with(mark)));
    let mut lines: Vec<String> = failed.take(FAILED_UNITS).map(str::to_owned).collect();
    let tail = tail(console);
    if !tail.is_empty() {
        lines.push("the end of its console:".to_owned());
    }
    lines.extend(tail.iter().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_comes_before_the_end() {
        let mut console = "[  OK  ] Started dbus.service.\r\r\n\
                           [FAILED] Failed to start user-sessions.\r\r\n\
                           [DEPEND] Dependency failed for web.service.\r\r\n"
            .to_owned();
        for n in 1..=40 {
            console += &format!("sshd[{n}]: fatal\r\r\n");
        }
        let said = causes(console.as_bytes());
        assert_eq!(said.len(), 2 + 1 + 20, "{said:?}");
        assert_eq!(
            said[..4],
            [
                "[FAILED] Failed to start user-sessions.",
                "[DEPEND] Dependency failed for web.service.",
                "the end of its console:",
                "  sshd[21]: fatal",
            ]
        );
        assert_eq!(causes(b""), [""; 0]);
    }
}
