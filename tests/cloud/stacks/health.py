"""Targets: whether each is healthy, and the reason that DescribeTargetHealth names where it is not.

A check asks the machine behind an instance over HTTP; where there is none, what a test said that it answers.
"""

import contextlib
import errno
import http.client
import socket
import threading
import time
from dataclasses import dataclass, field

from guest import Guest

from .settings import settings, state

# As AWS words them.
WORDS = {
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Elb.InitialHealthChecking": "Initial health checks in progress",
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Target.InvalidState": "Target is in the {} state",
    "Target.NotRegistered": "Target is not registered to the target group",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.ResponseCodeMismatch": "Health checks failed with these codes: [{}]",
    "Target.Timeout": "Request timed out",
    "Target.FailedHealthChecks": "Health checks failed",
}
WRONG_ZONE = "Target is in an Availability Zone that is not enabled for the load balancer"
REGISTRATION = 2  # seconds


@dataclass
class Target:
    """One instance in one target group."""

    instance: str
    port: int
    since: float
    state: str = "initial"
    reason: str | None = "Elb.RegistrationInProgress"
    detail: str = ""
    row: int = 0  # results like the last one in a row, below zero where they are bad
    due: float = 0.0
    asked: bool = False  # a check is under way
    gone: float | None = None  # when it is forgotten, once it is draining
    cut: threading.Event = field(default_factory=threading.Event)  # then; what is under way to it ends
    sockets: list = field(default_factory=list)

    def told(self, health_port: str) -> dict:
        described = WORDS.get(self.reason or "", "").format(self.detail) or None
        if self.reason == "Target.NotInUse" and self.detail:
            described = self.detail
        return {
            "Target": {"Id": self.instance, "Port": self.port},
            "HealthCheckPort": health_port,
            "TargetHealth": {"State": self.state, "Reason": self.reason, "Description": described},
        }


def answer_of(account, instance) -> dict:
    """What an instance without a machine answers: the last that a test said of it or its image."""
    said = {"health": 200, "status": 200, "body": None, "seconds": 0.0}
    for answer in state(account).answers:
        if answer.get("instance", instance.id) == instance.id and answer.get("image", instance.image_id) == instance.image_id:
            said |= {k: v for k, v in answer.items() if k not in ("instance", "image")}
    return said


def targets_of(account, arn: str) -> dict[str, Target]:
    return state(account).targets.setdefault(arn, {})


def state_of(account, arn: str, instance: str) -> str:
    target = targets_of(account, arn).get(instance)
    return target.state if target else "unused"


def describe(account, backend, group, wanted: list[dict]) -> list[dict]:
    """The answer to DescribeTargetHealth."""
    follow(account, backend, group)
    targets = targets_of(account, group.arn)
    if not wanted:
        return [t.told(port_of(group)) for t in targets.values()]
    return [
        (
            targets[w["Id"]].told(port_of(group))
            if w["Id"] in targets
            else Target(w["Id"], int(w.get("Port") or group.port), 0, "unused", "Target.NotRegistered").told(port_of(group))
        )
        for w in wanted
    ]


def port_of(group) -> str:
    return str(group.port) if group.health_check_port == "traffic-port" else str(group.health_check_port)


def follow(account, backend, group) -> None:
    """Brings the targets of a group to what is registered and what time has passed."""
    now, targets = time.monotonic(), targets_of(account, group.arn)
    for instance, registered in group.targets.items():
        known = targets.get(instance)
        if known is None or known.gone is not None:
            targets[instance] = Target(instance, int(registered["Port"]), now)
    for target in list(targets.values()):
        if target.instance in group.targets:
            place(account, backend, group, target, now)
        elif target.gone is None:
            drain(account, group, target, now)
        elif now >= target.gone:
            del targets[target.instance]
            sever(target)


def sever(target: Target) -> None:
    target.cut.set()
    for connected in target.sockets:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def drain(account, group, target: Target, now: float) -> None:
    """A target that was in use is told as draining for all of the delay, whether requests are under way or not."""
    delay = float(group.attributes["deregistration_delay.timeout_seconds"]) * settings(account).second
    target.gone = now if target.state == "unused" else now + delay
    target.state, target.reason, target.detail = "draining", "Target.DeregistrationInProgress", ""


