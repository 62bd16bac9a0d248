"""EC2's rules for images: when a call may have one, what they are made of, and what may be changed."""

import unittest

from .asking import BASE_IMAGE, Asking, eventually


class Images(Asking, unittest.TestCase):
    def test_unavailable_is_said_of_an_image_that_is_not_ready_and_of_one_that_is_gone(self):
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        self.control("delays", {"image": 600})
        pending = self.image_of(instance)
        launch = lambda image: self.code(self.run_instance, ImageId=image)
        change = lambda image: self.code(self.ec2.modify_image_attribute, ImageId=image, Description={"Value": "x"})
        self.assertEqual([launch(pending), change(pending)], ["InvalidAMIID.Unavailable"] * 2)
        self.assertEqual(self.image_state(pending), "pending", "it is there all the same")
        self.ec2.deregister_image(ImageId=pending)
        again = self.code(self.ec2.deregister_image, ImageId=pending)
        self.assertEqual([launch(pending), change(pending), again], ["InvalidAMIID.Unavailable"] * 3)
        unknown = "ami-0123456789abcdef0"
        codes = [launch(unknown), change(unknown), self.code(self.ec2.deregister_image, ImageId=unknown)]
        self.assertEqual(codes, ["InvalidAMIID.NotFound"] * 3)
        eventually("the snapshot", lambda: self.snapshots())

    def test_an_image_that_failed_says_why_and_cannot_be_used(self):
        self.control("ways", {"images_fail": {"code": "Client.InternalError", "message": "no room"}})
        instance = self.run_instance()
        eventually("it to run", self.is_state(instance, "running"))
        image = self.image_of(instance)
        eventually("its end", lambda: self.image_state(image) == "failed")
        told = self.ec2.describe_images(ImageIds=[image])["Images"][0]
        self.assertEqual(told["StateReason"], {"Code": "Client.InternalError", "Message": "no room"})
        self.assertEqual(self.code(self.run_instance, ImageId=image), "InvalidAMIID.Unavailable")

    def test_images_asked_for_by_id_must_be_known_but_one_that_is_gone_is_left_out(self):
        image = self.finished_image()
        ids = [image, "ami-0123456789abcdef0"]
        self.assertEqual(self.code(self.ec2.describe_images, ImageIds=ids), "InvalidAMIID.NotFound")
        self.ec2.deregister_image(ImageId=image)
        found = self.ec2.describe_images(ImageIds=[image, BASE_IMAGE])["Images"]
        self.assertEqual([i["ImageId"] for i in found], [BASE_IMAGE])

    def test_a_description_can_be_changed_both_ways_of_asking_and_nothing_else_with_it(self):
        image = self.finished_image()
        for asked in ({"Description": {"Value": "one"}}, {"Attribute": "description", "Value": "two"}):
            self.ec2.modify_image_attribute(ImageId=image, **asked)
            told = self.ec2.describe_images(ImageIds=[image])["Images"][0]
            self.assertEqual((told["Description"], told["Public"]), (asked.get("Value", "one"), False))
        other = self.code(self.ec2.modify_image_attribute, ImageId=BASE_IMAGE, Description={"Value": "mine"})
        self.assertEqual(other, "AuthFailure")

    def test_product_codes_stay_with_what_is_made_of_an_image(self):
        self.control("ways", {"product_codes": ["abc123"]})
        image = self.finished_image()
        snapshot = self.snapshots()[0]["SnapshotId"]
        registered = self.ec2.register_image(
            Name="registered", RootDeviceName="/dev/sda1", Architecture="x86_64", VirtualizationType="hvm",
            BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}])["ImageId"]
        self.control("expire", {})  # everything is known by then
        for each in self.ec2.describe_images(ImageIds=[BASE_IMAGE, image, registered])["Images"]:
            self.assertEqual(each["ProductCodes"], [{"ProductCodeId": "abc123", "ProductCodeType": "marketplace"}])

    def test_an_image_can_be_what_a_test_needs(self):
        self.control("image", {"platform": "windows", "architecture": "arm64"})
        told = self.ec2.describe_images(ImageIds=[BASE_IMAGE])["Images"][0]
        self.assertEqual((told["Platform"], told["Architecture"]), ("windows", "arm64"))

    def test_what_is_made_of_encrypted_volumes_and_an_encrypted_copy_have_their_key_and_size(self):
        keys, other = {}, self.client(account=self.account, region="us-east-1")
        for region in ("eu-west-1", "us-east-1"):
            kms = self.client("kms", account=self.account, region=region)
            keys[region] = kms.create_key()["KeyMetadata"]
            self.assertEqual(keys[region]["KeyUsage"], "ENCRYPT_DECRYPT")
            kms.create_alias(AliasName="alias/ami", TargetKeyId=keys[region]["KeyId"])
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "Encrypted": True, "KmsKeyId": "alias/ami", "DeleteOnTermination": True}}
        image = self.finished_image(BlockDeviceMappings=[disk])
        self.assertEqual(self.snapshots()[0].get("KmsKeyId"), keys["eu-west-1"]["Arn"])
        copy = other.copy_image(SourceImageId=image, SourceRegion="eu-west-1", Name="copy", Encrypted=True, KmsKeyId="alias/ami")["ImageId"]
        named = lambda: other.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        self.assertEqual(eventually("the copy's snapshot", named)[0].get("KmsKeyId"), keys["us-east-1"]["Arn"])
        told = lambda: other.describe_images(ImageIds=[copy])["Images"][0]
        eventually("the copy", lambda: told()["State"] == "available")
        self.assertEqual(told()["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"], 20)
        other.deregister_image(ImageId=copy)
        other.delete_snapshot(SnapshotId=named()[0]["SnapshotId"])

    def test_tags_come_to_all_resources_of_a_call_or_to_none(self):
        image = self.finished_image()
        snapshot = self.snapshots()[0]["SnapshotId"]
        group, tag = self.group(), [{"Key": "a", "Value": "b"}]
        for unknown, code in (("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
                              ("snap-0123456789abcdef0", "InvalidSnapshot.NotFound")):
            resources = [image, snapshot, group, unknown]
            self.assertEqual(self.code(self.ec2.create_tags, Resources=resources, Tags=tag), code)
        self.assertEqual(self.tagged("a"), [])
        self.ec2.create_tags(Resources=[image, snapshot, group], Tags=tag)
        self.assertEqual(self.tagged("a"), sorted([image, snapshot, group]))

    def test_what_is_not_known_yet_cannot_be_tagged(self):
        self.control("delays", {"visible": 600})
        tag = [{"Key": "a", "Value": "b"}]
        for thing, code in ((self.group(), "InvalidGroup.NotFound"), (self.run_instance(), "InvalidInstanceID.NotFound")):
            self.assertEqual(self.code(self.ec2.create_tags, Resources=[thing], Tags=tag), code)
        self.control("delays", {"visible": 0})
        self.assertEqual(self.tagged("a"), [])

    def tagged(self, key):
        tags = self.ec2.describe_tags(Filters=[{"Name": "key", "Values": [key]}])["Tags"]
        return sorted(t["ResourceId"] for t in tags)

    def test_snapshots_are_asked_for_by_owner(self):
        self.finished_image()
        own = [s["SnapshotId"] for s in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]]
        every = [s["SnapshotId"] for s in self.ec2.describe_snapshots()["Snapshots"]]
        self.assertEqual(own, [s["SnapshotId"] for s in self.snapshots()])
        self.assertEqual(len(every), len(own) + 1, "the base image's too")
