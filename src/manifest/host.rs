//! What this host is: where a target makes machines on it, what a manifest leaves out.

use std::path::Path;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Span;

use super::model::{Arch, Source, TargetKind};

/// Where a distribution says what it is, by os-release(5).
const OS_RELEASE: &str = "/etc/os-release";

/// A host as far as it decides what is built on it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// Its processor, if images can be made for it.
    pub(super) arch: Option<Arch>,
    /// The text of [`OS_RELEASE`], or why it cannot be read.
    pub(super) os_release: Result<String, String>,
}

impl Host {
    /// Returns this host.
    pub(super) fn here() -> Self {
        Self {
            arch: Arch::here(),
            os_release: std::fs::read_to_string(Path::new(OS_RELEASE)).map_err(|e| e.to_string()),
        }
    }

    /// Returns the architecture of a manifest that names none.
    pub(super) fn arch_for(&self, target: TargetKind) -> Arch {
        match target {
            TargetKind::Ec2 => Arch::Amd64,
            // The container target itself says that it cannot work elsewhere.
            TargetKind::Container | TargetKind::Vm => self.arch.unwrap_or(Arch::Amd64),
        }
    }

    /// Returns this host's own suite, for a manifest that names no source. `span` is where one is
    /// missing.
    pub(super) fn source(&self, span: &Span) -> Result<Source, Diagnostic> {
        let wrong = |why: String| {
            Diagnostic::new(span, format!("the manifest has no `source`, and {why}"))
                .hint("say what to start from: `source: {debian: bookworm}`")
        };
        let text = self
            .os_release
            .as_ref()
            .map_err(|e| wrong(format!("{OS_RELEASE} cannot be read: {e}")))?;
        let id = value(text, "ID").unwrap_or_default();
        match (id, value(text, "VERSION_CODENAME")) {
            ("debian", Some(suite)) => Ok(Source::Debian(suite.to_owned())),
            ("ubuntu", Some(suite)) => Ok(Source::Ubuntu(suite.to_owned())),
            ("debian" | "ubuntu", None) => {
                Err(wrong(format!("{OS_RELEASE} has no VERSION_CODENAME")))
            }
            _ => Err(wrong(format!(
                "this host is neither Debian nor Ubuntu: {OS_RELEASE} has ID={id}"
            ))),
        }
    }
}

/// Returns the value of a key, without its quotes, unless it is empty.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let found = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let plain = found.trim_matches(['"', '\'']);
    (!plain.is_empty()).then_some(plain)
}
