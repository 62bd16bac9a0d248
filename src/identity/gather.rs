//! What the inputs of an image are computed from: the manifest, the files that go with its playbooks, what
//! lookups read here.
//!
//! Where the files lie does not count, nor when it is: a path is told from the manifest's, `build_time` is left
//! out. Secrets enter by a code under the user's own key, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use amibake_playbook::yaml::{Kind, Node};
use amibake_protocol::bundle::{Hash, Hasher, Item, ItemKind};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{ContentKey, Input, Inputs};
use crate::agent::asks::environment;
use crate::manifest::{Builder, Image, Provision};
use crate::plan::BakePlan;
use crate::provision::{Work, inline_tasks};
use crate::run::build_time;

/// What runs the playbooks, seals the machine and looks at the image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Engine {
    /// Hash of the sources that this program was built from.
    build: &'static str,
    /// Hash of the agent that is sent, where it may be of other sources.
    agent: Option<String>,
}

impl Engine {
    pub(crate) fn with_agent(agent: Option<&Hash>) -> Self {
        Self {
            build: env!("AMIBAKE_BUILD"),
            agent: agent.map(ToString::to_string),
        }
    }
}

/// The largest file whose text is searched for lookups.
const TEXT_BYTES: u64 = 4 << 20;

/// What stands in place of the time of a build.
const BUILD_TIME: &str = "{{ build_time }}";

/// A file that an image is made of cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the files that tell this image from others cannot be read")]
pub(crate) struct GatherError(#[from] io::Error);

/// Returns all that the image of `plan` is made of but its source.
pub(crate) fn inputs(
    plan: &BakePlan,
    work: &Work,
    engine: &Engine,
    key: Option<&ContentKey>,
) -> Result<Inputs, GatherError> {
    let inputs = of_manifest(plan, key);
    Ok(with_work(inputs, plan, work, engine, key)?)
}

/// Returns the inputs that the manifest has by itself.
pub(crate) fn of_manifest(plan: &BakePlan, key: Option<&ContentKey>) -> Inputs {
    let Builder {
        user,
        port,
        user_data,
        volumes,
        // How a machine is had, and who may reach it, is no part of what it becomes.
        region: _,
        instance_types: _,
        subnet: _,
        connect: _,
        ingress_cidrs: _,
        security_groups: _,
        instance_profile: _,
        tags: _,
        timeouts: _,
    } = &plan.builder;
    let Image {
        name,
        encrypt,
        // It is told to every step, and the gate has it.
        ports,
        attributes,
        description,
        // What can be mended on an image that is there, keys of its copies among it.
        tags: _,
        publication: _,
        // What is there already is asked for these.
        max_age: _,
        keep: _,
        replace: _,
    } = &plan.image;
    let texts = Texts(plan);
    let mut inputs = Inputs::default();
    inputs.set(
        Input::Name,
        texts.digest(&json!([plan.name, name, description])),
    );
    inputs.set(Input::Login, texts.digest(&json!([user, port])));
    inputs.set(Input::UserData, texts.digest(user_data));
    inputs.set(Input::Volumes, texts.digest(volumes));
    let encrypted = (encrypt.is_on(), encrypt.kms_key());
    inputs.set(Input::Image, texts.digest(&json!([encrypted, attributes])));
    inputs.set(Input::Gate, texts.digest(&json!([plan.gate, ports])));
    inputs.set(Input::Test, texts.digest(&plan.tests));
    let sensitive = plan.sensitive.iter();
    let sensitive = sensitive.map(|(name, value)| (name.as_str(), Some(value.expose().as_bytes())));
    let code = inputs.keyed("the sensitive variable", sensitive, key);
    inputs.set(Input::Secrets, code);
    if let Some(set) = &plan.requirements {
        inputs.set(Input::Requirements, texts.digest(&set.lines));
    }
    inputs
}

/// Adds what travels to the builder, and what this machine is asked there.
fn with_work(
    mut inputs: Inputs,
    plan: &BakePlan,
    work: &Work,
    engine: &Engine,
    key: Option<&ContentKey>,
) -> io::Result<Inputs> {
    let texts = Texts(plan);
    inputs.set(Input::Engine, texts.digest(engine));
    let places = Places::of(plan);
    let (mut files, mut of_steps) = (Files::new(), vec![Files::new(); plan.provision.len()]);
    for item in work
        .bundle
        .items()
        .iter()
        .filter(|i| i.path != plan.manifest)
    {
        let its = plan
            .provision
            .iter()
            .position(|step| match &step.provision {
                Provision::Role { path, .. } => item.path.starts_with(path),
                Provision::Playbook { .. } | Provision::Tasks { .. } => false,
            });
        let group = its.map_or(&mut files, |step| &mut of_steps[step]);
        group.insert(places.shown(&item.path), digest_of(item, work)?);
    }
    inputs.set(Input::Files, texts.digest(&files));
    for (number, (step, files)) in (1..).zip(plan.provision.iter().zip(of_steps)) {
        let (what, itself) = match &step.provision {
            Provision::Role { path, vars } => {
                let role = places.shown(path);
                (format!("role {role}"), json!(["role", role, vars]))
            }
            Provision::Playbook { path, vars } => {
                let playbook = places.shown(path);
                (
                    format!("playbook {playbook}"),
                    json!(["playbook", playbook, vars]),
                )
            }
            Provision::Tasks { yaml, vars } => {
                let tasks = inline_tasks(step).map(|tasks| written(&tasks));
                let tasks = tasks.unwrap_or_else(|| json!(yaml));
                ("tasks".to_owned(), json!(["tasks", tasks, vars]))
            }
        };
        inputs.set(Input::Step(number), texts.digest(&json!([itself, files])));
        inputs.steps.push(what);
    }
    let names = environment_of(work)?;
    let values: Vec<_> = names
        .iter()
        .map(|name| (name, std::env::var_os(name)))
        .collect();
    let values = values.iter().map(|(name, value)| {
        let value = value.as_ref().map(|value| value.as_encoded_bytes());
        (name.as_str(), value)
    });
    let code = inputs.keyed("the environment variable", values, key);
    inputs.set(Input::Env, code);
    Ok(inputs)
}

impl Inputs {
    /// Returns a digest of named values under the key; without one, of their names and of which
    /// are there.
    fn keyed<'v>(
        &mut self,
        kind: &str,
        values: impl Iterator<Item = (&'v str, Option<&'v [u8]>)>,
        key: Option<&ContentKey>,
    ) -> Hash {
        let mut hasher = Hasher::default();
        for (name, value) in values {
            let code = match (value, key) {
                (None, _) => "not set".to_owned(),
                (Some(value), Some(key)) => key.code(name, value).to_string(),
                (Some(_), None) => {
                    self.unkeyed.push(format!("{kind} `{name}`"));
                    "not known".to_owned()
                }
            };
            hasher.update(format!("{name}={code}\n").as_bytes());
        }
        hasher.finish()
    }
}

