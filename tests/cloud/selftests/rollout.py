"""A rollout by hand, over the template that ships: what a tool does in it, call by call, and what requests meet meanwhile."""

import unittest

from .asking import eventually
from .stack_asking import StackAsking, certificate


class Rollout(StackAsking, unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.image = self.finished_image()
        self.out = self.create_web()
        self.blue = [m["InstanceId"] for m in self.size(self.out["GroupBlue"], 2)]
        self.healthy(self.out["TargetGroupBlue"], 2)
        self.rule = self.make_rule(10_000, 100, 0, {"Field": "path-pattern", "PathPatternConfig": {"Values": ["*"]}})

    def tearDown(self):
        self.control("answers", [])
        for rule in self.elb.describe_rules(ListenerArn=self.out["Listener"])["Rules"]:
            if rule["Priority"] not in ("50000", "default"):
                self.elb.delete_rule(RuleArn=rule["RuleArn"])
        super().tearDown()

    def forward(self, blue, green):
        groups = [{"TargetGroupArn": self.out[f"TargetGroup{c}"], "Weight": w} for c, w in (("Blue", blue), ("Green", green))]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    def make_rule(self, priority, blue, green, condition):
        made = self.elb.create_rule(
            ListenerArn=self.out["Listener"], Priority=priority, Conditions=[condition], Actions=self.forward(blue, green)
        )
        return made["Rules"][0]["RuleArn"]

    def shift(self, blue, green):
        self.elb.modify_rule(RuleArn=self.rule, Actions=self.forward(blue, green))

    def share(self, count=200, **more):
        """Of requests, how many each colour answered; every one of them with 200."""
        told = self.control("requests", {"listener": self.out["Listener"], "count": count} | more)
        self.assertEqual(told["statuses"], {"200": count})
        blue = sum(n for instance, n in told["instances"].items() if instance in self.blue)
        return blue, count - blue

    def bring_up_green(self):
        """The idle colour with the new image, as many as are live, its evidence kept."""
        self.update(ImageIdGreen=self.image)
        self.asg.suspend_processes(
            AutoScalingGroupName=self.out["GroupGreen"], ScalingProcesses=["ReplaceUnhealthy", "AlarmNotification", "ScheduledActions"]
        )
        return [m["InstanceId"] for m in self.size(self.out["GroupGreen"], 2)]

    def test_traffic_moves_by_weights_to_the_new_image_and_back_in_one_call(self):
        green = self.bring_up_green()
        self.assertEqual(self.share(), (200, 0), "nobody is on the idle colour, healthy or not")
        self.healthy(self.out["TargetGroupGreen"], 2)
        smoke = self.make_rule(1, 0, 1, {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Smoke", "Values": ["s3cret"]}})
        self.assertEqual((self.share(headers={"X-Smoke": "s3cret"}), self.share()), ((0, 200), (200, 0)))
        self.elb.delete_rule(RuleArn=smoke)
        for weights, fewest, most in (((90, 10), 4, 60), ((50, 50), 60, 140)):
            self.shift(*weights)
            self.assertTrue(fewest <= self.share()[1] <= most, weights)
        self.shift(0, 100)
        self.assertEqual(self.share(), (0, 200))
        self.assertEqual({i["ImageId"] for i in self.instances(*green)}, {self.image})
        self.shift(100, 0)
        self.assertEqual(self.share(), (200, 0))
        self.asg.update_auto_scaling_group(AutoScalingGroupName=self.out["GroupGreen"], MinSize=0, DesiredCapacity=0)
        eventually("green to be gone", lambda: not self.group(self.out["GroupGreen"])["Instances"])
        self.assertEqual(self.share(), (200, 0))

    def test_an_update_of_the_stack_in_the_middle_moves_nothing_whether_it_works_or_not(self):
        self.bring_up_green()
        self.healthy(self.out["TargetGroupGreen"], 2)
        self.shift(0, 100)
        self.update(MaxSize="6")
        self.assertEqual(self.share(), (0, 200))
        self.control("trouble", {"resource": "HttpsListener", "action": "UPDATE", "reason": "no"})
        pem, key = certificate("other.test")
        other = self.acm.import_certificate(Certificate=pem, PrivateKey=key)["CertificateArn"]
        self.update(status="UPDATE_ROLLBACK_COMPLETE", CertificateArn=other)
        self.assertEqual(self.share(), (0, 200))
        self.assertEqual([len(self.members(self.out[g])) for g in ("GroupBlue", "GroupGreen")], [2, 2])

    def test_a_bad_image_is_seen_before_it_has_traffic_and_keeps_its_evidence(self):
        self.control("answers", [{"image": self.image, "health": 500, "status": 500}])
        green = self.bring_up_green()
        unhealthy = {i: ("unhealthy", "Target.ResponseCodeMismatch") for i in green}
        eventually("its illness", lambda: self.health(self.out["TargetGroupGreen"]) == unhealthy, 30)
        self.assertEqual(self.share(), (200, 0))
        self.assertEqual([m["InstanceId"] for m in self.members(self.out["GroupGreen"])], green, "nobody was replaced")
        alarms = lambda: {
            alarm["AlarmName"].split("-")[1]: alarm["StateValue"]
            for alarm in self.watch.describe_alarms(AlarmNames=self.out["Alarms"].split(","))["MetricAlarms"]
        }
        eventually("its alarm", lambda: alarms()["UnhealthyGreen"] == "ALARM", 30)
        self.assertEqual(alarms()["UnhealthyBlue"], "INSUFFICIENT_DATA")
        self.control("answers", [])
        eventually("the alarm's end", lambda: alarms()["UnhealthyGreen"] == "OK", 30)

    def test_an_image_that_fails_under_traffic_is_counted_against_its_colour(self):
        self.bring_up_green()
        self.healthy(self.out["TargetGroupGreen"], 2)
        self.control("answers", [{"image": self.image, "status": 500}])
        self.shift(50, 50)
        told = self.control("requests", {"listener": self.out["Listener"], "count": 100})
        self.assertEqual(told["statuses"]["500"], sum(n for i, n in told["instances"].items() if i not in self.blue))
        self.assertGreater(told["statuses"]["200"], 0)
