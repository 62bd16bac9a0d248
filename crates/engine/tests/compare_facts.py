#!/usr/bin/env python3
"""Compares our facts with those of `ansible -m setup` on this machine.

usage: compare_facts.py [--apart] ANSIBLE FACTS_PROGRAM   (FACTS_PROGRAM is the example `facts`)
Prints each difference; exits 1 if there is one outside the reviewed list. With --apart (root only) both are asked in
namespaces of their own that have several interfaces, and mounts of servers and of devices that are not there.
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
# What is made in the namespaces of --apart.
APART = """
mount -t sysfs sysfs /sys
ip link set lo up
ip link add v0 type veth peer name v1
ip link add w0 type veth peer name w1
ip tuntap add u0 mode tun
ip tuntap add t0 mode tap
for name in v0 v1 w0 u0; do ip link set $name up; done
ip address add 10.9.0.2/24 broadcast + dev v0
ip address add 10.9.0.3/24 dev v0 label v0:1
ip address add fd12::2/64 dev v0 nodad
ip address add 192.168.7.1/30 dev v1
ip address add 172.20.0.1/16 dev w0 label w0:office
ip address add 10.8.0.1 peer 10.8.0.2 dev u0
ip route add default via 10.9.0.1
ip -6 route add default via fd12::1 dev v0
mount -t tmpfs tmpfs /mnt
mkdir /mnt/server '/mnt/no device' /mnt/bound
mount -t tmpfs server:/export /mnt/server
mount -t tmpfs server:/other /mnt/server
mount -t tmpfs /dev/absent '/mnt/no device'
mount --bind /etc /mnt/bound
"""
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
    if sys.argv[1] == "--apart":
        script = f'set -e\n{APART}\nexec "$@"'
        again = [sys.executable, *sys.argv[:1], *sys.argv[2:]]
        return subprocess.run(["unshare", "-nm", "sh", "-c", script, "sh", *again]).returncode
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
