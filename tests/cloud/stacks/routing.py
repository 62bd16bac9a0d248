"""What a listener does with a request: its rules by priority, weights, and a target that may have it.

The same answer whether a request came over a socket (listeners.py) or is one that a test asks about.
"""

import fnmatch
import random
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from . import health

_chance = random.Random(1)
_turns: dict[str, int] = {}
_lock = threading.Lock()


@dataclass
class Asked:
    """A request as far as rules look at it."""

    method: str
    target: str  # path and query
    headers: dict[str, str]  # names in lower case
    source: str = "127.0.0.1"
    body: bytes = b""
    protocol: str = "https"

    @property
    def host(self) -> str:
        return self.headers.get("host", "").rsplit(":", 1)[0]


@dataclass
class Decision:
    """What is done: an answer of the load balancer's own, or a target."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    group: object = None
    target: health.Target | None = None
    rule: str = ""


def route(account, backend, listener, asked: Asked) -> Decision:
    """The account's lock is held."""
    for rule in sorted(listener.rules.values(), key=priority):
        if all(meets(condition, asked) for condition in rule.conditions):
            decision = act(account, backend, listener, rule.actions[-1].data, asked)
            decision.rule = rule.arn
            return decision
    raise AssertionError("a listener's default rule has no conditions")


def priority(rule) -> int:
    return 1 << 20 if rule.priority == "default" else int(rule.priority)


def meets(condition: dict, asked: Asked) -> bool:
    kind = condition["Field"]
    values = lambda key: (condition.get(key) or {}).get("Values") or condition.get("Values") or []
    if kind == "path-pattern":
        return any(matches(urlsplit(asked.target).path, v, True) for v in values("PathPatternConfig"))
    if kind == "host-header":
        return any(matches(asked.host, v, False) for v in values("HostHeaderConfig"))
    if kind == "http-header":
        config = condition["HttpHeaderConfig"]
        value = asked.headers.get(config["HttpHeaderName"].lower())
        return value is not None and any(matches(value, v, False) for v in config["Values"])
    if kind == "http-request-method":
        return asked.method in values("HttpRequestMethodConfig")
    if kind == "query-string":
        given = parse_qsl(urlsplit(asked.target).query, keep_blank_values=True)
        wanted = condition["QueryStringConfig"]["Values"]
        return any(matches(v, w["Value"], False) and w.get("Key", k) == k for k, v in given for w in wanted)
    raise NotImplementedError(f"the test EC2's listeners know no condition {kind}")


def matches(text: str, pattern: str, exact_case: bool) -> bool:
    """`*` is any number of characters, `?` one; brackets are themselves."""
    regex = fnmatch.translate(re.sub(r"\[", "[[]", pattern))
    return re.match(regex, text, 0 if exact_case else re.IGNORECASE) is not None


def act(account, backend, listener, action: dict, asked: Asked) -> Decision:
    if action["Type"] == "redirect":
        return redirect(listener, action["RedirectConfig"], asked)
    if action["Type"] == "fixed-response":
        config = action["FixedResponseConfig"]
        return Decision(
            int(config["StatusCode"]), {"Content-Type": config.get("ContentType", "text/plain")}, config.get("MessageBody", "").encode()
        )
    config = action.get("ForwardConfig") or {"TargetGroups": [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}]}
    return forward(account, backend, config["TargetGroups"])


def redirect(listener, config: dict, asked: Asked) -> Decision:
    url = urlsplit(asked.target)
    parts = {
        "protocol": listener.protocol,
        "host": asked.host,
        "port": str(listener.port),
        "path": url.path.lstrip("/"),
        "query": url.query,
    }
    fill = lambda text: re.sub(r"#\{(\w+)\}", lambda m: parts[m[1]], text)
    protocol, port = fill(config.get("Protocol", "#{protocol}")), fill(config.get("Port", "#{port}"))
    query = fill(config.get("Query", "#{query}"))
    location = f"{protocol.lower()}://{fill(config.get('Host', '#{host}'))}:{port}{fill(config.get('Path', '/#{path}'))}" + (
        f"?{query}" if query else ""
    )
    return Decision(int(config["StatusCode"].removeprefix("HTTP_")), {"Location": location}, b"")


def forward(account, backend, weighted: list[dict]) -> Decision:
    """By weight, and then in turn. A group that is empty is not passed over for another."""
    weights = [int(w.get("Weight", 1)) for w in weighted]
    if not any(weights):
        return unavailable(None)
    (chosen,) = _chance.choices(weighted, weights)
    group = backend.target_groups[chosen["TargetGroupArn"]]
    health.follow(account, backend, group)
    targets = [t for t in health.targets_of(account, group.arn).values() if t.state in ("healthy", "unhealthy", "initial")]
    healthy = [t for t in targets if t.state == "healthy"]
    # Where none is healthy, all are asked.
    candidates = healthy or [t for t in targets if t.reason != "Elb.RegistrationInProgress"]
    if not candidates:
        return unavailable(group)
    with _lock:
        turn = _turns[group.arn] = _turns.get(group.arn, -1) + 1
    return Decision(group=group, target=candidates[turn % len(candidates)])


def unavailable(group) -> Decision:
    return Decision(
        503, {"Content-Type": "text/html"}, b"<html><head><title>503 Service Temporarily Unavailable</title></head></html>", group=group
    )
