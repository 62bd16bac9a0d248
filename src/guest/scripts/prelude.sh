# What the scripts of sealing and of the gate share.
set -u
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
fail() { echo "$*" >&2; exit 1; }
# One line each, whatever a file is called.
plain() { printf '%s' "$1" | tr '\000-\037\177' '?'; }
# A check, a path, a line, and what is the matter; the latter three may be empty.
finding() { printf 'finding\t%s\t%s\t%s\t%s\n' "$1" "$3" "$(plain "$2")" "$(plain "$4")"; }
# For the user to know.
say() { printf 'said %s\n' "$(plain "$1")"; }
in_container() { systemd-detect-virt --quiet --container; }
# Whether a path lies on another machine: what is there is not the builder's.
is_remote() { case $(stat -f -c %T "$1" 2>/dev/null) in nfs*|smb*|cifs|fuse*|ceph|afs|9p|v9fs) return 0 ;; *) return 1 ;; esac; }
# The folders that accounts have as their homes, each once.
homes() {
  cut -d: -f6 /etc/passwd | sort -u | while IFS= read -r home; do
    case $home in ''|/|/bin|/dev|/proc|/sbin|/sys|/usr/bin|/usr/sbin) continue ;; esac
    [ ! -d "$home" ] || is_remote "$home" || printf '%s\n' "$home"
  done
}
# Where sshd looks for authorized keys: as it says, as its files say (for some, in a Match), as usual.
key_files() {
  KEY_PATTERNS=$({
    sshd -T 2>/dev/null | sed -n 's/^authorizedkeysfile //p'
    cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null \
      | sed -n 's/^[[:space:]]*AuthorizedKeysFile[[:space:]=]\{1,\}//Ip'
    echo .ssh/authorized_keys .ssh/authorized_keys2
  } | tr -s ' \t' '\n\n' | sed 's/^"//; s/"$//' | grep -vix none | sort -u)
  export KEY_PATTERNS
  awk -F: '
    BEGIN { count = split(ENVIRON["KEY_PATTERNS"], patterns, "\n") }
    { for (i = 1; i <= count; i++) {
        left = patterns[i]; path = ""
        while ((at = index(left, "%")) > 0) {
          token = substr(left, at + 1, 1)
          path = path substr(left, 1, at - 1) (token == "h" ? $6 : token == "u" ? $1 : token == "U" ? $3 : token)
          left = substr(left, at + 2)
        }
        path = path left
        if (path !~ /^\//) path = ($6 == "/" ? "" : $6) "/" path
        if (path ~ /^\/./) print path
      } }' /etc/passwd | sort -u
}
