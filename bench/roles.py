"""Strangers' roles with nothing left to do, over SSH, beside Volant, mitogen and ansible-core with pipelining.

Usage: roles.py --amibake PROGRAM --base ROOT --roles FOLDER [--volant PROGRAM] [--only PLAY,…]
    [--beside "mitogen,ansible-core, pipelining"] [--rounds 5]

FOLDER has the roles, and dev-sec's collection, as their repositories are: `geerlingguy.security`, `geerlingguy.nginx`,
`geerlingguy.git`, `geerlingguy.pip`, `ansible_collections/devsec/hardening` (commits in tests/roles.lock). PROGRAM of
Volant is `volant-playbook`, with its agent for musl beside it. Each converges a machine of its own first, until it
reports nothing changed; machines are compared by the files below /etc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import contenders, measure, report
from pair import machines, ssh

GEERLINGGUY = """- hosts: all
  become: true
  vars:
    security_autoupdate_enabled: true
    security_ssh_permit_root_login: prohibit-password  # who measures is root
    pip_install_packages: [six]
    pip_package: python3-pip
  roles: [geerlingguy.security, geerlingguy.nginx, geerlingguy.git, geerlingguy.pip]
"""
# sysctl of a container belongs to its host.
DEVSEC = """- hosts: all
  become: true
  vars:
    {os_sysctl_enabled: false, os_auditd_enabled: false, ufw_manage_defaults: false,
     ssh_permit_root_login: prohibit-password}
  roles: [devsec.hardening.os_hardening, devsec.hardening.ssh_hardening]
"""
PLAYS = {"geerlingguy security nginx git pip": GEERLINGGUY, "dev-sec os ssh": DEVSEC}
# What each writes for itself, or with the time of writing.
LISTING = r"find /etc -xdev -type f ! -name 'machine-id' ! -name hostname ! -path '/etc/ssh/ssh_host*' ! -name '*-' ! -name '*.cache' ! -path '*/shadow' \
  -printf '%p %m %u %g ' -exec sha1sum {} \; | sort"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--roles", type=Path, required=True)
    parser.add_argument("--volant", type=Path)
    parser.add_argument("--only", default=",".join(PLAYS))
    parser.add_argument("--beside", default="mitogen,ansible-core, pipelining")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.only.split(","):
        with machines(options.base, 4) as (started, folder), tempfile.TemporaryDirectory() as work:
            contest(options, name, started, folder, Path(work))


def contest(options, name: str, started: list, folder: Path, work: Path) -> None:
    book = work / "play.yml"
    book.write_text(PLAYS[name])
    (work / "roles").symlink_to(options.roles.resolve())
    (work / "collections").mkdir()
    (work / "collections/ansible_collections").symlink_to((options.roles / "ansible_collections").resolve())
    ours, *others = started
    named = {"amibake": (ours, contenders(options.amibake, ours, ours, folder, book)["amibake"])}
    for who, machine in zip(("mitogen", "ansible-core, pipelining"), others):
        if who not in options.beside:
            continue
        named[who] = machine, contenders(options.amibake, ours, machine, folder, book)[who]
    if options.volant:
        named["volant"] = others[2], volant(options.volant, others[2], folder, book)
    for who, (machine, command) in named.items():
        converge(who, command)
    times = measure({who: command for who, (_, command) in named.items()}, options.rounds)
    report(name, times)
    mine = ssh(ours, folder, LISTING).stdout
    for who, (machine, _) in named.items():
        other = ssh(machine, folder, LISTING).stdout
        for line in sorted(set(mine.splitlines()) ^ set(other.splitlines())):
            print(f"  differs from {who}: {line}")


def volant(program: Path, machine, folder: Path, book: Path) -> tuple:
    command = [str(program), "-i", f"{machine.address},", "-u", "root", "--private-key", str(folder / "key"), str(book)]
    options = f"-o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=no"
    return command, {"HOME": str(folder), "ANSIBLE_SSH_ARGS": options, "ANSIBLE_HOST_KEY_CHECKING": "false"}, lambda: None


def converge(who: str, contender: tuple) -> None:
    command, environment, _ = contender
    for _ in range(4):
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, cwd=Path(command[-1]).parent
                              if who == "volant" else None)
        if done.returncode:
            sys.exit(f"{who} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        if "changed=0" in done.stdout + done.stderr:
            return
    sys.exit(f"{who} changes something every time:\n{done.stdout[-3000:]}")


main()
