"""N no-change `file` tasks over SSH: amibake, ansible-core with pipelining, and mitogen, in one run.

Usage: nochange.py --amibake PROGRAM --base ROOT [--tasks 50,200] [--rounds 5]. Prints medians, spreads
and ratios, start-up included, for each number of tasks, and for one task what `ssh host true` takes beside it;
compares the end states of the machines. The contenders take turns, so that what else the host does falls on
all of them.
"""

import argparse
import tempfile
from pathlib import Path

from contest import contenders, measure, refuse_difference, report, ssh_alone
from pair import machines, ssh


def playbook(tasks: int) -> str:
    head = "- hosts: all\n  gather_facts: false\n  tasks:\n"
    body = "".join(f"    - ansible.builtin.file: {{path: /srv/bench/{n}, state: directory, mode: '0755'}}\n" for n in range(tasks))
    return head + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--tasks", default="50,200")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with machines(options.base, 2) as ((ours, theirs), folder), tempfile.TemporaryDirectory() as work:
        for tasks in map(int, options.tasks.split(",")):
            book = Path(work) / f"{tasks}.yml"
            book.write_text(playbook(tasks))
            for machine in (ours, theirs):
                ssh(machine, folder, f"for n in $(seq 0 {tasks - 1}); do mkdir -p -m 0755 /srv/bench/$n; done")
            named = contenders(options.amibake, ours, theirs, folder, book)
            if tasks == 1:
                named["ssh host true"] = ssh_alone(ours, folder)
            times = measure(named, options.rounds)
            refuse_difference(ours, theirs, folder, "find /srv/bench -printf '%p %y %m %u %g\\n' | sort")
            report(f"{tasks} tasks", times)


main()
