"""One stack: its resources, its events, and the operations that change it, each in a thread of its own.

A stack's states and the events' reasons are CloudFormation's. One resource is dealt with at a time.
"""

import itertools
import json
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime

from moto.core.utils import utcnow

from . import kinds_account, kinds_network, kinds_web, schemas
from .calls import ServiceError
from .kinds import Deal
from .settings import settings, state
from .template import Evaluation

KINDS = kinds_network.KINDS | kinds_web.KINDS | kinds_account.KINDS
STACK = "AWS::CloudFormation::Stack"
# What a service answers while something that is going still holds a resource, and how long that is waited for.
HELD = ("DependencyViolation", "ResourceInUse", "ScalingActivityInProgress")
PATIENCE = 2.0
UNTIL_GONE = 60.0  # for a group's last instance
CALLS = 100  # so many more are made meanwhile where time goes by calls,
FORSAKEN = 300.0  # if anybody calls at all
# DeletionPolicy of what outlives a stack; what is made in a failed creation is kept by the first alone.
RETAINED = ("Retain", "RetainExceptOnCreate")
_ticks = itertools.count(1)


class Failed(Exception):
    """A resource that could not be made, changed or deleted; the reason is in its event."""

    def __init__(self, names: list[str]):
        super().__init__(", ".join(names))
        self.names = names


@dataclass
class Made:
    """A resource of a stack."""

    logical: str
    kind: str
    definition: dict
    properties: dict
    physical: str = ""
    attributes: dict = field(default_factory=dict)
    status: str = "CREATE_IN_PROGRESS"
    reason: str | None = None
    updated: datetime = field(default_factory=utcnow)
    is_torn: bool = False  # a change of it failed, so that its properties are not known


