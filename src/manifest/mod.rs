//! The manifest: YAML to a typed [`Manifest`], with line and column in every complaint.
//!
//! Keys that DESIGN.md promises and nobody has built yet are refused by name, never skipped.

mod apart;
mod builder;
mod expression;
mod gate;
mod hardening;
mod host;
mod image;
mod model;
mod parts;
mod path_glob;
mod publication;
mod read;
mod region;
mod schema;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics, Source as Text};
use amibake_playbook::files::Disk;
use amibake_playbook::yaml::{self, Document, Fields, Kind, Node};
use amibake_protocol::mask::Mask;
use time::OffsetDateTime;

use crate::ansible_config::SearchPaths;
use crate::galaxy::LockedSet;
use crate::run::build_time;
use crate::secret::Secret;
use host::Host;

pub(crate) use model::*;
#[cfg(test)]
pub(crate) use path_glob::PathGlob;
pub(crate) use publication::*;
#[cfg(feature = "ec2")]
pub(crate) use read::time;
#[cfg(feature = "ec2")]
pub(crate) use region::of_zone as region_of_zone;
pub(crate) use schema::schema;
use variables::Variables;
pub(crate) use variables::{Given, GivenHere, Secrets};

/// A manifest for one target, its variables filled in.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    /// What is made: an image for each of `source.arch`.
    pub(crate) images: Vec<Wanted>,
    /// What hides the values of sensitive variables.
    pub(crate) secrets: Mask,
    /// The sensitive variables themselves.
    pub(crate) sensitive: BTreeMap<String, Secret<String>>,
    /// What of its variables was given from outside.
    pub(crate) given: GivenHere,
    /// Names of all its variables.
    pub(crate) variables: BTreeSet<String>,
    /// Where roles and collections lie that are not beside it.
    pub(crate) search: SearchPaths,
    /// What its `requirements` stand for.
    pub(crate) requirements: Option<LockedSet>,
    /// What is not wrong but probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// What a manifest says of one image.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its architecture, which each text below may have named.
    pub(crate) arch: Arch,
    /// `source`, or the target's own.
    pub(crate) source: Source,
    pub(crate) builder: Builder,
    pub(crate) provision: Vec<Step>,
    pub(crate) gate: Gate,
    pub(crate) tests: Vec<ImageTest>,
    pub(crate) image: Image,
}

/// What a manifest is read for.
struct Purpose<'a> {
    target: TargetKind,
    given: &'a Given,
    host: Host,
    build_time: String,
    search: SearchPaths,
}

const KEYS: &[&str] = &[
    "name",
    "variables",
    "requirements",
    "source",
    "builder",
    "targets",
    "provision",
    "gate",
    "test",
    "image",
];

/// A manifest may be read where its requirements are not.
const NOT_FETCHED: &str =
    "what `requirements` name is not in the cache: `amibake plan` and `amibake build` fetch it";

/// Reads the manifest at `path` for `target`, to be built at `now`. Nothing is called.
pub(crate) fn load(
    path: &Path,
    target: TargetKind,
    given: &Given,
    now: OffsetDateTime,
) -> Result<Manifest, Diagnostics> {
    let whole = |e: std::io::Error| {
        let span = yaml::Span::whole(path);
        Diagnostic::new(&span, format!("could not be read: {e}"))
    };
    let path = std::path::absolute(path).map_err(whole)?;
    let document = yaml::load(&Disk::here(), &path)?;
    let purpose = Purpose {
        target,
        given,
        host: Host::here(),
        build_time: build_time(now),
        search: SearchPaths::here(),
    };
    let mut manifest = parse(&path, &document, &purpose)?;
    if let Some(node) = document.root.get("requirements")
        && manifest
            .requirements
            .as_ref()
            .is_some_and(|set| !set.is_there())
    {
        manifest
            .warnings
            .push(Diagnostic::new(&node.span, NOT_FETCHED));
    }
    Ok(manifest)
}

