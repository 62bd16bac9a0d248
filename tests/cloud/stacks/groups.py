"""Auto scaling groups: what is refused and what is told of them, over moto's; scaling.py lets them live.

moto launches at the moment of a call, in one subnet, and remakes what an update names.
"""

import time

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, InstanceState
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from .scaling import activities, leave

NAMES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)


def patch(cloud) -> None:
    patch_records(cloud)
    patch_calls(cloud)


def patch_records(cloud) -> None:
    create = AutoScalingBackend.create_auto_scaling_group

    def create_auto_scaling_group(self, name, *args, **kwargs):
        if name in self.autoscaling_groups:
            raise AutoscalingClientError(
                "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name " f"{name} already exists"
            )
        missing = [arn for arn in kwargs.get("target_group_arns") or [] if arn not in self.elbv2_backend.target_groups]
        if missing:
            raise ValidationError("Provided Target Groups may not be valid. Please ensure they exist and try again.")
        return create(self, name, *args, **kwargs)

    def set_desired_capacity(self, new_capacity):
        """Says how many there are to be; scaling.py sees to it."""
        self.desired_capacity = self.min_size if new_capacity is None else int(new_capacity)

    def update(
        self,
        availability_zones,
        desired_capacity,
        max_size,
        min_size,
        launch_config_name,
        launch_template,
        vpc_zone_identifier,
        health_check_period,
        health_check_type,
        new_instances_protected_from_scale_in=None,
        mixed_instances_policy=None,
    ):
        self._set_azs_and_vpcs(availability_zones, vpc_zone_identifier, update=True)
        low, high = (mine if given is None else given for mine, given in ((self.min_size, min_size), (self.max_size, max_size)))
        if low > high:
            raise ValidationError(f"Max bound, {high}, must be greater than or equal to min bound, {low}")
        if desired_capacity is not None and not low <= desired_capacity <= high:
            raise ValidationError(f"Desired capacity:{desired_capacity} must be between the specified min size:{low} and max size:{high}")
        self.min_size, self.max_size = low, high
        self._set_launch_configuration(launch_config_name, launch_template, mixed_instances_policy)
        if health_check_period is not None:
            self.health_check_grace_period = health_check_period
        if health_check_type is not None:
            self.health_check_type = health_check_type
        wanted = self.desired_capacity if desired_capacity is None else desired_capacity
        self.desired_capacity = min(max(wanted, low), high)

    def delete_auto_scaling_group(self, group_name):
        group = find(self, group_name)
        group.min_size = group.desired_capacity = 0
        group.status = "Delete in progress"

    def describe_auto_scaling_groups(self, names, filters=None):
        found = describe(self, names, filters)
        for group in found:
            group.instance_states.sort(key=lambda s: s.since)
        return found

    describe = AutoScalingBackend.describe_auto_scaling_groups
    made = InstanceState.__init__

    def state_init(self, *args, **kwargs):
        made(self, *args, **kwargs)
        group = self.auto_scaling_group
        self.since = time.monotonic()
        self.leaves: float | None = None  # when it may be ended: its requests are done by then
        self.version = (
            str(group.ec2_launch_template.get_version(group.launch_template_version).number) if group.ec2_launch_template else None
        )

    def launch_template(self):
        """What it was launched from, whatever the group has now."""
        template = self.auto_scaling_group.ec2_launch_template
        return {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "Version": self.version} if template else None

    AutoScalingBackend.create_auto_scaling_group = create_auto_scaling_group
    AutoScalingBackend.delete_auto_scaling_group = delete_auto_scaling_group
    AutoScalingBackend.describe_auto_scaling_groups = describe_auto_scaling_groups
    AutoScalingBackend.update_attached_target_groups = lambda self, group_name: None
    AutoScalingBackend.notify_terminate_instances = lambda self, instance_ids: None
    FakeAutoScalingGroup.set_desired_capacity, FakeAutoScalingGroup.update = set_desired_capacity, update
    FakeAutoScalingGroup.status = None
    InstanceState.__init__, InstanceState.launch_template = state_init, property(launch_template)


def patch_calls(cloud) -> None:
    delete = AutoScalingResponse.delete_auto_scaling_group

    def delete_auto_scaling_group(self):
        group = find(self.autoscaling_backend, self._get_param("AutoScalingGroupName"))
        if group.instance_states and not self._get_bool_param("ForceDelete"):
            raise AutoscalingClientError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot "
                "instance request(s) still in the group.",
            )
        return delete(self)

    def set_desired_capacity(self):
        group, wanted = find(self.autoscaling_backend, self._get_param("AutoScalingGroupName")), self._get_int_param("DesiredCapacity")
        if wanted > group.max_size:
            raise ValidationError(f"New SetDesiredCapacity value {wanted} is above max value {group.max_size} for the AutoScalingGroup.")
        if wanted < group.min_size:
            raise ValidationError(f"New SetDesiredCapacity value {wanted} is below min value {group.min_size} for the AutoScalingGroup.")
        group.desired_capacity = wanted
        return EmptyResult()

    def describe_scaling_activities(self):
        group = find(self.autoscaling_backend, self._get_param("AutoScalingGroupName"))
        return ActionResult({"Activities": list(reversed(activities(group)))[: self._get_int_param("MaxRecords", 100)]})

    def set_instance_health(self):
        status, wanted = self._get_param("HealthStatus"), self._get_param("InstanceId")
        self.autoscaling_backend.set_instance_health(wanted, status)
        return EmptyResult()

    def terminate_instance_in_auto_scaling_group(self):
        wanted = self._get_param("InstanceId")
        for group in self.autoscaling_backend.autoscaling_groups.values():
            for member in group.instance_states:
                if member.instance.id == wanted:
                    if self._get_bool_param("ShouldDecrementDesiredCapacity", False):
                        group.desired_capacity -= 1
                    leave(cloud.account(self.current_account), group, member, "in response to a user request")
                    return ActionResult({"Activity": activities(group)[-1]})
        raise ValidationError(f"Instance Id not found - No managed instance found for instance ID {wanted}")

    def suspended(self):
        names = self._get_param("ScalingProcesses", [])
        wrong = [name for name in names if name not in NAMES]
        if wrong:
            raise ValidationError(f"1 validation error detected: {wrong[0]} is no process of a group")
        find(self.autoscaling_backend, self._get_param("AutoScalingGroupName"))
        return names

    def put_scaling_policy(self):
        """moto's answer has the ARN under another name."""
        return ActionResult({"PolicyARN": put(self).result["PolicyArn"]})

    put = AutoScalingResponse.put_scaling_policy
    suspend, resume = AutoScalingResponse.suspend_processes, AutoScalingResponse.resume_processes
    AutoScalingResponse.suspend_processes = lambda self: (suspended(self), suspend(self))[1]
    AutoScalingResponse.resume_processes = lambda self: (suspended(self), resume(self))[1]
    AutoScalingResponse.put_scaling_policy = put_scaling_policy
    AutoScalingResponse.delete_auto_scaling_group = delete_auto_scaling_group
    AutoScalingResponse.set_desired_capacity = set_desired_capacity
    AutoScalingResponse.describe_scaling_activities = describe_scaling_activities
    AutoScalingResponse.set_instance_health = set_instance_health
    AutoScalingResponse.terminate_instance_in_auto_scaling_group = terminate_instance_in_auto_scaling_group


def find(backend, name: str) -> FakeAutoScalingGroup:
    if name not in backend.autoscaling_groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return backend.autoscaling_groups[name]
