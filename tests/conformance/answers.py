"""What ansible-core answered, kept compactly, and how far ours is from it."""

import difflib
import fcntl
import json
import os
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Folders by which a target, or a role that it needs, brings Python of its own.
OWN_PYTHON = ["library", "module_utils", "*_plugins", "**/plugins"]
# Names of files that differ from one run to the next.
CHANCE = re.compile(r"(/tmp/|ansible[._-])[\w.-]+")


def ended(call: dict) -> str:
    """How a call ended, in terms that both programs share: refused is before any task."""
    if call["status"] == 0:
        return "passed"
    return "failed" if call["recap"] else "refused"


def recorded(name: str) -> dict | None:
    path = HERE / f"recorded/{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def record(target, run: dict) -> str:
    """Writes down what ansible-core did."""
    answer = {"own": own_python(target)} if own_python(target) else {}
    if run["late"]:
        answer["late"] = run["late"]
    calls = run["calls"] if target.is_script else run["calls"][-1:]  # a role may call it too, and its own call ends last
    answer["calls"] = [keep(call, target.is_script) for call in calls]
    if not target.is_script and calls and ended(calls[0]) != "passed":
        answer["why"] = reason(calls[0])
    path = HERE / f"recorded/{target.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(answer, separators=(",", ":"), ensure_ascii=False) + "\n")
    return ", ".join(call["ended"] for call in answer["calls"]) or "no call"


def keep(call: dict, is_script: bool) -> dict:
    # Where another callback prints, what ran has no recap that is known.
    kept = {"ended": ended(call), "recap": call["recap"] or (None if call["ran"] and call["status"] == 0 else {})}
    return kept | (key_of(call) if is_script else {"ran": packed(call["ran"])})


def key_of(call: dict) -> dict:
    return {"argv": CHANCE.sub(r"\1…", " ".join(call["argv"])), "cwd": CHANCE.sub(r"\1…", call["cwd"])}


def packed(ran: list) -> list[str]:
    """`host file 12o 15c`: one line for as long as the tasks stay in one file."""
    lines, before = [], None
    for host, place, letter, *_ in ran:
        file, _, line = place.rpartition(":")
        if before != (host, file):
            lines.append(f"{host} {file}")
            before = (host, file)
        lines[-1] += f" {line}{letter}"
    return lines


def unpacked(lines: list[str]) -> list[tuple]:
    ran = []
    for line in lines:
        # A path may have spaces; a task's line and letter have none.
        host, rest = line.split(" ", 1)
        words = rest.split(" ")
        while_path = next(i for i, word in enumerate(words) if i and re.fullmatch(r"\w+[ocsfiu]", word))
        file = " ".join(words[:while_path])
        ran += [(host, f"{file}:{word[:-1]}" if file else word[:-1], word[-1]) for word in words[while_path:]]
    return ran


def own_python(target) -> list[str]:
    """Which folders with Python of its own the target has, or the roles that it depends on."""
    folders, names = [target.folder], []
    meta = target.folder / "meta/main.yml"
    if meta.exists():
        needed = re.findall(r"\w[\w.-]*", meta.read_text())
        folders += [target.folder.parent / name for name in needed if (target.folder.parent / name).is_dir()]
    for folder in folders:
        for pattern in OWN_PYTHON:
            names += [f"{folder.name}/{found.relative_to(folder)}" for found in folder.glob(pattern) if found.is_dir()]
    return sorted(set(names))


def compare(target, run: dict, outcomes: Path) -> str:
    """Remembers how far ours is from the answer on record."""
    answer = recorded(target.name)
    if answer is None:
        return "no answer is recorded (--record)"
    outcome = (calls_outcome if target.is_script else role_outcome)(answer["calls"], run)
    remember(outcomes, target.name, outcome)
    return f"{outcome['same']} of {outcome['of']}" + "".join(f"\n    {why}" for why in outcome.get("why", []))


