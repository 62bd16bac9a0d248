//! The program on the builder.

use std::process::ExitCode;

fn main() -> ExitCode {
    amibake_agent::main(std::env::args().skip(1).collect())
}
