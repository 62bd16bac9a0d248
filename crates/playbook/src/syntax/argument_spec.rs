//! Argument specs: where a role's and a play's stand, and the task that checks variables against one.

use std::path::{Path, PathBuf};

use super::walk::{Follow, Walk, load};
use super::{Args, ArgumentSpec, Meta, Step, Task};
use crate::argspec;
use crate::diagnostic::Diagnostic;
use crate::files::Files;
use crate::yaml::{Kind, Node};

/// The module that checks variables against a spec.
pub const VALIDATE: &str = "ansible.builtin.validate_argument_spec";

/// Why a play that asks for a spec has none.
#[derive(Debug, thiserror::Error)]
pub enum NoSpec {
    /// `validate_argspec: true` of a play without a name.
    #[error(
        "A play name is required when validate_argspec is True. Alternatively, set validate_argspec to the name of \
         an argument spec."
    )]
    Nameless,
    /// There is no `PLAYBOOK.meta.yml`.
    #[error(
        "A playbook meta file is required. Considered:\n  - {}",
        shown(considered)
    )]
    NoFile {
        /// The files it could be.
        considered: Vec<PathBuf>,
    },
    /// The file has none of that name.
    #[error("No argument spec named '{name}' in {}.", file.display())]
    Unknown { name: String, file: PathBuf },
    /// The file is no YAML.
    #[error(transparent)]
    Unreadable(#[from] Diagnostic),
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join("\n  - ")
}

/// Returns the spec called `name` of the playbook at `path`; it stands in `PLAYBOOK.meta.yml`.
///
/// # Errors
/// [`NoSpec`] if there is none.
pub fn play_spec(files: &dyn Files, path: &Path, name: &str) -> Result<ArgumentSpec, NoSpec> {
    if name.is_empty() {
        return Err(NoSpec::Nameless);
    }
    let considered = meta_files(path);
    let Some(file) = considered.iter().find(|file| files.is_file(file)) else {
        return Err(NoSpec::NoFile { considered });
    };
    let root = crate::yaml::load(files, file)?.root;
    let spec = root.get("argument_specs").and_then(|all| all.get(name));
    let options = spec.and_then(|spec| spec.get("options"));
    match options.filter(|options| options.as_map().is_some()) {
        Some(options) => Ok(ArgumentSpec {
            title: format!("Validating arguments against arg spec {name}"),
            options: options.clone(),
            file: file.clone(),
            span: options.span.clone(),
        }),
        None => Err(NoSpec::Unknown {
            name: name.to_owned(),
            file: file.clone(),
        }),
    }
}

/// Returns the files that may hold the specs of the plays in `playbook`.
fn meta_files(playbook: &Path) -> Vec<PathBuf> {
    let yaml = |e: &std::ffi::OsStr| e == "yml" || e == "yaml" || e == "json";
    let stem = match playbook.extension() {
        Some(extension) if yaml(extension) => playbook.with_extension(""),
        _ => playbook.to_path_buf(),
    };
    [".yml", ".yaml", ".json", ""]
        .iter()
        .map(|ending| PathBuf::from(format!("{}.meta{ending}", stem.display())))
        .collect()
}

impl Walk<'_> {
    /// Returns what a role says of the variables of its entry point `entry`: in `meta/argument_specs.yml`, or
    /// else in its `meta/main.yml`.
    pub(super) fn role_spec(
        &mut self,
        role: &Path,
        entry: &str,
        meta: Option<&Meta>,
    ) -> Option<ArgumentSpec> {
        let own = self.role_files(role, "meta", "argument_specs");
        let all = match own.first() {
            Some(file) => load(self, file)?.get("argument_specs").cloned(),
            None => meta.and_then(|meta| meta.argument_specs.clone()),
        };
        let all = all.filter(|all| !all.is_null())?;
        if let Err(wrong) = all.expect_map("`argument_specs`") {
            self.error(wrong);
            return None;
        }
        let spec = all.get(entry)?;
        if spec.as_map()?.is_empty() {
            return None;
        }
        let mut title = format!("Validating arguments against arg spec '{entry}'");
        if let Some(text) = spec.get("short_description").and_then(Node::scalar_text) {
            title += &format!(" - {text}");
        }
        let nothing = || Node {
            kind: Kind::Map(Vec::new()),
            ..spec.clone()
        };
        Some(ArgumentSpec {
            title,
            options: spec.get("options").cloned().unwrap_or_else(nothing),
            file: spec.span.file().to_path_buf(),
            span: spec.span.clone(),
        })
    }

    /// Returns the task that a role begins with, if it has a spec for its entry point.
    pub(super) fn validation(
        &mut self,
        role: &Path,
        entry: &str,
        meta: Option<&Meta>,
    ) -> Option<Step> {
        let spec = self.role_spec(role, entry, meta)?;
        let text = |text: &str| Node {
            span: spec.span.clone(),
            tag: None,
            kind: Kind::Str(text.to_owned()),
        };
        Some(Step::Task(Box::new(Task {
            name: Some(spec.title.clone()),
            role: self.role.last().map(|(name, _)| name.clone()),
            action: VALIDATE.to_owned(),
            spec: argspec::find(VALIDATE),
            args: Args {
                named: vec![("argument_spec".to_owned(), spec.options.clone())],
                template: None,
            },
            keywords: vec![
                ("name".to_owned(), text(&spec.title)),
                ("tags".to_owned(), text("always")),
            ],
            span: spec.span.clone(),
            action_span: spec.span.clone(),
            imported: Vec::new(),
            refused: None,
        })))
    }

    /// Looks for the spec that a play asks for, as far as its name is known.
    pub(super) fn check_play_spec(&mut self, play: &Node) {
        let Some(asked) = play
            .get("validate_argspec")
            .filter(|_| self.follow == Follow::Everything)
        else {
            return;
        };
        let name = match asked.as_bool() {
            Some(false) => return,
            Some(true) => play.get("name").cloned(),
            None => Some(asked.clone()),
        };
        if name.as_ref().is_some_and(Node::is_template) {
            return;
        }
        let name = name
            .as_ref()
            .and_then(Node::scalar_text)
            .unwrap_or_default();
        match play_spec(self.files, play.span.file(), &name) {
            Ok(spec) => {
                self.out.files.insert(spec.file);
            }
            Err(wrong) => self.error(Diagnostic::new(&asked.span, wrong.to_string())),
        }
    }
}
