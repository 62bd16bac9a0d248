"""EC2's rules for instances over moto's: states, late visibility, and a machine behind each."""

import base64
import copy

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import InstanceTypeOfferingBackend
from moto.ec2.models.instances import Instance, InstanceBackend, StateReason
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse

from account import ORIGINAL
from errors import error, not_found
from rules import check_group


def patch(cloud) -> None:
    ORIGINAL.update(stop=Instance.stop, terminate=Instance.terminate)
    patch_launching(cloud)
    patch_looking(cloud)
    patch_ending(cloud)


def patch_launching(cloud) -> None:
    run, offerings = InstanceBackend.run_instances, InstanceTypeOfferingBackend.describe_instance_type_offerings

    def run_instances(self, image_id, count, user_data, security_group_names, **kwargs):
        account = cloud.account(self.account_id)
        image = account.usable_image(self, image_id)
        for mapping in kwargs.get("block_device_mappings") or []:
            fill_from_image(mapping, image)
        interface_tags = (kwargs.get("tags") or {}).get("network-interface", {})
        for nic in kwargs.get("nics") or []:
            if nic.get("SubnetId"):
                check_zone(self, kwargs["instance_type"], nic["SubnetId"])
            for group_id in nic.get("Groups") or []:
                check_group(account, self, group_id)
        reservation = run(self, image_id, count, user_data, security_group_names, **kwargs)
        for instance in reservation.instances:
            instance.nics[0].add_tags(interface_tags)
            account.boot(instance)
        return reservation

    def describe_instance_type_offerings(self, location_type=None, filters=None):
        """moto's, but for the types of which a test said where they are offered."""
        offers = cloud.account(self.account_id).offers
        found = offerings(self, location_type, filters)
        if location_type != "availability-zone":
            return found
        said = {kind: zones for (region, kind), zones in offers.items() if region == self.region_name}
        kept = [o for o in found if o["InstanceType"] not in said]
        told = [{"InstanceType": kind, "LocationType": location_type, "Location": zone}
                for kind, zones in said.items() for zone in zones]
        return kept + [o for o in told if self.matches_filters(o, filters or {}, location_type)]

    InstanceBackend.run_instances = run_instances
    InstanceTypeOfferingBackend.describe_instance_type_offerings = describe_instance_type_offerings
    # Judged in run_instances, where the image is known.
    InstanceResponse._validate_block_device_mapping = staticmethod(lambda mapping: None)


def patch_looking(cloud) -> None:
    describe, find = InstanceBackend.describe_instances, InstanceBackend.get_reservations_by_instance_ids
    many_by_id = InstanceBackend.get_multi_instances_by_id

    def hidden(instance) -> bool:
        account = cloud.account(instance.ec2_backend.account_id)
        ended = instance.state in ("shutting-down", "terminated")
        return (instance.id not in account.machines and not ended) or account.hidden(instance.id)

    def insist(instances) -> None:
        for instance in instances:
            if hidden(instance):
                raise not_found(instance.id)

    def describe_instances(self, filters=None):
        kept = []
        for reservation in describe(self, filters):
            reservation = copy.copy(reservation)
            reservation.instances = [i for i in reservation.instances if not hidden(i)]
            if reservation.instances:
                kept.append(reservation)
        return kept

    def by_id(self, instance_ids, filters=None):
        insist(i for i in self.all_instances() if i.id in instance_ids)
        return find(self, instance_ids, filters)

    def many(self, instance_ids, filters=None):
        """The instances that a changing call names: one that is not known fails them all."""
        insist(many_by_id(self, instance_ids))
        return many_by_id(self, instance_ids)

    def answer(self):
        """Without moto's own pages: pages.py's are for all calls."""
        self.error_on_dryrun()
        filters, ids = self._filters_from_querystring(), self._get_param("InstanceIds", [])
        ec2 = self.ec2_backend
        found = ec2.get_reservations_by_instance_ids(ids, filters=filters) if ids else ec2.describe_instances(filters=filters)
        return ActionResult({"Reservations": found})

    def get_console_output(self):
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        machine = cloud.account(self.current_account).machines.get(instance.id)
        text = machine.console_text() if machine else b""
        text = text or cloud.account(self.current_account).ways.console.encode()
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(),
                             "Output": base64.b64encode(text).decode()})

    InstanceBackend.describe_instances = describe_instances
    InstanceBackend.get_reservations_by_instance_ids = by_id
    InstanceBackend.get_multi_instances_by_id = many
    InstanceResponse.describe_instances = answer
    General.get_console_output = get_console_output


def patch_ending(cloud) -> None:
    def account_of(instance):
        return cloud.account(instance.ec2_backend.account_id)

    def stop(self):
        previous = copy.copy(self._state)
        if self.lifecycle == "spot":
            raise error("UnsupportedOperation", "You can't stop the Spot Instance: it is a one-time request")
        if self.state in ("terminated", "shutting-down"):
            raise error("IncorrectInstanceState", f"This instance '{self.id}' is not in a state from which it can be stopped.")
        if self.state in ("pending", "running"):
            account_of(self).stop(self)
        return previous

    def start(self):
        previous = copy.copy(self._state)
        account_of(self).start(self)
        return previous

    def terminate(self):
        previous = copy.copy(self._state)
        if self.state not in ("terminated", "shutting-down"):
            self.state_reason = StateReason("Client.UserInitiatedShutdown: User initiated shutdown",
                                            "Client.UserInitiatedShutdown")
            account_of(self).terminate(self)
        return previous

    Instance.stop, Instance.start, Instance.terminate = stop, start, terminate


def check_zone(ec2, instance_type: str, subnet_id: str) -> None:
    zone = ec2.get_subnet(subnet_id).availability_zone
    offerings = ec2.describe_instance_type_offerings("availability-zone", {"instance-type": [instance_type]})
    zones = sorted(o["Location"] for o in offerings)
    if zone not in zones:
        raise error("Unsupported", f"Your requested instance type ({instance_type}) is not supported in your requested "
                    f"Availability Zone ({zone}). Please retry your request by not specifying an Availability Zone or "
                    f"choosing {', '.join(zones)}.")


def fill_from_image(mapping: dict, ami) -> None:
    """A mapping of a device that the image maps takes from there what it does not state."""
    disk = mapping.get("Ebs") or {}
    if mapping["DeviceName"] == ami.root_device_name:
        if not disk.get("SnapshotId"):
            disk["SnapshotId"] = ami.ebs_snapshot.id
        if not disk.get("VolumeSize"):
            disk["VolumeSize"] = 15
    elif not (disk.get("SnapshotId") or disk.get("VolumeSize")):
        raise error("MissingParameter", "The request must contain the parameter size or snapshotId")
