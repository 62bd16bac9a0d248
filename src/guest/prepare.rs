//! Before the first task: the machine has finished booting, and apt is ours alone.

use std::time::Duration;

use amibake_playbook::shell::quote;

use super::{GuestError, Operation, RootShell, script};
use crate::run::RunId;
use crate::targets::Role;

/// What was noticed while the machine got ready.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Sentences for the user: cloud-init ended degraded, the clock is off.
    pub(crate) warnings: Vec<String>,
}

/// Waits for cloud-init and the package locks; on a builder, holds apt's own timers for the run.
///
/// Masking is done in /run, so a reboot (and so the image) has them as before. A candidate is
/// looked at as it boots, and nothing is held there.
///
/// # Errors
/// [`GuestError::Failed`] when the time ran out, with the log's tail. What cloud-init itself could
/// not do is a warning.
pub(crate) async fn wait_until_ready(
    shell: &dyn RootShell,
    limit: Duration,
    role: Role,
) -> Result<Ready, GuestError> {
    let seconds = limit.as_secs().max(1);
    let hold = if role == Role::Builder { HOLD_APT } else { "" };
    let text = READY
        .replace("@FINAL@", AWAIT_FINAL)
        .replace("@SECONDS@", &seconds.to_string())
        .replace("@HOLD@", hold);
    let said = script(shell, Operation::AwaitFirstBoot, &text).await?;
    let warnings = said
        .lines()
        .filter_map(|l| l.strip_prefix("warning: "))
        .map(str::to_owned)
        .collect();
    Ok(Ready { warnings })
}

const READY: &str = r#"
set -u
deadline=$(( $(date +%s) + @SECONDS@ ))
left() { n=$(( deadline - $(date +%s) )); [ "$n" -gt 1 ] && echo "$n" || echo 1; }
if command -v cloud-init >/dev/null 2>&1; then
  late() { echo "cloud-init was not done in time; the end of its log:" >&2
    tail -n 15 /var/log/cloud-init-output.log >&2; exit 1; }
  # Status 2 is "degraded": done, with recoverable errors.
  state=$(timeout "$(left)" cloud-init status --wait --long 2>&1); [ $? = 124 ] && late
@FINAL@
  case "$state" in
    *"status: error"*) echo "warning: cloud-init ended with errors: $(echo "$state" | tr '\n' ' ')" ;;
    *degraded*) echo "warning: cloud-init is degraded: $(echo "$state" | tr '\n' ' ')" ;;
  esac
fi
@HOLD@
# The locks are POSIX record locks: only their holders in /proc/locks tell.
held() {
  for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
    [ -e "$file" ] || continue
    inode=$(stat -c %i "$file")
    grep -q ":$inode " /proc/locks && { echo "$file"; return 0; }
  done
  return 1
}
while file=$(held); do
  if [ "$(date +%s)" -ge "$deadline" ]; then echo "$file is still locked by another process" >&2; exit 1; fi
  sleep 0.5
done
if command -v timedatectl >/dev/null 2>&1; then
  sync=$(timeout 5 timedatectl show -p NTPSynchronized --value 2>/dev/null)
  ntp=$(timeout 5 timedatectl show -p NTP --value 2>/dev/null)
  if [ "$ntp" = yes ] && [ "$sync" = no ]; then
    i=0
    while [ "$i" -lt 20 ] && [ "$(timeout 5 timedatectl show -p NTPSynchronized --value)" = no ]; do sleep 0.5; i=$((i + 1)); done
    [ "$i" -lt 20 ] || echo "warning: the clock is not synchronised"
  fi
fi
exit 0
"#;

/// Once a module has failed, `status --wait` of cloud-init before 24.1 says "error" and waits no
/// longer, whatever is still to come. Its last stage, which runs what users ask for, ends with
/// result.json. A stage that is neither under way nor queued (masked, killed) writes none.
const AWAIT_FINAL: &str = r#"
  coming() {
    case "$(systemctl show -p ActiveState --value cloud-final.service 2>/dev/null)" in *activating) return 0 ;; esac
    case "$(systemctl show -p Job --value cloud-final.service 2>/dev/null)" in ''|0) return 1 ;; esac
  }
  case "$state" in
    *"status: error"*)
      while [ ! -e /run/cloud-init/result.json ] && coming; do
        [ "$(date +%s)" -lt "$deadline" ] || late
        sleep 0.25
      done
      state=$(timeout "$(left)" cloud-init status --long 2>&1) ;;
  esac
"#;

const HOLD_APT: &str = r#"
if [ -d /run/systemd/system ]; then
  for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service; do
    systemctl cat "$unit" >/dev/null 2>&1 || continue
    systemctl mask --runtime --now "$unit" >/dev/null 2>&1 || true
  done
fi
"#;

/// Makes the guest a new ed25519 host key, which only it knows, and returns its public half as one
/// line (`ssh-ed25519 AAAA…`). The one from the user data is gone with it.
pub(crate) async fn new_host_key(shell: &dyn RootShell) -> Result<String, GuestError> {
    let text = NEW_HOST_KEY.replace("@RESTART@", RESTART_SSHD);
    let line = script(shell, Operation::NewHostKey, &text).await?;
    Ok(line.trim().to_owned())
}

