//! Questions on the terminal, and those among them whose answers must not be seen.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// The terminal as it was before a question that is still open.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Asks on the terminal and returns the answer, which is not shown.
///
/// The echo ends before the question appears: an answer that was typed ahead, or is pasted at once,
/// is not shown either. Without a terminal it is an error.
pub(crate) fn secret(question: &str) -> io::Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = termios::tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(&terminal, OptionalActions::Now, &silent)?;
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, before));
    let answer = rpassword::prompt_password(question);
    restore();
    answer
}

/// Asks a question on the terminal and returns whether the answer is yes. Without a terminal it is an error.
#[cfg(feature = "stack")]
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    use std::io::{BufRead as _, BufReader, Write as _};

    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Gives the terminal its echo back, if a question is still open: a command that was interrupted
/// does not wait for the answer.
pub(crate) fn restore() {
    let open = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = open {
        // A terminal that is gone needs nothing.
        let _ = termios::tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}
