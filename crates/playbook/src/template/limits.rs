//! How much one rendering may take: steps, bytes, nesting.

use std::cell::Cell;

use super::{Error, ErrorKind};

/// The limits of one rendering.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Operations.
    pub steps: u64,
    /// Bytes of all the values made on the way.
    pub bytes: usize,
    /// Templates within templates, macros within macros.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 20_000_000,
            bytes: 512 << 20,
            depth: 40,
        }
    }
}

/// Counts against the limits.
pub(super) struct Meter {
    limits: Limits,
    steps: Cell<u64>,
    bytes: Cell<usize>,
    depth: Cell<usize>,
}

/// One level of nesting, left when dropped.
pub(super) struct Level<'a>(&'a Cell<usize>);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            steps: Cell::new(0),
            bytes: Cell::new(0),
            depth: Cell::new(0),
        }
    }

    /// Counts `count` operations.
    pub(super) fn steps(&self, count: usize) -> Result<(), Error> {
        let steps = self.steps.get().saturating_add(count as u64);
        self.steps.set(steps);
        if steps > self.limits.steps {
            return Err(limit("the template takes too long: it was stopped"));
        }
        Ok(())
    }

    /// Counts `count` bytes before they are made.
    pub(super) fn bytes(&self, count: usize) -> Result<(), Error> {
        let bytes = self.bytes.get().saturating_add(count);
        self.bytes.set(bytes);
        if bytes > self.limits.bytes {
            return Err(limit("the template needs too much memory: it was stopped"));
        }
        Ok(())
    }

    /// Counts the items of a list before they are made.
    pub(super) fn items(&self, count: usize) -> Result<(), Error> {
        self.steps(count)?;
        self.bytes(count.saturating_mul(24))
    }

    /// Goes one level deeper until the result is dropped.
    pub(super) fn deeper(&self) -> Result<Level<'_>, Error> {
        let depth = self.depth.get() + 1;
        if depth > self.limits.depth {
            return Err(Error::failed(
                "Recursive loop detected in template: maximum recursion depth exceeded",
            ));
        }
        self.depth.set(depth);
        Ok(Level(&self.depth))
    }
}

fn limit(message: &str) -> Error {
    Error::new(ErrorKind::Limit, message)
}
