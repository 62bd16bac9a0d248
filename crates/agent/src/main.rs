//! The program on the builder.

fn main() {}
