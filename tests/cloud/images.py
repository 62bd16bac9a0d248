"""EC2's rules for images and their snapshots over moto's."""

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_ami_id

import keys
from account import finish, in_background
from errors import error, image_gone, no_image


def patch(cloud) -> None:
    patch_making(cloud)
    patch_looking(cloud)
    patch_changing(cloud)


def patch_making(cloud) -> None:
    def create_image(self, instance_id, name, description, tag_specifications):
        account = cloud.account(self.account_id)
        check_name(self, name)
        instance = self.get_instance(instance_id)
        if instance.state not in ("running", "stopped", "stopping"):
            raise error("IncorrectState", f"Instance '{instance_id}' is not in a state from which it can be imaged")
        ami = Ami(self, random_ami_id(), instance=instance, name=name, description=description,
                  state="pending", root_device_type="ebs", hypervisor="xen", boot_mode="uefi-preferred",
                  snapshot_description=f"Created by CreateImage({instance_id})")
        finish(ami)
        ami.bdm_ready = False
        ami.image_location = f"{ami.owner_id}/{name}"
        ami.add_tags(tags_for(tag_specifications, "image"))
        source = self.amis.get(instance.image_id)
        snapshot = ami.ebs_snapshot
        snapshot.product_codes = ami.product_codes = source.product_codes if source else []
        ami.uefi_data = account.ways.uefi_data
        snapshot.add_tags(tags_for(tag_specifications, "snapshot"))
        snapshot.status, snapshot.listed = "pending", False
        root = instance.block_device_mapping.get(ami.root_device_name)
        snapshot.volume = self.volumes[root.volume_id] if root else snapshot.volume
        snapshot.kms_key_id = keys.of_volumes(self, instance)
        snapshot.encrypted = snapshot.kms_key_id is not None
        del self.snapshots[snapshot.id]
        account.born(ami.id)
        self.amis[ami.id] = ami
        in_background(account.make_image, ami, account.machines[instance.id])
        return ami

    def register_image(self):
        self.error_on_dryrun()
        backend, get = self.ec2_backend, self._get_param
        check_name(backend, get("Name"))
        mappings = get("BlockDeviceMappings", [])
        snapshot_id = next((m["Ebs"]["SnapshotId"] for m in mappings if m["DeviceName"] == get("RootDeviceName")), None)
        snapshot = backend.snapshots.get(snapshot_id)
        if snapshot is None or snapshot.status != "completed":
            raise error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
        ami = Ami(backend, random_ami_id(), name=get("Name"), description=get("Description", ""),
                  virtualization_type=get("VirtualizationType"), architecture=get("Architecture"),
                  root_device_type="ebs", root_device_name=get("RootDeviceName"), hypervisor="xen",
                  boot_mode=get("BootMode"))
        finish(ami)
        ami.image_location = f"{ami.owner_id}/{ami.name}"
        ami.ena_support = str(get("EnaSupport", False)).lower() == "true"
        ami.imds_support, ami.tpm_support = get("ImdsSupport"), get("TpmSupport")
        ami.product_codes = getattr(snapshot, "product_codes", [])
        ami.uefi_data = get("UefiData")
        del backend.snapshots[ami.ebs_snapshot.id]
        ami.ebs_snapshot = snapshot
        ami.add_tags(tags_for(get("TagSpecifications", []), "image"))
        cloud.account(self.current_account).born(ami.id)
        backend.amis[ami.id] = ami
        return ActionResult({"ImageId": ami.id})

    AmiBackend.create_image = create_image
    AmisResponse.register_image = register_image


