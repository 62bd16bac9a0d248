//! Sealing: what one machine has and no image may have goes, as the last act on the builder, and the
//! gate's sealed half looks at what is left.
//!
//! The list is EC2.md's sealed root; the scripts lie in `scripts/`. After it nobody connects again.

use super::gate::{self, Finding};
use super::script::{SEAL, SEALED_HALF, script_of};
use super::{GuestError, Operation, RootShell, script};
use crate::check::Check;

/// What an image's machines are expected to be like: what is looked for depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The public half of the build's own login key, as one line.
    pub(crate) login: &'a str,
    /// Who logs in.
    pub(crate) user: &'a str,
    /// Where sshd is connected to.
    pub(crate) port: u16,
    /// cloud-init's name for where the target's data is.
    pub(crate) datasource: &'a str,
}

/// What the builder was like just before sealing, which the booted candidate is compared with, and
/// what was found after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Units and whether they are enabled, as `systemctl list-unit-files` prints them.
    pub(crate) units: Vec<String>,
    /// Its machine-id, which no other machine may have.
    pub(crate) machine_id: String,
    /// Its host keys, likewise.
    pub(crate) host_keys: Vec<String>,
    /// What sealing did that the user may not expect.
    pub(crate) said: Vec<String>,
    /// What the gate's sealed half found.
    pub(crate) findings: Vec<Finding>,
}

/// Seals the machine and returns what to compare the candidate with, and what was found.
pub(crate) async fn seal(
    shell: &dyn RootShell,
    expected: Expected<'_>,
) -> Result<Sealed, GuestError> {
    let key = expected.login.split(' ').nth(1).unwrap_or_default();
    let words = [
        ("@LOGIN@", key),
        ("@USER@", expected.user),
        ("@PORT@", &expected.port.to_string()),
        ("@DATASOURCE@", expected.datasource),
    ];
    let text = script_of(SEAL.iter().chain(SEALED_HALF), &words);
    Ok(read(&script(shell, Operation::Seal, &text).await?))
}

fn read(said: &str) -> Sealed {
    let lines = |kind: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|l| l.strip_prefix(kind));
        lines.map(str::to_owned).collect()
    };
    let left = |what: String| {
        let (path, why) = what.split_once(" (").unwrap_or((&what, ""));
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({why}")
        };
        Finding::new(
            Check::BuilderResidue,
            format!("is still there after sealing{why}"),
        )
        .at(path)
    };
    let mut findings: Vec<Finding> = lines("residue ").into_iter().map(left).collect();
    findings.extend(gate::findings(said));
    Sealed {
        units: lines("unit "),
        machine_id: lines("machine-id ").concat(),
        host_keys: lines("host-key "),
        said: lines("said "),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sealing_says_is_read() {
        let said = "unit ssh.service enabled\nhost-key AAAA\nmachine-id 0123\nsaid a key went\n\
                    residue /etc/x y (held)\nfinding\tprivate-key\t3\t/root/.ssh/id_rsa\ta private key\n";
        let sealed = read(said);
        assert_eq!(sealed.units, ["ssh.service enabled"]);
        assert_eq!(
            (&*sealed.machine_id, &*sealed.host_keys.concat()),
            ("0123", "AAAA")
        );
        assert_eq!(sealed.said, ["a key went"]);
        let told: Vec<String> = sealed.findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "builder-residue: /etc/x y is still there after sealing (held)",
                "private-key: /root/.ssh/id_rsa:3: a private key",
            ]
        );
    }
}
