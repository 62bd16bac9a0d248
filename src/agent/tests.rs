//! The protocol against real agents here, and against machines that lie.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use amibake_protocol::job::{Entry, Options};

use super::*;
use crate::transport::{BoxFuture, Channel, Local};
use asks::AskPolicy;
use collect::Bundle;
use program::Programs;

/// A machine that answers every command with the output of this shell script instead.
struct Liar(String);

impl Transport for Liar {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, std::io::Result<Channel>> {
        Box::pin(async move {
            let run = command
                .split(|c: char| !c.is_ascii_alphanumeric())
                .find(|word| word.len() == 17 && word.starts_with('r'))
                .unwrap_or_default();
            Local.exec(&format!("RUN={run}\n{}", self.0)).await
        })
    }

    fn renew(&self, total: Duration, per_try: Duration) -> BoxFuture<'_, std::io::Result<()>> {
        Local.renew(total, per_try)
    }
}

fn frame(json: &str) -> String {
    let length = u32::try_from(json.len() + 1).unwrap().to_be_bytes();
    let octal: String = length.iter().map(|b| format!("\\{b:03o}")).collect();
    format!("printf '%b' '{octal}j'; printf '%s' '{json}'\n")
}

const HAVE: &str = "echo \"amibake $RUN have\"\n";
const HELLO: &str = r#"{"to-controller":"hello","state":{"state":"unknown"}}"#;

async fn lie(script: &str) -> AgentError {
    let (programs, bundle, asks) = (Programs::default(), Bundle::default(), AskPolicy::default());
    let request = RunRequest {
        tasks: 0,
        programs: &programs,
        privilege: Privilege::AsIs,
        entries: Vec::new(),
        options: Options::default(),
        bundle: &bundle,
        asks: &asks,
        after_reboot: None,
        fact_cache: None,
        turns: None,
    };
    let (to, mut events) = mpsc::channel(16);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let liar = Liar(script.to_owned());
    let never = CancellationToken::new();
    let ended = run(&liar, &request, &to, &never);
    let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
    ended.expect("it ends").expect_err("a liar has no result")
}

#[tokio::test]
async fn noise_without_end_before_the_first_word_is_given_up() {
    let error = lie("exec yes motd").await;
    assert!(matches!(error, AgentError::OutOfPlace(_)), "{error}");
    let error = lie("exec cat /dev/zero").await;
    assert!(matches!(error, AgentError::OutOfPlace(_)), "{error}");
}

