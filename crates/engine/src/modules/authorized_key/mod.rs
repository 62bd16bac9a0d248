//! `authorized_key`: keys that a user is let in with. What the file's lines are is in `keys`.

mod keys;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use self::keys::{Key, Keys};
use crate::args::Args;
use crate::attrs::{self, Meta};
use crate::change::{self, Change};
use crate::http::masked;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::{download, paths};
use crate::place;
use crate::users::{self, User};

pub(super) struct AuthorizedKey;

impl ActionModule for AuthorizedKey {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let wanted = wanted(args, context)?;
        let file = KeyFile::find(args, context.check)?;
        let before = file.read()?;
        let mut keys = Keys::read(&before);
        let changed = apply(args, &wanted, &mut keys)?;
        let mut fields = args.every("ansible.posix.authorized_key");
        let shown = file.path.to_string_lossy().into_owned();
        fields.insert("keyfile".to_owned(), Json::from(shown.as_str()));
        attrs::add_path_info(&mut fields);
        let mut outcome = Outcome::of(changed, Json::Object(fields));
        if !changed {
            return Ok(outcome);
        }
        let target = match args.bool("follow") {
            true => place::real(&file.path).map_err(|e| file.failed("find", &e))?,
            false => file.path.clone(),
        };
        let after = keys.render();
        if context.diff {
            outcome.diff = json!({"before_header": shown, "before": before,
                "after_header": target.to_string_lossy(), "after": after});
        }
        if !context.check {
            change::apply(&file.plan(&target, after)?, context)?;
            attrs::add_path_info(&mut outcome.result);
        }
        Ok(outcome)
    }
}

/// Returns the keys asked for, read from where they are.
fn wanted(args: &Args, context: &Context<'_>) -> Result<Vec<String>, Failure> {
    let mut text = args.required("key")?.to_owned();
    if text.starts_with("http") {
        text = downloaded(args, context, &text)?;
    }
    if text.starts_with("file") {
        text = read_local(&text)?;
    }
    let lines = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn downloaded(args: &Args, context: &Context<'_>, url: &str) -> Result<String, Failure> {
    let failed = || Failure::new(format!("Error getting key from: {}", masked(url)));
    let bytes = download::get(url, args, context).map_err(|_| failed())?;
    String::from_utf8(bytes).map_err(|_| failed())
}

/// Reads what `file:///…` names.
fn read_local(url: &str) -> Result<String, Failure> {
    let path = url.strip_prefix("file:").unwrap_or(url);
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => path,
    };
    let file = Path::new(path);
    if !file.exists() {
        return Err(Failure::new(format!(
            "Path to a key file not found: {path}"
        )));
    }
    if !file.is_file() {
        return Err(Failure::new(format!(
            "Path to a key is a directory and must be a file: {path}"
        )));
    }
    let read =
        place::read(file).and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    read.map_err(|e| {
        let reason = paths::python_error(&e, path);
        Failure::new(format!("Failed to read key file {path} : {reason}"))
    })
}

/// Does what the task asks for to the keys.
fn apply(args: &Args, wanted: &[String], keys: &mut Keys) -> Result<bool, Failure> {
    let present = args.str("state") == Some("present");
    let there_before = keys.len();
    let (mut changed, mut named) = (false, Vec::new());
    for (rank, line) in wanted.iter().enumerate() {
        let mut key = Key::read(line)
            .ok_or_else(|| Failure::new(format!("invalid key specified: {line}")))?;
        if let Some(options) = args.str("key_options") {
            key.set_options(options);
        }
        if let Some(comment) = args.str("comment") {
            key.set_comment(comment);
        }
        named.push(key.id().to_owned());
        changed |= match present {
            true => keys.put(key, there_before + rank),
            false => keys.remove(&key),
        };
    }
    if present && args.bool("exclusive") {
        changed |= keys.keep_only(&named);
    }
    Ok(changed)
}

/// Refuses a folder that would need another folder made first.
fn refuse_orphan(folder: &Path) -> Result<(), Failure> {
    match folder.parent().is_none_or(Path::exists) {
        true => Ok(()),
        false => {
            let shown = folder.display();
            Err(Failure::new(format!(
                "Failed to create directory {shown} : [Errno 2] No such file or directory: '{shown}'"
            )))
        }
    }
}

struct KeyFile<'a> {
    args: &'a Args,
    /// As results name it.
    path: PathBuf,
    /// `None` where check mode needs none.
    user: Option<User>,
}

impl<'a> KeyFile<'a> {
    fn find(args: &'a Args, check: bool) -> Result<Self, Failure> {
        let name = args.required("user")?;
        let path = args.str("path").map(PathBuf::from);
        if let (true, Some(path)) = (check, &path) {
            let (path, user) = (path.clone(), None);
            return Ok(Self { args, path, user });
        }
        let Some(user) = users::user(name) else {
            return Err(Failure::new(match check {
                true => {
                    "Either user must exist or you must provide full path to key file in check \
                         mode"
                        .to_owned()
                }
                false => format!(
                    "Failed to lookup user {name}: \"getpwnam(): name not found: '{name}'\""
                ),
            }));
        };
        let home = Path::new(&user.home).join(".ssh/authorized_keys");
        Ok(Self {
            args,
            path: path.unwrap_or(home),
            user: Some(user),
        })
    }

    fn failed(&self, doing: &str, error: &std::io::Error) -> Failure {
        let reason = paths::reason(error);
        Failure::new(format!(
            "could not {doing} {}: {reason}",
            self.path.display()
        ))
    }

    fn read(&self) -> Result<String, Failure> {
        if !self.path.is_file() {
            return Ok(String::new());
        }
        let text = place::read(&self.path).map_err(|e| self.failed("read", &e))?;
        String::from_utf8(text)
            .map_err(|_| Failure::new(format!("{} is not UTF-8", self.path.display())))
    }

    /// Plans the folder, which becomes the user's, then the file.
    fn plan(&self, target: &Path, text: String) -> Result<Vec<Change>, Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut changes = Vec::new();
        let user = self.user.as_ref();
        let owned = |path: PathBuf, of: Option<place::FileId>, mode: u32| {
            let user = user?;
            let (uid, gid) = (Some(user.uid), Some(user.gid));
            let owner = Change::Owner {
                path: path.clone(),
                uid,
                gid,
                of,
            };
            Some([owner, Change::Mode { path, mode, of }])
        };
        let there = Meta::follow(folder).map_err(|e| self.failed("look at the folder of", &e))?;
        if self.args.bool("manage_dir") {
            let path = match there {
                Some(_) => place::real(folder).map_err(|e| self.failed("find", &e))?,
                None => folder.to_owned(),
            };
            if there.is_none() {
                refuse_orphan(&path)?;
                changes.push(Change::Directory { path: path.clone() });
            }
            let of = there.as_ref().and_then(Meta::id);
            changes.extend(owned(path, of, 0o700).into_iter().flatten());
        } else if there.is_none() {
            let (_, missing) = paths::missing(folder).map_err(|e| self.failed("find", &e))?;
            changes.extend(missing.into_iter().map(|path| Change::Directory { path }));
        }
        changes.push(Change::Write {
            path: target.to_owned(),
            content: change::Content::text(text.into_bytes()),
            how: crate::atomic::How::default(),
        });
        changes.extend(owned(target.to_owned(), None, 0o600).into_iter().flatten());
        Ok(changes)
    }
}
