//! `unarchive`: by the target's own `tar` and `unzip`, as Ansible does; idempotent by
//! `tar --diff`, and for zip by comparing what `zipinfo` lists.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use amibake_playbook::shell::quote;
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::attrs::{self, Attributes, Meta};
use crate::change;
use crate::http::Call;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::place::{Place, by_descriptor};
use crate::run_command::{Command, Ran, bin_path};

mod zip;

use zip::Found;

pub(super) struct Unarchive;

/// Where an archive goes and what of it.
struct Extraction<'a> {
    args: &'a Args,
    src: PathBuf,
    dest: PathBuf,
    /// The folder itself: programs are run in it, so that nobody swaps it for another meanwhile.
    held: OwnedFd,
    attributes: Attributes,
}

/// A program that understands the archive.
enum Handler {
    Tar {
        program: String,
        /// How tar is told the compression.
        flag: &'static str,
        name: &'static str,
    },
    Zip(String),
}

const TARS: &[(&str, &str)] = &[
    ("-z", "TgzArchive"),
    ("", "TarArchive"),
    ("-j", "TarBzipArchive"),
    ("-J", "TarXzArchive"),
    ("--use-compress-program=zstd", "TarZstdArchive"),
];

impl ActionModule for Unarchive {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if let Some(path) = args.str("creates").filter(|path| Path::new(path).exists()) {
            return Ok(skipped(format!("skipped, since {path} exists")));
        }
        let given = args.required("dest")?;
        if !Path::new(given).is_dir() {
            return Err(Failure::new(format!(
                "dest '{given}' must be an existing dir"
            )));
        }
        let dest = std::path::absolute(given).unwrap_or_else(|_| given.into());
        let held = Place::behind(&dest).and_then(|place| place.hold());
        let held = held.map_err(|e| Failure::new(format!("could not open {given}: {e}")))?;
        // The file lives as long as the task: dropped, it is removed.
        let (src, _downloaded) = archive(args, context)?;
        let extraction = Extraction {
            attributes: Attributes::read(args, &dest)?,
            args,
            src,
            dest,
            held,
        };
        let (handler, files) = extraction.handler(context)?;
        if let (Handler::Tar { .. }, true) = (&handler, context.check) {
            let msg = "remote module (ansible.legacy.unarchive) does not support check mode when using gtar";
            return Ok(skipped(msg.to_owned()));
        }
        extraction.unpack(&handler, &files, context)
    }
}

fn skipped(msg: String) -> Outcome {
    let mut outcome = Outcome {
        skipped: true,
        ..Outcome::default()
    };
    outcome.result.insert("msg".to_owned(), Json::from(msg));
    outcome
}

/// Finds the archive: from the controller, on the machine, or from the network.
fn archive(
    args: &Args,
    context: &Context<'_>,
) -> Result<(PathBuf, Option<tempfile::NamedTempFile>), Failure> {
    let src = args.required("src")?;
    let remote = args.bool("remote_src") || args.opt_bool("copy") == Some(false);
    let failed = |e: io::Error| Failure::new(format!("Source '{src}' failed to transfer: {e}"));
    let fetched = match (remote, context.sources.get("")) {
        (false, Some(source)) => {
            let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
            source.write_to(file.as_file_mut()).map_err(failed)?;
            Some(file)
        }
        (false, None) => return Err(Failure::new(format!("Source '{src}' failed to transfer"))),
        (true, _) if src.contains("://") => Some(download(args, context)?),
        (true, _) => None,
    };
    let path = fetched
        .as_ref()
        .map_or_else(|| PathBuf::from(src), |f| f.path().to_owned());
    let size = match std::fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!("Source '{src}' does not exist")));
        }
        Err(_) => return Err(Failure::new(format!("Source '{src}' not readable"))),
    };
    if size == 0 {
        return Err(Failure::new(format!(
            "Invalid archive '{src}', the file is 0 bytes"
        )));
    }
    Ok((std::path::absolute(&path).unwrap_or(path), fetched))
}

fn download(args: &Args, context: &Context<'_>) -> Result<tempfile::NamedTempFile, Failure> {
    let url = args.required("src")?;
    let failed = |reason: String| Failure::new(format!("Failure downloading {url}, {reason}"));
    let mut call = Call::read(args, &context.environment);
    url.clone_into(&mut call.url);
    let mut reply = call.send().map_err(|e| failed(e.told()))?;
    if reply.status != 200 {
        return Err(failed(reply.msg));
    }
    let mut file = tempfile::NamedTempFile::new().map_err(|e| failed(e.to_string()))?;
    io::copy(&mut reply.reader(), file.as_file_mut()).map_err(|e| failed(e.to_string()))?;
    Ok(file)
}

