"""The wire of the test EC2: client tokens, the list of calls, and the faults tests ask for.

A WSGI layer over moto's. Tests talk to it below /_cloud/; everything else is AWS's API.
"""

import hashlib
import io
import json
import threading
import time
from dataclasses import asdict, dataclass, field
from urllib.parse import parse_qs

IGNORED_BY_TOKENS = ("Version",)
AFTER = ("hold", "drop")  # what happens when EC2 has acted


@dataclass
class Fault:
    """What happens to the `nth` next call of `action`."""

    action: str
    kind: str  # error | drop | hold | hold-before | slow
    nth: int = 1
    times: int = 1
    code: str = "InternalError"
    message: str = "a fault asked for by a test"
    status: int = 500
    seconds: float = 1.0
    hit: int = 0
    released: threading.Event = field(default_factory=threading.Event, repr=False)
    waiting: bool = False
    done: int = 0  # calls it took that EC2 is through with

    def takes(self, action: str, done: bool | None = None) -> bool:
        """Whether this call is one the fault is for; counts it.

        `done` is None before EC2 acts, then whether it did as asked: the first answer that is held
        or dropped is one to a call that was done.
        """
        if action != self.action or self.hit >= self.times or (self.kind in AFTER) != (done is not None):
            return False
        if done is False and self.hit == 0:
            return False
        self.nth -= 1
        if self.nth > 0:
            return False
        self.nth = 1
        self.hit += 1
        return True

    def public(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "released"}


class Wire:
    """The application that the server runs."""

    def __init__(self, moto_app, cloud):
        self.app, self.cloud = moto_app, cloud
        self.calls: list[dict] = []
        self.faults: list[Fault] = []
        self.tokens: dict[tuple, tuple] = {}
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"].startswith("/_cloud/"):
            return self.control(environ["PATH_INFO"][8:], body, start_response)
        action, params = self.action_of(environ, body)
        with self.lock:
            self.calls.append({"action": action, "time": time.time(), "params": params})
        before = self.fault(action)
        if before and before.kind == "error":
            before.done += 1
            return self.refuse(before, start_response)
        if before and before.kind == "slow":
            time.sleep(before.seconds)
        if before and before.kind == "hold-before":
            self.hold(before)
        status, headers, answer = self.perform(environ, action, params)
        after = self.fault(action, done=status.startswith("200"))
        for fault in filter(None, (before, after)):
            fault.done += 1
        if after and after.kind == "hold":
            self.hold(after)
        if after and after.kind == "drop":
            environ["werkzeug.socket"].shutdown(2)
            return []
        start_response(status, headers)
        return [answer]

    @staticmethod
    def action_of(environ, body: bytes):
        target = environ.get("HTTP_X_AMZ_TARGET")
        if target:
            return target.split(".")[-1], {}
        params = {k: v[0] for k, v in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items()}
        return params.get("Action", environ["PATH_INFO"]), params

    def fault(self, action: str, done: bool | None = None) -> Fault | None:
        with self.lock:
            return next((f for f in self.faults if f.takes(action, done)), None)

    def hold(self, fault: Fault) -> None:
        fault.waiting = True
        fault.released.wait(fault.seconds if fault.seconds > 1 else 600)
        fault.waiting = False

    def perform(self, environ, action: str, params: dict):
        """One call as EC2 answers it: the second of two with one token gets the first's answer."""
        token = params.get("ClientToken")
        if not token:
            return self.forward(environ)
        wanted = {k: v for k, v in params.items() if k not in IGNORED_BY_TOKENS}
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        with self.lock:
            known = self.tokens.get((action, token))
        if known and known[0] != digest:
            return self.error_answer("IdempotentParameterMismatch",
                                     "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).", 400)
        if known:
            return known[1]
        answer = self.forward(environ)
        if answer[0].startswith("200"):
            with self.lock:
                self.tokens[(action, token)] = (digest, answer)
        return answer

    def forward(self, environ):
        caught = {}

        def start(status, headers, exc_info=None):
            caught.update(status=status, headers=headers)

        answer = b"".join(self.app(environ, start))
        return caught["status"], caught["headers"], answer

    def refuse(self, fault: Fault, start_response):
        status, headers, answer = self.error_answer(fault.code, fault.message, fault.status)
        start_response(status, headers)
        return [answer]

    @staticmethod
    def error_answer(code: str, message: str, status: int):
        text = (f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                "<RequestID>7a62c49f-0000-4444-8888-000000000000</RequestID></Response>")
        return f"{status} X", [("Content-Type", "text/xml")], text.encode()

    def control(self, path: str, body: bytes, start_response):
        value = json.loads(body) if body else {}
        handler = getattr(self, "on_" + path.replace("-", "_"), None)
        answer = handler(value) if handler else {"error": f"no such control: {path}"}
        start_response("200 OK" if handler else "404 Not Found", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def on_fault(self, value):
        self.faults.append(Fault(**value))
        return {}

    def on_faults(self, _):
        return [f.public() for f in self.faults]

    def on_release(self, _):
        for fault in self.faults:
            fault.released.set()
        return {}

    def on_clear(self, _):
        self.on_release(_)
        self.faults, self.calls = [], []
        return {}

    def on_calls(self, _):
        return self.calls

    def on_inventory(self, _):
        return self.cloud.inventory()

    def on_expire(self, _):
        return self.cloud.expire()

    def on_delays(self, value):
        for name, seconds in value.items():
            setattr(self.cloud.delays, name, float(seconds))
        return asdict(self.cloud.delays)

    def on_ways(self, value):
        for name, way in value.items():
            setattr(self.cloud.ways, name, way)
        self.cloud.guard()
        return asdict(self.cloud.ways)

    def on_gateway(self, _):
        """This host's address as the machines reach it."""
        return self.cloud.network.gateway

    def on_private_subnet(self, _):
        return self.cloud.private_subnet()

    def on_offer(self, value):
        self.cloud.offer(**value)
        return {}

    def on_states(self, _):
        """Every instance that EC2 still lists, with its state and the reason."""
        return {i.id: [i.state, getattr(i.state_reason, "code", None) or ""]
                for i in self.cloud.backend.all_instances()}

    def on_roots(self, _):
        return {snapshot: str(disk.root) for snapshot, disk in self.cloud.disks.items()}

    def on_machines(self, _):
        return {i: {"address": m.address, "root": str(m.root), "namespace": m.name, "console": str(m.console),
                    "pid": str(m.pid)}
                for i, m in self.cloud.machines.items()}

    def on_cut(self, value):
        self.cloud.network.cut(self.cloud.machines[value["instance"]].name, value["cut"])
        return {}
