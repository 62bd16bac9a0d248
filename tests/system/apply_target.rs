//! How the agent gets onto a machine that is real, runs there, and as whom.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Plain, copy_program, expect_exit, on_terminal, target_folder, text, wait_for,
};

const AS_ROOT: &str = r"
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Root
      ansible.builtin.command: id -un
      register: who
      changed_when: false
    - ansible.builtin.assert: {that: who.stdout == 'root'}
";

const AS_LOGIN: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: The login user
      ansible.builtin.shell: id -un; ps -o user= -p $PPID; umask
      register: who
      changed_when: false
    - ansible.builtin.assert: {that: "who.stdout_lines == [login, login, '0002'] or who.stdout_lines == [login, login, '0022']"}
      vars: {login: "{{ expected }}"}
    - name: Nothing of root's
      ansible.builtin.command: cat /etc/shadow
      register: shadow
      failed_when: shadow.rc == 0
      changed_when: false
"#;

/// What the tests need besides: users, one with a password for sudo, one without any right.
const PEOPLE: &str = "set -e
useradd -m -s /bin/bash webby; groupadd -f extra; usermod -aG extra,daemon webby
for u in carol dave; do
  useradd -m -s /bin/bash $u; mkdir -p /home/$u/.ssh
  cp /home/ubuntu/.ssh/authorized_keys /home/$u/.ssh/; chown -R $u:$u /home/$u/.ssh; chmod 700 /home/$u/.ssh
done
chpasswd < /root/word; rm /root/word
echo 'carol ALL=(ALL:ALL) ALL' > /etc/sudoers.d/carol; chmod 440 /etc/sudoers.d/carol
";

