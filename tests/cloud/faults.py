"""The faults that tests ask for: which call goes wrong, how, and whether EC2 acts on it all the same."""

import threading
from dataclasses import dataclass, field

# Kinds that are an error answer: its code and message where the test gives none.
REFUSALS = {
    "error": ("InternalError", "a fault asked for by a test"),
    "throttle": ("RequestLimitExceeded", "Request limit exceeded."),
    "denied": ("UnauthorizedOperation", "You are not authorized to perform this operation."),
    "expired-token": ("RequestExpired", "Request has expired."),
}
# Kinds whose call is never carried out, or first held; and those of which EC2 has acted.
BEFORE = ("error", "throttle", "denied", "slow", "hold-before")
AFTER = ("hold", "drop", "lost")
# Kinds that come before or after, as their `done` says.
EITHER = ("expired-token", "hang")
# EC2's status where it is not 400. A lack of capacity comes as the server's fault.
STATUS = {
    "AuthFailure": 401, "UnauthorizedOperation": 403,
    "InsufficientCapacity": 500, "InsufficientInstanceCapacity": 500, "InsufficientHostCapacity": 500,
    "InternalError": 500, "InternalFailure": 500,
    "RequestLimitExceeded": 503, "ServiceUnavailable": 503, "Unavailable": 503,
}


def status_of(code: str) -> int:
    return STATUS.get(code, 400)


@dataclass
class Fault:
    """What happens to the `nth` next call of `action`."""

    action: str  # "*" is any
    kind: str
    nth: int = 1
    times: int = 1
    region: str | None = None  # None is any
    having: str = ""  # how the name of one of its parameters begins
    code: str | None = None
    message: str | None = None
    status: int | None = None
    seconds: float = 1.0
    comes_after: bool = False  # EC2 acts first
    hit: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)
    waiting: bool = False
    held: list = field(default_factory=list)  # what its client calls each call that it holds
    done: int = 0  # calls it took that EC2 is through with

    @classmethod
    def asked_for(cls, skip: int = 0, done: bool = False, **fields) -> "Fault":
        """The fault as a test describes it; `done` is whether EC2 acts where the kind leaves that open."""
        fault = cls(**fields)
        if fault.kind not in (*BEFORE, *AFTER, *EITHER):
            raise ValueError(f"no such kind of fault: {fault.kind}")
        if done and fault.kind not in EITHER:
            raise ValueError(f"whether a call is done is not asked of `{fault.kind}`")
        fault.comes_after = fault.kind in AFTER or done
        fault.nth += skip
        code, message = REFUSALS.get(fault.kind, (None, None))
        fault.code = fault.code or code
        fault.message = fault.message or message
        if fault.status is None and fault.code is not None:
            fault.status = status_of(fault.code)
        return fault

    def takes(self, action: str, region: str, params: dict, done: bool | None = None) -> bool:
        """Whether this call is one the fault is for; counts it.

        `done` is None before EC2 acts, then whether it did as asked: the first answer that is held
        or dropped is one to a call that was done.
        """
        if self.hit >= self.times or self.comes_after != (done is not None):
            return False
        if self.action not in ("*", action) or self.region not in (None, region):
            return False
        if self.having and not any(name.startswith(self.having) for name in params):
            return False
        if done is False and self.hit == 0:
            return False
        self.nth -= 1
        if self.nth > 0:
            return False
        self.nth = 1
        self.hit += 1
        return True

    def hold(self, named: str, is_gone=lambda: False) -> None:
        """Waits until it is released, its time is over, or the client is gone."""
        self.held.append(named)
        self.waiting = True
        rest = self.seconds if self.seconds > 1 else 600
        while rest > 0 and not self.released.wait(min(rest, 0.1)) and not is_gone():
            rest -= 0.1
        self.held.remove(named)
        self.waiting = bool(self.held)

    def public(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "released"}
