"""One account of the test EC2: its machines and disks, how it differs from a good one, and what it holds.

Owns the delays, the late visibility and the ends of instances and images, in all regions of the
account; EC2's rules are put over moto's by instances.py, images.py and rules.py.
"""

import base64
import hashlib
import ipaddress
import json
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.utils import random_ami_id
from moto.ssm.models import Parameter, ssm_backends

from errors import image_gone, image_not_ready, no_image

CANONICAL = "099720109477"
BASE_IMAGE = "ami-0ba5e0ba5e0ba5e00"
BASE_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260701"
BASE_PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


BEGAN = time.time()


@dataclass
class Delays:
    """Seconds that EC2 takes; settable over the control interface."""

    visible: float = 0.4  # until a new instance, image or group is known everywhere
    pending: float = 0.5  # until a booting instance is `running`
    image: float = 1.0  # until an image is `available`, the copying of the disk aside
    snapshot: float = 0.3  # until an image's snapshot is listed
    interface: float = 0.5  # that a terminated instance's interface lingers
    off: float = 0.1  # that a guest without a machine takes to power off
    parameter: float = 0.3  # until a parameter has an image that was put into it
    cooldown: float = 86400.0  # that an image stays protected whose protection had one


@dataclass
class Ways:
    """How this account differs from a good one; settable over the control interface."""

    given_host_keys: bool = True  # user data's `ssh_keys` is followed, else the machine makes its own
    public_addresses: bool = True  # instances get one
    seen_as: list | None = None  # the addresses that machines see this host come from, if not its own
    throttle_share: float = 0.0  # of all calls, by chance
    seed: int = 0  # of that chance
    page: int = 0  # items on a page at most; 0 leaves it to the caller
    empty_pages: bool = False  # a first page has a token for more and nothing on it
    denied_regions: list = field(default_factory=list)  # where a policy of the organisation denies every call
    regions: dict = field(default_factory=lambda: {  # all there are, and whether they are enabled
        "us-east-1": "opt-in-not-required", "eu-central-1": "opt-in-not-required", "eu-west-1": "opt-in-not-required",
        "me-south-1": "opted-in", "ap-east-1": "not-opted-in"})
    product_codes: list = field(default_factory=list)  # of the base image
    uefi_data: str | None = None  # UEFI variables of every machine, and so of an image made of one
    dies: dict | None = None  # what ends every new instance: {after (seconds), code, message, to}
    images_fail: dict | None = None  # what becomes of every new image: {code, message}
    clock_pace: float = 1.0  # how much faster than here it is that EC2's clock goes
    clock_skew: float = 0.0  # seconds that it is ahead of this host's
    policy: dict | None = None  # the IAM policy of whoever calls; None allows all
    demanded_tags: list = field(default_factory=list)  # keys that the organisation demands of all that is made
    demanded_of: list = field(default_factory=list)  # kinds of things that it demands them of; none is all
    quotas: dict = field(default_factory=dict)  # vCPUs by quota, where they are not 32
    allowed_images: str = "disabled"  # Allowed AMIs: enabled, audit-mode, disabled
    public_access: str = "block-new-sharing"  # of images
    public_snapshots: str = "block-new-sharing"
    default_key: str = "alias/aws/ebs"
    encrypts_by_default: bool = False
    console: str = ""  # what every machine that is switched off has on its console
    ended_token: str | None = None  # a session whose credentials have ended
    external_id: str | None = None  # that roles are assumed with
    mfa_code: str | None = None  # of every device, where roles are assumed with one
    identity_token: str = "of-the-runner"  # that roles are assumed with by who has no keys
    sso_token: str = "of-ann"  # a session of IAM Identity Center
    copies_fail: dict | None = None  # what becomes of every new copy: {code, message}
    copies_at_once: int = 100  # pending copies in a region


