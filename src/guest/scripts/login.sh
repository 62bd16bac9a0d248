# Whether the image's machines could be logged in to: looked at before there is an image.
user=@USER@ port=@PORT@ datasource=@DATASOURCE@
# cloud-init puts everybody's key in place, and makes the host keys.
if ! command -v cloud-init >/dev/null 2>&1; then
  finding cloud-init-missing '' '' 'cloud-init is not installed: nobody gets a key, and the machine no host keys'
else
  [ ! -e /etc/cloud/cloud-init.disabled ] || finding cloud-init-disabled /etc/cloud/cloud-init.disabled '' 'this file switches cloud-init off'
  grep -nH 'cloud-init=disabled' /etc/default/grub /etc/default/grub.d/*.cfg /etc/kernel/cmdline 2>/dev/null \
    | sed -n 's/^\([^:]*\):\([0-9]*\):[^#]*$/\1\t\2/p' | while IFS="$(printf '\t')" read -r file line; do
    finding cloud-init-disabled "$file" "$line" 'the kernel is told to switch cloud-init off'
  done
  line=$(grep -nE '^[[:space:]]*policy:.*disabled' /etc/cloud/ds-identify.cfg 2>/dev/null | head -n 1 | cut -d: -f1)
  [ -z "$line" ] || finding cloud-init-disabled /etc/cloud/ds-identify.cfg "$line" 'this policy switches cloud-init off'
  for unit in cloud-init-local.service cloud-init-main.service cloud-init.service cloud-init-network.service cloud-config.service cloud-final.service; do
    state=$(systemctl is-enabled "$unit" 2>/dev/null)
    case $state in disabled|masked) finding cloud-init-disabled '' '' "$unit is $state" ;; esac
  done
  # The last of its files that names a list counts. Most write it in one line; else cloud-init reads it for us.
  place=$(grep -nHE '^datasource_list[[:space:]]*:' /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg 2>/dev/null | tail -n 1)
  file=${place%%:*} rest=${place#*:}
  list=$(printf '%s' "$rest" | sed -n 's/^[^[]*\[\([^]]*\)\].*/\1/p' | tr -d "\"'" | tr ',' ' ')
  case $place in
    '') list=$datasource ;; # cloud-init's own list has all there are
    *'['*']'*) ;;
    *) list=$(python3 -c 'from cloudinit.util import read_conf_with_confd as read
print(*(read("/etc/cloud/cloud.cfg").get("datasource_list") or []))' 2>/dev/null) ;;
  esac
  case " $(printf '%s' "$list" | tr -s ' \t' '  ') " in
    *" $datasource "*) ;;
    *) finding datasource "$file" "${rest%%:*}" "cloud-init's list has no $datasource: it would not find its data" ;;
  esac
fi

starts=
for unit in ssh.service sshd.service ssh.socket sshd.socket; do
  [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != enabled ] || starts="$starts $unit"
done
[ -n "$starts" ] || finding ssh-disabled '' '' "neither sshd's service nor its socket is enabled"

mkdir -p /run/sshd
# The host keys are gone: it is given one, to be asked about the rest.
rm -f "$work/probe" "$work/probe.pub"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$work/probe" 2>/dev/null
if ! sshd -T -h "$work/probe" -C "user=$user,host=somewhere.example,addr=192.0.2.1,laddr=192.0.2.2,lport=$port" > "$work/sshd" 2> "$work/why"; then
  place=$(sed -n 's/^\(\/[^ :]*\):\{0,1\} line \([0-9]\{1,\}\): \(.*\)/\1\t\2\t\3/p' "$work/why" | head -n 1)
  [ -n "$place" ] || place="$(printf '\t\t')$(tail -n 1 "$work/why")"
  printf '%s\n' "$place" | {
    IFS= read -r place
    file=$(printf '%s' "$place" | cut -f1); line=$(printf '%s' "$place" | cut -f2)
    finding ssh-config "$file" "$line" "sshd refuses its configuration: $(printf '%s' "$place" | cut -f3)"
  }