class Stack:
    """A stack, whoever asks for it; `lock` is the account's, held for every look and step but while waiting."""

    def __init__(self, account, region: str, name: str, tags: dict, protected: bool = False):
        self.account, self.region, self.name, self.tags = account, region, name, tags
        self.id = f"arn:aws:cloudformation:{region}:{account.number}:stack/{name}/{uuid.uuid4()}"
        self.protected, self.role, self.description = protected, None, None
        self.capabilities: list[str] = []
        self.template: dict | None = None
        self.body = ""
        self.parameters: dict[str, str] = {}
        self.resources: dict[str, Made] = {}
        self.outputs: dict[str, str] = {}
        self.output_rules: dict[str, dict] = {}
        self.exports: dict[str, str] = {}  # the names that outputs are exported by
        self.events: list[dict] = []
        self.change_sets: dict[str, object] = {}
        self.executed: dict[str, object] = {}  # change sets that are told of by their id alone
        self.last_change_set: str | None = None
        self.created, self.updated, self.deleted = utcnow(), None, None
        self.status, self.reason = "REVIEW_IN_PROGRESS", "User Initiated"
        self.disable_rollback = False
        self.forgets_policies = False  # whether what a failed creation has made goes, whatever its DeletionPolicy
        self.token: str | None = None
        self.cancelled = False
        self.previous: tuple | None = None  # template, body, parameters, tags of before the update
        self.stale: list[Made] = []  # what an update left to be deleted

    # What is told of it -----------------------------------------------------------------------------

    def enter(self, status: str, reason: str | None = None) -> None:
        with self.account.lock:
            self.status, self.reason = status, reason
            self.event(self.name, self.id, STACK, status, reason)

    def event(self, logical: str, physical: str, kind: str, status: str, reason: str | None = None, properties: dict | None = None) -> None:
        own = logical == self.name and kind == STACK
        self.events.append(
            {
                "StackId": self.id,
                "StackName": self.name,
                "LogicalResourceId": logical,
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "EventId": str(uuid.uuid4()) if own else f"{logical}-{status}-{next(_ticks):08d}",
                "Timestamp": utcnow(),
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "ClientRequestToken": self.token,
                "ResourceProperties": json.dumps(properties, sort_keys=True) if properties is not None else None,
            }
        )

    def told(self, made: Made, status: str, reason: str | None = None) -> None:
        made.status, made.reason, made.updated = status, reason, utcnow()
        self.event(made.logical, made.physical, made.kind, status, reason, made.properties)

    # What it comes to -------------------------------------------------------------------------------

    def pseudo(self) -> dict:
        return {
            "AWS::AccountId": self.account.number,
            "AWS::Region": self.region,
            "AWS::StackName": self.name,
            "AWS::StackId": self.id,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NotificationARNs": [],
        }

    def zones(self) -> list[str]:
        return [f"{self.region}{letter}" for letter in "abc"]

    def evaluation(self, template: dict, values: dict) -> Evaluation:
        def lookup(resource: str, attribute: str | None):
            made = self.resources[resource]
            return made.physical if attribute is None else made.attributes[attribute]

        return Evaluation(template, values, self.pseudo(), self.zones(), lookup)

    def deal(self, made: Made) -> Deal:
        return Deal(self.account, self.region, self.name, made.logical, made.definition.get("UpdatePolicy") or {}, made.physical)

    def trouble(self, name: str, action: str) -> str | None:
        """Takes the time that an action takes; returns why a test wants it to fail."""
        if settings(self.account).resource:
            time.sleep(settings(self.account).resource)
        state(self.account).touched = time.monotonic()
        found = next((t for t in list(state(self.account).troubles) if t.takes(name, action)), None)
        if found is None:
            return None
        found.released.wait(found.seconds)
        return found.reason

    # Operations -------------------------------------------------------------------------------------

    def begin(self, operation, *arguments) -> None:
        threading.Thread(target=self._run, args=(operation, *arguments), daemon=True).start()

    def _run(self, operation, *arguments) -> None:
        try:
            operation(*arguments)
        except Exception as bug:  # a stack that stays in progress for ever would tell nobody
            self.enter(self.status.rsplit("_IN_PROGRESS")[0] + "_FAILED", f"the test EC2 has a bug: {bug!r}")
            raise

    def adopt(self, template: dict, body: str, values: dict, tags: dict) -> None:
        self.template, self.body, self.parameters, self.tags = template, body, values, tags
        self.description = template.get("Description")

    def create(self, on_failure: str) -> None:
        try:
            self._converge("created")
        except Failed as failed:
            self._after_failed_creation(failed, on_failure)
            return
        self._tell_outputs()
        self.enter("CREATE_COMPLETE")

    def _after_failed_creation(self, failed: Failed, on_failure: str) -> None:
        reason = f"The following resource(s) failed to create: [{', '.join(failed.names)}]. "
        if on_failure == "DO_NOTHING":
            self.enter("CREATE_FAILED", reason)
        elif on_failure == "DELETE":
            self.enter("DELETE_IN_PROGRESS", reason + "Delete requested by user.")
            self.delete([], () if self.forgets_policies else RETAINED)
        else:
            self.enter("ROLLBACK_IN_PROGRESS", reason + "Rollback requested by user.")
            self.roll_back_creation()

    def roll_back_creation(self) -> None:
        kept = () if self.forgets_policies else ("Retain",)
        stuck = self._remove_all(list(reversed(self.resources.values())), kept)
        if stuck:
            self.enter("ROLLBACK_FAILED", f"The following resource(s) failed to delete: [{', '.join(stuck)}]. ")
        else:
            self.enter("ROLLBACK_COMPLETE")

    def update(self, disable_rollback: bool) -> None:
        try:
            self._converge("updated")
        except Failed as failed:
            reason = f"The following resource(s) failed to update: [{', '.join(failed.names)}]. " if failed.names else "User Initiated"
            if disable_rollback and failed.names:
                self.enter("UPDATE_FAILED", reason)
            else:
                self.enter("UPDATE_ROLLBACK_IN_PROGRESS", reason)
                self.roll_back_update([])
            return
        self._tell_outputs()
        self.enter("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        self._clean_up()
        self.enter("UPDATE_COMPLETE")

    def roll_back_update(self, skipped: list[str]) -> None:
        """Goes back to what was before, as an update to it; `skipped` is left as it is."""
        for name in skipped:
            made = self.resources[name]
            made.is_torn = False
            self.told(made, "UPDATE_COMPLETE")
        self.cancelled = False
        self.adopt(*self.previous)
        self._reinstate()
        try:
            self._converge("rolled back", skipped)
        except Failed as failed:
            self.enter("UPDATE_ROLLBACK_FAILED", f"The following resource(s) failed to update: [{', '.join(failed.names)}]. ")
            return
        self._tell_outputs()
        self.enter("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        self._clean_up()
        self.enter("UPDATE_ROLLBACK_COMPLETE")

    def delete(self, retained: list[str], kept: tuple[str, ...] = RETAINED) -> None:
        going = [m for m in reversed(self.resources.values()) if m.logical not in retained]
        stuck = self._remove_all(going, kept)
        if stuck:
            self.enter("DELETE_FAILED", f"The following resource(s) failed to delete: [{', '.join(stuck)}]. ")
            return
        self.deleted = utcnow()
        self.enter("DELETE_COMPLETE")

    def turn_back(self, status: str, reason: str) -> None:
        """What it is not deleted for, although the request was taken."""
        self.enter(status, reason)

    def _reinstate(self) -> None:
        """What was replaced comes back, and what replaced it goes instead."""
        with self.account.lock:
            stale, self.stale = self.stale, []
            for old in stale:
                new = self.resources.get(old.logical)
                if new is not None:
                    self.stale.append(new)
                self.resources[old.logical] = old

    # Steps ------------------------------------------------------------------------------------------

    def _converge(self, what: str, skipped: list[str] = ()) -> None:
        """Makes and changes resources until all are as the template says; what it no longer names becomes stale."""
        with self.account.lock:
            evaluation = self.evaluation(self.template, self.parameters)
            there = evaluation.resources()
        # The order is found with whatever is known: nothing that is referred to has to be there for it.
        order = Evaluation(self.template, self.parameters, self.pseudo(), self.zones(), lambda *_: "").order()
        for name in order:
            if self.cancelled and what == "updated":
                raise Failed([])
            if name in skipped:
                continue
            with self.account.lock:
                properties = evaluation.value(there[name].get("Properties") or {})
            made = self.resources.get(name)
            if made is None:
                self._make(name, there[name], properties)
            elif made.is_torn or made.properties != properties:
                self._change(made, there[name], properties)
            else:
                made.definition = there[name]
        with self.account.lock:
            self.stale += [made for name, made in self.resources.items() if name not in there]
            self.resources = {name: self.resources[name] for name in order}

    def _make(self, name: str, definition: dict, properties: dict) -> Made:
        made = Made(name, definition["Type"], definition, properties)
        with self.account.lock:
            self.resources[name] = made
            self.told(made, "CREATE_IN_PROGRESS")

        def act():
            made.physical = KINDS[made.kind].create(self.deal(made), properties)
            self.told(made, "CREATE_IN_PROGRESS", "Resource creation Initiated")
            made.attributes = KINDS[made.kind].attributes(self.deal(made), properties)

        self._act(made, "CREATE", act)
        return made

    def _change(self, made: Made, definition: dict, properties: dict) -> None:
        differ = {n for n in {*made.properties, *properties} if made.properties.get(n) != properties.get(n)}
        if any(schemas.recreation(made.kind, name) == "Always" for name in differ):
            self._replace(made, definition, properties)
            return
        kind, old = KINDS[made.kind], made.properties
        made.definition = definition
        self.told(made, "UPDATE_IN_PROGRESS")

        def act():
            unknown = sorted(differ - set(kind.changes))
            if unknown:
                raise ServiceError("ec2", "", "", f"the test EC2 cannot change {unknown} of {made.kind}")
            kind.update(self.deal(made), old, properties)
            made.properties = properties
            made.attributes = kind.attributes(self.deal(made), properties)

        made.is_torn = True
        self._act(made, "UPDATE", act)
        made.is_torn = False

    def _replace(self, made: Made, definition: dict, properties: dict) -> None:
        """The new one first; the old one goes when all is done."""
        old = replace(made)
        self.told(made, "UPDATE_IN_PROGRESS", "Requested update requires the creation of a new physical resource; hence creating one.")
        new = Made(made.logical, made.kind, definition, properties)

        def act():
            new.physical = KINDS[made.kind].create(self.deal(new), properties)
            self.told(new, "UPDATE_IN_PROGRESS", "Resource creation Initiated")
            new.attributes = KINDS[made.kind].attributes(self.deal(new), properties)

        self._act(new, "UPDATE", act)
        with self.account.lock:
            self.resources[made.logical] = new
        self.stale.append(old)

    def _act(self, made: Made, action: str, act) -> None:
        """One action on a resource, with its events. Raises Failed."""
        reason = self.trouble(made.logical, action)
        if reason is None:
            try:
                with self.account.lock:
                    act()
                    self.told(made, f"{action}_COMPLETE")
                return
            except ServiceError as refused:
                reason = refused.as_handler_says()
        with self.account.lock:
            self.told(made, f"{action}_FAILED", reason)
        raise Failed([made.logical])

    def _clean_up(self) -> None:
        """Deletes what an update left; what cannot be deleted stays, and CloudFormation forgets it."""
        going, self.stale = list(reversed(self.stale)), []
        self._remove_all(going, RETAINED)

    def _remove_all(self, going: list[Made], kept: tuple[str, ...]) -> list[str]:
        """Deletes resources past any failure, but those whose policy is one of `kept`; returns those that could not be."""
        stuck = []
        for made in going:
            if made.physical and made.definition.get("DeletionPolicy") in kept:
                with self.account.lock:
                    self.told(made, "DELETE_SKIPPED")
            elif not self._remove(made):
                stuck.append(made.logical)
                continue
            with self.account.lock:
                if self.resources.get(made.logical) is made:
                    del self.resources[made.logical]
        return stuck

    def _remove(self, made: Made) -> bool:
        """Deletes one resource, and waits for a while for what still holds it to go."""
        with self.account.lock:
            self.told(made, "DELETE_IN_PROGRESS")
        reason = self.trouble(made.logical, "DELETE")
        if reason is None and made.physical:
            reason = self._delete_in_time(made)
        with self.account.lock:
            self.told(made, "DELETE_FAILED" if reason else "DELETE_COMPLETE", reason)
        return reason is None

    def _delete_in_time(self, made: Made) -> str | None:
        """Returns why it could not be deleted."""
        kind, deal = KINDS[made.kind], self.deal(made)
        begun, calls = time.monotonic(), state(self.account).calls
        patience = max(PATIENCE, 60 * settings(self.account).second)
        while True:
            try:
                with self.account.lock:
                    kind.delete(deal, made.properties)
                    if kind.is_gone(deal):
                        return None
                    reason, patience = f"{made.physical} did not stabilize", UNTIL_GONE
            except ServiceError as refused:
                reason = refused.as_handler_says()
                if refused.code not in HELD:
                    return reason
            waited, asked = time.monotonic() - begun, state(self.account).calls - calls
            if waited > patience and (asked > CALLS or waited > FORSAKEN or not settings(self.account).by_calls):
                return reason
            time.sleep(0.02)

    def _tell_outputs(self) -> None:
        with self.account.lock:
            evaluation = self.evaluation(self.template, self.parameters)
            rules = {
                name: rule
                for name, rule in (self.template.get("Outputs") or {}).items()
                if "Condition" not in rule or evaluation.conditions[rule["Condition"]]
            }
            self.output_rules = rules
            self.outputs = {name: evaluation.value(rule["Value"]) for name, rule in rules.items()}
            self.exports = {name: evaluation.value(rule["Export"]["Name"]) for name, rule in rules.items() if "Export" in rule}
