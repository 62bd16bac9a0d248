"""What is done to a guest before it is judged: nothing, dev-sec's roles by ansible-playbook, or a profile of ours by amibake."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from qemu import HERE, Guest, say

PROJECT = HERE.parent.parent
OUTCOMES = HERE / "outcomes.json"
# What amibake applies: a name, and the roles' variables.
OURS = {
    "baseline": {"hardening_profile": "baseline"},
    # The host that takes the logs is the one that only its owner can name: here the guests' gateway, where nobody listens.
    "strict": {"hardening_profile": "strict", "os_log_remote_host": "10.0.2.2"},
    # Where dev-sec's baseline and Lynis want different values, dev-sec's.
    "strict-dev-sec": {"hardening_profile": "strict", "os_log_remote_host": "10.0.2.2", "ssh_print_last_log": False},
    # Whoever must show a figure: docs/hardening.md says why no profile has these.
    "strict-extra": {"hardening_profile": "strict", "os_log_remote_host": "10.0.2.2",
                     "os_packages_extra": ["acct", "apt-listchanges", "chkrootkit", "fail2ban", "libpam-tmpdir", "usbguard"]},
}
# These are applied to a machine that was hardened and judged already, one after the other.
VARIANTS = {"strict": ["strict-dev-sec", "strict-extra"]}
PROFILES = ["none", "dev-sec", *OURS]
POLICIES = {"bookworm": "Debian 12", "trixie": "Debian 13"}


def apply(guest: Guest, profile: str, logs: Path, program: Path) -> None:
    """Applies a profile, reboots, and waits until all that the boot starts is there."""
    begun = time.monotonic()
    guest.settled()
    if profile == "dev-sec":
        by_ansible(guest, logs)
    elif profile != "none":
        by_amibake(guest, profile, logs, program)
    say(f"{profile}: applied ({time.monotonic() - begun:.0f} s)")
    guest.reboot()
    state = guest.settled()
    (logs / "boot.txt").write_text(state + "\n" + guest.run("systemctl --failed --no-pager --plain; cloud-init status --long; cat /proc/cmdline; mount").stdout)


def prepared(profile: str, program: Path) -> list[str]:
    """What tests/hardening/image is told, for the disk of a profile to have its packages."""
    return [profile, json.dumps(OURS[profile]), str(program)] if profile in OURS else []


def by_amibake(guest: Guest, profile: str, logs: Path, program: Path) -> None:
    argv = [str(program), "apply", str(HERE / "plays/hardened.yml"), "--roles-path", str(PROJECT / "hardening"),
            "--host", f"ubuntu@127.0.0.1:{guest.ports[22]}", "--identity", str(guest.key),
            "--known-hosts", str(guest.folder / "known_hosts"), "--accept-new-host-key", "-e", json.dumps(OURS[profile])]
    logged(logs / "apply.txt", argv)


def by_ansible(guest: Guest, logs: Path) -> None:
    """With the collections that tests/roles has, and the commit that roles.lock names."""
    sys.path.insert(0, str(HERE.parent / "roles"))
    import strangers  # noqa: PLC0415 (it needs its own folder on the path)
    role = strangers.roles()["devsec.hardening.os_hardening"]
    at = guest.folder / "collections/ansible_collections/devsec"
    at.mkdir(parents=True, exist_ok=True)
    if not (at / "hardening").exists():
        (at / "hardening").symlink_to(role.fetch(None))
    paths = f"{guest.folder}/collections:{strangers.collections()}/usr/share/ansible/collections"
    python = Path(os.environ["AMIBAKE_TEST_PYTHON"])
    mitogen = next(python.parent.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy"))
    argv = [str(python.with_name("ansible-playbook")), "-i", "127.0.0.1,", str(HERE / "plays/dev-sec.yml"), "-u", "ubuntu",
            "--private-key", str(guest.key), "-e", f"ansible_port={guest.ports[22]}"]
    logged(logs / "apply.txt", argv, ANSIBLE_COLLECTIONS_PATH=paths, ANSIBLE_HOST_KEY_CHECKING="0", ANSIBLE_PIPELINING="1",
           ANSIBLE_STRATEGY="mitogen_linear", ANSIBLE_STRATEGY_PLUGINS=str(mitogen), ANSIBLE_TIMEOUT="120",
           ANSIBLE_PYTHON_INTERPRETER="/usr/bin/python3", ANSIBLE_SSH_ARGS="-o ControlMaster=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes")


def logged(log: Path, argv: list[str], **environment: str) -> None:
    with open(log, "wb") as out:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"error: {argv[0]} ended with {done.returncode}; {log}:\n{log.read_text(errors='replace')[-3000:]}")


def inputs(profile: str, release: str) -> dict[str, str]:
    """The baselines' inputs that a profile of ours needs: ssh-audit's policy in place of dev-sec's lists, and CIS's banner."""
    if profile not in OURS:
        return {}
    known = yaml.safe_load((HERE / "ssh-policies.yml").read_text())
    policy = next(of["server"] for of in known["releases"] if of["release"] == POLICIES[release])
    lists = {"sshd_valid_kexs": "kex", "sshd_valid_ciphers": "ciphers", "sshd_valid_macs": "macs"}
    return {name: ",".join(policy[key]) for name, key in lists.items()} | {"sshd_banner": "/etc/issue.net"}


def remember(release: str, profile: str, judge: str, outcome: dict) -> None:
    known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    known.setdefault(f"{release} {profile}", {})[judge] = {"on": time.strftime("%Y-%m-%d")} | outcome
    OUTCOMES.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
