"""Writes the figures of docs/hardening.md, and what is accepted, from outcomes.json and accepted.yml."""

import runpy
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
between = runpy.run_path(str(HERE / "controls"))["between"]
RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
PROFILES = {"none": "none", "dev-sec": "dev-sec", "baseline": "baseline", "strict": "strict", "strict-dev-sec": "strict, dev-sec's last login",
            "strict-extra": "strict, extra packages"}
ROWS = {
    "lynis": ("Lynis, hardening index", lambda f: f"{f['index']}"),
    "cis-ubuntu2204": ("CIS Ubuntu 22.04 level 1 server, rules passed", lambda f: f"{f['passed']} of {f['of']}"),
    "cis-ubuntu2404": ("CIS Ubuntu 24.04 level 1 server, rules passed", lambda f: f"{f['passed']} of {f['of']} ({f['percent']} %)"),
    "linux": ("dev-sec's linux-baseline, controls passed", lambda f: f"{f['linux-baseline pass']} of 59"),
    "ssh": ("dev-sec's ssh-baseline, controls passed", lambda f: f"{f['ssh-baseline pass']} of 71"),
    "ssh-audit": ("ssh-audit, failures and warnings of server and client", lambda f: f"{f['failures and warnings']}"),
    "policy": ("ssh-audit's policy for the release", lambda f: "fails" if f["policy fails"] else "passes"),
    "exposure": ("`systemd-analyze security supervisor.service`", lambda f: f"{f['exposure']}" if "exposure" in f else "–"),
}
OF_JUDGE = {"linux": "baselines", "ssh": "baselines", "policy": "ssh-audit"}


def write(path: Path, outcomes: dict) -> None:
    text = between(path.read_text(), "figures", figures(outcomes))
    path.write_text(between(text, "accepted", accepted(yaml.safe_load((HERE / "accepted.yml").read_text())["strict"])))


def figures(outcomes: dict) -> str:
    parts = []
    for release, name in RELEASES.items():
        of = {profile: outcomes.get(f"{release} {profile}", {}) for profile in PROFILES}
        lines = [f"### {name}", f"| judge | {' | '.join(PROFILES.values())} | version |", "|---" * (len(PROFILES) + 2) + "|"]
        for row, (title, say) in ROWS.items():
            judge = OF_JUDGE.get(row, row)
            said = {profile: outcome[judge] for profile, outcome in of.items() if judge in outcome}
            if not said:
                continue
            cells = [say(said[p]["figures"] | {"policy fails": "policy" in said[p]["failed"]}) if p in said else "" for p in PROFILES]
            latest = max(said.values(), key=lambda outcome: outcome["on"])
            lines.append(f"| {title} | {' | '.join(cells)} | {latest['version']}, {latest['on']} |")
        if len(lines) > 3:
            parts.append("\n".join(lines))
    return "\n\n".join(parts) or "None yet."


def accepted(judges: dict) -> str:
    lines = ["| judge | rule | why it may fail |", "|---|---|---|"]
    for judge, rules in judges.items():
        for rule, why in rules.items():
            told = why if isinstance(why, str) else "; ".join(f"{RELEASES[release]}: {reason}" for release, reason in why.items())
            lines.append(f"| {judge} | {rule} | {told.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)
