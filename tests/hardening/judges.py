"""The judges. Each looks at a guest, leaves its raw logs in a folder, and returns its version, its figures and what it
fails by name: `failed` maps an id to the judge's own words.
"""

import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import yaml

from qemu import CACHE, HERE, Guest, free_port

BASELINE = runpy.run_path(str(HERE / "baseline"))
XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
CIS_PROFILE = "xccdf_org.ssgproject.content_profile_cis_level1_server"
# Which Debian has the content, and whose release files a machine has to show to be judged by it.
CIS = {
    "cis-ubuntu2204": ("bookworm", "22.04", "jammy"),
    "cis-ubuntu2404": ("trixie", "24.04", "noble"),
}
# The content is bound to Ubuntu, which a machine is if its release files say so. They do while it is judged, and in the
# judge's own mount namespace alone; only /etc/lsb-release, which Debian lacks, is there for all.
OSCAP = """set -e
mount --bind /run/judge/os-release /usr/lib/os-release
trap 'rm -f /etc/lsb-release' EXIT
cp /run/judge/lsb-release /etc/lsb-release
status=0
oscap xccdf eval --profile {profile} --results /run/judge/results.xml /run/judge/content.xml >/run/judge/said 2>&1 || status=$?
[ $status = 0 ] || [ $status = 2 ]
"""
OS_RELEASE = 'PRETTY_NAME="Ubuntu {version} LTS"\nNAME="Ubuntu"\nVERSION_ID="{version}"\nVERSION_CODENAME={name}\nID=ubuntu\nID_LIKE=debian\n'
LSB_RELEASE = 'DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE={version}\nDISTRIB_CODENAME={name}\nDISTRIB_DESCRIPTION="Ubuntu {version} LTS"\n'


def lynis(guest: Guest, logs: Path, _inputs: dict) -> dict:
    """Lynis with its stock profile and nothing skipped."""
    said = guest.must("cd /tmp && lynis audit system --quick --no-colors", patience=5400)
    (logs / "lynis.txt").write_text(said)
    report = guest.read("/var/log/lynis-report.dat").decode(errors="replace")
    (logs / "lynis-report.dat").write_text(report)
    (logs / "lynis.log").write_bytes(guest.read("/var/log/lynis.log"))
    index = re.search(r"^hardening_index=(\d+)", report, re.MULTILINE)
    found = re.findall(r"^(suggestion|warning)\[\]=([^|]*)\|([^|]*)\|([^|]*)\|", report, re.MULTILINE)
    failed: dict[str, list[str]] = {}
    for kind, test, words, details in found:
        failed.setdefault(test, []).append(f"{kind}: {words}" + (f" ({details})" if details not in ("-", "") else ""))
    version = re.search(r"^lynis_version=(\S+)", report, re.MULTILINE)
    return {"version": version[1], "figures": {"index": int(index[1])},
            "failed": {test: "; ".join(words) for test, words in failed.items()}}


def cis(content: str) -> Callable:
    """OpenSCAP with the CIS profile, level 1 server, of an Ubuntu release."""
    suite, version, name = CIS[content]

    def judge(guest: Guest, logs: Path, _inputs: dict) -> dict:
        package, text = datastream(suite, content)
        guest.must("mkdir -p /run/judge")
        guest.write("/run/judge/content.xml", text)
        guest.write("/run/judge/os-release", OS_RELEASE.format(version=version, name=name).encode())
        guest.write("/run/judge/lsb-release", LSB_RELEASE.format(version=version, name=name).encode())
        guest.must(f"unshare --mount sh -c {quoted(OSCAP.format(profile=CIS_PROFILE))}", patience=3000)
        results = guest.read("/run/judge/results.xml")
        (logs / f"{content}.xml").write_bytes(results)
        (logs / f"{content}.txt").write_bytes(guest.read("/run/judge/said"))
        scanner = guest.must("oscap --version").split("\n")[0].rsplit(" ", 1)[-1]
        guest.must("rm -rf /run/judge")
        return {"version": f"oscap {scanner}, ssg-debderived {package}", **of_results(results)}

    return judge


def of_results(results: bytes) -> dict:
    root = ElementTree.fromstring(results)
    titles = {rule.get("id"): rule.findtext(f"{XCCDF}title", "") for rule in root.iter(f"{XCCDF}Rule")}
    ended: dict[str, list[str]] = {}
    for rule in root.iter(f"{XCCDF}rule-result"):
        ended.setdefault(rule.findtext(f"{XCCDF}result"), []).append(rule.get("idref"))
    counted = {end: len(ended.get(end, [])) for end in ("pass", "fail", "error", "unknown")}
    short = lambda rule: rule.removeprefix("xccdf_org.ssgproject.content_rule_")
    failed = {short(rule): titles[rule] for end in ("fail", "error", "unknown") for rule in ended.get(end, [])}
    of = sum(counted.values())
    return {"figures": {"passed": counted["pass"], "of": of, "percent": round(100 * counted["pass"] / of, 1)}, "failed": dict(sorted(failed.items()))}


