//! Sealing: what one machine has and no image may have goes, as the last act on the builder.
//!
//! The list is EC2.md's sealed root. After it nobody connects again.

use super::{GuestError, Operation, RootShell, script};

/// What the builder was like just before sealing; the booted candidate is compared with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Units and whether they are enabled, as `systemctl list-unit-files` prints them.
    pub(crate) units: Vec<String>,
    /// Its machine-id, which no other machine may have.
    pub(crate) machine_id: String,
    /// What would not go: an image with any of it is none.
    pub(crate) residue: Vec<String>,
}

/// Seals the machine and returns what to compare the candidate with.
pub(crate) async fn seal(shell: &dyn RootShell) -> Result<Sealed, GuestError> {
    let said = script(shell, Operation::Seal, SEAL).await?;
    let lines = |kind: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|l| l.strip_prefix(kind));
        lines.map(str::to_owned).collect()
    };
    Ok(Sealed {
        units: lines("unit "),
        machine_id: lines("machine-id ").concat(),
        residue: lines("residue "),
    })
}

/// Prints the enabled-state of each unit file, one a line.
macro_rules! units {
    () => {
        r#"
systemctl list-unit-files --no-legend --no-pager --plain --type=service,timer,socket,path,mount,target 2>/dev/null \
  | awk '$2 != "transient" && $2 != "generated" && $2 != "masked-runtime" { print "unit " $1 " " $2 }' | sort
"#
    };
}
pub(super) use units;

const SEAL: &str = concat!(
    r#"
set -u
fail() { echo "$*" >&2; exit 1; }
# Give apt its timers back: they were held for the run only.
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service; do
  systemctl unmask --runtime "$unit" >/dev/null 2>&1 || true
done
"#,
    r#"
# The seed that was read at boot would be written again on the way down.
mkdir -p /run/systemd/system/systemd-random-seed.service.d
printf '[Service]\nExecStop=\n' > /run/systemd/system/systemd-random-seed.service.d/amibake.conf
systemctl daemon-reload >/dev/null 2>&1 || true
"#,
    units!(),
    r#"
# From here on nothing is written to the disk's journal.
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' > /run/systemd/journald.conf.d/amibake.conf
systemctl stop rsyslog.service syslog.socket >/dev/null 2>&1 || true
systemctl restart systemd-journald >/dev/null 2>&1 || true

# Packages: lists and archives.
apt-get clean >/dev/null 2>&1 || true
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
# By its date the empty folder would pass for a fresh cache.
touch --date=@0 /var/lib/apt/lists 2>/dev/null

# Registrations that name this machine.
systemctl stop snap.amazon-ssm-agent.amazon-ssm-agent.service amazon-ssm-agent.service >/dev/null 2>&1 || true
rm -rf /var/lib/amazon/ssm/* /var/snap/amazon-ssm-agent/*/var/lib/amazon/ssm/*
if command -v pro >/dev/null 2>&1 && pro status --format json 2>/dev/null | grep -q '"attached": true'; then
  pro detach --assume-yes >/dev/null 2>&1 || fail "Ubuntu Pro could not be detached"
fi
rm -rf /var/lib/ubuntu-advantage/private /var/lib/ubuntu-advantage/machine-access
# A store's serial was given for the key: a machine without both asks for its own.
systemctl stop snapd.socket snapd.service >/dev/null 2>&1 || true
rm -rf /var/lib/snapd/device/private-keys-v1/* /var/lib/snapd/assertions/asserts-v0/serial
if [ -e /var/lib/snapd/state.json ]; then
  for name in serial key-id session-macaroon; do
    sed -i -E "s/(\"device\":\{[^}]*\"$name\":\")[^\"]*/\1/" /var/lib/snapd/state.json
  done
fi

# cloud-init: its state, the user data it kept, the network and sudo rules it rendered.
rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem \
  /var/lib/cloud/handlers /var/lib/cloud/scripts/per-instance/* /run/cloud-init/instance-data*.json
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init* /etc/systemd/network/10-cloud-init-*.network \
  /etc/udev/rules.d/70-persistent-net.rules /etc/sudoers.d/90-cloud-init-users
rm -f /var/lib/dhcp/* /var/lib/dhclient/* /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*

# Who may log in, and how the machine proves itself.
rm -f /etc/ssh/ssh_host_* /etc/ssh/amibake_new_key*
cut -d: -f6 /etc/passwd | sort -u | while read -r home; do
  [ -n "$home" ] && [ "$home" != / ] && [ -d "$home" ] || continue
  rm -f "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"
  rm -f "$home/.bash_history" "$home/.zsh_history" "$home/.python_history" "$home/.lesshst" "$home/.viminfo" \
    "$home/.wget-hsts" "$home/.sudo_as_admin_successful" "$home/.ansible_async"
  rm -rf "$home/.ansible" "$home/.cache/amibake"
done

echo "machine-id $(cat /etc/machine-id)"
# Identity: truncated, never removed, or systemd would take a first boot and re-apply presets.
: > /etc/machine-id
if [ -e /var/lib/dbus/machine-id ] || [ -L /var/lib/dbus/machine-id ]; then ln -sfn /etc/machine-id /var/lib/dbus/machine-id; fi
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /loader/random-seed /boot/efi/loader/random-seed
if [ -e /etc/hostname ]; then echo localhost > /etc/hostname; fi

# Whoever holds a log open would write into it on the way down: these services end now.
find /proc/[0-9]*/fd -lname '/var/log/*' 2>/dev/null | cut -d/ -f3 | sort -u | while read -r pid; do
  sed -n 's|^.*/\([^/]*\.service\).*$|\1|p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1
done | sort -u | while read -r unit; do
  case "$unit" in ssh*|systemd-*|cloud-*) ;; *) systemctl stop "$unit" </dev/null >/dev/null 2>&1 || true ;; esac
