#!/usr/bin/env python3
"""Runs tests/exec/*.yml with real Ansible and writes what it did beside each, as NAME.json.

usage: record_exec.py ANSIBLE_PLAYBOOK [NAME...]
The first line of a case may be `# options: …`, options of ansible-playbook, or `# core: 2.20`, the first
ansible-core that has what the case shows: an older one leaves its record alone. What `*.meta.yml` holds belongs
to the case of that name.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent / "exec"

CALLBACK = '''
import json, os, re
from ansible.plugins.callback import CallbackBase

DROPPED = {"invocation", "exception", "start", "end", "delta", "warnings", "deprecations", "ansible_facts"}

def clean(value):
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items() if not str(k).startswith("_ansible") and k not in DROPPED}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if isinstance(value, str):
        # Ansible's own classes, for values that remember where they were written.
        return re.sub(r"(?:ansible\\.module_utils\\._internal\\._datatag\\.)?_AnsibleTagged(\\w+)", lambda m: m[1].lower(), value)
    return value

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "record"

    def __init__(self):
        super().__init__()
        self.tasks = []

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.tasks.append({"name": task.get_name().strip(), "items": []})

    v2_playbook_on_handler_task_start = lambda self, task: self.v2_playbook_on_task_start(task, False)

    def done(self, result, status):
        fields = json.loads(json.dumps(clean(dict(result._result)), default=str))
        record = self.tasks[-1]
        record["status"] = status
        if result._task.action.split(".")[-1] == "debug" and "results" not in fields:
            record["result"] = fields
        if status in ("failed", "ignored") and "msg" in fields:
            record["msg"] = fields["msg"]

    def ok_status(self, result):
        return "changed" if result._result.get("changed") else "ok"

    def v2_runner_on_ok(self, result):
        self.done(result, self.ok_status(result))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.done(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self.done(result, "skipped")

    def item(self, result, status):
        if "include" not in result._result:
            label = str(result._result.get("_ansible_item_label", ""))
            self.tasks[-1]["items"].append([label, status])

    def v2_runner_item_on_ok(self, result):
        self.item(result, self.ok_status(result))

    def v2_runner_item_on_failed(self, result):
        self.item(result, "failed")

    def v2_runner_item_on_skipped(self, result):
        self.item(result, "skipped")

    def v2_playbook_on_stats(self, stats):
        recap = {}
        for host in stats.processed:
            recap = stats.summarize(host)
        with open(os.environ["RECORD_TO"], "w") as out:
            # A meta task counts nowhere, and is told where it is skipped.
            tasks = [task for task in self.tasks if task.get("status")]
            json.dump({"tasks": tasks, "recap": recap}, out, indent=1, sort_keys=True)
            out.write("\\n")
'''


def options(case):
    first = case.read_text().splitlines()[0]
    return shlex.split(first.partition("# options:")[2]) if first.startswith("# options:") else []


def is_known_to(program, case):
    first = case.read_text().splitlines()[0]
    if not first.startswith("# core:"):
        return True
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"core (\d+)\.(\d+)", told)
    return [int(n) for n in found.groups()] >= [int(n) for n in first.partition(":")[2].split(".")]


def record(playbook_program, case, callbacks):
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "ANSIBLE_CALLBACK_PLUGINS": callbacks,
            "ANSIBLE_STDOUT_CALLBACK": "record",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "RECORD_TO": str(case.with_suffix(".json")),
        }
        python = str(pathlib.Path(playbook_program).parent / "python3")
        command = [
            playbook_program, "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={python}",
            "-e", f"tmp={scratch}", *options(case), case.name,
        ]
        case.with_suffix(".json").unlink(missing_ok=True)
        ran = subprocess.run(command, cwd=case.parent, env=environment, capture_output=True, text=True, check=False)
        written = case.with_suffix(".json")
        if not written.exists():
            print(f"{case.name}: nothing recorded\n{ran.stdout}{ran.stderr}")
            return
        written.write_text(written.read_text().replace(scratch, "TMP").replace(str(HERE.resolve()), "HERE"))


def main():
    program, names = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as callbacks:
        pathlib.Path(callbacks, "record.py").write_text(CALLBACK)
        cases = (case for case in sorted(HERE.glob("*.yml")) if not case.name.endswith(".meta.yml"))
        for case in cases:
            if (not names or case.stem in names) and is_known_to(program, case):
                record(program, case, callbacks)


if __name__ == "__main__":
    main()
