//! What the command line says: help, and to those who mistype. Golden: `INSTA_UPDATE=always` writes
//! what is said now.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::{amibake, copy_program, expect_exit, target_folder, text};

/// Returns how a command ended and all it said.
fn said(home: &Path, line: &str) -> String {
    let output = amibake(home, line.split(' ')).output().unwrap();
    let home = home.to_str().unwrap();
    let said = |bytes: &[u8]| text(bytes).replace(home, "HOME");
    format!(
        "$ amibake {line}\n{}{}exit {}\n",
        said(&output.stdout),
        said(&output.stderr),
        output.status.code().unwrap()
    )
}

#[test]
fn every_command_explains_itself() {
    let home = tempfile::tempdir().unwrap();
    let (mut lines, mut count) = (vec![String::new()], 0);
    while let Some(line) = lines.pop() {
        let help = said(home.path(), &format!("{line}--help"));
        let commands = commands_of(&help).into_iter();
        lines.extend(commands.map(|command| format!("{line}{command} ")));
        let name = format!("help {line}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, help);
        count += 1;
    }
    assert!(count > 4, "{count}");
}

/// Returns the commands that a help lists.
fn commands_of(help: &str) -> Vec<&str> {
    let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    let list = list.lines().take_while(|line| !line.is_empty());
    list.filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect()
}

#[test]
fn who_mistypes_is_told_what_was_meant() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("web.yaml"), "name: web\nsorce: {}\n").unwrap();
    let good = "name: web\nvariables: {version: {default: 1}}\n";
    std::fs::write(home.path().join("good.yaml"), good).unwrap();
    let lines = [
        "bild web.yaml",
        "build",
        "build --targt container web.yaml",
        "build --target cloud web.yaml",
        "build --target container nowhere.yaml",
        "build --target container web.yaml",
        "build --target vm web.yaml",
        "build --target container --var name web.yaml",
        "build --target container --var-file nowhere.yaml web.yaml",
        "build --target container --var verison=2 good.yaml",
        "build --target container --var =2 good.yaml",
        "validate nowhere.yaml",
        "validate .",
        "validate web.yaml",
        "apply site.yml",
        "apply nowhere.yml --local",
        "apply site.yml --local --host web1",
        "reap --run web",
    ];
    let said: Vec<String> = lines.iter().map(|line| said(home.path(), line)).collect();
    insta::assert_snapshot!(said.join("\n"));
}

/// A build that would name the image on standard input may take an hour.
#[test]
fn a_wrong_option_of_a_deploy_is_told_before_an_image_is_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    write("small.yaml", "Resources: {}\n");
    write("smoke.yaml", "- path: nowhere\n");
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/stack/web.yaml");
    for (wrong, told) in [
        (vec!["--steps", "50,10"], "--steps rise, and end with 100"),
        (
            vec!["--template", "nowhere.yaml"],
            "nowhere.yaml cannot be read",
        ),
        (
            vec!["--template", "small.yaml"],
            "small.yaml lacks what a rollout needs",
        ),
        (
            vec!["--template", web, "--param", "MaxSze=4"],
            "did you mean MaxSize?",
        ),
        (
            vec!["--template", web, "--param", "ImageId=ami-1"],
            "--ami names it",
        ),
        (vec!["--smoke", "smoke.yaml"], "`path` must begin with a /"),
    ] {
        let words = ["stack", "deploy", "web"].into_iter().chain(wrong.clone());
        let mut deploy = amibake(home.path(), words);
        deploy.env("AWS_REGION", "eu-west-1").stdin(Stdio::piped());
        let deploy = deploy.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut deploy = deploy.spawn().unwrap();
        let input = deploy.stdin.take(); // nothing comes, and it stays open
        let since = Instant::now();
        while deploy.try_wait().unwrap().is_none() {
            if since.elapsed() > Duration::from_secs(60) {
                deploy.kill().unwrap();
                panic!("{wrong:?}: it waits for an image");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = deploy.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {said}");
        assert!(said.contains(told), "{wrong:?}: {said}");
        drop(input);
    }
}

#[test]
fn a_failure_is_an_event_to_who_reads_events() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("web.yaml"), "name: web\nsorce: {}\n").unwrap();
    std::fs::write(home.path().join("site.yml"), "- hosts: all\n").unwrap();
    // The events of `apply` are its result; those of `build` stand beside one.
    for (line, exit) in [
        ("build --target container --json web.yaml", 2),
        ("apply nowhere.yml --local --json", 2),
    ] {
        let output = expect_exit(&mut amibake(home.path(), line.split(' ')), exit);
        let (events, other) = match line.starts_with("apply") {
            true => (&output.stdout, &output.stderr),
            false => (&output.stderr, &output.stdout),
        };
        assert_eq!(text(other), "", "{line}");
        let events = text(events);
        let events = events.lines().map(serde_json::from_str::<Json>);
        let events: Vec<Json> = events.collect::<Result<_, _>>().unwrap();
        let last = events.last().unwrap();
        assert_eq!(last["event"], "failed", "{line}: {last}");
        assert_eq!(last["exit"], exit, "{line}: {last}");
        assert_eq!(
            last["left_behind"],
            Json::Array(Vec::new()),
            "{line}: {last}"
        );
        assert!(
            !last["causes"][0].as_str().unwrap().is_empty(),
            "{line}: {last}"
        );
    }
}

