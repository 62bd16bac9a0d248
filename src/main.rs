//! amibake: turns a YAML manifest into a hardened, tested AMI.

fn main() {}
