"""Stacks of the test EC2: CloudFormation, and what a stack for a web application is made of, over moto's.

CloudFormation is whole (formation.py, looking.py, stack.py): moto's makes one change at once, has no events of resources, and remakes what
it should change. Load balancers (balancers.py, health.py, listeners.py) and groups (groups.py) are moto's records with a life of
their own: instances are launched and ended by the rules of a group, targets are checked, and listeners listen on loopback. What
takes AWS minutes takes `Settings.second` here for each second.
"""

import time

from . import alarms, balancers, certificates, formation, groups, looking, networks
from .calls import RESPONSES
from .cbor import CloudWatch
from .control import StackControl
from .listeners import close_account
from .settings import settings, state, states
from .ticker import STOPPED, Ticker, tick
from .words import error

# What wire.py may forward calls to, by the name that requests are signed for.
SERVICES = {
    "cloudformation": formation.Response,
    "autoscaling": RESPONSES["autoscaling"],
    "elasticloadbalancing": RESPONSES["elbv2"],
    "acm": RESPONSES["acm"],
    "iam": RESPONSES["iam"],
    "monitoring": CloudWatch,
}
__all__ = ["SERVICES", "StackControl", "close", "error", "patch", "touch"]


def patch(cloud) -> None:
    for part in (networks, certificates, alarms, balancers, groups, looking):
        part.patch(cloud)
    Ticker(cloud).start()


def touch(account, service: str) -> None:
    """Somebody speaks to the account, whose lock is held: what lives in it goes on, for a while or by a step."""
    if service in SERVICES or any(number == account.number for number, _ in states()):
        state(account).touched = time.monotonic()
        state(account).calls += 1
        if settings(account).by_calls and not STOPPED.is_set():
            tick(account)


def close(account) -> None:
    STOPPED.set()
    with account.lock:  # a step that is under way is over then
        pass
    close_account(account)
