"""EC2's life cycles over moto: what moto leaves out, and a real machine behind every instance.

Owns states and delays (pending, late visibility, late snapshots), the link from images over
snapshots to roots on disk, and the rules EC2 enforces and moto does not. The wire is wire.py's.
"""

import base64
import copy
import ipaddress
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.ec2.models.key_pairs import KeyPairBackend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import random_ami_id
from moto.ssm.models import Parameter, ssm_backends

from machine import Disk, Machine
from network import Network

CANONICAL = "099720109477"
BASE_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260701"
BASE_PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


@dataclass
class Delays:
    """Seconds that EC2 takes; settable over the control interface."""

    visible: float = 0.4  # until a new instance, image or group is known everywhere
    pending: float = 0.5  # until a booting instance is `running`
    image: float = 1.0  # until an image is `available`, the copying of the disk aside
    snapshot: float = 0.3  # until an image's snapshot is listed
    interface: float = 0.5  # that a terminated instance's interface lingers


@dataclass
class Ways:
    """How this cloud differs from a good one; settable over the control interface."""

    given_host_keys: bool = True  # user data's `ssh_keys` is followed, else the machine makes its own
    public_addresses: bool = True  # instances get one
    seen_as: list | None = None  # the addresses that machines see this host come from, if not its own


class Cloud:
    """All machines and disks of the account."""

    def __init__(self, state: Path, base_root: Path, network: Network, region: str):
        self.state, self.network, self.region = state, network, region
        self.delays, self.ways = Delays(), Ways()
        self.disks: dict[str, Disk] = {}  # by snapshot
        self.machines: dict[str, Machine] = {}
        self.lock = threading.RLock()
        self._born: dict[str, float] = {}
        self._install_base(base_root)
        self._open_default_vpc()
        patch(self)

    @property
    def backend(self):
        return ec2_backends[DEFAULT_ACCOUNT_ID][self.region]

    def born(self, thing_id: str) -> None:
        """From now on it takes a while until all of EC2 knows the thing."""
        self._born[thing_id] = time.monotonic()

    def hidden(self, thing_id: str) -> bool:
        born = self._born.get(thing_id)
        return born is not None and time.monotonic() - born < self.delays.visible

    def _install_base(self, root: Path) -> None:
        ami = Ami(self.backend, "ami-0ba5e0ba5e0ba5e00", name=BASE_NAME, description="test base",
                  owner_id=CANONICAL, owner_alias="amazon", public=True, virtualization_type="hvm",
                  architecture="x86_64", hypervisor="xen", root_device_type="ebs",
                  root_device_name="/dev/sda1", boot_mode="uefi-preferred")
        finish(ami)
        self.backend.amis[ami.id] = ami
        self.disks[ami.ebs_snapshot.id] = Disk([root])
        parameter = Parameter(DEFAULT_ACCOUNT_ID, BASE_PARAMETER, ami.id, "String", None, None, None,
                              utcnow(), 1, "aws:ec2:image")
        ssm_backends[DEFAULT_ACCOUNT_ID][self.region]._parameters[BASE_PARAMETER].append(parameter)

    def _open_default_vpc(self) -> None:
        """An account's default VPC routes to the internet; moto's does not."""
        vpc = self.backend.default_vpc.id
        gateway = self.backend.create_internet_gateway()
        self.backend.attach_internet_gateway(gateway.id, vpc)
        main = next(t for t in self.backend.route_tables.values() if t.vpc_id == vpc)
        self.backend.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)

    def private_subnet(self) -> str:
        """Makes a subnet of the default VPC without a route to the internet."""
        backend = self.backend
        vpc = backend.default_vpc.id
        subnet = backend.create_subnet(vpc, "172.31.240.0/24", availability_zone=f"{self.region}a")
        backend.associate_route_table(backend.create_route_table(vpc).id, subnet_id=subnet.id)
        return subnet.id

    def offer(self, instance_type: str, zones: list[str]) -> None:
        """These zones alone offer the type from now on."""
        offerings = INSTANCE_TYPE_OFFERINGS["availability-zone"][self.region]
        offerings[:] = [o for o in offerings if o["InstanceType"] != instance_type]
        offerings += [{"InstanceType": instance_type, "LocationType": "availability-zone", "Location": zone} for zone in zones]

    def disk_of(self, image_id: str) -> Disk:
        ami = self.backend.amis.get(image_id)
        if ami is None:
            raise error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        if ami.state != "available":
            raise error("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
        return self.disks[ami.ebs_snapshot.id]

    def boot(self, instance: Instance) -> None:
        """Gives a new instance its machine."""
        metadata = {"instance-id": instance.id, "ami-id": instance.image_id,
                    "instance-type": instance.instance_type,
                    "placement/availability-zone": instance.placement.zone,
                    "hostname": "ip-" + instance.id[-8:], "local-hostname": "ip-" + instance.id[-8:]}
        key = self.backend.key_pairs.get(instance.key_name)
        if key is not None and key.public_key:
            metadata["public-keys/0/openssh-key"] = key.public_key.strip()
        user_data = base64.b64decode(instance.user_data.as_bytes()) if instance.user_data else b""
        if not self.ways.given_host_keys:
            user_data = without_host_keys(user_data)
        machine = Machine(self.network, self.state / "machines" / instance.id,
                          self.disk_of(instance.image_id).layers, metadata, user_data)
        self.machines[instance.id] = machine
        nic = instance.nics[0]
        nic.private_ip_address = machine.address
        nic.public_ip = machine.address if self.ways.public_addresses else None
        nic.delete_on_termination = True
        self.born(instance.id)
        self.guard()
        self.start(instance)

    def start(self, instance: Instance) -> None:
        set_state(instance, "pending", 0)
        self.machines[instance.id].start(lambda: self.went_down(instance))
        later(self.delays.pending, lambda: instance.state == "pending" and set_state(instance, "running", 16))

    def guard(self) -> None:
        """Lets this host reach the SSH port of those machines whose security groups admit it."""
        here = [ipaddress.ip_address(a) for a in self.ways.seen_as or []] or self.network.addresses()
        for instance in self.backend.all_instances():
            machine = self.machines.get(instance.id)
            if machine:
                groups = [group for nic in instance.nics.values() for group in nic.group_set]
                self.network.admit(machine.address, any(admits(group, here) for group in groups))

    def went_down(self, instance: Instance) -> None:
        """The machine is off: asked for, or by the guest itself."""
        if instance.state == "stopping":
            ORIGINAL["stop"](instance)
        elif instance.state in ("pending", "running"):
            instance.state_reason = StateReason("Client.InstanceInitiatedShutdown: Instance initiated shutdown",
                                                "Client.InstanceInitiatedShutdown")
            if instance.instance_initiated_shutdown_behavior == "terminate":
                self.terminate(instance)
            else:
                ORIGINAL["stop"](instance)

    def stop(self, instance: Instance) -> None:
        set_state(instance, "stopping", 64)
        threading.Thread(target=self.machines[instance.id].power_off, daemon=True).start()

    def terminate(self, instance: Instance) -> None:
        set_state(instance, "shutting-down", 32)
        threading.Thread(target=self._finish_terminating, args=(instance,), daemon=True).start()

    def _finish_terminating(self, instance: Instance) -> None:
        machine = self.machines.pop(instance.id, None)
        if machine:
            machine.discard()
        set_state(instance, "terminated", 48)
        time.sleep(self.delays.interface)
        reason = instance.state_reason
        with self.lock:
            ORIGINAL["terminate"](instance)
        instance.state_reason = reason  # moto's is always the user

    def make_image(self, ami: Ami, machine: Machine) -> None:
        """Copies the disk behind a new image; image and snapshot become what they are meanwhile.

        The snapshot comes to be even where the image goes first, and the machine with it.
        """
        snapshot = ami.ebs_snapshot
        later(self.delays.snapshot, lambda: self._list_snapshot(ami))
        since = time.monotonic()
        self.disks[snapshot.id] = machine.copy_disk(self.state / "disks" / snapshot.id)
        time.sleep(max(0.0, self.delays.image - (time.monotonic() - since), self.delays.snapshot))
        snapshot.status = "completed"
        if ami.state == "pending":
            ami.state = "available"
        if snapshot.listed and snapshot.id not in self.backend.snapshots:
            self.delete_disk(snapshot.id)  # it was deleted while the disk was copied

    def _list_snapshot(self, ami: Ami) -> None:
        self.backend.snapshots[ami.ebs_snapshot.id] = ami.ebs_snapshot
        ami.ebs_snapshot.listed = ami.bdm_ready = True

    def delete_disk(self, snapshot_id: str) -> None:
        disk = self.disks.pop(snapshot_id, None)
        if disk:
            disk.discard()

    def inventory(self) -> dict[str, list[str]]:
        """What the account holds and pays for.

        An instance that is `shutting-down` or `terminated` is left out, with the volumes and
        interfaces that go with it: nobody can stop it from going or hurry it, and it is not billed.
        A security group is held by such an interface and so stays in until that is gone.
        """
        ec2 = self.backend
        own = lambda things: sorted(t.id for t in things if t.owner_id == DEFAULT_ACCOUNT_ID)
        ending = [i for i in ec2.all_instances() if i.state in ("shutting-down", "terminated")]
        going = {i.id for i in ending}
        for instance in ending:
            going |= {n.id for n in instance.nics.values() if n.delete_on_termination}
            going |= {d.volume_id for d in instance.block_device_mapping.values() if d.delete_on_termination}
        stay = lambda things: sorted(set(things) - going)
        return {
            "instances": stay(i.id for i in ec2.all_instances()),
            "images": own(ec2.amis.values()),
            "snapshots": own(ec2.snapshots.values()),
            "volumes": stay(ec2.volumes),
            "security_groups": sorted(g for groups in ec2.groups.values() for g in groups),
            "interfaces": stay(ec2.enis),
            "key_pairs": sorted(ec2.key_pairs),
            "launch_templates": sorted(ec2.launch_templates),
        }

    def expire(self) -> int:
        """Lets the time of every `amibake:expires` tag have passed; returns how many there are.

        Hours later: by then all of EC2 knows what was made.
        """
        self._born.clear()
        dated = [tags for tags in self.backend.tags.values() if tags.get("amibake:expires", "never") != "never"]
        for tags in dated:
            tags["amibake:expires"] = "2020-01-01T00:00:00Z"
        return len(dated)

    def close(self) -> None:
        for machine in list(self.machines.values()):
            machine.discard()
        for snapshot in list(self.disks):
            self.delete_disk(snapshot)
        self.network.close()
        shutil.rmtree(self.state, ignore_errors=True)


ORIGINAL: dict = {}


def error(code: str, message: str) -> EC2ClientError:
    return EC2ClientError(code, message)


def later(seconds: float, action) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def set_state(instance: Instance, name: str, code: int) -> None:
    instance._state = InstanceState(name, code)


def without_host_keys(user_data: bytes) -> bytes:
    head, _, config = user_data.partition(b"\n")
    config = json.loads(config)
    del config["ssh_keys"]
    return head + b"\n" + json.dumps(config).encode()


def admits(group, addresses: list) -> bool:
    """Whether one of the addresses may open a connection to port 22."""
    for rule in group.ingress_rules:
        cidr = rule.ip_range.get("CidrIp")
        ssh = rule.ip_protocol == "-1" or (rule.ip_protocol == "tcp" and int(rule.from_port) <= 22 <= int(rule.to_port))
        if ssh and cidr and any(address in ipaddress.ip_network(cidr, strict=False) for address in addresses):
            return True
    return False


def finish(ami: Ami) -> None:
    """Fields that EC2 has and moto's image lacks."""
    ami.ena_support, ami.imds_support, ami.bdm_ready = True, "v2.0", True
    ami.sriov_net_support = "simple"


def check_name(backend, name: str) -> None:
    for ami in backend.amis.values():
        if ami.name == name and ami.owner_id == DEFAULT_ACCOUNT_ID:
            raise error("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ami.id}")


def check_group(cloud: Cloud, backend, group_id: str) -> None:
    """moto would make a group with an id that it does not know."""
    if backend.get_security_group_from_id(group_id) is None or cloud.hidden(group_id):
        raise error("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")


def check_zone(backend, instance_type: str, subnet_id: str) -> None:
    zone = backend.get_subnet(subnet_id).availability_zone
    offerings = backend.describe_instance_type_offerings("availability-zone", {"instance-type": [instance_type]})
    zones = sorted(o["Location"] for o in offerings)
    if zone not in zones:
        raise error("Unsupported", f"Your requested instance type ({instance_type}) is not supported in your requested "
                    f"Availability Zone ({zone}). Please retry your request by not specifying an Availability Zone or "
                    f"choosing {', '.join(zones)}.")


def tags_for(specifications: list, kind: str) -> dict[str, str]:
    chosen = [s for s in specifications if s["ResourceType"] == kind]
    return {tag["Key"]: tag["Value"] for s in chosen for tag in s["Tags"]}


def fill_from_image(mapping: dict, ami: Ami) -> None:
    """A mapping of a device that the image maps takes from there what it does not state."""
    disk = mapping.get("Ebs") or {}
    if mapping["DeviceName"] == ami.root_device_name:
        if not disk.get("SnapshotId"):
            disk["SnapshotId"] = ami.ebs_snapshot.id
        if not disk.get("VolumeSize"):
            disk["VolumeSize"] = 15
    elif not (disk.get("SnapshotId") or disk.get("VolumeSize")):
        raise error("MissingParameter", "The request must contain the parameter size or snapshotId")


def patch(cloud: Cloud) -> None:
    """Puts EC2's behaviour over moto's."""
    patch_instances(cloud)
    patch_images(cloud)
    patch_rules(cloud)


def patch_instances(cloud: Cloud) -> None:
    ORIGINAL.update(stop=Instance.stop, terminate=Instance.terminate, run=InstanceBackend.run_instances,
                    describe=InstanceBackend.describe_instances,
                    by_id=InstanceBackend.get_reservations_by_instance_ids,
                    many=InstanceBackend.get_multi_instances_by_id)

    def run_instances(self, image_id, count, user_data, security_group_names, **kwargs):
        cloud.disk_of(image_id)
        for mapping in kwargs.get("block_device_mappings") or []:
            fill_from_image(mapping, self.amis[image_id])
        interface_tags = (kwargs.get("tags") or {}).get("network-interface", {})
        with cloud.lock:  # no group is deleted between the look at it and its use
            for nic in kwargs.get("nics") or []:
                if nic.get("SubnetId"):
                    check_zone(self, kwargs["instance_type"], nic["SubnetId"])
                for group_id in nic.get("Groups") or []:
                    check_group(cloud, self, group_id)
            reservation = ORIGINAL["run"](self, image_id, count, user_data, security_group_names, **kwargs)
        for instance in reservation.instances:
            instance.nics[0].add_tags(interface_tags)
            cloud.boot(instance)
        return reservation

    def hidden(instance) -> bool:
        ended = instance.state in ("shutting-down", "terminated")
        return (instance.id not in cloud.machines and not ended) or cloud.hidden(instance.id)

    def describe_instances(self, filters=None):
        return visible(ORIGINAL["describe"](self, filters))

    def visible(reservations):
        kept = []
        for reservation in reservations:
            reservation = copy.copy(reservation)
            reservation.instances = [i for i in reservation.instances if not hidden(i)]
            if reservation.instances:
                kept.append(reservation)
        return kept

    def by_id(self, instance_ids, filters=None):
        for instance in self.all_instances():
            if instance.id in instance_ids and hidden(instance):
                raise error("InvalidInstanceID.NotFound", f"The instance ID '{instance.id}' does not exist")
        return ORIGINAL["by_id"](self, instance_ids, filters)

    def many(self, instance_ids, filters=None):
        """The instances that a changing call names: one that is not known fails them all."""
        for instance in ORIGINAL["many"](self, instance_ids):
            if hidden(instance):
                raise error("InvalidInstanceID.NotFound", f"The instance ID '{instance.id}' does not exist")
        return ORIGINAL["many"](self, instance_ids, filters)

    def stop(self):
        previous = copy.copy(self._state)
        if self.lifecycle == "spot":
            raise error("UnsupportedOperation", "You can't stop the Spot Instance: it is a one-time request")
        if self.state in ("terminated", "shutting-down"):
            raise error("IncorrectInstanceState", f"This instance '{self.id}' is not in a state from which it can be stopped.")
        if self.state in ("pending", "running"):
            cloud.stop(self)
        return previous

    def start(self):
        previous = copy.copy(self._state)
        cloud.start(self)
        return previous

    def terminate(self):
        previous = copy.copy(self._state)
        if self.state not in ("terminated", "shutting-down"):
            self.state_reason = StateReason("Client.UserInitiatedShutdown: User initiated shutdown",
                                            "Client.UserInitiatedShutdown")
            cloud.terminate(self)
        return previous

    InstanceBackend.run_instances = run_instances
    InstanceBackend.describe_instances = describe_instances
    InstanceBackend.get_reservations_by_instance_ids = by_id
    InstanceBackend.get_multi_instances_by_id = many
    Instance.stop, Instance.start, Instance.terminate = stop, start, terminate
    # Judged in run_instances, where the image is known.
    InstanceResponse._validate_block_device_mapping = staticmethod(lambda mapping: None)


def patch_images(cloud: Cloud) -> None:
    def create_image(self, instance_id, name, description, tag_specifications):
        instance = self.get_instance(instance_id)
        check_name(self, name)
        if instance.state not in ("running", "stopped", "stopping"):
            raise error("IncorrectState", f"Instance '{instance_id}' is not in a state from which it can be imaged")
        ami = Ami(self, random_ami_id(), instance=instance, name=name, description=description,
                  state="pending", root_device_type="ebs", hypervisor="xen", boot_mode="uefi-preferred",
                  snapshot_description=f"Created by CreateImage({instance_id})")
        finish(ami)
        ami.bdm_ready = False
        ami.image_location = f"{ami.owner_id}/{name}"
        ami.add_tags(tags_for(tag_specifications, "image"))
        ami.ebs_snapshot.add_tags(tags_for(tag_specifications, "snapshot"))
        ami.ebs_snapshot.status = "pending"
        ami.ebs_snapshot.encrypted = True
        ami.ebs_snapshot.listed = False
        del self.snapshots[ami.ebs_snapshot.id]
        cloud.born(ami.id)
        self.amis[ami.id] = ami
        machine = cloud.machines[instance.id]
        threading.Thread(target=cloud.make_image, args=(ami, machine), daemon=True).start()
        return ami

    describe_all, deregister = AmiBackend.describe_images, AmiBackend.deregister_image

    def describe_images(self, *args, **kwargs):
        return [ami for ami in describe_all(self, *args, **kwargs) if not cloud.hidden(ami.id)]

    def deregister_image(self, ami_id):
        if cloud.hidden(ami_id):
            raise error("InvalidAMIID.NotFound", f"The image id '[{ami_id}]' does not exist")
        return deregister(self, ami_id)

    def register_image(self):
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
        del backend.snapshots[ami.ebs_snapshot.id]
        ami.ebs_snapshot = snapshot
        ami.add_tags(tags_for(get("TagSpecifications", []), "image"))
        cloud.born(ami.id)
        backend.amis[ami.id] = ami
        return ActionResult({"ImageId": ami.id})

    def mappings(self):
        ebs = {"VolumeSize": 15, "DeleteOnTermination": True, "VolumeType": "gp3", "Encrypted": self.ebs_snapshot.encrypted}
        if self.bdm_ready:
            ebs["SnapshotId"] = self.ebs_snapshot.id
        return [{"DeviceName": self.root_device_name, "Ebs": ebs}]

    filter_value = Ami.get_filter_value

    def get_filter_value(self, filter_name, method_name=None):
        if filter_name == "block-device-mapping.snapshot-id":
            return self.ebs_snapshot.id if self.bdm_ready else None
        return filter_value(self, filter_name, method_name)

    AmiBackend.create_image = create_image
    Ami.get_filter_value = get_filter_value
    AmiBackend.describe_images = describe_images
    AmiBackend.deregister_image = deregister_image
    AmisResponse.register_image = register_image
    Ami.block_device_mappings = property(mappings)


def patch_rules(cloud: Cloud) -> None:
    delete_group, delete_snapshot = SecurityGroupBackend.delete_security_group, EBSBackend.delete_snapshot

    import_key_pair = KeyPairBackend.import_key_pair

    def import_key(self, key_name, public_key_material, tags):
        key = import_key_pair(self, key_name, public_key_material, tags)
        key.material_public = public_key_material  # instances are given it
        return key

    create_group, describe_groups = SecurityGroupBackend.create_security_group, SecurityGroupBackend.describe_security_groups
    authorize = SecurityGroupBackend.authorize_security_group_ingress

    def create_security_group(self, name, description, *args, **kwargs):
        group = create_group(self, name, description, *args, **kwargs)
        cloud.born(group.id)
        return group

    def describe_security_groups(self, *args, **kwargs):
        return [g for g in describe_groups(self, *args, **kwargs) if not cloud.hidden(g.id)]

    def authorize_security_group_ingress(self, group_name_or_id, *args, **kwargs):
        check_group(cloud, self, group_name_or_id)
        answer = authorize(self, group_name_or_id, *args, **kwargs)
        cloud.guard()
        return answer

    def delete_security_group(self, name=None, group_id=None):
        with cloud.lock:
            check_group(cloud, self, group_id)
            used = (g.id for eni in list(self.enis.values()) for g in eni.group_set)
            if group_id in used:
                raise error("DependencyViolation", f"resource {group_id} has a dependent object")
            return delete_group(self, name, group_id)

    def delete(self, snapshot_id):
        for ami in self.amis.values():
            if ami.ebs_snapshot.id == snapshot_id:
                raise error("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {ami.id}")
        if snapshot_id in self.snapshots:
            self.snapshots[snapshot_id].from_ami = None  # asked above, for registered images too
        snapshot = delete_snapshot(self, snapshot_id)
        cloud.delete_disk(snapshot_id)
        return snapshot

    def get_console_output(self):
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        machine = cloud.machines.get(instance.id)
        text = machine.console_text() if machine else b""
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(),
                             "Output": base64.b64encode(text).decode()})

    KeyPairBackend.import_key_pair = import_key
    SecurityGroupBackend.create_security_group = create_security_group
    SecurityGroupBackend.describe_security_groups = describe_security_groups
    SecurityGroupBackend.authorize_security_group_ingress = authorize_security_group_ingress
    SecurityGroupBackend.delete_security_group = delete_security_group
    EBSBackend.delete_snapshot = delete
    General.get_console_output = get_console_output
