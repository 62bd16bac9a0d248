//! The agents this program can ship: embedded, files beside it, or itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use amibake_protocol::bundle::Hash;

use super::{AgentError, self_agent};

include!(concat!(env!("OUT_DIR"), "/agents.rs"));

/// One agent, ready to be shipped.
pub(crate) struct Program {
    hash: Hash,
    /// Its BLAKE2b, if somebody has computed that.
    sum: Option<&'static str>,
    /// Whether it was built with this program, of the same sources.
    is_own: bool,
    packed: Cow<'static, [u8]>,
}

impl Program {
    /// Returns the hash of the program as it runs.
    pub(crate) fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Returns its BLAKE2b of 512 bits in hexadecimal, as `b2sum` prints it, if it is known.
    pub(crate) fn sum(&self) -> Option<&str> {
        self.sum
    }

    /// Returns what tells it from the agent of this program's sources, if it may be another.
    pub(crate) fn foreign(&self) -> Option<&Hash> {
        (!self.is_own).then_some(&self.hash)
    }

    /// Returns it compressed by gzip.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// Returns a program of these bytes as a release has it, with the BLAKE2b that somebody says it has.
    #[cfg(test)]
    pub(super) fn released(bytes: &[u8], sum: Option<&'static str>) -> io::Result<Self> {
        Ok(Self {
            hash: Hash::of(bytes),
            sum,
            is_own: true,
            packed: gzip(bytes)?.into(),
        })
    }

    /// Reads the agent in the file `path`.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let packed = packed_beside(path).map_or_else(|| gzip(&bytes), Ok)?;
        Ok(Self {
            hash: Hash::of(&bytes),
            sum: None,
            is_own: false,
            packed: packed.into(),
        })
    }
}

/// The agents by architecture, as `uname -m` names it.
#[derive(Default)]
pub(crate) struct Programs(BTreeMap<&'static str, Program>);

impl Programs {
    /// Finds the agents: embedded, beside this program or where `cargo xtask agent` puts them, and in
    /// the end this program.
    pub(crate) fn find() -> io::Result<Self> {
        let mut found = Self::default();
        for (architecture, hash, sum, packed) in EMBEDDED {
            let hash = Hash::try_from((*hash).to_owned()).map_err(io::Error::other)?;
            let packed = Cow::Borrowed(*packed);
            let is_own = true;
            let program = Program {
                hash,
                sum: Some(sum),
                is_own,
                packed,
            };
            found.0.insert(architecture, program);
        }
        for architecture in ["x86_64", "aarch64"] {
            if found.0.contains_key(architecture) {
                continue;
            }
            if let Some(path) = beside(architecture) {
                found.0.insert(architecture, Program::read(&path)?);
            }
        }
        if let Some((architecture, path)) = self_agent::program()
            && !found.0.contains_key(architecture)
        {
            let mut program = Program::read(&path)?;
            program.is_own = true;
            found.0.insert(architecture, program);
        }
        Ok(found)
    }

    /// Returns this program for machines like this one.
    #[cfg(test)]
    pub(super) fn only(program: Program) -> Self {
        Self(BTreeMap::from([(std::env::consts::ARCH, program)]))
    }

    pub(crate) fn get(&self, architecture: &str) -> Option<&Program> {
        self.0.get(architecture)
    }

    /// Says now, before any machine is asked what it is, that there is no agent at all.
    pub(crate) fn require_some(&self) -> Result<(), AgentError> {
        match self.0.is_empty() {
            true => Err(AgentError::NoAgents),
            false => Ok(()),
        }
    }

    /// Says now, before anything is launched, that an agent is missing.
    pub(crate) fn require(&self, architecture: &str) -> Result<(), AgentError> {
        match self.get(architecture) {
            Some(_) => Ok(()),
            None => Err(AgentError::NoAgent(architecture.to_owned())),
        }
    }
}

/// Returns the agent's file, if there is one: beside the program, or in cargo's target folder.
fn beside(architecture: &str) -> Option<PathBuf> {
    let name = format!("amibake-agent-{architecture}");
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let candidates = [
        folder.join(&name),
        folder.join("../agent").join(&name),
        folder.join("../../agent").join(&name),
    ];
    candidates.into_iter().find(|path| path.is_file())
}

/// Reads what was compressed when the agent was built, unless the agent is newer. The machine
/// checks what it unpacks.
fn packed_beside(program: &Path) -> Option<Vec<u8>> {
    let packed = PathBuf::from(format!("{}.gz", program.display()));
    let made = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let fresh = made(&packed)? >= made(program)?;
    fresh.then(|| std::fs::read(&packed).ok()).flatten()
}

/// Compresses with the `gzip` command; agents of a release are compressed already.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .args(["-6", "-n", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.map_or(Ok(()), |mut to| to.write_all(&bytes)));
    let output = child.wait_with_output()?;
    writer
        .join()
        .map_err(|_| io::Error::other("compressing the agent failed"))??;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other("compressing the agent failed")),
    }
}