def remember(outcomes: Path, name: str, outcome: dict) -> None:
    """Adds it to the file, which other runs may write to at the same time."""
    folder = os.open(outcomes.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        known = json.loads(outcomes.read_text()) if outcomes.exists() else {}
        known[name] = outcome
        lines = [f"{json.dumps(name)}: {json.dumps(known[name], ensure_ascii=False)}" for name in sorted(known)]
        outcomes.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    finally:
        os.close(folder)


def role_outcome(calls: list, run: dict) -> dict:
    if not calls or not run["calls"]:
        of = len(unpacked(calls[-1]["ran"])) if calls else 0
        return {"same": 0, "of": of, "why": [run["late"] or "it had not ended in the time given"]}
    theirs, ours = calls[-1], run["calls"][-1]
    wanted, ran = unpacked(theirs["ran"]), [tuple(task[:3]) for task in ours["ran"]]
    blocks = difflib.SequenceMatcher(None, wanted, ran, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks)
    if same == len(wanted) == len(ran) and ended(ours) == theirs["ended"]:
        return {"same": same, "of": len(wanted)}
    matched = {block.b + i for block in blocks for i in range(block.size)}
    failures = [task for i, task in enumerate(ours["ran"]) if i not in matched and task[3]]
    if failures:
        why = f"{failures[0][1]}: {short(failures[0][3])}"
    elif ended(ours) != theirs["ended"]:
        why = run["late"] or reason(ours)
    else:
        why = first_difference(wanted, ran)
    return {"same": same, "of": len(wanted), "why": [why]}


def first_difference(wanted: list, ran: list) -> str:
    words = {"o": "ok", "c": "changed", "s": "skipped", "f": "failed", "i": "ignored", "u": "unreachable"}
    for theirs, ours in zip(wanted, ran):
        if theirs != ours:
            if theirs[:2] == ours[:2]:
                return f"{ours[1]}: {words[ours[2]]}, and {words[theirs[2]]} by ansible-core"
            return f"{theirs[1]} was to run, and {ours[1]} did"
    return f"{len(ran)} tasks ran, of {len(wanted)}"


def calls_outcome(calls: list, run: dict) -> dict:
    keys = [(call["argv"], call["cwd"]) for call in calls]
    made = [(key["argv"], key["cwd"]) for key in map(key_of, run["calls"])]
    same, why, reached = 0, [], set()
    for block in difflib.SequenceMatcher(None, keys, made, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            theirs, ours = calls[block.a + i], run["calls"][block.b + i]
            reached.add(block.a + i)
            if alike(theirs, ours):
                same += 1
            else:
                why.append(f"`{theirs['argv'][:60]}`: {call_difference(theirs, ours)}")
    if len(reached) < len(calls):
        why.append(f"{len(calls) - len(reached)} calls were not made" + (f": {run['late']}" if run["late"] else ""))
    return {"same": same, "of": len(calls)} | ({"why": why} if why else {})


def alike(theirs: dict, ours: dict) -> bool:
    told = theirs["recap"] is not None and theirs["ended"] != "refused"
    return theirs["ended"] == ended(ours) and (not told or theirs["recap"] == ours["recap"])


def call_difference(theirs: dict, ours: dict) -> str:
    if ended(ours) != theirs["ended"] or not theirs["recap"]:
        return f"{ended(ours)}, not {theirs['ended']}: {reason(ours)}"
    for host, figures in theirs["recap"].items():
        if ours["recap"].get(host) != figures:
            names = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
            mine = ours["recap"].get(host) or [0] * 7
            return f"{host} has " + ", ".join(f"{n}={b}, not {a}" for n, a, b in zip(names, figures, mine) if a != b)
    return "hosts that ansible-core does not have: " + ", ".join(set(ours["recap"]) - set(theirs["recap"]))


def reason(call: dict) -> str:
    """The first complaint of a call."""
    failed = [task for task in call["ran"] if task[2] in "fu" and task[3]]
    if failed:
        return f"{failed[-1][1]}: {short(failed[-1][3])}"
    lines = [line.strip() for line in call["said"].splitlines() if line.strip()]
    for mark in ("error:", "[ERROR]", "ERROR!", "fatal:", "failed:"):
        found = [i for i, line in enumerate(lines) if mark in line]
        if found:
            return short(" ".join(lines[found[0]:found[0] + 2]))
    return short(lines[-1]) if lines else "it said nothing"


def short(text: str) -> str:
    text = re.sub(r"/tmp/[\w.-]+", "/tmp/…", text.replace("/ansible/test/integration/targets/", "")).replace("\n", " ")
    return text if len(text) <= 200 else text[:199] + "…"
