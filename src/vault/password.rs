//! Where vault passwords come from: a file, a script, a question.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Vault, VaultError};
use crate::prompt;
use crate::secret::Secret;

/// How vaults are opened.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct VaultArgs {
    /// File with a vault password, or a program that prints it; repeatable
    #[arg(long, visible_alias = "vault-pass-file", value_name = "FILE")]
    vault_password_file: Vec<PathBuf>,
    /// Vault password as `[label@]FILE`, or `[label@]prompt`; repeatable
    #[arg(long, value_name = "ID")]
    vault_id: Vec<String>,
    /// Ask for the vault password
    #[arg(short = 'J', long, visible_alias = "ask-vault-pass")]
    ask_vault_password: bool,
}

impl VaultArgs {
    /// Returns the files that the passwords come from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let source = |id: &'_ String| id.split_once('@').map_or(0, |(label, _)| label.len() + 1);
        let by_id = self
            .vault_id
            .iter()
            .map(move |id| Path::new(&id[source(id)..]));
        by_id.chain(self.vault_password_file.iter().map(PathBuf::as_path))
    }

    pub(crate) fn vault(&self) -> Result<Vault, VaultError> {
        let mut passwords = Vec::new();
        for id in &self.vault_id {
            let (label, source) = id.split_once('@').unwrap_or(("", id));
            passwords.push(match source {
                "prompt" | "prompt_ask_vault_pass" => ask(label)?,
                file => from_file(Path::new(file), label)?,
            });
        }
        for file in &self.vault_password_file {
            passwords.push(from_file(file, "")?);
        }
        if self.ask_vault_password {
            passwords.push(ask("")?);
        }
        Ok(Vault { passwords })
    }
}

fn ask(label: &str) -> Result<Secret<String>, VaultError> {
    let question = match label {
        "" => "Vault password: ".to_owned(),
        label => format!("Vault password ({label}): "),
    };
    let typed = prompt::secret(&question);
    let typed = typed.map_err(|_| refused("the prompt", "there is no terminal to ask on"))?;
    checked("the prompt", &typed)
}

/// An executable file is a program that prints the password.
fn from_file(path: &Path, label: &str) -> Result<Secret<String>, VaultError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| refused(&name, &error.to_string());
    let found = path.metadata().map_err(failed)?;
    if found.is_file() && found.permissions().mode() & 0o111 != 0 {
        return checked(&name, &from_program(path, label)?);
    }
    checked(&name, &std::fs::read_to_string(path).map_err(failed)?)
}

fn from_program(path: &Path, label: &str) -> Result<String, VaultError> {
    let name = path.display().to_string();
    let program = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(program);
    if path
        .file_stem()
        .is_some_and(|stem| stem.to_string_lossy().ends_with("-client"))
    {
        command.args([
            "--vault-id",
            if label.is_empty() { "default" } else { label },
        ]);
    }
    let output = command
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| refused(&name, &error.to_string()))?;
    match output.status.success() {
        true => String::from_utf8(output.stdout).map_err(|_| refused(&name, "it is not text")),
        false => Err(refused(&name, &format!("it ended with {}", output.status))),
    }
}

fn checked(from: &str, text: &str) -> Result<Secret<String>, VaultError> {
    match text.trim() {
        "" => Err(refused(from, "it is empty")),
        text => Ok(Secret::new(text.to_owned())),
    }
}

fn refused(from: &str, reason: &str) -> VaultError {
    VaultError::Source {
        from: from.to_owned(),
        reason: reason.to_owned(),
    }
}
