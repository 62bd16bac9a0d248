//! The client programs that dump databases and read dumps, called as Ansible's `mysql_db` calls them.
//!
//! What is told of a command is what Ansible tells. What is run has no password in it: that lies in an
//! option file of its own.

use std::path::{Path, PathBuf};

use amibake_playbook::shell::quote;
use amibake_playbook::value::Value;
use tempfile::NamedTempFile;

use super::{Server, config_file, option_file};
use crate::args::Args;
use crate::environment::variable;
use crate::module::{Context, Failure};
use crate::run_command::{Command, Ran, bin_path, required_bin};

/// Programs that pack, by the ending of the file they make.
const PACKERS: &[(&str, &str)] = &[
    (".gz", "gzip"),
    (".bz2", "bzip2"),
    (".xz", "xz"),
    (".zst", "zstd"),
];

/// A call of a client program.
pub(super) struct Program<'a> {
    pub(super) args: &'a Args,
    pub(super) server: Server,
    pub(super) names: &'a [String],
    /// Whether all databases are meant.
    pub(super) all: bool,
    /// Whether we are the administrator that a fresh server has.
    pub(super) as_root: bool,
}

/// The words of a command for the shell: as they are told, and as they are run.
struct Words {
    told: Vec<String>,
    run: Vec<String>,
    /// Has the password, and goes when the program has run.
    secret: Option<NamedTempFile>,
}

impl Words {
    fn add(&mut self, word: impl Into<String>) {
        let word = word.into();
        self.told.push(word.clone());
        self.run.push(word);
    }

    fn add_given(&mut self, option: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(format!("--{option}={}", quote(value)));
        }
    }
}

