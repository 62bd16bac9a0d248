"""Regions that are there, enabled or denied; and answers that come in pages."""

import unittest

from .asking import Asking


class Regions(Asking, unittest.TestCase):
    def test_regions_are_told_with_their_state_and_only_enabled_ones_unless_all_are_wanted(self):
        told = lambda **how: {r["RegionName"]: r["OptInStatus"] for r in self.ec2.describe_regions(**how)["Regions"]}
        self.assertNotIn("ap-east-1", told())
        self.assertEqual(told(AllRegions=True)["ap-east-1"], "not-opted-in")
        self.assertEqual({told()["eu-west-1"], told()["me-south-1"]}, {"opt-in-not-required", "opted-in"})
        self.control("ways", {"regions": {"eu-west-1": "opt-in-not-required"}})
        self.assertEqual(told(), {"eu-west-1": "opt-in-not-required"})

    def test_a_region_that_is_not_enabled_knows_nobody_and_one_that_is_denied_says_so(self):
        self.control("ways", {"denied_regions": ["us-east-1"]})
        for region, service, code in (("ap-east-1", "ec2", "AuthFailure"), ("us-east-1", "ec2", "UnauthorizedOperation"),
                                      ("us-east-1", "ssm", "AccessDeniedException")):
            client = self.client(service, account=self.account, region=region)
            call = {"ec2": lambda: client.describe_instances(), "ssm": lambda: client.get_parameter(Name="/x")}[service]
            self.assertEqual(self.code(call), code, region)

    def test_what_an_account_has_in_another_region_is_there_alone(self):
        there = self.client(account=self.account, region="us-east-1")
        base = self.client("ssm", account=self.account, region="us-east-1").get_parameter(
            Name="/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id")["Parameter"]["Value"]
        self.assertEqual(self.control("inventory"), self.before, "a look at a region changes nothing")
        instance = there.run_instances(ImageId=base, MinCount=1, MaxCount=1, InstanceType="t3.small")["Instances"][0]["InstanceId"]
        self.assertEqual(self.control("inventory", region="us-east-1")["instances"], [instance])
        self.assertEqual(self.control("inventory")["instances"], [instance])
        self.assertEqual(self.code(self.ec2.terminate_instances, InstanceIds=[instance]), "InvalidInstanceID.NotFound")
        there.terminate_instances(InstanceIds=[instance])


class Pages(Asking, unittest.TestCase):
    def test_every_describe_call_that_ec2_paginates_comes_in_pages(self):
        self.control("ways", {"page": 2})
        groups = {self.group(f"group-{n}") for n in range(3)}
        ran = {self.run_instance() for _ in range(3)}
        pages = list(self.ec2.get_paginator("describe_security_groups").paginate())
        self.assertEqual([len(p["SecurityGroups"]) for p in pages], [2, 2], "three, and the default one")
        self.assertLess(groups, {g["GroupId"] for p in pages for g in p["SecurityGroups"]})
        pages = list(self.ec2.get_paginator("describe_instances").paginate())
        self.assertEqual([len(p["Reservations"]) for p in pages], [2, 1])
        self.assertEqual({i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]}, ran)
        for call in ("describe_images", "describe_subnets", "describe_route_tables", "describe_instance_type_offerings",
                     "describe_network_acls", "describe_snapshots", "describe_volumes", "describe_vpcs"):
            answer = getattr(self.ec2, call)()
            (items,) = (v for v in answer.values() if isinstance(v, list))
            self.assertLessEqual(len(items), 2, call)
            self.assertTrue(len(items) < 2 or "NextToken" in answer or call == "describe_volumes", call)

    def test_pages_have_what_was_there_when_the_first_was_asked_for(self):
        self.control("ways", {"page": 2})
        made = sorted([self.run_instance() for _ in range(3)])
        first = self.ec2.describe_instances()
        ids = lambda answer: [r["Instances"][0]["InstanceId"] for r in answer["Reservations"]]
        self.ec2.terminate_instances(InstanceIds=ids(first))
        for _ in range(2):  # a lost answer is asked for again
            second = self.ec2.describe_instances(NextToken=first["NextToken"])
            self.assertEqual(sorted(ids(first) + ids(second)), made)
        self.assertNotIn("NextToken", second)

    def test_a_page_may_be_empty_and_not_the_last(self):
        self.control("ways", {"empty_pages": True})
        first = self.ec2.describe_security_groups()
        self.assertEqual(first["SecurityGroups"], [])
        second = self.ec2.describe_security_groups(NextToken=first["NextToken"])
        self.assertEqual([g["GroupName"] for g in second["SecurityGroups"]], ["default"])

    def test_pages_are_asked_for_as_ec2_allows(self):
        instance = self.run_instance()
        self.assertEqual(len(self.ec2.describe_instances(InstanceIds=[instance])["Reservations"]), 1)
        refused = ((dict(InstanceIds=[instance], MaxResults=5), "InvalidParameterCombination"),
                   (dict(MaxResults=4), "InvalidParameterValue"), (dict(NextToken="made-up"), "InvalidParameterValue"))
        for asked, code in refused:
            self.assertEqual(self.code(self.ec2.describe_instances, **asked), code)
        ids = [s["SubnetId"] for s in self.ec2.describe_subnets(MaxResults=5)["Subnets"]]
        self.assertEqual(len(ids), 3, "there are no more")
