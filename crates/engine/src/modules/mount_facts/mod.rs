//! `mount_facts`: what is mounted where, and what the tables of file systems say of it, from the sources asked for.

mod ids;
mod sources;
mod tables;

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use amibake_playbook::fnmatch::fnmatch;
use amibake_playbook::value::Value;
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::facts;
use crate::module::{ActionModule, Context, Failure, Outcome};
use ids::Ids;
use sources::Found;

pub(super) struct MountFacts;

/// How long the size of a file system is waited for where the task does not say.
const PATIENCE: f64 = 10.0;

impl ActionModule for MountFacts {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut asked = Asked::read(args)?;
        let found = sources::mounts(&mut asked, context)?;
        let mut mounts = Vec::new();
        let mut ids = Ids::default();
        for mount in found {
            mounts.extend(asked.described(mount, &mut ids, context)?);
        }
        asked.warn_of_repeats(&mounts);
        let mut points = Map::new();
        for mount in &mounts {
            let point = mount.point.clone();
            points.entry(point).or_insert_with(|| mount.fields.clone());
        }
        let all = match args.bool("include_aggregate_mounts") {
            true => mounts.into_iter().map(|mount| mount.fields).collect(),
            false => Vec::new(),
        };
        let facts = json!({"mount_points": points, "aggregate_mounts": all});
        let mut outcome = Outcome::of(false, json!({"ansible_facts": facts}));
        outcome.warnings = asked.warnings;
        Ok(outcome)
    }
}

/// What the task asks for, and what its author is to hear.
struct Asked<'a> {
    args: &'a Args,
    /// Seconds that a program or a file system may take.
    timeout: Option<f64>,
    /// The program that lists mounts where no file does.
    program: Option<&'a str>,
    warnings: Vec<String>,
}

/// A mount with its facts.
struct Mount {
    point: String,
    source: String,
    fields: Json,
}

impl<'a> Asked<'a> {
    fn read(args: &'a Args) -> Result<Self, Failure> {
        let timeout = args.raw("timeout").and_then(Json::as_f64);
        if let Some(seconds) = timeout.filter(|seconds| *seconds <= 0.0) {
            return Err(Failure::new(format!(
                "argument 'timeout' must be a positive number or null, not {seconds:?}"
            )));
        }
        let program = match args.raw("mount_binary") {
            None | Some(Json::Null) => None,
            Some(Json::String(name)) => Some(name.as_str()).filter(|name| !name.is_empty()),
            Some(other) => {
                let shown = Value::from_json(other);
                return Err(Failure::new(format!(
                    "argument 'mount_binary' must be a string or null, not {shown}"
                )));
            }
        };
        Ok(Self {
            args,
            timeout,
            program,
            warnings: Vec::new(),
        })
    }

    /// Does with what took too long as `on_timeout` says.
    fn late(&mut self, message: String) -> Result<(), Failure> {
        match self.args.str("on_timeout") {
            Some("ignore") => {}
            Some("warn") => self.warnings.push(message),
            _ => return Err(Failure::new(message)),
        }
        Ok(())
    }

    /// Returns a mount with what is known of it, if it is one that the task asks for.
    fn described(
        &mut self,
        mount: Found,
        ids: &mut Ids,
        context: &mut Context<'_>,
    ) -> Result<Option<Mount>, Failure> {
        let text = |name: &str| mount.fields[name].as_str().unwrap_or_default().to_owned();
        let (mut device, kind) = (text("device"), text("fstype"));
        let mut id = device.strip_prefix("UUID=").map(str::to_owned);
        if let Some(id) = &id
            && let Some(found) = ids.device(id, self, context)?
        {
            device = found;
        }
        if !fits(&device, &self.args.list("devices")) || !fits(&kind, &self.args.list("fstypes")) {
            return Ok(None);
        }
        let mut fields = mount.fields;
        fields.append(&mut self.size(&mount.point, &kind)?);
        if id.is_none() {
            id = ids.of(&device, self, context)?;
        }
        fields.insert("uuid".to_owned(), json!(id));
        let origin = json!({"source": mount.source, "source_data": mount.line});
        fields.insert("ansible_context".to_owned(), origin);
        Ok(Some(Mount {
            point: mount.point,
            source: mount.source,
            fields: Json::Object(fields),
        }))
    }

    /// Returns how large a file system is. One whose server does not answer is not waited for for ever.
    fn size(&mut self, point: &str, kind: &str) -> Result<Map<String, Json>, Failure> {
        let (answer, asked) = channel();
        let place = point.to_owned();
        std::thread::spawn(move || answer.send(facts::space_at(&place)));
        let patience = self.timeout.unwrap_or(PATIENCE);
        let limit = Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX);
        if let Ok(size) = asked.recv_timeout(crate::deadline::at_most(limit)) {
            return Ok(size);
        }
        let shown = match self.timeout {
            Some(seconds) => format!("{seconds:?}"),
            None => format!("{PATIENCE}"),
        };
        let what = format!("Timed out getting mount size for mount {point} (type {kind})");
        self.late(format!("{what} after {shown} seconds"))?;
        Ok(Map::new())
    }

    /// Says which places a source has more than one mount at, unless the task says whether it wants them all.
    fn warn_of_repeats(&mut self, mounts: &[Mount]) {
        if self.args.has("include_aggregate_mounts") {
            return;
        }
        let mut by_source: Vec<(&str, Vec<&str>)> = Vec::new();
        for mount in mounts {
            match by_source
                .iter_mut()
                .find(|(source, _)| *source == mount.source)
            {
                Some((_, points)) => points.push(&mount.point),
                None => by_source.push((&mount.source, vec![&mount.point])),
            }
        }
        let repeated = by_source.iter().filter(|(_, points)| {
            let once: BTreeSet<&str> = points.iter().copied().collect();
            once.len() != points.len()
        });
        let told: Vec<String> = repeated
            .map(|(source, points)| format!("{source} ({})", python_list(points)))
            .collect();
        if !told.is_empty() {
            self.warnings.push(format!(
                "mount_facts: ignoring repeat mounts in the following sources: {}. You can disable this warning by \
                 configuring the 'include_aggregate_mounts' option as True or False.",
                told.join(", ")
            ));
        }
    }
}

/// Returns texts as Python shows a list of them.
fn python_list<S: AsRef<str>>(texts: &[S]) -> String {
    let texts = texts.iter().map(|text| Value::str(text.as_ref()));
    Value::list(texts.collect()).repr()
}

fn fits(name: &str, patterns: &[&str]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| fnmatch(pattern, name))
}

#[cfg(test)]
mod tests;
