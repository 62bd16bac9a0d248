//! `source:`, `provision:` and `test:`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use amibake_playbook::diagnostic::{Diagnostic, Span};
use amibake_playbook::files::{Disk, normal};
use amibake_playbook::yaml::{self, Fields, Kind, Node};
use serde_json::Value as Json;

use super::Purpose;
use super::model::{Arch, ImageFilter, ImageTest, Provision, Source, Step, TargetKind, Test};
use super::variables::Variables;
use super::{hardening, read};
use crate::ansible_config::SearchPaths;
use crate::exit::chain;
use crate::galaxy::{Cache, LockedSet};

const SOURCES: [&str; 7] = [
    "ubuntu", "debian", "ami", "ssm", "filter", "manifest", "image",
];

const SOURCE_KEYS: [&str; 9] = [
    "ubuntu", "debian", "ami", "ssm", "filter", "manifest", "image", "arch", "checksum",
];

/// How long a test waits for its service, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(60);

/// Returns what a requirements file stands for, by the lock file beside it.
pub(super) fn requirements(
    node: Option<&Node>,
    folder: &Path,
) -> Result<Option<LockedSet>, Diagnostic> {
    let Some(node) = node else {
        return Ok(None);
    };
    let text = node.expect_text("`requirements`")?;
    let wrong = |why: String| Diagnostic::new(&node.span, why);
    let file = normal(&folder.join(&text));
    if !file.is_file() {
        return Err(wrong(format!("there is no file {}", file.display())));
    }
    let cache = Cache::here().map_err(|e| wrong(e.to_string()))?;
    let set = LockedSet::of(&file, &cache).map_err(|error| {
        let hint = error
            .hint()
            .unwrap_or("`amibake install` writes the lock file");
        wrong(chain(&error)).hint(hint)
    })?;
    Ok(Some(set))
}

pub(super) fn source(
    node: &Node,
    target: TargetKind,
    folder: &Path,
    own_name: &str,
    variables: &Variables,
) -> Result<Source, Diagnostic> {
    let fields = node.fields("`source`", &SOURCE_KEYS)?;
    let named: Vec<&str> = SOURCES
        .into_iter()
        .filter(|key| fields.get(key).is_some())
        .collect();
    let [one] = named[..] else {
        let wrong = Diagnostic::new(&node.span, "`source` must name one thing to start from");
        return Err(wrong.hint(format!("one of {}", SOURCES.join(", "))));
    };
    let span = &fields.require(one)?.span;
    if target == TargetKind::Ec2 && matches!(one, "debian" | "image") {
        let wrong = Diagnostic::new(span, format!("`source.{one}` is not for EC2"));
        return Err(wrong.hint(
            "give EC2 an `ubuntu`, `ami`, `ssm`, `filter` or `manifest`, and the others theirs below `targets`",
        ));
    }
    if target != TargetKind::Ec2 && matches!(one, "ami" | "ssm" | "filter" | "manifest") {
        let wrong = Diagnostic::new(span, format!("`source.{one}` is for EC2 only"));
        return Err(wrong.hint("give this target its own source below `targets`"));
    }
    let value = || read::fill(fields.require(one)?, one, variables);
    Ok(match one {
        "ubuntu" => Source::Ubuntu(value()?),
        "debian" => Source::Debian(value()?),
        "ami" => Source::Ami(ami(fields.require(one)?, value()?)?),
        "ssm" => Source::Ssm(value()?),
        "filter" => Source::Filter(filter(fields.require(one)?, variables)?),
        "manifest" => {
            let place = fields.require(one)?;
            let name = name_in(place, folder, variables)?;
            refuse_itself(place, &name, own_name)?;
            Source::Manifest(name)
        }
        _ => file(&fields, value()?, variables)?,
    })
}

