# Swap may hold whatever was in memory, an opened vault too: it is switched off, overwritten (a snapshot
# has the blocks, not the files) and made anew under its name. A container sees its host's, and has files alone.
zero() {
  size=$(blockdev --getsize64 "$1" 2>/dev/null || stat -L -c %s "$1") || return 1
  head -c "$size" /dev/zero | dd of="$1" bs=1M iflag=fullblock conv=notrunc,fsync status=none
}
renew_swap() {
  # Nothing that is no swap is overwritten, whatever fstab calls it.
  [ "$(blkid -p -o value -s TYPE "$1" 2>/dev/null)" = swap ] || return 0
  uuid=$(blkid -p -o value -s UUID "$1" 2>/dev/null)
  label=$(blkid -p -o value -s LABEL "$1" 2>/dev/null)
  zero "$1" && mkswap ${uuid:+--uuid "$uuid"} ${label:+--label "$label"} "$1" >/dev/null 2>&1
}
# Names as the kernel writes them: a blank is \040.
active() { awk 'NR > 1 { print $1 }' /proc/swaps; }
swaps() {
  in_container || active
  awk '$1 !~ /^#/ && $3 == "swap" { print $1 }' /etc/fstab 2>/dev/null | while IFS= read -r what; do
    case $what in
      /*) readlink -f "$(printf '%b' "$what")" ;;
      *=*) findfs "$what" 2>/dev/null ;;
    esac
  done
}
swaps | while IFS= read -r swap; do printf '%b\n' "$swap"; done | sort -u | while IFS= read -r swap; do
  [ -e "$swap" ] || continue
  if ! in_container && active | while IFS= read -r name; do printf '%b\n' "$name"; done | grep -qxF -- "$swap"; then
    swapoff "$swap" 2>/dev/null || { finding swap "$swap" '' 'could not be switched off: is there too little memory?'; continue; }
  fi
  case $swap in
    /dev/zram*)
      # In memory, unless it writes to a disk what nobody asks for.
      behind=$(cat "/sys/block/${swap#/dev/}/backing_dev" 2>/dev/null || echo none)
      echo 1 > "/sys/block/${swap#/dev/}/reset" 2>/dev/null
      [ "$behind" = none ] || zero "$behind" || finding swap "$behind" '' "is behind $swap, and could not be overwritten" ;;
    *) renew_swap "$swap" || finding swap "$swap" '' 'could not be overwritten' ;;
  esac
done
