//! `deb822_repository`: a repository of packages, as a file of apt's newer form and a key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::download;
use super::text_file;
use crate::args::Args;
use crate::atomic::How;
use crate::attrs::{self, Attributes, Meta, Mode, NewFile, Principal, Target};
use crate::change::{self, Change, Content};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::openpgp;
use crate::place;

pub(super) struct Deb822Repository;

const KEYRINGS: &str = "/etc/apt/keyrings";
const SOURCES: &str = "/etc/apt/sources.list.d";

impl ActionModule for Deb822Repository {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let slug = slug(args.required("name")?);
        let dest = PathBuf::from(format!("{SOURCES}/{slug}.sources"));
        if args.str("state") == Some("absent") {
            return remove(&slug, &dest, context);
        }
        let mut changes = Vec::new();
        let key = match args.str("signed_by") {
            Some(given) => Some(Key::find(given, &slug, args, &mut changes, context)?),
            None => None,
        };
        let repo = render(args, key.as_ref().map(|key| key.field.as_str()));
        let same = read(&dest)?.is_some_and(|old| old == repo.as_bytes());
        if !same {
            changes.push(text_file::replacement(&dest, &repo)?);
        }
        let mode = Attributes::read(args, &dest)?;
        changes.extend(plan_attributes(&mode, &dest, context)?);
        if !context.check {
            change::apply(&changes, context)?;
        }
        let fields = json!({
            "repo": repo, "dest": dest.to_string_lossy(),
            "key_filename": key.and_then(|key| key.file),
        });
        Ok(outcome(!changes.is_empty(), fields))
    }
}

/// Returns the name as it is part of file names.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    let mut gap = false;
    for c in name.to_lowercase().chars() {
        let is_gap = c == '_' || c.is_whitespace();
        if is_gap && !gap {
            slug.push('-');
        }
        gap = is_gap;
        if matches!(c, 'a'..='z' | '0'..='9' | '-') {
            slug.push(c);
        }
    }
    slug
}

fn key_file(slug: &str, ending: &str) -> PathBuf {
    PathBuf::from(format!("{KEYRINGS}/{slug}.{ending}"))
}

fn remove(slug: &str, dest: &Path, context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let keys = ["asc", "gpg"].map(|ending| key_file(slug, ending));
    let there = std::iter::once(dest).chain(keys.iter().map(PathBuf::as_path));
    let changes: Vec<Change> = there
        .filter(|path| path.exists())
        .map(|path| Change::Remove {
            path: path.to_owned(),
        })
        .collect();
    if !context.check {
        change::apply(&changes, context)?;
    }
    let fields = json!({
        "repo": null, "dest": dest.to_string_lossy(), "key_filename": keys[1].to_string_lossy(),
    });
    Ok(outcome(!changes.is_empty(), fields))
}

/// Returns the answer with what there is of the file now.
fn outcome(changed: bool, fields: Json) -> Outcome {
    let mut outcome = Outcome::of(changed, fields);
    attrs::add_path_info(&mut outcome.result);
    outcome
}

/// What signs the repository.
struct Key {
    /// The field's value.
    field: String,
    /// The file, if it is one.
    file: Option<String>,
}

impl Key {
    /// Finds a file, fetches what a URL leads to, and takes anything else as it is: a fingerprint,
    /// or the key itself.
    fn find(
        given: &str,
        slug: &str,
        args: &Args,
        changes: &mut Vec<Change>,
        context: &Context<'_>,
    ) -> Result<Self, Failure> {
        if Path::new(given).is_file() {
            return Ok(Self::of_file(given));
        }
        if !has_scheme(given) {
            return Ok(Self {
                field: given.to_owned(),
                file: None,
            });
        }
        let data = download::get(given, args, context).map_err(|e| {
            let reason = e.to_string();
            // Ansible's module asks urllib without the words that others put before its answers.
            let reason = reason.strip_prefix("Request failed: ").unwrap_or(&reason);
            Failure::new(format!("Could not fetch signed_by key: {reason}"))
        })?;
        if data.is_empty() {
            return Ok(Self::of_file(given));
        }
        let ending = if openpgp::is_armored(&data) {
            "asc"
        } else {
            "gpg"
        };
        let file = key_file(slug, ending);
        if read(&file)?.is_none_or(|old| old != data) {
            changes.extend(plan_folder()?);
            let path = place::real(&file).map_err(|e| unreadable(&file, &e))?;
            changes.push(Change::Write {
                path,
                content: Content::text(data),
                how: How::default(),
            });
        }
        let mode = Attributes {
            mode: Some(Mode::read(&json!("0644"), &file)?),
            ..Attributes::default()
        };
        changes.extend(plan_attributes(&mode, &file, context)?);
        Ok(Self::of_file(&file.to_string_lossy()))
    }

