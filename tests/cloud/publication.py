"""EC2's and SSM's rules for what is published: copies, permissions, deprecation and protection of images,
versions of launch templates, and parameters that hold an image."""

import copy
import datetime
import re
import time

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.amis import Ami
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateBackend, LaunchTemplateVersion
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.utils import random_ami_id
from moto.ssm.exceptions import ParameterAlreadyExists, ValidationException
from moto.ssm.responses import SimpleSystemManagerResponse

import keys
from account import finish, in_background, later
from errors import error
from images import check_name, tags_for

ACCOUNT = re.compile(r"\d{12}")
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyImage.html
MINUTES = range(15, 2881, 15)
IMAGE = "aws:ec2:image"


def patch(cloud) -> None:
    patch_copying(cloud)
    patch_sharing(cloud)
    patch_lifetime(cloud)
    patch_templates()
    patch_parameters(cloud)


def patch_copying(cloud) -> None:
    def copy_image(self):
        """A copy is pending at first, and its snapshot comes late, as CreateImage's does."""
        self.error_on_dryrun()
        account, backend, get = cloud.account(self.current_account), self.ec2_backend, self._get_param
        if account.ways.regions.get(get("SourceRegion"), "not-opted-in") == "not-opted-in":
            raise error("InvalidRequest", f"The source region {get('SourceRegion')} is not known or not enabled")
        source = account.usable_image(account.backend(get("SourceRegion")), get("SourceImageId"))
        check_name(backend, get("Name"))
        minutes = get("SnapshotCopyCompletionDurationMinutes")
        if minutes is not None and int(minutes) not in MINUTES:
            raise error("InvalidParameterValue", "the completion duration must be a multiple of 15 minutes")
        wants = str(get("Encrypted", False)).lower() == "true"
        if get("KmsKeyId") and not wants:
            raise error("InvalidParameterDependency", "KmsKeyId requires Encrypted")
        pending = [a for a in backend.amis.values() if a.state == "pending" and getattr(a, "source_image_id", None)]
        if len(pending) >= account.ways.copies_at_once:
            raise error("ResourceLimitExceeded", "Too many snapshot copies are in progress. The limit is "
                        f"{account.ways.copies_at_once} for this destination.")
        account.most_copies = max(account.most_copies, len(account.pending_copies()) + 1)
        made = copied(backend, source, get("Name"), get("Description"), wants, get("KmsKeyId"))
        made.source_image_id, made.source_image_region = source.id, get("SourceRegion")
        made.kms_key_id, made.copy_minutes = get("KmsKeyId"), minutes
        specifications = get("TagSpecifications", [])
        own = source.get_tags() if str(get("CopyImageTags", False)).lower() == "true" else []
        made.add_tags({t["key"]: t["value"] for t in own} | tags_for(specifications, "image"))
        made.ebs_snapshot.add_tags(tags_for(specifications, "snapshot"))
        account.born(made.id)
        backend.amis[made.id] = made
        in_background(account.make_copy, made, source)
        return ActionResult({"ImageId": made.id})

    AmisResponse.copy_image = copy_image


def copied(backend, source: Ami, name: str, description: str | None, encrypted: bool, key: str | None) -> Ami:
    ami_id = random_ami_id()
    words = f"Copied for DestinationAmi {ami_id} from SourceAmi {source.id} for SourceSnapshot {source.ebs_snapshot.id}."
    made = Ami(backend, ami_id, name=name, description=description or source.description, state="pending",
               virtualization_type=source.virtualization_type, architecture=source.architecture,
               root_device_type="ebs", root_device_name=source.root_device_name, hypervisor="xen",
               boot_mode=source.boot_mode, snapshot_description=words)
    finish(made)
    made.bdm_ready = False
    made.image_location = f"{made.owner_id}/{name}"
    made.imds_support, made.tpm_support = source.imds_support, getattr(source, "tpm_support", None)
    made.uefi_data = getattr(source, "uefi_data", None)
    snapshot = made.ebs_snapshot
    snapshot.volume = source.ebs_snapshot.volume
    snapshot.product_codes = made.product_codes = source.product_codes
    snapshot.status, snapshot.listed = "pending", False
    snapshot.encrypted = encrypted or source.ebs_snapshot.encrypted
    snapshot.kms_key_id = keys.of_copy(backend, key) if snapshot.encrypted else None
    del backend.snapshots[snapshot.id]
    return made


