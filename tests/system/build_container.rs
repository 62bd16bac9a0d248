//! A manifest becomes a root tarball on this host, and nothing else stays of the run, however it
//! ends.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::support::here::{Here, assert_nothing_left, kill, processes};
use crate::support::sealed::{assert_boots_alone, residue};
use crate::support::{amibake, expect_exit, text};

const MANIFEST: &str = r#"
name: small
variables:
  canary: {sensitive: true}
source: {debian: bookworm}
provision:
  - vars: {canary: "{{ canary }}"}
    tasks:
      - name: Leave a mark
        ansible.builtin.copy: {content: "baked\n", dest: /etc/mark, mode: "0644"}
      - name: Use a secret
        ansible.builtin.command: {cmd: "echo {{ canary }}"}
        no_log: true
test:
  - command: {run: "cat /etc/mark", contains: baked}
image: {name: "small-{{ build_time }}"}
"#;

const CANARY: &str = "canary-5f3a9c";

/// An image, which goes with the test.
struct Image(PathBuf);

impl Image {
    fn result(&self) -> PathBuf {
        PathBuf::from(self.0.display().to_string().replace(".tar.zst", ".json"))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(self.result());
    }
}

/// Takes the image's path from a build's stdout, which holds nothing else.
fn image(stdout: &[u8]) -> Image {
    let stdout = text(stdout);
    let path = stdout.strip_suffix('\n').expect("a line");
    let plain = path.starts_with("/var/lib/amibake/images/") && path.ends_with(".tar.zst");
    assert!(plain && !path.contains('\n'), "stdout: {stdout:?}");
    Image(PathBuf::from(path))
}

