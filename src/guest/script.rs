//! The scripts that sealing and the gate are made of, and how they are put together.

use amibake_playbook::shell::quote;

pub(super) const PRELUDE: &str = include_str!("scripts/prelude.sh");

pub(super) const SEAL: &[&str] = &[
    include_str!("scripts/seal.sh"),
    include_str!("scripts/swap.sh"),
    UNITS,
    include_str!("scripts/identities.sh"),
    include_str!("scripts/traces.sh"),
];

/// Looks at the sealed root. It needs the folder that [`SEAL`] makes.
pub(super) const SEALED_HALF: &[&str] = &[
    include_str!("scripts/login.sh"),
    include_str!("scripts/identity.sh"),
    include_str!("scripts/secrets.sh"),
    include_str!("scripts/posture.sh"),
];

/// Looks at the booted candidate.
pub(super) const BOOTED_HALF: &[&str] = &[include_str!("scripts/booted.sh"), UNITS];

const UNITS: &str = include_str!("scripts/units.sh");

/// Returns one script of `parts`, with words for their marks (`@USER@`), each quoted.
///
/// It is read whole before anything of it runs: a link that breaks while it arrives does half of
/// nothing, and what its commands read is not the rest of it.
pub(super) fn script_of<'a>(
    parts: impl IntoIterator<Item = &'a &'a str>,
    words: &[(&str, &str)],
) -> String {
    let parts: String = parts.into_iter().copied().collect();
    let mut text = format!("{PRELUDE}\nmain() {{\n{parts}\n}}\nmain </dev/null\nexit 0\n");
    text = text.replace("@PRELUDE@", PRELUDE);
    for (mark, word) in words {
        text = text.replace(mark, &quote(word));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_left_and_the_shell_can_read_it() {
        let words = [
            ("@LOGIN@", "AAAA"),
            ("@USER@", "it's"),
            ("@PORT@", "22"),
            ("@DATASOURCE@", "Ec2"),
            ("@TIMER@", "amibake x"),
        ];
        for text in [
            script_of(SEAL.iter().chain(SEALED_HALF), &words),
            script_of(BOOTED_HALF, &words),
        ] {
            let mark = text.split('@').skip(1).find(|between| {
                !between.is_empty() && between.bytes().all(|b| b.is_ascii_uppercase())
            });
            assert_eq!(mark, None);
            let checked = std::process::Command::new("sh")
                .args(["-n", "-c", &text])
                .output()
                .unwrap();
            assert!(
                checked.status.success(),
                "{}",
                String::from_utf8_lossy(&checked.stderr)
            );
        }
    }
}