def patch_sharing(cloud) -> None:
    def modify_snapshot_attribute(self):
        """moto's knows the short form alone. EC2 takes one kind of change a call."""
        self.error_on_dryrun()
        snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
        if snapshot.owner_id != self.current_account:
            raise error("AuthFailure", f"Not authorized for snapshot:{snapshot.id}")
        change = self._get_param("CreateVolumePermission", {})
        kind = self._get_param("OperationType")
        if kind:
            short = [{"UserId": u} for u in self._get_param("UserIds", [])]
            short += [{"Group": g} for g in self._get_param("GroupNames", [])]
            change = {kind.capitalize(): short}
        if len([k for k in ("Add", "Remove") if change.get(k)]) != 1:
            raise error("InvalidParameterCombination", "Specify either add or remove, but not both")
        for permission in change.get("Add", []):
            check_permission(snapshot, permission)
        permit(snapshot, change)
        return ActionResult({})

    def permit(snapshot, change: dict) -> None:
        for verb, action in (("Add", set.add), ("Remove", set.discard)):
            for permission in change.get(verb, []):
                if "Group" in permission:
                    action(snapshot.create_volume_permission_groups, permission["Group"])
                else:
                    action(snapshot.create_volume_permission_userids, permission["UserId"])

    def check_permission(snapshot, permission: dict) -> None:
        if "UserId" in permission and not ACCOUNT.fullmatch(permission["UserId"]):
            raise error("InvalidUserID.Malformed", f"Invalid user id: \"{permission['UserId']}\"")
        if "Group" in permission and snapshot.encrypted:
            raise error("OperationNotPermitted", f"Encrypted snapshot {snapshot.id} cannot be made public")
        if "Group" in permission and cloud.account(snapshot.owner_id).ways.public_snapshots != "unblocked":
            raise error("OperationNotPermitted", "Block public access for snapshots is enabled")

    def modify_launch_permission(self, ami) -> None:
        account = cloud.account(self.current_account)
        for permission in self._get_param("LaunchPermission", {}).get("Add", []):
            if "UserId" in permission and not ACCOUNT.fullmatch(permission["UserId"]):
                raise error("InvalidAMIAttributeItemValue",
                            f"Invalid attribute item value \"{permission['UserId']}\" for userId item type.")
            if "Group" in permission and ami.ebs_snapshot.encrypted:
                raise error("InvalidParameter", f"Image {ami.id} has encrypted snapshots and cannot be made public")
            if "Group" in permission and account.ways.public_access == "block-new-sharing":
                raise error("OperationNotPermitted", "You can't publicly share this image because block public access "
                            "for AMIs is enabled in this region")

    AmisResponse.check_launch_permission = modify_launch_permission
    ElasticBlockStore.modify_snapshot_attribute = modify_snapshot_attribute


def patch_lifetime(cloud) -> None:
    deregister = AmisResponse.deregister_image

    def own(self) -> Ami:
        self.error_on_dryrun()
        account = cloud.account(self.current_account)
        ami = account.usable_image(self.ec2_backend, self._get_param("ImageId"))
        if ami.owner_id != account.number:
            raise error("AuthFailure", f"Not authorized for image:{ami.id}")
        return ami

    def enable_image_deprecation(self):
        ami = own(self)
        at = self._get_param("DeprecateAt")
        at = at if isinstance(at, datetime.datetime) else datetime.datetime.fromisoformat(str(at).replace("Z", "+00:00"))
        at = at.replace(tzinfo=None)
        at = (at + datetime.timedelta(seconds=30)).replace(second=0, microsecond=0)
        if at < utcnow().replace(tzinfo=None):
            raise error("InvalidParameterValue", "The deprecation date must be in the future")
        ami.deprecation_time = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return ActionResult({"Return": True})

    def enable_image_deregistration_protection(self):
        ami = own(self)
        cooldown = str(self._get_param("WithCooldown", False)).lower() == "true"
        ami.deregistration_protection = "enabled-with-cooldown" if cooldown else "enabled-without-cooldown"
        return ActionResult({"Return": "true"})

    def disable_image_deregistration_protection(self):
        ami = own(self)
        if ami.deregistration_protection == "enabled-with-cooldown":
            ami.protected_until = time.monotonic() + account_cooldown(ami)
            ami.deregistration_protection = "disabled after a cooldown"
        else:
            ami.deregistration_protection = "disabled"
        return ActionResult({"Return": "true"})

    def account_cooldown(ami) -> float:
        return cloud.account(ami.owner_id).delays.cooldown

    def deregister_image(self):
        ami = self.ec2_backend.amis.get(self._get_param("ImageId"))
        said = getattr(ami, "deregistration_protection", "disabled")
        if said.startswith("enabled") or time.monotonic() < getattr(ami, "protected_until", 0):
            raise error("OperationNotPermitted", f"Image {ami.id} is protected from deregistration")
        return deregister(self)

    AmisResponse.enable_image_deprecation = enable_image_deprecation
    AmisResponse.enable_image_deregistration_protection = enable_image_deregistration_protection
    AmisResponse.disable_image_deregistration_protection = disable_image_deregistration_protection
    AmisResponse.deregister_image = deregister_image


