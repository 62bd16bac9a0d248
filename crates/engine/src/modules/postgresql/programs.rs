//! The client programs that dump databases and restore them, called as Ansible's `postgresql_db` calls them.

use std::path::Path;

use amibake_playbook::shell::quote;
use serde_json::json;

use super::{given, host};
use crate::args::Args;
use crate::module::{Context, Failure, Outcome};
use crate::run_command::{Command, Ran, bin_path, required_bin};

/// A call of a client program.
pub(super) struct Program<'a> {
    pub(super) args: &'a Args,
}

impl Program<'_> {
    pub(super) fn dump(&self, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let target = self.target()?;
        let mut command = required_bin("pg_dump", context)?;
        command += &self.flags("");
        let format = match ending(&target) {
            ".tar" => " --format=t",
            ".pgc" => " --format=c",
            ".dir" => " --format=d",
            _ => "",
        };
        command += format;
        if let Some(role) = given(self.args, "session_role") {
            command += &format!(" --role={}", quote(role));
        }
        for name in ["dump_extra_args", "target_opts"] {
            if let Some(extra) = given(self.args, name) {
                command += &format!(" {extra} ");
            }
        }
        let packer = match ending(&target) {
            ".gz" if bin_path("pigz", context).is_some() => Some("pigz"),
            ".gz" => Some("gzip"),
            ".bz2" => Some("bzip2"),
            ".xz" => Some("xz"),
            _ => None,
        };
        let target = quote(&target);
        let Some(packer) = packer else {
            let command = match format {
                " --format=d" => format!("{command} -f {target}"),
                _ => format!("{command} > {target}"),
            };
            return self.run(command, context);
        };
        // So that the end of `pg_dump` is what counts, and not that of the packer.
        let packer = required_bin(packer, context)?;
        let failed =
            |error: std::io::Error| Failure::new(format!("could not make a fifo: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let fifo = folder.path().join("pg_fifo");
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::unistd::mkfifo(&fifo, mode).map_err(|error| failed(error.into()))?;
        let fifo = fifo.display();
        self.run(
            format!("{packer} <{fifo} > {target} & {command} >{fifo}"),
            context,
        )
    }

    pub(super) fn restore(&self, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let target = self.target()?;
        let (program, format) = match ending(&target) {
            ".tar" => ("pg_restore", " --format=Tar"),
            ".pgc" => ("pg_restore", " --format=Custom"),
            ".dir" => ("pg_restore", " --format=Directory"),
            _ => ("psql", ""),
        };
        let mut command = required_bin(program, context)? + &self.flags("--dbname=") + format;
        if ending(&target) == ".sql" {
            command += &format!(" --file={target}");
        }
        if let Some(role) = given(self.args, "session_role").filter(|_| program == "pg_restore") {
            command += &format!(" --role={}", quote(role));
        }
        if let Some(extra) = given(self.args, "target_opts") {
            command += &format!(" {extra} ");
        }
        let unpacker = match ending(&target) {
            ".gz" => Some("zcat"),
            ".bz2" => Some("bzcat"),
            ".xz" => Some("xzcat"),
            _ => None,
        };
        let quoted = quote(&target);
        if let Some(unpacker) = unpacker {
            let unpacker = required_bin(unpacker, context)?;
            let ran = self.shell(&format!("{unpacker} {quoted} | {command}"), context)?;
            return outcome(&ran, "", "cmd: ****", Vec::new());
        }
        let command = match format {
            " --format=Custom" | " --format=Directory" => format!("{command} {quoted}"),
            _ if ending(&target) == ".sql" => command,
            _ => format!("{command} < {quoted}"),
        };
        self.run(command, context)
    }

    /// Returns where the dump lies; without a name it is called as the database.
    fn target(&self) -> Result<String, Failure> {
        if let Some(target) = given(self.args, "target") {
            return Ok(target.to_owned());
        }
        let folder = std::env::current_dir().unwrap_or_default();
        let db = self.args.required("db")?;
        Ok(folder
            .join(format!("{db}.sql"))
            .to_string_lossy()
            .into_owned())
    }

    fn flags(&self, before_name: &str) -> String {
        let db = self.args.str("db").unwrap_or_default();
        let mut flags = format!(" {before_name}{}", quote(db));
        if let Some(host) = host(self.args) {
            flags += &format!(" --host={host}");
        }
        let port = self.args.int("login_port").unwrap_or(5432);
        flags += &format!(" --port={port}");
        let user = given(self.args, "login_user").unwrap_or("postgres");
        flags + &format!(" --username={user}")
    }

    fn run(&self, command: String, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let ran = self.shell(&command, context)?;
        let stdout = ran.stdout.clone();
        outcome(&ran, &stdout, &command, vec![command.clone()])
    }

    fn shell(&self, script: &str, context: &mut Context<'_>) -> Result<Ran, Failure> {
        let mut command = Command::new(["/bin/sh", "-c", script]);
        if let Some(password) = given(self.args, "login_password") {
            command = command.env("PGPASSWORD", password);
        }
        command
            .run(context)
            .map_err(|error| error.failure(&command))
    }
}

fn outcome(ran: &Ran, stdout: &str, cmd: &str, executed: Vec<String>) -> Result<Outcome, Failure> {
    if ran.rc != 0 {
        let failure = Failure::new(ran.stderr.clone()).with("stdout", stdout);
        return Err(failure.with("rc", ran.rc).with("cmd", cmd));
    }
    let fields = json!({
        "msg": stdout, "stderr": ran.stderr, "rc": ran.rc, "cmd": cmd, "executed_commands": executed,
    });
    Ok(Outcome::of(true, fields))
}

/// Returns the last ending of a file's name, with its dot.
fn ending(path: &str) -> &str {
    let name = Path::new(path).file_name().unwrap_or_default().len();
    let name = &path[path.len() - name..];
    match name.rfind('.') {
        Some(at) if at > 0 => &name[at..],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_tells_the_format() {
        assert_eq!(ending("/a.b/dump.sql.gz"), ".gz");
        assert_eq!(ending("/a.b/dump"), "");
        assert_eq!(ending("/a/.hidden"), "");
    }
}
