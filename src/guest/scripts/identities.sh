# What one machine is known by, and no other may be. Where the owner of a file makes it anew when it
# starts, it goes; where only the package's installation made it, a unit of the image does that once.
stop() { systemctl stop "$@" </dev/null >/dev/null 2>&1 || true; }

# Registrations.
stop snap.amazon-ssm-agent.amazon-ssm-agent.service amazon-ssm-agent.service
rm -rf --one-file-system /var/lib/amazon/ssm/* /var/snap/amazon-ssm-agent/*/var/lib/amazon/ssm/*
if command -v pro >/dev/null 2>&1 && pro status --format json 2>/dev/null | grep -q '"attached": true'; then
  pro detach --assume-yes >/dev/null 2>&1 || fail "Ubuntu Pro could not be detached"
fi
rm -rf --one-file-system /var/lib/ubuntu-advantage/private /var/lib/ubuntu-advantage/machine-access
if [ -d /var/lib/landscape ]; then
  stop landscape-client.service
  rm -f /var/lib/landscape/client/*.bpickle /var/lib/landscape/client/*.bpickle.old
fi
# A store's serial was given for the key: a machine without both asks for its own.
stop snapd.socket snapd.service
rm -rf --one-file-system /var/lib/snapd/device/private-keys-v1/* /var/lib/snapd/assertions/asserts-v0/serial
if [ -e /var/lib/snapd/state.json ]; then
  for name in serial key-id session-macaroon; do
    sed -i -E "s/(\"device\":\{[^}]*\"$name\":\")[^\"]*/\1/" /var/lib/snapd/state.json
  done
fi

# Made anew by who starts: dockerd, mysqld (its own certificates too), Erlang, minions, cockpit, …
rm -f /etc/docker/key.json /var/lib/docker/engine-id
rm -f /var/lib/mysql/auto.cnf
if openssl x509 -noout -subject -in /var/lib/mysql/ca.pem 2>/dev/null | grep -q Auto_Generated; then
  (cd /var/lib/mysql && rm -f ca.pem ca-key.pem server-cert.pem server-key.pem client-cert.pem client-key.pem public_key.pem private_key.pem)
fi
if [ -d /etc/salt ]; then
  stop salt-minion.service
  rm -f /etc/salt/minion_id /etc/salt/pki/minion/minion.pem /etc/salt/pki/minion/minion.pub
fi
rm -f /etc/cockpit/ws-certs.d/0-self-signed*
if [ -d /var/lib/zerotier-one ]; then
  stop zerotier-one.service
  rm -f /var/lib/zerotier-one/identity.secret /var/lib/zerotier-one/identity.public
fi
rm -f /var/lib/netdata/registry/netdata.public.unique.id
homes | while IFS= read -r home; do
  # Twenty capital letters are Erlang's own; another was chosen, for a cluster perhaps: a finding.
  [ -f "$home/.erlang.cookie" ] && grep -qxE '[A-Z]{20}' "$home/.erlang.cookie" 2>/dev/null || continue
  # What stops such a service asks it with the cookie, and would make another.
  stop rabbitmq-server.service ejabberd.service couchdb.service
  rm -f "$home/.erlang.cookie"
done
if grep -qE '^InitiatorName=iqn\.(1993-08\.org\.debian|2004-10\.com\.ubuntu):01:' /etc/iscsi/initiatorname.iscsi 2>/dev/null \
  && grep -qs GenerateName /lib/open-iscsi/startup-checks.sh /usr/lib/open-iscsi/startup-checks.sh; then
  echo GenerateName=yes > /etc/iscsi/initiatorname.iscsi
fi

# Made by an installation alone. `made FILE COMMAND`: the file goes, and the next boot runs the command.
made() { rm -f "$1" && printf '[ -e %s ] || { %s; } || failed=1\n' "$1" "$2" >> "$work/first-boot"; }
if [ -e /etc/ssl/private/ssl-cert-snakeoil.key ] && command -v make-ssl-cert >/dev/null 2>&1; then
  rm -f /etc/ssl/certs/ssl-cert-snakeoil.pem
  made /etc/ssl/private/ssl-cert-snakeoil.key 'make-ssl-cert generate-default-snakeoil --force-overwrite'