impl Program<'_> {
    pub(super) fn dump(
        &self,
        executed: &mut Vec<String>,
        context: &mut Context<'_>,
    ) -> Result<Ran, Failure> {
        let args = self.args;
        let mut words = self.begin("mysqldump", "mariadb-dump", context)?;
        self.options_of_dump(&mut words);
        let (told, run) = (words.told.join(" "), words.run.join(" "));
        let target = quote(args.required("target")?);
        let pipe = match self.packer(context)? {
            Some(packer) => format!(" | {packer} > {target}"),
            None => format!(" > {target}"),
        };
        let fails = args.bool("pipefail") && pipe.starts_with(" |");
        let first = if fails { "set -o pipefail && " } else { "" };
        executed.push(format!("{first}{told}{pipe}"));
        let shell = if args.bool("pipefail") {
            "bash"
        } else {
            "/bin/sh"
        };
        let ran = self.shell(shell, &format!("{first}{run}{pipe}"), context);
        drop(words.secret);
        ran
    }

    fn options_of_dump(&self, words: &mut Words) {
        let args = self.args;
        if args.bool("force") {
            words.add("--force");
        }
        match self.socket() {
            Some(socket) => words.add(format!("--socket={}", quote(socket))),
            None => words.add(self.address().join(" ")),
        }
        match self.names {
            _ if self.all => words.add("--all-databases"),
            [name] => words.add(quote(name)),
            names => words.add(format!("--databases {}", names.join(" "))),
        }
        if args.bool("skip_lock_tables") {
            words.add("--skip-lock-tables");
        }
        words.add_given("default-character-set", self.given("encoding"));
        for (name, option) in [
            ("single_transaction", "--single-transaction=true"),
            ("quick", "--quick"),
        ] {
            if args.bool(name) {
                words.add(option);
            }
        }
        for table in args.list("ignore_tables") {
            words.add(format!("--ignore-table={table}"));
        }
        if args.bool("hex_blob") {
            words.add("--hex-blob");
        }
        let position = args.int("master_data").unwrap_or_default();
        if position != 0 {
            let source = !self.server.is_mariadb && self.server.is_at_least(&[8, 2]);
            let word = if source { "source" } else { "master" };
            words.add(format!("--{word}-data={position}"));
        }
        if let Some(extra) = args.str("dump_extra_args") {
            words.add(extra);
        }
    }

    pub(super) fn import(
        &self,
        executed: &mut Vec<String>,
        context: &mut Context<'_>,
    ) -> Result<Ran, Failure> {
        let target = self.args.required("target")?;
        if !self.here(target).exists() {
            let msg = format!("target {target} does not exist on the host");
            return Err(Failure::new(msg));
        }
        let mut words = self.begin("mysql", "mariadb", context)?;
        if self.args.bool("force") {
            words.add("-f");
        }
        match self.socket() {
            Some(socket) => words.add(format!("--socket={}", quote(socket))),
            None => self.address().into_iter().for_each(|word| words.add(word)),
        }
        words.add_given("default-character-set", self.given("encoding"));
        if !self.all {
            words.add("--one-database");
            words.add(quote(&self.names.concat()));
        }
        let run = words.run.join(" ");
        let Some(packer) = self.packer(context)? else {
            let target = quote(target);
            executed.push(format!("{} < {target}", words.told.join(" ")));
            let ran = self.shell("/bin/sh", &format!("{run} < {target}"), context);
            drop(words.secret);
            return ran;
        };
        let told: Vec<Value> = words.told.iter().map(Value::str).collect();
        let told = Value::list(told).repr();
        executed.push(format!("{packer} -dc {target} | {told}"));
        // Without a shell Ansible heeds how both of them end.
        let both = !self.args.bool("use_shell") && bin_path("bash", context).is_some();
        let (shell, first) = match both {
            true => ("bash", "set -o pipefail; "),
            false => ("/bin/sh", ""),
        };
        let script = format!("{first}{packer} -dc {} | {run}", quote(target));
        let ran = self.shell(shell, &script, context);
        drop(words.secret);
        ran
    }

    /// Begins the command: the program, the option file, who logs in.
    fn begin(&self, old: &str, new: &str, context: &Context<'_>) -> Result<Words, Failure> {
        let renamed = self.server.is_mariadb && self.server.is_at_least(&[10, 4, 6]);
        let program = required_bin(if renamed { new } else { old }, context)?;
        let mut words = Words {
            told: vec![program.clone()],
            run: vec![program],
            secret: None,
        };
        let config = config_file(self.args).filter(|file| file.exists());
        let only = self.args.bool("restrict_config_file");
        let option = if only { "file" } else { "extra-file" };
        let file =
            config.map(|path| format!("--defaults-{option}={}", quote(&path.to_string_lossy())));
        words.told.extend(file.clone());
        let password = self.given("login_password").filter(|_| !self.as_root);
        match password {
            Some(password) => {
                let home = variable("HOME", &context.environment).map(PathBuf::from);
                let secret = option_file::with_password(
                    password,
                    config,
                    only && config.is_some(),
                    home.as_deref(),
                );
                let secret = secret.map_err(|error| {
                    Failure::new(format!("could not write an option file: {error}"))
                })?;
                let path = secret.path().to_string_lossy().into_owned();
                words.run.push(format!("--defaults-file={}", quote(&path)));
                words.secret = Some(secret);
            }
            None => words.run.extend(file),
        }
        if self.as_root {
            words.add("--user=root --password=''");
        }
        words.add_given("user", self.given("login_user").filter(|_| !self.as_root));
        if let Some(password) = password {
            words.told.push(format!("--password={}", quote(password)));
        }
        Ok(words)
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.args.str(name).filter(|text| !text.is_empty())
    }

    fn socket(&self) -> Option<&str> {
        self.args.str("login_unix_socket")
    }

    fn address(&self) -> [String; 2] {
        let host = self.args.str("login_host").unwrap_or_default();
        let port = self.args.int("login_port").unwrap_or_default();
        [format!("--host={}", quote(host)), format!("--port={port}")]
    }

    /// Returns the program that packs the target, by its name.
    fn packer(&self, context: &Context<'_>) -> Result<Option<String>, Failure> {
        let target = self.args.required("target")?;
        let known = PACKERS.iter().find(|(ending, _)| {
            let name = Path::new(target).file_name().unwrap_or_default();
            let name = name.to_string_lossy();
            name.len() > ending.len() && name.ends_with(ending)
        });
        known
            .map(|(_, program)| required_bin(program, context))
            .transpose()
    }

    /// Returns where a path lies that may begin at the task's own folder.
    fn here(&self, path: &str) -> PathBuf {
        let folder = self.args.str("chdir").unwrap_or_default();
        Path::new(folder).join(path)
    }

    fn shell(&self, shell: &str, script: &str, context: &mut Context<'_>) -> Result<Ran, Failure> {
        let mut command = Command::new([shell, "-c", script]);
        if let Some(folder) = self.args.str("chdir") {
            command = command.cwd(folder);
        }
        command
            .run(context)
            .map_err(|error| error.failure(&command))
    }
}
