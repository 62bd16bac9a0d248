"""The test EC2 is as hostile as EC2, by boto3.

`selftest.py` asks the one without machines, which needs no root and takes seconds; `selftest.py ROOT`,
with the base root as cloud.py takes it, asks both, and needs root and what ./test installs.
"""

import sys
import unittest

from selftests.accounts import Accounts, Ends
from selftests.asking import eventually
from selftests.balancers import Certificates, Sockets, TargetHealth
from selftests.balancers import Rules as ListenerRules
from selftests.faults import Faults
from selftests.groups import Groups
from selftests.images import Images
from selftests.regions import Pages, Regions
from selftests.rollout import Rollout
from selftests.rules import Rules
from selftests.serving import Serving
from selftests.stacks import ChangeSets, Deletions, Disturbed, Exports, Stacks
from selftests.web_stack import WebStack

BASE_ROOT = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1].startswith("/") else None
POWER_OFF = "#cloud-config\nruncmd: [[systemctl, poweroff]]\n"
__all__ = ["Accounts", "Certificates", "ChangeSets", "Deletions", "Disturbed", "Ends", "Exports", "Faults", "Groups", "Images", "ListenerRules", "Pages", "Regions", "Rollout", "Sockets", "Stacks",
           "TargetHealth", "WebStack"]


class WithoutMachines(Rules, unittest.TestCase):
    def test_a_guest_that_powers_itself_off_is_terminated_or_stopped_as_it_was_launched(self):
        ends, stops = self.run_instance(), self.run_instance(InstanceInitiatedShutdownBehavior="stop")
        for instance in (ends, stops):
            self.control("power-off", {"instance": instance})
        eventually("its end", self.is_state(ends, "terminated"))
        self.assertEqual(self.instances(ends)[0]["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")
        eventually("its stop", self.is_state(stops, "stopped"))

    def test_ec2_ends_an_instance_for_reasons_of_its_own(self):
        died = self.run_instance(InstanceInitiatedShutdownBehavior="stop")
        self.control("power-off", {"instance": died, "code": "Server.InternalError", "message": "Internal error on launch"})
        self.control("ways", {"dies": {"after": 0, "code": "Client.InternalError", "message": "Client error on launch"}})
        stillborn = self.run_instance()
        for instance, reason in ((died, "Server.InternalError: Internal error on launch"),
                                 (stillborn, "Client.InternalError: Client error on launch")):
            eventually("its end", self.is_state(instance, "terminated"))
            told = self.instances(instance)[0]["StateReason"]
            self.assertEqual((told["Code"], told["Message"]), (reason.split(":")[0], reason))

    def test_a_guest_has_the_console_that_a_test_gives_it(self):
        instance = self.run_instance()
        self.control("console", {"instance": instance, "text": "Kernel panic"})
        self.assertEqual(self.ec2.get_console_output(InstanceId=instance)["Output"], "Kernel panic")

    def test_a_guest_is_told_and_admits_what_it_was_launched_with(self):
        group = self.group()
        vpc = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        interface = {"DeviceIndex": 0, "SubnetId": vpc, "Groups": [group], "DeleteOnTermination": True}
        instance = self.run_instance(NetworkInterfaces=[interface], UserData="#cloud-config\n{}\n")
        self.control("ways", {"seen_as": ["192.0.2.7"]})
        guest = self.control("machines")[instance]
        self.assertEqual((guest["user_data"], guest["admitted"]), ("#cloud-config\n{}\n", "no"))
        rule = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "192.0.2.7/32"}
        self.ec2.authorize_security_group_ingress(**rule)
        self.assertEqual(self.control("machines")[instance]["admitted"], "yes")


@unittest.skipUnless(BASE_ROOT, "no base root was given")
class ServingMachines(Serving, unittest.TestCase):
    machines = ("--base", BASE_ROOT)


@unittest.skipUnless(BASE_ROOT, "no base root was given")
class WithMachines(Rules, unittest.TestCase):
    machines = ("--base", BASE_ROOT)

    def test_a_guest_that_powers_itself_off_is_terminated_or_stopped_as_it_was_launched(self):
        ends = self.run_instance(UserData=POWER_OFF)
        stops = self.run_instance(UserData=POWER_OFF, InstanceInitiatedShutdownBehavior="stop")
        eventually("its end", self.is_state(ends, "terminated"))
        self.assertEqual(self.instances(ends)[0]["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")
        eventually("its stop", self.is_state(stops, "stopped"))


if __name__ == "__main__":
    unittest.main()
