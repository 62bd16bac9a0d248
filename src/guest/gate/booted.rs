//! The booted half: nothing of the builder is in the candidate, it is what was sealed, and what only a
//! boot shows is as it should be.

use time::OffsetDateTime;

use super::super::prepare::timer_name;
use super::super::script::{BOOTED_HALF, script_of};
use super::super::seal::Sealed;
use super::super::{GuestError, Operation, RootShell, script};
use super::{Finding, findings};
use crate::check::Check;
use crate::run::RunId;
use crate::targets::Role;

/// A clock this far off makes certificates and tokens invalid.
const CLOCK_OFF: u64 = 5 * 60;

/// What a candidate is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) sealed: &'a Sealed,
    /// The public half of the one key that may be in its authorized keys, as one line.
    pub(crate) login: &'a str,
    /// What may listen: `image.ports`, and where it is connected to.
    pub(crate) ports: &'a [u16],
}

/// Looks at the candidate of `run` that `shell` is on.
pub(crate) async fn look(
    shell: &dyn RootShell,
    run: &RunId,
    wanted: Wanted<'_>,
) -> Result<Vec<Finding>, GuestError> {
    let ours = timer_name(run, Role::Candidate);
    let text = script_of(BOOTED_HALF, &[("@TIMER@", &ours)]);
    let said = script(shell, Operation::LookAtCandidate, &text).await?;
    Ok(found(
        &said,
        wanted,
        OffsetDateTime::now_utc().unix_timestamp(),
    ))
}

/// Reads what the script said at `now`, in seconds since 1970.
fn found(said: &str, wanted: Wanted<'_>, now: i64) -> Vec<Finding> {
    let mut found: Vec<Finding> = said
        .lines()
        .filter_map(|l| finding(l, wanted, now))
        .collect();
    found.extend(findings(said));
    let units: Vec<&str> = said
        .lines()
        .filter_map(|l| l.strip_prefix("unit "))
        .collect();
    found.extend(changed(&wanted.sealed.units, &units));
    found
}

/// Returns what is wrong with one line of what the script said.
fn finding(line: &str, wanted: Wanted<'_>, now: i64) -> Option<Finding> {
    if let Some(key) = line.strip_prefix("key\t") {
        return foreign_key(key, wanted.login);
    }
    let (kind, rest) = line.split_once(' ')?;
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let residue = |what: String| Some(Finding::new(Check::BuilderResidue, what));
    match kind {
        "residue" => residue("is in the image".to_owned()).map(|f| f.at(rest)),
        "shutdown" => residue(format!("a shutdown is scheduled: {}", rest.trim())),
        "timer" => residue(format!("a transient timer runs: {rest}")),
        "machine-id" if rest == wanted.sealed.machine_id => {
            let what = "the machine-id of the builder is in the image";
            Some(Finding::new(Check::MachineId, what))
        }
        "host-key" if wanted.sealed.host_keys.iter().any(|key| key == first) => {
            Some(Finding::new(Check::HostKeys, "is a host key of the builder").at(more))
        }
        "failed" => {
            let why = match more.trim_end_matches([':', ' ']) {
                "" => String::new(),
                why => format!(" ({why})"),
            };
            let what = format!("unit {first} has failed{why}");
            Some(Finding::new(Check::FailedUnit, what))
        }
        "listens" => unexpected_port(rest, wanted.ports),
        "now" => clock_off(rest.parse().ok()?, now),
        _ => None,
    }
}

/// `rest` is `tcp 8080 nginx`.
fn unexpected_port(rest: &str, ports: &[u16]) -> Option<Finding> {
    let mut words = rest.split(' ');
    let (protocol, port) = (words.next()?, words.next()?);
    if port.parse().is_ok_and(|port: u16| ports.contains(&port)) {
        return None;
    }
    let who = match words.next() {
        None | Some("?") => "something".to_owned(),
        Some(who) => who.to_owned(),
    };
    let what = format!("{who} listens on port {port}/{protocol}, which is not in image.ports");
    Some(Finding::new(Check::ListeningPort, what))
}

fn clock_off(theirs: i64, ours: i64) -> Option<Finding> {
    let seconds = theirs.abs_diff(ours);
    let what = format!("the clock is {seconds} s off this machine's");
    (seconds > CLOCK_OFF).then(|| Finding::new(Check::Clock, what))
}

