# The booted candidate: nothing of the builder is in it, it is what was sealed, and all of it works.
key_files | while IFS= read -r file; do
  # A last line without its end is a line too, and must not hide in the next file's.
  [ -f "$file" ] && KEY_FILE=$(plain "$file") awk '{ print "key\t" NR "\t" ENVIRON["KEY_FILE"] "\t" $0 }' "$file"
done
for key in /etc/ssh/ssh_host_*_key.pub; do
  [ ! -e "$key" ] || echo "host-key $(cut -d' ' -f2 "$key") $key"
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
systemctl --failed --no-legend --no-pager --plain 2>/dev/null | awk '{ print $1 }' | while read -r unit; do
  result=$(systemctl show -p Result --value "$unit" 2>/dev/null)
  why=$(journalctl --unit="$unit" --boot --output=cat --lines=1 --no-pager 2>/dev/null \
    | sed -E 's#(://[^:/@ ]*):[^@/ ]*@#\1:***@#g; s/((passw(or)?d|token|secret|key)["'"'"']?[=:][[:space:]]*)[^[:space:]]+/\1***/gI' | cut -c1-200)
  echo "failed $unit $(plain "$result: $why")"
done
echo "machine-id $(cat /etc/machine-id)"
# What others can reach: not what listens on this machine's own addresses of itself.
least=$(cut -f1 /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null)
ss -Hltunp 2>/dev/null | awk -v least="${least:-32768}" '
  { at = match($5, /:[0-9]+$/); if (!at) next
    address = substr($5, 1, at - 1); port = substr($5, at + 1) + 0; sub(/%.*/, "", address)
    if (address ~ /^(127\.|169\.254\.|\[::1\]|\[::ffff:127\.|\[fe80:)/) next
    # Clients ask from such ports: DHCP, and whatever the kernel gives.
    if ($1 == "udp" && (port == 68 || port == 546 || port >= least + 0)) next
    who = $7; sub(/^users:\(\("/, "", who); sub(/".*/, "", who)
    print "listens " $1 " " port " " (who == "" ? "?" : who) }' | sort -u
if ! in_container; then
  synchronized=$(timeout 5 timedatectl show -p NTPSynchronized --value 2>/dev/null)
  keeper=
  for unit in systemd-timesyncd.service chrony.service chronyd.service ntpsec.service ntp.service ntpd.service openntpd.service; do
    systemctl is-active --quiet "$unit" 2>/dev/null && keeper=$unit
  done
  [ -n "$keeper" ] || finding clock '' '' 'nothing keeps the clock: neither timesyncd nor chrony nor ntpd runs'
  [ -z "$keeper" ] || [ "$synchronized" != no ] || finding clock '' '' "$keeper has not synchronised the clock yet"
fi
echo "now $(date +%s)"