/// Digests of files by where they lie, seen from the manifest.
type Files = BTreeMap<String, String>;

/// Returns what counts of a file: what it holds, and whether it is a program. Other bits of its mode are as
/// the umask of a checkout has them.
fn digest_of(item: &Item, work: &Work) -> io::Result<String> {
    let program = if item.mode & 0o100 == 0 {
        ""
    } else {
        " program"
    };
    Ok(match &item.kind {
        ItemKind::Folder => "folder".to_owned(),
        ItemKind::Link { target } => format!("link {target}"),
        ItemKind::File { hash, .. } => format!("{hash}{program}"),
        // It is sent when a task wants it, or only tested for.
        ItemKind::Large { .. } if work.bundle.reads().permits(&item.path) => {
            let hash = Hash::of_reader(&mut File::open(&item.path)?)?;
            format!("{hash}{program}")
        }
        ItemKind::Large { .. } => "there".to_owned(),
    })
}

/// Returns the environment variables that lookups name literally. `HOME` is where files lie.
fn environment_of(work: &Work) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    each_text(work, |text| names.extend(environment(text).literal))?;
    names.remove("HOME");
    Ok(names)
}

/// Returns whether lookups compute the names of environment variables when they run.
pub(crate) fn asks_for_computed_environment(work: &Work) -> bool {
    let mut computed = false;
    let read = each_text(work, |text| computed |= environment(text).computed);
    computed && read.is_ok()
}

