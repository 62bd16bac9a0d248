# What one machine has and no image may have goes, as the last act on the builder.
work=$(mktemp -d /run/amibake-seal.XXXXXX) || fail "no folder could be made in /run"
trap 'rm -rf "$work"' EXIT
# Removes all that is in a folder, and nothing of what is mounted there: it is others', or elsewhere, too.
# What has a mount below it stays whole. Both ways walk by handles: a folder swapped for a link leads nowhere.
empty() {
  for folder; do
    [ -d "$folder" ] && [ ! -L "$folder" ] && ! is_remote "$folder" || continue
    held=$(awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo)
    if [ -z "$held" ]; then
      find "$folder" -xdev -mindepth 1 -delete 2>/dev/null
      continue
    fi
    find "$folder" -xdev -mindepth 1 -maxdepth 1 -print0 | HELD=$(printf '%b' "$held") xargs -0 -r sh -c '
      for entry; do
        case "
$HELD
" in *"
$entry
"*|*"
$entry/"*) continue ;; esac
        rm -rf --one-file-system -- "$entry"
      done' sh 2>/dev/null
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
