"""N no-change `file` tasks over SSH: amibake, ansible-core with pipelining, and mitogen, in one run.

Usage: nochange.py --amibake PROGRAM --base ROOT [--tasks 50,200] [--rounds 5]. Prints medians, spreads
and ratios, start-up included, for each number of tasks; compares the end states of the machines.
amibake is measured twice: with its agent on the machine, and with the agent shipped in the measured
time (cold). The contenders take turns, so that what else the host does falls on all of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pair import machines, ssh


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
    parser.add_argument("--tasks", default="50,200")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with machines(options.base, 2) as ((ours, theirs), folder), tempfile.TemporaryDirectory() as work:
        for tasks in map(int, options.tasks.split(",")):
            book = Path(work) / f"{tasks}.yml"
            book.write_text(playbook(tasks))
            for machine in (ours, theirs):
                ssh(machine, folder, f"for n in $(seq 0 {tasks - 1}); do mkdir -p -m 0755 /srv/bench/$n; done")
            times = measure(contenders(options, ours, theirs, folder, book), options.rounds)
            refuse_difference(ours, theirs, folder)
            report(tasks, times)


def contenders(options, ours, theirs, folder: Path, book: Path) -> dict[str, tuple]:
    """Name to command, environment, and what is done before the clock starts."""
    import ansible_mitogen
    amibake = [str(options.amibake), "apply", str(book), "--host", f"root@{ours.address}", "--identity", str(folder / "key"),
               "--known-hosts", str(folder / "known_hosts")]
    ansible = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{theirs.address},", "-u", "root",
               "--private-key", str(folder / "key"), "-e", "ansible_python_interpreter=/usr/bin/python3", str(book)]
    home = {"HOME": str(book.parent)}
    common = home | {"ANSIBLE_SSH_ARGS": f"-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={folder}/known_hosts",
                     "ANSIBLE_HOST_KEY_CHECKING": "false"}
    strategies = str(Path(ansible_mitogen.__file__).parent / "plugins/strategy")
    mitogen = common | {"ANSIBLE_STRATEGY_PLUGINS": strategies, "ANSIBLE_STRATEGY": "mitogen_linear"}
    return {
        "amibake": (amibake, home, lambda: None),
        "amibake, agent shipped": (amibake, home, lambda: ssh(ours, folder, "rm -rf /var/lib/amibake")),
        "mitogen": (ansible, mitogen, lambda: None),
        "ansible-core, pipelining": (ansible, common | {"ANSIBLE_PIPELINING": "true"}, lambda: None),
    }


def measure(named: dict[str, tuple], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round; the first round is for caches and is not counted."""
    times = {name: [] for name in named}
    for _ in range(rounds + 1):
        for name, (command, environment, before) in named.items():
            before()
            times[name].append(timed(command, environment))
    return {name: seconds[1:] for name, seconds in times.items()}


def refuse_difference(ours, theirs, folder: Path) -> None:
    listing = "find /srv/bench -printf '%p %y %m %u %g\\n' | sort"
    if ssh(ours, folder, listing).stdout != ssh(theirs, folder, listing).stdout:
        sys.exit("the machines differ")


def report(tasks: int, times: dict[str, list[float]]) -> None:
    ours = statistics.median(times["amibake"])
    print(f"{tasks} tasks:")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:26} {middle:8.3f} s ({min(seconds):.3f}-{max(seconds):.3f})   {middle / ours:6.1f} x amibake")


main()