else
  set_to() { sed -n "s/^$1 //p" "$work/sshd"; }
  case $starts in
    *.socket*)
      # Since 24.04 its ports are sshd's own, by a generator; before, the unit's.
      listen=$(systemctl show -p Listen --value ssh.socket sshd.socket 2>/dev/null | tr ' ' '\n')
      ports=$(printf '%s\n' "$listen" | sed -n 's/^\(.*:\)\{0,1\}\([0-9]\{1,\}\)$/\2/p') ;;
    *)
      listen=$(set_to listenaddress) ports=$(set_to port)
      if ! printf '%s\n' "$listen" | grep -qE '^(0\.0\.0\.0|\[::\]|\*):'; then
        finding ssh-port '' '' "sshd listens on $(printf '%s\n' "$listen" | tr '\n' ' ')alone: the image's machines have other addresses"
      fi ;;
  esac
  printf '%s\n' "$ports" | grep -qxF -- "$port" || finding ssh-port '' '' \
    "sshd listens on port $(printf '%s' "$ports" | sort -un | tr '\n' ' ')and is connected to on $port"

  [ "$(set_to pubkeyauthentication)" = yes ] || finding ssh-login '' '' 'sshd takes no public keys (PubkeyAuthentication no)'
  case $user:$(set_to permitrootlogin) in root:no|root:forced-commands-only) finding ssh-login '' '' 'sshd keeps root out (PermitRootLogin)' ;; esac
  [ "$(set_to authorizedkeysfile)" != none ] || finding ssh-login '' '' 'sshd reads no authorized keys (AuthorizedKeysFile none)'
  methods=$(set_to authenticationmethods)
  case " $methods " in ' '|'  '|' any '|*' publickey '*) ;; *) finding ssh-login '' '' "sshd wants more than a key (AuthenticationMethods $methods)" ;; esac
  revoked=$(set_to revokedkeys)
  [ "${revoked:-none}" = none ] || [ -e "$revoked" ] || finding ssh-login "$revoked" '' 'sshd takes no key at all without this file (RevokedKeys)'
  # Whether one of the words on standard input is a pattern for one of the names given.
  any_of() {
    set -f
    while IFS= read -r pattern; do
      for name; do
        # shellcheck disable=SC2254
        case $name in ${pattern%%@*}) set +f; return 0 ;; esac
      done
    done
    set +f
    return 1
  }
  groups=$(id -Gn "$user" 2>/dev/null)
  allowed=$(set_to allowusers) allowed_groups=$(set_to allowgroups)
  if set_to denyusers | any_of "$user"; then finding ssh-login '' '' "DenyUsers keeps $user out"; fi
  if [ -n "$allowed" ] && ! printf '%s\n' "$allowed" | any_of "$user"; then finding ssh-login '' '' "AllowUsers does not name $user"; fi
  # shellcheck disable=SC2086
  if set_to denygroups | any_of $groups; then finding ssh-login '' '' "DenyGroups keeps $user out"; fi
  # shellcheck disable=SC2086
  if [ -n "$allowed_groups" ] && ! printf '%s\n' "$allowed_groups" | any_of $groups; then finding ssh-login '' '' "AllowGroups names no group of $user"; fi
fi

entry=$(getent passwd "$user")
shell=${entry##*:}
case ${shell:-/bin/sh} in
  */nologin|*/false) finding login-user /etc/passwd '' "$user has the shell $shell" ;;
  *) [ -z "$entry" ] || [ -x "${shell:-/bin/sh}" ] || finding login-user /etc/passwd '' "$user has the shell $shell, which is not there" ;;
esac
expires=$(awk -F: -v user="$user" '$1 == user { print $8 }' /etc/shadow 2>/dev/null)
if [ -n "$expires" ] && [ "$expires" -le $(( $(date +%s) / 86400 )) ]; then finding login-user /etc/shadow '' "the account $user has expired"; fi
if [ "$(awk -F: -v user="$user" '$1 == user { print $3 }' /etc/shadow 2>/dev/null)" = 0 ]; then
  finding login-user /etc/shadow '' "the account $user must change its password before it may do anything"
fi
[ ! -e /etc/nologin ] || finding login-user /etc/nologin '' 'while this file is there, root alone may log in'