/// Each shell's script is one that it reads, where that shell is here; a manual page has each option.
#[test]
fn completions_and_manual_pages_are_those_of_the_command_line() {
    let home = tempfile::tempdir().unwrap();
    let printed = |line: &str| {
        let output = expect_exit(&mut amibake(home.path(), line.split(' ')), 0);
        text(&output.stdout)
    };
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&format!("completions {shell}"));
        for word in ["build", "on-error", "keep"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = home.path().join("completions");
    let asked = "COMP_WORDS=(amibake build --on-error ''); COMP_CWORD=3; _amibake amibake '' --on-error; echo ${COMPREPLY[@]}";
    std::fs::write(
        &script,
        format!("{}\n{asked}\n", printed("completions bash")),
    )
    .unwrap();
    let offered = Command::new("bash").arg(&script).output().unwrap();
    assert_eq!(
        text(&offered.stdout),
        "destroy keep\n",
        "{}",
        text(&offered.stderr)
    );
    let page = printed("man build");
    assert!(page.contains(".TH amibake-build 1"), "{page}");
    for option in ["target", "on\\-error", "output"] {
        assert!(page.contains(option), "{option}: {page}");
    }
    assert!(printed("man").contains("amibake\\-build(1)"));
    printed("man --output .");
    for name in ["amibake.1", "amibake-build.1", "amibake-schema.1"] {
        assert!(home.path().join(name).exists(), "{name}");
    }
    let unknown = expect_exit(&mut amibake(home.path(), ["man", "bild"]), 2);
    assert!(text(&unknown.stderr).contains("there is no command `bild`"));
}

