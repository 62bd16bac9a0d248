"""Who is measured beside amibake over SSH, and how: in turns, on equal machines, medians told as ratios."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pair import ssh


def contenders(amibake: Path, ours, theirs, folder: Path, book: Path) -> dict[str, tuple]:
    """Name to command, environment, and what is done before the clock starts. amibake twice: with its agent on the
    machine, and with the agent shipped in the measured time."""
    import ansible_mitogen
    own = [str(amibake), "apply", str(book), "--host", f"root@{ours.address}", "--identity", str(folder / "key"),
           "--known-hosts", str(folder / "known_hosts")]
    ansible = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{theirs.address},", "-u", "root",
               "--private-key", str(folder / "key"), "-e", "ansible_python_interpreter=/usr/bin/python3", str(book)]
    home = {"HOME": str(folder)}
    common = home | {"ANSIBLE_SSH_ARGS": f"-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={folder}/known_hosts",
                     "ANSIBLE_HOST_KEY_CHECKING": "false"}
    strategies = str(Path(ansible_mitogen.__file__).parent / "plugins/strategy")
    mitogen = common | {"ANSIBLE_STRATEGY_PLUGINS": strategies, "ANSIBLE_STRATEGY": "mitogen_linear"}
    return {
        "amibake": (own, home, lambda: None),
        "amibake, agent shipped": (own, home, lambda: ssh(ours, folder, "rm -rf /var/lib/amibake")),
        "mitogen": (ansible, mitogen, lambda: None),
        "ansible-core, pipelining": (ansible, common | {"ANSIBLE_PIPELINING": "true"}, lambda: None),
    }


def ssh_alone(machine, folder: Path) -> tuple:
    """The floor under all of them: logging in, and nothing more."""
    options = ["-oBatchMode=yes", f"-oUserKnownHostsFile={folder}/known_hosts", "-oLogLevel=ERROR", "-i", str(folder / "key")]
    return ["ssh", *options, f"root@{machine.address}", "true"], {}, lambda: None


def timed(command: list[str], environment: dict[str, str], changes: bool) -> float:
    """Seconds of a run that must succeed, and change something or nothing; what is no playbook has no say in that."""
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    took = time.monotonic() - began
    said = done.stdout + done.stderr
    if done.returncode:
        sys.exit(f"{command} failed:\n{said}")
    if command[0] != "ssh" and ("changed=0" in said) == changes:
        sys.exit(f"{command} changed {'nothing' if changes else 'something'}:\n{said}")
    return took


def measure(named: dict[str, tuple], rounds: int, prepare=None) -> dict[str, list[float]]:
    """Seconds of each round; the first round is for caches and is not counted. With `prepare`, which makes the
    machines as they were, each run must change something."""
    times = {name: [] for name in named}
    for _ in range(rounds + 1):
        for name, (command, environment, before) in named.items():
            if prepare:
                prepare()
            before()
            times[name].append(timed(command, environment, changes=prepare is not None))
    return {name: seconds[1:] for name, seconds in times.items()}


def report(title: str, times: dict[str, list[float]]) -> None:
    ours = statistics.median(times["amibake"])
    print(f"{title}:", flush=True)
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(f"  {name:26} {middle:8.3f} s ({min(seconds):.3f}-{max(seconds):.3f})   {middle / ours:6.1f} x amibake", flush=True)


def refuse_difference(ours, theirs, folder: Path, listing: str) -> None:
    """Ends the run unless `listing` prints the same on both machines."""
    mine, other = (ssh(machine, folder, listing).stdout for machine in (ours, theirs))
    if mine != other or not mine:
        sys.exit("the machines differ")
