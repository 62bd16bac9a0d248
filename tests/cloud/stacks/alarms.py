"""CloudWatch: what load balancers count, and alarms that are as a test says.

No alarm watches its metric here. Values come as late as `Settings.metrics` says; minutes on AWS.
"""

import time
from collections import defaultdict

from moto.cloudwatch.models import Alarm, MetricDatum, cloudwatch_backends
from moto.core.utils import utcnow

from .settings import settings

NAMESPACE = "AWS/ApplicationELB"
_waiting: dict[str, list] = defaultdict(list)  # by account: what is not there yet


def patch(cloud) -> None:
    made = Alarm.__init__

    def init(self, *args, **kwargs):
        """A new alarm has seen nothing; one that is changed stays in its state."""
        made(self, *args, **kwargs)
        region = kwargs["region_name"]
        old = cloudwatch_backends[kwargs["account_id"]][region].alarms.get(self.name)
        self.state_value = old.state_value if old else "INSUFFICIENT_DATA"
        self.state_reason = old.state_reason if old else self.state_reason

    Alarm.__init__ = init


def count(account, region: str, balancer: str, targets: str | None, name: str, value: float = 1.0) -> None:
    """One value of a load balancer, or of a target group of it; their names are as the metrics' dimensions have them."""
    dimensions = [{"Name": "LoadBalancer", "Value": balancer}]
    if targets:
        dimensions.append({"Name": "TargetGroup", "Value": targets})
    datum = MetricDatum(NAMESPACE, name, value, dimensions, utcnow())
    _waiting[account.number].append((time.monotonic() + settings(account).metrics, region, datum))


def flush(account) -> None:
    """Lets those values be seen whose time has come."""
    now, waiting = time.monotonic(), _waiting[account.number]
    for due in [w for w in waiting if w[0] <= now]:
        waiting.remove(due)
        cloudwatch_backends[account.number][due[1]].metric_data.append(due[2])
