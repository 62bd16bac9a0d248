"""Tells where the time of ./test went: each step, each layer of tests, the ten slowest tests.

usage: where_time_went.py TIMES LOG
TIMES has a line `SECONDS<TAB>STEP` for each step, LOG what cargo nextest or cargo test said. cargo test tells how
long a test program took and nothing of its tests.
"""

import re
import sys
from collections import defaultdict

# `        PASS [   1.109s] (  5/524) amibake::system ansible_comparator::each_planted_difference_is_reported`
NEXTEST = re.compile(r"^ *(?:PASS|LEAK|FAIL|TIMEOUT|ABORT|SIG\w+) \[ *([\d.]+)s\] (?:\([^)]*\) )?(\S+) (\S+)$")
# `     Running tests/system/main.rs (target/debug/deps/system-8c5cc3e4cb6c6d8c)`, later `test result: ok. 3 passed; …`
PROGRAM = re.compile(r"^ *(?:Running .*/|Doc-tests )([\w-]+?)(?:-[0-9a-f]{16}\))?$")
RESULT = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed; .*finished in ([\d.]+)s$")

LAYERS = ["unit", "cases and recordings", "account", "machines"]
LIBRARIES = {"amibake", "amibake_agent", "amibake_engine", "amibake_playbook", "amibake_protocol", "xtask"}


def layer(program: str, test: str = "") -> str:
    """The layer of a test, by its program as nextest (`amibake::system`) or cargo's file (`system`) calls it."""
    name = program.rpartition("::")[2].removeprefix("bin/").replace("-", "_")
    if name == "system":
        return "machines"
    if name == "account" or test.startswith("account::"):
        return "account"
    return "unit" if name in LIBRARIES else "cases and recordings"


def read(log: str) -> tuple[dict[str, list[float]], list[tuple[float, str]]]:
    """Returns each layer's number of tests and seconds, and the single tests as far as they are told."""
    layers: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    tests = {}
    program = ""
    for line in log.splitlines():
        if found := NEXTEST.match(line):
            seconds, of, test = found.groups()
            tests[of, test] = float(seconds)  # a failure is told twice
        elif found := PROGRAM.match(line):
            program = found[1]
        elif found := RESULT.match(line):
            passed, failed, seconds = found.groups()
            layers[layer(program)][0] += int(passed) + int(failed)
            layers[layer(program)][1] += float(seconds)
    for (of, test), seconds in tests.items():
        layers[layer(of, test)][0] += 1
        layers[layer(of, test)][1] += seconds
    return layers, sorted(((seconds, f"{of} {test}") for (of, test), seconds in tests.items()), reverse=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3}:{int(seconds) % 60:02}"


def main() -> None:
    steps: dict[str, int] = defaultdict(int)
    with open(sys.argv[1], encoding="utf-8") as times:
        for line in times:
            seconds, name = line.rstrip("\n").split("\t")
            steps[name] += int(seconds)
    with open(sys.argv[2], encoding="utf-8", errors="replace") as log:
        layers, tests = read(log.read())
    for name, seconds in steps.items():
        print(f"{clock(seconds)}  {name}")
    print(f"{clock(sum(steps.values()))}  in all; of the tests, which run side by side:")
    for name in LAYERS:
        if name in layers:
            count, seconds = layers[name]
            print(f"  {clock(seconds)}  {name}: {count:.0f} tests")
    if tests:
        print("the ten slowest tests:")
    for seconds, name in tests[:10]:
        print(f"  {clock(seconds)}  {name}")


main()