def patch_looking(cloud) -> None:
    describe, filter_value = AmiBackend.describe_images, Ami.get_filter_value

    def describe_images(self, ami_ids=None, **kwargs):
        """One unknown id fails them all; one that was deregistered is left out in silence."""
        account = cloud.account(self.account_id)
        for ami_id in ami_ids or []:
            if ami_id not in self.deleted_amis and (ami_id not in self.amis or account.hidden(ami_id)):
                raise no_image(ami_id)
        return [ami for ami in describe(self, ami_ids, **kwargs) if not account.hidden(ami.id)]

    def mappings(self):
        ebs = {"VolumeSize": self.ebs_snapshot.volume.size, "DeleteOnTermination": True, "VolumeType": "gp3", "Encrypted": self.ebs_snapshot.encrypted}
        if self.bdm_ready:
            ebs["SnapshotId"] = self.ebs_snapshot.id
        return [{"DeviceName": self.root_device_name, "Ebs": ebs}]

    def get_filter_value(self, filter_name, method_name=None):
        if filter_name == "block-device-mapping.snapshot-id":
            return self.ebs_snapshot.id if self.bdm_ready else None
        if filter_name == "product-code":
            return [code["ProductCodeId"] for code in self.product_codes]
        return filter_value(self, filter_name, method_name)

    def describe_snapshots(self):
        """moto's asks nobody whose they are."""
        account, ids = cloud.account(self.current_account), self._get_param("SnapshotIds", [])
        found = self.ec2_backend.describe_snapshots(snapshot_ids=ids, filters=self._filters_from_querystring())
        owners = [account.number if owner == "self" else owner for owner in self._get_param("OwnerIds", [])]
        return ActionResult({"Snapshots": [s for s in found if not owners or s.owner_id in owners]})

    describe_attribute = AmisResponse.describe_image_attribute

    def describe_image_attribute(self):
        """An image's UEFI variables are its owner's to see, as most attributes are. moto has them not."""
        if self._get_param("Attribute") != "uefiData":
            return describe_attribute(self)
        account = cloud.account(self.current_account)
        ami = account.usable_image(self.ec2_backend, self._get_param("ImageId"))
        if ami.owner_id != account.number:
            raise error("AuthFailure", f"Not authorized for image:{ami.id}")
        value = getattr(ami, "uefi_data", None)
        return ActionResult({"ImageId": ami.id, "UefiData": {"Value": value} if value else {}})

    AmisResponse.describe_image_attribute = describe_image_attribute
    ElasticBlockStore.describe_snapshots = describe_snapshots
    AmiBackend.describe_images = describe_images
    Ami.get_filter_value = get_filter_value
    Ami.block_device_mappings = property(mappings)


def patch_changing(cloud) -> None:
    deregister, delete_snapshot = AmiBackend.deregister_image, EBSBackend.delete_snapshot
    modify = AmisResponse.modify_image_attribute

    def deregister_image(self, ami_id):
        if cloud.account(self.account_id).hidden(ami_id):
            raise no_image(ami_id)
        if ami_id in self.deleted_amis:
            raise image_gone(ami_id)
        return deregister(self, ami_id)

    def modify_image_attribute(self):
        """moto's knows launch permissions alone."""
        account = cloud.account(self.current_account)
        ami = account.usable_image(self.ec2_backend, self._get_param("ImageId"))
        if ami.owner_id != account.number:
            raise error("AuthFailure", f"Not authorized for image:{ami.id}")
        text = self._get_param("Description.Value")
        if text is None and self._get_param("Attribute") == "description":
            text = self._get_param("Value")
        imds = self._get_param("ImdsSupport.Value")
        if text is None and imds is None:
            self.check_launch_permission(ami)
            return modify(self)
        self.error_on_dryrun()
        if imds is not None:
            ami.imds_support = imds
        if text is not None:
            ami.description = text
        return EmptyResult()

    def delete(self, snapshot_id):
        for ami in self.amis.values():
            if ami.ebs_snapshot.id == snapshot_id:
                raise error("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {ami.id}")
        if snapshot_id in self.snapshots:
            self.snapshots[snapshot_id].from_ami = None  # asked above, for registered images too
        snapshot = delete_snapshot(self, snapshot_id)
        cloud.account(self.account_id).delete_disk(snapshot_id)
        return snapshot

    AmiBackend.deregister_image = deregister_image
    AmisResponse.modify_image_attribute = modify_image_attribute
    EBSBackend.delete_snapshot = delete


def check_name(ec2, name: str) -> None:
    for ami in ec2.amis.values():
        if ami.name == name and ami.owner_id == ec2.account_id:
            raise error("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ami.id}")


def tags_for(specifications: list, kind: str) -> dict[str, str]:
    chosen = [s for s in specifications if s["ResourceType"] == kind]
    return {tag["Key"]: tag["Value"] for s in chosen for tag in s["Tags"]}
