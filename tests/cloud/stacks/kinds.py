"""What CloudFormation does for each type of resource: the calls that make, change and delete one.

A type is a `Kind`; what is no type here is refused, and so is a change that a type has no call for. Networks are in
kinds_network.py, load balancers and groups in kinds_web.py, the rest in kinds_account.py.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from .calls import ServiceError, call


@dataclass
class Deal:
    """One resource that is being dealt with, and what a kind needs of its stack."""

    account: object
    region: str
    stack: str
    logical: str
    policy: dict = field(default_factory=dict)  # its UpdatePolicy
    physical: str = ""

    def call(self, service: str, operation: str, **params) -> dict:
        return call(self.account, self.region, service, operation, **{k: v for k, v in params.items() if v is not None})

    def name(self, limit: int = 200) -> str:
        """A name as CloudFormation makes them: the ends of what is too long are cut."""
        rest = limit - 13
        stack, logical = self.stack, self.logical
        if len(stack) + len(logical) + 1 > rest:
            logical = logical[: max(rest // 2, rest - 1 - len(stack))]
            stack = stack[: rest - 1 - len(logical)]
        return f"{stack}-{logical}-{secrets.token_hex(6).upper() if limit > 100 else secrets.token_hex(6)}"

    def is_known(self, thing_id: str) -> str:
        """Waits until all of EC2 knows a new thing, as CloudFormation does before it says that it is complete."""
        self.account.known(thing_id)
        return thing_id


@dataclass
class Kind:
    """`create` returns the physical id; `update` gets the old properties and the new ones."""

    create: Callable[[Deal, dict], str]
    delete: Callable[[Deal, dict], None]
    update: Callable[[Deal, dict, dict], None] | None = None
    attributes: Callable[[Deal, dict], dict] = lambda _deal, _properties: {}
    changes: tuple[str, ...] = ()  # properties that `update` can change
    is_gone: Callable[[Deal], bool] = lambda _deal: True  # whether what was deleted is


GONE = (
    "InvalidGroup.NotFound",
    "InvalidAllocationID.NotFound",
    "LoadBalancerNotFound",
    "ListenerNotFound",
    "RuleNotFound",
    "TargetGroupNotFound",
    "NoSuchEntity",
    "InvalidLaunchTemplateId.NotFound",
)


def gone_is_fine(action) -> None:
    """What is deleted may be gone already."""
    try:
        action()
    except ServiceError as refused:
        if refused.code not in GONE and "not found" not in refused.message:
            raise


def truth(value) -> bool:
    return str(value).lower() == "true"


def differing(old: dict, new: dict) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}