fn ami(node: &Node, id: String) -> Result<String, Diagnostic> {
    let hex = id.strip_prefix("ami-").unwrap_or_default();
    if hex.len() >= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(id);
    }
    Err(Diagnostic::new(
        &node.span,
        format!("`{id}` is not an image id such as ami-0abc1234"),
    ))
}

/// Returns the name of another manifest, by which its images are known.
fn name_in(node: &Node, folder: &Path, variables: &Variables) -> Result<String, Diagnostic> {
    let path = existing(node, folder, variables, Path::is_file, "file")?;
    let wrong = |why: String| Diagnostic::new(&node.span, format!("{} {why}", path.display()));
    let document = yaml::load(&Disk::here(), &path);
    let document = document.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let name = document.root.get("name").and_then(Node::as_str);
    let name = name.ok_or_else(|| wrong("is no manifest: it has no `name`".to_owned()))?;
    match name.contains("{{") {
        false => Ok(name.to_owned()),
        true => Err(wrong("has a name that is not known here".to_owned())
            .hint("write its `name` without variables")),
    }
}

/// Images are known by the name of their manifest: the first one could never be made.
fn refuse_itself(place: &Node, name: &str, own_name: &str) -> Result<(), Diagnostic> {
    if name != own_name {
        return Ok(());
    }
    let message = format!("`source.manifest` is this manifest, or one of the same name: {name}");
    Err(Diagnostic::new(&place.span, message)
        .hint("an image starts from another's: name the manifest that makes that one"))
}

fn filter(node: &Node, variables: &Variables) -> Result<ImageFilter, Diagnostic> {
    let mut filters = BTreeMap::new();
    for (key, value) in node.expect_map("`filter`")? {
        let key = key.expect_str("a filter's name")?;
        if !matches!(key, "owners" | "most_recent") {
            filters.insert(key.to_owned(), read::list(value, key, variables)?);
        }
    }
    let truth = |node: &Node| node.expect_bool("`most_recent`");
    let owners = node
        .get("owners")
        .map_or(Ok(Vec::new()), |o| read::list(o, "owners", variables))?;
    if owners.is_empty() {
        return Err(
            Diagnostic::new(&node.span, "`source.filter` has no `owners`")
                .hint("without `owners`, anybody could publish an image that matches"),
        );
    }
    if let (Some(wrong), Some(place)) = (owners.iter().find(|o| !is_owner(o)), node.get("owners")) {
        let message = format!("`{wrong}` owns no images: `owners` are {OWNERS}");
        return Err(Diagnostic::new(&place.span, message));
    }
    let most_recent = node
        .get("most_recent")
        .map(truth)
        .transpose()?
        .unwrap_or(false);
    Ok(ImageFilter {
        owners,
        filters,
        most_recent,
    })
}

const OWNERS: &str = "accounts of twelve digits (in quotes: YAML drops leading zeros), self, amazon, aws-marketplace or aws-backup-vault";

/// See <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html>.
fn is_owner(text: &str) -> bool {
    let aliases = ["self", "amazon", "aws-marketplace", "aws-backup-vault"];
    aliases.contains(&text) || text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn file(
    fields: &Fields<'_>,
    location: String,
    variables: &Variables,
) -> Result<Source, Diagnostic> {
    let checksum = read::text(fields, "checksum", variables)?;
    if let (Some(sum), Some(node)) = (&checksum, fields.get("checksum")) {
        let hex = sum.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            let message = format!("`{sum}` is not a checksum such as sha256:9f86d0…");
            return Err(Diagnostic::new(&node.span, message));
        }
    }
    if location.contains("://") && checksum.is_none() {
        return Err(Diagnostic::new(
            &fields.node.span,
            "an image from a URL needs its `checksum`",
        ));
    }
    Ok(Source::Image { location, checksum })
}

