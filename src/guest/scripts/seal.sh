# What one machine has and no image may have goes, as the last act on the builder.
work=$(mktemp -d /run/amibake-seal.XXXXXX) || fail "no folder could be made in /run"
trap 'rm -rf "$work"' EXIT
# Removes all that is in a folder, and nothing of what is mounted there: it is others', or elsewhere, too.
empty() {
  for folder; do
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    case $(stat -f -c %T "$folder") in nfs*|smb*|cifs|fuse*|ceph|afs|9p|v9fs) continue ;; esac
    empty_but "$folder" "$(awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo)"
  done
}
# A folder, and what is mounted below it: a name a line, as mountinfo writes it.
empty_but() {
  top=$1
  IFS='
'
  set -f
  # shellcheck disable=SC2086
  set -- $2
  set +f
  unset IFS
  count=$#
  while [ "$count" -gt 0 ]; do
    set -- "$@" -path "$(printf '%b' "$1" | sed 's/[][*?\\]/\\&/g')" -prune -o
    shift
    count=$((count - 1))
  done
  find "$top" -xdev -mindepth 1 "$@" -print0 2>/dev/null | sort -rz | xargs -0 -r rm -fd -- 2>/dev/null
}
# Give apt its timers back: they were held for the run only.
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service unattended-upgrades.service; do
  systemctl unmask --runtime "$unit" >/dev/null 2>&1 || true
done
# The seed that was read at boot would be written again on the way down.
mkdir -p /run/systemd/system/systemd-random-seed.service.d
printf '[Service]\nExecStop=\n' > /run/systemd/system/systemd-random-seed.service.d/amibake.conf
systemctl daemon-reload >/dev/null 2>&1 || true
