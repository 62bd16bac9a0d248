"""Auto scaling groups: sizes, zones, suspended processes, and what becomes of instances that are not well."""

import time
import unittest

from .asking import BASE_IMAGE, eventually
from .stack_asking import StackAsking


class Groups(StackAsking, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.launch = self.ec2.create_launch_template(
            LaunchTemplateName="launch", LaunchTemplateData={"ImageId": BASE_IMAGE, "InstanceType": "t3.small"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.subnets = self.ec2.describe_subnets()["Subnets"]
        self.targets = self.elb.create_target_group(Name="targets", Protocol="HTTP", Port=8080, VpcId=self.subnets[0]["VpcId"])[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(
            TargetGroupArn=self.targets, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]
        )
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="group",
            MinSize=0,
            MaxSize=4,
            LaunchTemplate={"LaunchTemplateId": self.launch, "Version": "1"},
            VPCZoneIdentifier=",".join(s["SubnetId"] for s in self.subnets[:2]),
            TargetGroupARNs=[self.targets],
            HealthCheckGracePeriod=1,
            Tags=[{"Key": "Name", "Value": "web", "PropagateAtLaunch": True}],
        )

    def tearDown(self):
        self.asg.delete_auto_scaling_group(AutoScalingGroupName="group", ForceDelete=True)
        eventually("the group to go", lambda: not self.asg.describe_auto_scaling_groups()["AutoScalingGroups"])
        self.elb.delete_target_group(TargetGroupArn=self.targets)
        self.ec2.delete_launch_template(LaunchTemplateId=self.launch)
        super().tearDown()

    def activities(self):
        return self.asg.describe_scaling_activities(AutoScalingGroupName="group")["Activities"]

    def test_instances_are_spread_over_zones_and_are_what_the_template_says(self):
        members = self.size("group", 4)
        zones = sorted(m["AvailabilityZone"] for m in members)
        self.assertEqual(zones, sorted([s["AvailabilityZone"] for s in self.subnets[:2]] * 2))
        told = self.instances(members[0]["InstanceId"])[0]
        tags = {t["Key"]: t["Value"] for t in told["Tags"]}
        self.assertEqual(
            (told["ImageId"], told["InstanceType"], tags), (BASE_IMAGE, "t3.small", {"Name": "web", "aws:autoscaling:groupName": "group"})
        )
        self.size("group", 2)
        self.assertEqual(len({m["AvailabilityZone"] for m in self.members("group")}), 2, "the fullest zone gives first")

    def test_time_that_goes_by_calls_stands_still_while_nobody_calls(self):
        self.control("delays", {"pending": 0, "visible": 0})
        self.control("stacks", {"by_calls": True, "second": 0.0})
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=3)
        there = self.control("inventory")["instances"]
        time.sleep(0.3)
        self.assertEqual(self.control("inventory")["instances"], there, "nobody has called")
        looks = 0
        while [m["LifecycleState"] for m in self.members("group")] != ["InService"] * 3:
            looks += 1
        self.assertLess(looks, 20, "a step a call, whatever time it takes")

    def test_sizes_are_held_within_their_bounds(self):
        ask = lambda **sizes: self.code(self.asg.update_auto_scaling_group, AutoScalingGroupName="group", **sizes)
        self.assertEqual([ask(MinSize=5), ask(DesiredCapacity=5), ask(MinSize=2, MaxSize=1)], ["ValidationError"] * 3)
        for wanted in (5, -1):
            self.assertIsNotNone(self.code(self.asg.set_desired_capacity, AutoScalingGroupName="group", DesiredCapacity=wanted))
        ask(MinSize=1)
        sizes = lambda: tuple(self.group("group")[n] for n in ("MinSize", "DesiredCapacity", "MaxSize"))
        self.assertEqual(sizes(), (1, 1, 4), "a minimum raises what is desired")
        ask(MinSize=0, MaxSize=0)
        self.assertEqual(sizes(), (0, 0, 0))

    def test_a_zone_without_capacity_is_passed_over_and_said(self):
        full = self.subnets[0]["AvailabilityZone"]
        self.control("stacks", {"full_zones": [full]})
        self.assertEqual({m["AvailabilityZone"] for m in self.size("group", 2)}, {self.subnets[1]["AvailabilityZone"]})
        failed = next(a for a in self.activities() if a["StatusCode"] == "Failed")
        self.assertRegex(
            failed["StatusMessage"],
            f"We currently do not have sufficient t3.small capacity in the Availability Zone you requested .{full}.",
        )

    def test_where_no_zone_has_capacity_it_tries_again_later(self):
        self.control("stacks", {"full_zones": [s["AvailabilityZone"] for s in self.subnets]})
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=1)
        eventually("a failure in each zone", lambda: len(self.activities()) >= 2)
        self.assertEqual((self.group("group")["Instances"], {a["StatusCode"] for a in self.activities()}), ([], {"Failed"}))
        self.control("stacks", {"full_zones": []})
        eventually("an instance", lambda: self.members("group"))

    def test_an_image_that_is_gone_launches_nothing_and_is_named(self):
        image = self.finished_image()
        version = self.ec2.create_launch_template_version(
            LaunchTemplateId=self.launch, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
        )
        self.ec2.deregister_image(ImageId=image)
        number = str(version["LaunchTemplateVersion"]["VersionNumber"])
        self.asg.update_auto_scaling_group(
            AutoScalingGroupName="group", LaunchTemplate={"LaunchTemplateId": self.launch, "Version": number}, DesiredCapacity=1
        )
        eventually("a failure", self.activities)
        self.assertIn(image, self.activities()[0]["StatusMessage"])

    def test_what_is_suspended_is_not_done(self):
        first, _ = self.size("group", 2)
        suspend = lambda *names: self.asg.suspend_processes(AutoScalingGroupName="group", ScalingProcesses=list(names))
        suspend("ReplaceUnhealthy", "AlarmNotification", "ScheduledActions")
        self.assertEqual(
            {p["ProcessName"] for p in self.group("group")["SuspendedProcesses"]},
            {"ReplaceUnhealthy", "AlarmNotification", "ScheduledActions"},
        )
        self.asg.set_instance_health(InstanceId=first["InstanceId"], HealthStatus="Unhealthy")
        health = lambda: {m["InstanceId"]: m["HealthStatus"] for m in self.members("group")}
        self.assertEqual(health()[first["InstanceId"]], "Unhealthy")
        self.hold(lambda: len(health()) == 2 and first["InstanceId"] in health())
        self.asg.resume_processes(AutoScalingGroupName="group", ScalingProcesses=["ReplaceUnhealthy"])
        eventually("another in its place", lambda: first["InstanceId"] not in health() and len(health()) == 2)
        suspend("Launch", "Terminate")
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", DesiredCapacity=4)
        self.hold(lambda: len(health()) == 2)
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", MinSize=0, DesiredCapacity=0)
        self.hold(lambda: len(health()) == 2)
        self.asg.resume_processes(AutoScalingGroupName="group")
        eventually("nobody", lambda: not self.group("group")["Instances"])
        self.assertEqual(self.code(self.asg.suspend_processes, AutoScalingGroupName="group", ScalingProcesses=["Dance"]), "ValidationError")

    def hold(self, check, times=10):
        """It stays so for some twenty steps of a group's life."""
        for _ in range(times):
            self.assertTrue(check())
            time.sleep(0.04)

    def test_an_instance_that_dies_is_replaced_and_so_is_one_that_is_taken(self):
        first, second = self.size("group", 2)
        self.control("power-off", {"instance": first["InstanceId"], "code": "Server.InternalError", "message": "no"})
        self.asg.terminate_instance_in_auto_scaling_group(InstanceId=second["InstanceId"], ShouldDecrementDesiredCapacity=True)
        new = eventually(
            "one that is new",
            lambda: [m for m in self.members("group") if m["InstanceId"] not in (first["InstanceId"], second["InstanceId"])],
        )
        self.assertEqual((len(new), self.group("group")["DesiredCapacity"]), (1, 1))

    def test_a_new_version_counts_for_new_instances_alone(self):
        self.ec2.create_launch_template_version(
            LaunchTemplateId=self.launch, LaunchTemplateData={"ImageId": BASE_IMAGE, "InstanceType": "t3.large"}
        )
        (old,) = self.size("group", 1)
        self.asg.update_auto_scaling_group(AutoScalingGroupName="group", LaunchTemplate={"LaunchTemplateId": self.launch, "Version": "2"})
        versions = {m["InstanceId"]: m["LaunchTemplate"]["Version"] for m in self.size("group", 2)}
        self.assertEqual((versions.pop(old["InstanceId"]), list(versions.values())), ("1", ["2"]))
        self.assertEqual(self.instances(*versions)[0]["InstanceType"], "t3.large")

    def test_a_group_with_instances_goes_by_force_alone_and_last(self):
        self.size("group", 1)
        self.assertEqual(self.code(self.asg.delete_auto_scaling_group, AutoScalingGroupName="group"), "ResourceInUse")
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="other",
            MinSize=1,
            MaxSize=1,
            LaunchTemplate={"LaunchTemplateId": self.launch, "Version": "1"},
            VPCZoneIdentifier=self.subnets[0]["SubnetId"],
        )
        same = dict(
            AutoScalingGroupName="other",
            MinSize=0,
            MaxSize=1,
            LaunchTemplate={"LaunchTemplateId": self.launch},
            VPCZoneIdentifier=self.subnets[0]["SubnetId"],
        )
        self.assertEqual(self.code(self.asg.create_auto_scaling_group, **same), "AlreadyExists")
        eventually("its instance", lambda: self.members("other"))
        self.asg.delete_auto_scaling_group(AutoScalingGroupName="other", ForceDelete=True)
        eventually(
            "its end",
            lambda: [g["AutoScalingGroupName"] for g in self.asg.describe_auto_scaling_groups()["AutoScalingGroups"]] == ["group"],
        )