impl Extraction<'_> {
    /// Tries zip, then tar with each compression; the first that lists files is taken.
    fn handler(&self, context: &mut Context<'_>) -> Result<(Handler, Vec<String>), Failure> {
        let mut reasons = Vec::new();
        match zip::list(self, context) {
            Ok((program, files)) => return Ok((Handler::Zip(program), files)),
            Err(reason) => reasons.push(reason),
        }
        let program = ["gtar", "tar"]
            .iter()
            .find_map(|name| bin_path(name, context));
        let Some(program) = program.map(|path| path.to_string_lossy().into_owned()) else {
            reasons.push("Unable to find required 'gtar' or 'tar' binary in the path".to_owned());
            return Err(self.no_handler(&reasons));
        };
        for (flag, name) in TARS {
            match self.tar_list(&program, flag, context) {
                Ok(files) => {
                    let program = program.clone();
                    return Ok((
                        Handler::Tar {
                            program,
                            flag,
                            name,
                        },
                        files,
                    ));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        Err(self.no_handler(&reasons))
    }

    fn no_handler(&self, reasons: &[String]) -> Failure {
        Failure::new(format!(
            "Failed to find handler for \"{}\". Make sure the required command to extract the \
             file is installed.\n{}",
            self.src.display(),
            reasons.join("\n")
        ))
    }

    fn tar_list(
        &self,
        program: &str,
        flag: &str,
        context: &mut Context<'_>,
    ) -> Result<Vec<String>, String> {
        let ran = self
            .tar(program, "--list", flag, false, context)
            .map_err(|f| f.msg)?;
        if ran.rc != 0 {
            return Err(format!(
                "Command \"{program}\" could not handle archive: Unable to list files in the archive: {}",
                ran.stderr
            ));
        }
        let names = ran
            .stdout
            .lines()
            .map(|name| name.strip_prefix('/').unwrap_or(name).to_owned());
        let files: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        if files.is_empty() {
            return Err(format!(
                "Command \"{program}\" found no files in archive. Empty archive files are not supported."
            ));
        }
        Ok(files)
    }

    fn tar(
        &self,
        program: &str,
        verb: &str,
        flag: &str,
        owned: bool,
        context: &mut Context<'_>,
    ) -> Result<Ran, Failure> {
        let command = self.in_dest(&self.tar_argv(program, verb, flag, owned));
        command.run(context).map_err(|e| e.failure(&command))
    }

    /// Returns a command that is run in the destination, which it therefore names as `.`.
    fn in_dest(&self, argv: &[String]) -> Command {
        let dest = self.dest.to_string_lossy();
        let before = std::iter::once("").chain(argv.iter().map(String::as_str));
        let here = argv.iter().zip(before).map(|(word, before)| {
            let named = matches!(before, "-C" | "-d") && *word == dest;
            if named { "." } else { word.as_str() }
        });
        Command::new(here)
            .cwd(by_descriptor(self.held.as_fd()))
            .parsable()
    }

    fn tar_argv(&self, program: &str, verb: &str, flag: &str, owned: bool) -> Vec<String> {
        let mut argv = vec![program.to_owned(), verb.to_owned(), "-C".to_owned()];
        argv.push(self.dest.to_string_lossy().into_owned());
        argv.extend(Some(flag.to_owned()).filter(|flag| !flag.is_empty()));
        let options = self.args.list("extra_opts");
        if !options.is_empty() {
            argv.push("--show-transformed-names".to_owned());
            argv.extend(options.iter().map(|option| (*option).to_owned()));
        }
        if owned {
            let owner = self
                .args
                .str("owner")
                .map(|owner| format!("--owner={}", quote(owner)));
            let group = self
                .args
                .str("group")
                .map(|group| format!("--group={}", quote(group)));
            argv.extend(owner.into_iter().chain(group));
            argv.extend(
                self.args
                    .bool("keep_newer")
                    .then(|| "--keep-newer-files".to_owned()),
            );
        }
        let excluded = self.args.list("exclude");
        argv.extend(
            excluded
                .iter()
                .map(|path| format!("--exclude={}", path.trim_end_matches('/'))),
        );
        argv.push("-f".to_owned());
        argv.push(self.src.to_string_lossy().into_owned());
        argv.extend(
            self.args
                .list("include")
                .iter()
                .map(|path| (*path).to_owned()),
        );
        argv
    }

    fn unpack(
        &self,
        handler: &Handler,
        files: &[String],
        context: &mut Context<'_>,
    ) -> Result<Outcome, Failure> {
        let mut result = Map::new();
        let mut put = |name: &str, value: Json| result.insert(name.to_owned(), value);
        let name = match handler {
            Handler::Tar { name, .. } => name,
            Handler::Zip(_) => "ZipArchive",
        };
        put("handler", Json::from(name));
        put("dest", Json::from(self.args.required("dest")?));
        put("src", Json::from(self.src.to_string_lossy()));
        if self.args.bool("list_files") {
            put("files", Json::from(files.to_vec()));
        }
        let found = self.compare(handler, context)?;
        let mut changed = found.differs;
        if changed && !context.check {
            let (argv, ran) = self.extract(handler, &found.newer, context)?;
            let results = json!({
                "cmd": argv,
                "rc": ran.rc,
                "out": ran.stdout,
                "err": ran.stderr,
            });
            if ran.rc != 0 {
                let msg = format!(
                    "failed to unpack {} to {}",
                    self.src.display(),
                    self.dest.display()
                );
                let mut failure = Failure::new(msg);
                failure.result = result;
                return Err(failure.with("extract_results", results));
            }
            result.insert("extract_results".to_owned(), results);
        }
        if !context.check {
            changed |= self.give_attributes(files, context)?;
        }
        attrs::add_path_info(&mut result);
        Ok(Outcome {
            changed,
            result,
            ..Outcome::default()
        })
    }

    /// Unpacks all but what is `newer`; returns what was run, too.
    fn extract(
        &self,
        handler: &Handler,
        newer: &[String],
        context: &mut Context<'_>,
    ) -> Result<(Vec<String>, Ran), Failure> {
        match handler {
            Handler::Tar { program, flag, .. } => {
                let argv = self.tar_argv(program, "--extract", flag, true);
                let ran = self.tar(program, "--extract", flag, true, context)?;
                Ok((argv, ran))
            }
            Handler::Zip(program) => {
                let argv = zip::extract_argv(self, program, newer);
                let command = self.in_dest(&argv);
                let ran = command.run(context).map_err(|e| e.failure(&command))?;
                Ok((argv, ran))
            }
        }
    }

    fn compare(&self, handler: &Handler, context: &mut Context<'_>) -> Result<Found, Failure> {
        match handler {
            Handler::Tar { program, flag, .. } => {
                let ran = self.tar(program, "--diff", flag, true, context)?;
                let mut lines = ran.stdout.lines().chain(ran.stderr.lines());
                Ok(Found {
                    differs: lines.any(|line| self.is_difference(line)),
                    newer: Vec::new(), // tar passes them over by itself
                })
            }
            Handler::Zip(program) => zip::compare(self, program, context),
        }
    }

    /// Whether a line of `tar --diff` is about something the task does not set anyway.
    fn is_difference(&self, line: &str) -> bool {
        let root = nix::unistd::geteuid().is_root();
        if line.contains(": Empty file name") || line.contains(": : Warning") {
            return false;
        }
        (root && !self.args.has("owner") && line.ends_with(": Uid differs"))
            || (root && !self.args.has("group") && line.ends_with(": Gid differs"))
            || (!self.args.has("mode") && line.ends_with(": Mode differs"))
            || line.ends_with(": Mod time differs")
            || line.ends_with(": Symlink differs")
            || line.ends_with(": Contents differ")
            || line.ends_with(": Size differs")
            || line.contains(": Warning: Cannot stat: No such file or directory")
            || line.contains(": Cannot stat: No such file or directory")
            || line.ends_with(": Invalid owner")
            || line.ends_with(": Invalid group")
    }

    /// Gives everything unpacked, and the folders at its top, the attributes asked for.
    fn give_attributes(
        &self,
        files: &[String],
        context: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.attributes.any() {
            return Ok(false);
        }
        let mut paths: Vec<PathBuf> = files.iter().map(|name| self.dest.join(name)).collect();
        let tops = files
            .iter()
            .filter_map(|name| name.split_once('/').map(|(top, _)| top));
        let mut tops: Vec<PathBuf> = tops.map(|top| self.dest.join(top)).collect();
        tops.dedup();
        paths.extend(tops);
        let mut changed = false;
        for path in paths {
            let meta = Meta::read(&path).map_err(|e| {
                Failure::new(format!(
                    "Unexpected error when accessing exploded file: {e}"
                ))
            })?;
            let Some(meta) = meta else {
                continue;
            };
            let changes = self
                .attributes
                .plan(&self.attributes.target(&path, meta), false)?;
            changed |= !changes.is_empty();
            change::apply(&changes, context)?;
        }
        Ok(changed)
    }
}
