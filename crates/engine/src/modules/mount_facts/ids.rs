//! The ids of file systems by device, and the other way round.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::sources::{Answer, output};
use super::{Asked, python_list};
use crate::module::{Context, Failure};
use crate::modules::paths;
use crate::run_command::bin_path;

/// What was asked, each once.
#[derive(Default)]
pub(super) struct Ids {
    /// Devices by id.
    devices: BTreeMap<String, Option<String>>,
    /// Ids by device.
    known: BTreeMap<String, Option<String>>,
    /// What `lsblk` lists.
    listed: Option<Said>,
}

/// What a program said.
enum Said {
    Text(String),
    /// It is not there, or took too long.
    Nothing,
    Failed,
}

impl Said {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Nothing | Self::Failed => "",
        }
    }
}

impl Ids {
    /// Returns the device of an id as `blkid` says it, the end of its line included, as Ansible has it.
    pub(super) fn device(
        &mut self,
        id: &str,
        asked: &mut Asked<'_>,
        context: &Context<'_>,
    ) -> Result<Option<String>, Failure> {
        if let Some(known) = self.devices.get(id) {
            return Ok(known.clone());
        }
        let said = run("blkid", &["--uuid", id], asked, context)?;
        let device = Some(said.text().to_owned()).filter(|device| !device.is_empty());
        self.devices.insert(id.to_owned(), device.clone());
        Ok(device)
    }

    /// Returns the id of the file system on a device. What is no device has none, and nobody is asked for it.
    pub(super) fn of(
        &mut self,
        device: &str,
        asked: &mut Asked<'_>,
        context: &Context<'_>,
    ) -> Result<Option<String>, Failure> {
        if !is_device(device) {
            return Ok(None);
        }
        if let Some(known) = self.known.get(device) {
            return Ok(known.clone());
        }
        let id = self.look_for(device, asked, context)?;
        self.known.insert(device.to_owned(), id.clone());
        Ok(id)
    }

    fn look_for(
        &mut self,
        device: &str,
        asked: &mut Asked<'_>,
        context: &Context<'_>,
    ) -> Result<Option<String>, Failure> {
        let links = std::fs::read_dir("/dev/disk/by-uuid");
        for link in links.into_iter().flatten().flatten() {
            if paths::real(&link.path()) == Path::new(device) {
                return Ok(Some(link.file_name().to_string_lossy().into_owned()));
            }
        }
        if self.listed.is_none() {
            const ARGS: &[&str] = &[
                "--list",
                "--noheadings",
                "--paths",
                "--output",
                "NAME,UUID",
                "--exclude",
                "2",
            ];
            self.listed = Some(run("lsblk", ARGS, asked, context)?);
        }
        // As Ansible: where `lsblk` fails, nobody else is asked.
        let Some(listed @ (Said::Text(_) | Said::Nothing)) = &self.listed else {
            return Ok(None);
        };
        if let Some((_, id)) = pairs(listed.text()).find(|(name, _)| *name == device) {
            return Ok(Some(id.to_owned()));
        }
        let args = ["info", "--query", "property", "--name", device];
        let said = run("udevadm", &args, asked, context)?;
        let mut lines = said.text().lines();
        let id = lines.find_map(|line| line.strip_prefix("ID_FS_UUID="));
        Ok(id.map(str::to_owned))
    }
}

fn run(
    program: &str,
    args: &[&str],
    asked: &mut Asked<'_>,
    context: &Context<'_>,
) -> Result<Said, Failure> {
    let Some(program) = bin_path(program, context) else {
        return Ok(Said::Nothing);
    };
    let program = program.to_string_lossy();
    let argv: Vec<&str> = std::iter::once(&*program)
        .chain(args.iter().copied())
        .collect();
    match output(&argv, asked.timeout, context) {
        Answer::Said(text) => Ok(Said::Text(text)),
        Answer::Failed(_) => Ok(Said::Failed),
        Answer::Late(seconds) => {
            let shown = python_list(&argv);
            asked.late(format!(
                "Command '{shown}' timed out after {seconds:?} seconds"
            ))?;
            Ok(Said::Nothing)
        }
    }
}

/// Returns devices and ids, of lines that have both.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [device, id] => Some((device, id)),
            _ => None,
        }
    })
}

/// Whether there is such a device, by its path or its name below /dev.
fn is_device(name: &str) -> bool {
    let meta = Path::new("/dev").join(name.trim_end()).metadata();
    meta.is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_block_device() || kind.is_char_device()
    })
}
