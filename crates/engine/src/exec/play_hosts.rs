//! The hosts of a play.

/// Whom a play is for.
pub(super) struct PlayHosts {
    /// Whether this host is among them.
    pub(super) ours: bool,
    /// All of them that take part in the run.
    pub(super) all: Vec<String>,
    /// Those of them that have not failed yet.
    pub(super) living: Vec<String>,
    /// Those of these that run it at the same time.
    pub(super) batch: Vec<String>,
}

impl PlayHosts {
    pub(super) fn new(ours: bool, all: Vec<String>) -> Self {
        Self {
            ours,
            living: all.clone(),
            batch: all.clone(),
            all,
        }
    }

    /// Takes out those who take part no more.
    pub(super) fn lose(&mut self, gone: &[String]) {
        self.living.retain(|name| !gone.contains(name));
        self.batch.retain(|name| !gone.contains(name));
    }
}
