"""Notes each task's end in the file NOTE_TASKS: host, name, place, a letter, and the message of a failure."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "note_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def _note(self, result, letter, message=None):
        task = result._task
        path, _, line = (task.get_path() or ":0").rpartition(":")
        line = [result._host.name, task.get_name(), path, int(line), letter, message and str(message)[:300]]
        with open(os.environ["NOTE_TASKS"], "a") as notes:
            notes.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result):
        self._note(result, "c" if result._result.get("changed") else "o")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note(result, "i" if ignore_errors else "f", f"{result._task.action}: {result._result.get('msg')}")

    def v2_runner_on_skipped(self, result):
        self._note(result, "s")

    def v2_runner_on_unreachable(self, result):
        self._note(result, "u", result._result.get("msg"))
