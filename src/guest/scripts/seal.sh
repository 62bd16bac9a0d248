# What one machine has and no image may have goes, as the last act on the builder.
work=$(mktemp -d /run/amibake-seal.XXXXXX) || fail "no folder could be made in /run"
trap 'rm -rf "$work"' EXIT
# Removes all that is in a folder, and nothing of what is mounted there: others' files.
empty() {
  for folder; do
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    case $(stat -f -c %T "$folder") in nfs*|smb*|cifs|fuse*|ceph|afs|9p|v9fs) continue ;; esac
    find "$folder" -xdev -mindepth 1 -delete 2>/dev/null
  done
}
# Give apt its timers back: they were held for the run only.
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service; do
  systemctl unmask --runtime "$unit" >/dev/null 2>&1 || true
done
# The seed that was read at boot would be written again on the way down.
mkdir -p /run/systemd/system/systemd-random-seed.service.d
printf '[Service]\nExecStop=\n' > /run/systemd/system/systemd-random-seed.service.d/amibake.conf
systemctl daemon-reload >/dev/null 2>&1 || true
