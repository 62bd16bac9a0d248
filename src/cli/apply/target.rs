//! Which machines a playbook runs on, as the command line says.

use std::path::{Path, PathBuf};

/// Which machines, and how to get in.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Machine to run on, as `[user@]address[:port]`; repeatable
    #[arg(long, value_name = "HOST", required_unless_present_any = ["inventory", "local", "list_tasks", "list_tags", "report"])]
    pub(super) host: Vec<String>,
    /// Inventory: a file, INI or YAML, a folder of them, or hosts with commas (`a,b`); repeatable
    #[arg(short, long, value_name = "SOURCE", conflicts_with = "host")]
    pub(super) inventory: Vec<String>,
    /// Run on this machine, without SSH
    #[arg(long, conflicts_with_all = ["host", "inventory"])]
    pub(super) local: bool,
    /// Only hosts that match this pattern, or one in the lines of a file: `@FILE`
    #[arg(short, long, value_name = "PATTERN")]
    pub(super) limit: Option<String>,
    /// User to log in as
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Private key to log in with; repeatable
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Vec<PathBuf>,
    /// The machine's host key, as 'ssh-ed25519 AAAA…'; repeatable
    #[arg(long, value_name = "KEY")]
    pub(super) host_key: Vec<String>,
    /// `known_hosts` file to use instead of the user's; repeatable
    #[arg(long, value_name = "FILE")]
    pub(super) known_hosts: Vec<PathBuf>,
    /// Accept and record the host key of a machine seen for the first time
    #[arg(long)]
    pub(super) accept_new_host_key: bool,
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
