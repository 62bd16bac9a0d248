//! A machine's console: what its systemd says of the boot, and its journal.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::super::tail;

/// What fails in a boot often takes others with it: the first ones tell.
const FAILED_UNITS: usize = 5;

/// How systemd marks what failed, what was not tried therefore, and what took too long.
const MARKS: [&str; 3] = ["[FAILED]", "[DEPEND]", "[ TIME ]"];

/// Blocks of 4 KiB at most in each of the two files: 4 MiB.
const MOST_BLOCKS: u32 = 1024;

/// Writes what it reads to a file, which becomes the older one when it is full and more has come.
/// `dd` writes at once what it reads. Whatever happens to the disk, the machine's output is read.
const KEEPER: &str = r#"
while dd bs=4096 count="$1" status=none >>"$0" && dd bs=1 count=1 status=none >"$0.next" && [ -s "$0.next" ]; do
  mv "$0" "$0.1" && mv "$0.next" "$0" || break
done
rm -f "$0.next"
exec cat >/dev/null
"#;

/// Returns where the console of the machine in `folder` is kept.
fn path(folder: &Path) -> PathBuf {
    folder.join("console.log")
}

/// Keeps the end of what a machine's console says: returns where that is to be written. A machine
/// may say any amount. The program that keeps it outlives us, as the machine may, and ends with it.
pub(super) fn keep(folder: &Path) -> io::Result<PipeWriter> {
    let (from, to) = io::pipe()?;
    let most = MOST_BLOCKS.to_string();
    // Made at once, so that there is a console to be read.
    File::create(path(folder))?;
    Command::new("sh")
        .args(["-c", KEEPER])
        .arg(path(folder))
        .arg(most)
        .stdin(from)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(to)
}

/// Returns what is kept of a console.
pub(super) fn read(folder: &Path) -> Vec<u8> {
    let newer = path(folder);
    let mut older = newer.clone().into_os_string();
    older.push(".1");
    let mut text = std::fs::read(older).unwrap_or_default();
    text.extend(std::fs::read(newer).unwrap_or_default());
    text
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
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_console_is_kept_to_its_end_and_takes_no_more_than_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut to = keep(folder.path()).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..20 << 10 {
            to.write_all(&line).unwrap();
        }
        to.write_all(b"the end\n").unwrap();
        drop(to);
        while !read(folder.path()).ends_with(b"the end\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let size = read(folder.path()).len();
        assert!(
            size > 4 << 20 && size <= 8 << 20,
            "{size} of 20 MiB are kept"
        );
    }

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
