//! Prints this machine's facts as JSON, and on stderr how long they took.

use std::io::Write;

use amibake_engine::facts;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = std::time::Instant::now();
    let found = facts::gather(&facts::Request::default())?;
    let elapsed = start.elapsed();
    serde_json::to_writer_pretty(std::io::stdout(), &facts::prefixed(&found.facts))?;
    writeln!(std::io::stderr(), "{elapsed:?}")?;
    Ok(())
}
