#!/usr/bin/env python3
"""Writes keywords.json: which keywords the classes of the installed ansible-core take, and which it documents.

usage: ask_ansible.py   (with the Python that has ansible-core)
"""

import json
import pathlib
import subprocess
import sys

from ansible.playbook.block import Block
from ansible.playbook.handler import Handler
from ansible.playbook.play import Play
from ansible.playbook.playbook_include import PlaybookInclude
from ansible.playbook.role.include import RoleInclude
from ansible.playbook.task import Task

CLASSES = {
    "Play": Play, "Block": Block, "Task": Task, "Handler": Handler, "Role": RoleInclude,
    "ImportPlaybook": PlaybookInclude,
}
answer = {
    place: sorted(name for name, field in of.fattributes.items() if not field.private)
    for place, of in CLASSES.items()
}
program = pathlib.Path(sys.executable).with_name("ansible-doc")
listed = subprocess.run([program, "-t", "keyword", "-l", "-j"], capture_output=True, text=True, check=True)
answer["documented"] = sorted(json.loads(listed.stdout))
text = json.dumps(answer, indent=1)
pathlib.Path(__file__).with_name("keywords.json").write_text(text + "\n")
