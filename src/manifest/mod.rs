//! The manifest: YAML to a typed [`Manifest`], with line and column in every complaint.
//!
//! Keys that DESIGN.md promises and nobody has built yet are refused by name, never skipped.

mod builder;
mod host;
mod model;
mod parts;
mod read;
mod variables;

use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics, Source as Text};
use amibake_playbook::files::Disk;
use amibake_playbook::yaml::{self, Fields, Node};
use amibake_protocol::mask::Mask;

use host::Host;
pub(crate) use model::*;
pub(crate) use variables::Given;
use variables::Variables;

/// A manifest for one target, its variables filled in; what depends on the architecture is left.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// `name`.
    pub(crate) name: String,
    /// `source`, or the target's own.
    pub(crate) source: Source,
    /// `source.arch`, one image each.
    pub(crate) arches: Vec<Arch>,
    /// `builder`.
    pub(crate) builder: Builder,
    /// `provision`.
    pub(crate) provision: Vec<Provision>,
    /// `test`.
    pub(crate) tests: Vec<Test>,
    /// `image`; `{{ arch }}` and `{{ build_time }}` still stand in it.
    pub(crate) image: Image,
    /// What hides the values of sensitive variables.
    pub(crate) secrets: Mask,
    /// What is not wrong but probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

const KEYS: &[&str] = &[
    "name",
    "variables",
    "source",
    "builder",
    "targets",
    "provision",
    "test",
    "image",
];

/// Reads the manifest at `path` for `target`. Nothing is called.
pub(crate) fn load(
    path: &Path,
    target: TargetKind,
    given: &Given,
) -> Result<Manifest, Diagnostics> {
    let whole = |e: std::io::Error| {
        let span = yaml::Span::whole(path);
        Diagnostic::new(&span, format!("could not be read: {e}"))
    };
    let path = std::path::absolute(path).map_err(whole)?;
    let document = yaml::load(&Disk::here(), &path)?;
    let mut manifest = parse(&path, &document.root, target, given, &Host::here())?;
    manifest.warnings = document.warnings;
    Ok(manifest)
}

fn parse(
    path: &Path,
    root: &Node,
    target: TargetKind,
    given: &Given,
    host: &Host,
) -> Result<Manifest, Diagnostics> {
    let fields = root.fields("the manifest", KEYS)?;
    let variables = Variables::read(fields.get("variables"), given)?;
    filled(path, &fields, target, &variables, host)
        .map_err(|wrong| masked(wrong, &variables.mask()).into())
}

/// Reads all but the variables.
fn filled(
    path: &Path,
    fields: &Fields<'_>,
    target: TargetKind,
    variables: &Variables,
    host: &Host,
) -> Result<Manifest, Diagnostic> {
    let name_node = fields.require("name")?;
    let name = read::name(name_node, variables)?;
    let variables = variables.clone().with("name", &name);
    let special = special(fields.get("targets"), target)?;
    let chosen = |key: &str| {
        special
            .and_then(|own| own.get(key))
            .or_else(|| fields.get(key))
    };
    let (source, arches) = match chosen("source") {
        Some(node) => parts::source(node, target, &variables, host)?,
        None => (
            default_source(fields.node, target, host)?,
            vec![host.arch_for(target)],
        ),
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let image_node = chosen("image");
    let image = parts::image(image_node, &name, &variables)?;
    let place = image_node.and_then(|own| own.get("name"));
    parts::check_image_name(&image, target, place.unwrap_or(name_node))?;
    let for_machine = variables.for_machine();
    Ok(Manifest {
        path: path.to_path_buf(),
        source,
        arches,
        builder: builder::builder(chosen("builder"), &variables)?,
        provision: parts::provision(fields.seq("provision")?, folder, &for_machine)?,
        tests: parts::tests(fields.seq("test")?, &for_machine)?,
        image,
        name,
        secrets: variables.mask(),
        warnings: Vec::new(),
    })
}

/// Returns what a manifest without `source` starts from: on this host, its own distribution.
fn default_source(root: &Node, target: TargetKind, host: &Host) -> Result<Source, Diagnostic> {
    match target {
        TargetKind::Container => host.source(&root.span),
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

impl Image {
    /// Returns this image for one architecture, at one time.
    pub(crate) fn filled(&self, arch: Arch, build_time: &str) -> Self {
        let fill = |text: &String| {
            variables::replace_name(
                &variables::replace_name(text, "arch", &arch.to_string()),
                "build_time",
                build_time,
            )
        };
        Self {
            name: fill(&self.name),
            tags: self
                .tags
                .iter()
                .map(|(k, v)| (k.clone(), fill(v)))
                .collect(),
            encrypt: self.encrypt.clone(),
            description: self.description.as_ref().map(fill),
        }
    }
}

#[cfg(test)]
mod tests;
