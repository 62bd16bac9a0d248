//! `apply` against machines that lie, over real SSH: nothing of the controller is read or written,
//! its memory stays small, and the user is told what the machine did.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{amibake, text, wait_for};

/// How much more than for an honest machine `apply` may take, in KiB. docs/security.md promises 64 MiB
/// in all; what the program takes by itself differs from build to build and is no machine's doing.
/// The machines below send 90 MiB and more.
const MOST_GROWTH: u64 = 32 << 10;

const PLAY: &str = r#"
- hosts: all
  tasks:
    - name: A file of the target, however it looks
      ansible.builtin.copy: {content: x, dest: /etc/shadow}
    - name: A variable
      ansible.builtin.debug: {msg: "{{ lookup('env', 'HOME') }}"}
    - name: Where a link leads
      ansible.builtin.debug: {msg: "{{ (playbook_dir ~ '/files') | realpath }}"}
    - name: A name that only the run knows
      ansible.builtin.include_vars: "{{ from_the_run }}.yml"
    - name: A file for the controller
      ansible.builtin.fetch: {src: "{{ from_the_run }}", dest: got}
"#;

/// A loopback sshd that runs the hostile agent in place of every command.
struct Hostile {
    sshd: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Hostile {
    fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["host", "login"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(name));
            assert!(keygen.status().unwrap().success());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let agent =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/hostile/agent.py");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nForceCommand /usr/bin/python3 {} {mode} {}\n",
            at("host").display(),
            at("login.pub").display(),
            agent.display(),
            folder.path().display(),
        );
        std::fs::write(at("config"), config).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let sshd = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("sshd", Duration::from_mins(1), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let files = at("play/files");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(at("play/site.yml"), PLAY).unwrap();
        std::fs::write(files.join("small"), "small").unwrap();
        for name in ["play/other.yml", "play/.hidden"] {
            std::fs::write(at(name), "token: canary-of-the-controller").unwrap();
        }
        std::fs::write(files.join("large"), vec![7; 5 << 20]).unwrap();
        std::fs::write(at("secret"), "canary-of-the-controller").unwrap();
        Self { sshd, port, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = amibake(self.folder.path(), ["apply"]);
        let key = std::fs::read_to_string(self.path("host.pub")).unwrap();
        command
            .arg(self.path("play/site.yml"))
            .args(["--host", &format!("root@127.0.0.1:{}", self.port)])
            .args(["--host-key", key.trim()])
            .arg("--identity")
            .arg(self.path("login"))
            .env("AWS_SECRET_ACCESS_KEY", "canary-of-the-controller")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `apply`, which must fail soon, in little memory and without a raw escape.
    fn apply(&self, more: &[&str]) -> (Output, String) {
        let (output, peak) = watched(self.command().args(more));
        let said = text(&output.stdout) + &text(&output.stderr);
        let growth = peak.saturating_sub(honest());
        assert!(growth < MOST_GROWTH, "{growth} KiB more\n{said:.2000}");
        assert!(!said.contains("canary"), "{said:.2000}");
        for forbidden in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'] {
            assert!(!said.contains(forbidden), "{forbidden:?} in {said:?}");
        }
        (output, said)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// Returns what `apply` takes for a machine that says little, in KiB.
fn honest() -> u64 {
    static PEAK: OnceLock<u64> = OnceLock::new();
    *PEAK.get_or_init(|| {
        let (output, peak) = watched(&mut Hostile::start("honest").command());
        assert!(output.status.success(), "{}", text(&output.stderr));
        peak
    })
}

/// Runs a command to its end and returns the most memory it ever held, in KiB, without the pages
/// of files: its own program, mostly.
fn watched(command: &mut Command) -> (Output, u64) {
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let (mut peak, since) = (0, Instant::now());
        while let Ok(text) = std::fs::read_to_string(&status) {
            let kib = |name: &str| -> Option<u64> {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().trim_end_matches(" kB").parse().ok()
            };
            let (Some(whole), Some(files)) = (kib("VmHWM:"), kib("RssFile:")) else {
                break; // it has ended and is not waited for yet
            };
            peak = peak.max(whole.saturating_sub(files));
            assert!(since.elapsed() < Duration::from_mins(5), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    (output, watch.join().unwrap())
}

/// The machine breaks the protocol in some way, and the user is told in which.
#[track_caller]
fn breaks(mode: &str, told: &str) {
    let (output, said) = Hostile::start(mode).apply(&[]);
    assert_eq!(output.status.code(), Some(1), "{mode}: {said}");
    assert!(said.contains(told), "{mode}: {said}");
}

#[test]
fn noise_and_forged_numbers_are_told_apart() {
    breaks("endless-line", "too much before its answer");
    breaks("garbage", "the machine broke the protocol");
    breaks("huge-frame", "announced a frame of 4294967295 bytes");
    breaks("blobs", "more data in one message than any run does");
    breaks("tiny-values", "more data in one message than any run does");
    breaks("forged-number", "event 7 came instead of event 1");
    breaks("claims", "claims to have run 5 tasks and reported none");
}

#[test]
fn a_machine_that_closes_in_the_middle_and_knows_nothing_afterwards_is_a_failure() {
    breaks("closes", "its folder is gone");
}

#[test]
fn more_results_than_the_memory_holds_pass_through_it() {
    for more in [&["--json"][..], &["-vvv"]] {
        let (output, _) = Hostile::start("many-results").apply(more);
        assert_eq!(output.status.code(), Some(0), "{more:?}");
    }
}

#[test]
fn nothing_is_remembered_of_what_a_machine_only_begins() {
    for mode in ["plays", "open-tasks", "diffs", "figures"] {
        let (output, said) = Hostile::start(mode).apply(&["-v"]);
        assert_eq!(output.status.code(), Some(0), "{mode}: {said:.2000}");
    }
}

/// The text is looked at in place, however many lookups it has and however often it is asked for.
#[test]
fn a_forged_question_about_a_large_playbook_costs_no_memory() {
    let hostile = Hostile::start("one-lookup");
    let lookups = "    - debug: {msg: \"{{ lookup('env', variable) }}\"}\n".repeat(400);
    let padding = format!("    # HOME {}\n", "x".repeat(100)).repeat(10_000);
    let large = PLAY.to_owned() + &lookups + &padding;
    std::fs::write(hostile.path("play/site.yml"), large).unwrap();
    hostile.apply(&[]);
    let replies = std::fs::read_to_string(hostile.path("replies")).unwrap();
    assert_eq!(replies, "refused refused value");
}

#[test]
fn nothing_a_machine_says_reaches_the_terminal_raw() {
    for mode in ["escapes", "died", "failed", "stderr", "architecture"] {
        for more in [&[][..], &["-vvv", "--diff"], &["--json"]] {
            let (output, said) = Hostile::start(mode).apply(more);
            assert_eq!(output.status.code(), Some(1), "{mode}: {said}");
        }
    }
}

#[test]
fn forged_questions_are_refused_and_leave_no_trace() {
    let hostile = Hostile::start("asks");
    std::os::unix::fs::symlink(hostile.path("secret"), hostile.path("play/link")).unwrap();
    let (_, said) = hostile.apply(&[]);
    let answers = std::fs::read_to_string(hostile.path("answers")).unwrap();
    let mut count = 0;
    for line in answers.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["reply"]["reply"], "refused", "{line:.500}");
        count += 1;
    }
    assert_eq!(count, 27, "{said}");
    assert!(!answers.contains("canary"));
    assert!(
        said.contains("27 questions of the machine were refused"),
        "{said}"
    );
    assert!(!hostile.path("ran").exists());
    assert!(!Path::new("/etc/cron.d/evil").exists());
}

#[test]
fn a_machine_writes_below_its_own_folder_of_a_fetch_and_what_it_promised() {
    let hostile = Hostile::start("fetch");
    let (_, said) = hostile.apply(&[]);
    let replies = std::fs::read_to_string(hostile.path("replies")).unwrap_or(said);
    let replies: Vec<&str> = replies.lines().collect();
    assert_eq!(
        (replies[0], replies[3]),
        ("fetched", "checksum mismatch"),
        "{replies:?}"
    );
    for traversal in &replies[1..3] {
        assert!(
            traversal.starts_with("Detected directory traversal"),
            "{replies:?}"
        );
    }
    let mut below = Vec::new();
    let mut folders = vec![hostile.path("play/got")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                below.push(path);
            }
        }
    }
    assert_eq!(below, [hostile.path("play/got/127.0.0.1/etc/motd")]);
    assert!(!hostile.path("motd").exists() && !hostile.path("play/motd").exists());
}

#[test]
fn more_bytes_than_a_file_was_to_have_end_the_run() {
    breaks("too-many-bytes", "more bytes of a file than any run does");
}

#[test]
fn one_file_is_not_sent_again_and_again() {
    let hostile = Hostile::start("same-file");
    hostile.apply(&[]);
    let sent = std::fs::read_to_string(hostile.path("sent")).unwrap();
    assert_eq!(sent, "8");
}

#[test]
fn a_run_that_never_ends_is_left_when_the_user_says_so() {
    let hostile = Hostile::start("never");
    let child = hostile.command().spawn().unwrap();
    wait_for("the run", Duration::from_mins(1), || {
        hostile.path("following").exists()
    });
    std::thread::sleep(Duration::from_secs(1)); // its event travels
    interrupt(child.id());
    let since = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(since.elapsed() < Duration::from_secs(90));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("did not say that it has"), "{said}");
}

#[test]
fn a_machine_that_reads_nothing_can_be_left_at_once() {
    let hostile = Hostile::start("deaf");
    let child = hostile.command().spawn().unwrap();
    wait_for("the machine", Duration::from_mins(2), || {
        hostile.path("deaf").exists()
    });
    interrupt(child.id());
    let since = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(since.elapsed() < Duration::from_secs(20));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
}

fn interrupt(pid: u32) {
    let sent = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}