def datastream(suite: str, content: str) -> tuple[str, bytes]:
    """The version of a Debian release's package of contents, and one of them."""
    folder = CACHE / f"ssg-{suite}"
    if not (folder / "version").exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # The release's own package lists, without a root of that release.
        subprocess.run([str(HERE / "from-debian"), suite, "ssg-debderived", str(partial)], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    ubuntu = content.removeprefix("cis-")
    return (folder / "version").read_text().strip(), (folder / f"usr/share/xml/scap/ssg/content/ssg-{ubuntu}-ds.xml").read_bytes()


def baselines(guest: Guest, logs: Path, inputs: dict) -> dict:
    """dev-sec's linux and ssh baselines, with the inputs that a profile's own choices need."""
    results = BASELINE["judged"](guest.reach, inputs)
    (logs / "baselines.txt").write_text("\n".join(BASELINE["lines"](results)) + "\n")
    (logs / "baselines.json").write_text(json.dumps(results, indent=1))
    figures, failed = {}, {}
    for name, controls in results.items():
        for end in ("pass", "fail", "skip"):
            figures[f"{name} {end}"] = sum(control["result"] == end for control in controls.values())
        failed |= {control: "; ".join(result["why"]) for control, result in controls.items() if result["result"] == "fail"}
    versions = yaml.safe_load((HERE / "baseline.yml").read_text())
    return {"version": ", ".join(f"{name} {baseline['version']}" for name, baseline in versions.items()), "figures": figures, "failed": failed}


def ssh_audit(guest: Guest, logs: Path, _inputs: dict) -> dict:
    """ssh-audit's own judgement of the server and of the client, and its policy for the release."""
    program = environment("ssh-audit") / "ssh-audit"
    asked = "import importlib.metadata as m; print(m.version('ssh-audit'))"
    version = subprocess.run([program.with_name("python"), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    failed = {}
    server = run_audit(logs / "ssh-audit-server.txt", [program, "-n", "-p", str(guest.ports[22]), "127.0.0.1"])
    failed |= complaints("server", server)
    port = free_port()
    listening = [program, "-n", "-c", "-p", str(port), "-t", "60"]
    came = threading.Timer(3, lambda: guest.run(f"ssh -o BatchMode=yes -o ConnectTimeout=20 -p {port} nobody@10.0.2.2 true", root=False))
    came.start()
    failed |= complaints("client", run_audit(logs / "ssh-audit-client.txt", listening))
    came.join()
    policy = policy_for(program, guest)
    judged = run_audit(logs / "ssh-audit-policy.txt", [program, "-n", "-p", str(guest.ports[22]), "-P", policy, "127.0.0.1"])
    if "Passed" not in judged:
        errors = re.findall(r"^ *\* (.+)$", judged, re.MULTILINE)
        failed["policy"] = f"{policy}: {'; '.join(errors)}"
    return {"version": f"ssh-audit {version}", "figures": {"policy": policy, "failures and warnings": sum(name != "policy" for name in failed)}, "failed": failed}


def run_audit(log: Path, argv: list) -> str:
    done = subprocess.run(list(map(str, argv)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    log.write_text(done.stdout + done.stderr)
    return done.stdout


def complaints(side: str, said: str) -> dict[str, str]:
    if "(kex)" not in said:
        return {f"{side} not seen": said.strip()[-300:]}
    found = {}
    last = ""
    for line in said.splitlines():
        head = re.match(r"\((\w+)\) (\S+)", line)
        last = f"{head[1]} {head[2]}" if head else last
        if complaint := re.search(r"\[(fail|warn)\] (.*)$", line):
            found[f"{side} {last} {complaint[1]}"] = complaint[2]
    return found


def policy_for(program: Path, guest: Guest) -> str:
    """The newest of its policies for the machine's release."""
    known = subprocess.run([program, "-L"], capture_output=True, text=True).stdout
    release = guest.must(". /etc/os-release; echo $VERSION_ID").strip()
    names = re.findall(rf'"(Hardened Debian {release}.*?)"', known)
    if not names:
        raise RuntimeError(f"ssh-audit knows no policy for Debian {release}:\n{known}")
    return max(names, key=lambda name: int(re.search(r"version (\d+)", name)[1]))


def environment(package: str) -> Path:
    """The programs of the newest version of a package on PyPI; looked up once a day."""
    folder = CACHE / package
    done = folder / "ready"
    if not done.exists() or done.stat().st_mtime < time.time() - 86400:
        if not (folder / "bin/pip").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--upgrade", package], check=True)
        done.touch()
    return folder / "bin"


def exposure(guest: Guest, logs: Path, _inputs: dict) -> dict:
    """What systemd says of the web application's sandbox."""
    said = guest.run("systemctl cat supervisor.service >/dev/null && systemd-analyze security --no-pager supervisor.service")
    version = guest.must("systemctl --version").split()[1]
    (logs / "systemd-analyze.txt").write_text(said.stdout + said.stderr)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    if not level:
        return {"version": f"systemd {version}", "figures": {}, "failed": {"supervisor.service": "is not there"}}
    return {"version": f"systemd {version}", "figures": {"exposure": float(level[1])}, "failed": {}}


def kernel(guest: Guest, logs: Path, _inputs: dict) -> dict:
    """Whether the kernel that runs took what the roles wrote."""
    program = (HERE / "inside/taken.py").read_text()
    said = guest.must(f"python3 -I -c {quoted(program)}")
    (logs / "kernel.json").write_text(said)
    missing = json.loads(said)
    version = guest.must("uname -r").strip()
    return {"version": f"Linux {version}", "figures": {"not taken": len(missing)}, "failed": missing}


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


JUDGES: dict[str, Callable] = {
    "kernel": kernel, "baselines": baselines, "ssh-audit": ssh_audit, "exposure": exposure, "lynis": lynis,
    "cis-ubuntu2204": cis("cis-ubuntu2204"), "cis-ubuntu2404": cis("cis-ubuntu2404"),
}
