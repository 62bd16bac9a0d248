"""Much of one kind over SSH, beside mitogen: a loop over `lineinfile`, a recursive `copy`, templates with many
variables; each once with a quarter of the number, so that growth shows.

Usage: loops.py --amibake PROGRAM --base ROOT [--rounds 5] [--only lineinfile,copy,template] [--divide 1]. Each is run
on machines where nothing of it is there, then where all of it is; prints medians, spreads and ratios, and compares
what was written. `--divide` makes all of it smaller.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from contest import contenders, measure, refuse_difference, report
from pair import machines, ssh

HEAD = "- hosts: all\n  gather_facts: false\n"
VARIABLES = 2000
WHOLE = {"lineinfile": 1000, "copy": 5000, "template": 200}


def lineinfile(folder: Path, number: int) -> str:
    return HEAD + f"""  tasks:
    - ansible.builtin.lineinfile:
        path: /srv/bench/settings
        regexp: "^key{{{{ item }}}}="
        line: "key{{{{ item }}}}=value"
        create: true
        mode: "0644"
      loop: "{{{{ range({number}) | list }}}}"
"""


def copy(folder: Path, number: int) -> str:
    for file in range(number):
        path = folder / "files/tree" / f"{file % 50}" / f"{file}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {file}\n")
    return HEAD + "  tasks:\n    - ansible.builtin.copy: {src: tree/, dest: /srv/bench/tree/, mode: preserve}\n"


def template(folder: Path, number: int) -> str:
    (folder / "templates").mkdir(exist_ok=True)
    lines = (f"key{n} = {{{{ variable{n} }}}}\n" for n in range(VARIABLES))
    (folder / "templates/settings.j2").write_text("# {{ item }}\n" + "".join(lines))
    values = (f'    variable{n}: "{{{{ base }}}} {n}"\n' for n in range(VARIABLES))
    return HEAD + "  vars:\n    base: value\n" + "".join(values) + f"""  tasks:
    - ansible.builtin.template: {{src: settings.j2, dest: "/srv/bench/{{{{ item }}}}.conf", mode: "0644"}}
      loop: "{{{{ range({number}) | list }}}}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(WHOLE))
    parser.add_argument("--divide", type=int, default=1)
    options = parser.parse_args()
    with machines(options.base, 2) as (pair, folder):
        for kind in options.only.split(","):
            for number in (WHOLE[kind] // options.divide // 4, WHOLE[kind] // options.divide):
                with tempfile.TemporaryDirectory() as work:
                    contest(options, kind, number, pair, folder, Path(work))


def contest(options, kind: str, number: int, pair, folder: Path, work: Path) -> None:
    ours, theirs = pair
    book = work / "play.yml"
    book.write_text({"lineinfile": lineinfile, "copy": copy, "template": template}[kind](work, number))
    named = contenders(options.amibake, ours, theirs, folder, book)
    named = {name: named[name] for name in ("amibake", "mitogen")}

    def prepare() -> None:
        for machine in pair:
            ssh(machine, folder, "rm -rf /srv/bench; mkdir /srv/bench")

    listing = "cd /srv/bench && find . -printf '%p %y %m %u %g %s\\n' | sort && find . -type f -exec sha1sum {} + | sort"
    report(f"{kind}, {number}, all to be done", measure(named, options.rounds, prepare))
    for command, environment, _ in named.values():  # each round made both machines bare
        subprocess.run(command, env=os.environ | environment, capture_output=True, check=True)
    refuse_difference(ours, theirs, folder, listing)
    report(f"{kind}, {number}, nothing to do", measure(named, options.rounds))


main()
