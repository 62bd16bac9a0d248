//! `openssl_dhparam`: Diffie-Hellman parameters, by `openssl`.
//!
//! They are made in a folder of their own and put in their place whole.

use std::path::{Path, PathBuf};

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::atomic::How;
use crate::attrs::{Attributes, Meta};
use crate::change::{self, Change, Content};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::place;
use crate::run_command::{Command, Ran, bin_path};

pub(super) struct OpensslDhparam;

impl ActionModule for OpensslDhparam {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let path = PathBuf::from(args.required("path")?);
        refuse_folder(&path)?;
        let mut task = Task {
            size: args.int("size").unwrap_or_default(),
            backup_file: None,
            args,
            context,
            path,
        };
        let changed = match args.str("state") {
            Some("absent") => task.remove()?,
            _ => task.present()?,
        };
        Ok(Outcome::of(changed, task.fields()))
    }
}

fn refuse_folder(path: &Path) -> Result<(), Failure> {
    let folder = paths::folder(path);
    if folder.is_dir() {
        return Ok(());
    }
    let folder = folder.display();
    let msg = format!("The directory '{folder}' does not exist or the file is not a directory");
    Err(Failure::new(msg).with("name", folder.to_string()))
}

struct Task<'a, 'c> {
    args: &'a Args,
    context: &'a mut Context<'c>,
    path: PathBuf,
    size: i64,
    backup_file: Option<String>,
}

impl Task<'_, '_> {
    fn present(&mut self) -> Result<bool, Failure> {
        let openssl = bin_path("openssl", self.context).ok_or_else(|| {
            Failure::new(
                "Cannot detect either the required Python library cryptography (>= 3.3) or the OpenSSL \
                 binary openssl",
            )
        })?;
        let openssl = openssl.to_string_lossy().into_owned();
        let generates = self.args.bool("force") || !self.is_valid(&openssl)?;
        if self.context.check {
            return Ok(generates || !self.attributes()?.is_empty());
        }
        if generates {
            self.generate(&openssl)?;
        }
        let attributes = self.attributes()?;
        change::apply(&attributes, self.context)?;
        Ok(generates || !attributes.is_empty())
    }

    /// Returns whether the file has parameters of the size asked for, of which openssl does not warn.
    fn is_valid(&mut self, openssl: &str) -> Result<bool, Failure> {
        let path = self.path.to_string_lossy().into_owned();
        let argv = [
            openssl, "dhparam", "-check", "-text", "-noout", "-in", &path,
        ];
        let ran = self.call(&argv)?;
        let warned = [&ran.stdout, &ran.stderr]
            .iter()
            .any(|said| said.contains("WARNING"));
        Ok(ran.rc == 0 && !warned && bits(&ran.stdout) == Some(self.size))
    }

    fn generate(&mut self, openssl: &str) -> Result<(), Failure> {
        let scratch = |e: std::io::Error| {
            Failure::new(format!(
                "could not make a folder for the new parameters: {e}"
            ))
        };
        let folder = tempfile::tempdir().map_err(scratch)?;
        let made = folder.path().join("dhparams");
        let (out, size) = (made.to_string_lossy(), self.size.to_string());
        let ran = self.call(&[openssl, "dhparam", "-out", &out, &size])?;
        if ran.rc != 0 {
            return Err(Failure::new(ran.stderr));
        }
        let text = std::fs::read(&made)
            .map_err(|e| Failure::new(format!("could not read the new parameters: {e}")))?;
        let mut changes = self.backup();
        let path = place::real(&self.path).map_err(|e| self.unwritable(&e))?;
        changes.push(Change::Write {
            path,
            content: Content::text(text),
            how: How::default(),
        });
        change::apply(&changes, self.context)
    }

