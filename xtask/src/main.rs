//! Builds what cargo alone cannot: the static agents, and a release with the agents embedded.

fn main() {}
