//! Room for many open files: a tree that is copied is open as a whole.
//!
//! Programs that are started keep the usual limit, as under Ansible: some grow slow with a high
//! one, and daemons keep what they were started with.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many files the usual limit of 1024 has room for.
pub(crate) const FEW: usize = 500;

/// The soft limit at its highest; dropped, it is as before.
pub(crate) struct FdLimit(Rlimit);

impl FdLimit {
    /// Raises the limit as far as it goes.
    pub(crate) fn make() -> Self {
        let before = getrlimit(Resource::Nofile);
        let most = Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        };
        // Where it cannot be raised, a tree that is too large for it says so when it is opened.
        let _ = setrlimit(Resource::Nofile, most);
        Self(before)
    }
}

impl Drop for FdLimit {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}
