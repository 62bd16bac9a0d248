"""Time: groups and target groups go on while nobody asks.

An account that nobody has spoken to for a while is left alone, so that a server of a thousand accounts is as quick as one of one.
One whose time goes by calls (`Settings.by_calls`) goes on with each of them instead: whoever waits by a clock that leaps looks so often
that time limits would pass before a step is made on a busy machine.
"""

import sys
import threading
import time
import traceback

from moto.autoscaling.models import autoscaling_backends
from moto.elbv2.models import elbv2_backends

from . import alarms, health, listeners, scaling
from .settings import states

PERIOD = 0.02
ASLEEP = 10.0
STOPPED = threading.Event()  # the server ends: a group must not launch another in the place of what is ended


class Ticker(threading.Thread):
    """Goes over every account that is awake, a step each."""

    def __init__(self, cloud):
        super().__init__(daemon=True)
        self.cloud = cloud

    def run(self) -> None:
        while not STOPPED.is_set():
            for number, state in states():
                if time.monotonic() - state.touched < ASLEEP and not state.settings.by_calls:
                    self.step(number)
            time.sleep(PERIOD)

    def step(self, number: str) -> None:
        account = self.cloud.account(number)
        try:
            with account.lock:
                if not STOPPED.is_set():
                    tick(account)
        except Exception:
            traceback.print_exc(file=sys.stderr)


def tick(account) -> None:
    """One step of all that lives in an account; its lock is held."""
    for region in [ec2.region_name for ec2 in account.backends()]:
        balancers = elbv2_backends[account.number][region]
        for targets in list(balancers.target_groups.values()):
            health.follow(account, balancers, targets)
            health.check(account, balancers, targets)
        records = autoscaling_backends[account.number][region]
        for group in list(records.autoscaling_groups.values()):
            scaling.reconcile(account, records, group)
        listeners.close_unused(account, region, balancers)
        alarms.watch(account, region)
    alarms.flush(account)
