//! A secret that a build uses in every way there is can be found nowhere afterwards, nor in any
//! process list meanwhile.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;

use crate::support::running::RunningBuild;
use crate::support::{Cloud, expect_exit, text};

/// `@URL@` is a server that asks for a password. The last two tasks fail if they are told to.
const MANIFEST: &str = r#"
name: canary
variables:
  token: {sensitive: true}
  fate: {default: "200"}
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks:
      - name: On standard input, hidden
        ansible.builtin.command: {cmd: sha256sum, stdin: "{{ secret }}", stdin_add_newline: false}
        no_log: true
        register: summed
      - name: Its sum
        ansible.builtin.copy: {content: "{{ summed.stdout }}", dest: /etc/used-input, mode: "0644"}
      - name: In the environment
        ansible.builtin.shell: printf %s "$TOKEN" | sha256sum > /etc/used-environment; sleep 2
        environment: {TOKEN: "{{ secret }}"}
      - name: In a loop, hidden
        ansible.builtin.copy: {content: "{{ item | hash('sha256') }}", dest: /etc/used-loop, mode: "0644"}
        loop: ["{{ secret }}"]
        no_log: true
      - name: As a password
        ansible.builtin.user: {name: canary, password: "{{ secret | password_hash('sha512', 'saltsalt') }}"}
      - name: As a password for a download
        ansible.builtin.get_url: {url: "@URL@/file", dest: /etc/used-download, mode: "0644", url_username: me, url_password: "{{ secret }}", force_basic_auth: true}
      - name: In an address
        ansible.builtin.uri: {url: "@SECRET_URL@/page", status_code: "{{ wanted | int }}"}
        ignore_errors: true
      - name: Said aloud, {{ secret }}
        ansible.builtin.shell: {cmd: "tee /dev/stderr; test {{ wanted }} = 200", stdin: "{{ secret }}"}
    vars: {secret: "{{ token }}", wanted: "{{ fate }}"}
image: {name: "canary-{{ build_time }}"}
"#;

/// A server that notes who proves to be `me`, and with which password.
struct Guarded {
    port: u16,
    passwords: Arc<Mutex<Vec<String>>>,
}

impl Guarded {
    fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passwords = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&passwords);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 8192];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = text(&request[..length]);
                let header = request.lines().find_map(|line| {
                    let (name, value) = line.split_once(": Basic ")?;
                    name.eq_ignore_ascii_case("authorization")
                        .then(|| value.trim().to_owned())
                });
                let (status, more, body) = match &header {
                    Some(_) => ("200 OK", "", "fetched\n"),
                    None => (
                        "401 Unauthorized",
                        "WWW-Authenticate: Basic realm=\"canary\"\r\n",
                        "",
                    ),
                };
                noted.lock().unwrap().extend(header);
                let answer = format!(
                    "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, passwords }
    }
}

/// Reads the argument vectors of all processes, again and again: the machines' are among them.
struct Watch {
    over: Arc<AtomicBool>,
    seen: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    with_secret: Vec<String>,
    agent: bool,
    task: bool,
    rounds: usize,
}

impl Watch {
    fn start(secret: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, secret) = (Arc::clone(&over), secret.to_owned());
        let seen = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::SeqCst) {
                seen.look(&secret);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            seen
        });
        Self { over, seen }
    }

    fn end(self) -> Seen {
        self.over.store(true, Ordering::SeqCst);
        self.seen.join().unwrap()
    }
}

impl Seen {
    fn look(&mut self, secret: &str) {
        self.rounds += 1;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(argv) = std::fs::read(entry.path().join("cmdline")) else {
                continue; // it has ended, or is no process
            };
            let argv = text(&argv).replace('\0', " ");
            self.agent |= argv.contains("/var/lib/amibake/");
            self.task |= argv.contains("/etc/used-environment");
            if argv.contains(secret) && !self.with_secret.contains(&argv) {
                self.with_secret.push(argv);
            }
        }
    }
}

fn secret() -> String {
    let mut bytes = [0; 12];
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    random.read_exact(&mut bytes).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("canary-{hex}")
}

fn start(cloud: &Cloud, server: &Guarded, secret: &str, more: &[&str]) -> RunningBuild {
    let gateway = cloud.control("gateway", None);
    let at = format!("{}:{}", gateway.as_str().unwrap(), server.port);
    let manifest = MANIFEST
        .replace("@URL@", &format!("http://{at}"))
        .replace("@SECRET_URL@", &format!("http://me:{{{{ secret }}}}@{at}"));
    let manifest = cloud.manifest(&manifest);
    let mut command = cloud.amibake(["build", "-vvv", "--output", "result.json"]);
    command
        .arg(manifest)
        .args(more)
        .env("AMIBAKE_VAR_token", secret);
    cloud.run(&mut command)
}

/// Files below `folder` that hold the secret; `folder` is grepped as it lies, binary files too.
fn holding(secret: &str, folder: &Path) -> String {
    let pattern = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pattern.path(), secret).unwrap();
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", "--devices=skip", "-f"])
        .arg(pattern.path());
    text(&grep.arg(folder).output().unwrap().stdout)
}

