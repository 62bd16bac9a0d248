# What works, and is not as it should be.
awk -F: '
  $2 == "" { print NR "\t" $1 " needs no password" }
  $2 ~ /^[^!*]/ && length($2) > 1 { print NR "\t" $1 " has the same password on all machines of the image" }' /etc/shadow 2>/dev/null \
  | while IFS="$(printf '\t')" read -r line what; do finding account-password /etc/shadow "$line" "$what"; done
line=$(grep -nE '^[[:space:]]*password[[:space:]]*=[[:space:]]*[^[:space:]]' /etc/mysql/debian.cnf 2>/dev/null | head -n 1 | cut -d: -f1)
[ -z "$line" ] || finding account-password /etc/mysql/debian.cnf "$line" "MySQL's maintenance account has the same password on all machines of the image"

# PAM asks for the age of a password of an account that has none, too: keys stop working with it.
line=$(grep -nE '^[[:space:]]*PASS_MAX_DAYS[[:space:]]' /etc/login.defs 2>/dev/null | tail -n 1)
days=$(printf '%s' "${line#*:}" | awk '{ print $2 }')
# The login user's own, if it is shorter.
own=$(awk -F: -v user="$user" '$1 == user { print $5 }' /etc/shadow 2>/dev/null)
case $own in ''|*[!0-9]*) ;; *) [ "$own" -ge "${days:-99999}" ] 2>/dev/null || days=$own ;; esac
case ${days:-99999} in
  *[!0-9]*) ;;
  *) if [ "$days" -lt 9999 ] && ! grep -qE '^[^#]*account.*pam_unix\.so.*no_pass_expiry' /etc/pam.d/common-account 2>/dev/null \
      && grep -qsi '^usepam yes$' "$work/sshd"; then
      finding password-expiry /etc/login.defs "${line%%:*}" \
        "after $days days accounts are locked, those with keys alone too: give pam_unix no_pass_expiry in /etc/pam.d/common-account"
    fi ;;
esac

timeout 20 find -H /etc /opt /srv /home /root /boot /usr/local /usr/bin /usr/sbin /usr/lib/systemd /var/lib /var/spool /var/www -xdev \
    \( -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/lxcfs \) -prune \
    -o \( -type f -perm -0002 -o -type d -perm -0002 ! -perm -1000 \) -printf '%p\0' > "$work/open" 2>/dev/null
[ $? != 124 ] || finding search-incomplete '' '' 'the search for files that anybody may write was given up after 20 seconds'
tr '\n\0' '?\n' < "$work/open" | head -n 50 | while IFS= read -r path; do
  finding world-writable "$path" '' 'anybody may write it'
done
