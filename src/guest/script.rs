//! The scripts that sealing and the gate are made of, and how they are put together.

use amibake_playbook::shell::quote;

pub(super) const PRELUDE: &str = include_str!("scripts/prelude.sh");

pub(super) const SEAL: &[&str] = &[
    include_str!("scripts/seal.sh"),
    include_str!("scripts/swap.sh"),
    include_str!("scripts/identities.sh"),
    UNITS,
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

    /// What each kind of secret looks like, and what only nearly does.
    const KINDS: [(&str, &str, &str); 17] = [
        (
            "a private key",
            r#"  "key": "-----BEGIN RSA PRIVATE KEY-{5}\nMII"#,
            "grep -q '-----BEGIN RSA PRIVATE KEY-----' f",
        ),
        (
            "a private key of PuTTY",
            "PuTTY-User-Key-File-3: ssh-ed25519",
            "a PuTTY-User-Key-File",
        ),
        (
            "a private key of age",
            "AGE-SECRET-KEY-1A{58}",
            "AGE-SECRET-KEY-1A{9}",
        ),
        (
            "a private key of WireGuard",
            "PrivateKey = A{42}A=",
            "PrivateKey = A{20}=",
        ),
        ("an access key of AWS", "id=AKIAA{16}", "id=AKIAA{17}"),
        ("a token of GitHub", "ghp_a{36}", "ghp_a{35}"),
        ("a token of GitLab", "glpat-a{20}", "glpat-a{19}"),
        ("a token of Slack", "xoxb-1{20}", "xoxb-1{19}"),
        (
            "a webhook of Slack",
            "https://hooks.slack.com/services/T1/B1/a{20}",
            "https://hooks.slack.com/services/",
        ),
        ("a token of npm", "npm_a{36}", "npm_a{35}"),
        ("a token of PyPI", "pypi-AgEIcHlwaS5vcmca{50}", "pypi-a{50}"),
        ("a live key of Stripe", "sk_live_a{24}", "sk_test_a{24}"),
        ("a key of SendGrid", "SG.a{22}.a{43}", "SG.a{22}.a{42}"),
        ("a token of HashiCorp Vault", "hvs.a{90}", "hvs.a{89}"),
        ("a token of Docker Hub", "dckr_pat_a{27}", "dckr_pat_a{26}"),
        ("a token of DigitalOcean", "dop_v1_a{64}", "dop_v1_a{63}"),
        (
            "a password in an address",
            "url = https://me:secret@host/x",
            "url = https://me:${TOKEN}@host/x",
        ),
    ];

    /// Returns a text in which `a{3}` stands for `aaa`.
    fn spelt(text: &str) -> String {
        let mut spelt = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let number = after
                .split_once('}')
                .and_then(|(n, rest)| Some((n.parse::<usize>().ok()?, rest)));
            let Some((number, after)) = number else {
                break;
            };
            let last = before.chars().last().unwrap();
            spelt.push_str(before);
            spelt.extend(std::iter::repeat_n(last, number - 1));
            rest = after;
        }
        spelt + rest
    }

    #[test]
    fn each_kind_of_secret_is_found_and_what_is_nearly_one_is_not() {
        let script = include_str!("scripts/secrets.sh");
        let (_, kinds) = script.split_once("<<'KINDS'\n").unwrap();
        let kinds = kinds.split_once("\nKINDS\n").unwrap().0;
        let mut left: Vec<&str> = kinds.lines().collect();
        for (kind, good, near) in KINDS {
            let line = left.iter().position(|l| l.split('\t').nth(1) == Some(kind));
            let line = left.remove(line.unwrap_or_else(|| panic!("{kind}")));
            let pattern = line.split('\t').nth(2).unwrap();
            let found = |text: &str| {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("file");
                std::fs::write(&file, spelt(text)).unwrap();
                let mut grep = std::process::Command::new("grep");
                grep.env("LC_ALL", "C")
                    .args(["-qaE", "-e", pattern])
                    .arg(&file);
                grep.status().unwrap().code()
            };
            assert_eq!((found(good), found(near)), (Some(0), Some(1)), "{kind}");
        }
        assert_eq!(left, [""; 0], "each kind has its examples");
    }
}
