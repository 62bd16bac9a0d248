#!/usr/bin/env python3
"""Records what real Ansible answers to the cases of one module.

    record.py MODULE...     (needs ansible-core 2.19 on PATH; root, since cases change owners)

Reads MODULE.yml, runs every case three times (check mode on a fresh folder, first run, second run)
with `ansible-playbook`, and writes MODULE.json: the cases with Ansible's answers and the state of the
folder after each run. The tests replay MODULE.json without Ansible.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
NOISE = {"invocation", "diff", "exception", "warnings", "deprecations", "ansible_facts", "stdout_lines",
         "stderr_lines", "_ansible_parsed", "_ansible_no_log", "_ansible_verbose_always", "module_stderr",
         "module_stdout", "_ansible_delegated_vars", "discovered_interpreter_python"}
BACKUP = re.compile(r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~")
CALLBACK = """
import json, os
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'stdout'
    CALLBACK_NAME = 'twin'
    def put(self, r, failed=False):
        with open(os.environ['TWIN_OUT'], 'a') as f:
            result = dict(r._result, failed=failed)
            f.write(json.dumps({'name': r._task.get_name(), 'result': result}, default=str) + '\\n')
    v2_runner_on_ok = put
    v2_runner_on_skipped = put
    def v2_runner_on_failed(self, r, ignore_errors=False): self.put(r, True)
"""


def snapshot(root):
    """One line a path: path, type, mode, uid, gid, and the content's SHA-1, link's target or link count."""
    lines = []
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            kind, extra = "other", ""
            if stat.S_ISLNK(st.st_mode):
                kind, extra = "link", os.readlink(path).replace(root, "{{dir}}")
            elif stat.S_ISDIR(st.st_mode):
                kind = "dir"
            elif stat.S_ISREG(st.st_mode):
                kind = "file"
                data = open(path, "rb").read().replace(root.encode(), b"{{dir}}")
                extra = hashlib.sha1(data).hexdigest() + (" x%d" % st.st_nlink if st.st_nlink > 1 else "")
            mode = "-" if kind == "link" else "%04o" % stat.S_IMODE(st.st_mode)
            shown = BACKUP.sub(".BACKUP~", os.path.relpath(path, root))
            lines.append(" ".join([shown, kind, mode, str(st.st_uid), str(st.st_gid), extra]).strip())
    return sorted(lines)


def fill(value, root, ctl):
    if isinstance(value, str):
        return value.replace("{{dir}}", root).replace("{{ctl}}", ctl)
    if isinstance(value, list):
        return [fill(v, root, ctl) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, root, ctl) for k, v in value.items()}
    return value


def clean(value, root, ctl):
    if isinstance(value, str):
        return BACKUP.sub(".BACKUP~", value.replace(root, "{{dir}}").replace(ctl, "{{ctl}}"))
    if isinstance(value, list):
        return [clean(v, root, ctl) for v in value]
    if isinstance(value, dict):
        return {clean(k, root, ctl): clean(v, root, ctl) for k, v in value.items()}
    return value


def prepare(case, root, ctl):
    for folder in (root, ctl):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    os.umask(0o022)
    subprocess.run(["sh", "-ec", case.get("setup") or ":"], cwd=root, check=True)
    subprocess.run(["sh", "-ec", case.get("ctl") or ":"], cwd=ctl, check=True)


def play(scratch, cases, check):
    tasks = [{"name": str(i), **fill(case["task"], *dirs(scratch, i)), "ignore_errors": True,
              **({"environment": case["environment"]} if "environment" in case else {})}
             for i, case in enumerate(cases)]
    book = [{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": tasks}]
    path = os.path.join(scratch, "play.yml")
    with open(path, "w") as f:
        json.dump(book, f)
    out = os.path.join(scratch, "out.jsonl")
    if os.path.exists(out):
        os.unlink(out)
    env = dict(os.environ, TWIN_OUT=out, ANSIBLE_CALLBACK_PLUGINS=scratch, ANSIBLE_STDOUT_CALLBACK="twin",
               ANSIBLE_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_INVENTORY_UNPARSED_WARNING="0",
               ANSIBLE_PYTHON_INTERPRETER=sys.executable, LC_ALL="C.UTF-8")
    run = subprocess.run(["ansible-playbook", path, *(["--check"] if check else [])], env=env,
                         capture_output=True, text=True)
    if not os.path.exists(out):
        sys.exit(run.stdout + run.stderr)
    answers = {}
    for line in open(out):
        entry = json.loads(line)
        answers[entry["name"]] = entry["result"]
    return [answers[str(i)] for i in range(len(cases))]


def dirs(scratch, i):
    return os.path.join(scratch, "d%d" % i), os.path.join(scratch, "c%d" % i)


def answer(result, root, ctl):
    kept = {k: clean(v, root, ctl) for k, v in result.items() if k not in NOISE}
    for key in list(kept):
        if "ansible-tmp" in str(kept[key]) or "ansible-local" in str(kept[key]):
            del kept[key]
    return kept


def record(module):
    source = os.path.join(HERE, module + ".yml")
    text = open(source, "rb").read()
    cases = yaml.safe_load(text)
    scratch = tempfile.mkdtemp(prefix="twin-")
    with open(os.path.join(scratch, "twin.py"), "w") as f:
        f.write(CALLBACK)
    for case in cases:
        case["answers"] = {}
    for run in ("check", "first", "second"):
        for i, case in enumerate(cases):
            if run != "second":
                prepare(case, *dirs(scratch, i))
        results = play(scratch, cases, run == "check")
        for i, (case, result) in enumerate(zip(cases, results)):
            root, ctl = dirs(scratch, i)
            case["answers"][run] = {
                "changed": bool(result.get("changed")), "failed": bool(result.get("failed")),
                "skipped": bool(result.get("skipped")),
                "result": {k: v for k, v in answer(result, root, ctl).items()
                           if k not in ("changed", "failed", "skipped")},
                "tree": snapshot(root)}
    with open(os.path.join(HERE, module + ".json"), "w") as f:
        json.dump({"of": hashlib.sha1(text).hexdigest(), "cases": cases}, f, indent=1, default=str)
        f.write("\n")
    shutil.rmtree(scratch)


for name in sys.argv[1:]:
    record(name)