/// Returns the architectures that `source` names, or the target's usual one.
pub(super) fn arches(
    source: Option<&Node>,
    variables: &Variables,
    purpose: &Purpose<'_>,
) -> Result<Vec<Arch>, Diagnostic> {
    let fields = source.map(|node| node.fields("`source`", &SOURCE_KEYS));
    let named = fields.transpose()?.and_then(|fields| fields.get("arch"));
    let Some(node) = named else {
        return Ok(vec![purpose.host.arch_for(purpose.target)]);
    };
    let arch = |text: &String| {
        Arch::parse(text).ok_or_else(|| {
            let wrong =
                Diagnostic::new(&node.span, format!("`{text}` is not a known architecture"));
            wrong.hint("known: amd64, arm64")
        })
    };
    let mut arches = read::list(node, "arch", variables)?
        .iter()
        .map(arch)
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeSet::new();
    arches.retain(|arch| seen.insert(*arch));
    if arches.is_empty() {
        return Err(Diagnostic::new(&node.span, "`arch` is an empty list"));
    }
    Ok(arches)
}

pub(super) fn provision(
    nodes: &[Node],
    folder: &Path,
    search: &SearchPaths,
    ports: &[u16],
    variables: &Variables,
) -> Result<Vec<Step>, Diagnostic> {
    nodes
        .iter()
        .map(|node| step(node, folder, search, ports, variables))
        .collect()
}

fn step(
    node: &Node,
    folder: &Path,
    search: &SearchPaths,
    ports: &[u16],
    variables: &Variables,
) -> Result<Step, Diagnostic> {
    let fields = node.fields(
        "a step of `provision`",
        &["role", "playbook", "tasks", "vars"],
    )?;
    let provision = runs(&fields, folder, search, ports, variables)?;
    Ok(Step {
        hardening: hardening::of(&fields, &provision, variables)?,
        provision,
        span: node.span.clone(),
    })
}

/// Returns what a step runs, with what may listen among its variables unless it has its own.
fn runs(
    fields: &Fields<'_>,
    folder: &Path,
    search: &SearchPaths,
    ports: &[u16],
    variables: &Variables,
) -> Result<Provision, Diagnostic> {
    let named = ["role", "playbook", "tasks"]
        .into_iter()
        .filter(|key| fields.get(key).is_some())
        .count();
    if named != 1 {
        return Err(Diagnostic::new(
            &fields.node.span,
            "a step of `provision` is one role, one playbook, or tasks",
        ));
    }
    let mut vars = read::vars(fields, variables)?;
    if !vars.contains_key("image_ports") {
        vars.insert("image_ports".to_owned(), Json::from(ports));
    }
    if let Some(tasks) = fields.get("tasks") {
        tasks.expect_seq("`tasks`")?;
        return Ok(Provision::Tasks {
            yaml: lines_of(tasks)?,
            vars,
        });
    }
    if let Some(role) = fields.get("role") {
        let path = role_folder(role, folder, search, variables)?;
        return Ok(Provision::Role { path, vars });
    }
    let path = existing(
        fields.require("playbook")?,
        folder,
        variables,
        Path::is_file,
        "file",
    )?;
    Ok(Provision::Playbook { path, vars })
}

/// Returns a role's folder: by its path, or by its name where Ansible would look for it.
fn role_folder(
    node: &Node,
    folder: &Path,
    search: &SearchPaths,
    variables: &Variables,
) -> Result<PathBuf, Diagnostic> {
    let wrong = match existing(node, folder, variables, Path::is_dir, "folder") {
        Ok(path) => return Ok(path),
        Err(wrong) => wrong,
    };
    let name = read::fill(node, "a role's name", variables)?;
    if name.is_empty() || name.contains('/') {
        return Err(wrong);
    }
    let beside = SearchPaths {
        roles: vec![folder.join("roles")],
        collections: vec![folder.join("collections")],
    };
    let found = beside.role(&name).or_else(|| search.role(&name));
    found.ok_or_else(|| {
        let places = beside.roles.iter().chain(&search.roles);
        let places: Vec<String> = places.map(|place| place.display().to_string()).collect();
        wrong.hint(format!(
            "as the name of a role it was looked for in {}, and in collections",
            places.join(", ")
        ))
    })
}