fn unpack(image: &Image, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--numeric-owner", "--zstd", "-xpf"]);
    let unpacked = tar.arg(&image.0).arg("-C").arg(to).status().unwrap();
    assert!(unpacked.success());
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn occurrences(of: &str, below: &Path) -> String {
    let found = Command::new("grep").args(["-rl", of]).arg(below).output();
    text(&found.unwrap().stdout)
}

#[test]
fn a_manifest_becomes_a_root_tarball_which_another_can_start_from() {
    let here = Here::new();
    let manifest = here.manifest(MANIFEST);
    let mut build = here.build(&manifest);
    let output = expect_exit(build.env("AMIBAKE_VAR_canary", CANARY), 0);
    let image = image(&output.stdout);
    assert!(!text(&output.stderr).contains(CANARY));
    assert!(here.debts().is_empty(), "the journal goes with the debts");

    let result: Json = serde_json::from_slice(&std::fs::read(image.result()).unwrap()).unwrap();
    let sum = Command::new("sha256sum").arg(&image.0).output().unwrap();
    assert_eq!(result["sha256"], text(&sum.stdout)[..64]);
    assert_eq!(result["image"], image.0.to_str().unwrap());

    let root = here.folder().join("root");
    unpack(&image, &root);
    // This host's users have no business in an image, and everybody in its root.
    let homes = ["/var/lib/amibake", "/var/cache/amibake"].map(Path::new);
    assert_eq!(homes.map(mode), [0o700; 2]);
    assert_eq!([mode(&image.0), mode(&root)], [0o600, 0o755]);
    let mark = std::fs::read_to_string(root.join("etc/mark")).unwrap();
    assert_eq!(mark, "baked\n");
    assert_eq!(occurrences(CANARY, &root), "", "the secret is in the image");
    assert_eq!(residue(&root), [""; 0]);
    assert_boots_alone(&root);

    starts_another(&here, &image, result["sha256"].as_str().unwrap());
}

/// A tarball is a source too, if it is the one that was meant.
fn starts_another(here: &Here, base: &Image, sum: &str) {
    let manifest = |sum: &str| {
        here.manifest(&format!(
            "name: second\n\
             source: {{image: {}, checksum: \"sha256:{sum}\"}}\n\
             test: [{{command: {{run: cat /etc/mark, contains: baked}}}}]\n\
             image: {{name: \"second-{{{{ build_time }}}}\"}}\n",
            base.0.display()
        ))
    };
    let refused = expect_exit(&mut here.build(&manifest(&"0".repeat(64))), 1);
    assert!(text(&refused.stderr).contains("has the checksum sha256:"));
    let output = expect_exit(&mut here.build(&manifest(sum)), 0);
    let second = image(&output.stdout);
    let result: Json = serde_json::from_slice(&std::fs::read(second.result()).unwrap()).unwrap();
    let made_from = Path::new("/var/cache/amibake/roots").join(result["base"].as_str().unwrap());
    assert!(made_from.join("etc/mark").exists());
    std::fs::remove_dir_all(made_from).unwrap();
}

/// Everything given is checked before anything is made.
/// Its machines may filter what comes to them, while it is built and as an image. Neither sees or touches this host's rules.
#[test]
fn a_container_has_a_firewall_of_its_own() {
    let table = format!("beside_{}", std::process::id());
    let nft = |action: &str| {
        let nft = Command::new("nft")
            .args([action, "table", "inet", &table])
            .output();
        nft.unwrap().status.success()
    };
    assert!(nft("add"));
    let here = Here::new();
    let manifest = here.manifest(
        r#"
name: filters
source: {debian: bookworm}
provision:
  - tasks:
      - ansible.builtin.apt: {name: nftables, update_cache: true}
      - ansible.builtin.shell: |
          set -e
          test -z "$(nft list tables)"
          test "$(ip -o link | grep -cvE '^[0-9]+: (lo|eth0)[@:]')" = 0
          nft flush ruleset
          printf '%s\n' 'table inet filter {' 'chain input {' 'type filter hook input priority 0; policy drop;' \
            'iif lo accept; ct state established,related accept; tcp dport 22 accept' '}' '}' > /etc/nftables.conf
          systemctl enable --now nftables
          # Its address is given from outside, whatever the root would ask for.
          printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' > /etc/systemd/network/10-dhcp.network
          chmod 0644 /etc/systemd/network/10-dhcp.network
          systemctl enable --now systemd-networkd
test:
  - command: {run: "nft list table inet filter", contains: policy drop}
  - command: {run: "networkctl status eth0", contains: unmanaged}
image: {name: "filters-{{ build_time }}"}
"#,
    );
    let output = expect_exit(&mut here.build(&manifest), 0);
    let _image = image(&output.stdout);
    assert!(nft("list"), "this host's rules are as they were");
    assert!(nft("delete"));
}

#[test]
fn a_result_that_cannot_be_written_is_found_before_the_bake() {
    let here = Here::new();
    let mut build = here.build(&here.manifest(MANIFEST));
    build.env("AMIBAKE_VAR_canary", CANARY);
    let output = expect_exit(build.args(["--output", "nowhere/result.json"]), 2);
    let said = text(&output.stderr);
    let message = "nowhere/result.json could not be written: No such file or directory";
    assert!(said.starts_with(&format!("error: {message}")), "{said}");
}

#[test]
fn the_result_of_a_build_that_failed_says_why() {
    let here = Here::new();
    let manifest = here.manifest("name: web\nsource: {image: nowhere.tar}\n");
    let mut build = here.build(&manifest);
    expect_exit(build.args(["--output", "result.json"]), 2);
    let result = std::fs::read(here.folder().join("result.json")).unwrap();
    let result: Json = serde_json::from_slice(&result).unwrap();
    let build = &result["builds"][0];
    assert!(
        build["source"].is_null() && build["region"].is_null(),
        "{build}"
    );
    assert!(build["duration_seconds"].is_u64(), "{build}");
    let error = build["error"].as_str().unwrap();
    let folder = here.folder().display();
    let why = "No such file or directory (os error 2)";
    assert_eq!(
        error,
        format!("source.image {folder}/nowhere.tar cannot be read: {why}")
    );
}

#[test]
fn the_example_is_valid_on_every_target() {
    let home = tempfile::tempdir().unwrap();
    let example = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("examples/hello-web/manifest.yaml");
    for target in ["ec2", "container"] {
        let mut validate = amibake(home.path(), ["validate", "--target", target]);
        let output = expect_exit(validate.arg(&example), 0);
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            Default::default()
        );
    }
}