def place(account, backend, group, target: Target, now: float) -> None:
    """What is so whatever a check says; a check is made where none of it is."""
    instance = backend.ec2_backend.get_instance_by_id(target.instance)
    balancers = in_use(backend, group.arn)
    if instance is None or instance.state not in ("running", "pending"):
        unused(target, "Target.InvalidState", instance.state if instance else "terminated")
    elif not balancers:
        unused(target, "Target.NotInUse")
    elif all(instance.placement.zone not in [s.availability_zone for s in b.subnets] for b in balancers):
        unused(target, "Target.NotInUse", WRONG_ZONE)
    elif target.state == "unused" or target.reason == "Elb.RegistrationInProgress":
        begin_checks(account, target, now)


def unused(target: Target, reason: str, detail: str = "") -> None:
    target.state, target.reason, target.detail, target.row, target.since = "unused", reason, detail, 0, time.monotonic()


def begin_checks(account, target: Target, now: float) -> None:
    if target.state == "unused":
        target.state, target.reason, target.detail, target.row, target.since = "initial", "Elb.RegistrationInProgress", "", 0, now
    if now - target.since >= REGISTRATION * settings(account).second:
        target.reason, target.due = "Elb.InitialHealthChecking", now


def in_use(backend, arn: str) -> list:
    """The load balancers of which a listener or a rule names the target group."""
    return [
        balancer
        for balancer in backend.load_balancers.values()
        if any(
            arn in backend._get_target_group_arns_from(action.data)
            for listener in balancer.listeners.values()
            for rule in listener.rules.values()
            for action in rule.actions
        )
    ]


# Checks ---------------------------------------------------------------------------------------------


def check(account, backend, group) -> None:
    """Begins the checks that are due."""
    now = time.monotonic()
    for target in targets_of(account, group.arn).values():
        if (
            target.asked
            or target.state not in ("initial", "healthy", "unhealthy")
            or target.reason == "Elb.RegistrationInProgress"
            or now < target.due
        ):
            continue
        target.due = now + float(group.health_check_interval_seconds) * settings(account).second
        instance = backend.ec2_backend.get_instance_by_id(target.instance)
        machine = account.machines.get(target.instance)
        if machine is None or isinstance(machine, Guest):
            judge(group, target, answer_of(account, instance)["health"])
            continue
        target.asked = True
        port = target.port if group.health_check_port == "traffic-port" else int(group.health_check_port)
        threading.Thread(target=ask, args=(account, group, target, machine.address, port), daemon=True).start()


def ask(account, group, target: Target, address: str, port: int) -> None:
    """One check of a real machine, without the account's lock."""
    limit = float(group.health_check_timeout_seconds)  # of the wall: a machine here is no faster than one of AWS's
    connection = http.client.HTTPConnection(address, port, timeout=limit)
    try:
        connection.request(
            "GET",
            group.health_check_path or "/",
            headers={"Host": f"{address}:{port}", "User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"},
        )
        result = connection.getresponse().status
    except TimeoutError:
        result = "timeout"
    except (OSError, http.client.HTTPException) as failed:
        # No answer to ARP, which nobody sees in a VPC.
        result = "timeout" if getattr(failed, "errno", None) == errno.EHOSTUNREACH else "refused"
    finally:
        connection.close()
    with account.lock:
        target.asked = False
        judge(group, target, result)


def judge(group, target: Target, result) -> None:
    """The result of a check: a status, or "timeout" or "refused".

    A new target is healthy with its first good answer; one that was unhealthy needs as many as its group says.
    """
    if target.state not in ("initial", "healthy", "unhealthy"):
        return
    good = isinstance(result, int) and matches(group.matcher["HttpCode"], result)
    target.row = max(target.row, 0) + 1 if good else min(target.row, 0) - 1
    if good and (target.state == "initial" or target.row >= int(group.healthy_threshold_count)):
        target.state, target.reason, target.detail = "healthy", None, ""
    if not good and -target.row >= int(group.unhealthy_threshold_count):
        reasons = {"timeout": "Target.Timeout", "refused": "Target.FailedHealthChecks"}
        target.state, target.reason, target.detail = "unhealthy", reasons.get(result, "Target.ResponseCodeMismatch"), str(result)


def matches(codes: str, status: int) -> bool:
    """`200`, `200,302` or `200-399`."""
    for part in codes.split(","):
        low, _, high = part.partition("-")
        if int(low) <= status <= int(high or low):
            return True
    return False
