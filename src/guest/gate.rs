//! Looking at the booted candidate: nothing of the builder is in it, and it is what was sealed.
//!
//! Identity and secret residue fails the gate; posture (failed units) is a warning. The manifest's
//! own tests become tasks ([`test_tasks`]) that the agent runs on the candidate.

use amibake_playbook::shell::quote;
use serde_json::{Value as Json, json};

use super::prepare::timer_name;
use super::seal::{Sealed, units};
use super::{GuestError, Operation, RootShell, script};
use crate::manifest::Test;
use crate::run::RunId;
use crate::targets::Role;

/// What was found on the candidate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Each of these keeps the image from being published.
    pub(crate) failures: Vec<String>,
    /// For the user to know.
    pub(crate) warnings: Vec<String>,
}

/// Looks at the candidate of `run` that `shell` is on.
///
/// `login` is the public half of the one key that may be in its authorized keys.
pub(crate) async fn look(
    shell: &dyn RootShell,
    run: &RunId,
    sealed: &Sealed,
    login: &str,
) -> Result<Findings, GuestError> {
    let ours = quote(&timer_name(run, Role::Candidate));
    let text = LOOK.replace("@TIMER@", &ours);
    let said = script(shell, Operation::LookAtCandidate, &text).await?;
    Ok(findings(&said, sealed, login))
}

const LOOK: &str = concat!(
    r#"
set -u
cut -d: -f6 /etc/passwd | sort -u | while read -r home; do
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
    # A last line without its end is a line too, and must not hide in the next file's.
    [ -f "$file" ] && awk -v file="$file" '{ print "key " file " " $0 }' "$file"
  done
done
[ -d /var/lib/amibake ] && echo "residue /var/lib/amibake"
for path in /etc/ssh/amibake_new_key /etc/systemd/system/amibake* /etc/cron.d/amibake*; do
  [ -e "$path" ] && echo "residue $path"
done
[ -e /run/systemd/shutdown/scheduled ] && echo "shutdown $(tr '\n' ' ' < /run/systemd/shutdown/scheduled)"
# Timers without a file on the disk: none may have come with the image. Ours of this boot, armed by
# user data and then renewed, is known by its description: anybody may take its name.
systemctl list-units --no-legend --no-pager --plain --type=timer --all 2>/dev/null | awk '{ print $1 }' | while read -r timer; do
  [ "$(systemctl show -p Description --value "$timer" 2>/dev/null)" = @TIMER@ ] && continue
  case "$(systemctl show -p UnitFileState --value "$timer" 2>/dev/null)" in transient) echo "timer $timer" ;; esac
done
systemctl --failed --no-legend --no-pager --plain 2>/dev/null | awk '{ print "failed " $1 }'
echo "machine-id $(cat /etc/machine-id)"
"#,
    units!()
);

fn findings(said: &str, sealed: &Sealed, login: &str) -> Findings {
    let mut findings = Findings::default();
    let mut units = Vec::new();
    for line in said.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "unit" => units.push(rest.to_owned()),
            "key" if !is_login_key(rest, login) => findings.failures.push(format!(
                "an authorized key of the builder is in the image: {}",
                key_place(rest)
            )),
            "residue" => findings.failures.push(format!("{rest} is in the image")),
            "shutdown" => findings
                .failures
                .push(format!("a shutdown is scheduled: {rest}")),
            "timer" => findings
                .failures
                .push(format!("a transient timer runs: {rest}")),
            "machine-id" if rest == sealed.machine_id => findings
                .failures
                .push("the machine-id of the builder is in the image".to_owned()),
            "failed" => findings.warnings.push(format!("unit {rest} has failed")),
            _ => {}
        }
    }
    compare_units(&sealed.units, &units, &mut findings);
    findings
}

/// `rest` is a path and then a line of that file.
fn is_login_key(rest: &str, login: &str) -> bool {
    let line = rest.split_once(' ').map_or("", |(_, line)| line).trim();
    line.is_empty()
        || line.starts_with('#')
        || key_of(line).is_some_and(|k| Some(k) == key_of(login))
}

/// Returns kind and key of a line of `authorized_keys`, without its options and its comment.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let is_kind = |word: &&str| {
        ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|p| word.starts_with(p))
    };
    let plain = line
        .split_whitespace()
        .next()
        .is_some_and(|word| is_kind(&word));
    let line = if plain { line } else { after_options(line) };
    let mut words = line.split_whitespace();
    Some((words.next().filter(is_kind)?, words.next()?))
}

/// Skips options as sshd does: to the first space outside of quotes.
fn after_options(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c: char| {
        let quote = c == '"' && !escaped;
        escaped = c == '\\';
        quoted ^= quote;
        c.is_whitespace() && !quoted
    });
    end.map_or("", |end| &line[end..])
}

fn key_place(rest: &str) -> &str {
    rest.split_once(' ').map_or(rest, |(path, _)| path)
}

