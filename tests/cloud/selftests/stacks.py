"""CloudFormation: change sets, events, and every state that a stack can be found in."""

import time
import unittest

from .asking import BASE_IMAGE, eventually
from .stack_asking import IAM, SMALL, StackAsking, parameters

WHY = "the quota is used up"


class ChangeSets(StackAsking, unittest.TestCase):
    def test_a_change_set_for_a_new_stack_leaves_one_in_review_that_has_nothing(self):
        made = self.change_set(kind="CREATE", body=SMALL, Image=BASE_IMAGE)
        actions = [(c["ResourceChange"]["Action"], c["ResourceChange"]["LogicalResourceId"]) for c in made["Changes"]]
        self.assertEqual(actions, [("Add", n) for n in ("Attachment", "Gateway", "Launch", "Vpc")])
        self.assertEqual((self.stack()["StackStatus"], self.control("inventory")), ("REVIEW_IN_PROGRESS", self.before))
        refused = self.code(self.cfn.create_change_set, StackName="web", ChangeSetName="x", ChangeSetType="UPDATE", TemplateBody=SMALL)
        self.assertEqual(refused, "ValidationError", "a stack in review cannot be updated")
        self.cfn.execute_change_set(ChangeSetName="set", StackName="web")
        self.assertEqual(self.settled()["StackStatus"], "CREATE_COMPLETE")
        self.assertEqual(self.statuses(), ["REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])

    def test_nothing_to_do_is_a_failed_change_set_with_its_reason_and_cannot_be_executed(self):
        self.create()
        made = self.change_set()
        self.assertEqual((made["Status"], made["ExecutionStatus"], made["Changes"]), ("FAILED", "UNAVAILABLE", []))
        self.assertEqual(
            made["StatusReason"], "The submitted information didn't contain changes. Submit different information to create a change set."
        )
        self.assertEqual(self.code(self.cfn.execute_change_set, ChangeSetName=made["ChangeSetId"]), "InvalidChangeSetStatus")
        with self.assertRaisesRegex(self.cfn.exceptions.ClientError, "No updates are to be performed."):
            self.cfn.update_stack(
                StackName="web", UsePreviousTemplate=True, Parameters=[{"ParameterKey": "Image", "UsePreviousValue": True}], **IAM
            )
        self.cfn.delete_change_set(ChangeSetName="set", StackName="web")
        self.assertEqual(self.cfn.list_change_sets(StackName="web")["Summaries"], [])

    def test_a_change_says_what_it_costs_and_what_follows_it(self):
        self.create()
        changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"] for c in self.change_set(Cidr="10.8.0.0/16")["Changes"]}
        self.assertEqual({n: c["Replacement"] for n, c in changes.items()}, {"Vpc": "True", "Attachment": "Conditional"})
        causes = [(d["ChangeSource"], d.get("CausingEntity"), d["Evaluation"]) for d in changes["Vpc"]["Details"]]
        self.assertEqual(causes, [("ParameterReference", "Cidr", "Static"), ("DirectModification", None, "Dynamic")])
        self.assertEqual(
            [(d["ChangeSource"], d["CausingEntity"], d["Evaluation"]) for d in changes["Attachment"]["Details"]],
            [("ResourceReference", "Vpc", "Dynamic")],
        )
        in_place = self.change_set("other", Name="two")["Changes"]
        self.assertEqual(
            {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Replacement"] for c in in_place},
            {"Vpc": "False", "Gateway": "False"},
        )

    def test_values_are_told_where_they_are_asked_for(self):
        self.create()
        made = self.change_set(Cidr="10.8.0.0/16")
        told = self.cfn.describe_change_set(ChangeSetName=made["ChangeSetId"], IncludePropertyValues=True)["Changes"]
        target = next(c["ResourceChange"] for c in told if c["ResourceChange"]["LogicalResourceId"] == "Vpc")["Details"][0]["Target"]
        self.assertEqual(
            (target["BeforeValue"], target["AfterValue"], target["Path"]), ("10.9.0.0/16", "10.8.0.0/16", "/Properties/CidrBlock")
        )
        self.assertNotIn("BeforeValue", made["Changes"][0]["ResourceChange"]["Details"][0]["Target"])

    def test_a_change_set_is_gone_once_one_was_executed(self):
        self.create()
        other = self.change_set("other", Name="three")
        done = self.update(Name="two")
        self.assertEqual(self.code(self.cfn.execute_change_set, ChangeSetName=other["ChangeSetId"]), "ChangeSetNotFound")
        self.assertEqual(self.cfn.describe_change_set(ChangeSetName=done["ChangeSetId"])["ExecutionStatus"], "EXECUTE_COMPLETE")
        self.assertEqual(self.code(self.cfn.execute_change_set, ChangeSetName=done["ChangeSetId"]), "InvalidChangeSetStatus")

    def test_what_is_wrong_with_a_request_is_said_before_anything_is_made(self):
        ask = lambda body=SMALL, capabilities=("CAPABILITY_IAM",), **given: self.cfn.create_stack(
            StackName="web", TemplateBody=body, Capabilities=list(capabilities), Parameters=parameters({"Image": BASE_IMAGE} | given)
        )
        one = lambda rest: "Parameters: {Image: {Type: String}}\nResources: {A: {Type: " + rest + "}}"
        for wanted, call in (
            ("must have values", lambda: self.cfn.create_stack(StackName="web", TemplateBody=SMALL)),
            (r"Parameters: \[Other\] do not exist in the template", lambda: ask(Other="x")),
            ("for parameter name Image does not exist", lambda: ask(Image="ami-0123456789abcdef0")),
            ("less than or equal to 51200", lambda: ask(SMALL + "#" * 51_200)),
            ("Unrecognized resource types", lambda: ask(one("'AWS::EC2::Vpcs', Properties: {}"))),
            (r"extraneous key \[Cidr\]", lambda: ask(one("'AWS::EC2::VPC', Properties: {Cidr: x}"))),
            ("Unresolved resource dependencies", lambda: ask(one("'AWS::EC2::VPC', Properties: {CidrBlock: !Ref B}"))),
            ("Circular dependency", lambda: ask(one("'AWS::EC2::VPC', Properties: {CidrBlock: !Ref A}"))),
            ("At least one Resources member", lambda: ask("Resources: {}")),
        ):
            with self.assertRaisesRegex(self.cfn.exceptions.ClientError, wanted):
                call()
        needs_role = "Resources: {P: {Type: 'AWS::IAM::InstanceProfile', Properties: {Roles: []}}}"
        refused = self.code(self.cfn.create_stack, StackName="web", TemplateBody=needs_role)
        self.assertEqual(refused, "InsufficientCapabilitiesException")
        self.assertEqual((self.cfn.describe_stacks()["Stacks"], self.control("inventory")), ([], self.before))


class Stacks(StackAsking, unittest.TestCase):
    def test_a_stack_tells_outputs_events_and_resources(self):
        stack = self.create()
        vpc = self.outputs()["Vpc"]
        self.assertEqual([(o["OutputKey"], o.get("Description")) for o in stack["Outputs"]], [("Vpc", "where it is"), ("Version", None)])
        self.assertEqual(
            [e[1:] for e in self.events(resource="Vpc")],
            [("CREATE_IN_PROGRESS", ""), ("CREATE_IN_PROGRESS", "Resource creation Initiated"), ("CREATE_COMPLETE", "")],
        )
        names = list(dict.fromkeys(e[0] for e in self.events()))
        self.assertEqual(names, ["web", "Vpc", "Gateway", "Attachment", "Launch"])
        times = [e["Timestamp"] for e in self.cfn.describe_stack_events(StackName="web")["StackEvents"]]
        self.assertEqual(times, sorted(times, reverse=True))
        told = self.cfn.describe_stack_resource(StackName="web", LogicalResourceId="Vpc")["StackResourceDetail"]
        self.assertEqual((told["PhysicalResourceId"], told["ResourceStatus"]), (vpc, "CREATE_COMPLETE"))

    def test_what_ec2_does_not_know_yet_is_waited_for(self):
        self.control("delays", {"visible": 600})
        self.create()
        self.control("delays", {"visible": 0})

    def test_events_come_in_pages(self):
        self.create()
        self.control("stacks", {"page": 3})
        first = self.cfn.describe_stack_events(StackName="web")
        self.assertEqual(
            (len(first["StackEvents"]), first["StackEvents"][0]["ResourceStatus"], "NextToken" in first), (3, "CREATE_COMPLETE", True)
        )
        self.assertEqual(len(self.events()), 2 + 3 * 4)

    def test_a_failed_creation_is_rolled_back_or_left_or_deleted_and_cannot_be_updated(self):
        for on_failure, status, left in (("ROLLBACK", "ROLLBACK_COMPLETE", 0), ("DO_NOTHING", "CREATE_FAILED", 1), ("DELETE", None, 0)):
            self.control("trouble", {"resource": "Gateway", "action": "CREATE", "reason": WHY})
            self.cfn.create_stack(
                StackName=on_failure, TemplateBody=SMALL, OnFailure=on_failure, Parameters=parameters({"Image": BASE_IMAGE})
            )
            if status is None:
                eventually("it to go", lambda: on_failure not in [s["StackName"] for s in self.cfn.describe_stacks()["Stacks"]])
                continue
            stack = self.settled(on_failure)
            self.assertEqual((stack["StackStatus"], stack.get("Outputs")), (status, None))
            self.assertIn(("Gateway", "CREATE_FAILED", WHY), self.events(on_failure))
            own = self.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.9.0.0/16"]}])["Vpcs"]
            self.assertEqual(len(own), left, on_failure)
        refused = self.code(self.cfn.create_change_set, StackName="ROLLBACK", ChangeSetName="x", ChangeSetType="UPDATE", TemplateBody=SMALL)
        self.assertEqual(refused, "ValidationError")
        reason = self.events("ROLLBACK", "ROLLBACK")[1][2]
        self.assertEqual(reason, "The following resource(s) failed to create: [Gateway]. Rollback requested by user.")
        self.cfn.rollback_stack(StackName="DO_NOTHING")
        self.assertEqual(self.settled("DO_NOTHING")["StackStatus"], "ROLLBACK_COMPLETE")

    def test_a_failed_update_goes_back_in_place(self):
        self.create()
        before, resources = self.outputs(), self.cfn.list_stack_resources(StackName="web")["StackResourceSummaries"]
        self.control("trouble", {"resource": "Gateway", "action": "UPDATE", "reason": WHY})
        self.update(status="UPDATE_ROLLBACK_COMPLETE", Name="two")
        self.assertEqual(
            self.statuses()[2:],
            [
                "UPDATE_IN_PROGRESS",
                "UPDATE_ROLLBACK_IN_PROGRESS",
                "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
                "UPDATE_ROLLBACK_COMPLETE",
            ],
        )
        self.assertEqual((self.outputs(), self.name_of(before["Vpc"])), (before, "one"))
        physical = lambda told: [r["PhysicalResourceId"] for r in told]
        self.assertEqual(physical(self.cfn.list_stack_resources(StackName="web")["StackResourceSummaries"]), physical(resources))
        self.assertEqual({p["ParameterKey"]: p["ParameterValue"] for p in self.stack()["Parameters"]}["Name"], "one")
        self.update(Name="three")
        self.assertEqual(self.name_of(before["Vpc"]), "three")

    def name_of(self, vpc):
        return self.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"][0]["Value"]

    def test_what_is_replaced_is_made_first_and_comes_back_if_the_update_fails(self):
        self.create()
        old = self.outputs()["Vpc"]
        self.control("trouble", {"resource": "Attachment", "action": "UPDATE", "reason": WHY})
        self.update(status="UPDATE_ROLLBACK_COMPLETE", Cidr="10.8.0.0/16")
        self.assertEqual(self.outputs()["Vpc"], old)
        own = lambda cidr: self.ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": [cidr]}])["Vpcs"]
        self.assertEqual((len(own("10.9.0.0/16")), len(own("10.8.0.0/16"))), (1, 0))

    def test_a_rollback_that_fails_can_be_continued_with_or_without_what_failed(self):
        self.create()
        for skipped in ([], ["Gateway"]):
            self.control("trouble", {"resource": "Gateway", "action": "UPDATE", "reason": WHY, "times": 2})
            made = self.change_set("fails", Name=f"two{len(skipped)}")
            self.cfn.execute_change_set(ChangeSetName=made["ChangeSetId"])
            self.assertEqual(self.settled()["StackStatus"], "UPDATE_ROLLBACK_FAILED")
            self.assertEqual(self.code(self.cfn.update_stack, StackName="web", TemplateBody=SMALL), "ValidationError")
            self.assertEqual(self.code(self.cfn.continue_update_rollback, StackName="web", ResourcesToSkip=["Vpc"]), "ValidationError")
            self.cfn.continue_update_rollback(StackName="web", ResourcesToSkip=skipped)
            self.assertEqual(self.settled()["StackStatus"], "UPDATE_ROLLBACK_COMPLETE")
        self.assertEqual(self.code(self.cfn.continue_update_rollback, StackName="web"), "ValidationError")

    def test_one_operation_at_a_time_and_an_update_can_be_cancelled(self):
        self.create()
        self.control("trouble", {"resource": "Vpc", "action": "UPDATE", "seconds": 60})
        made = self.change_set(Name="two")
        self.cfn.execute_change_set(ChangeSetName=made["ChangeSetId"])
        eventually("the update", lambda: self.stack()["StackStatus"] == "UPDATE_IN_PROGRESS")
        with self.assertRaisesRegex(self.cfn.exceptions.ClientError, "is in UPDATE_IN_PROGRESS state and can not be updated"):
            self.change_set("other", Name="three")
        self.cfn.cancel_update_stack(StackName="web")
        self.control("troubles/clear", {})
        self.assertEqual(self.settled()["StackStatus"], "UPDATE_ROLLBACK_COMPLETE")

    def test_an_update_that_shall_not_roll_back_stays_as_it_failed(self):
        self.create()
        self.control("trouble", {"resource": "Gateway", "action": "UPDATE", "reason": WHY})
        made = self.change_set(Name="two")
        self.cfn.execute_change_set(ChangeSetName=made["ChangeSetId"], DisableRollback=True)
        self.assertEqual(self.settled()["StackStatus"], "UPDATE_FAILED")
        self.cfn.rollback_stack(StackName="web")
        self.assertEqual(self.settled()["StackStatus"], "UPDATE_ROLLBACK_COMPLETE")
        self.assertEqual(self.name_of(self.outputs()["Vpc"]), "one")

    def test_a_protected_stack_is_not_deleted_and_what_cannot_be_deleted_is_named(self):
        self.create(EnableTerminationProtection=True)
        with self.assertRaisesRegex(
            self.cfn.exceptions.ClientError, r"Stack \[web\] cannot be deleted while TerminationProtection is enabled"
        ):
            self.cfn.delete_stack(StackName="web")
        self.cfn.update_termination_protection(StackName="web", EnableTerminationProtection=False)
        self.control("trouble", {"resource": "Gateway", "action": "DELETE", "reason": WHY})
        self.cfn.delete_stack(StackName="web")
        stack = self.settled()
        self.assertEqual(
            (stack["StackStatus"], stack["StackStatusReason"]), ("DELETE_FAILED", "The following resource(s) failed to delete: [Gateway]. ")
        )

    def test_a_stack_that_is_gone_is_found_by_its_id_alone(self):
        made = self.create()
        self.cfn.delete_stack(StackName="web")
        self.assertEqual(self.settled(made["StackId"])["StackStatus"], "DELETE_COMPLETE")
        with self.assertRaisesRegex(self.cfn.exceptions.ClientError, "Stack with id web does not exist"):
            self.stack()
        self.assertEqual(self.control("inventory"), self.before)

    def test_the_calls_of_a_stack_are_not_the_users(self):
        self.create()
        self.assertLessEqual({c["action"] for c in self.control("calls")}, {"CreateStack", "DescribeStacks"})


class Disturbed(StackAsking, unittest.TestCase):
    def test_a_fault_is_told_in_the_words_of_its_service(self):
        asked = {
            "DescribeStacks": self.cfn.describe_stacks,
            "DescribeAutoScalingGroups": self.asg.describe_auto_scaling_groups,
            "DescribeLoadBalancers": self.elb.describe_load_balancers,
            "DescribeAlarms": self.watch.describe_alarms,
            "ListCertificates": self.acm.list_certificates,
        }
        for action, ask in asked.items():
            words = (
                {"throttle": "ThrottlingException", "denied": "AccessDeniedException", "expired-token": "ExpiredTokenException"}
                if action in ("DescribeAlarms", "ListCertificates")
                else {"throttle": "Throttling", "denied": "AccessDenied", "expired-token": "ExpiredToken"}
            )
            for kind, code in words.items():
                self.fault(action, kind)
                self.assertEqual((self.code(ask), self.code(ask)), (code, None), action)
        self.assertEqual([c["action"] for c in self.control("calls")][::6], list(asked))

    def test_a_policy_that_lacks_an_action_denies_that_alone(self):
        asked = {
            "cloudformation:ListStacks": self.cfn.list_stacks,
            "autoscaling:DescribeAutoScalingGroups": self.asg.describe_auto_scaling_groups,
            "elasticloadbalancing:DescribeLoadBalancers": self.elb.describe_load_balancers,
            "cloudwatch:DescribeAlarms": self.watch.describe_alarms,
            "acm:ListCertificates": self.acm.list_certificates,
        }
        for lacks in asked:
            allowed = [action for action in asked if action != lacks]
            self.control(
                "ways", {"policy": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}}
            )
            denied = [action for action, ask in asked.items() if self.code(ask) in ("AccessDenied", "AccessDeniedException")]
            self.assertEqual(denied, [lacks])
        self.control("ways", {"policy": None})


class Deletions(StackAsking, unittest.TestCase):
    def test_what_holds_a_resource_is_waited_for_by_calls_where_time_goes_by_them(self):
        self.control("stacks", {"by_calls": True, "second": 0.0})
        self.create()
        stack = self.stack()
        vpc = self.cfn.describe_stack_resources(StackName="web", LogicalResourceId="Vpc")["StackResources"][0]["PhysicalResourceId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
        self.cfn.delete_stack(StackName="web")
        time.sleep(2.5)  # and nobody calls
        self.assertEqual(self.stack()["StackStatus"], "DELETE_IN_PROGRESS")
        for _ in range(100):
            self.stack()
        eventually("its failure", lambda: self.stack()["StackStatus"] == "DELETE_FAILED")
        self.ec2.delete_subnet(SubnetId=subnet)
        self.cfn.delete_stack(StackName="web")
        self.assertEqual(self.settled(stack["StackId"])["StackStatus"], "DELETE_COMPLETE")


class Exports(StackAsking, unittest.TestCase):
    def test_what_others_import_keeps_a_stack_which_turns_back_a_moment_later(self):
        gateway = "Resources: {Gateway: {Type: 'AWS::EC2::InternetGateway'%s}}\n"
        exported = gateway % "" + "Outputs: {Id: {Value: !Ref Gateway, Export: {Name: !Sub '${AWS::StackName}-gateway'}}}"
        self.create(body=exported, given={})
        self.assertEqual(self.stack()["Outputs"][0]["ExportName"], "web-gateway")
        unused = "Export 'web-gateway' is not imported by any stack."
        with self.assertRaisesRegex(self.cfn.exceptions.ClientError, unused):
            self.cfn.list_imports(ExportName="web-gateway")
        tagged = ", Properties: {Tags: [{Key: Name, Value: !ImportValue web-gateway}]}"
        self.create("other", gateway % tagged, given={})
        self.assertEqual(self.cfn.list_imports(ExportName="web-gateway")["Imports"], ["other"])
        self.cfn.delete_stack(StackName="web")
        stack = self.settled()
        why = "Export web-gateway cannot be deleted as it is in use by other"
        self.assertEqual((stack["StackStatus"], stack["StackStatusReason"]), ("CREATE_COMPLETE", why))
        self.cfn.delete_stack(StackName="other")
        eventually("the end of who imports it", lambda: len(self.cfn.describe_stacks()["Stacks"]) == 1)
        self.cfn.delete_stack(StackName="web")
        self.assertEqual(self.settled(stack["StackId"])["StackStatus"], "DELETE_COMPLETE")
