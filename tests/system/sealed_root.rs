//! What an image must not have of its builder: planted there one by one, gone from the image.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Cloud, sealed};

/// One of each kind, as the things that make them would leave them.
const PLANTS: [&str; 54] = [
    "etc/ssh/ssh_host_ecdsa_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "etc/ssh/amibake_new_key",
    "var/lib/cloud/instances/i-0planted/user-data.txt",
    "var/lib/cloud/data/instance-id",
    "var/lib/cloud/sem/config_planted.once",
    "var/lib/cloud/handlers/planted",
    "var/lib/cloud/scripts/per-instance/planted",
    "etc/netplan/50-cloud-init.yaml",
    "etc/network/interfaces.d/50-cloud-init",
    "etc/systemd/network/10-cloud-init-eth0.network",
    "etc/systemd/network/50-cloud-init-eth0.link",
    "etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/udev/rules.d/85-persistent-net-cloud-init.rules",
    "etc/sudoers.d/90-cloud-init-users",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dhcp/dhclient.eth0.leases",
    "var/lib/NetworkManager/internal-eth0.lease",
    "var/lib/amazon/ssm/registration",
    "var/lib/ubuntu-advantage/private/machine-token.json",
    "var/lib/snapd/device/private-keys-v1/planted",
    "var/lib/snapd/assertions/asserts-v0/serial/planted",
    "var/lib/landscape/client/broker.bpickle",
    "etc/docker/key.json",
    "var/lib/docker/engine-id",
    "var/lib/mysql/auto.cnf",
    "etc/salt/minion_id",
    "etc/salt/pki/minion/minion.pem",
    "etc/cockpit/ws-certs.d/0-self-signed.key",
    "var/lib/zerotier-one/identity.secret",
    "var/lib/netdata/registry/netdata.public.unique.id",
    "etc/ssh/keys.d/ubuntu",
    "root/.ssh/authorized_keys",
    "home/ubuntu/.ssh/authorized_keys2",
    "root/.bash_history",
    "home/ubuntu/.python_history",
    "root/.rediscli_history",
    "root/.ansible_async/1.2",
    "home/ubuntu/.local/share/fish/fish_history",
    "root/.viminfo",
    "root/.ansible/tmp/planted",
    "home/ubuntu/.sudo_as_admin_successful",
    "var/lib/apt/lists/planted_Packages",
    "var/cache/apt/pkgcache.bin",
    "var/crash/planted.crash",
    "tmp/planted",
    "var/tmp/.planted",
    "var/log/planted.log",
    "var/log/journal/0123/system.journal",
    "var/log/apt/history.log.1.gz",
    "var/lib/amibake/agent",
    "root/.cache/amibake/planted",
];

/// Something of the builder's memory.
const CANARY: &str = "canary-7c1e";

/// The look itself: a disk with one plant is found out, each time by its name.
#[test]
fn each_thing_that_must_not_be_there_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, text) in [
        ("etc/machine-id", ""),
        ("etc/hostname", "localhost\n"),
        ("var/log/wtmp", "x"),
    ] {
        plant(root, path, text);
    }
    std::fs::create_dir_all(root.join("var/lib/dbus")).unwrap();
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id")).unwrap();
    assert_eq!(sealed::residue(root), [""; 0], "a sealed root");
    for path in PLANTS {
        plant(root, path, "planted");
        let found = sealed::residue(root);
        assert!(
            found.iter().any(|f| Path::new(path).starts_with(f)),
            "{path} was not found: {found:?}"
        );
        std::fs::remove_file(root.join(path)).unwrap();
        if let [first] = &found[..]
            && root.join(first).is_dir()
        {
            std::fs::remove_dir_all(root.join(first)).unwrap();
        }
        assert_eq!(sealed::residue(root), [""; 0], "after {path}");
    }
    plant(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    plant(root, "etc/hostname", "ip-10-0-0-7\n");
    std::fs::remove_file(root.join("var/lib/dbus/machine-id")).unwrap();
    plant(root, "var/lib/dbus/machine-id", "x");
    assert_eq!(sealed::residue(root).len(), 3);
    std::fs::remove_file(root.join("etc/machine-id")).unwrap();
    assert!(sealed::residue(root).contains(&"etc/machine-id is not there".to_owned()));
}