fn compare_units(before: &[String], now: &[String], findings: &mut Findings) {
    if before.is_empty() {
        return;
    }
    for unit in before.iter().filter(|unit| !now.contains(unit)) {
        let name = unit.split(' ').next().unwrap_or(unit);
        let state = now
            .iter()
            .find_map(|n| n.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
        let state = state.map_or("gone", str::trim);
        findings
            .failures
            .push(format!("unit {unit} when sealed, {state} in the image"));
    }
}

/// Returns the manifest's tests as tasks for the agent, or `None` without any.
///
/// A list of tasks as JSON, which is YAML.
pub(crate) fn test_tasks(tests: &[Test]) -> Option<String> {
    let tasks: Vec<Json> = tests.iter().flat_map(tasks).collect();
    (!tasks.is_empty()).then(|| Json::from(tasks).to_string())
}

/// Returns what the tests are called in reports, one name each.
pub(crate) fn test_names(tests: &[Test]) -> Vec<String> {
    let name = |test| {
        let asked = tasks(test).pop()?;
        asked["name"].as_str().map(str::to_owned)
    };
    tests.iter().filter_map(name).collect()
}

/// Tries are many where the server refuses, and few where it hangs: the clock ends them.
fn http(url: &str, status: u16, contains: Option<&str>, within: u64) -> Vec<Json> {
    let good = holds(
        "amibake_answer.content",
        contains,
        "amibake_answer is success",
    );
    let now = "now(utc=true).timestamp()";
    vec![
        json!({
            "name": format!("{url} has {within} s"),
            "ansible.builtin.set_fact": {"amibake_end": format!("{{{{ {now} + {within} }}}}")},
        }),
        json!({
            "name": format!("{url} answers {status}"),
            "ansible.builtin.uri": {"url": url, "status_code": status, "return_content": true, "timeout": within.min(10)},
            "register": "amibake_answer",
            "failed_when": format!("not ({good})"),
            "until": format!("amibake_answer is success or {now} >= amibake_end | float"),
            "retries": within,
            "delay": 1,
            "timeout": within.max(10),
        }),
    ]
}

fn tasks(test: &Test) -> Vec<Json> {
    let task = match test {
        Test::Http {
            url,
            status,
            contains,
            within,
        } => return http(url, *status, contains.as_deref(), within.as_secs().max(1)),
        Test::Service { name, running } => json!({
            "name": format!("service {name} is {}", if *running { "running" } else { "stopped" }),
            "ansible.builtin.shell": service_command(name),
            "register": "amibake_answer",
            "until": format!("('running' in amibake_answer.stdout) == {}", if *running { "true" } else { "false" }),
            "retries": 30,
            "delay": 1,
            "changed_when": false,
            "failed_when": false,
        }),
        Test::Port { port, within } => json!({
            "name": format!("port {port} answers"),
            "ansible.builtin.wait_for": {"port": port, "timeout": within.as_secs().max(1)},
        }),
        Test::Command {
            run,
            status,
            contains,
        } => json!({
            "name": format!("`{run}` ends with {status}"),
            "ansible.builtin.shell": {"cmd": run},
            "register": "amibake_answer",
            "changed_when": false,
            "failed_when": format!("not ({})", holds("amibake_answer.stdout + amibake_answer.stderr", contains.as_deref(), &format!("amibake_answer.rc == {status}"))),
        }),
    };
    vec![task]
}

/// The text wanted is data: it is written as a Jinja string, and so never an expression.
fn holds(where_: &str, contains: Option<&str>, otherwise: &str) -> String {
    match contains {
        Some(text) => format!("{otherwise} and {} in ({where_})", jinja_string(text)),
        None => otherwise.to_owned(),
    }
}

fn jinja_string(text: &str) -> String {
    format!(
        "'{}'",
        text.replace('\\', r"\\")
            .replace('\'', r"\'")
            .replace('\n', r"\n")
    )
}

/// A unit of systemd, or else a program of supervisord.
fn service_command(name: &str) -> String {
    let name = quote(name);
    format!(
        "if systemctl cat {name} >/dev/null 2>&1; then systemctl is-active --quiet {name} && echo running || echo stopped; \
         else supervisorctl status {name} 2>/dev/null | grep -q RUNNING && echo running || echo stopped; fi"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[test]
    fn only_the_login_key_itself_lets_in() {
        let login = "ssh-ed25519 AAAA amibake";
        for ours in [
            "ssh-ed25519 AAAA",
            "ssh-ed25519 AAAA somebody",
            "restrict,command=\"echo \\\"no\\\" ; exit 1\" ssh-ed25519 AAAA x",
            "# ssh-ed25519 BBBB",
            "",
        ] {
            assert!(is_login_key(&format!("/f {ours}"), login), "{ours}");
        }
        for foreign in [
            "ssh-ed25519 BBBB oldkey /root/.ssh/authorized_keys ssh-ed25519 AAAA amibake",
            "ssh-ed25519 AAAAA amibake",
            "command=\"ssh-ed25519 AAAA\" ssh-rsa CCCC",
            "no-pty ssh-rsa CCCC ssh-ed25519 AAAA",
            "ssh-ed25519",
        ] {
            assert!(!is_login_key(&format!("/f {foreign}"), login), "{foreign}");
        }
        assert!(!is_login_key("/f ssh-ed25519 AAAA", ""));
    }

    #[tokio::test]
    async fn a_key_file_without_a_last_newline_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let line = LOOK.lines().find(|l| l.contains("key ")).unwrap();
        let mut all = String::new();
        for name in ["one", "two"] {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("ssh-ed25519 {name}")).unwrap();
            all.push_str(&format!("file={}\n{line}\n", file.display()));
        }
        let said = script(&Local, Operation::LookAtCandidate, &all)
            .await
            .unwrap();
        let keys: Vec<&str> = said
            .lines()
            .filter_map(|l| l.rsplit_once(' '))
            .map(|(_, k)| k)
            .collect();
        assert_eq!(keys, ["one", "two"]);
    }

    #[tokio::test]
    async fn a_timer_is_ours_by_its_description_and_not_by_its_name() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let with = async |description: &str| {
            let systemctl = format!(
                "systemctl() {{ case \"$*\" in list-units*) echo amibake-deadman-1x.timer ;; \
                 *Description*) echo '{description}' ;; *UnitFileState*) echo transient ;; esac; }}\n"
            );
            let text = LOOK.replace("@TIMER@", &quote(&timer_name(&run, Role::Candidate)));
            let said = script(&Local, Operation::LookAtCandidate, &(systemctl + &text))
                .await
                .unwrap();
            said.lines().any(|l| l == "timer amibake-deadman-1x.timer")
        };
        assert!(!with("amibake 20260727t101500z-0a1b2c candidate").await);
        assert!(
            with("amibake 20260727t101500z-0a1b2c builder").await,
            "its user data ran again"
        );
        assert!(with("/usr/bin/systemctl poweroff --force").await);
    }

    #[test]
    fn an_http_test_ends_by_the_clock() {
        let test = Test::Http {
            url: "http://localhost/".into(),
            status: 200,
            contains: Some("Hello".into()),
            within: std::time::Duration::from_secs(60),
        };
        let tasks = test_tasks(&[test]).unwrap();
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let end = tasks[0]["ansible.builtin.set_fact"]["amibake_end"].as_str();
        assert_eq!(end, Some("{{ now(utc=true).timestamp() + 60 }}"));
        assert_eq!(tasks[1]["timeout"], 60);
        let until = tasks[1]["until"].as_str().unwrap();
        assert!(
            until.ends_with("now(utc=true).timestamp() >= amibake_end | float"),
            "{until}"
        );
        let failed = tasks[1]["failed_when"].as_str().unwrap();
        assert!(
            failed.contains("'Hello' in (amibake_answer.content)"),
            "{failed}"
        );
    }

    fn sealed() -> Sealed {
        Sealed {
            machine_id: "0123".to_owned(),
            units: vec!["ssh.service enabled".into(), "cron.service disabled".into()],
            residue: Vec::new(),
        }
    }

    const CLEAN: &str = "key /home/ubuntu/.ssh/authorized_keys ssh-ed25519 AAAA amibake\n\
                         unit ssh.service enabled\nunit cron.service disabled\nunit new.service enabled\n";

    #[test]
    fn a_clean_candidate_has_no_findings() {
        assert_eq!(
            findings(CLEAN, &sealed(), "ssh-ed25519 AAAA"),
            Findings::default()
        );
    }

    #[test]
    fn what_the_builder_left_fails_the_gate() {
        for (planted, wanted) in [
            (
                "key /root/.ssh/authorized_keys ssh-ed25519 BBBB old\n",
                "authorized key",
            ),
            ("residue /var/lib/amibake\n", "/var/lib/amibake"),
            ("shutdown USEC=1\n", "a shutdown is scheduled"),
            ("timer run-r1.timer\n", "a transient timer"),
            ("machine-id 0123\n", "machine-id of the builder"),
        ] {
            let findings = findings(&format!("{CLEAN}{planted}"), &sealed(), "ssh-ed25519 AAAA");
            assert_eq!(findings.failures.len(), 1, "{planted}");
            assert!(findings.failures[0].contains(wanted), "{findings:?}");
        }
    }

    #[test]
    fn a_unit_that_lost_its_state_fails_and_a_failed_unit_warns() {
        let said = "unit ssh.service disabled\nunit cron.service disabled\nfailed nginx.service\n";
        let findings = findings(said, &sealed(), "k");
        assert_eq!(
            findings.failures,
            ["unit ssh.service enabled when sealed, disabled in the image"]
        );
        assert_eq!(findings.warnings, ["unit nginx.service has failed"]);
    }

    #[test]
    fn text_of_a_test_is_data() {
        let test = Test::Command {
            run: "id".into(),
            status: 0,
            contains: Some("'}} or \\ true".into()),
        };
        let tasks = test_tasks(&[test]).unwrap();
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let condition = tasks[0]["failed_when"].as_str().unwrap();
        assert!(condition.contains(r"'\'}} or \\ true' in"), "{condition}");
    }
}
