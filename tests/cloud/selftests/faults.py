"""What tests ask to go wrong goes wrong, for that call, and EC2 has acted or not as it was asked."""

import threading
import time
import unittest
import urllib.error

from botocore.exceptions import ClientError, HTTPClientError

from .asking import Asking, eventually


class Faults(Asking, unittest.TestCase):
    def make_group(self, name="group"):
        return self.code(self.ec2.create_security_group, GroupName=name, Description="test")

    def made(self):
        return len(self.control("inventory")["security_groups"]) - len(self.before["security_groups"])

    def hit(self):
        return [fault["hit"] for fault in self.control("faults")]

    def test_an_answer_is_an_error_as_often_as_was_asked_for_and_after_the_calls_that_are_let_pass(self):
        self.fault("CreateSecurityGroup", "throttle", skip=1, times=2)
        codes = [self.make_group(f"group-{n}") for n in range(4)]
        self.assertEqual(codes, [None, "RequestLimitExceeded", "RequestLimitExceeded", None])
        self.assertEqual((self.hit(), self.made()), ([2], 2))
        told = [c["answer"] for c in self.control("calls") if c["action"] == "CreateSecurityGroup"]
        self.assertEqual(told, ["ok", "RequestLimitExceeded", "RequestLimitExceeded", "ok"])

    def test_errors_have_ec2s_codes_and_statuses(self):
        asked = (({"kind": "error"}, "InternalError", 500), ({"kind": "throttle"}, "RequestLimitExceeded", 503),
                 ({"kind": "denied"}, "UnauthorizedOperation", 403), ({"kind": "expired-token"}, "RequestExpired", 400),
                 ({"kind": "expired-token", "code": "AuthFailure"}, "AuthFailure", 401),
                 ({"kind": "error", "code": "InsufficientInstanceCapacity"}, "InsufficientInstanceCapacity", 500),
                 ({"kind": "error", "code": "VcpuLimitExceeded"}, "VcpuLimitExceeded", 400))
        for fault, code, status in asked:
            self.control("fault", {"action": "*"} | fault)
            with self.assertRaises(ClientError) as caught:
                self.ec2.describe_vpcs()
            told = caught.exception.response
            self.assertEqual((told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        self.assertEqual(self.hit(), [1] * len(asked))

    def test_ssm_says_it_in_its_own_words(self):
        ssm = self.client("ssm", account=self.account)
        for kind, code in (("throttle", "ThrottlingException"), ("denied", "AccessDeniedException"),
                           ("expired-token", "ExpiredTokenException")):
            self.fault("GetParameter", kind)
            self.assertEqual(self.code(ssm.get_parameter, Name="/x"), code)

    def test_a_token_that_expired_says_nothing_of_what_was_done(self):
        for done in (False, True):
            self.fault("CreateSecurityGroup", "expired-token", done=done)
            self.assertEqual(self.make_group(), "RequestExpired")
            self.assertEqual(self.made(), int(done))

    def test_a_lost_answer_is_to_a_call_that_was_done(self):
        for kind in ("lost", "drop"):
            self.fault("CreateSecurityGroup", kind)
            with self.assertRaises(HTTPClientError):
                self.make_group(kind)
        self.assertEqual((self.hit(), self.made()), ([1, 1], 2))

    def test_a_call_that_is_never_answered_is_held_until_the_client_goes(self):
        for done in (False, True):
            self.fault("CreateSecurityGroup", "hang", done=done)
            impatient = self.client(account=self.account, read_timeout=1)
            with self.assertRaises(HTTPClientError):
                impatient.create_security_group(GroupName=f"done-{done}", Description="test")
            eventually("it to be let go", lambda: not any(f["waiting"] for f in self.control("faults")))
            self.assertEqual(self.made(), int(done))
        self.assertEqual([f["done"] for f in self.control("faults")], [1, 1])

    def test_a_call_is_held_before_or_after_ec2_acts_and_the_other_account_goes_on(self):
        for kind, made in (("hold-before", 0), ("hold", 1)):
            self.control("clear", {})
            self.fault("CreateSecurityGroup", kind, seconds=600)
            answers = []
            asking = threading.Thread(target=lambda: answers.append(self.make_group(kind)))
            asking.start()
            eventually("it to be held", lambda: self.control("faults")[0]["waiting"])
            self.assertEqual((self.made(), answers), (made, []))
            other = self.client(account="9" * 12)
            self.assertEqual(len(other.describe_vpcs()["Vpcs"]), 1)
            self.control("release", {})
            asking.join(30)
            self.assertEqual((answers, self.made()), ([None], 1))
            self.ec2.delete_security_group(GroupName=kind)

    def test_a_call_is_carried_out_after_a_hold_even_where_nobody_waits_for_it(self):
        self.fault("CreateSecurityGroup", "hold-before", seconds=600)
        impatient = self.client(account=self.account, read_timeout=1)
        with self.assertRaises(HTTPClientError):
            impatient.create_security_group(GroupName="late", Description="test")
        self.assertEqual(self.made(), 0)
        self.control("release", {})
        eventually("it to be carried out", lambda: self.made() == 1)

    def test_a_slow_answer_comes(self):
        self.fault("DescribeVpcs", "slow", seconds=1.5)
        since = time.monotonic()
        self.ec2.describe_vpcs()
        self.assertGreaterEqual(time.monotonic() - since, 1.5)

    def test_a_fault_may_be_for_one_region(self):
        self.fault("DescribeVpcs", "denied", region="us-east-1")
        self.assertEqual(self.code(self.ec2.describe_vpcs), None)
        there = self.client(account=self.account, region="us-east-1")
        self.assertEqual(self.code(there.describe_vpcs), "UnauthorizedOperation")

    def test_a_share_of_calls_is_throttled_by_a_chance_that_can_be_repeated(self):
        draws = []
        for seed in (1, 1, 2):
            self.control("ways", {"throttle_share": 0.5, "seed": seed})
            draws.append([self.code(self.ec2.describe_vpcs) for _ in range(40)])
        self.assertEqual(draws[0], draws[1])
        self.assertNotEqual(draws[0], draws[2])
        self.assertEqual(set(draws[0]), {None, "RequestLimitExceeded"})

    def test_what_is_mistyped_is_refused(self):
        for what, value, status in (("fault", {"action": "x", "kind": "nonsense"}, 400), ("nonsense", {}, 404),
                                    ("fault", {"action": "x", "kind": "error", "done": True}, 400),
                                    ("ways", {"nonsense": 1}, 400), ("delays", {"nonsense": 1}, 400)):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.control(what, value)
            refused.exception.close()
            self.assertEqual(refused.exception.code, status, what)