#[test]
fn a_secret_is_nowhere_to_be_found_after_a_build() {
    let cloud = Cloud::start();
    let server = Guarded::start();
    let secret = secret();
    // Held after sealing, so that the builder can be looked into as it is imaged.
    cloud.fault("StopInstances", "hold-before", json!({"seconds": 600}));
    let watch = Watch::start(&secret);
    let mut running = start(&cloud, &server, &secret, &["--json"]);
    cloud.wait_until_held("StopInstances");

    let builder = cloud.only_machine();
    let journal = text(
        &cloud
            .inside(&builder, "journalctl --no-pager -o export")
            .stdout,
    );
    assert!(journal.contains("sshd"), "a journal was read");
    assert!(!journal.contains(&secret), "the builder's journal");
    let pid = &cloud.machines()[&builder]["pid"];
    for folder in ["run", "tmp", "etc", "var", "root", "home"] {
        let inside = Path::new("/proc").join(pid).join("root").join(folder);
        assert_eq!(holding(&secret, &inside), "", "on the builder");
    }
    cloud.control("release", None);
    let built = running.wait().ended(0);
    let seen = watch.end();

    // It was used: by each task, and the process lists were those of both machines.
    let root = cloud.root_of(&cloud.inventory()["snapshots"][0]);
    let sum = sum_of(&secret);
    for used in ["used-input", "used-environment", "used-loop"] {
        let found = std::fs::read_to_string(root.join("etc").join(used)).unwrap();
        assert!(found.starts_with(&sum), "{used}: {found}");
    }
    let shadow = std::fs::read_to_string(root.join("etc/shadow")).unwrap();
    assert!(shadow.contains("canary:$6$"), "the password is set");
    let proof = base64_of(&format!("me:{secret}"));
    let proofs = server.passwords.lock().unwrap().clone();
    assert!(
        proofs.len() >= 2 && proofs.iter().all(|p| *p == proof),
        "{proofs:?}"
    );
    assert!(
        seen.agent && seen.task && seen.rounds > 100,
        "{} rounds",
        seen.rounds
    );

    // And it is nowhere.
    assert_eq!(seen.with_secret, [""; 0], "argument vectors");
    assert!(built.stderr.contains("\"event\":\"task-finished\""));
    assert!(!built.stderr.contains(&secret), "the events");
    assert!(!built.stdout.contains(&secret));
    let home = cloud.folder();
    let result = std::fs::read_to_string(home.join("result.json")).unwrap();
    assert!(result.contains(built.stdout.trim()) && !result.contains(&secret));
    assert!(home.join("state").exists(), "there is a journal of the run");
    assert_eq!(holding(&secret, &home.join("state")), "");
    let calls = cloud.control("calls", None);
    assert!(!calls.to_string().contains(&secret), "a call to EC2");
    for call in calls.as_array().unwrap() {
        if let Some(user_data) = call["params"]["UserData"].as_str() {
            let user_data = decoded(user_data);
            assert!(user_data.contains("ssh_authorized_keys") && !user_data.contains(&secret));
        }
    }
    assert_eq!(holding(&secret, &root), "", "the image");
    assert_eq!(holding(&secret, home), "", "anything else of the run");
}

#[test]
fn a_failing_task_does_not_tell_its_secret() {
    let cloud = Cloud::start();
    let server = Guarded::start();
    let secret = secret();
    let built = start(&cloud, &server, &secret, &["--var", "fate=204"])
        .wait()
        .ended(1);
    assert!(
        built.stderr.contains("`Said aloud, ********` failed on i-"),
        "{}",
        built.stderr
    );
    assert!(!built.stderr.contains(&secret), "{}", built.stderr);
    assert_eq!(holding(&secret, cloud.folder()), "");
}

#[test]
fn a_secret_in_user_data_is_refused_before_launch() {
    let cloud = Cloud::start();
    let manifest = cloud.manifest(&MANIFEST.replace(
        "connect: private-ip}",
        "connect: private-ip, user_data: \"#!/bin/sh\\necho {{ token }}\\n\"}",
    ));
    let mut build = cloud.amibake(["build"]);
    let secret = secret();
    build.arg(manifest).env("AMIBAKE_VAR_token", &secret);
    let said = text(&expect_exit(&mut build, 2).stderr);
    assert!(
        said.contains("holds the sensitive variable `token`"),
        "{said}"
    );
    assert!(!said.contains(&secret), "{said}");
    assert_eq!(cloud.calls(), [""; 0]);
}

fn sum_of(secret: &str) -> String {
    let script = r#"printf %s "$S" | sha256sum"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .env("S", secret)
        .output();
    text(&output.unwrap().stdout)[..64].to_owned()
}

fn base64_of(plain: &str) -> String {
    let script = r#"printf %s "$S" | base64 -w0"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .env("S", plain)
        .output();
    text(&output.unwrap().stdout)
}

fn decoded(user_data: &str) -> String {
    let script = r#"printf %s "$S" | base64 -d"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .env("S", user_data)
        .output();
    text(&output.unwrap().stdout)
}
