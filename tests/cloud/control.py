"""What tests say to the test EC2, below /_cloud/: JSON in, JSON out, for one account each."""

import json
import random
import time
from dataclasses import asdict
from datetime import datetime

from moto.iam.models import iam_backends

from account import base_image
from faults import Fault
from stacks import StackControl


class Control(StackControl):
    """The requests about one account, or one region of it."""

    def __init__(self, account, conversation, region: str | None):
        self.account, self.conversation = account, conversation
        self.region = region or account.region
        self.only_region = region

    def answer(self, path: str, body: bytes):
        """Returns the status and what to say."""
        handler = getattr(self, "on_" + path.replace("-", "_").replace("/", "_"), None)
        if handler is None:
            return 404, {"error": f"no such control: {path}"}
        try:
            return 200, handler(json.loads(body or b"{}"))
        except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as wrong:
            return 400, {"error": f"{path}: {wrong!r}"}

    # What goes wrong --------------------------------------------------------------------------

    def on_fault(self, value):
        with self.conversation.lock:
            self.conversation.faults.append(Fault.asked_for(**value))
        return {}

    def on_faults(self, _):
        return [f.public() for f in self.conversation.faults]

    def on_hung(self, _):
        """What their client calls the calls that are held."""
        return [named for fault in list(self.conversation.faults) for named in list(fault.held)]

    def on_await_held(self, value):
        """Whether a call is held, or is within so many seconds."""
        until = time.monotonic() + value["seconds"]
        while not (held := any(f.waiting for f in list(self.conversation.faults))) and time.monotonic() < until:
            time.sleep(0.005)
        return held

    def on_release(self, _):
        for fault in self.conversation.faults:
            fault.released.set()
        return {}

    def on_clear(self, _):
        self.on_release(_)
        self.conversation.faults = []
        return self.on_calls_clear(_)

    def on_calls(self, _):
        return self.conversation.calls

    def on_calls_clear(self, _):
        self.conversation.calls = []
        return {}

    # How the account is -----------------------------------------------------------------------

    def on_delays(self, value):
        return asdict(change(self.account.delays, {name: float(seconds) for name, seconds in value.items()}))

    def on_ways(self, value):
        ways = change(self.account.ways, value)
        with self.account.lock:
            if "seed" in value:
                self.conversation.chance = random.Random(value["seed"])
            if "product_codes" in value:
                self.account.set_product_codes()
            self.account.guard()
        return asdict(ways)

    def on_demanded(self, _):
        """The actions that the policy was asked about since this was asked last."""
        demanded, self.account.demanded = sorted(self.account.demanded), set()
        return demanded

    def on_offer(self, value):
        """The zones that alone offer a type from now on."""
        self.account.offers[self.region, value["instance_type"]] = value["zones"]
        return {}

    def on_image(self, value):
        """An image is another than it was: the base image, where none is named."""
        with self.account.lock:
            ec2 = self.account.backend(self.region)
            image = ec2.amis[value.pop("image", base_image(self.region, self.account.region))]
            if "creation_date" in value:
                value["creation_date"] = datetime.fromisoformat(value["creation_date"])
            change(image, value)
            return {}

    def on_image_made(self, value):
        """An image was made at another time than it was."""
        with self.account.lock:
            ec2 = self.account.backend(self.region)
            ec2.amis[value["image"]].creation_date = datetime.fromisoformat(value["made"])
            return {}

    def on_image_of_files(self, value):
        """A new image: the base image's disk with files over it, by path. There must be machines."""
        with self.account.lock:
            return {"image": self.account.image_of_files(self.region, **value)}

    def on_profile(self, value):
        """There is an instance profile of this name, with a role."""
        iam = iam_backends[self.account.number]["aws"]
        iam.create_role(value["name"], "{}", "/", None, "", [], "3600")
        iam.create_instance_profile(value["name"], "/", [])
        iam.add_role_to_instance_profile(value["name"], value["name"])
        return {}

    def on_private_subnet(self, _):
        with self.account.lock:
            return self.account.private_subnet(self.region)

    def on_expire(self, _):
        with self.account.lock:
            return self.account.expire()

    # What is there ----------------------------------------------------------------------------

    def on_inventory(self, _):
        with self.account.lock:
            return self.account.inventory(self.only_region)

    def on_most_copies(self, _):
        """How many copies were pending at a time, since this was asked last."""
        with self.account.lock:
            most, self.account.most_copies = self.account.most_copies, 0
            return most

    def on_states(self, _):
        """Every instance that EC2 still lists, with its state and the reason."""
        with self.account.lock:
            return {i.id: [i.state, getattr(i.state_reason, "code", None) or ""]
                    for i in self.account.all_instances()}

    def on_roots(self, _):
        return {snapshot: str(disk.root) for snapshot, disk in self.account.disks.items()}

    def on_machines(self, _):
        return {i: machine.public() for i, machine in list(self.account.machines.items())}

    def on_gateway(self, _):
        """This host's address as the machines reach it."""
        return self.account.host.network.gateway

    # What becomes of machines -----------------------------------------------------------------

    def on_cut(self, value):
        self.account.host.network.cut(self.account.machines[value["instance"]].name, value["cut"])
        return {}

    def on_power_off(self, value):
        """A guest ends itself; with a `code`, EC2 ends it."""
        instance_id = value.pop("instance")
        if "code" in value:
            self.account.end(self.account.instance(instance_id), **value)
        else:
            self.account.machines[instance_id].kill()
        return {}

    def on_console(self, value):
        """What a guest without a machine has on its console."""
        self.account.machines[value["instance"]].console_output = value["text"].encode()
        return {}


def change(thing, values: dict):
    """Sets what is there already: a mistyped name is an error."""
    for name, value in values.items():
        if name not in vars(thing):
            raise ValueError(f"there is no {name}")
        setattr(thing, name, value)
    return thing