#[cfg(feature = "ec2")]
#[test]
fn the_same_manifest_builds_on_both_targets() {
    let text_of_both = r#"
name: both
source: {ubuntu: "24.04"}
targets: {container: {source: {debian: bookworm}}}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: Leave a mark
        ansible.builtin.copy: {content: "{{ ansible_facts.distribution }}\n", dest: /etc/mark, mode: "0644"}
test:
  - command: {run: "cat /etc/mark", contains: Debian}
image: {name: "both-{{ build_time }}"}
"#;
    let here = Here::new();
    let output = expect_exit(&mut here.build(&here.manifest(text_of_both)), 0);
    let tarball = image(&output.stdout);
    let root = here.folder().join("root");
    unpack(&tarball, &root);

    let cloud = crate::support::Cloud::start();
    let manifest = cloud.manifest(text_of_both);
    expect_exit(cloud.amibake(["build"]).arg(manifest), 0);
    let snapshot = &cloud.inventory()["snapshots"][0];
    for root in [root, cloud.root_of(snapshot)] {
        let mark = std::fs::read_to_string(root.join("etc/mark")).unwrap();
        assert_eq!(mark, "Debian\n");
    }
}

const SLOW: &str = r#"
name: killed
source: {debian: bookworm}
provision:
  - tasks:
      - name: Take a moment
        ansible.builtin.command: {cmd: sleep 5}
image: {name: "killed-{{ build_time }}"}
"#;

#[test]
fn interrupted_it_leaves_nothing_and_exits_130() {
    for (phase, signal) in [
        ("connect", "INT"),
        ("provision", "TERM"),
        ("capture", "HUP"),
    ] {
        let here = Here::new();
        let mut build = here.start(&here.manifest(SLOW));
        let debts = build.until_phase(phase);
        build.signal(signal);
        let (status, said) = build.end();
        assert_eq!(status.code(), Some(130), "SIG{signal} in {phase}:\n{said}");
        assert!(here.debts().is_empty(), "SIG{signal} in {phase}");
        assert_nothing_left(&debts, false, &format!("after SIG{signal} in {phase}"));
    }
}

#[test]
fn killed_anywhere_it_leaves_nothing_that_reap_does_not_remove() {
    for phase in [
        "launch",
        "connect",
        "provision",
        "seal",
        "capture",
        "test",
        "publish",
    ] {
        let here = Here::new();
        let mut build = here.start(&here.manifest(SLOW));
        build.until_phase(phase);
        if phase == "launch" {
            // In the middle of it: the network is being made.
            build.until("a mount", |_| true);
        }
        build.signal("KILL");
        build.end();
        let debts = here.debts();
        expect_exit(&mut amibake(here.folder(), ["reap"]), 0);
        assert!(here.debts().is_empty(), "{phase}");
        assert_nothing_left(&debts, false, &format!("by reap after SIGKILL in {phase}"));
    }
}