def patch_templates() -> None:
    """Versions by their numbers, which a deleted one leaves free; one that is based on another."""

    def number(template, wanted: str) -> int:
        if str(wanted).lower() == "$latest":
            return template.versions[-1].number
        if str(wanted).lower() == "$default":
            return template.default_version_number
        return int(wanted)

    def get_version(self, wanted):
        found = next((v for v in self.versions if v.number == number(self, wanted)), None)
        if found is None:
            raise error("InvalidLaunchTemplateId.VersionNotFound",
                        f"Could not find the specified version {wanted} for the launch template with ID {self.id}.")
        return found

    def create_version(self, data, description):
        made = LaunchTemplateVersion(self, max([self.newest, *(v.number for v in self.versions)]) + 1, data, description)
        self.newest = made.number
        self.versions.append(made)
        return made

    def template_of(response) -> LaunchTemplate:
        name, template_id = response._get_param("LaunchTemplateName"), response._get_param("LaunchTemplateId")
        if name:
            return response.ec2_backend.get_launch_template_by_name(name)
        return response.ec2_backend.get_launch_template(template_id)

    create = LaunchTemplates.create_launch_template_version

    def create_launch_template_version(self):
        template, based_on = template_of(self), self._get_param("SourceVersion")
        inherited = copy.deepcopy(template.get_version(based_on).data) if based_on else {}
        answer = create(self)
        made = template.versions[-1]
        made.data = inherited | {k: v for k, v in made.data.items() if v is not None}
        answer.result["LaunchTemplateVersion"]["LaunchTemplateData"] = made.data
        return answer

    def delete_launch_template_versions(self):
        self.error_on_dryrun()
        template, gone, stay = template_of(self), [], []
        for wanted in self._get_param("Versions", []):
            found = next((v for v in template.versions if v.number == int(wanted)), None)
            told = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "VersionNumber": int(wanted)}
            if found is None:
                stay.append(told | {"ResponseError": {"Code": "launchTemplateVersionDoesNotExist"}})
            elif found.number == template.default_version_number:
                stay.append(told | {"ResponseError": {"Code": "unexpectedError", "Message": "it is the default version"}})
            else:
                template.versions.remove(found)
                gone.append(told)
        return ActionResult({"SuccessfullyDeletedLaunchTemplateVersions": gone,
                             "UnsuccessfullyDeletedLaunchTemplateVersions": stay})

    describe = LaunchTemplateBackend.describe_launch_template_versions

    def describe_versions(self, template_name, template_id, versions, min_version, max_version, max_results):
        """moto's takes numbers for places in a list."""
        if versions or not (min_version or max_version):
            return describe(self, template_name, template_id, versions, min_version, max_version, max_results)
        by_name = self.get_launch_template_by_name
        template = by_name(template_name) if template_name else self.get_launch_template(template_id)
        numbers = range(min_version or 0, (max_version or 10**9) + 1)
        return [(template, version) for version in template.versions if version.number in numbers]

    LaunchTemplateBackend.describe_launch_template_versions = describe_versions
    LaunchTemplate.newest = 0
    LaunchTemplate.get_version = get_version
    LaunchTemplate.create_version = create_version
    LaunchTemplate.default_version = lambda self: self.get_version("$Default")
    LaunchTemplates.create_launch_template_version = create_launch_template_version
    LaunchTemplates.delete_launch_template_versions = delete_launch_template_versions


def patch_parameters(cloud) -> None:
    put = SimpleSystemManagerResponse.put_parameter

    def put_parameter(self):
        """One that holds an image is answered at once, and has its value when that was looked at: an id that
        is no image of the region never becomes its value."""
        account, get = cloud.account(self.current_account), self._get_param
        known = self.ssm_backend._parameters.get(get("Name"), [])
        kind = get("DataType", known[-1].data_type if known else "text")
        if known and get("DataType") and known[-1].data_type != kind:
            raise ValidationException(f"The data type of the parameter {get('Name')} cannot be changed")
        if get("Tags") and get("Overwrite", False):
            raise ValidationException("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, "
                                      "please remove overwrite flag.")
        if kind != IMAGE:
            return put(self)
        if known and not get("Overwrite", False):
            raise ParameterAlreadyExists
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", get("Value")):
            raise ValidationException(f"Invalid image id: {get('Value')}")
        waiting = account.waiting_parameters
        key = (self.region, get("Name"))
        version = max([waiting.get(key, 0), *(p.version for p in known)]) + 1
        waiting[key] = version
        wanted = {name: get(name) for name in ("Name", "Description", "Value", "Tags", "Tier")}
        later(account.delays.parameter, lambda: account.validate_parameter(self.region, wanted, version))
        return ActionResult({"Version": version, "Tier": "Standard"})

    SimpleSystemManagerResponse.put_parameter = put_parameter

