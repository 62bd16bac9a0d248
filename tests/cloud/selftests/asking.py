"""What the tests of the test EC2 share: a server of their own, and how they ask it."""

import atexit
import itertools
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BASE_IMAGE = "ami-0ba5e0ba5e0ba5e00"
CLOUD = Path(__file__).parents[1] / "cloud.py"


def eventually(what, check, limit=180):
    """Returns the first true answer of `check`."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited {limit} s for {what}")


class Process:
    """One test EC2, until all tests are over."""

    running: dict[tuple, "Process"] = {}

    def __init__(self, machines: tuple):
        self.folder = tempfile.TemporaryDirectory()
        self.state = Path(self.folder.name) / "cloud"
        argv = [sys.executable, str(CLOUD), *machines, "--state", str(self.state)]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.child.stdout.readline().strip()

    @classmethod
    def shared(cls, machines: tuple) -> "Process":
        if machines not in cls.running:
            cls.running[machines] = cls(machines)
            atexit.register(cls.running[machines].end)
        return cls.running[machines]

    def end(self) -> int:
        """Hangs up, and returns how it ended."""
        self.child.stdin.close()
        status = self.child.wait(60)
        self.child.stdout.close()
        self.folder.cleanup()
        return status


class Asking:
    """A test with an account of its own; `machines` is how the server is told where its machines come from."""

    machines: tuple = ("--without-machines",)
    numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.url = Process.shared(cls.machines).url

    @classmethod
    def client(cls, service="ec2", account=None, region="eu-west-1", key=None, **config):
        return boto3.client(service, endpoint_url=cls.url, region_name=region, aws_access_key_id=key or f"AKIAACCT{account}",
                            aws_secret_access_key="test", config=Config(retries={"total_max_attempts": 1}, **config))

    def setUp(self):
        self.account = f"{next(self.numbers):012d}"
        self.ec2 = self.client(account=self.account)
        self.before = self.control("inventory")
        self.control("delays", {"visible": 0, "pending": 0.5, "image": 0.5, "snapshot": 0, "interface": 0})

    def tearDown(self):
        """Ends what the test started, so that nothing of it is found again."""
        self.control("ways", {"page": 0, "empty_pages": False, "denied_regions": [], "throttle_share": 0})
        self.control("clear")
        for image in self.ec2.describe_images(Owners=["self"])["Images"]:
            self.ec2.deregister_image(ImageId=image["ImageId"])
        eventually("all to end", self.ended)
        for snapshot in self.control("inventory")["snapshots"]:
            self.ec2.delete_snapshot(SnapshotId=snapshot)
        for group in set(self.control("inventory")["security_groups"]) - set(self.before["security_groups"]):
            eventually("the group to go", lambda: self.code(self.ec2.delete_security_group, GroupId=group) is None)
        self.assertEqual(self.control("inventory"), self.before)

    def ended(self):
        alive = [i["InstanceId"] for i in self.instances() if i["State"]["Name"] not in ("shutting-down", "terminated")]
        if alive:
            self.ec2.terminate_instances(InstanceIds=alive)
        return all(i["State"]["Name"] == "terminated" for i in self.instances())

    # What tests ask ---------------------------------------------------------------------------

    def control(self, what, value=None, region="", account=None):
        body = None if value is None else json.dumps(value).encode()
        url = f"{self.url}/_cloud/{what}?account={account or self.account}"
        with urllib.request.urlopen(url + (f"&region={region}" if region else ""), body) as answer:
            return json.load(answer)

    def fault(self, action, kind, **more):
        self.control("fault", {"action": action, "kind": kind} | more)

    def code(self, call, **arguments):
        """EC2's code for a refused call, None for one that it takes."""
        try:
            call(**arguments)
        except ClientError as error:
            return error.response["Error"]["Code"]
        return None

    def run_instance(self, **more):
        arguments = {"ImageId": BASE_IMAGE, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.small",
                     "InstanceInitiatedShutdownBehavior": "terminate"} | more
        return self.ec2.run_instances(**arguments)["Instances"][0]["InstanceId"]

    def instances(self, *ids):
        filters = [{"Name": "instance-id", "Values": list(ids)}] if ids else []
        return [i for r in self.ec2.describe_instances(Filters=filters)["Reservations"] for i in r["Instances"]]

    def state(self, instance_id):
        return next((i["State"]["Name"] for i in self.instances(instance_id)), None)

    def is_state(self, instance_id, state):
        return lambda: self.state(instance_id) == state

    def group(self, name="group"):
        vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        return self.ec2.create_security_group(GroupName=name, Description="test", VpcId=vpc)["GroupId"]

    def image_of(self, instance_id, name="image"):
        tags = [{"ResourceType": kind, "Tags": [{"Key": "amibake:run", "Value": "x"}]} for kind in ("image", "snapshot")]
        return self.ec2.create_image(InstanceId=instance_id, Name=name, TagSpecifications=tags)["ImageId"]

    def image_state(self, image_id):
        filters = [{"Name": "image-id", "Values": [image_id]}]
        return next((i["State"] for i in self.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]), None)

    def finished_image(self, **more):
        """An image of a new instance, once it is available."""
        instance = self.run_instance(**more)
        eventually("it to run", self.is_state(instance, "running"))
        image = self.image_of(instance)
        eventually("the image", lambda: self.image_state(image) == "available")
        return image

    def snapshots(self):
        return self.ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:amibake:run", "Values": ["x"]}])["Snapshots"]