#[tokio::test]
async fn garbage_after_the_first_word_is_an_error() {
    let error = lie(&format!("{HAVE}exec cat /dev/urandom")).await;
    assert!(matches!(error, AgentError::Protocol(_)), "{error}");
    let huge = format!("{HAVE}{}printf '\\377\\377\\377\\377j'; cat", frame(HELLO));
    let error = lie(&huge).await;
    assert!(matches!(error, AgentError::Protocol(_)), "{error}");
    let unknown = format!(
        "{HAVE}{}{}cat",
        frame(HELLO),
        frame(r#"{"to-controller":"sh"}"#)
    );
    let error = lie(&unknown).await;
    assert!(matches!(error, AgentError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn events_must_come_in_order_and_once() {
    let event = |seq: u32| {
        let event = r#"{"event":"play-started","name":"x"}"#;
        frame(&format!(
            r#"{{"to-controller":"event","seq":{seq},"event":{event}}}"#
        ))
    };
    for (first, second) in [(1, 2), (0, 0), (0, 2)] {
        let script = format!("{HAVE}{}{}{}cat", frame(HELLO), event(first), event(second));
        let error = lie(&script).await;
        assert!(matches!(error, AgentError::OutOfPlace(_)), "{error}");
    }
}

#[tokio::test]
async fn questions_without_end_are_refused_and_then_the_machine_is() {
    let ask = r#"{"to-controller":"ask","id":1,"ask":{"ask":"file","place":{"file":"/x","line":1,"column":1},"path":"/etc/shadow"}}"#;
    let script = format!(
        "{HAVE}{}f=$(mktemp); {{ for i in $(seq 200); do {} done; }} >$f; exec 3<&0; cat <&3 >/dev/null & for i in $(seq 60); do cat $f; done; rm $f; wait",
        frame(HELLO),
        frame(ask).replace('\n', ";")
    );
    let error = lie(&script).await;
    assert!(matches!(error, AgentError::TooMuch("questions")), "{error}");
}

#[tokio::test]
async fn a_login_that_only_prints_an_error_is_told_with_its_words() {
    let error = lie("echo 'sudo: a password is required' >&2; exit 1").await;
    assert!(matches!(&error, AgentError::Sudo(_)), "{error}");
    assert!(error.hint().is_some());
    let error = lie("echo 'amibake nothing'; echo 'no space left' >&2; exit 1").await;
    assert!(error.to_string().contains("no space left"), "{error}");
}

/// This machine, whose link is cut once in the middle: the session's processes get killed.
struct Cutting {
    home: PathBuf,
    commands: AtomicUsize,
}

impl Transport for Cutting {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, std::io::Result<Channel>> {
        let number = self.commands.fetch_add(1, Ordering::SeqCst);
        let home = self.home.display();
        let line = if number == 0 {
            format!(
                "export HOME={home}; timeout -s KILL 2 {}",
                command.trim_start_matches("exec ")
            )
        } else {
            format!("export HOME={home}; {command}")
        };
        Box::pin(async move { Local.exec(&line).await })
    }

    fn renew(&self, total: Duration, per_try: Duration) -> BoxFuture<'_, std::io::Result<()>> {
        Local.renew(total, per_try)
    }
}

/// Returns the request to run a playbook on this machine, as its user.
fn of_here<'a>(
    programs: &'a Programs,
    bundle: &'a Bundle,
    asks: &'a AskPolicy,
    playbook: PathBuf,
) -> RunRequest<'a> {
    RunRequest {
        tasks: 0,
        programs,
        privilege: Privilege::AsIs,
        entries: vec![Entry::Playbook {
            path: playbook,
            vars: serde_json::Map::new(),
        }],
        options: Options {
            login_user: "root".to_owned(),
            inventory_hostname: "here".to_owned(),
            every_play: true,
            ..Options::default()
        },
        bundle,
        asks,
        after_reboot: None,
        fact_cache: None,
        turns: None,
    }
}

#[tokio::test]
async fn a_cut_link_is_mended_and_every_task_runs_once() {
    let programs = Programs::find().unwrap();
    let built = programs.require(std::env::consts::ARCH);
    built.expect("`cargo xtask agent` comes first");
    let temp = tempfile::tempdir().unwrap();
    let ran = temp.path().join("ran");
    let playbook = temp.path().join("site.yml");
    let text = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: echo one >>{0}\n    - shell: sleep 4; echo two >>{0}\n    - shell: echo three >>{0}\n",
        ran.display()
    );
    std::fs::write(&playbook, text).unwrap();
    let bundle = Bundle::of_paths(std::slice::from_ref(&playbook)).unwrap();
    let asks = AskPolicy::default();
    let request = of_here(&programs, &bundle, &asks, playbook);
    let (to, mut events) = mpsc::channel(16);
    let listener = tokio::spawn(async move {
        let mut finished = Vec::new();
        while let Some(SizedEvent { event, .. }) = events.recv().await {
            if let Event::TaskFinished { index, .. } = event {
                finished.push(index);
            }
        }
        finished
    });
    let link = Cutting {
        home: temp.path().to_path_buf(),
        commands: AtomicUsize::new(0),
    };
    let ended = run(&link, &request, &to, &CancellationToken::new())
        .await
        .unwrap();
    drop(to);
    assert_eq!(ended.error, None);
    assert_eq!(link.commands.load(Ordering::SeqCst), 2, "the link was cut");
    assert_eq!(listener.await.unwrap(), [1, 2, 3]);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "one\ntwo\nthree\n");
}

/// Ends the agent and removes what it has in memory, as a reboot does.
const REBOOTS: &str = r#"#!/bin/sh
agent=$PPID
until tr '\0' '\n' </proc/$agent/cmdline | grep -qx serve; do
  agent=$(sed -n 's/^PPid:\t//p' /proc/$agent/status)
done
folder=$(tr '\0' '\n' </proc/$agent/cmdline | grep -A1 -x serve | tail -n 1)
kill -KILL $agent
rm -rf $folder
echo second >"$(dirname "$0")/boot"
"#;

/// This machine, which can be rebooted once; perhaps it does not come back.
struct Rebooting {
    home: PathBuf,
    comes_back: bool,
    commands: AtomicUsize,
}

