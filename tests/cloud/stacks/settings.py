"""How the stacks, groups and load balancers of one account behave; tests change it by the control call `stacks`."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Settings:
    second: float = 0.1  # how long a second is that a load balancer, a group or a health check counts
    by_calls: bool = False  # whether groups and targets go on by one step with each call of the account, and not while nobody calls
    resource: float = 0.01  # seconds that CloudFormation takes for one resource
    metrics: float = 0.0  # seconds until a metric's value is there; minutes on AWS
    page: int = 100  # events, resources and stacks on a page
    full_zones: list = field(default_factory=list)  # zones that have no capacity for groups
    express: bool = True  # whether CloudFormation takes a DeploymentConfig with the mode EXPRESS
    names: str = "aws"  # what a load balancer's DNSName is: as AWS's, or "loopback", its address here


@dataclass
class Trouble:
    """What a test wants of CloudFormation's next actions on a resource: to take long, to fail with a reason, or both."""

    resource: str  # "*" is any
    action: str  # CREATE, UPDATE or DELETE, of rollbacks too
    reason: str | None = None
    seconds: float = 0.0
    times: int = 1
    skip: int = 0
    hit: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def takes(self, resource: str, action: str) -> bool:
        if self.resource not in ("*", resource) or action != self.action or self.hit >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hit += 1
        return True

    def public(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "released"}


class State:
    """All that is kept of one account beside moto's records."""

    def __init__(self):
        self.settings = Settings()
        self.troubles: list[Trouble] = []
        self.stacks: dict[str, dict] = {}  # by region: stacks by id
        self.targets: dict[str, dict] = {}  # by target group: targets by instance
        self.answers: list[dict] = []  # what instances without a machine answer
        self.front: dict[str, object] = {}  # listeners' sockets by listener
        self.launches: dict[str, float] = {}  # when a group may try again after a failed launch
        self.touched = time.monotonic()
        self.calls = 0  # that were made to the account so far


_STATES: dict[str, State] = {}
_LOCK = threading.Lock()


def state(account) -> State:
    found = _STATES.get(account.number)
    if found is not None:
        return found
    with _LOCK:
        return _STATES.setdefault(account.number, State())


def settings(account) -> Settings:
    return state(account).settings


def states() -> list[tuple[str, State]]:
    with _LOCK:
        return list(_STATES.items())