/// Nobody but root gets in while a system boots, and this one never ends booting.
#[test]
fn an_image_that_lets_nobody_in_fails_with_what_its_sshd_says() {
    let here = Here::new();
    let mask = "systemctl mask systemd-user-sessions.service";
    let manifest = SLOW.replace("sleep 5", mask).replace(
        "provision:",
        "builder: {timeouts: {connect: 40s}}\nprovision:",
    );
    let output = expect_exit(&mut here.build(&here.manifest(&manifest)), 4);
    let said = text(&output.stderr);
    for part in [
        "error: no connection to debian@10.213.",
        "port 22 proved itself, but hangs up in the middle of the login, saying \"\\\"System is booting up.",
        "hint: it is booting or shutting down (/run/nologin)",
        "\nthe end of its console:\n",
        "Access denied for user debian by PAM account configuration",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
}

/// In one group, machines would remove each other's: a unit whose group goes while it starts fails.
#[test]
fn a_machine_s_systemd_has_control_groups_of_its_own() {
    let here = Here::new();
    let mut build = here.start(&here.manifest(SLOW));
    let debts = build.until_phase("provision");
    let stop = debts.iter().find(|d| d["undo"] == "stop-container");
    let machine = stop.unwrap()["name"].as_str().unwrap();
    let groups = processes(machine)
        .into_iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
        .filter(|groups| groups.contains("/init.scope"));
    let groups: Vec<String> = groups.collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    let mut lines = groups[0].lines();
    let shared = lines.find(|line| line.ends_with("/init.scope") && !line.contains(machine));
    assert_eq!(shared, None);
    build.signal("INT");
    build.end();
    assert_nothing_left(&debts, false, "of an interrupted build");
}

/// Its guest lives on when nspawn is killed: an image of a machine that was not shut down is none.
#[test]
fn a_machine_whose_nspawn_was_killed_becomes_no_image_and_goes() {
    let here = Here::new();
    let mut build = here.start(&here.manifest(SLOW));
    let debts = build.until("the task", |event| {
        event["event"] == "task-started" && event["name"] == "Take a moment"
    });
    let stop = debts
        .iter()
        .find(|d| d["undo"] == "stop-container")
        .unwrap();
    let machine = format!("--machine={}", stop["name"].as_str().unwrap());
    let nspawn = processes(&machine);
    assert_eq!(nspawn.len(), 1, "{nspawn:?}");
    kill("KILL", nspawn[0]);
    let (status, said) = build.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_nothing_left(&debts, false, "of a machine without its nspawn");
}

/// Writes the journal of a run that died when it owed `undo`.
fn dead_run(here: &Here, undo: &Json) {
    let folder = here.folder().join("state/amibake");
    std::fs::create_dir_all(&folder).unwrap();
    let mut record = json!({"record": "owe", "id": 0, "due": "always"});
    let fields = undo.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    let journal = folder.join("20260727t101500z-0a1b2c.journal");
    std::fs::write(journal, format!("{record}\n")).unwrap();
}

#[test]
fn a_dead_run_s_network_goes_unless_a_living_build_has_its_name() {
    let here = Here::new();
    let name = "amibake-253";
    let made = Command::new("ip").args(["netns", "add", name]).status();
    assert!(made.unwrap().success());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let living = UnixListener::bind_addr(&address).unwrap();
    for (living, stays) in [(Some(living), true), (None, false)] {
        dead_run(&here, &json!({"undo": "remove-network", "name": name}));
        expect_exit(&mut amibake(here.folder(), ["reap"]), 0);
        assert!(here.debts().is_empty());
        let there = Path::new("/run/netns").join(name).exists();
        assert_eq!(there, stays, "held: {}", living.is_some());
    }
}

#[test]
fn what_is_kept_stays_until_it_is_named() {
    let here = Here::new();
    let manifest = here.manifest(&SLOW.replace("sleep 5", "/bin/false"));
    let output = expect_exit(here.build(&manifest).args(["--on-error", "keep"]), 3);
    let debts = here.debts();
    let stop = debts.iter().find(|d| d["undo"] == "stop-container");
    let machine = stop.unwrap()["name"].as_str().unwrap();
    // Where there is no AWS it fails, having looked here.
    amibake(here.folder(), ["reap"]).output().unwrap();
    assert!(!processes(machine).is_empty(), "{machine} is gone");

    let run = machine
        .trim_start_matches("amibake-")
        .trim_end_matches("-builder");
    let stderr = text(&output.stderr);
    let left: Vec<&str> = stderr
        .lines()
        .filter(|l| l.starts_with("left behind: "))
        .collect();
    let named = |line: &&str| line.contains(&format!("amibake reap --run {run}"));
    assert!(left.len() > 2 && left.iter().all(named), "{left:#?}");
    expect_exit(&mut amibake(here.folder(), ["reap", "--run", run]), 0);
    assert_nothing_left(&debts, false, "of what was kept");
}
