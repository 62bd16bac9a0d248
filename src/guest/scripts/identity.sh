# What is one machine's own, was made before there was an image, and is not known to be made anew.
own() { [ ! -s "$1" ] || finding package-identity "$1" '' "$2, equal on all machines of the image"; }
own /etc/munge/munge.key "munge's key, made when it was installed"
own /etc/bind/rndc.key "rndc's key, made when bind9 was installed"
own /etc/ssl/private/ssl-cert-snakeoil.key "ssl-cert's key, made when it was installed"
own /etc/xrdp/rsakeys.ini "xrdp's keys, made when it was installed"
own /etc/nvme/hostnqn 'the NVMe host name, made when nvme-cli was installed'
own /var/lib/tailscale/tailscaled.state "tailscaled's node key"
own /var/ossec/etc/client.keys "the registration of Wazuh's agent"
own /var/lib/teleport/host_uuid "teleport's host id"
own /var/lib/lxd/server.key "lxd's key"
own /var/snap/lxd/common/lxd/server.key "lxd's key"
own /var/lib/mysql/auto.cnf "MySQL's server id"
for file in /var/lib/consul/node-id /opt/consul/node-id /opt/consul/data/node-id; do own "$file" "consul's node id"; done
for file in /var/lib/nomad/client/client-id /opt/nomad/data/client/client-id; do own "$file" "nomad's client id"; done
for file in /etc/puppetlabs/puppet/ssl/private_keys/*.pem /var/lib/puppet/ssl/private_keys/*.pem; do own "$file" "puppet's key"; done
for file in /etc/letsencrypt/accounts/*/directory/*/private_key.json /etc/letsencrypt/accounts/*/*/*/private_key.json; do
  own "$file" "the account's key at a certificate authority"
done
if grep -qs '^InitiatorName=' /etc/iscsi/initiatorname.iscsi; then own /etc/iscsi/initiatorname.iscsi "the iSCSI initiator's name"; fi
homes | while IFS= read -r home; do own "$home/.erlang.cookie" "Erlang's cookie"; done

# The builder's network cards, in files that machines of the image would read.
cat /sys/class/net/*/address 2>/dev/null | grep -E '^..(:..){5}$' | grep -vx '00:00:00:00:00:00' | sort -u > "$work/cards"
if [ -s "$work/cards" ]; then
  grep -rnHiZF -m 1 -f "$work/cards" /etc/netplan /etc/network /etc/systemd/network /etc/udev/rules.d /etc/NetworkManager/system-connections 2>/dev/null \
    | tr '\0' '\t' | while IFS="$(printf '\t')" read -r file rest; do
    finding builder-mac "$file" "${rest%%:*}" "the builder's network card: machines of the image have others"
  done
fi
# Its name, where it is one that only it has: ip-10-0-0-7.
grep -E '[0-9].*-|-.*[0-9]' "$work/names" > "$work/own-names"
if [ -s "$work/own-names" ]; then
  timeout 20 grep -rnHIZwF -D skip -m 1 -f "$work/own-names" /etc > "$work/named" 2>/dev/null
  [ $? != 124 ] || finding search-incomplete '' '' "the search for the builder's name was given up after 20 seconds"
  tr '\0' '\t' < "$work/named" | head -n 50 | while IFS="$(printf '\t')" read -r file rest; do
    # cloud-init writes these at each boot.
    case $file in /etc/hosts) grep -q manage_etc_hosts /etc/hosts && continue ;; esac
    finding builder-name "$file" "${rest%%:*}" "the builder's host name"
  done
fi
