"""The template that ships: created, changed in each way that a deploy changes it, and deleted."""

import unittest
import urllib.request

from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

from .asking import BASE_IMAGE, eventually
from .stack_asking import IAM, TEMPLATE, StackAsking, parameters


class WebStack(StackAsking, unittest.TestCase):
    def changed(self, made):
        return {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Replacement"] for c in made["Changes"]}

    def version(self, group):
        return self.group(group)["LaunchTemplate"]["Version"]

    def test_it_starts_with_nobody_and_ends_with_its_logs_alone(self):
        outputs = self.create_web()
        self.assertEqual([len(self.group(outputs[g])["Instances"]) for g in ("GroupBlue", "GroupGreen")], [0, 0])
        retained = [e for e in self.delete() if e[1] == "DELETE_SKIPPED"]
        self.assertEqual([e[0] for e in retained], ["LogBucketPolicy", "LogBucket"])
        self.assertEqual(self.control("inventory"), self.before)

    def test_a_creation_that_fails_keeps_its_logs_unless_it_is_told_not_to(self):
        given = {"ImageIdBlue": BASE_IMAGE, "ImageIdGreen": BASE_IMAGE, "CertificateArn": self.certificate_arn()}
        for forgets, kept in ((False, ["LogBucketPolicy", "LogBucket"]), (True, [])):
            self.control("trouble", {"resource": "HttpsListener", "action": "CREATE", "reason": "no"})
            made = self.cfn.create_change_set(
                StackName="web", ChangeSetName="set", ChangeSetType="CREATE", TemplateBody=TEMPLATE,
                Parameters=parameters(given), OnStackFailure="DELETE", **IAM,
            )  # fmt: skip
            self.cfn.execute_change_set(ChangeSetName=made["Id"], RetainExceptOnCreate=forgets)
            self.assertEqual(self.settled(made["StackId"])["StackStatus"], "DELETE_COMPLETE")
            skipped = [e[0] for e in self.events(made["StackId"]) if e[1] == "DELETE_SKIPPED"]
            self.assertEqual(skipped, kept)

    def delete(self):
        stack = self.stack()["StackId"]
        self.cfn.delete_stack(StackName="web")
        self.assertEqual(self.settled(stack)["StackStatus"], "DELETE_COMPLETE")
        return self.events(stack)

    def test_an_image_of_the_idle_colour_changes_that_colour_alone_and_launches_nothing(self):
        image, outputs = self.finished_image(), self.create_web()
        live = {i["InstanceId"] for i in self.size(outputs["GroupBlue"], 2)}
        made = self.update(ImageIdGreen=image)
        self.assertEqual(self.changed(made), {"LaunchTemplateGreen": "False", "GroupGreen": "Conditional", "ScalingGreen": "Conditional"})
        self.assertEqual([self.version(outputs[g]) for g in ("GroupBlue", "GroupGreen")], ["1", "2"])
        self.assertEqual({i["InstanceId"] for i in self.members(outputs["GroupBlue"])}, live)
        self.assertEqual((len(self.members(outputs["GroupGreen"])), self.group(outputs["GroupBlue"])["MinSize"]), (0, 2))
        (started,) = self.size(outputs["GroupGreen"], 1)
        self.assertEqual(self.instances(started["InstanceId"])[0]["ImageId"], image)
        self.assertEqual(started["LaunchTemplate"]["Version"], "2")

    def test_a_size_that_changes_is_changed_in_place_and_no_other_size(self):
        outputs = self.create_web()
        names = [outputs[g] for g in ("GroupBlue", "GroupGreen")]
        live = self.size(names[0], 2)
        made = self.update(MaxSize="6")
        self.assertEqual(self.changed(made), {"GroupBlue": "False", "GroupGreen": "False"})
        self.assertEqual(
            [(self.group(n)["MinSize"], self.group(n)["DesiredCapacity"], self.group(n)["MaxSize"]) for n in names], [(2, 2, 6), (0, 0, 6)]
        )
        self.assertEqual([i["InstanceId"] for i in self.members(names[0])], [i["InstanceId"] for i in live])

    def test_nothing_is_nothing_and_an_output_alone_changes_no_resource(self):
        self.create_web()
        self.assertEqual(self.change_set()["Status"], "FAILED")
        self.assertEqual(self.update(MinSize="3")["Changes"], [])
        self.assertEqual(self.outputs()["MinSize"], "3")

    def test_a_failed_update_leaves_both_colours_as_they_were_and_moves_no_traffic(self):
        image, outputs = self.finished_image(), self.create_web()
        live = self.size(outputs["GroupBlue"], 2)
        rule = self.own_rule(outputs)
        self.control("trouble", {"resource": "GroupGreen", "action": "UPDATE", "reason": "no"})
        self.update(status="UPDATE_ROLLBACK_COMPLETE", ImageIdGreen=image)
        self.assertEqual(
            [self.version(outputs[g]) for g in ("GroupBlue", "GroupGreen")], ["1", "3"], "the old image in a version of its own"
        )
        self.assertEqual([i["InstanceId"] for i in self.members(outputs["GroupBlue"])], [i["InstanceId"] for i in live])
        self.assertEqual(self.elb.describe_rules(RuleArns=[rule["RuleArn"]])["Rules"], [rule])
        self.elb.delete_rule(RuleArn=rule["RuleArn"])
        (started,) = self.size(outputs["GroupGreen"], 1)
        self.assertEqual(self.instances(started["InstanceId"])[0]["ImageId"], BASE_IMAGE)

    def own_rule(self, outputs):
        """A rule as the tool makes it: before the stack's, and not the stack's."""
        forward = {
            "TargetGroups": [
                {"TargetGroupArn": outputs["TargetGroupBlue"], "Weight": 90},
                {"TargetGroupArn": outputs["TargetGroupGreen"], "Weight": 10},
            ]
        }
        made = self.elb.create_rule(
            ListenerArn=outputs["Listener"],
            Priority=100,
            Conditions=[{"Field": "path-pattern", "Values": ["*"]}],
            Actions=[{"Type": "forward", "ForwardConfig": forward}],
            Tags=[{"Key": f"amibake:{n}", "Value": str(n)} for n in range(20)],
        )
        rule = made["Rules"][0]["RuleArn"]
        return self.elb.describe_rules(RuleArns=[rule])["Rules"][0]

    def test_a_rule_outside_the_stack_keeps_its_target_groups_from_going(self):
        self.own_rule(self.create_web())
        self.cfn.delete_stack(StackName="web")
        stack = self.settled()
        self.assertEqual(
            (stack["StackStatus"], stack["StackStatusReason"]),
            ("DELETE_FAILED", "The following resource(s) failed to delete: [TargetGroupGreen, TargetGroupBlue]. "),
        )
        self.delete()  # the listener is gone by now, and the rule with it

    def test_a_network_of_ones_own_is_taken_and_none_is_made(self):
        subnets = self.ec2.describe_subnets()["Subnets"]
        ids = ",".join(s["SubnetId"] for s in subnets[:2])
        outputs = self.create_web(VpcId=subnets[0]["VpcId"], PublicSubnetIds=ids, PrivateSubnetIds=ids)
        kinds = {r["ResourceType"] for r in self.cfn.describe_stack_resources(StackName="web")["StackResources"]}
        self.assertFalse(kinds & {"AWS::EC2::VPC", "AWS::EC2::NatGateway", "AWS::EC2::VPCEndpoint"})
        self.assertEqual(self.group(outputs["GroupBlue"])["VPCZoneIdentifier"], ids)

    def test_endpoints_or_nothing_take_the_place_of_the_nat_gateway(self):
        kinds = lambda: [r["ResourceType"] for r in self.cfn.describe_stack_resources(StackName="web")["StackResources"]]
        self.create_web(Egress="endpoints")
        self.assertEqual((kinds().count("AWS::EC2::VPCEndpoint"), kinds().count("AWS::EC2::NatGateway")), (3, 0))
        made = self.update(Egress="nat")
        actions = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Action"] for c in made["Changes"]}
        self.assertEqual({n for n, a in actions.items() if a == "Add"}, {"NatAddress", "NatGateway", "NatRoute"})
        self.assertEqual(
            {n for n, a in actions.items() if a == "Remove"}, {"EndpointSecurityGroup", "SsmEndpoint", "SsmMessagesEndpoint", "S3Endpoint"}
        )
        self.update(Egress="none")
        self.assertFalse({"AWS::EC2::VPCEndpoint", "AWS::EC2::NatGateway"} & set(kinds()))

    def test_its_alarms_can_be_set_and_its_role_lets_session_manager_in_alone(self):
        outputs = self.create_web()
        alarms = self.watch.describe_alarms(AlarmNames=outputs["Alarms"].split(","))["MetricAlarms"]
        self.assertEqual({a["StateValue"] for a in alarms}, {"INSUFFICIENT_DATA"})
        self.assertEqual(len(alarms), 5)
        self.watch.set_alarm_state(AlarmName=alarms[0]["AlarmName"], StateValue="ALARM", StateReason="a test")
        fired = self.watch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
        self.assertEqual([a["AlarmName"] for a in fired], [alarms[0]["AlarmName"]])
        iam = self.client("iam", account=self.account)
        role = next(
            r["PhysicalResourceId"]
            for r in self.cfn.describe_stack_resources(StackName="web")["StackResources"]
            if r["ResourceType"] == "AWS::IAM::Role"
        )
        statements = iam.get_role_policy(RoleName=role, PolicyName="session-manager")["PolicyDocument"]["Statement"]
        actions = [a for s in statements for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])]
        self.assertEqual({a.split(":")[0] for a in actions}, {"ssm", "ssmmessages"})
        self.assertEqual(iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"], [])

    def test_alarms_are_told_in_cbor_too(self):
        """boto3 asks in JSON; other SDKs do not."""
        self.create_web()
        shape = self.watch.meta.service_model.operation_model("DescribeAlarms")
        asked = RpcV2CBORSerializer().serialize_to_request({"StateValue": "INSUFFICIENT_DATA", "MaxRecords": 2}, shape)
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=AKIAACCT{self.account}/20260101/eu-west-1/monitoring/aws4_request, x"}
        with urllib.request.urlopen(
            urllib.request.Request(self.url + asked["url_path"], asked["body"], dict(asked["headers"]) | signed)
        ) as answer:
            told = RpcV2CBORParser().parse({"status_code": 200, "headers": answer.headers, "body": answer.read()}, shape.output_shape)
        plain = self.watch.describe_alarms(StateValue="INSUFFICIENT_DATA", MaxRecords=2)["MetricAlarms"]
        self.assertEqual(
            [(a["AlarmName"], a["StateValue"], a["Threshold"]) for a in told["MetricAlarms"]],
            [(a["AlarmName"], a["StateValue"], a["Threshold"]) for a in plain],
        )

    def test_no_group_opens_port_22_and_instances_admit_the_load_balancer_alone(self):
        self.create_web()
        groups = self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["web-*"]}])["SecurityGroups"]
        opened = {(p["FromPort"], bool(p["IpRanges"])) for g in groups for p in g["IpPermissions"]}
        self.assertEqual(opened, {(80, True), (443, True), (8080, False)})
        rules = [p for g in groups for p in g["IpPermissionsEgress"] if any(r["CidrIp"] == "0.0.0.0/0" for r in p["IpRanges"])]
        self.assertEqual(
            sorted((p["IpProtocol"], p.get("FromPort")) for p in rules), [("tcp", 80), ("tcp", 443)], "what instances reach; the others nobody"
        )
        launched = eventually("an instance", lambda: self.size(self.outputs()["GroupBlue"], 1))[0]["InstanceId"]
        self.assertEqual(self.control("machines")[launched]["admitted"], "no")