/// Returns what the `requirements` of the manifest at `path` stand for. Nothing else of it is looked at: its roles may
/// be among them.
pub(crate) fn requirements(path: &Path) -> Result<Option<LockedSet>, Diagnostics> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let document = yaml::load(&Disk::here(), &path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(parts::requirements(
        document.root.get("requirements"),
        folder,
    )?)
}

fn parse(path: &Path, document: &Document, purpose: &Purpose<'_>) -> Result<Manifest, Diagnostics> {
    let root = &document.root;
    if is_playbook(root) {
        let is_none = "a playbook is no manifest";
        return Err(Diagnostic::new(&root.span, is_none)
            .hint("name it in a manifest's `provision`; `amibake apply --report` looks at a playbook by itself")
            .into());
    }
    refuse_repeated(document)?;
    let fields = root.fields("the manifest", KEYS)?;
    let variables = Variables::read(fields.get("variables"), purpose.given)?;
    filled(path, &fields, &variables, purpose)
        .map_err(|wrong| masked(wrong, &variables.mask()).into())
}

/// Refuses keys that are given twice: an earlier section would be gone as a whole, and nothing be said.
fn refuse_repeated(document: &Document) -> Result<(), Diagnostics> {
    let variables = document.root.get("variables").and_then(Node::as_map);
    let mut variables = variables.into_iter().flatten();
    let has_secrets = variables.any(|(_, variable)| variable.get("sensitive").is_some());
    let refused = document.warnings.iter().map(|repeated| {
        let mut wrong = repeated.clone().hint("keep one of them");
        // The line may hold the secret that would not count, which no mask knows.
        if has_secrets {
            wrong.span.source = Text::hidden(wrong.span.file());
        }
        wrong
    });
    match refused.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        all => Err(Diagnostics(all)),
    }
}

/// Whether a document is a list of plays.
fn is_playbook(root: &Node) -> bool {
    let is_play =
        |play: &Node| play.get("hosts").is_some() || play.get("import_playbook").is_some();
    matches!(&root.kind, Kind::Seq(plays) if !plays.is_empty() && plays.iter().all(is_play))
}

/// Reads all but the variables.
fn filled(
    path: &Path,
    fields: &Fields<'_>,
    variables: &Variables,
    purpose: &Purpose<'_>,
) -> Result<Manifest, Diagnostic> {
    let name = read::name(fields.require("name")?, variables)?;
    let variables = variables.clone().with("name", &name);
    let sections = Sections {
        general: fields,
        special: special(fields.get("targets"), purpose.target)?,
        folder: path.parent().unwrap_or(Path::new("/")),
    };
    let requirements = parts::requirements(fields.get("requirements"), sections.folder)?;
    let search = match &requirements {
        Some(set) => set.search().before(&purpose.search),
        None => purpose.search.clone(),
    };
    let source = sections.get("source");
    let images = parts::arches(source, &variables, purpose)?
        .into_iter()
        .map(|arch| wanted(&sections, &search, &name, arch, &variables, purpose))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|wrong: Diagnostic| match &requirements {
            // A role by its name may be one of theirs.
            Some(set) if !set.is_there() && wrong.message.starts_with("there is no folder") => {
                wrong.and_hint(NOT_FETCHED)
            }
            _ => wrong,
        })?;
    apart::refuse_clashes(&images, sections.get("image"), fields.node)?;
    Ok(Manifest {
        path: path.to_path_buf(),
        images,
        name,
        secrets: variables.mask(),
        sensitive: variables.sensitive(),
        given: variables.given(),
        variables: variables.names(),
        search,
        requirements,
        warnings: Vec::new(),
    })
}

/// The manifest's sections, those of the target first.
struct Sections<'a> {
    general: &'a Fields<'a>,
    special: Option<&'a Node>,
    /// Where relative paths start.
    folder: &'a Path,
}