/// `rest` is the number of a line, a file, and that line of it, parted by tabs.
fn foreign_key(rest: &str, login: &str) -> Option<Finding> {
    let mut parts = rest.splitn(3, '\t');
    let (number, file, line) = (parts.next()?, parts.next()?, parts.next()?.trim());
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let is_ours = key_of(line).is_some_and(|key| Some(key) == key_of(login));
    let found = Finding::new(
        Check::AuthorizedKeys,
        "a key that is not this machine's own",
    );
    let line = number.parse().ok();
    (!is_ours).then(|| Finding {
        line,
        ..found.at(file)
    })
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

/// Returns the units that have lost the state they had. Without any nothing was listed.
fn changed(before: &[String], now: &[&str]) -> Vec<Finding> {
    let lost = before.iter().filter(|unit| !now.contains(&unit.as_str()));
    lost.map(|unit| {
        let name = unit.split(' ').next().unwrap_or(unit);
        let state = now
            .iter()
            .find_map(|n| n.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
        let state = state.map_or("gone", str::trim);
        let what = format!("unit {unit} when sealed, {state} in the image");
        Finding::new(Check::UnitState, what)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    fn is_foreign(line: &str, login: &str) -> bool {
        foreign_key(&format!("3\t/a file\t{line}"), login).is_some()
    }

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
            assert!(!is_foreign(ours, login), "{ours}");
        }
        for foreign in [
            "ssh-ed25519 BBBB oldkey /root/.ssh/authorized_keys ssh-ed25519 AAAA amibake",
            "ssh-ed25519 AAAAA amibake",
            "command=\"ssh-ed25519 AAAA\" ssh-rsa CCCC",
            "no-pty ssh-rsa CCCC ssh-ed25519 AAAA",
            "ssh-ed25519",
        ] {
            assert!(is_foreign(foreign, login), "{foreign}");
        }
        assert!(is_foreign("ssh-ed25519 AAAA", ""));
    }

    #[tokio::test]
    async fn a_key_file_without_a_last_newline_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let parts = BOOTED_HALF[0];
        let reading = parts.find("for key in").unwrap();
        let mut files = String::new();
        for name in ["one", "two"] {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("ssh-ed25519 {name}")).unwrap();
            files.push_str(&format!(" {}", file.display()));
        }
        let text = format!(
            "key_files() {{ printf '%s\\n'{files}; }}\n{}",
            &parts[..reading]
        );
        let said = script(
            &Local,
            Operation::LookAtCandidate,
            &script_of([&&*text], &[]),
        )
        .await
        .unwrap();
        let keys = said.lines().filter_map(|l| l.rsplit_once(' '));
        let keys: Vec<&str> = keys.map(|(_, key)| key).collect();
        assert_eq!(keys, ["one", "two"]);
    }

    #[tokio::test]
    async fn a_timer_is_ours_by_its_description_and_not_by_its_name() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let ours = timer_name(&run, Role::Candidate);
        let with = async |description: &str| {
            let systemctl = format!(
                "systemctl() {{ case \"$*\" in list-units*) echo amibake-deadman-1x.timer ;; \
                 *Description*) echo '{description}' ;; *UnitFileState*) echo transient ;; esac; }}\n"
            );
            let parts = [&*systemctl].into_iter().chain(BOOTED_HALF.iter().copied());
            let parts: Vec<&str> = parts.collect();
            let text = script_of(&parts, &[("@TIMER@", &ours)]);
            let said = script(&Local, Operation::LookAtCandidate, &text).await;
            let said = said.unwrap();
            said.lines().any(|l| l == "timer amibake-deadman-1x.timer")
        };
        assert!(!with("amibake 20260727t101500z-0a1b2c candidate").await);
        assert!(
            with("amibake 20260727t101500z-0a1b2c builder").await,
            "its user data ran again"
        );
        assert!(with("/usr/bin/systemctl poweroff --force").await);
    }

    fn sealed() -> Sealed {
        Sealed {
            machine_id: "0123".to_owned(),
            host_keys: vec!["HHHH".to_owned()],
            units: vec!["ssh.service enabled".into(), "cron.service disabled".into()],
            ..Sealed::default()
        }
    }

    /// Returns what is found at 1000 s where the script said this.
    fn found_in(said: &str) -> Vec<String> {
        let sealed = sealed();
        let wanted = Wanted {
            sealed: &sealed,
            login: "ssh-ed25519 AAAA",
            ports: &[22, 8080],
        };
        found(said, wanted, 1000)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const CLEAN: &str = "key\t1\t/home/ubuntu/.ssh/authorized_keys\tssh-ed25519 AAAA amibake\n\
                         host-key NNNN /etc/ssh/ssh_host_rsa_key.pub\nlistens tcp 22 sshd\nlistens udp 8080 web\nnow 1299\n\
                         unit ssh.service enabled\nunit cron.service disabled\nunit new.service enabled\n";

    #[test]
    fn a_clean_candidate_has_no_findings() {
        assert_eq!(found_in(CLEAN), [""; 0]);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found_and_named() {
        for (planted, wanted) in [
            (
                "key\t7\t/root/.ssh/authorized_keys\tssh-ed25519 BBBB old\n",
                "authorized-keys: /root/.ssh/authorized_keys:7: a key that is not this machine's own",
            ),
            (
                "residue /var/lib/amibake\n",
                "builder-residue: /var/lib/amibake is in the image",
            ),
            (
                "shutdown USEC=1 \n",
                "builder-residue: a shutdown is scheduled: USEC=1",
            ),
            (
                "timer run-r1.timer\n",
                "builder-residue: a transient timer runs: run-r1.timer",
            ),
            (
                "machine-id 0123\n",
                "machine-id: the machine-id of the builder is in the image",
            ),
            (
                "host-key HHHH /etc/ssh/ssh_host_ecdsa_key.pub\n",
                "host-keys: /etc/ssh/ssh_host_ecdsa_key.pub is a host key of the builder",
            ),
            (
                "failed a.service exit-code: no such file\n",
                "failed-unit: unit a.service has failed (exit-code: no such file)",
            ),
            (
                "failed a.service : \n",
                "failed-unit: unit a.service has failed",
            ),
            (
                "listens tcp 3306 mysqld\n",
                "listening-port: mysqld listens on port 3306/tcp, which is not in image.ports",
            ),
            ("now 1301\n", "clock: the clock is 301 s off this machine's"),
            (
                "finding\tclock\t\t\tnothing keeps the clock\n",
                "clock: nothing keeps the clock",
            ),
        ] {
            assert_eq!(
                found_in(&format!("{CLEAN}{planted}")),
                [wanted],
                "{planted}"
            );
        }
    }

    #[test]
    fn a_unit_that_lost_its_state_is_told_with_both() {
        assert_eq!(
            found_in("unit ssh.service disabled\nunit cron.service disabled\n"),
            ["unit-state: unit ssh.service enabled when sealed, disabled in the image"]
        );
    }
}
