"""N no-change `file` tasks over SSH: amibake, ansible-core with pipelining, and mitogen, in one run.

Usage: nochange.py --amibake PROGRAM --base ROOT [--tasks 50] [--rounds 5]. Prints medians and ratios,
start-up included; compares the end states of the machines. amibake is measured twice: with its
agent on the machine, and with the agent shipped in the measured time (cold).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machines, ssh


def playbook(tasks: int) -> str:
    head = "- hosts: all\n  gather_facts: false\n  tasks:\n"
    body = "".join(f"    - ansible.builtin.file: {{path: /srv/bench/{n}, state: directory, mode: '0755'}}\n" for n in range(tasks))
    return head + body


def timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    took = time.monotonic() - began
    if "changed=0" not in done.stdout + done.stderr:
        sys.exit(f"{command} did not report changed=0:\n{done.stdout}\n{done.stderr}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with machines(options.base, 2) as ((ours, theirs), folder), tempfile.TemporaryDirectory() as work:
        book = Path(work) / "site.yml"
        book.write_text(playbook(options.tasks))
        run(options, ours, theirs, folder, book)


def run(options, ours, theirs, folder: Path, book: Path) -> None:
    for machine in (ours, theirs):
        ssh(machine, folder, f"for n in $(seq 0 {options.tasks - 1}); do mkdir -p -m 0755 /srv/bench/$n; done")
    amibake = [str(options.amibake), "apply", str(book), "--host", f"root@{ours.address}", "--identity", str(folder / "key"),
               "--known-hosts", str(folder / "known_hosts")]
    bin_folder = Path(sys.executable).parent
    ansible = [str(bin_folder / "ansible-playbook"), "-i", f"{theirs.address},", "-u", "root", "--private-key", str(folder / "key"),
               "-e", "ansible_python_interpreter=/usr/bin/python3", str(book)]
    common = {"ANSIBLE_SSH_ARGS": f"-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={folder}/known_hosts",
              "ANSIBLE_HOST_KEY_CHECKING": "false", "HOME": str(book.parent)}
    import ansible_mitogen
    strategies = str(Path(ansible_mitogen.__file__).parent / "plugins/strategy")
    contenders = {
        "amibake": (amibake, {"HOME": str(book.parent)}, None),
        "amibake, agent shipped": (amibake, {"HOME": str(book.parent)}, "rm -rf /var/lib/amibake"),
        "ansible-core, pipelining": (ansible, common | {"ANSIBLE_PIPELINING": "true"}, None),
        "mitogen": (ansible, common | {"ANSIBLE_STRATEGY_PLUGINS": strategies, "ANSIBLE_STRATEGY": "mitogen_linear"}, None),
    }
    medians = {}
    for name, (command, environment, before) in contenders.items():
        times = []
        for _ in range(options.rounds + 1):  # the first is for caches and is not counted
            if before:
                ssh(ours, folder, before)
            times.append(timed(command, environment))
        medians[name] = statistics.median(times[1:])
    listing = "find /srv/bench -printf '%p %y %m %u %g\\n' | sort"
    if ssh(ours, folder, listing).stdout != ssh(theirs, folder, listing).stdout:
        sys.exit("the machines differ")
    for name, seconds in medians.items():
        print(f"{name:26} {seconds:8.3f} s   {seconds / medians['amibake']:6.1f} x amibake")


main()
