//! Texts that `ansible-vault` made, and damaged ones.

use super::*;

/// `ansible-vault encrypt_string` with the password `pw1`: format 1.1, then 1.2 with a label.
const VARS: &str = "\
# a comment, and !vault | in it
s1: !vault |
          $ANSIBLE_VAULT;1.1;AES256
          62346438323930633534636635396561346431386638316631373836656437303763386231616562
          3263383631376463643734663163303462633033333932620a323435393662626433336563663230
          61363239383238383537366330373464643461656435656131306633343536346539656365383235
          6262613331313131620a306563393162376531303230353664343732663863663631343637323864
          32353735303535303661383430663461616132363839636539613839376330646463
list:
    - !vault |  # the second
          $ANSIBLE_VAULT;1.2;AES256;dev
          63333238646162646231653133303466636261643438626232666165346263363861373031613239
          3362366131653463633465353339383463363230326261300a376533623930333563626532633662
          66393035383938306536616665376339366335666430373063376238623839336338326434373235
          3566653831663166610a366339343661333534353263373532303562666435653262613761343666
          6630
last: true
";

fn vault(passwords: &[&str]) -> Vault {
    let passwords = passwords.iter().map(|text| Secret::new((*text).to_owned()));
    Vault {
        passwords: passwords.collect(),
    }
}

#[test]
fn values_are_opened_where_they_stand_and_are_no_templates() {
    let opened = vault(&["other", "pw1"]).read(VARS.into()).unwrap();
    let text = String::from_utf8(opened).unwrap();
    assert_eq!(text.lines().count(), VARS.lines().count());
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines,
        [
            "# a comment, and !vault | in it",
            r#"s1: !unsafe "top \"secret\" {{ 1+1 }} ü""#,
            "list:",
            r#"    - !unsafe "line1\nline2\n""#,
            "last: true",
        ]
    );
    let document = amibake_playbook::yaml::parse(Path::new("vars.yml"), text.as_bytes()).unwrap();
    assert_eq!(
        document.root.get("s1").unwrap().tag.as_deref(),
        Some("!unsafe")
    );
}

#[test]
fn a_password_that_is_missing_or_wrong_is_told_with_the_line() {
    let told = |passwords: &[&str]| {
        let error = vault(passwords).read(VARS.into()).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    };
    assert!(told(&["pw2"]).contains("line 2") && told(&["pw2"]).contains("none of the passwords"));
    assert!(told(&[]).contains("no password was given"));
}

#[test]
fn damaged_texts_are_refused_and_never_panic() {
    let whole: Vec<&str> = VARS.lines().skip(2).take(6).map(str::trim).collect();
    let whole = whole.join("\n");
    assert!(vault(&["pw1"]).read(whole.clone().into()).is_ok());
    for at in 0..whole.len() {
        let mut damaged = whole.clone().into_bytes();
        damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
        if damaged.starts_with(MARK.as_bytes()) && at % 7 == 0 {
            assert!(vault(&["pw1"]).read(damaged).is_err(), "byte {at}");
        }
    }
    for cut in [0, 20, 30, 200, whole.len() - 1] {
        let cut = whole[..cut].to_owned();
        if cut.starts_with(MARK) {
            assert!(vault(&["pw1"]).read(cut.into()).is_err());
        }
    }
}

#[test]
fn a_password_file_is_stripped_and_a_program_is_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("pw"), folder.path().join("pw-client.sh"));
    std::fs::write(&file, "pw1\n").unwrap();
    std::fs::write(
        &program,
        "#!/bin/sh\n[ \"$*\" = '--vault-id dev' ] && echo pw1\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    for id in [
        file.display().to_string(),
        format!("dev@{}", program.display()),
    ] {
        let args: VaultArgs = VaultArgs::of(&["--vault-id", &id]);
        assert!(args.vault().unwrap().read(VARS.into()).is_ok(), "{id}");
    }
    std::fs::write(&file, "\n").unwrap();
    let args = VaultArgs::of(&["--vault-password-file", file.to_str().unwrap()]);
    assert!(
        args.vault()
            .unwrap_err()
            .to_string()
            .contains("it is empty")
    );
}

impl VaultArgs {
    fn of(args: &[&str]) -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            vault: VaultArgs,
        }
        let args = [&["test"], args].concat();
        <Alone as clap::Parser>::parse_from(args).vault
    }
}
