"""What the tests of stacks share: the template that ships, a certificate, and how a stack is made, changed and waited for."""

import datetime
import functools
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .asking import BASE_IMAGE, Asking, eventually

TEMPLATE = (Path(__file__).parents[3] / "stack/web.yaml").read_text()
IAM = {"Capabilities": ["CAPABILITY_IAM"]}
# A stack of two resources of which one follows the other.
SMALL = """
Parameters:
  Image: {Type: "AWS::EC2::Image::Id"}
  Name: {Type: String, Default: one}
  Cidr: {Type: String, Default: 10.9.0.0/16}
Resources:
  Vpc: {Type: "AWS::EC2::VPC", Properties: {CidrBlock: !Ref Cidr, Tags: [{Key: Name, Value: !Ref Name}]}}
  Gateway: {Type: "AWS::EC2::InternetGateway", DependsOn: Vpc, Properties: {Tags: [{Key: Name, Value: !Ref Name}]}}
  Attachment: {Type: "AWS::EC2::VPCGatewayAttachment", Properties: {VpcId: !Ref Vpc, InternetGatewayId: !Ref Gateway}}
  Launch: {Type: "AWS::EC2::LaunchTemplate", Properties: {LaunchTemplateData: {ImageId: !Ref Image}}}
Outputs:
  Vpc: {Value: !Ref Vpc, Description: where it is}
  Version: {Value: !GetAtt Launch.LatestVersionNumber}
"""


@functools.cache
def certificate(name="web.test", size=256, days=(-1, 30)):
    """A self-signed certificate and its key, in PEM; `size` above a thousand is RSA's."""
    key = (
        rsa.generate_private_key(65537, size) if size > 1000 else ec.generate_private_key({256: ec.SECP256R1(), 384: ec.SECP384R1()}[size])
    )
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(
        subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now + datetime.timedelta(days[0]),
        now + datetime.timedelta(days[1]),
    )
    signed = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return signed.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class StackAsking(Asking):
    """A test that makes stacks; they are gone afterwards."""

    def setUp(self):
        super().setUp()
        ask = lambda service: self.client(service, account=self.account)
        self.cfn, self.elb, self.asg, self.acm, self.watch = map(ask, ("cloudformation", "elbv2", "autoscaling", "acm", "cloudwatch"))
        self.control("stacks", {"second": 0.02, "resource": 0.0})

    def tearDown(self):
        self.control("troubles/clear", {})
        for stack in self.cfn.describe_stacks()["Stacks"]:
            name = stack["StackName"]
            self.cfn.update_termination_protection(StackName=name, EnableTerminationProtection=False)
            self.settled(name)
            self.cfn.delete_stack(StackName=name)
        for stack in self.cfn.describe_stacks()["Stacks"]:
            self.assertEqual(self.settled(stack["StackId"])["StackStatus"], "DELETE_COMPLETE")
        super().tearDown()

    # Stacks -------------------------------------------------------------------------------------

    def stack(self, name="web"):
        return self.cfn.describe_stacks(StackName=name)["Stacks"][0]

    def settled(self, name="web"):
        def look():
            stack = self.stack(name)
            return stack if stack["StackStatus"] == "REVIEW_IN_PROGRESS" or not stack["StackStatus"].endswith("IN_PROGRESS") else None

        return eventually(f"the stack {name}", look, 60)

    def create(self, name="web", body=SMALL, status="CREATE_COMPLETE", given=None, **more):
        given = {"Image": BASE_IMAGE} if given is None else given
        self.cfn.create_stack(StackName=name, TemplateBody=body, Parameters=parameters(given), **IAM, **more)
        made = self.settled(name)
        self.assertEqual(made["StackStatus"], status, made.get("StackStatusReason"))
        return made

    def certificate_arn(self):
        pem, key = certificate()
        return self.acm.import_certificate(Certificate=pem, PrivateKey=key)["CertificateArn"]

    def create_web(self, **given):
        arn = self.certificate_arn()
        self.create(body=TEMPLATE, given={"ImageIdBlue": BASE_IMAGE, "ImageIdGreen": BASE_IMAGE, "CertificateArn": arn} | given)
        return self.outputs()

    def change_set(self, change_set="set", name="web", kind="UPDATE", body=None, **given):
        """Describes a new change set; parameters that are not given stay."""
        known = [] if kind == "CREATE" else [p["ParameterKey"] for p in self.stack(name)["Parameters"]]
        kept = [{"ParameterKey": k, "UsePreviousValue": True} for k in known if k not in given]
        source = {"TemplateBody": body} if body else {"UsePreviousTemplate": True}
        made = self.cfn.create_change_set(
            StackName=name, ChangeSetName=change_set, ChangeSetType=kind, Parameters=kept + parameters(given), **source, **IAM
        )
        return self.cfn.describe_change_set(ChangeSetName=made["Id"])

    def update(self, name="web", status="UPDATE_COMPLETE", body=None, **given):
        made = self.change_set("update", name, body=body, **given)
        self.assertEqual(made["Status"], "CREATE_COMPLETE", made.get("StatusReason"))
        self.cfn.execute_change_set(ChangeSetName=made["ChangeSetId"])
        stack = self.settled(name)
        self.assertEqual(stack["StackStatus"], status, stack.get("StackStatusReason"))
        return made

    def outputs(self, name="web"):
        return {o["OutputKey"]: o["OutputValue"] for o in self.stack(name)["Outputs"]}

    def events(self, name="web", resource=None):
        """Statuses and reasons, the oldest first."""
        pages = self.cfn.get_paginator("describe_stack_events").paginate(StackName=name)
        found = [e for page in pages for e in page["StackEvents"]]
        return [
            (e["LogicalResourceId"], e["ResourceStatus"], e.get("ResourceStatusReason", ""))
            for e in reversed(found)
            if resource in (None, e["LogicalResourceId"])
        ]

    def statuses(self, name="web"):
        """What the stack itself went through."""
        return [status for _, status, _ in self.events(name, name)]

    # Groups -------------------------------------------------------------------------------------

    def group(self, name):
        return self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def members(self, name, state="InService"):
        return [i for i in self.group(name)["Instances"] if i["LifecycleState"] == state]

    def size(self, name, count, **more):
        """Brings a group to a size, and waits for it."""
        self.asg.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=count, DesiredCapacity=count, **more)
        return eventually(
            f"{count} instances",
            lambda: len(self.members(name)) == len(self.group(name)["Instances"]) == count and (self.members(name) or True),
        )

    def health(self, targets):
        told = self.elb.describe_target_health(TargetGroupArn=targets)["TargetHealthDescriptions"]
        return {t["Target"]["Id"]: (t["TargetHealth"]["State"], t["TargetHealth"].get("Reason")) for t in told}

    def healthy(self, targets, count):
        check = lambda: [s for s, _ in self.health(targets).values()] == ["healthy"] * count
        return eventually(f"{count} healthy targets", lambda: check() and self.health(targets), 30)


def parameters(given):
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()]
