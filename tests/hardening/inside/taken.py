"""Says what the running kernel has not taken of what the hardening roles wrote: audit rules, firewall, boot arguments, AppArmor.

Prints one JSON object: what is missing, by name. Runs as root on the machine itself; Python's own library alone.
"""

import json
import os
import re
import subprocess
import sys


def run(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def can_be_loaded(rule):
    """A rule for a path below a folder that is not there cannot be, and is passed over (`-i`)."""
    path = re.search(r"-F path=(\S+)|-w (\S+)", rule)
    folder = re.search(r"-F dir=(\S+)", rule)
    if folder:
        return os.path.isdir(folder[1])
    return not path or os.path.isdir(os.path.dirname(path[1] or path[2]))


def missing():
    found = {}
    written = [line for line in read("/etc/audit/audit.rules").splitlines() if re.match(r"-[aAw] ", line)]
    wanted = [line for line in written if can_be_loaded(line)]
    loaded = [line for line in run("auditctl", "-l").splitlines() if re.match(r"-[aAw] ", line)]
    if not wanted or len(loaded) < len(wanted):
        found["audit rules"] = f"{len(loaded)} of {len(wanted)} are loaded ({len(written)} are written)"
    ruleset = run("nft", "list", "ruleset")
    if not re.search(r"hook input .*policy drop", ruleset):
        found["firewall"] = f"no chain drops what comes in: {ruleset[:300]}"
    arguments = re.findall(r'^GRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX (.*)"$', read("/etc/default/grub.d/60-hardening.cfg"), re.MULTILINE)
    booted = read("/proc/cmdline").split()
    lacking = [argument for argument in " ".join(arguments).split() if argument not in booted]
    if not arguments or lacking:
        found["boot arguments"] = f"not there: {' '.join(lacking) or 'any'}; booted with {' '.join(booted)}"
    if run("cat", "/sys/module/apparmor/parameters/enabled").strip() != "Y":
        found["AppArmor"] = "is not enabled"
    return found


if __name__ == "__main__":
    json.dump(missing(), sys.stdout)