fn existing(
    node: &Node,
    folder: &Path,
    variables: &Variables,
    fits: fn(&Path) -> bool,
    what: &str,
) -> Result<PathBuf, Diagnostic> {
    let path = normal(&folder.join(read::fill(node, "a path", variables)?));
    if fits(&path) {
        return Ok(path);
    }
    Err(Diagnostic::new(
        &node.span,
        format!("there is no {what} {}", path.display()),
    ))
}

/// Returns tasks as YAML in the very places where they stand, so that complaints about them name
/// the right ones.
fn lines_of(tasks: &Node) -> Result<String, Diagnostic> {
    let span = &tasks.span;
    let column = usize::try_from(span.column.saturating_sub(1)).unwrap_or(0);
    let first = span.source.line(span.line).unwrap_or_default();
    let blank = "\n".repeat(usize::try_from(span.line.saturating_sub(1)).unwrap_or(0));
    // A list that is no deeper than its key begins, for the parser, behind its first `-`.
    let indent = first.len() - first.trim_start().len();
    let is_block = first[indent..].starts_with('-') && column <= indent + 2;
    if !is_block {
        let before = format!("{blank}{}", " ".repeat(column));
        return match in_its_place(tasks, &before) {
            Some(text) => Ok(text),
            // An alias of what stands elsewhere has no meaning here.
            None => Ok(format!("{before}{}\n", in_one_line(tasks)?)),
        };
    }
    let mut text = blank;
    for number in span.line.. {
        let Some(line) = span.source.line(number) else {
            break;
        };
        let depth = line.len() - line.trim_start().len();
        let ended = depth < indent || (depth == indent && !line.trim_start().starts_with('-'));
        if number > span.line
            && ended
            && !line.trim().is_empty()
            && !line.trim_start().starts_with('#')
        {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// Returns a list in flow style as it is written, where that reads as the same list.
fn in_its_place(tasks: &Node, before: &str) -> Option<String> {
    let Span {
        source,
        line,
        column,
    } = &tasks.span;
    let lines = (*line..).map_while(|number| source.line(number));
    let written = lines.collect::<Vec<_>>().join("\n");
    let skipped = usize::try_from(column.saturating_sub(1)).ok()?;
    let (start, _) = written.char_indices().nth(skipped)?;
    let written = &written[start..];
    let ends = written.match_indices(']').map(|(at, _)| at + 1);
    let mut texts = ends.map(|end| format!("{before}{}\n", &written[..end]));
    texts.find(|text| {
        let read = yaml::parse_part(source, text);
        read.is_ok_and(|read| read.root == *tasks)
    })
}

/// Returns a node as YAML in flow style. Its templates are the playbook's, and stay as they are.
fn in_one_line(node: &Node) -> Result<String, Diagnostic> {
    let text = match &node.kind {
        Kind::Seq(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(in_one_line).collect();
            format!("[{}]", items?.join(", "))
        }
        Kind::Map(pairs) => {
            let pair = |(key, value): &(Node, Node)| {
                Ok(format!("{}: {}", in_one_line(key)?, in_one_line(value)?))
            };
            let pairs: Result<Vec<_>, Diagnostic> = pairs.iter().map(pair).collect();
            format!("{{{}}}", pairs?.join(", "))
        }
        // As JSON has it, which is YAML.
        Kind::Str(text) if node.tag.as_deref() != Some("!vault") => Json::from(&**text).to_string(),
        Kind::Float(number) if number.is_infinite() => {
            let sign = if *number < 0.0 { "-" } else { "" };
            format!("{sign}.inf")
        }
        Kind::Float(number) if number.is_nan() => ".nan".to_owned(),
        Kind::Int(number) => number.to_string(),
        Kind::Timestamp(moment) => moment.to_string(),
        Kind::Float(number) => Json::from(*number).to_string(),
        Kind::Bool(truth) => truth.to_string(),
        Kind::Null => Json::Null.to_string(),
        Kind::Str(_) => read::json(node, &Variables::default())?.to_string(),
    };
    Ok(match node.tag.as_deref() {
        Some("!unsafe") => format!("!unsafe {text}"),
        _ => text,
    })
}

pub(super) fn tests(nodes: &[Node], variables: &Variables) -> Result<Vec<ImageTest>, Diagnostic> {
    let placed = |node: &Node| {
        Ok(ImageTest {
            test: test(node, variables)?,
            span: node.span.clone(),
        })
    };
    nodes.iter().map(placed).collect()
}

fn test(node: &Node, variables: &Variables) -> Result<Test, Diagnostic> {
    let kinds = ["http", "service", "port", "command", "audit"];
    let fields = node.fields("a test", &kinds)?;
    read::not_yet(&fields, &["audit"], "test")?;
    let named = kinds
        .into_iter()
        .find_map(|kind| Some((kind, fields.get(kind)?)));
    let Some((kind, own)) = named.filter(|_| node.as_map().is_some_and(|m| m.len() == 1)) else {
        return Err(Diagnostic::new(
            &node.span,
            format!("a test is one of {}", kinds.join(", ")),
        ));
    };
    match kind {
        "http" => http(own, variables),
        "service" => service(own, variables),
        "port" => port(own),
        _ => command(own, variables),
    }
}

fn http(node: &Node, variables: &Variables) -> Result<Test, Diagnostic> {
    let fields = node.fields("`http`", &["url", "status", "contains", "within"])?;
    Ok(Test::Http {
        url: url(fields.require("url")?, variables)?,
        status: read::number(&fields, "status", 100, 599)?.unwrap_or(200),
        contains: read::text(&fields, "contains", variables)?,
        within: read::duration(&fields, "within")?.unwrap_or(WITHIN),
    })
}

fn url(node: &Node, variables: &Variables) -> Result<String, Diagnostic> {
    let url = read::fill(node, "`url`", variables)?;
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    match rest.is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty()) {
        true => Ok(url),
        false => {
            let message = format!("`url` must be http://… or https://…, not `{url}`");
            Err(Diagnostic::new(&node.span, message)
                .hint("it is asked for on the machine itself: `http://localhost:8080/`"))
        }
    }
}

fn service(node: &Node, variables: &Variables) -> Result<Test, Diagnostic> {
    let fields = node.fields("`service`", &["name", "state"])?;
    let running = match read::text(&fields, "state", variables)?.as_deref() {
        None | Some("running") => true,
        Some("stopped") => false,
        Some(other) => {
            let span = &fields.require("state")?.span;
            return Err(Diagnostic::new(
                span,
                format!("`state` must be running or stopped, not `{other}`"),
            ));
        }
    };
    let name = read::fill(fields.require("name")?, "`name`", variables)?;
    Ok(Test::Service { name, running })
}

fn port(node: &Node) -> Result<Test, Diagnostic> {
    let fields = node.fields("`port`", &["number", "within"])?;
    fields.require("number")?;
    let port = read::number(&fields, "number", 1, u16::MAX)?.unwrap_or(u16::MAX);
    Ok(Test::Port {
        port,
        within: read::duration(&fields, "within")?.unwrap_or(WITHIN),
    })
}

fn command(node: &Node, variables: &Variables) -> Result<Test, Diagnostic> {
    let fields = node.fields("`command`", &["run", "status", "contains"])?;
    Ok(Test::Command {
        run: read::fill(fields.require("run")?, "`run`", variables)?,
        status: read::number(&fields, "status", 0, 255)?.unwrap_or(0),
        contains: read::text(&fields, "contains", variables)?,
    })
}
