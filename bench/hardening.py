"""hardening/ssh and hardening/os with `strict` over SSH: the first run with its packages there, and runs with nothing left to do.

Usage: hardening.py --amibake PROGRAM --base ROOT [--roles FOLDER] [--beside "mitogen,ansible-core, pipelining"] [--rounds 5]

What apt takes by itself is told apart: on every machine the packages are installed first, by the role's own tag `packages`.
Audit, firewall and kernel settings are their host's: what is written is measured, not what a kernel makes of it. Each other
contender has a machine of its own; machines are compared by the files below /etc once nothing is left to do. Ends with 1 where a goal is
missed: 10 s for the first run, 1.5 s for one with nothing to do.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import contenders, measure, report, timed
from pair import machines, ssh

PLAY = """- hosts: all
  become: true
  vars: {hardening_profile: strict}
  roles: [ssh, os]
"""
FIRST_S, AGAIN_S = 10.0, 1.5
# What each machine or each writer has of its own.
LISTING = r"""find /etc -xdev \( -type f -o -type l \) ! -name machine-id ! -name hostname ! -path '/etc/ssh/ssh_host*' ! -name '*-' ! -name '*.cache' \
  ! -name shadow -printf '%p %m %u %g %l ' \( -type f -exec sha1sum {} \; -o -printf '\n' \) | sort"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--roles", type=Path, default=Path(__file__).resolve().parents[1] / "hardening")
    parser.add_argument("--beside", default="mitogen")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    beside = [name for name in ("mitogen", "ansible-core, pipelining") if name in options.beside]
    with machines(options.base, 1 + len(beside)) as (started, folder), tempfile.TemporaryDirectory() as work:
        sys.exit(contest(options, beside, started, folder, Path(work)))


def contest(options, beside: list[str], started: list, folder: Path, work: Path) -> int:
    book = work / "play.yml"
    book.write_text(PLAY)
    (work / "roles").symlink_to(options.roles.resolve())
    named, machine_of = {}, {}
    for name, machine in zip(["amibake", *beside], started):
        command, environment, before = contenders(options.amibake, started[0], machine, folder, book)[name]
        named[name] = command, environment | {"ANSIBLE_FORCE_COLOR": "false"}, before
        machine_of[name] = machine
    apt, first = {}, {}
    for name, (command, environment, _) in named.items():
        apt[name] = timed([*command, "--tags", "packages"], environment, changes=True)
        first[name] = timed(command, environment, changes=True)
        settle(name, command, environment)
    told("hardening/ssh and os, strict: packages alone", apt)
    told("the rest of the first run", first)
    again = measure(named, options.rounds)
    report("nothing left to do", again)
    differences = [f"differs from {name}: {line}" for name in beside for line in unlike(started[0], machine_of[name], folder)]
    print("\n".join(differences) or "the machines are equal")
    late = first["amibake"] > FIRST_S or statistics.median(again["amibake"]) > AGAIN_S
    return int(bool(differences) or late)


def settle(name: str, command: list[str], environment: dict[str, str]) -> None:
    """A second run changes nothing, or the measurement would be of something else."""
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode or "changed=0" not in done.stdout + done.stderr:
        sys.exit(f"{name} changes something again:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def told(title: str, seconds: dict[str, float]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {took:.1f} s" for name, took in seconds.items()), flush=True)


def unlike(ours, theirs, folder: Path) -> list[str]:
    mine, other = (ssh(machine, folder, LISTING).stdout.splitlines() for machine in (ours, theirs))
    return sorted(set(mine) ^ set(other)) if mine else ["the machine lists nothing"]


main()