impl<'a> Sections<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.special
            .and_then(|own| own.get(key))
            .or_else(|| self.general.get(key))
    }
}

/// Reads what is wanted for one architecture.
fn wanted(
    sections: &Sections<'_>,
    search: &SearchPaths,
    name: &str,
    arch: Arch,
    variables: &Variables,
    purpose: &Purpose<'_>,
) -> Result<Wanted, Diagnostic> {
    let fields = sections.general;
    let variables = variables
        .clone()
        .with("arch", &arch.to_string())
        .with("build_time", &purpose.build_time);
    let source = match sections.get("source") {
        Some(node) => parts::source(node, purpose.target, sections.folder, name, &variables)?,
        None => default_source(fields.node, purpose)?,
    };
    let image_node = sections.get("image");
    let usual_name = format!("{name}-{arch}-{}", purpose.build_time);
    let image = image::image(image_node, usual_name, name, sections.folder, &variables)?;
    let place = image_node.and_then(|own| own.get("name"));
    let place = place.map_or_else(|| fields.require("name"), Ok)?;
    image::check_name(&image.name, purpose.target, place)?;
    let for_machine = variables.for_machine();
    let builder_node = sections.get("builder");
    let builder = builder::builder(builder_node, &variables)?;
    if let Some(place) = builder_node.and_then(|builder| builder.get("tags")) {
        image::check_builder_tags(&builder.tags, &image.tags, place)?;
    }
    if let Some(place) = image_node.and_then(|image| image.get("encrypt")) {
        image::check_key_regions(&image.encrypt, builder.region.as_deref(), place)?;
    }
    if let Some(place) = image_node.and_then(|image| image.get("copies")) {
        image::check_copies(&image.publication.copies, &builder.timeouts, place)?;
    }
    let ssh_alone = [builder.port];
    Ok(Wanted {
        arch,
        source,
        provision: parts::provision(
            fields.seq("provision")?,
            sections.folder,
            search,
            image.ports.as_deref().unwrap_or(&ssh_alone),
            &for_machine,
        )?,
        builder,
        gate: gate::gate(fields.get("gate"), &variables)?,
        tests: parts::tests(fields.seq("test")?, &for_machine)?,
        image,
    })
}

/// Returns what a manifest without `source` starts from: on this host, its own distribution.
fn default_source(root: &Node, purpose: &Purpose<'_>) -> Result<Source, Diagnostic> {
    match purpose.target {
        TargetKind::Container => purpose.host.source(&root.span),
        TargetKind::Ec2 | TargetKind::Vm => {
            Err(Diagnostic::new(&root.span, "the manifest has no `source`")
                .hint("say what to start from: `source: {ubuntu: \"24.04\"}`"))
        }
    }
}

/// Hides secrets in a complaint, with the line it is about if that has one.
fn masked(mut wrong: Diagnostic, mask: &Mask) -> Diagnostic {
    mask.text(&mut wrong.message);
    wrong.hint.iter_mut().for_each(|hint| mask.text(hint));
    let span = &mut wrong.span;
    if span
        .source
        .line(span.line)
        .is_some_and(|line| mask.is_in(line))
    {
        span.source = Text::hidden(span.source.path());
    }
    wrong
}

/// Returns what `targets` says of this target.
fn special(node: Option<&Node>, target: TargetKind) -> Result<Option<&Node>, Diagnostic> {
    let Some(node) = node else {
        return Ok(None);
    };
    let fields = node.fields("`targets`", &["ec2", "container", "vm"])?;
    for key in ["ec2", "container", "vm"] {
        if let Some(own) = fields.get(key) {
            own.fields("a target", &["source", "builder", "image"])?;
        }
    }
    Ok(fields.get(match target {
        TargetKind::Ec2 => "ec2",
        TargetKind::Container => "container",
        TargetKind::Vm => "vm",
    }))
}

#[cfg(test)]
mod tests;