#[test]
fn the_version_is_a_result() {
    let home = tempfile::tempdir().unwrap();
    let output = expect_exit(&mut amibake(home.path(), ["--version"]), 0);
    let version = format!("amibake {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&output.stdout), version);
}

#[test]
fn manifests_are_validated_together_and_each_is_told_what_is_wrong_with_it() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, more: &str| {
        let path = home.path().join(format!("{name}.yaml"));
        let text = format!("name: {name}\nsource: {{ubuntu: '24.04'}}\n{more}");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, other) = (write("one", ""), write("other", ""));
    expect_exit(&mut amibake(home.path(), ["validate", &one, &other]), 0);
    let module = write("module", "provision: [{tasks: [{nomodule: }]}]\n");
    let filter = write(
        "filter",
        "provision: [{tasks: [{debug: {msg: '{{ 1 | nofilter }}'}}]}]\n",
    );
    let key = write("key", "imag: {}\n");
    let keys = write("keys", "image: {nam: x}\n");
    for (wrong, told) in [
        (
            [&module, &filter],
            [
                "module.yaml:3:23: `nomodule` is neither a module",
                "nofilter",
            ],
        ),
        (
            [&key, &keys],
            [
                "key.yaml:3:1: unknown key `imag`",
                "keys.yaml:3:9: unknown key `nam`",
            ],
        ),
    ] {
        let words = ["validate", &one, wrong[0], wrong[1]];
        let said = text(&expect_exit(&mut amibake(home.path(), words), 2).stderr);
        for told in told {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
    let named = "image: {name: web}\n";
    let (red, blue) = (write("red", named), write("blue", named));
    let said = expect_exit(&mut amibake(home.path(), ["validate", &red, &blue]), 2);
    let said = text(&said.stderr);
    assert!(
        said.contains("two images would have the same `image.name`: web"),
        "{said}"
    );
    // In one region at last, be it a copy's or the environment's.
    let at_home = write("home", "image: {name: home, ssm_parameter: /a}\n");
    let copied = "builder: {region: eu-west-1}\nimage: {name: copied, ssm_parameter: /a, regions: [us-east-1]}\n";
    let copied = write("copied", copied);
    let mut elsewhere = amibake(home.path(), ["validate", &at_home, &copied]);
    expect_exit(elsewhere.env("AWS_REGION", "us-west-2"), 0);
    let mut there = amibake(home.path(), ["validate", &at_home, &copied]);
    let said = expect_exit(there.env("AWS_REGION", "us-east-1"), 2);
    assert!(
        text(&said.stderr).contains("two images would have the same `image.ssm_parameter`: /a"),
        "{said:?}"
    );
}

/// Who prunes, or writes a policy, need not know what provisioning does.
#[cfg(feature = "ec2")]
#[test]
fn sensitive_variables_are_asked_for_where_something_is_made_of_them() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("web.yaml");
    let manifest = "name: web\nvariables: {token: {sensitive: true}}\nsource: {ubuntu: '24.04'}\nbuilder: {region: eu-west-1}\nprovision:\n  - tasks: [{debug: {msg: hello}}]\n    vars: {token: \"{{ token }}\"}\n";
    std::fs::write(&path, manifest).unwrap();
    let path = path.to_str().unwrap();
    let policy = expect_exit(&mut amibake(home.path(), ["iam-policy", path]), 0);
    assert!(text(&policy.stdout).contains("ec2:RunInstances"));
    for command in [&["validate"][..], &["plan", "--offline"]] {
        let words = command.iter().copied().chain([path]);
        let said = text(&expect_exit(&mut amibake(home.path(), words), 2).stderr);
        assert!(said.contains("variable `token` has no value"), "{said}");
    }
    let words = ["prune", path, "--keep", "1", "--var", "tokn=x"];
    let said = text(&expect_exit(&mut amibake(home.path(), words), 2).stderr);
    assert!(
        said.contains("the manifest has no variable `tokn`"),
        "{said}"
    );
    assert!(said.contains("did you mean `token`?"), "{said}");
}

/// An architecture without an agent is told before anything is launched, and how to get one.
#[test]
fn a_missing_agent_is_told_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    let alone = home.path().join("amibake");
    copy_program(Path::new(env!("CARGO_BIN_EXE_amibake")), &alone);
    let manifest = "name: web\nsource: {debian: bookworm}\n";
    std::fs::write(home.path().join("web.yaml"), manifest).unwrap();
    std::fs::write(home.path().join("site.yml"), "- hosts: all\n  tasks: []\n").unwrap();
    let runs: [&[&str]; 3] = [
        &["build", "--target", "container", "web.yaml"],
        &["apply", "site.yml", "--local"],
        &["apply", "site.yml", "--host", "192.0.2.1"],
    ];
    for run in runs {
        let mut command = Command::new(&alone);
        let command = command.args(run).current_dir(home.path()).env_clear();
        let command = command
            .env("HOME", home.path())
            .env("PATH", "/usr/sbin:/usr/bin");
        let output = expect_exit(command, 2);
        let said = text(&output.stderr);
        assert!(said.contains("there is no agent for"), "{run:?}: {said}");
        assert!(said.contains("cargo xtask agent"), "{run:?}: {said}");
        assert!(!home.path().join(".local").exists(), "no journal: {run:?}");
    }
}

/// Each agent runs on its architecture with nothing but a kernel; the other one's is QEMU's here.
#[test]
fn agents_are_static_programs_of_their_architecture() {
    let folder = target_folder().join("agent");
    for (architecture, machine) in [("x86_64", "X86-64"), ("aarch64", "AArch64")] {
        let agent = folder.join(format!("amibake-agent-{architecture}"));
        let headers = Command::new("readelf").arg("-hlW").arg(&agent).output();
        let headers = text(&headers.unwrap().stdout);
        assert!(headers.contains(machine), "{headers}");
        assert!(!headers.contains("INTERP"), "{headers}");
        let mut run = match architecture == std::env::consts::ARCH {
            true => Command::new(&agent),
            false => {
                let mut qemu = Command::new(format!("qemu-{architecture}-static"));
                qemu.arg(&agent);
                qemu
            }
        };
        let output = expect_exit(run.arg("--version"), 0);
        let version = format!("amibake-agent {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(text(&output.stdout), version, "{architecture}");
    }
}

/// Nobody is told that all is well without a look at the account.
#[cfg(feature = "ec2")]
#[test]
fn without_aws_reap_says_what_it_could_not_look_at() {
    let home = tempfile::tempdir().unwrap();
    for args in [&["reap"][..], &["reap", "--region", "eu-west-1"]] {
        let mut reap = amibake(home.path(), args);
        reap.env("AWS_EC2_METADATA_DISABLED", "true");
        let said = text(&expect_exit(&mut reap, 1).stderr);
        assert!(said.contains("there are no AWS credentials"), "{said}");
        assert!(said.contains("AWS_PROFILE"), "{said}");
    }
}