class Account:
    """All machines and disks of one account."""

    def __init__(self, number: str, host, state: Path, region: str):
        self.number, self.host, self.state, self.region = number, host, state, region
        self.delays, self.ways = Delays(), Ways()
        self.disks: dict = {}  # by snapshot
        self.machines: dict = {}
        self.offers: dict[tuple[str, str], list[str]] = {}  # zones by region and type, where a test said so
        self.pages: dict[str, tuple[str, list]] = {}  # what each token stands for
        self.waiting_parameters: dict[tuple[str, str], int] = {}  # the newest version that was asked for
        self.most_copies = 0  # that were pending at a time, since a test asked last
        self.demanded: set[str] = set()  # what leave was asked for since there is a policy
        self.lock = threading.RLock()  # one call at a time: moto knows no other way
        self._born: dict[str, float] = {}
        self._ready: set[str] = set()

    def backend(self, region: str):
        """EC2 of one region, with what every account finds there."""
        with self.lock:
            ec2 = ec2_backends[self.number][region]
            if region not in self._ready:
                self._ready.add(region)
                self._born.pop(ec2.get_security_group_from_name("default", ec2.default_vpc.id).id)  # it was always there
                self._install_base(ec2)
                self._open_default_vpc(ec2)
            return ec2

    def backends(self) -> list:
        """EC2 of every region that was used."""
        return [self.backend(region) for region in sorted({self.region, *self._ready})]

    def all_instances(self) -> list[Instance]:
        return [i for ec2 in self.backends() for i in ec2.all_instances()]

    def instance(self, instance_id: str) -> Instance:
        return next(i for i in self.all_instances() if i.id == instance_id)

    def now(self) -> float:
        """What EC2's clock says."""
        return BEGAN + (time.time() - BEGAN) * self.ways.clock_pace + self.ways.clock_skew

    def born(self, thing_id: str) -> None:
        """From now on it takes a while until all of EC2 knows the thing."""
        self._born[thing_id] = time.monotonic()

    def known(self, thing_id: str) -> None:
        """All of EC2 knows the thing from now on."""
        self._born.pop(thing_id, None)

    def hidden(self, thing_id: str) -> bool:
        born = self._born.get(thing_id)
        return born is not None and time.monotonic() - born < self.delays.visible

    def _install_base(self, ec2) -> None:
        ami = Ami(ec2, base_image(ec2.region_name, self.region), name=BASE_NAME, description="test base",
                  owner_id=CANONICAL, owner_alias="amazon", public=True, virtualization_type="hvm",
                  architecture="x86_64", hypervisor="xen", root_device_type="ebs",
                  root_device_name="/dev/sda1", boot_mode="uefi-preferred")
        finish(ami)
        ami.product_codes = self._product_codes()
        ec2.amis[ami.id] = ami
        self.disks[ami.ebs_snapshot.id] = self.host.base_disk
        parameter = Parameter(self.number, BASE_PARAMETER, ami.id, "String", None, None, None,
                              utcnow(), 1, "aws:ec2:image")
        ssm_backends[self.number][ec2.region_name]._parameters[BASE_PARAMETER].append(parameter)

    def set_product_codes(self) -> None:
        """Gives the base image the codes that a test wants: what is made from it has them too."""
        for ec2 in self.backends():
            base = ec2.amis.get(base_image(ec2.region_name, self.region))
            base.product_codes = self._product_codes()

    def _product_codes(self) -> list[dict[str, str]]:
        return [{"ProductCodeId": code, "ProductCodeType": "marketplace"} for code in self.ways.product_codes]

    @staticmethod
    def _open_default_vpc(ec2) -> None:
        """An account's default VPC routes to the internet; moto's does not."""
        vpc = ec2.default_vpc.id
        gateway = ec2.create_internet_gateway()
        ec2.attach_internet_gateway(gateway.id, vpc)
        main = next(t for t in ec2.route_tables.values() if t.vpc_id == vpc)
        ec2.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)

    def private_subnet(self, region: str) -> str:
        """Makes a subnet of the default VPC without a route to the internet."""
        ec2 = self.backend(region)
        vpc = ec2.default_vpc.id
        subnet = ec2.create_subnet(vpc, "172.31.240.0/24", availability_zone=f"{region}a")
        ec2.associate_route_table(ec2.create_route_table(vpc).id, subnet_id=subnet.id)
        return subnet.id

    def usable_image(self, ec2, image_id: str) -> Ami:
        """The image, if a call that needs a finished one may have it."""
        ami = ec2.amis.get(image_id)
        if image_id in ec2.deleted_amis:
            raise image_gone(image_id)
        if ami is None or self.hidden(image_id):
            raise no_image(image_id)
        if ami.state != "available":
            raise image_not_ready(image_id)
        return ami

    def boot(self, instance: Instance) -> None:
        """Gives a new instance its machine."""
        ec2 = instance.ec2_backend
        metadata = {"instance-id": instance.id, "ami-id": instance.image_id,
                    "instance-type": instance.instance_type,
                    "placement/availability-zone": instance.placement.zone,
                    "hostname": "ip-" + instance.id[-8:], "local-hostname": "ip-" + instance.id[-8:]}
        key = ec2.key_pairs.get(instance.key_name)
        if key is not None and key.public_key:
            metadata["public-keys/0/openssh-key"] = key.public_key.strip()
        user_data = base64.b64decode(instance.user_data.as_bytes()) if instance.user_data else b""
        if not self.ways.given_host_keys:
            user_data = without_host_keys(user_data)
        disk = self.disks[ec2.amis[instance.image_id].ebs_snapshot.id]
        machine = self.host.machine(self.state / "machines" / instance.id, disk, metadata, user_data, self.delays)
        self.machines[instance.id] = machine
        nic = instance.nics[0]
        nic.private_ip_address = machine.address
        nic.public_ip = machine.address if self.ways.public_addresses else None
        nic.delete_on_termination = True
        self.born(instance.id)
        self.guard()
        self.start(instance)
        if self.ways.dies:
            self.end(instance, **self.ways.dies)

    def start(self, instance: Instance) -> None:
        set_state(instance, "pending", 0)
        self.machines[instance.id].start(lambda: self.went_down(instance))
        later(self.delays.pending, lambda: instance.state == "pending" and set_state(instance, "running", 16))

    def guard(self) -> None:
        """Lets this host reach the SSH port of those machines whose security groups admit it."""
        network = self.host.network
        here = [ipaddress.ip_address(a) for a in self.ways.seen_as or network.addresses()]
        for instance in self.all_instances():
            machine = self.machines.get(instance.id)
            if machine:
                groups = [group for nic in instance.nics.values() for group in nic.group_set]
                network.admit(machine.address, any(admits(group, here) for group in groups))

    def went_down(self, instance: Instance) -> None:
        """The machine is off: asked for, or by the guest itself."""
        with self.lock:
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
        in_background(self.machines[instance.id].power_off)

    def end(self, instance: Instance, code: str, message: str = "", after: float = 0.0, to: str = "terminated") -> None:
        """EC2 itself ends an instance, whatever the guest wants."""
        def act():
            with self.lock:
                if instance.state not in ("pending", "running"):
                    return
                instance.state_reason = StateReason(f"{code}: {message}", code)
                if to == "terminated":
                    self.terminate(instance)
                else:
                    self.stop(instance)

        later(after, act)

    def terminate(self, instance: Instance) -> None:
        set_state(instance, "shutting-down", 32)
        in_background(self._finish_terminating, instance)

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

    def make_image(self, ami: Ami, machine) -> None:
        """Copies the disk behind a new image; image and snapshot become what they are meanwhile.

        The snapshot comes to be even where the image goes first, and the machine with it.
        """
        snapshot = ami.ebs_snapshot
        later(self.delays.snapshot, lambda: self._list_snapshot(ami))
        since = time.monotonic()
        self.disks[snapshot.id] = machine.copy_disk(self.state / "disks" / snapshot.id)
        time.sleep(max(0.0, self.delays.image - (time.monotonic() - since), self.delays.snapshot))
        with self.lock:
            snapshot.status = "completed"
            if ami.state == "pending":
                ami.state = "available"
            fails = self.ways.images_fail
            if fails:
                ami.state, ami.state_reason = "failed", StateReason(fails["message"], fails["code"])
            if snapshot.listed and snapshot.id not in ami.ec2_backend.snapshots:
                self.delete_disk(snapshot.id)  # it was deleted while the disk was copied

    def image_of_files(self, region: str, name: str, files: dict[str, str]) -> str:
        """A finished image of the account's own, where there are machines: the base image's disk with these files over it. `-> x` is a link to x."""
        ami = Ami(self.backend(region), random_ami_id(), name=name, description="", virtualization_type="hvm", architecture="x86_64",
                  hypervisor="xen", root_device_type="ebs", root_device_name="/dev/sda1", boot_mode="uefi-preferred")
        finish(ami)
        folder = self.state / "disks" / ami.ebs_snapshot.id
        for path, text in files.items():
            place = folder / "layer" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                place.symlink_to(text.removeprefix("-> "))
            else:
                place.write_text(text)
                place.chmod(0o755)
        self.disks[ami.ebs_snapshot.id] = self.host.layered([folder / "layer", *self.host.base_disk.layers], folder)
        ami.ec2_backend.amis[ami.id] = ami
        return ami.id

    def make_copy(self, copy: Ami, source: Ami) -> None:
        """Copies what is behind an image in another region: the disk is the same one."""
        snapshot = copy.ebs_snapshot
        later(self.delays.snapshot, lambda: self._list_snapshot(copy))
        time.sleep(max(self.delays.image, self.delays.snapshot))
        with self.lock:
            self.disks[snapshot.id] = self.disks[source.ebs_snapshot.id]
            snapshot.status = "completed"
            if copy.state == "pending":
                copy.state = "available"
            fails = self.ways.copies_fail
            if fails:
                copy.state, copy.state_reason = "failed", StateReason(fails["message"], fails["code"])

    def pending_copies(self) -> list[Ami]:
        images = [ami for ec2 in self.backends() for ami in ec2.amis.values()]
        return [ami for ami in images if ami.state == "pending" and getattr(ami, "source_image_id", None)]

    def validate_parameter(self, region: str, wanted: dict, version: int) -> None:
        """A parameter has the image that was put into it, if that is one."""
        with self.lock:
            ami = self.backend(region).amis.get(wanted["Value"])
            if ami is None or ami.state != "available":
                return
            known = ssm_backends[self.number][region]._parameters[wanted["Name"]]
            known.append(Parameter(self.number, wanted["Name"], ami.id, "String", wanted["Description"], None, None,
                                   utcnow(), version, "aws:ec2:image"))
            if wanted["Tags"]:
                given = {tag["Key"]: tag["Value"] for tag in wanted["Tags"]}
                ssm_backends[self.number][region].add_tags_to_resource("Parameter", wanted["Name"], given)

    def _list_snapshot(self, ami: Ami) -> None:
        with self.lock:
            ami.ec2_backend.snapshots[ami.ebs_snapshot.id] = ami.ebs_snapshot
            ami.ebs_snapshot.listed = ami.bdm_ready = True

    def delete_disk(self, snapshot_id: str) -> None:
        disk = self.disks.pop(snapshot_id, None)
        if disk and disk not in self.disks.values():  # a copy in another region has the same
            disk.discard()

    def inventory(self, region: str | None) -> dict[str, list[str]]:
        """What the account holds and pays for, in one region or in all."""
        regions = [self.backend(region)] if region else self.backends()
        held = [self._held(ec2) for ec2 in regions]
        return {kind: sorted(i for one in held for i in one[kind]) for kind in held[0]}

    def _held(self, ec2) -> dict[str, list[str]]:
        """What is there in a region.

        An instance that is `shutting-down` or `terminated` is left out, with the volumes and
        interfaces that go with it: nobody can stop it from going or hurry it, and it is not billed.
        A security group is held by such an interface and so stays in until that is gone. The
        default group of a region comes with its first use, and so is in where the account lives only.
        """
        own = lambda things: [t.id for t in things if t.owner_id == self.number]
        ending = [i for i in ec2.all_instances() if i.state in ("shutting-down", "terminated")]
        going = {i.id for i in ending}
        for instance in ending:
            going |= {n.id for n in instance.nics.values() if n.delete_on_termination}
            going |= {d.volume_id for d in instance.block_device_mapping.values() if d.delete_on_termination}
        groups = [g for of_vpc in ec2.groups.values() for g in of_vpc.values()]
        stay = lambda things: list(set(things) - going)
        return {
            "instances": stay(i.id for i in ec2.all_instances()),
            "images": own(ec2.amis.values()),
            "snapshots": own(ec2.snapshots.values()),
            "volumes": stay(ec2.volumes),
            "security_groups": [g.id for g in groups if g.name != "default" or ec2.region_name == self.region],
            "interfaces": stay(ec2.enis),
            "key_pairs": list(ec2.key_pairs),
            "launch_templates": list(ec2.launch_templates),
            "template_versions": [f"{t.id}:{v.number}:{v.image_id}:{t.is_default(v)}"
                                  for t in ec2.launch_templates.values() for v in t.versions],
            "parameters": [f"{ec2.region_name}:{name}={versions[-1].value}"
                           for name, versions in ssm_backends[self.number][ec2.region_name]._parameters.items()
                           if versions and name != BASE_PARAMETER],
        }

    def expire(self) -> int:
        """Lets the time of every `amibake:expires` tag have passed; returns how many there are.

        Hours later: by then all of EC2 knows what was made.
        """
        self._born.clear()
        all_tags = [tags for ec2 in self.backends() for tags in ec2.tags.values()]
        dated = [tags for tags in all_tags if tags.get("amibake:expires", "never") != "never"]
        for tags in dated:
            tags["amibake:expires"] = "2020-01-01T00:00:00Z"
        return len(dated)

    def close(self) -> None:
        for machine in list(self.machines.values()):
            machine.discard()
        for snapshot in list(self.disks):
            self.delete_disk(snapshot)
        shutil.rmtree(self.state, ignore_errors=True)


ORIGINAL: dict = {}  # moto's own ends of instances, which instances.py replaces


def base_image(region: str, home: str) -> str:
    """The id of the base image: another one in each region."""
    return BASE_IMAGE if region == home else "ami-0" + hashlib.sha256(region.encode()).hexdigest()[:16]


def later(seconds: float, action) -> None:
    if seconds <= 0:
        action()
        return
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def in_background(action, *arguments) -> None:
    threading.Thread(target=action, args=arguments, daemon=True).start()


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
    ami.image_allowed = True
    ami.deprecation_time, ami.deregistration_protection = None, "disabled"
