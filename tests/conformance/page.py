"""Writes docs/conformance.md: per target, how much of it is as ansible-core has it, and why the rest is not."""

import json
from pathlib import Path

import answers

HEAD = """# Conformance

Written by `tests/conformance/run --docs`; not by hand. Ansible's own integration targets, of ansible-core 2.19.14, run by
amibake on throw-away Debian 12 machines, beside what ansible-core did on equal ones. A target that is a role counts its
tasks: the same task, on the same host, with the same end. One that is a script counts its calls of `ansible-playbook`:
the same end, and the same recap for each host.

"""


STRANGERS = """## Strangers' roles

Run untouched by `tests/roles/run`, twice by ansible-core and twice by amibake on equal machines: tasks of both runs with the same
place and end, and files that are alike afterwards. Repositories and commits are in `tests/roles.lock`, variables in
`tests/roles/plays.yml`. Judged with `ANSIBLE_ALLOW_BROKEN_CONDITIONALS`, without which ansible-core 2.19 refuses some of them.

"""


def write(kinds: dict, page: Path, outcomes: Path, of_roles: Path) -> None:
    ours, strangers = (json.loads(path.read_text()) if path.exists() else {} for path in (outcomes, of_roles))
    page.write_text(HEAD + summary(kinds, ours) + strangers_roles(strangers) + roles(kinds, ours) + scripts(kinds, ours))


def reasons() -> dict[str, str]:
    """Why targets have no answer of ansible-core that counts."""
    lines = (answers.HERE / "cannot.txt").read_text().splitlines()
    told = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    own = (line.split() for line in (answers.HERE / "targets.txt").read_text().splitlines() if line.endswith("own plugins"))
    return {name: "not asked: it is about Python of its own" for name, *_ in own} | told


def strangers_roles(outcomes: dict) -> str:
    counted = [outcome for outcome in outcomes.values() if "ansible" not in outcome]
    equal = sum("why" not in outcome for outcome in counted)
    lines = [f"{percent(equal, len(counted))} of those that ansible-core ends with success here are equal.", "",
             "| role | tasks the same | files changed | what is not equal |", "|---|---|---|---|"]
    for name, outcome in outcomes.items():
        if "ansible" in outcome:
            lines.append(f"| {name} | | | ansible-core itself: {cell(outcome['ansible'])} |")
        else:
            why = cell(outcome.get("explained") or "; ".join(outcome.get("why", [])[:2]))
            lines.append(f"| {name} | {outcome['same']} of {outcome['of']} | {outcome['files']} | {why} |")
    return STRANGERS + "\n".join(lines) + "\n\n"


def answered(kinds: dict, scripts: bool) -> list[tuple]:
    pairs = [(name, answers.recorded(name)) for name, kind in kinds.items() if ("runme" in kind) == scripts]
    return [(name, answer) for name, answer in pairs]


def passes(answer: dict | None) -> bool:
    return bool(answer and answer["calls"] and answer["calls"][-1]["ended"] == "passed")


def whole(outcome: dict | None) -> bool:
    return bool(outcome and outcome["of"] and "why" not in outcome)


def percent(part: int, of: int) -> str:
    return f"{part} of {of}" + (f" ({100 * part // of} %)" if of else "")


def summary(kinds: dict, ours: dict) -> str:
    counted = [name for name, answer in answered(kinds, False) if passes(answer) and not answer.get("own")]
    tasks = [ours[name] for name in counted if name in ours]
    calls = [ours[name] for name, answer in answered(kinds, True) if answer and name in ours]
    own = sum(1 for _, answer in answered(kinds, False) if passes(answer) and answer.get("own"))
    lines = [
        f"- Roles that ansible-core passes here and that need no Python of their own: "
        f"{percent(sum(whole(ours.get(name)) for name in counted), len(counted))} are whole.",
        f"- Their tasks: {percent(sum(o['same'] for o in tasks), sum(o['of'] for o in tasks))} the same.",
        f"- Roles with Python of their own that ansible-core passes: {own}, of which "
        f"{sum(whole(ours.get(name)) for name, a in answered(kinds, False) if passes(a) and a.get('own'))} are whole.",
        f"- Calls of scripts: {percent(sum(o['same'] for o in calls), sum(o['of'] for o in calls))} the same.",
    ]
    return "\n".join(lines) + "\n\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def roles(kinds: dict, ours: dict) -> str:
    lines = ["## Roles", "", "| target | tasks the same | why not all |", "|---|---|---|"]
    told = reasons()
    for name, answer in answered(kinds, False):
        outcome = ours.get(name)
        if answer is None:
            lines.append(f"| {name} | | {told.get(name, 'not asked yet')} |")
            continue
        why = list((outcome or {}).get("why", []))
        if answer.get("own"):
            why.insert(0, "needs Python of its own")
        if not passes(answer):
            why.insert(0, f"ansible-core itself fails here: {told.get(name) or answer.get('why') or answer.get('late')}")
        figures = f"{outcome['same']} of {outcome['of']}" if outcome else ""
        lines.append(f"| {name} | {figures} | {cell('; '.join(why))} |")
    return "\n".join(lines) + "\n\n"


def scripts(kinds: dict, ours: dict) -> str:
    lines = ["## Scripts", "", "| target | calls the same | why not all |", "|---|---|---|"]
    told = reasons()
    for name, answer in answered(kinds, True):
        outcome = ours.get(name)
        if answer is None:
            lines.append(f"| {name} | | {told.get(name, 'not asked yet')} |")
        elif not answer["calls"]:
            lines.append(f"| {name} | | {told.get(name, 'it calls other programs alone')} |")
        else:
            figures = f"{outcome['same']} of {outcome['of']}" if outcome else ""
            why = (outcome or {}).get("why", [])
            more = [f"and {len(why) - 3} more"] if len(why) > 3 else []
            lines.append(f"| {name} | {figures} | {cell('; '.join(why[:3] + more))} |")
    return "\n".join(lines) + "\n"