    fn of_file(path: &str) -> Self {
        Self {
            field: path.to_owned(),
            file: Some(path.to_owned()),
        }
    }
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    let mut chars = scheme.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Plans that the folder of keys is there, and everybody's to read.
fn plan_folder() -> Result<Vec<Change>, Failure> {
    let folder = Path::new(KEYRINGS);
    let attributes = Attributes {
        mode: Some(Mode::read(&json!("0755"), folder)?),
        owner: Some(Principal::user("root")),
        group: Some(Principal::group("root")),
        flags: None,
    };
    let meta = Meta::follow(folder).map_err(|e| unreadable(folder, &e))?;
    let mut changes = Vec::new();
    if meta.is_none() {
        changes.push(Change::Directory {
            path: folder.to_owned(),
        });
    }
    let meta = meta.unwrap_or_else(|| Meta::foreseen(NewFile::Directory, None));
    changes.extend(attributes.plan(&attributes.target(folder, meta), false)?);
    Ok(changes)
}

/// Plans the attributes of a file that is there or will be.
fn plan_attributes(
    wanted: &Attributes,
    path: &Path,
    context: &Context<'_>,
) -> Result<Vec<Change>, Failure> {
    let meta = Meta::read(path).map_err(|e| unreadable(path, &e))?;
    let target = Target {
        path: path.to_owned(),
        meta: meta.unwrap_or_else(|| Meta::foreseen(NewFile::Regular, None)),
        flags: String::new(),
    };
    wanted.plan(&target, context.check)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match path.exists() {
        true => place::read(path)
            .map(Some)
            .map_err(|e| unreadable(path, &e)),
        false => Ok(None),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("could not read {}: {error}", path.display()))
}

/// Writes the fields in the order of the parameters' names.
fn render(args: &Args, signed_by: Option<&str>) -> String {
    let mut fields: Map<String, Json> = args.all().clone();
    fields.remove("mode");
    fields.remove("state");
    if let Some(signed_by) = signed_by {
        fields.insert("signed_by".to_owned(), json!(signed_by));
    }
    fields.sort_keys();
    let line = |(name, value): (&String, &Json)| {
        let name = field_name(name);
        match multiline(&text(value)) {
            value if value.is_empty() || value.starts_with('\n') => format!("{name}:{value}\n"),
            value => format!("{name}: {value}\n"),
        }
    };
    fields.iter().map(line).collect()
}

fn text(value: &Json) -> String {
    match value {
        Json::Bool(true) => "yes".to_owned(),
        Json::Bool(false) => "no".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
            items.join(" ")
        }
        other => other.to_string(),
    }
}

/// Indents what has several lines; an empty one is a dot.
fn multiline(value: &str) -> String {
    if !value.contains('\n') {
        return value.to_owned();
    }
    let line = |line: &str| match line.trim() {
        "" => "\n    .".to_owned(),
        line => format!("\n    {line}"),
    };
    value.trim().lines().map(line).collect()
}

fn field_name(parameter: &str) -> String {
    match parameter {
        "name" => "X-Repolib-Name".to_owned(),
        "uris" => "URIs".to_owned(),
        other => {
            let title = |word: &str| {
                let (first, rest) = word.split_at(word.len().min(1));
                first.to_uppercase() + rest
            };
            other.split('_').map(title).collect::<Vec<_>>().join("-")
        }
    }
}

#[cfg(test)]
mod tests {
    use amibake_playbook::argspec;

    use super::*;

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(slug("Debian  Back_ports!"), "debian-back-ports");
        assert_eq!(slug("a.b"), "ab");
    }

    #[test]
    fn fields_are_named_and_ordered_as_ansibles() {
        let given = json!({
            "name": "x y", "types": "deb,deb-src", "uris": "http://a/", "suites": ["s"],
            "by_hash": true, "date_max_future": 3, "signed_by": "-----BEGIN\n\n  abc\n",
        });
        let spec = argspec::find("deb822_repository").unwrap();
        let args = Args::coerce(spec, given.as_object().cloned().unwrap()).unwrap();
        let text = render(&args, args.str("signed_by"));
        assert_eq!(
            text,
            "By-Hash: yes\nDate-Max-Future: 3\nX-Repolib-Name: x y\nSigned-By:\n    -----BEGIN\n    \
             .\n    abc\nSuites: s\nTypes: deb deb-src\nURIs: http://a/\n"
        );
    }

    #[test]
    fn only_an_address_is_fetched() {
        assert!(has_scheme("https://example.org/key"));
        assert!(!has_scheme("B3221DA5053C0CC1"));
        assert!(!has_scheme(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1"
        ));
    }
}
