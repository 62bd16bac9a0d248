"""Accounts know nothing of each other; a server ends when it should, and leaves nothing."""

import http.client
import signal
import unittest
from urllib.parse import urlsplit

from .asking import BASE_IMAGE, Asking, Process


class Accounts(Asking, unittest.TestCase):
    def test_a_key_belongs_to_the_account_that_it_names_and_any_other_to_the_default_one(self):
        for key, number in ((f"AKIAACCT{self.account}", self.account), ("AKIATEST", "123456789012"),
                            ("test", "123456789012")):
            client = self.client(key=key)
            group = client.describe_security_groups()["SecurityGroups"][0]
            self.assertEqual(group["OwnerId"], number)
            self.assertEqual(self.client("sts", key=key).get_caller_identity()["Account"], number)

    def test_an_account_has_all_that_a_new_account_has(self):
        vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        routes = [r for t in self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"] for r in t["Routes"]]
        self.assertTrue(any(r.get("GatewayId", "").startswith("igw-") for r in routes), routes)
        name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
        image = self.client("ssm", account=self.account).get_parameter(Name=name)["Parameter"]["Value"]
        self.assertEqual(self.ec2.describe_images(ImageIds=[image])["Images"][0]["OwnerId"], "099720109477")

    def test_nothing_of_an_account_is_seen_or_felt_in_another(self):
        other = f"{int(self.account) + 500_000_000_000}"
        theirs, before = self.client(account=other), self.control("inventory", account=other)
        self.fault("DescribeVpcs", "denied", times=9)
        self.control("ways", {"page": 1, "throttle_share": 0.0, "product_codes": ["abc"]})
        self.control("delays", {"visible": 600})
        self.control("offer", {"instance_type": "t3.micro", "zones": ["eu-west-1a"]})
        for name in ("one", "two"):
            self.ec2.create_security_group(GroupName=name, Description="test")
        self.assertEqual(self.control("inventory", account=other), before)
        self.assertEqual(len(theirs.describe_vpcs()["Vpcs"]), 1)
        self.assertGreater(len(theirs.describe_subnets()["Subnets"]), 1)
        offered = theirs.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}])
        self.assertGreater(len(offered["InstanceTypeOfferings"]), 1)
        self.assertEqual([c["action"] for c in self.control("calls")], ["CreateSecurityGroup"] * 2)
        self.assertEqual(theirs.describe_images(ImageIds=[BASE_IMAGE])["Images"][0].get("ProductCodes", []), [])
        group = theirs.create_security_group(GroupName="one", Description="test")["GroupId"]
        self.control("delays", {"visible": 0}, account=other)
        theirs.delete_security_group(GroupId=group)
        self.control("delays", {"visible": 0})

    def test_calls_are_forgotten_alone(self):
        self.fault("DescribeVpcs", "denied")
        self.ec2.describe_subnets()
        self.control("calls/clear", {})
        self.assertEqual((self.control("calls"), len(self.control("faults"))), ([], 1))


class Ends(unittest.TestCase):
    def test_it_ends_when_its_input_does_or_by_a_signal_and_leaves_nothing(self):
        for end in ("hang up", signal.SIGTERM, signal.SIGINT):
            server = Process(("--without-machines",))
            held = http.client.HTTPConnection(urlsplit(server.url).netloc)
            held.request("GET", "/_cloud/inventory")
            self.assertEqual(held.getresponse().status, 200)
            self.assertTrue(server.state.exists())
            if end != "hang up":
                server.child.send_signal(end)
                self.assertEqual(server.child.wait(30), 0)
            folder = server.state.parent
            if end == "hang up":
                server.child.stdin.close()
                self.assertEqual(server.child.wait(30), 0)
            self.assertEqual(list(folder.iterdir()), [], f"after {end}")
            held.close()
            server.end()
