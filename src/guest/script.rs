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

    /// What a program keeps its login in: with one, and as it is without.
    const CREDENTIALS: [(&str, &str, &str); 24] = [
        (".aws/credentials", "aws_secret_access_key = x", "[default]"),
        (".netrc", "machine m login l password p", "machine m"),
        (
            ".docker/config.json",
            r#"{"auth": "eA=="}"#,
            r#"{"auth": ""}"#,
        ),
        (".config/containers/auth.json", r#"{"auth": "eA=="}"#, "{}"),
        (
            ".git-credentials",
            "https://me:secret@host",
            "https://me:${TOKEN}@host",
        ),
        (".pypirc", "password: pypi-x", "password = ${TOKEN}"),
        (".npmrc", "//r/:_authToken=x", "//r/:_authToken=${TOKEN}"),
        (".cargo/credentials", "token = x", "[registry]"),
        (".cargo/credentials.toml", "token = x", "[registry]"),
        (".gem/credentials", ":rubygems_api_key: x", "---"),
        (
            ".composer/auth.json",
            r#"{"github.com": "x"}"#,
            r#"{"github-oauth": {}}"#,
        ),
        (
            ".config/composer/auth.json",
            r#"{"github.com": "x"}"#,
            r#"{"github-oauth": {}}"#,
        ),
        (
            ".m2/settings.xml",
            "<password>x</password>",
            "<password>${env.P}</password>",
        ),
        (".my.cnf", "password=x", "password="),
        (".pgpass", "h:5432:db:me:x", "# h:5432:db:me:x"),
        (".kube/config", "    token: x", "    token:"),
        (".config/gh/hosts.yml", "    oauth_token: x", "    user: me"),
        (
            ".config/gcloud/application_default_credentials.json",
            r#"{"refresh_token": "x"}"#,
            "{}",
        ),
        (".azure/msal_token_cache.json", r#"{"secret": "x"}"#, "{}"),
        (
            ".azure/accessTokens.json",
            r#"[{"accessToken": "x"}]"#,
            "[]",
        ),
        (
            ".terraform.d/credentials.tfrc.json",
            r#"{"token": "x"}"#,
            "{}",
        ),
        (".vault-token", "x", "\n"),
        (".s3cfg", "secret_key = x", "secret_key = "),
        (".snap/auth.json", r#"{"macaroon": "x"}"#, "{}"),
    ];

    /// Runs parts of a script on this machine, with other commands in place of its own, in a folder of their own.
    fn said(folder: &std::path::Path, instead: &str, parts: &[&str]) -> String {
        let setting = format!("work={}\nuser=root\n{instead}\n", folder.display());
        let text = script_of([&*setting].iter().chain(parts), &[]);
        let mut sh = std::process::Command::new("sh");
        let ran = sh.arg("-c").arg(text).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }

    #[test]
    fn logins_that_programs_keep_are_found_each_in_its_file() {
        let script = include_str!("scripts/secrets.sh");
        let (_, part) = script
            .split_once("# What programs keep their logins in")
            .unwrap();
        let part = format!("#{part}");
        let known = part.matches("  credentials \"$home/").count();
        assert_eq!(CREDENTIALS.len(), known, "each file has its examples");
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let instead = format!("homes() {{ echo {}; }}", home.display());
        let found_with = |text: fn(&(&str, &'static str, &'static str)) -> &'static str| {
            for kind in &CREDENTIALS {
                let file = home.join(kind.0);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, format!("{}\n", text(kind))).unwrap();
            }
            let said = said(folder.path(), &instead, &[&part]);
            let of_home = said.lines().filter_map(|line| {
                let path = line.strip_prefix("finding\tcredentials-file\t1\t")?;
                path.strip_prefix(&format!("{}/", home.display()))
            });
            let paths = of_home.map(|rest| rest.split('\t').next().unwrap().to_owned());
            paths.collect::<Vec<String>>()
        };
        let all = CREDENTIALS.map(|(file, _, _)| file.to_owned());
        assert_eq!(found_with(|(_, good, _)| good), all);
        assert_eq!(found_with(|(_, _, near)| near), [""; 0]);
    }

    #[test]
    fn a_search_that_takes_too_long_is_told_and_what_it_saw_is_not_taken_for_all() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names"), "ip-10-0-0-7\n").unwrap();
        for (part, wanted) in [
            (include_str!("scripts/posture.sh"), 1),
            (include_str!("scripts/identity.sh"), 1),
            (include_str!("scripts/secrets.sh"), 3),
        ] {
            let said = said(folder.path(), "timeout() { return 124; }", &[part]);
            let told = |line: &&str| {
                line.starts_with("finding\tsearch-incomplete\t")
                    && line.contains("was given up after")
            };
            assert_eq!(said.lines().filter(told).count(), wanted, "{said}");
        }
    }

    /// A search for secrets that says nothing at all did not search: it does not even find its own example.
    #[test]
    fn a_search_that_finds_nothing_of_its_own_did_not_work() {
        let folder = tempfile::tempdir().unwrap();
        let part = include_str!("scripts/secrets.sh");
        let said = said(folder.path(), "timeout() { :; }", &[part]);
        assert!(
            said.contains("the search for secrets did not work"),
            "{said}"
        );
    }
}