impl Transport for Rebooting {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, std::io::Result<Channel>> {
        let first = self.commands.fetch_add(1, Ordering::SeqCst) == 0;
        let line = format!("export HOME={}; {command}", self.home.display());
        let there = first || self.comes_back;
        Box::pin(async move {
            match there {
                true => Local.exec(&line).await,
                false => Err(std::io::Error::other("no route to host")),
            }
        })
    }

    fn renew(&self, total: Duration, per_try: Duration) -> BoxFuture<'_, std::io::Result<()>> {
        match self.comes_back {
            true => Local.renew(total, per_try),
            false => Box::pin(async { Err(std::io::Error::other("no route to host")) }),
        }
    }
}

/// Runs a play of four tasks, the second of which reboots this machine; returns how it ended, the tasks' ends,
/// and what they left.
async fn reboot(comes_back: bool) -> (Ended, Vec<(u32, Json)>, String) {
    use std::os::unix::fs::PermissionsExt;
    let programs = Programs::find().unwrap();
    let built = programs.require(std::env::consts::ARCH);
    built.expect("`cargo xtask agent` comes first");
    let temp = tempfile::tempdir().unwrap();
    let (folder, playbook) = (temp.path().display(), temp.path().join("site.yml"));
    let reboots = temp.path().join("reboots");
    std::fs::write(&reboots, REBOOTS).unwrap();
    std::fs::set_permissions(&reboots, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(temp.path().join("boot"), "first").unwrap();
    let text = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: echo one >>{folder}/ran\n      register: one\n    \
         - reboot: {{reboot_command: {folder}/reboots, boot_time_command: cat {folder}/boot, reboot_timeout: {}}}\n    \
         - shell: echo {{{{ one.rc }}}} three >>{folder}/ran\n    - debug: {{msg: the end}}\n",
        if comes_back { 60 } else { 2 }
    );
    std::fs::write(&playbook, text).unwrap();
    let bundle = Bundle::of_paths(std::slice::from_ref(&playbook)).unwrap();
    let asks = AskPolicy::default();
    let request = of_here(&programs, &bundle, &asks, playbook);
    let (to, mut events) = mpsc::channel(16);
    let listener = tokio::spawn(async move {
        let mut finished = Vec::new();
        while let Some(SizedEvent { event, .. }) = events.recv().await {
            if let Event::TaskFinished { index, result, .. } = event {
                finished.push((index, Json::Object(result)));
            }
        }
        finished
    });
    let link = Rebooting {
        home: temp.path().to_path_buf(),
        comes_back,
        commands: AtomicUsize::new(0),
    };
    let never = CancellationToken::new();
    let running = run(&link, &request, &to, &never);
    let ended = tokio::time::timeout(Duration::from_mins(2), running).await;
    drop(to);
    let commands = link.commands.load(Ordering::SeqCst);
    // A machine that does not come back may be given up by the cut link alone.
    assert!(commands > 1 || !comes_back, "the agent lived on");
    let ran = std::fs::read_to_string(temp.path().join("ran")).unwrap();
    (
        ended.expect("it ends").unwrap(),
        listener.await.unwrap(),
        ran,
    )
}

#[tokio::test]
async fn a_run_goes_on_after_its_machine_was_rebooted() {
    let (ended, tasks, ran) = reboot(true).await;
    let numbers: Vec<u32> = tasks.iter().map(|(number, _)| *number).collect();
    assert_eq!((ended.error, numbers), (None, vec![1, 2, 3, 4]));
    assert_eq!((ended.recap.ok, ended.recap.changed), (4, 3));
    let rebooted = &tasks[1].1;
    assert_eq!(
        (&rebooted["rebooted"], &rebooted["changed"]),
        (&true.into(), &true.into())
    );
    assert_eq!(ran, "one\n0 three\n");
}

#[tokio::test]
async fn a_machine_that_does_not_come_back_fails_the_task_that_rebooted_it() {
    let (ended, tasks, ran) = reboot(false).await;
    let msg = "Timed out waiting for last boot time check (timeout=2)";
    let (number, result) = &tasks[1];
    assert_eq!((tasks.len(), *number, &result["msg"]), (2, 2, &msg.into()));
    assert_eq!((ended.recap.ok, ended.recap.failed), (1, 1));
    assert_eq!(ran, "one\n");
}
