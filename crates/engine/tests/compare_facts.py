#!/usr/bin/env python3
"""Compares our facts with those of `ansible -m setup` on this machine.

usage: compare_facts.py ANSIBLE FACTS_PROGRAM   (FACTS_PROGRAM is the example `facts`)
Prints each difference; exits 1 if there is one outside the reviewed list.
"""

import json
import re
import subprocess
import sys

# Values that change between two runs, or that name the interpreter which Ansible itself runs on.
MOVING = {
    "ansible_date_time", "ansible_loadavg", "ansible_memfree_mb", "ansible_memory_mb", "ansible_uptime_seconds",
    "ansible_swapfree_mb", "ansible_env",
    # `localhost` runs modules with the Python of its virtual environment.
    "ansible_python", "ansible_python_version",
    # Left out on purpose: volume groups take a program that is slower than all the rest.
    "ansible_lvm",
}
# In mounts, what other processes change meanwhile.
MOVING_MOUNT = re.compile("(available|used|free)")


def steady(facts):
    for mount in facts.get("ansible_mounts", []):
        for key in [key for key in mount if MOVING_MOUNT.search(key)]:
            del mount[key]
    return {key: value for key, value in facts.items() if key not in MOVING}


def unordered(name, value):
    if name == "ansible_mounts":
        return sorted(value, key=lambda mount: mount["mount"])
    if name in ("ansible_interfaces", "ansible_virtualization_tech_guest", "ansible_virtualization_tech_host"):
        return sorted(value)
    if name == "ansible_locally_reachable_ips":
        return {family: sorted(addresses) for family, addresses in value.items()}
    return value


def main():
    ansible, program = sys.argv[1:3]
    command = [ansible, "localhost", "-c", "local", "-m", "setup"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = steady(json.loads(answer[answer.index("{"):])["ansible_facts"])
    ours = steady(json.loads(subprocess.run([program], capture_output=True, text=True, check=True).stdout))
    wrong = 0
    for name in sorted(theirs.keys() | ours.keys()):
        a, b = (unordered(name, side[name]) if name in side else "(absent)" for side in (theirs, ours))
        if a != b:
            wrong += 1
            print(f"{name}\n  ansible: {json.dumps(a)[:400]}\n  ours:    {json.dumps(b)[:400]}")
    print(f"{len(theirs)} facts of Ansible, {len(ours)} of ours compared, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
