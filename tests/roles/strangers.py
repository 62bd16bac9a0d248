"""A stranger's role on a machine: where it comes from, how it is run by either of the two, and how alike they were."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))
from answers import ended, reason, short  # noqa: E402
from machines import CACHE, Machines  # noqa: E402

LOCK = HERE.parent / "roles.lock"
OUTCOMES = HERE / "outcomes.json"
STORE = CACHE / "roles"
# Collections that the roles' requirements name, out of PyPI's `ansible`.
COLLECTIONS = ["ansible/posix", "ansible/utils", "community/general", "community/crypto", "community/mysql", "community/postgresql"]
VOLATILE = yaml.safe_load((HERE / "volatile.yml").read_text())
SCRIPT = """
export HOME=/root USER=root LANG=C.UTF-8 LC_ALL=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore
export PATH=/conformance/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
export JUDGED={judged} NOTE_EVENTS=1 NOTES=/conformance/out/notes NOTE_BELOW=/roles ANSIBLE_NOCOLOR=1 ANSIBLE_DEPRECATION_WARNINGS=0
# As up to ansible-core 2.18, and by ours: a role whose conditions are no booleans runs.
export ANSIBLE_ALLOW_BROKEN_CONDITIONALS=1
export ANSIBLE_ROLES_PATH=/roles/roles ANSIBLE_COLLECTIONS_PATH=/roles/collections:/usr/share/ansible/collections
{strategy}
cd /roles
apt-get update -qq
{before}
snapshot() {{ python3 /conformance/bin/snapshot.py >/conformance/out/$1; }}
snapshot before
for run in {runs}; do timeout {patience} ansible-playbook -i inventory {options} play.yml; done
snapshot after
"""
MITOGEN = """export ANSIBLE_STRATEGY=mitogen_linear
export ANSIBLE_STRATEGY_PLUGINS=$(python3 -c 'import ansible_mitogen as m; print(m.__path__[0])')/plugins/strategy"""


class Role:
    """A role of the lock file, with what is to be known to run it."""

    def __init__(self, name: str, repository: str, commit: str, how: dict):
        self.name, self.repository, self.commit = name, repository, commit
        self.how = how
        # A collection's role has a name of three parts, and its repository is the collection; some have it as a role, too.
        self.collection = how.get("collection", "/".join(name.split(".")[:2]) if name.count(".") == 2 else None)

    def fetch(self, source: Path | None) -> Path:
        """The files of its commit, in a folder of their own."""
        folder = STORE / f"{self.repository.replace('/', '+')}@{self.commit[:12]}"
        if folder.exists():
            return folder
        STORE.mkdir(parents=True, exist_ok=True)
        url = f"https://github.com/{self.repository}"
        if source:
            found = source / self.repository.replace("/", "+") / "repo"
            url = str(found / ".git" if (found / ".git").exists() else found)
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run(["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-checkout", url, str(partial)], check=True)
        subprocess.run(["git", "-C", str(partial), "checkout", "--quiet", self.commit], check=True)
        shutil.rmtree(partial / ".git")
        partial.rename(folder)
        return folder

    def needs(self) -> list["Role"]:
        """Roles without which it does not run, and which it does not bring."""
        return [Role(name, *at, {}) for name, at in self.how.get("needs", {}).items()]

    def furnish(self, root: Path, files: Path, needed: dict[str, Path]) -> None:
        """Puts the role, its play and an inventory into a machine."""
        here = root / "roles"
        for name, folder in needed.items():
            shutil.copytree(folder, here / "roles" / name, symlinks=True)
        where = here / "collections/ansible_collections" / self.collection if self.collection else here / "roles" / self.name
        shutil.copytree(files / self.how.get("below", "."), where, symlinks=True)
        play = {"hosts": "all", "become": True, "vars": self.how.get("vars", {}), "roles": [self.name]}
        (here / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        (here / "inventory").write_text("machine ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n")
        shutil.copy(HERE / "snapshot.py", root / "conformance/bin")
        (root / "conformance/bin/volatile.json").write_text(json.dumps(VOLATILE))

    def script(self, judged: str, plain: bool, patience: float) -> str:
        tags = self.how.get("skip_tags")
        return SCRIPT.format(judged=judged, strategy="" if plain or judged == "amibake" else MITOGEN, patience=int(patience),
                             runs=self.how.get("runs", "1 2"), before=self.how.get("before", ""), options=f"--skip-tags {tags}" if tags else "")


def roles() -> dict[str, Role]:
    how = yaml.safe_load((HERE / "plays.yml").read_text())
    lines = (line.split() for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    return {name: Role(name, repository, commit, how.get(name) or {}) for name, repository, commit in lines}


def collections() -> Path:
    """A layer for the machines with the collections that roles name."""
    layer = CACHE / "roles-collections"
    if not layer.exists():
        wheels = CACHE / "wheels"
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), "ansible==12.3.0"],
                       check=True)
        partial = layer.with_suffix(".partial")
        wanted = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
        with zipfile.ZipFile(next(wheels.glob("ansible-12.3.0-*.whl"))) as wheel:
            names = [name for name in wheel.namelist() if name.startswith(wanted) and "/tests/" not in name]
            wheel.extractall(partial / "usr/share/ansible/collections", names)
        shutil.rmtree(wheels)
        partial.rename(layer)
    return layer


def run(machines: Machines, role: Role, judged: str, args) -> dict:
    files = role.fetch(args.source)
    needed = {other.name: other.fetch(args.source) for other in role.needs()}
    out = machines.run(role.script(judged, args.plain or role.how.get("plain", False), args.patience), 2 * args.patience + 300,
                       lambda root: role.furnish(root, files, needed))
    if os.environ.get("KEEP"):
        Path(os.environ["KEEP"], f"{role.name}.{judged}").write_text(json.dumps(out))
    calls = [json.loads(line) for line in out.get("notes", "").splitlines()]
    return {"calls": calls, "late": out.get("late"), "changed": changed(out),
            "console": out.get("console", "")[-1500:]}


def changed(out: dict) -> dict[str, str]:
    """What is different after both runs, by path."""
    before, after = ({line.split("\t", 1)[0]: line.split("\t", 1)[1] for line in out.get(name, "").splitlines()}
                     for name in ("before", "after"))
    return {path: after.get(path, "gone") for path in before | after if before.get(path) != after.get(path)}


def answer(machines: Machines, role: Role, args) -> dict:
    """What ansible-core did, asked once."""
    path = STORE / f"{role.name}@{role.commit[:12]}.json"
    how = json.dumps({key: value for key, value in role.how.items() if key != "explained"}, sort_keys=True)
    if path.exists() and not args.ask:
        known = json.loads(path.read_text())
        if known["how"] == how:
            return known
    known = run(machines, role, "ansible", args) | {"how": how}
    path.write_text(json.dumps(known))
    return known


def outcome(theirs: dict, ours: dict, how: dict) -> dict:
    """How alike they are: tasks of both runs, files, and what is different first, with the reason if it is known."""
    if len(theirs["calls"]) < 2 or any(ended(call) != "passed" for call in theirs["calls"]) or not theirs["changed"]:
        call = next((call for call in theirs["calls"] if ended(call) != "passed"), None)
        return {"ansible": reason(call) if call else theirs["late"] or "changed nothing"}
    same, of, why = 0, 0, []
    for number, call in enumerate(theirs["calls"]):
        mine = ours["calls"][number] if number < len(ours["calls"]) else {"ran": [], "recap": {}, "status": 4, "said": ""}
        count, reasons = tasks_alike(call, mine)
        same, of = same + count, of + len(call["ran"])
        why += [f"run {number + 1}: {text}" for text in reasons]
    files = files_unlike(theirs["changed"], ours["changed"])
    if files:
        why.append(f"{len(files)} files differ: {', '.join(sorted(files)[:5])}")
    found = {"same": same, "of": of, "files": len(theirs["changed"])}
    if why and "explained" in how:
        found["explained"] = how["explained"]
    return found | ({"why": why} if why else {})


def files_unlike(theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    """The paths that are not the same in both, by what volatile.yml says of them."""
    wanted, found = (lasting(files) for files in (theirs, ours))
    return [path for path in wanted | found if wanted.get(path) != found.get(path)]


def lasting(files: dict[str, str]) -> dict[str, list[str]]:
    """What of the files two runs of the same make alike."""
    told = {kind: re.compile("|".join(VOLATILE[kind])) for kind in ("content", "by_the_moment", "names")}
    passed_over = tuple(f"{folder}/" for folder in VOLATILE["passed_over"])
    kept = {}
    for path, what in sorted(files.items()):
        if f"{path}/".startswith(passed_over) or told["by_the_moment"].search(path):
            continue
        if told["content"].search(path):
            what = what.rpartition("\t")[0]
        kept.setdefault(told["names"].sub(".*", path), []).append(what)
    return kept


def tasks_alike(theirs: dict, ours: dict) -> tuple[int, list[str]]:
    wanted, ran = ([tuple(task[1:3]) for task in call["ran"]] for call in (theirs, ours))
    matcher = difflib.SequenceMatcher(None, wanted, ran, autojunk=False)
    same = sum(block.size for block in matcher.get_matching_blocks())
    if same == len(wanted) == len(ran) and ended(ours) == "passed":
        return same, []
    if ended(ours) != "passed":
        return same, [f"{ended(ours)}: {reason(ours)}"]
    gaps = [(wanted[a:b], ran[c:d]) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]
    return same, [short(f"{' '.join(map(':'.join, a[:3])) or 'nothing'} by ansible-core, {' '.join(map(':'.join, b[:3])) or 'nothing'} by ours")
                  for a, b in gaps[:3]]


def remember(name: str, found: dict) -> None:
    known = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    known[name] = found
    lines = [f"{json.dumps(name)}: {json.dumps(known[name], ensure_ascii=False)}" for name in sorted(known)]
    OUTCOMES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
