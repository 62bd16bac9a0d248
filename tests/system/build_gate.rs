//! The gate on real machines: what each half is to find is planted there, all at once, and each of it
//! is named. A stock image passes, and so does what the manifest accepts.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::support::Cloud;

const START: &str = r#"
name: gate
image: {name: "gate-{{ build_time }}"}
"#;
const STOCK: &str = r#"
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
"#;

/// Builds a manifest with this rest; returns its result and all that was said.
fn builds(cloud: &Cloud, rest: &str, code: i32) -> (Json, String) {
    builds_from(cloud, STOCK, rest, code)
}

fn builds_from(cloud: &Cloud, source: &str, rest: &str, code: i32) -> (Json, String) {
    let manifest = cloud.manifest(&format!("{START}{source}{rest}"));
    let result = cloud.folder().join("result.json");
    let mut command = cloud.amibake(["build", "--output"]);
    command.arg(&result).arg(manifest);
    let built = cloud.run(&mut command).wait().ended(code);
    let result: Json = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    (result["builds"][0].clone(), built.stderr)
}

/// Returns the findings of a result as `check path:line`, each once.
fn findings(build: &Json) -> BTreeSet<String> {
    let findings = build["gate"]["findings"].as_array().unwrap().iter();
    let told = findings.map(|finding| {
        let mut told = finding["check"].as_str().unwrap().to_owned();
        if let Some(path) = finding["path"].as_str() {
            told.push_str(&format!(" {path}"));
        }
        if let Some(line) = finding["line"].as_u64() {
            told.push_str(&format!(":{line}"));
        }
        told
    });
    told.collect()
}

/// Insists that just these were found, and told to the user.
fn assert_found(build: &Json, said: &str, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
    assert_eq!(findings(build), wanted, "{said}");
    for one in &wanted {
        let (check, place) = one.split_once(' ').unwrap_or((one, ""));
        assert!(
            said.contains(&format!("{check}: {place}")),
            "{one} in:\n{said}"
        );
    }
}

/// A step that runs this as root.
fn shell(script: &str) -> String {
    let lines = script.lines().map(|line| format!("          {line}\n"));
    let lines: String = lines.collect();
    format!("provision:\n  - tasks:\n      - ansible.builtin.shell: |\n{lines}")
}

