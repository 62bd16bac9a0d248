//! `--output`: what came of each build, as JSON in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::PlannedBuild;
use crate::bake::Baked;
use crate::exit::{Exit, Failure};
use crate::guest::gate::GateRecord;

/// The file, open before anything is called: a bake takes too long to find out after it that its
/// result has no place.
pub(super) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Opens the file. What an earlier build wrote stays until this one has something to say.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path);
        match file {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
            }),
            Err(e) => Err(unwritable(path, &e).of_kind(Exit::Usage)),
        }
    }

    /// Writes the results in the place of earlier ones.
    pub(super) fn write(mut self, results: &[(&PlannedBuild, Baked)]) -> Result<(), Failure> {
        let builds: Vec<Json> = results
            .iter()
            .map(|(planned, baked)| outcome(planned, baked))
            .collect();
        let text = format!("{:#}\n", json!({ "builds": builds }));
        self.replace(&text).map_err(|e| unwritable(&self.path, &e))
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        // A pipe has no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} could not be written: {error}", path.display()))
}

fn outcome(PlannedBuild { plan, .. }: &PlannedBuild, baked: &Baked) -> Json {
    let exit = baked.failure.as_ref().map_or(0, |f| f.exit().code());
    json!({
        "manifest": plan.manifest,
        "name": plan.name,
        "arch": plan.arch,
        "target": plan.target,
        "run": plan.run,
        "region": baked.region,
        "source": baked.source.as_ref().map(|base| json!({"id": base.id(), "name": base.name()})),
        "duration_seconds": baked.elapsed.as_secs(),
        "image_id": baked.image.as_ref().map(|i| &i.id),
        "image_name": baked.image.as_ref().map(|i| &i.name),
        "copies": baked.image.as_ref().map(|i| &i.copies),
        "reused": baked.reused,
        "content": baked.content.as_ref().map(|content| &content.hash),
        "ports": plan.image.ports,
        "hardening": plan.hardening(),
        "gate": gate(baked),
        "exit": exit,
        "error": baked.failure.as_ref().map(error),
        "left_behind": baked.failure.iter().flat_map(|f| &f.left_behind)
            .map(|l| json!({"what": l.what, "remove_with": l.remove_with}))
            .collect::<Vec<_>>(),
    })
}

/// Returns what the gate found. Of an image that was there, an earlier build has said it.
fn gate(baked: &Baked) -> Option<&GateRecord> {
    (!baked.reused).then_some(&baked.gate)
}

/// Returns what went wrong and why, in one text.
fn error(failure: &Failure) -> String {
    failure.chain().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::super::planned;
    use super::*;
    use crate::cli::CommandContext;
    use crate::event;
    use crate::interrupt::Interrupt;
    use crate::manifest::{self, TargetKind};
    use crate::plan::{self, OnError};

    #[test]
    fn an_older_result_stays_until_there_is_a_new_one_and_goes_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        std::fs::write(&path, "a long text of an earlier build").unwrap();
        let mut output = Output::open(&path).unwrap();
        let now = || std::fs::read_to_string(&path).unwrap();
        assert_eq!(now(), "a long text of an earlier build");
        output.replace("{}\n").unwrap();
        assert_eq!(now(), "{}\n");
    }

    #[test]
    fn of_an_image_that_was_there_no_gate_is_told_that_this_build_did_not_look_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        std::fs::write(&path, "name: web\nsource: {ami: ami-0123456789abcdef0}\n").unwrap();
        let now = time::OffsetDateTime::now_utc();
        let given = manifest::Given::default();
        let loaded = manifest::load(&path, TargetKind::Ec2, &given, now).unwrap();
        let mut plans = plan::bakes(&loaded, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let (events, _reports) = event::channel();
        let interrupt = Interrupt::default();
        let cx = CommandContext { events, interrupt };
        let planned = planned(plans.remove(0), false, &cx).unwrap();
        let told = |reused| {
            let baked = Baked {
                reused,
                failure: None,
                ..Failure::new("none").into()
            };
            outcome(&planned, &baked)
        };
        assert_eq!(told(true)["gate"], Json::Null);
        assert_eq!(told(false)["gate"]["passed"], json!(false));
    }

    #[test]
    fn a_result_may_go_to_a_pipe() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        Output::open(Path::new(&path))
            .unwrap()
            .replace("{}")
            .unwrap();
        drop(writer);
        assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "{}");
    }
}