#[test]
fn a_builder_with_one_of_everything_becomes_a_sealed_image() {
    let cloud = Cloud::start();
    let plants = PLANTS.map(|path| format!("/{path}")).join(" ");
    let manifest = format!(
        r#"
name: sealed
source: {{ubuntu: "24.04"}}
builder: {{region: eu-west-1, instance_type: [t3.small], connect: private-ip}}
provision:
  - tasks:
      - name: Plant one of everything
        ansible.builtin.shell: |
          set -e
          for file in {plants}; do
            mkdir -p "$(dirname "$file")"; echo '# planted' >> "$file"
          done
          echo ip-10-0-0-7 > /etc/hostname
          rm -f /var/lib/dbus/machine-id; cp /etc/machine-id /var/lib/dbus/machine-id
          echo kept > /etc/kept
          # A home that lies elsewhere, as by NFS: FUSE needs no server.
          apt-get update -q && apt-get install -q -y --no-install-recommends bindfs
          [ -e /dev/fuse ] || mknod /dev/fuse c 10 229
          useradd --home-dir /net/far far; mkdir -p /srv/far/.ssh /net/far; chown -R far: /srv/far
          echo theirs | tee /srv/far/.ssh/authorized_keys > /srv/far/.bash_history
          systemd-run --collect --service-type=forking bindfs /srv/far /net/far; test -e /net/far/.bash_history
          mkfifo /home/ubuntu/.ssh/authorized_keys /root/.erlang.cookie || :
          mkdir -p /srv/data "/var/tmp/[m] ounted"
          echo kept > /srv/data/kept; mount --bind /srv/data "/var/tmp/[m] ounted"
          echo 'AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/keys.d/%u' > /etc/ssh/sshd_config.d/keys.conf
          head -c 4194304 /dev/zero > /swapfile; chmod 0600 /swapfile
          mkswap --uuid 6f9619ff-8b86-d011-b42d-00cf4fc964ff --label mine /swapfile
          printf %s {CANARY} | dd of=/swapfile bs=1M seek=2 conv=notrunc
          echo '/swapfile none swap sw 0 0' >> /etc/fstab
          printf '%s' '{{"data":{{"auth":{{"device":{{"brand":"b","serial":"s","key-id":"k","session-macaroon":"m"}}}},"serial":"stays"}}}}' \
            > /var/lib/snapd/state.json
image: {{name: "sealed-{{{{ build_time }}}}"}}
"#
    );
    cloud.start_build(&manifest).wait().ended(0);
    let root = cloud.root_of(&cloud.inventory()["snapshots"][0]);
    assert!(root.join("etc/kept").exists(), "it was provisioned");
    assert_eq!(
        std::fs::read_to_string(root.join("var/lib/snapd/state.json")).unwrap(),
        r#"{"data":{"auth":{"device":{"brand":"b","serial":"","key-id":"","session-macaroon":""}},"serial":"stays"}}"#
    );
    // What is mounted in a folder that is emptied lies elsewhere, too: its place alone stays.
    assert_eq!(sealed::residue(&root), ["var/tmp/[m] ounted"]);
    assert!(root.join("srv/data/kept").exists());
    for theirs in ["srv/far/.ssh/authorized_keys", "srv/far/.bash_history"] {
        assert!(root.join(theirs).exists(), "{theirs} was another machine's");
    }
    let swap = std::fs::read(root.join("swapfile")).unwrap();
    let has = |text: &[u8]| swap.windows(text.len()).any(|part| part == text);
    assert!(
        !has(CANARY.as_bytes()),
        "what was in memory is in the image"
    );
    assert!(has(b"SWAPSPACE2") && has(b"mine"), "it is swap of its name");
    assert!(
        has(&[0x6f, 0x96, 0x19, 0xff, 0x8b, 0x86]),
        "and of its UUID"
    );
}

fn plant(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
