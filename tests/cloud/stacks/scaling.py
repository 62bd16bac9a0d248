"""The life of an auto scaling group: one step of it at a time, as ticker.py asks for.

What is missing is launched in the emptiest zone, what is too much leaves its target groups first, what is unhealthy is replaced; each
unless its process is suspended. What happened is in the group's activities.
"""

import json
import time
import uuid

from moto.autoscaling.models import InstanceState
from moto.core.utils import utcnow

from . import health
from .calls import ServiceError, call
from .settings import settings, state

RETRY = 30  # seconds until a group tries again after a launch that failed


def activities(group) -> list[dict]:
    return vars(group).setdefault("_activities", [])


def note(group, description: str, cause: str, status: str = "Successful", message: str | None = None) -> None:
    at = utcnow()
    activities(group).append(
        {
            "ActivityId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "Description": description,
            "StatusCode": status,
            "Cause": f"At {at:%Y-%m-%dT%H:%M:%SZ} {cause}",
            "StartTime": at,
            "EndTime": at,
            "StatusMessage": message,
            "Progress": 100,
            "Details": json.dumps({"Availability Zones": group.availability_zones}),
            "AutoScalingGroupARN": group.arn,
        }
    )


def reconcile(account, backend, group) -> None:
    """One step of a group's life; the account's lock is held."""
    does = lambda process: process not in group._suspended_processes
    for member in list(group.instance_states):
        step(account, group, member, does)
    staying = [m for m in group.instance_states if not m.lifecycle_state.startswith("Terminating")]
    missing = (group.desired_capacity or 0) - len(staying)
    if missing > 0 and does("Launch") and state(account).launches.get(group.arn, 0) < time.monotonic():
        launch(account, group, staying)
    if missing < 0 and does("Terminate"):
        for member in too_many(staying, -missing):
            leave(
                account,
                group,
                member,
                f"in response to a difference between desired and actual capacity, shrinking the capacity from "
                f"{len(staying)} to {group.desired_capacity}.",
            )
    if group.status and not group.instance_states:
        backend.autoscaling_groups.pop(group.name, None)


def step(account, group, member, does) -> None:
    """What becomes of one instance."""
    instance = member.instance
    if member.lifecycle_state == "Pending" and instance.state == "running":
        member.lifecycle_state = "InService"
    if member.lifecycle_state == "InService" and does("AddToLoadBalancer"):
        register(group, member)
    if member.lifecycle_state == "Terminating":
        end(account, group, member)
        return
    if does("HealthCheck"):
        judge(account, group, member)
    if member.health_status == "Unhealthy" and does("ReplaceUnhealthy") and does("Terminate"):
        leave(
            account,
            group,
            member,
            vars(member).get("complaint") or "an instance was taken out of service in response to a user health-check.",
        )


def register(group, member) -> None:
    """With each target group once: others may be attached while it runs."""
    known = vars(member).setdefault("registered", set())
    for arn in set(group.target_group_arns) - known:
        targets = group.autoscaling_backend.elbv2_backend.target_groups.get(arn)
        if targets is not None:
            targets.register([{"Id": member.instance.id}])
        known.add(arn)


def judge(account, group, member) -> None:
    """Whether EC2, and the load balancer after the grace period, call it healthy."""
    if member.instance.state not in ("pending", "running"):
        member.health_status = "Unhealthy"
        member.complaint = (
            "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."
        )
        return
    grace = float(group.health_check_grace_period or 0) * settings(account).second
    if group.health_check_type != "ELB" or time.monotonic() - member.since < grace:
        return
    if any(health.state_of(account, arn, member.instance.id) == "unhealthy" for arn in group.target_group_arns):
        member.health_status = "Unhealthy"
        member.complaint = "an instance was taken out of service in response to an ELB system health check failure."