fn root(plain: &Plain, script: &str) -> String {
    let output = plain.ssh(&format!("sudo sh -c '{}'", script.replace('\'', r"'\''")));
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Makes the users. The password comes in a file: sudo notes the commands it is given.
fn people(plain: &Plain) {
    let word = "carol:the-right-word-4711\n";
    std::fs::write(plain.root.join("root/word"), word).expect("its disk is here");
    root(plain, PEOPLE);
}

/// Applies as another user, who logs in with the same key.
fn apply_as(plain: &Plain, user: &str, play: &str) -> Command {
    let mut command = plain.apply_as(user, play);
    command.args(["--host-key", &plain.host_key()]);
    command
}

#[test]
fn the_agent_runs_where_nothing_else_may_be_executed_and_is_shipped_once() {
    let plain = Plain::start();
    root(
        &plain,
        "systemctl stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service; mount -o remount,noexec /run; mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp; \
         mount --bind /home /home; mount -o remount,bind,noexec /home; ! /run/true 2>/dev/null",
    );
    let received = || -> u64 {
        let bytes = root(
            &plain,
            "tr : ' ' </proc/net/dev | awk 'NR > 2 { sum += $2 } END { print sum }'",
        );
        bytes.trim().parse().unwrap()
    };
    let before = received();
    expect_exit(&mut apply_as(&plain, "ubuntu", AS_ROOT), 0);
    let shipped = received() - before;
    assert!(shipped > 2_000_000, "{shipped} bytes");
    let before = received();
    expect_exit(&mut apply_as(&plain, "ubuntu", AS_ROOT), 0);
    let again = received() - before;
    // The machine hears of other things as well; the agent has three megabytes.
    assert!(again < 500_000, "{again} bytes");

    let found = root(
        &plain,
        "stat -c '%U:%G %a' /var/lib/amibake /var/lib/amibake/agent-*; stat -c '%U %a' /run/amibake",
    );
    assert_eq!(found, "root:root 700\nroot:root 700\nroot 700\n");

    // Somebody changed it: the next run notices, and ships it again.
    root(
        &plain,
        "for f in /var/lib/amibake/agent-*; do echo x >> $f; done",
    );
    let before = received();
    expect_exit(&mut apply_as(&plain, "ubuntu", AS_ROOT), 0);
    assert!(received() - before > 2_000_000);
    let sums = root(
        &plain,
        "cd /var/lib/amibake; for f in agent-*; do echo \"$(sha256sum < $f | cut -d\" \" -f1) ${f#agent-}\"; done",
    );
    let (sum, name) = sums.trim().split_once(' ').unwrap();
    assert_eq!(sum, name);

    // Several controllers that come at once, after another version: nobody's agent is pulled away.
    let old = "/var/lib/amibake/agent-old /var/lib/amibake/agent-used";
    for _ in 0..3 {
        root(
            &plain,
            &format!(
                "rm /var/lib/amibake/*; touch {old}; touch -d '2 hours ago' /var/lib/amibake/agent-old"
            ),
        );
        let mut apply: Vec<_> = (0..4)
            .map(|_| apply_as(&plain, "ubuntu", AS_ROOT))
            .collect();
        let started: Vec<_> = apply.iter_mut().map(|a| a.spawn().unwrap()).collect();
        for mut controller in started {
            assert!(controller.wait().unwrap().success());
        }
        let count = "cd /var/lib/amibake; test -e agent-used && ls -A | wc -l";
        assert_eq!(root(&plain, count), "2\n", "its own and the one in use");
    }

    // A user without any right, whose home takes no programs either.
    people(&plain);
    let mut apply = apply_as(&plain, "dave", AS_LOGIN);
    expect_exit(apply.args(["-e", "expected=dave"]), 0);
    let found = root(
        &plain,
        "ls -ld /var/tmp/amibake-* | cut -c1-10; ls /run/amibake; pgrep -u dave || echo none",
    );
    assert_eq!(found, "drwx------\nnone\n");
    let mut apply = apply_as(&plain, "dave", AS_ROOT);
    let refused = expect_exit(&mut apply, 1);
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(said.contains("sudo") && said.contains("-K"), "{said}");
}

/// What a command of a task sees of who it is.
const WHO: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: As another user
      ansible.builtin.shell: id; umask; pwd; env | sort
      become: true
      become_user: webby
      register: who
      changed_when: false
    - ansible.builtin.debug: {msg: "WHO<{{ who.stdout }}>"}
"#;

#[test]
fn another_user_has_its_groups_home_and_the_environment_of_sudo() {
    let plain = Plain::start();
    people(&plain);
    let output = expect_exit(apply_as(&plain, "ubuntu", WHO).arg("--json"), 0);
    let told = text(&output.stdout);
    let event = told
        .lines()
        .find(|line| line.contains("WHO<") && line.contains("task-finished"));
    let event: serde_json::Value = serde_json::from_str(event.expect("the debug task")).unwrap();
    let message = event["result"]["msg"].as_str().unwrap();
    let ours = message
        .trim_start_matches("WHO<")
        .trim_end_matches('>')
        .to_owned();
    // What Ansible itself runs such a task with.
    let theirs = plain.ssh("sudo -H -S -n -u webby /bin/sh -c 'id; umask; pwd; env | sort'");
    let theirs = text(&theirs.stdout);
    let kept = |text: &str| -> Vec<String> {
        // The command itself, and what the shell adds; Ansible's modules set the languages.
        let differs = [
            "SUDO_COMMAND=",
            "_=",
            "OLDPWD=",
            "SHLVL=",
            "LANG=",
            "LC_ALL=",
            "LC_MESSAGES=",
            "PWD=",
            "TERM=",
        ];
        let lines = text
            .lines()
            .filter(|line| !differs.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(kept(&ours), kept(&theirs));
    assert!(
        ours.contains("(extra)") && ours.contains("HOME=/home/webby"),
        "{ours}"
    );
}

const FROM_ELSEWHERE: &str = r#"
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: A user that no file of /etc has
      ansible.builtin.command: id -un
      become_user: remote
      register: who
      changed_when: false
    - ansible.builtin.command: id -Gn
      become_user: remote
      register: groups_
      changed_when: false
    - ansible.builtin.copy: {content: x, dest: /srv/of-remote, owner: remote, group: far, mode: "0600"}
    - name: Ports by names that only the name service switch knows
      ansible.builtin.wait_for: {host: "{{ item }}", port: 22, timeout: 10}
      loop: [localhost, web.localhost, plainly-here]
    - ansible.builtin.assert: {that: ["who.stdout == 'remote'", "groups_.stdout == 'far farther'"]}
"#;

#[test]
fn users_groups_and_hosts_that_only_the_name_service_knows_are_found() {
    let plain = Plain::start();
    root(
        &plain,
        "(apt-get -q update && apt-get -qy install libnss-extrausers) >/dev/null 2>&1 || exit 1
         mkdir -p /var/lib/extrausers; cd /var/lib/extrausers
         echo remote:x:5001:5001::/srv:/bin/sh > passwd
         printf \"far:x:5001:\\nfarther:x:5002:remote\\n\" > group; : > shadow
         sed -i -e \"s/^\\(passwd\\|group\\|shadow\\):.*/& extrausers/\" /etc/nsswitch.conf
         hostname plainly-here; sed -i -e /localhost/d -e /plain/d /etc/hosts; getent passwd remote",
    );
    expect_exit(&mut apply_as(&plain, "ubuntu", FROM_ELSEWHERE), 0);
    assert_eq!(
        root(&plain, "stat -c \"%U %G\" /srv/of-remote"),
        "remote far\n"
    );
}

/// The password is in no process list, environment or log of the machine, while the run runs.
const WATCHED: &str = r#"
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Look for it
      ansible.builtin.shell: >-
        sleep 1; w=the-right-word;
        for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do
        if tr '\0' ' ' < $f 2>/dev/null | grep -v "w=the" | grep -q "$w-4711"; then echo found $f; fi; done;
        journalctl --no-pager 2>/dev/null | grep -q "$w-4711" && echo found in the journal;
        grep -rlq "$w-4711" /run/amibake /var/log 2>/dev/null && echo found in a file; true
      register: found
      changed_when: false
    - ansible.builtin.assert: {that: found.stdout == ''}
"#;

#[test]
fn sudo_gets_its_password_and_nobody_else_does() {
    let plain = Plain::start();
    people(&plain);
    let passwords = tempfile::tempdir().unwrap();
    let file = |name: &str, word: &str| {
        let path = passwords.path().join(name);
        std::fs::write(&path, format!("{word}\n")).unwrap();
        path
    };
    let (right, wrong) = (
        file("right", "the-right-word-4711"),
        file("wrong", "another-word-4712"),
    );
    for user in ["carol", "ubuntu"] {
        // ubuntu's sudo asks for nothing, and the password must not end as input of something else.
        let mut apply = apply_as(&plain, user, WATCHED);
        let output = expect_exit(apply.arg("--become-password-file").arg(&right), 0);
        assert!(!text(&output.stdout).contains("4711") && !text(&output.stderr).contains("4711"));
    }
    let mut apply = apply_as(&plain, "carol", AS_ROOT);
    let refused = expect_exit(apply.arg("--become-password-file").arg(&wrong), 1);
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(
        said.contains("sudo refused") && !said.contains("4712"),
        "{said}"
    );
    let refused = expect_exit(&mut apply_as(&plain, "carol", AS_ROOT), 1);
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(
        said.contains("password is required") && said.contains("-K"),
        "{said}"
    );

    // By -K, on a terminal; and an encrypted key, whose passphrase is asked for there.
    let key = plain.folder().join("key");
    let locked = plain.folder().join("locked");
    std::fs::copy(&key, &locked).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-p", "-N", "open sesame", "-f"])
        .arg(&locked);
    assert!(keygen.status().unwrap().success());
    let apply = apply_as(&plain, "carol", AS_ROOT);
    let args = apply.get_args();
    let mut asks = Command::new(apply.get_program());
    asks.args(args.map(|arg| if arg == key { locked.as_os_str() } else { arg }))
        .arg("-K")
        .env("HOME", plain.folder());
    let answers = [
        ["BECOME password: ", "the-right-word-4711"],
        ["Passphrase for ", "open sesame"],
    ];
    let output = expect_exit(&mut on_terminal(&asks, &answers), 0);
    let said = text(&output.stdout);
    assert!(
        said.contains("failed=0") && !said.contains("4711") && !said.contains("sesame"),
        "{said}"
    );
}

const SLEEPS: &str = r"
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Before
      ansible.builtin.shell: touch /root/began; sleep 300
    - name: Never
      ansible.builtin.command: touch /root/never
";

#[test]
fn an_interrupt_ends_the_run_on_the_machine_too() {
    let plain = Plain::start();
    let running = apply_as(&plain, "ubuntu", SLEEPS)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = plain.root.join("root/began");
    wait_for("the task", Duration::from_mins(1), || began.exists());
    let unit = root(
        &plain,
        "systemctl list-units --plain --no-legend \"amibake-*\" | wc -l; pgrep -xc sleep",
    );
    assert_eq!(unit, "1\n1\n");
    let sent = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stdout));
    wait_for("the end of the run", Duration::from_mins(1), || {
        root(&plain, "pgrep -x sleep; pgrep -f \"[e]xe serve\"; systemctl list-units --all --plain --no-legend \"amibake-*\"; ls /run/amibake; true").is_empty()
    });
    assert!(!plain.root.join("root/never").exists());
}

const GOES_ON: &str = r"
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Before
      ansible.builtin.shell: touch /root/began; sleep 8
    - name: After
      ansible.builtin.command: touch /root/after
";

#[test]
fn a_run_whose_controller_was_killed_goes_on_and_what_is_left_is_swept() {
    let plain = Plain::start();
    let mut running = apply_as(&plain, "ubuntu", GOES_ON)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = plain.root.join("root/began");
    wait_for("the task", Duration::from_mins(1), || began.exists());
    running.kill().unwrap();
    running.wait().unwrap();
    let after = plain.root.join("root/after");
    wait_for("the second task", Duration::from_mins(1), || after.exists());
    // Of what the playbook brought along nothing is left, although nobody took the result yet.
    wait_for("the end", Duration::from_mins(1), || {
        root(&plain, "cd /run/amibake/r*; ls")
            .lines()
            .all(|name| !["files", "job.json", "contents"].contains(&name))
    });
    // Its process dies too; the next run removes the rest once it is old.
    root(
        &plain,
        "pkill -KILL -f \"[e]xe serve\"; sleep 1; touch -d \"1 hour ago\" /run/amibake/r*",
    );
    expect_exit(&mut apply_as(&plain, "ubuntu", AS_ROOT), 0);
    assert_eq!(root(&plain, "ls /run/amibake"), "");
}

#[test]
fn where_there_is_no_systemd_the_run_is_detached_all_the_same() {
    let plain = Plain::start();
    // An sshd to which there is no systemd, whose sessions are nobody's to end.
    root(
        &plain,
        "mkdir -p /run/sshd; systemd-run --quiet --collect -p KillMode=process unshare --mount sh -c \
         \"mount -t tmpfs tmpfs /run/systemd && exec /usr/sbin/sshd -D -p 2222\"",
    );
    let running = plain
        .apply_to(&format!("ubuntu@{}:2222", plain.address), GOES_ON)
        .args(["--host-key", &plain.host_key()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = plain.root.join("root/began");
    wait_for("the task", Duration::from_mins(1), || began.exists());
    let units = root(
        &plain,
        "systemctl list-units --plain --no-legend \"amibake-*\" | wc -l; pgrep -xc sleep",
    );
    assert_eq!(units, "0\n1\n");
    // The session is cut, the run is not.
    // This session is among those that go.
    plain.ssh("sudo pkill -KILL -f 'sshd: ubuntu'");
    let output = running.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("changed=2"), "{said}");
    assert_eq!(
        root(&plain, "ls /run/amibake; pgrep -f \"[e]xe serve\"; true"),
        ""
    );
}

/// The program without any agent, compiled by `cargo xtask static --no-default-features --profile dev`.
fn static_program() -> PathBuf {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let program = target_folder().join(target).join("debug/amibake");
    assert!(program.is_file(), "{} is made by ./test", program.display());
    program
}

const AS_TWO_USERS: &str = r"
- hosts: all
  become: true
  tasks:
    - name: Root
      ansible.builtin.copy: {content: by root, dest: /root/made}
    - name: Another
      ansible.builtin.copy: {content: by nobody, dest: /tmp/made}
      become_user: nobody
";

#[test]
fn a_static_program_is_its_own_agent() {
    let plain = Plain::start();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("amibake");
    copy_program(&static_program(), &program);
    let headers = Command::new("readelf").arg("-lW").arg(&program).output();
    assert!(!text(&headers.unwrap().stdout).contains("INTERP"));

    let with_agents = apply_as(&plain, "ubuntu", AS_TWO_USERS);
    let mut apply = Command::new(&program);
    let envs = with_agents.get_envs();
    apply
        .env_clear()
        .envs(envs.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(with_agents.get_current_dir().unwrap())
        .args(with_agents.get_args().skip(2)); // of `env`: its option, and the program
    expect_exit(&mut apply, 0);

    let found = root(
        &plain,
        "stat -c %U /root/made /tmp/made; cat /var/lib/amibake/agent-* | sha256sum | cut -c1-64",
    );
    let sum = Command::new("sha256sum").arg(&program).output().unwrap();
    let sum = text(&sum.stdout);
    assert_eq!(found, format!("root\nnobody\n{}\n", &sum[..64]));
}