done

# Traces of work.
rm -rf /tmp/* /tmp/.[!.]* /var/tmp/* /var/tmp/.[!.]* /var/crash/* /root/.cache/pip
find /var/log -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' -o -name '*-????????' \) -delete
rm -rf /var/log/journal/* /var/log/cloud-init.log /var/log/cloud-init-output.log
for _ in 1 2 3 4 5; do
  find /var/log -type f -size +0 -exec truncate --size 0 {} + 2>/dev/null
  [ -n "$(find /var/log -type f -size +0 -print -quit)" ] || break
  sleep 0.2 # somebody writes
done

# Ourselves. The dead-man timer lives in /run and goes with the power.
rm -rf /var/lib/amibake /run/amibake
sync

# What is left is asked for, not assumed: a file may be immutable, or held by a mount.
for path in /etc/ssh/ssh_host_* /etc/ssh/amibake_new_key* /var/lib/amibake /run/amibake /var/lib/cloud/instance \
  /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem /etc/netplan/50-cloud-init.yaml \
  /etc/network/interfaces.d/50-cloud-init* /etc/systemd/network/10-cloud-init-*.network \
  /etc/udev/rules.d/70-persistent-net.rules /etc/sudoers.d/90-cloud-init-users /var/lib/systemd/random-seed \
  /var/lib/systemd/credential.secret /var/lib/dhcp/*.lease* /var/lib/dhclient/*.lease* /var/lib/ubuntu-advantage/private \
  /var/lib/ubuntu-advantage/machine-access /var/lib/snapd/device/private-keys-v1/* /var/lib/snapd/assertions/asserts-v0/serial \
  /var/lib/apt/lists/*_Packages* /var/log/journal/*/*.journal; do
  if [ -e "$path" ] || [ -L "$path" ]; then echo "residue $path"; fi
done
find /var/log -type f -size +0 -printf 'residue %p\n'
grep -qE '"device":\{[^}]*"serial":"[^"]' /var/lib/snapd/state.json 2>/dev/null && echo "residue /var/lib/snapd/state.json (a serial)"
cut -d: -f6 /etc/passwd | sort -u | while read -r home; do
  for file in authorized_keys authorized_keys2; do
    [ -e "$home/.ssh/$file" ] && echo "residue $home/.ssh/$file"
  done
  for file in .bash_history .zsh_history .python_history .lesshst .viminfo .wget-hsts .ansible .cache/amibake; do
    [ -e "$home/$file" ] && echo "residue $home/$file"
  done
done
[ -e /etc/machine-id ] || echo "residue /etc/machine-id (it must be there, and empty)"
[ ! -s /etc/machine-id ] || echo "residue /etc/machine-id"
exit 0
"#
);
