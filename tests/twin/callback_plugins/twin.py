"""Writes what ansible-playbook's tasks answered as JSON lines to $TWIN_RESULTS."""

from __future__ import annotations

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: twin
type: notification
short_description: task results as JSON lines
description: One line a task and one an item, in the order they ended.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "twin"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._results = open(os.environ["TWIN_RESULTS"], "w", encoding="utf-8")

    def _tell(self, kind: str, result, status: str) -> None:
        line = {"kind": kind, "name": result.task.get_name(), "status": status, "result": result.result}
        self._results.write(json.dumps(line, default=str) + "\n")
        self._results.flush()

    @staticmethod
    def _good(result) -> str:
        return "changed" if result.result.get("changed") else "ok"

    def v2_runner_on_ok(self, result):
        self._tell("task", result, self._good(result))

    def v2_runner_on_skipped(self, result):
        self._tell("task", result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._tell("task", result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result):
        self._tell("task", result, "unreachable")

    def v2_runner_item_on_ok(self, result):
        self._tell("item", result, self._good(result))

    def v2_runner_item_on_skipped(self, result):
        self._tell("item", result, "skipped")

    def v2_runner_item_on_failed(self, result):
        self._tell("item", result, "failed")
