"""EC2's rules, which hold whether there are machines or not: one test for each."""

import time

from .asking import Asking, eventually


class Rules(Asking):
    """What EC2 does, whether there are machines or not."""

    def test_a_new_instance_is_not_known_at_once(self):
        self.control("delays", {"visible": 600})
        instance = self.run_instance()
        self.assertEqual(self.instances(instance), [])
        for call in (self.ec2.describe_instances, self.ec2.terminate_instances, self.ec2.stop_instances):
            self.assertEqual(self.code(call, InstanceIds=[instance]), "InvalidInstanceID.NotFound")
        self.control("delays", {"visible": 0})
        self.assertEqual(len(self.instances(instance)), 1)

    def test_a_new_group_is_not_known_at_once_and_an_unknown_one_never(self):
        self.control("delays", {"visible": 600})
        group = self.group()
        rule = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "192.0.2.0/24"}
        self.assertEqual(self.code(self.ec2.authorize_security_group_ingress, **rule), "InvalidGroup.NotFound")
        self.assertEqual(self.code(self.ec2.delete_security_group, GroupId=group), "InvalidGroup.NotFound")
        self.control("delays", {"visible": 0})
        self.assertEqual(self.code(self.ec2.authorize_security_group_ingress, **rule), None)
        subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        unknown = [{"DeviceIndex": 0, "SubnetId": subnet, "Groups": ["sg-0123456789abcdef0"]}]
        self.assertEqual(self.code(self.run_instance, NetworkInterfaces=unknown), "InvalidGroup.NotFound")

    def test_a_new_image_is_not_known_at_once(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        self.control("delays", {"visible": 600})
        image = self.image_of(instance)
        self.assertEqual(self.image_state(image), None)
        self.assertEqual(self.code(self.ec2.deregister_image, ImageId=image), "InvalidAMIID.NotFound")
        self.control("delays", {"visible": 0})
        self.assertIn(self.image_state(image), ("pending", "available"))

    def test_instances_and_images_are_pending_first(self):
        self.control("delays", {"pending": 4, "image": 5, "off": 4})
        instance = self.run_instance()
        self.assertEqual(self.state(instance), "pending")
        eventually("it to run", self.is_state(instance, "running"))
        self.ec2.stop_instances(InstanceIds=[instance])
        self.assertEqual(self.state(instance), "stopping")
        eventually("it to stop", self.is_state(instance, "stopped"))
        image = self.image_of(instance)
        self.assertEqual(self.image_state(image), "pending")
        self.assertEqual(self.code(self.run_instance, ImageId=image), "InvalidAMIID.Unavailable")
        eventually("the image", lambda: self.image_state(image) == "available")

    def test_an_image_takes_the_time_that_is_asked_for(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        self.control("delays", {"image": 4})
        since = time.monotonic()
        image = self.image_of(instance)
        eventually("the image", lambda: self.image_state(image) == "available")
        self.assertGreaterEqual(time.monotonic() - since, 4)

    def test_a_snapshot_appears_late_even_when_its_image_is_gone_and_its_machine_too(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        self.control("delays", {"image": 10, "snapshot": 8})
        self.ec2.deregister_image(ImageId=self.image_of(instance))
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.assertEqual(self.snapshots(), [])
        eventually("the snapshot", self.snapshots)

    def test_a_group_is_held_until_the_interface_of_an_ended_instance_is_gone(self):
        self.control("delays", {"interface": 8})
        group = self.group()
        subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        interface = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "DeleteOnTermination": True}
        instance = self.run_instance(NetworkInterfaces=[interface])
        self.ec2.terminate_instances(InstanceIds=[instance])
        eventually("its end", self.is_state(instance, "terminated"))
        self.assertEqual(self.code(self.ec2.delete_security_group, GroupId=group), "DependencyViolation")
        eventually("the interface to go", lambda: self.code(self.ec2.delete_security_group, GroupId=group) is None)

    def test_a_terminated_instance_is_listed_and_not_counted(self):
        instance = self.run_instance()
        self.assertIn(instance, self.control("inventory")["instances"])
        self.ec2.terminate_instances(InstanceIds=[instance])
        eventually("its end", self.is_state(instance, "terminated"))
        self.assertNotIn(instance, self.control("inventory")["instances"])

    def test_a_zone_that_does_not_offer_a_type_says_so_and_refuses_it(self):
        self.control("offer", {"instance_type": "t3.nano", "zones": ["eu-west-1c"]})
        filters = [{"Name": "instance-type", "Values": ["t3.nano"]}]
        offered = self.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=filters)
        self.assertEqual([o["Location"] for o in offered["InstanceTypeOfferings"]], ["eu-west-1c"])
        for subnet in self.ec2.describe_subnets()["Subnets"]:
            interface = {"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "DeleteOnTermination": True}
            refused = self.code(self.run_instance, InstanceType="t3.nano", NetworkInterfaces=[interface])
            self.assertEqual(refused, None if subnet["AvailabilityZone"] == "eu-west-1c" else "Unsupported")

    def test_one_unknown_id_fails_a_batch(self):
        instance = self.run_instance()
        batch = [instance, "i-0123456789abcdef0"]
        for call in (self.ec2.describe_instances, self.ec2.terminate_instances):
            self.assertEqual(self.code(call, InstanceIds=batch), "InvalidInstanceID.NotFound")
        self.assertIn(self.state(instance), ("pending", "running"))
        self.assertEqual([i["InstanceId"] for i in self.instances(*batch)], [instance], "a filter takes it")

    def test_names_are_taken_once(self):
        self.group("twice")
        self.assertEqual(self.code(self.group, name="twice"), "InvalidGroup.Duplicate")
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        self.image_of(instance, "twice")
        self.assertEqual(self.code(self.image_of, instance_id=instance, name="twice"), "InvalidAMIName.Duplicate")

    def test_a_client_token_makes_one_instance_of_one_request(self):
        instance = self.run_instance(ClientToken="t-1")
        self.assertEqual(self.run_instance(ClientToken="t-1"), instance)
        other = self.code(self.run_instance, ClientToken="t-1", InstanceType="t3.large")
        self.assertEqual(other, "IdempotentParameterMismatch")
        self.assertNotEqual(self.run_instance(ClientToken="t-2"), instance)

    def test_a_snapshot_in_use_stays(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        image = self.image_of(instance)
        eventually("the image", lambda: self.image_state(image) == "available")
        snapshot = self.snapshots()[0]["SnapshotId"]
        self.assertEqual(self.code(self.ec2.delete_snapshot, SnapshotId=snapshot), "InvalidSnapshot.InUse")

    def test_images_are_found_by_their_snapshot(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        image = self.image_of(instance)
        eventually("the image", lambda: self.image_state(image) == "available")
        for snapshot, images in ((self.snapshots()[0]["SnapshotId"], [image]), ("snap-0123456789abcdef0", [])):
            filters = [{"Name": "block-device-mapping.snapshot-id", "Values": [snapshot]}]
            found = self.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
            self.assertEqual([i["ImageId"] for i in found], images)

    def test_a_spot_instance_cannot_be_stopped(self):
        spot = self.run_instance(InstanceMarketOptions={"MarketType": "spot"})
        eventually("it to run", self.is_state(spot, "running"))
        self.assertEqual(self.code(self.ec2.stop_instances, InstanceIds=[spot]), "UnsupportedOperation")

    def test_expiries_pass_when_a_test_says_so(self):
        group = self.group()
        for value, after in (("never", "never"), ("2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z")):
            self.ec2.create_tags(Resources=[group], Tags=[{"Key": "amibake:expires", "Value": value}])
            self.control("expire", {})
            tags = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["Tags"]
            self.assertEqual(tags, [{"Key": "amibake:expires", "Value": after}])