fi
if [ -e /etc/bind/rndc.key ] && command -v rndc-confgen >/dev/null 2>&1; then
  made /etc/bind/rndc.key 'rndc-confgen -a >/dev/null 2>&1 && chown bind:bind /etc/bind/rndc.key && chmod 0640 /etc/bind/rndc.key'
fi
if [ -e /etc/xrdp/rsakeys.ini ] && command -v xrdp-keygen >/dev/null 2>&1; then
  owner=$(stat -c %U:%G /etc/xrdp/rsakeys.ini)
  made /etc/xrdp/rsakeys.ini "xrdp-keygen xrdp auto >/dev/null && chown $owner /etc/xrdp/rsakeys.ini"
fi
if [ -e /etc/nvme/hostnqn ] && command -v nvme >/dev/null 2>&1; then
  made /etc/nvme/hostnqn 'nvme gen-hostnqn > /etc/nvme/new && mv /etc/nvme/new /etc/nvme/hostnqn'
fi
if [ -e /etc/nvme/hostid ]; then
  # The UUID in the name, if there is a name: another is refused.
  made /etc/nvme/hostid '{ sed -n s/.*uuid://p /etc/nvme/hostnqn 2>/dev/null | grep . || cat /proc/sys/kernel/random/uuid; } > /etc/nvme/new && mv /etc/nvme/new /etc/nvme/hostid'
fi
if [ -s "$work/first-boot" ]; then
  mkdir -p /usr/local/sbin /etc/systemd/system/sysinit.target.wants
  { printf '#!/bin/sh\n# Makes keys and names that packages made when they were installed, which each machine needs for itself.\n'
    printf 'umask 022\nfailed=0\n'; cat "$work/first-boot"; printf 'exit $failed\n'; } > /usr/local/sbin/first-boot-keys
  chmod 0755 /usr/local/sbin/first-boot-keys
  # Before anything that reads them, and with nothing to do ever after.
  { printf '[Unit]\nDescription=Keys and names of this machine that packages made when they were installed\n'
    printf 'DefaultDependencies=no\nAfter=local-fs.target systemd-random-seed.service systemd-tmpfiles-setup.service\nBefore=sysinit.target shutdown.target\nConflicts=shutdown.target\n'
    sed -n 's/^\[ -e \([^ ]*\) \].*/ConditionPathExists=|!\1/p' "$work/first-boot"
    printf '\n[Service]\nType=oneshot\nExecStart=/usr/local/sbin/first-boot-keys\n\n[Install]\nWantedBy=sysinit.target\n'
  } > /etc/systemd/system/first-boot-keys.service
  chmod 0644 /etc/systemd/system/first-boot-keys.service
  ln -sf /etc/systemd/system/first-boot-keys.service /etc/systemd/system/sysinit.target.wants/first-boot-keys.service
fi

# Mail names itself after the machine that it was installed on.
name=$(cat /proc/sys/kernel/hostname)
fqdn=$(timeout 3 hostname --fqdn 2>/dev/null || echo "$name")
for old in "$fqdn" "$name"; do
  if grep -qxF -- "$old" /etc/mailname 2>/dev/null; then echo localhost > /etc/mailname; fi
  if command -v postconf >/dev/null 2>&1 && [ -e /etc/postfix/main.cf ]; then
    # Without the parameter it is the name that the machine has when postfix starts.
    if [ "$(postconf -h myhostname 2>/dev/null)" = "$old" ]; then postconf -X myhostname 2>/dev/null; fi
    domains=$(postconf -h mydestination 2>/dev/null)
    case ", $domains," in
      *", $old,"*)
        kept=$(printf '%s' "$domains" | tr -s ', ' '\n\n' | grep -vxF -- "$old" | paste -s -d , | sed 's/,/, /g')
        postconf -e "mydestination = $kept" 2>/dev/null ;;
    esac
  fi
  if grep -qF -- "dc_other_hostnames='$old'" /etc/exim4/update-exim4.conf.conf 2>/dev/null; then
    sed -i "s/^dc_other_hostnames='.*'/dc_other_hostnames='localhost'/" /etc/exim4/update-exim4.conf.conf
    update-exim4.conf >/dev/null 2>&1 || true
  fi
done
printf '%s\n%s\n' "$name" "$fqdn" | sort -u > "$work/names"
