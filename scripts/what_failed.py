"""Tells the tests that failed, each with how it ended and what it panicked with.

usage: what_failed.py LOG
LOG has what cargo nextest or cargo test said.
"""

import re
import sys

# `        FAIL [  28.451s] (1/1) amibake::bin/amibake account::sweep::whatever_call_goes_wrong`
NEXTEST = re.compile(r" *(?P<how>FAIL|TIMEOUT|ABORT|SIG[A-Z0-9]+) \[[^]]*\] (?:\([^)]*\) )?(?P<name>.+)")
# `test account::sweep::it_is ... FAILED`, and where what it said begins: `---- account::sweep::it_is stdout ----`
LIBTEST = re.compile(r"test (?P<failed>.+) \.\.\. FAILED|---- (?P<said>.+) stdout ----")
END = re.compile(r" *(?:stack backtrace:|note: run with|PASS \[|test result:)")
PANICS = 3  # of each test
LINES = 8  # of each panic
WIDTH = 500  # characters of each line


def failures(log: str) -> dict[str, tuple[str, list[str]]]:
    """Returns how each failed test ended, and the lines of its panics."""
    told: dict[str, tuple[str, list[str]]] = {}
    panics: list[str] = []
    left = 0
    for line in map(str.rstrip, log.splitlines()):
        if found := NEXTEST.fullmatch(line):
            panics, left = told.setdefault(found["name"], (found["how"], []))[1], 0
        elif found := LIBTEST.fullmatch(line):
            # Nextest has told of it by its program and name.
            if not any(name.endswith(found["failed"] or found["said"]) for name in told):
                panics = told.setdefault(found["failed"] or found["said"], ("FAIL", []))[1]
            elif found["said"] in told:
                panics = told[found["said"]][1]
            left = 0
        elif "panicked at" in line:
            is_more = sum("panicked at" in known for known in panics) < PANICS
            left = LINES if is_more and line not in panics else 0
            if left:
                panics.append(line)
        elif END.match(line):
            left = 0
        elif left and line:
            panics.append(line)
            left -= 1
    return told


def main() -> None:
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        told = failures(log.read())
    for name, (how, panics) in sorted(told.items()):
        print(f"  {how} {name}")
        for line in panics:
            print(f"    {line.strip()[:WIDTH]}")


main()
