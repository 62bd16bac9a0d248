"""Judges the machine it runs on, as root, by controls of ../baseline.yml that come as JSON on standard input.

Prints one JSON object: for each control `pass`, `fail` or `skip`, and what decided. Needs Python's own library alone.
Values are compared as the baselines' InSpec does: `is` as text, `like` without regard to case, and a keyword that stands
twice in a file of ssh's is a list, which equals no text.
"""

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path


def read(path):
    """A file's text, or nothing where it is not there."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def run(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def keywords(path, pattern):
    """The values of each key of a configuration file, comments left out. Keys are in lower case."""
    found = {}
    for line in read(path).splitlines():
        match = re.match(pattern, line.split("#")[0])
        if match:
            found.setdefault(match[1].lower(), []).append(match[2])
    return found


def unlike(found, wanted):
    """Why the values found for a key are not as wanted, or nothing."""
    value = found[0] if found and len(found) == 1 else found
    (how, what), = wanted.items()
    text = value if isinstance(value, str) else ""
    holds = {
        "is": lambda: value == what,
        "like": lambda: text.lower() == str(what).lower(),
        "has": lambda: what in text,
        "matches": lambda: bool(text and re.search(what, text)),
        "set": lambda: bool(value) == what,
    }[how]()
    return None if holds else f"is {value!r}, {how} {what!r} wanted"


def by_key(found, wanted):
    return [f"{key} {why}" for key, test in wanted.items() if (why := unlike(found.get(key.lower()), test))]


def ssh_file(path):
    return lambda wanted: by_key(keywords(path, r"\s*(\S+?)\s+(.*?)\s*$"), wanted)


def login_defs(wanted):
    found = keywords("/etc/login.defs", r"\s*(\S+)\s+(\S*)\s*$")
    return by_key({key: values[-1:] for key, values in found.items()}, wanted)


def auditd_conf(wanted):
    found = keywords("/etc/audit/auditd.conf", r"\s*([^=]*?)\s*=\s*(.*?)\s*$")
    return by_key({key: values[-1:] for key, values in found.items()}, wanted)


def files(wanted):
    return [f"{file['path']}: {why}" for file in wanted for why in of_file(file)]


def of_file(wanted):
    path = Path(wanted["path"])
    if not path.exists():
        return [] if wanted.get("if_there") else ["is not there"]
    found = path.stat()
    owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    why = []
    if "is" in wanted and not {"file": path.is_file, "directory": path.is_dir}[wanted["is"]]():
        why.append(f"is no {wanted['is']}")
    if owner != wanted.get("owner", owner):
        why.append(f"owner is {owner}")
    if group != wanted.get("group", group) or not re.search(wanted.get("group_matches", ""), group):
        why.append(f"group is {group}")
    has, lacks = (int(wanted.get(name, "0"), 8) for name in ("has", "lacks"))
    if found.st_mode & has != has or found.st_mode & lacks:
        why.append(f"mode is {found.st_mode & 0o7777:04o}")
    return why


def absent(paths):
    return [f"{path} is there" for path in paths if os.path.lexists(path)]


def passwd_hashes(allowed):
    return [f"{line.split(':')[0]} has one" for line in read("/etc/passwd").splitlines() if line.split(":")[1] not in allowed]


def path_lacks(parts):
    found = os.environ.get("PATH", "").split(":")
    return [f"PATH has {part!r}" for part in parts if part in found]


def no_setgid(paths):
    """As `find / -perm -2000 -o -perm 4000`, which follows no links, sees them."""
    why = []
    for path in map(Path, paths):
        if os.path.lexists(path) and path.parent.resolve() == path.parent:
            mode = path.lstat().st_mode & 0o7777
            if mode & 0o2000 or mode == 0o4000:
                why.append(f"{path} has mode {mode:04o}")
    return why


def unique_ids(paths):
    why = []
    for path in paths:
        ids = [line.split(":")[2] for line in read(path).splitlines() if line.count(":") > 2 or "group" in path]
        why += [f"{path} has {number} twice" for number in sorted({n for n in ids if ids.count(n) > 1})]
    return why


def prints_nothing(command):
    done = run("sh", "-c", command)
    said = (done.stdout + done.stderr).strip()
    return [said.splitlines()[0]] if said else []


def text(wanted):
    found = read(wanted["path"])
    lines = list(wanted.get("has", []))
    if run("systemctl", "is-active", "snapd").stdout.strip() != "active":
        lines += wanted.get("has_unless_snapd_runs", [])
    if not os.path.exists("/sys/firmware/efi"):
        lines += wanted.get("has_unless_efi", [])
    why = [f"{wanted['path']} has no {line!r}" for line in lines if line not in found]
    if not re.search(wanted.get("matches", ""), found):
        why.append(f"{wanted['path']} is {found.strip()!r}")
    return why


def mounts(wanted):
    # The last one at a place is the one that is seen.
    options = {line.split()[1]: line.split()[3].split(",") for line in read("/proc/mounts").splitlines()}
    return [f"{at} has no {wanted['option']}" for at in wanted["at"] if at in options and wanted["option"] not in options[at]]


def is_installed(package):
    return run("dpkg-query", "-W", "-f", "${db:Status-Status}", package).stdout == "installed"


def installed(packages):
    return [f"{package} is not installed" for package in packages if not is_installed(package)]


def not_installed(packages):
    return [f"{package} is installed" for package in packages if is_installed(package)]


def kernel(wanted):
    why = []
    for key, allowed in wanted.items():
        found = read("/proc/sys/" + key.replace(".", "/")).strip()
        value = int(found) if re.fullmatch(r"-?\d+", found) else found or None
        if value not in allowed:
            why.append(f"{key} is {value}")
    return why


def cpu_flags(flags):
    found = re.search(r"^flags\s*:(.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    return [f"no {flag}" for flag in flags if not found or flag not in found[1].split()]


def ssh_client(wanted):
    """What the client takes for a host that nothing is known of."""
    said = run("ssh", "-G", "localhost").stdout
    return [f"{key} is {line}" for key, value in wanted.items() if f"{key} {value}" not in said
            for line in [next((l for l in said.splitlines() if l.startswith(key + " ")), "nothing")]]


def command_lines():
    found = (read(path).replace("\0", " ").strip() for path in Path("/proc").glob("[0-9]*/cmdline"))
    return [line for line in found if line]


def processes_lack(parts):
    running = [line for line in command_lines() if re.search(r"^(/[^/]*)*sshd -D(\s|$)", line)]
    return [f"{len(running)} run"] * (len(running) != 1) + [f"has {part}" for part in parts if part in "".join(running[:1])]


CHECKS = {
    "absent": absent, "auditd_conf": auditd_conf, "cpu_flags": cpu_flags, "files": files, "installed": installed,
    "kernel": kernel, "login_defs": login_defs, "mounts": mounts, "no_setgid": no_setgid, "not_installed": not_installed,
    "passwd_hashes": passwd_hashes, "path_lacks": path_lacks, "prints_nothing": prints_nothing,
    "processes_lack": processes_lack, "ssh_client": ssh_client, "ssh_config": ssh_file("/etc/ssh/ssh_config"),
    "sshd_config": ssh_file("/etc/ssh/sshd_config"), "text": text, "unique_ids": unique_ids,
}


def openssh():
    said = run("ssh", "-V").stderr
    return float(re.search(r"OpenSSH_(\d+\.\d+)", said)[1])


CONDITIONS = {
    "family": lambda family: family != "redhat" or os.path.exists("/etc/redhat-release"),
    "input_is_false": lambda value: not value,
    "kernel": lambda wanted: not kernel(wanted),
    "openssh_before": lambda version: openssh() < version,
    "process": lambda pattern: any(re.search(pattern, line) for line in command_lines()),
    "there": os.path.exists,
}


def judge(control):
    """`pass`, `fail` or `skip`, and why not the first."""
    checks = dict(control)
    unmet = [f"{name} {what}" for name, what in checks.pop("when", {}).items() if not CONDITIONS[name](what)]
    if unmet:
        return {"result": "skip", "why": unmet}
    why = [line for kind, what in checks.items() for line in CHECKS[kind](what)]
    return {"result": "fail", "why": why} if why else {"result": "pass"}


if __name__ == "__main__":
    json.dump({name: judge(control) for name, control in json.load(sys.stdin).items()}, sys.stdout)