    fn unwritable(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!(
            "Failed to write to file {}: {error}",
            self.path.display()
        ))
    }

    fn remove(&mut self) -> Result<bool, Failure> {
        if !self.path.exists() {
            return Ok(false);
        }
        if self.context.check {
            return Ok(true);
        }
        let path = self.path.clone();
        if path.is_dir() {
            let msg = format!("[Errno 21] Is a directory: '{}'", path.display());
            return Err(Failure::new(msg));
        }
        let mut changes = self.backup();
        changes.push(Change::Remove { path });
        change::apply(&changes, self.context)?;
        Ok(true)
    }

    /// Plans a dated copy, if one is wanted and there is a file.
    fn backup(&mut self) -> Vec<Change> {
        if !self.args.bool("backup") || !self.path.exists() {
            return Vec::new();
        }
        let to = paths::backup_name(&self.path);
        self.backup_file = Some(to.to_string_lossy().into_owned());
        let path = self.path.clone();
        vec![Change::Backup { path, to }]
    }

    fn attributes(&self) -> Result<Vec<Change>, Failure> {
        let looked = |e| Failure::new(format!("could not look at {}: {e}", self.path.display()));
        let wanted = Attributes::read(self.args, &self.path)?;
        let real = place::real(&self.path).map_err(looked)?;
        match Meta::read(&real).map_err(looked)? {
            Some(meta) => wanted.plan(&wanted.target(&real, meta), self.context.check),
            None => Ok(Vec::new()),
        }
    }

    fn call(&mut self, argv: &[&str]) -> Result<Ran, Failure> {
        let command = Command::new(argv.iter().copied());
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn fields(&self) -> Json {
        let mut fields = json!({"size": self.size, "filename": self.path.to_string_lossy()});
        if let Some(name) = &self.backup_file {
            fields["backup_file"] = json!(name);
        }
        if self.args.bool("return_content") {
            let text = place::read(&self.path).ok().filter(|text| !text.is_empty());
            fields["dhparams"] = json!(text.and_then(|text| String::from_utf8(text).ok()));
        }
        fields
    }
}

/// Returns how many bits openssl says that parameters have.
fn bits(said: &str) -> Option<i64> {
    let regex = Regex::new(r"Parameters:\s+\((\d+) bit\)", Flags::default()).ok()?;
    let groups = regex.search(said.as_bytes(), 0).ok()??;
    said.get(groups.get(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::modules::tests::{check, run};

    /// OpenSSL's word for parameters of the least size that it makes.
    const SIZE: i64 = 512;

    fn task(path: &Path, more: Json) -> Json {
        let mut args = json!({"path": path, "size": SIZE, "mode": "0600"});
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            args[name] = value;
        }
        args
    }

    #[test]
    fn parameters_are_made_once_and_anew_where_their_size_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dh.pem");
        let module = "community.crypto.openssl_dhparam";
        assert!(check(module, task(&path, json!({}))).unwrap().changed);
        assert!(!path.exists());
        let made = run(module, task(&path, json!({"return_content": true}))).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(made.changed && text.starts_with("-----BEGIN DH PARAMETERS-----"));
        assert_eq!(made.result["dhparams"], text.as_str());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!run(module, task(&path, json!({}))).unwrap().changed);
        let more = run(module, task(&path, json!({"mode": "0644"}))).unwrap();
        assert!(more.changed && std::fs::read_to_string(&path).unwrap() == text);
        let anew = run(module, task(&path, json!({"force": true, "backup": true}))).unwrap();
        let backup = anew.result["backup_file"].as_str().unwrap();
        assert_eq!(std::fs::read_to_string(backup).unwrap(), text);
        let larger = check(module, task(&path, json!({"size": 1024}))).unwrap();
        assert!(larger.changed && larger.result["size"] == 1024);
        let gone = task(&path, json!({"state": "absent"}));
        assert!(run(module, gone.clone()).unwrap().changed && !path.exists());
        assert!(!run(module, gone).unwrap().changed);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let args = task(Path::new("/no/such/dh.pem"), json!({}));
        let failure = run("community.crypto.openssl_dhparam", args).unwrap_err();
        let msg = "The directory '/no/such' does not exist or the file is not a directory";
        assert_eq!(failure.msg, msg);
        assert_eq!(failure.result["name"], "/no/such");
    }
}
