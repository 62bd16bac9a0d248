# From here on nothing is written to the disk's journal. The last file of this kind counts.
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' > /run/systemd/journald.conf.d/zzzz-amibake.conf
systemctl stop rsyslog.service syslog.socket >/dev/null 2>&1 || true
systemctl restart systemd-journald >/dev/null 2>&1 || true
# auditd lets systemd not stop it, and would log each of the next lines.
auditd=$(systemctl show -p MainPID --value auditd.service 2>/dev/null)
if [ "${auditd:-0}" -gt 1 ] && kill -TERM "$auditd" 2>/dev/null; then
  for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$auditd" 2>/dev/null || break; sleep 0.2; done
fi

# Packages: lists and archives.
apt-get clean >/dev/null 2>&1 || true
empty /var/lib/apt/lists
rm -f /var/cache/apt/*.bin
# By its date the empty folder would pass for a fresh cache.
touch --date=@0 /var/lib/apt/lists 2>/dev/null

# cloud-init: its state, the user data it kept, the network and sudo rules it rendered.
rm -rf --one-file-system /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem \
  /var/lib/cloud/handlers /var/lib/cloud/scripts/per-instance/* /run/cloud-init/instance-data*.json
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init* /etc/systemd/network/10-cloud-init-*.network \
  /etc/systemd/network/50-cloud-init-*.link /etc/NetworkManager/system-connections/cloud-init-*.nmconnection \
  /etc/udev/rules.d/70-persistent-net.rules /etc/udev/rules.d/85-persistent-net-cloud-init.rules /etc/sudoers.d/90-cloud-init-users
rm -f /var/lib/dhcp/* /var/lib/dhclient/* /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*

# How the machine proves itself, and who may log in: for the last time sshd says where it looks.
for key in /etc/ssh/ssh_host_*_key.pub; do
  [ ! -e "$key" ] || echo "host-key $(cut -d' ' -f2 "$key")"
done
key_files > "$work/key-files"
while IFS= read -r file; do
  { [ -e "$file" ] || [ -L "$file" ]; } && ! is_remote "$file" || continue
  others=0
  # A pipe would wait for somebody who writes.
  [ ! -f "$file" ] || others=$(grep -vE '^[[:space:]]*(#|$)' "$file" 2>/dev/null | grep -cvF -- @LOGIN@)
  [ "${others:-0}" = 0 ] || say "sealing removed $file, with $others authorized key(s) that are not the build's own"
  rm -f "$file"
done < "$work/key-files"
rm -f /etc/ssh/ssh_host_* /etc/ssh/amibake_new_key*
homes | while IFS= read -r home; do
  rm -f "$home"/.*_history "$home/.local/share/fish/fish_history" "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" \
    "$home/.sudo_as_admin_successful" 2>/dev/null
  rm -rf --one-file-system "$home/.ansible" "$home/.ansible_async" "$home/.mongodb/mongosh" "$home/.cache/amibake"
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
empty /tmp /var/tmp /var/crash
rm -rf --one-file-system /root/.cache/pip
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' -o -name '*-????????' \) -delete
empty /var/log/journal
rm -f /var/log/cloud-init.log /var/log/cloud-init-output.log
for _ in 1 2 3 4 5; do
  find /var/log -xdev -type f -size +0 -exec truncate --size 0 {} + 2>/dev/null
  [ -n "$(find /var/log -xdev -type f -size +0 -print -quit)" ] || break
  sleep 0.2 # somebody writes
done

# Ourselves. The dead-man timer lives in /run and goes with the power.
rm -rf --one-file-system /var/lib/amibake /run/amibake
sync

# What is left is asked for, not assumed: a file may be immutable, or held by a mount.
left() { printf 'residue %s\n' "$(plain "$1")"; }
for path in /etc/ssh/ssh_host_* /etc/ssh/amibake_new_key* /var/lib/amibake /run/amibake /var/lib/cloud/instance \
  /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem /etc/netplan/50-cloud-init.yaml \
  /etc/network/interfaces.d/50-cloud-init* /etc/systemd/network/10-cloud-init-*.network /etc/systemd/network/50-cloud-init-*.link \
  /etc/NetworkManager/system-connections/cloud-init-*.nmconnection /etc/udev/rules.d/70-persistent-net.rules \
  /etc/udev/rules.d/85-persistent-net-cloud-init.rules /etc/sudoers.d/90-cloud-init-users /var/lib/systemd/random-seed \
  /var/lib/systemd/credential.secret /var/lib/dhcp/*.lease* /var/lib/dhclient/*.lease* /var/lib/ubuntu-advantage/private \
  /var/lib/ubuntu-advantage/machine-access /var/lib/snapd/device/private-keys-v1/* /var/lib/snapd/assertions/asserts-v0/serial \
  /var/lib/landscape/client/*.bpickle /var/lib/apt/lists/*_Packages* /var/log/journal/*/*.journal; do
  if [ -e "$path" ] || [ -L "$path" ]; then left "$path"; fi
done
find /var/log -xdev -type f -size +0 -printf '%p\n' | head -n 50 | while IFS= read -r path; do left "$path"; done
if grep -qE '"device":\{[^}]*"serial":"[^"]' /var/lib/snapd/state.json 2>/dev/null; then left '/var/lib/snapd/state.json (a serial)'; fi
if grep -qE '"(store-)?macaroon":"[^"]' /var/lib/snapd/state.json 2>/dev/null; then left '/var/lib/snapd/state.json (the login of a user of the store: snap logout)'; fi
while IFS= read -r file; do [ ! -e "$file" ] || is_remote "$file" || left "$file"; done < "$work/key-files"
homes | while IFS= read -r home; do
  for file in "$home"/.*_history "$home/.local/share/fish/fish_history" "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts" \
    "$home/.ansible" "$home/.ansible_async" "$home/.cache/amibake"; do
    [ ! -e "$file" ] || left "$file"
  done
done
[ -e /etc/machine-id ] || left '/etc/machine-id (it must be there, and empty)'
[ ! -s /etc/machine-id ] || left /etc/machine-id