def too_many(members: list, count: int) -> list:
    """Those that go first: of the fullest zone the oldest, but none that is protected."""
    going, rest = [], [m for m in members if not m.protected_from_scale_in]
    while rest and len(going) < count:
        zones = [m.availability_zone for m in rest]
        fullest = max(sorted(set(zones)), key=zones.count)
        first = min((m for m in rest if m.availability_zone == fullest), key=lambda m: (m.health_status == "Healthy", m.since))
        going.append(first)
        rest.remove(first)
    return going


def leave(account, group, member, cause: str) -> None:
    """Takes an instance out of its target groups; it ends when its requests have had their time."""
    if member.lifecycle_state.startswith("Terminating"):
        return
    member.lifecycle_state, wait = "Terminating", 0.0
    for arn in group.target_group_arns:
        targets = group.autoscaling_backend.elbv2_backend.target_groups.get(arn)
        if targets is not None and member.instance.id in targets.targets:
            targets.deregister([{"Id": member.instance.id}])
            wait = max(wait, float(targets.attributes["deregistration_delay.timeout_seconds"]))
    if member.instance.state not in ("pending", "running"):
        wait = 0.0
    member.leaves = time.monotonic() + wait * settings(account).second
    note(group, f"Terminating EC2 instance: {member.instance.id}", f"instance {member.instance.id}: {cause}")


def end(account, group, member) -> None:
    instance = member.instance
    if instance.state in ("pending", "running", "stopped", "stopping"):
        if time.monotonic() >= member.leaves:
            instance.terminate()
    elif instance.state == "terminated":
        group.instance_states.remove(member)


def launch(account, group, staying: list) -> None:
    """Launches one instance, in the zone that has the fewest."""
    subnets = {group.ec2_backend.get_subnet(s).availability_zone: s for s in (group.vpc_zone_identifier or "").split(",") if s}
    zones = [m.availability_zone for m in staying]
    failures = []
    for zone in sorted(subnets, key=lambda z: (zones.count(z), z)):
        try:
            member = launch_in(account, group, zone, subnets[zone])
        except ServiceError as refused:
            failures.append(refused)
            note(
                group,
                f"Launching a new EC2 instance.  Status Reason: {refused.message} Launching EC2 instance failed.",
                "an instance was started in response to a difference between desired and actual capacity.",
                "Failed",
                f"{refused.message} Launching EC2 instance failed.",
            )
            if refused.code not in ("InsufficientInstanceCapacity", "Unsupported"):
                break  # another zone would answer the same
            continue
        group.instance_states.append(member)
        note(
            group,
            f"Launching a new EC2 instance: {member.instance.id}",
            f"an instance was started in response to a difference between desired and actual capacity, increasing the capacity from "
            f"{len(staying)} to {len(staying) + 1}.",
        )
        return
    state(account).launches[group.arn] = time.monotonic() + RETRY * settings(account).second


def launch_in(account, group, zone: str, subnet: str) -> InstanceState:
    """Raises ServiceError."""
    version = group.ec2_launch_template.get_version(group.launch_template_version)
    data = version.data
    if zone in settings(account).full_zones:
        kind = data.get("InstanceType")
        raise ServiceError(
            "ec2",
            "RunInstances",
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our system will be "
            "working on provisioning additional capacity.",
        )
    interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": data.get("SecurityGroupIds", []), "DeleteOnTermination": True}
    tags = {t["Key"]: t["Value"] for t in group.tags if t.get("PropagateAtLaunch") not in (False, "false")} | {
        "aws:autoscaling:groupName": group.name
    }
    specifications = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
    wanted = {
        k: data[k]
        for k in ("ImageId", "InstanceType", "KeyName", "UserData", "IamInstanceProfile", "MetadataOptions", "BlockDeviceMappings")
        if data.get(k)
    }
    told = call(
        account,
        group.region,
        "ec2",
        "RunInstances",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[interface],
        TagSpecifications=specifications,
        **wanted,
    )["Instances"][0]["InstanceId"]
    instance = group.ec2_backend.get_instance(told)
    instance.autoscaling_group = group
    return InstanceState(instance, lifecycle_state="Pending", protected_from_scale_in=group.new_instances_protected_from_scale_in)
