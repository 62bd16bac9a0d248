//! `hostname`: the machine's name now and after a reboot.

use std::path::Path;

use serde_json::json;

use super::text_file;
use crate::args::Args;
use crate::facts;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, bin_path, required_bin};

pub(super) struct Hostname;

/// How a machine is told its name.
enum Strategy {
    /// By `hostnamectl`, here with its path.
    Systemd(String),
    /// By a file that is read at boot.
    File(&'static str),
    /// By the file and `hostname -F`.
    Alpine,
}

const FILE: &str = "/etc/hostname";

impl ActionModule for Hostname {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let name = args.required("name")?;
        let strategy = Strategy::find(args.str("use"), context)?;
        let current = strategy.current(context)?;
        let permanent = strategy.permanent(context)?;
        if !context.check {
            strategy.set(name, current != name, permanent != name, context)?;
        }
        let changed = current != name || permanent != name;
        let before = match current == name {
            true => permanent,
            false => current,
        };
        let full = facts::full_host_name();
        let mut fields = json!({
            "name": name,
            "ansible_facts": {
                "ansible_hostname": name.split('.').next(),
                "ansible_nodename": name,
                "ansible_fqdn": full,
                "ansible_domain": full.split_once('.').map_or("", |(_, domain)| domain),
            },
        });
        if changed {
            fields["diff"] = json!({
                "after": format!("hostname = {name}\n"), "before": format!("hostname = {before}\n"),
            });
        }
        Ok(Outcome::of(changed, fields))
    }
}

impl Strategy {
    fn find(wanted: Option<&str>, context: &Context<'_>) -> Result<Self, Failure> {
        match wanted {
            Some("debian" | "systemd") => required_bin("hostnamectl", context).map(Self::Systemd),
            Some("alpine") => Ok(Self::Alpine),
            Some("sles") => Ok(Self::File("/etc/HOSTNAME")),
            Some(other) => Err(Failure::new(format!(
                "hostname: use: {other} is not supported; there are `systemd`, `debian`, `alpine` and `sles`"
            ))),
            None if Path::new("/run/systemd/system/").exists()
                && bin_path("systemctl", context).is_some() =>
            {
                required_bin("hostnamectl", context).map(Self::Systemd)
            }
            None => Ok(Self::File(FILE)),
        }
    }

    fn current(&self, context: &mut Context<'_>) -> Result<String, Failure> {
        match self {
            Self::Systemd(program) => run(&[program, "--transient", "status"], context),
            Self::File(_) | Self::Alpine => self.permanent(context),
        }
    }

    fn permanent(&self, context: &mut Context<'_>) -> Result<String, Failure> {
        let path = match self {
            Self::Systemd(program) => return run(&[program, "--static", "status"], context),
            Self::File(path) => path,
            Self::Alpine => FILE,
        };
        let text = text_file::read(Path::new(path))
            .map_err(|e| Failure::new(format!("failed to read hostname: {e}")))?;
        Ok(text.unwrap_or_default().trim().to_owned())
    }

    /// The lasting name first: `NetworkManager` complains the other way round.
    fn set(
        &self,
        name: &str,
        now: bool,
        lasting: bool,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        match self {
            Self::Systemd(program) => {
                if (now || lasting) && name.chars().count() > 64 {
                    let msg = "name cannot be longer than 64 characters on systemd servers, try a shorter name";
                    return Err(Failure::new(msg));
                }
                if lasting {
                    run(
                        &[program, "--pretty", "--static", "set-hostname", name],
                        context,
                    )?;
                }
                if now {
                    run(&[program, "--transient", "set-hostname", name], context)?;
                }
                Ok(())
            }
            Self::File(path) if lasting => write(path, name, context),
            Self::File(_) => Ok(()),
            Self::Alpine => {
                if lasting {
                    write(FILE, name, context)?;
                }
                if now {
                    let program = required_bin("hostname", context)?;
                    run(&[&program, "-F", FILE], context)?;
                }
                Ok(())
            }
        }
    }
}

fn write(path: &str, name: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    text_file::write(Path::new(path), &format!("{name}\n"), context)
        .map_err(|e| Failure::new(format!("failed to update hostname: {e}")))
}

fn run(argv: &[&str], context: &mut Context<'_>) -> Result<String, Failure> {
    let command = Command::new(argv.iter().copied());
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    match ran.rc {
        0 => Ok(ran.stdout.trim().to_owned()),
        rc => Err(Failure::new(format!(
            "Command failed rc={rc}, out={}, err={}",
            ran.stdout, ran.stderr
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::tests::check;

    #[test]
    fn strategies_of_other_systems_are_refused_by_name() {
        let failure = check("hostname", json!({"name": "a", "use": "openbsd"})).unwrap_err();
        assert!(
            failure
                .msg
                .starts_with("hostname: use: openbsd is not supported")
        );
    }
}