/// Everything but what keeps others from being found. A secret is never told itself.
const LEFT_BEHIND: &str = r#"set -e
cd /root
mkdir -p .ssh .aws /opt/app/node_modules/x /etc/munge /home/ubuntu/.docker
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519 /opt/app/node_modules/x/test.pem
cp .ssh/id_ed25519 "/opt/app/a
b.pem"
printf '[default]\naws_access_key_id = x\naws_secret_access_key = canary-one\n' > .aws/credentials
printf '{"auths": {"https://r": {"auth": "canary-two"}}}' > /home/ubuntu/.docker/config.json
printf '# settings\n\ntoken = ghp_%s\n' canaryabcdefghijklmnopqrstuvwxyz0123456789 > /etc/app.conf
printf 'id = AKIAIOSFODNN7EXAMPLE\n' > /etc/example.conf
printf '{"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIcanary"}' > /etc/account.json
printf '//r/:_authToken=${NPM_TOKEN}\n' > .npmrc
mkdir -p /data/srv; cp .ssh/id_ed25519 /data/srv/behind-a-link.pem; rmdir /srv; ln -s /data/srv /srv
mkfifo /opt/pipe
echo key > /etc/munge/munge.key
echo chosen-for-a-cluster > .erlang.cookie
mac=$(cat /sys/class/net/*/address | grep -v 00:00:00:00:00:00 | head -n 1)
printf '[Match]\nMACAddress=%s\n' "$mac" > /etc/systemd/network/20-static.network
usermod -p '$6$x$y' nobody
sed -i 's/^games:[^:]*:/games::/' /etc/shadow
mkdir -p /etc/mysql; printf '[client]\npassword = canary-three\n' > /etc/mysql/debian.cnf
usermod -s /bin/nowhere ubuntu
sed -i '/^PASS_MAX_DAYS/d' /etc/login.defs; echo 'PASS_MAX_DAYS 60' >> /etc/login.defs
touch /opt/app/open; chmod 0666 /opt/app/open; mkdir -m 0777 /opt/app/shared
head -c 1048576 /dev/zero > /held.swap; mkswap /held.swap
mount --bind /held.swap /held.swap; mount -o remount,bind,ro /held.swap; echo '/held.swap none swap sw 0 0' >> /etc/fstab
mkdir -p /etc/netplan; touch /etc/netplan/50-cloud-init.yaml; mount --bind /etc/netplan/50-cloud-init.yaml /etc/netplan/50-cloud-init.yaml
touch /etc/cloud/cloud-init.disabled
echo 'datasource_list: [ NoCloud ]' > /etc/cloud/cloud.cfg.d/99_ours.cfg
systemctl disable ssh.service
systemctl mask cloud-final.service
printf '%s\n' 'Port 2222' 'ListenAddress 10.9.9.9' 'AllowUsers somebody' 'DenyUsers ub*' 'DenyGroups ubuntu' 'AllowGroups nobody' \
  'AuthenticationMethods publickey,password' 'RevokedKeys /etc/ssh/nowhere' > /etc/ssh/sshd_config.d/port.conf
echo 'policy: disabled' > /etc/cloud/ds-identify.cfg
mkdir -p /etc/default/grub.d; echo 'GRUB_CMDLINE_LINUX="cloud-init=disabled"' > /etc/default/grub.d/x.cfg
hostname ip-10-9-9-9; echo name=ip-10-9-9-9 > /etc/name.conf
touch /etc/nologin"#;

#[test]
fn the_sealed_half_names_each_thing_that_an_image_must_not_have_before_there_is_one() {
    let cloud = Cloud::start();
    let (build, said) = builds(&cloud, &shell(LEFT_BEHIND), 4);
    let login_defs = line_of(&build, "password-expiry");
    let [locked, open] = ["nobody", "games"].map(|name| line_in_shadow(&build, name));
    assert_found(
        &build,
        &said,
        &[
            "account-password /etc/mysql/debian.cnf:2",
            &format!("account-password /etc/shadow:{locked}"),
            &format!("account-password /etc/shadow:{open}"),
            "builder-mac /etc/systemd/network/20-static.network:2",
            "builder-name /etc/name.conf:1",
            "builder-residue /etc/netplan/50-cloud-init.yaml",
            "cloud-init-disabled",
            "cloud-init-disabled /etc/cloud/cloud-init.disabled",
            "cloud-init-disabled /etc/cloud/ds-identify.cfg:1",
            "cloud-init-disabled /etc/default/grub.d/x.cfg:1",
            "credentials-file /home/ubuntu/.docker/config.json:1",
            "credentials-file /root/.aws/credentials:3",
            "datasource /etc/cloud/cloud.cfg.d/99_ours.cfg:1",
            "login-user /etc/nologin",
            "login-user /etc/passwd",
            "package-identity /etc/munge/munge.key",
            "package-identity /root/.erlang.cookie",
            &format!("password-expiry /etc/login.defs:{login_defs}"),
            "private-key /etc/account.json:1",
            "private-key /opt/app/a?b.pem:1",
            "private-key /root/.ssh/id_ed25519:1",
            "private-key /srv/behind-a-link.pem:1",
            "secret-string /etc/app.conf:3",
            "ssh-disabled",
            "ssh-login",
            "ssh-login /etc/ssh/nowhere",
            "ssh-port",
            "swap /held.swap",
            "world-writable /opt/app/open",
            "world-writable /opt/app/shared",
        ],
    );
    for why in [
        "games needs no password",
        "nobody has the same password on all machines of the image",
        "ubuntu has the shell /bin/nowhere, which is not there",
        "AuthenticationMethods publickey,password",
        "DenyUsers keeps ubuntu out",
        "AllowUsers does not name ubuntu",
        "DenyGroups keeps ubuntu out",
        "AllowGroups names no group of ubuntu",
        "sshd listens on port 2222 and is connected to on 22",
        "sshd listens on 10.9.9.9:2222 alone",
    ] {
        assert!(said.contains(why), "{why} in:\n{said}");
    }
    assert!(!said.contains("canary"), "{said}");
    assert!(!cloud.calls().contains(&"CreateImage".to_owned()));
    for (outcome, check) in [("failed", "private-key"), ("warned", "world-writable")] {
        assert_eq!(outcome_of(&build, check), outcome);
    }
    assert_eq!(build["gate"]["passed"], false);
}

fn of<'a>(build: &'a Json, check: &str) -> &'a Json {
    let findings = build["gate"]["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {build:#}"))
}

fn outcome_of<'a>(build: &'a Json, check: &str) -> &'a str {
    of(build, check)["outcome"].as_str().unwrap()
}

fn line_of(build: &Json, check: &str) -> String {
    of(build, check)["line"].to_string()
}

/// The line of an account whose password was found.
fn line_in_shadow(build: &Json, account: &str) -> String {
    let findings = build["gate"]["findings"].as_array().unwrap();
    let of_account = |finding: &&Json| {
        let what = finding["what"].as_str().unwrap();
        finding["check"] == "account-password" && what.starts_with(&format!("{account} "))
    };
    let found = findings.iter().find(of_account);
    found.unwrap_or_else(|| panic!("nothing of {account} in {build:#}"))["line"].to_string()
}

/// These would hide what the others plant.
#[test]
fn an_image_without_cloud_init_or_with_an_sshd_that_does_not_start_is_refused() {
    let cloud = Cloud::start();
    let broken = r"set -e
mv /usr/bin/cloud-init /usr/bin/cloud-init.away
printf '\nFoo bar\n' > /etc/ssh/sshd_config.d/foo.conf
usermod -s /usr/sbin/nologin ubuntu";
    let (build, said) = builds(&cloud, &shell(broken), 4);
    assert_found(
        &build,
        &said,
        &[
            "cloud-init-missing",
            "login-user /etc/passwd",
            "ssh-config /etc/ssh/sshd_config.d/foo.conf:2",
        ],
    );
    assert!(said.contains("Bad configuration option: Foo"), "{said}");
}

/// Where root is the one who logs in. Whoever came in by sudo would not come this far with an account that has expired.
#[test]
fn an_image_whose_root_is_kept_out_or_whose_socket_listens_elsewhere_is_refused() {
    let cloud = Cloud::start();
    let open = shell("echo 'disable_root: false' > /etc/cloud/cloud.cfg.d/98_root.cfg");
    let (build, _) = builds(&cloud, &open, 0);
    let source = format!(
        "source: {{ami: {}}}\nbuilder: {{region: eu-west-1, instance_type: [t3.small], connect: private-ip, user: root}}\n",
        build["image_id"].as_str().unwrap()
    );
    let kept_out = r"set -e
printf '%s\n' 'PermitRootLogin no' 'PubkeyAuthentication no' 'AuthorizedKeysFile none' > /etc/ssh/sshd_config.d/root.conf
chage --expiredate 1 --lastday 0 root
mkdir -p /etc/systemd/system/ssh.socket.d
printf '[Socket]\nListenStream=\nListenStream=2222\n' > /etc/systemd/system/ssh.socket.d/port.conf
systemctl daemon-reload
systemctl disable ssh.service
systemctl enable ssh.socket";
    let (build, said) = builds_from(&cloud, &source, &shell(kept_out), 4);
    assert_found(
        &build,
        &said,
        &["login-user /etc/shadow", "ssh-login", "ssh-port"],
    );
    for why in [
        "sshd keeps root out (PermitRootLogin)",
        "sshd takes no public keys (PubkeyAuthentication no)",
        "sshd reads no authorized keys (AuthorizedKeysFile none)",
        "the account root has expired",
        "the account root must change its password before it may do anything",
        "sshd listens on port 2222 and is connected to on 22",
    ] {
        assert!(said.contains(why), "{why} in:\n{said}");
    }
}

/// What a unit of the image brings back when it boots.
const COMES_BACK: &str = r#"set -e
mkdir -p /opt/kept
cp /etc/machine-id /opt/kept/machine-id
ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ssh_host_ecdsa_key || true
cp /etc/ssh/ssh_host_ed25519_key.pub /opt/kept/host.pub
cat > /opt/kept/come-back <<'SH'
#!/bin/sh
mkdir -p /root/.ssh /var/lib/amibake
echo ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ > /root/.ssh/authorized_keys
cp /opt/kept/host.pub /etc/ssh/ssh_host_old_key.pub
cp /opt/kept/machine-id /etc/machine-id
systemctl disable cron-like.timer
systemd-run --on-active=3600 --unit=later true
echo it went wrong >&2
exit 3
SH
chmod 0755 /opt/kept/come-back
printf '[Timer]\nOnBootSec=1d\n[Install]\nWantedBy=timers.target\n' > /etc/systemd/system/cron-like.timer
printf '[Service]\nExecStart=/bin/true\n' > /etc/systemd/system/cron-like.service
printf '[Unit]\nAfter=cloud-config.service\nBefore=cloud-final.service\n[Service]\nType=oneshot\nExecStart=/opt/kept/come-back\n[Install]\nWantedBy=cloud-init.target\n' \
  > /etc/systemd/system/come-back.service
printf '[Service]\nExecStart=/usr/bin/python3 -c "import socket,time; s=socket.socket(2,2); s.bind((str(),5353)); time.sleep(9999)"\n' \
  > /etc/systemd/system/heard.service
mkdir -p /etc/systemd/system/multi-user.target.wants; ln -s /etc/systemd/system/heard.service /etc/systemd/system/multi-user.target.wants/
printf '[Service]\nExecStart=/usr/bin/python3 -m http.server 8081\n[Install]\nWantedBy=multi-user.target\n' \
  > /etc/systemd/system/listens.service
systemctl daemon-reload
systemctl enable cron-like.timer come-back.service listens.service"#;

#[test]
fn the_booted_half_names_what_only_a_boot_shows() {
    let cloud = Cloud::start();
    let strict = format!("gate: {{level: strict}}\n{}", shell(COMES_BACK));
    let (build, said) = builds(&cloud, &strict, 4);
    assert_found(
        &build,
        &said,
        &[
            "authorized-keys /root/.ssh/authorized_keys:1",
            "builder-residue",
            "builder-residue /var/lib/amibake",
            "failed-unit",
            "host-keys /etc/ssh/ssh_host_old_key.pub",
            "listening-port",
            "machine-id",
            "unit-state",
        ],
    );
    let wrong = "failed-unit: unit come-back.service has failed (exit-code";
    assert!(said.contains(wrong), "{said}");
    for port in ["8081/tcp", "5353/udp"] {
        let told = format!("python3 listens on port {port}");
        assert!(said.contains(&told), "{said}");
    }
    assert!(!cloud.calls().contains(&"RegisterImage".to_owned()));
    let findings = build["gate"]["findings"].as_array().unwrap();
    let failed = findings
        .iter()
        .all(|finding| finding["outcome"] == "failed");
    assert!(failed, "the gate is strict: {build:#}");
}

/// Nobody is surprised: what sealing removes of a user's is said, what a package made once is made anew,
/// and an image that is as it was passes without a word.
#[test]
fn what_is_accepted_passes_and_what_packages_made_is_made_anew() {
    let cloud = Cloud::start();
    let rest = r#"
gate:
  waive:
    - {check: private-key, path: /etc/ssl/**, reason: the key of a test CA}
    - {check: private-key, path: /opt/app/*, reason: there was one}
    - {check: clock, reason: there is none here}
provision:
  - tasks:
      - ansible.builtin.apt: {name: [ssl-cert, open-iscsi, bind9, nvme-cli], update_cache: true}
      - ansible.builtin.shell: |
          set -e
          cp /etc/ssl/private/ssl-cert-snakeoil.key /root/.before; chmod 0600 /root/.before
          sed -i 1d /root/.before # no key any more
          systemctl disable --now named.service nvmf-autoconnect.service # one would listen, one needs a kernel of its own
          mkdir /opt/before; sha256sum /etc/bind/rndc.key > /opt/before/sum
          test -s /etc/nvme/hostnqn; echo planted | tee /etc/nvme/hostid > /etc/nvme/hostnqn
          printf 'InitiatorName=iqn.1993-08.org.debian:01:planted\n' > /etc/iscsi/initiatorname.iscsi
          mkdir -p /etc/docker /home/ubuntu/.ssh /etc/ssl/test
          echo '{}' > /etc/docker/key.json
          echo ABCDEFGHIJKLMNOPQRST > /root/.erlang.cookie
          hostname > /etc/mailname
          echo ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ > /home/ubuntu/.ssh/authorized_keys2
          printf 'Match LocalPort 2222\n  X11Forwarding no\n' > /etc/ssh/sshd_config.d/zz.conf
          openssl genrsa -out /etc/ssl/test/ca.key 2048
test:
  - command: {run: "openssl rsa -noout -in /etc/ssl/private/ssl-cert-snakeoil.key && openssl x509 -noout -in /etc/ssl/certs/ssl-cert-snakeoil.pem"}
  - command: {run: "sed 1d /etc/ssl/private/ssl-cert-snakeoil.key | cmp -s - /root/.before", status: 1}
  - command: {run: "stat -c %U:%G:%a:%s /etc/bind/rndc.key; sha256sum --quiet -c /opt/before/sum", status: 1, contains: "bind:bind:640:"}
  - command: {run: "grep -q nqn. /etc/nvme/hostnqn && test -s /etc/nvme/hostid && ! grep planted /etc/nvme/hostnqn /etc/nvme/hostid"}
  - command: {run: "systemctl is-failed first-boot-keys.service", status: 1}
  - command: {run: "! grep planted /etc/iscsi/initiatorname.iscsi"}
  - command: {run: "cat /etc/mailname; ls /etc/docker /root/.erlang.cookie 2>&1 | grep -c key.json", status: 1, contains: localhost}
"#;
    let (build, said) = builds(&cloud, rest, 0);
    assert_eq!(
        findings(&build),
        ["private-key /etc/ssl/test/ca.key:1".to_owned()].into(),
        "{said}"
    );
    let key = of(&build, "private-key");
    assert_eq!(
        (&key["outcome"], &key["reason"]),
        (&"waived".into(), &"the key of a test CA".into())
    );
    let unused = &build["gate"]["unused_waivers"];
    assert_eq!(unused[0]["path"], "/opt/app/*");
    assert_eq!(unused[1]["check"], "clock");
    assert_eq!(build["gate"]["passed"], true);
    for told in [
        "private-key: /etc/ssl/test/ca.key:1: a private key (waived: the key of a test CA)",
        "manifest.yaml:11:7: the waiver of `private-key` for /opt/app/* met nothing",
        "manifest.yaml:12:7: the waiver of `clock` met nothing",
        "sealing removed /home/ubuntu/.ssh/authorized_keys2, with 1 authorized key(s) that are not the build's own",
    ] {
        assert!(said.contains(told), "{told} in:\n{said}");
    }
}

#[test]
fn a_stock_image_passes_a_strict_gate() {
    let cloud = Cloud::start();
    let (build, said) = builds(&cloud, "gate: {level: strict}\nprovision: []\n", 0);
    assert_eq!(findings(&build), BTreeSet::new(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}