const NEW_HOST_KEY: &str = r#"
set -eu
umask 077
rm -f /etc/ssh/amibake_new_key /etc/ssh/amibake_new_key.pub
ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/amibake_new_key
chmod 0644 /etc/ssh/amibake_new_key.pub
mv /etc/ssh/amibake_new_key.pub /etc/ssh/ssh_host_ed25519_key.pub
mv /etc/ssh/amibake_new_key /etc/ssh/ssh_host_ed25519_key
for key in /etc/ssh/ssh_host_*_key; do
  [ "$key" = /etc/ssh/ssh_host_ed25519_key ] || rm -f "$key" "$key.pub"
done
@RESTART@
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
"#;

/// sshd shows the keys that it loaded when it started (since 9.8; before, each connection read them
/// anew). Where a socket starts it, it runs since our first connection, and gets the socket again:
/// that belongs to systemd. Connections that stand go on: only the main process is ended. An sshd
/// that is started for each connection has nothing to restart.
const RESTART_SSHD: &str = r#"
for unit in ssh.service sshd.service; do
  if systemctl is-active --quiet "$unit" 2>/dev/null; then systemctl restart "$unit"; break; fi
done
"#;

/// Returns what the dead-man timer of a machine is described as: the gate knows it by that.
pub(crate) fn timer_name(run: &RunId, role: Role) -> String {
    format!("amibake {run} {role}")
}

/// Sets the machine's own end back to `lifetime` from now. The timer lives in /run alone.
pub(crate) async fn renew_timer(
    shell: &dyn RootShell,
    run: &RunId,
    role: Role,
    lifetime: Duration,
) -> Result<(), GuestError> {
    let text = RENEW
        .replace("@NAME@", &quote(&timer_name(run, role)))
        .replace("@SECONDS@", &lifetime.as_secs().to_string())
        .replace("@POWER_OFF@", POWER_OFF);
    script(shell, Operation::RenewTimer, &text).await.map(drop)
}

/// The new timer is armed before the old one goes: at no time is there none.
const RENEW: &str = r#"
set -eu
old=$(systemctl list-units --plain --no-legend --all 'amibake-deadman*.timer' | awk '{ print $1 }')
systemd-run --quiet --collect --unit="amibake-deadman-$(date +%s%N)" --description=@NAME@ --on-active=@SECONDS@s \
  --timer-property=AccuracySec=1s --timer-property=DefaultDependencies=no @POWER_OFF@
for timer in $old; do systemctl stop "$timer"; done
"#;

/// How a machine that nobody comes back for ends.
const POWER_OFF: &str = "systemctl poweroff --force";

/// Returns the shell command that arms the dead-man timer; user data runs it at each boot.
///
/// Boot commands run before sysinit.target, which a timer waits for by default: hence the property
/// and `--no-block`.
pub(crate) fn arm_timer(run: &RunId, role: Role, lifetime: Duration) -> String {
    let name = quote(&timer_name(run, role));
    format!(
        "systemctl stop 'amibake-deadman*.timer' 2>/dev/null; systemd-run --quiet --collect --no-block \
         --unit=amibake-deadman --description={name} --on-active={}s --timer-property=AccuracySec=1s \
         --timer-property=DefaultDependencies=no {POWER_OFF}",
        lifetime.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[tokio::test]
    async fn an_sshd_that_a_socket_started_is_restarted_too() {
        let on = async |active: &str| {
            let systemctl = format!(
                "set -eu\nsystemctl() {{ case \"$*\" in 'is-active --quiet '*) \
                 case ' {active} ' in *\" $3 \"*) return 0 ;; esac; return 3 ;; *) echo \"$*\" ;; esac; }}\n"
            );
            let text = systemctl + RESTART_SSHD;
            script(&Local, Operation::NewHostKey, &text)
                .await
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(on("ssh.socket ssh.service").await, "restart ssh.service");
        assert_eq!(on("ssh.service sshd.service").await, "restart ssh.service");
        assert_eq!(on("sshd.service").await, "restart sshd.service");
        assert_eq!(on("sshd.socket").await, "", "one for each connection");
    }

    /// What is waited for after `cloud-init status --wait` has said `state`, on a machine where
    /// cloud-final is as `states` say, one look after another, and writes no result.
    async fn looks_at_the_final_stage(state: &str, states: &[&str]) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let looks = folder.path().join("looks");
        let looks = quote(looks.to_str().unwrap());
        let text = format!(
            "set -u; deadline=99999999999; left() {{ echo 9; }}; timeout() {{ echo 'status: error'; }}\n\
             systemctl() {{ [ \"$3\" = ActiveState ] || return 0; echo >> {looks}\n\
             set -- {}; shift $(($(wc -l < {looks}) - 1)); echo \"$1\"; }}\n\
             state='{state}'; touch {looks}\n{AWAIT_FINAL}\nwc -l < {looks}",
            states.join(" ")
        );
        let said = script(&Local, Operation::AwaitFirstBoot, &text)
            .await
            .unwrap();
        said.trim().parse().unwrap()
    }

    #[tokio::test]
    async fn after_an_early_error_the_final_stage_is_waited_for_while_it_may_come() {
        let looks = looks_at_the_final_stage;
        assert_eq!(looks("status: error", &["activating", "failed"]).await, 2);
        assert_eq!(looks("status: error", &["inactive"]).await, 1, "masked");
        assert_eq!(looks("status: done", &["activating"]).await, 0);
    }
}
