"""CloudWatch: what load balancers count, and alarms.

Those on UnHealthyHostCount follow the health of their targets; all others are as a test says. Values come as late as `Settings.metrics` says; minutes on AWS.
"""

import time
from collections import defaultdict

from moto.cloudwatch.models import Alarm, MetricDatum, cloudwatch_backends
from moto.core.utils import utcnow

from .settings import settings, state

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


def watch(account, region: str) -> None:
    """Alarms on the health of targets fire when one has been unhealthy for as long as they say, and end when none is."""
    now = time.monotonic()
    unhealthy = {
        arn.rsplit(":", 1)[1]
        for arn, targets in state(account).targets.items()
        if any(target.state == "unhealthy" and target.gone is None for target in targets.values())
    }
    for alarm in list(cloudwatch_backends[account.number][region].alarms.values()):
        if alarm.metric_name != "UnHealthyHostCount":
            continue
        is_ill = any(d.name == "TargetGroup" and d.value in unhealthy for d in alarm.dimensions or [])
        since = vars(alarm).setdefault("ill_since", None)
        alarm.ill_since = (now if since is None else since) if is_ill else None
        lasts = alarm.evaluation_periods * float(alarm.period) * settings(account).second
        if is_ill and now - alarm.ill_since >= lasts:
            alarm.state_value = "ALARM"
        elif not is_ill and since is not None:
            alarm.state_value = "OK"
