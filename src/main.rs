//! amibake: turns a YAML manifest into a hardened, tested AMI.

mod transport;

fn main() {}
