"""What tests say of stacks, groups and load balancers, below /_cloud/."""

import itertools
from dataclasses import asdict

from moto.elbv2.models import elbv2_backends

from . import listeners
from .routing import Asked
from .settings import Trouble, settings, state


class StackControl:
    """The requests about stacks; control.py's Control is one."""

    def on_stacks(self, value):
        """How stacks behave; settings.py has the names."""
        known = settings(self.account)
        for name, wanted in value.items():
            if name not in vars(known):
                raise ValueError(f"there is no {name}")
            setattr(known, name, wanted)
        return asdict(known)

    def on_trouble(self, value):
        """What goes wrong with a resource that CloudFormation deals with."""
        state(self.account).troubles.append(Trouble(**value))
        return {}

    def on_troubles(self, _):
        return [t.public() for t in state(self.account).troubles]

    def on_troubles_clear(self, value):
        """They end, or those of one resource."""
        known = state(self.account).troubles
        ending = [t for t in known if value.get("resource") in (None, t.resource)]
        for trouble in ending:
            trouble.released.set()
        state(self.account).troubles = [t for t in known if t not in ending]
        return {}

    def on_answers(self, value):
        """What instances without a machine answer: `health` and `status` are a status, "timeout" or "refused".

        Each names an instance or an image, or none for all; later ones win. The list takes the place of what was said before.
        """
        with self.account.lock:
            state(self.account).answers = value
        return {}

    def on_balancers(self, _):
        """Where the listeners of each load balancer are; opens them."""
        with self.account.lock:
            return listeners.open_all(self.account, self.region, self.elb)

    def on_requests(self, value):
        """What a listener answers to `count` requests, without a socket: how many of each status, instance and group."""
        with self.account.lock:
            listener = self.elb.describe_listeners(None, [value["listener"]])[0]
        headers = {k.lower(): v for k, v in value.get("headers", {}).items()}
        asked = Asked(value.get("method", "GET"), value.get("path", "/"), {"host": "test"} | headers)
        told = [listeners.ask(self.account, self.region, self.elb, listener, asked) for _ in range(value.get("count", 1))]
        count = lambda keys: {str(k): len(list(g)) for k, g in itertools.groupby(sorted(keys, key=str))}
        return {"statuses": count(t[0] for t in told), "instances": count(t[3] for t in told if t[3]), "headers": told[-1][1]}

    @property
    def elb(self):
        return elbv2_backends[self.account.number][self.region]