/// Shows every text that may hold lookups.
fn each_text(work: &Work, mut look: impl FnMut(&str)) -> io::Result<()> {
    for (_, text) in &work.asks.texts {
        look(text);
    }
    for item in work.bundle.items() {
        if !matches!(&item.kind, ItemKind::File { size, .. } if *size <= TEXT_BYTES) {
            continue;
        }
        match work.bundle.text_of(&item.path) {
            Ok(text) => look(&text),
            // What is no text has no lookup.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns what YAML says, without its comments, blanks and places.
fn written(node: &Node) -> Json {
    let value = match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(truth) => json!(truth),
        Kind::Int(number) => json!({"int": number.to_string()}),
        Kind::Float(number) => json!({"float": number.to_string()}),
        Kind::Str(text) => json!(text),
        Kind::Timestamp(moment) => json!({"timestamp": moment.to_string()}),
        Kind::Seq(items) => items.iter().map(written).collect(),
        Kind::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| [written(key), written(value)]);
            json!({"map": pairs.collect::<Vec<_>>()})
        }
    };
    match &node.tag {
        Some(tag) => json!({"tag": tag, "of": value}),
        None => value,
    }
}

/// The manifest's texts without secrets and without the time.
struct Texts<'a>(&'a BakePlan);

impl Texts<'_> {
    fn digest(&self, value: &impl Serialize) -> Hash {
        let value = serde_json::to_value(value).expect("a manifest is plain data");
        let time = build_time(self.0.run.began());
        Hash::of(self.plain(value, &time).to_string().as_bytes())
    }

    /// Returns a value in one form, whatever the order of its keys.
    fn plain(&self, value: Json, time: &str) -> Json {
        match value {
            Json::String(mut text) => {
                self.0.secrets.text(&mut text);
                Json::String(text.replace(time, BUILD_TIME))
            }
            Json::Array(items) => items
                .into_iter()
                .map(|item| self.plain(item, time))
                .collect(),
            Json::Object(fields) => {
                let sorted: BTreeMap<String, Json> = fields.into_iter().collect();
                let plain = sorted
                    .into_iter()
                    .map(|(key, value)| (key, self.plain(value, time)));
                plain.collect()
            }
            plain @ (Json::Null | Json::Bool(_) | Json::Number(_)) => plain,
        }
    }
}

/// How paths are told wherever the manifest lies.
struct Places {
    manifest: PathBuf,
    /// How many folders above the manifest's the steps reach.
    above: usize,
    home: Option<PathBuf>,
    /// Where the manifest's `requirements` lie on this machine.
    requirements: Option<PathBuf>,
}

impl Places {
    fn of(plan: &BakePlan) -> Self {
        let manifest = plan.manifest.parent().unwrap_or(Path::new("/")).to_owned();
        let paths = plan
            .provision
            .iter()
            .filter_map(|step| match &step.provision {
                Provision::Role { path, .. } | Provision::Playbook { path, .. } => Some(path),
                Provision::Tasks { .. } => None,
            });
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        // What is installed for everybody here lies nowhere in particular, seen from the manifest.
        let mut installed: Vec<PathBuf> = ["/usr/share/ansible", "/etc/ansible"]
            .map(Into::into)
            .into();
        installed.extend(home.iter().map(|home| home.join(".ansible")));
        installed.extend(plan.requirements.iter().map(|set| set.folder.clone()));
        let above = paths
            .filter(|path| !installed.iter().any(|folder| path.starts_with(folder)))
            .map(|path| relative(&manifest, path).0);
        Self {
            above: above.max().unwrap_or(0),
            home,
            requirements: plan.requirements.as_ref().map(|set| set.folder.clone()),
            manifest,
        }
    }

    /// Returns a path as seen from the manifest; as it is where it has nothing to do with it.
    fn shown(&self, path: &Path) -> String {
        let set = self.requirements.as_ref();
        if let Some(below) = set.and_then(|set| path.strip_prefix(set).ok()) {
            return format!("requirements/{}", below.display());
        }
        let (above, below) = relative(&self.manifest, path);
        if above <= self.above {
            return format!("{}{}", "../".repeat(above), below.display());
        }
        let in_home = self
            .home
            .as_ref()
            .and_then(|home| path.strip_prefix(home).ok());
        match in_home {
            Some(below) => format!("~/{}", below.display()),
            None => path.display().to_string(),
        }
    }
}

/// Returns how many folders above `from` a path begins, and the rest of it.
fn relative(from: &Path, to: &Path) -> (usize, PathBuf) {
    let (mut from, mut to) = (normal(from).into_iter(), normal(to).into_iter());
    let (mut left, mut right) = (from.next(), to.next());
    while left.is_some() && left == right {
        (left, right) = (from.next(), to.next());
    }
    let above = usize::from(left.is_some()) + from.count();
    (above, right.into_iter().chain(to).collect())
}

/// Returns the parts of an absolute path, with `..` followed by its name.
fn normal(path: &Path) -> Vec<std::ffi::OsString> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::ParentDir => _ = parts.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests;
