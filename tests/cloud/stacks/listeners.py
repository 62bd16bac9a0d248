"""Listeners on loopback: a load balancer that is really asked, with the certificate that was imported.

Each load balancer has an address of its own, 127.90.x.y. A listener has its own port there, or any port where that one cannot be had.
Connections to targets are made anew for each request; what is under way to a target when its deregistration delay is over is cut.
"""

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from guest import Guest
from moto.acm.models import acm_backends
from moto.iam.models import iam_backends

from . import alarms, health
from .routing import Asked, Decision, priority, route
from .settings import settings, state

__all__ = ["address", "ask", "close_unused", "open_all", "priority"]
HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length")
TIMEOUT = 60.0


def address(balancer) -> str:
    number = int(hashlib.sha256(balancer.arn.encode()).hexdigest()[:4], 16)
    return f"127.90.{number >> 8}.{number & 255 or 1}"


def open_all(account, region: str, backend) -> dict:
    """Opens what is not open; tells where each listener is."""
    told = {}
    for balancer in backend.load_balancers.values():
        ports = {}
        for listener in balancer.listeners.values():
            front = state(account).front.get(listener.arn) or Front(account, region, backend, balancer, listener)
            state(account).front[listener.arn] = front
            ports[str(listener.port)] = "{}:{}".format(*front.server_address[:2])
        told[balancer.arn] = {"dns": balancer.dns_name, "listeners": ports}
    return told


def close_unused(account, region: str, backend) -> None:
    """Closes the listeners that are gone, and cuts what is still under way to targets that have drained."""
    known = {arn for balancer in backend.load_balancers.values() for arn in balancer.listeners}
    for arn, front in list(state(account).front.items()):
        if front.region == region and arn not in known:
            del state(account).front[arn]
            threading.Thread(target=front.close, daemon=True).start()
    if settings(account).names == "loopback":
        open_all(account, region, backend)


def close_account(account) -> None:
    for front in list(state(account).front.values()):
        front.close()


def ask(account, region: str, backend, listener, asked: Asked) -> tuple[int, dict[str, str], bytes, str | None]:
    """Answers a request; the last is the target's instance. The account's lock is not held."""
    balancer = backend.load_balancers[listener.load_balancer_arn]
    with account.lock:
        decision = route(account, backend, listener, asked)
    named = balancer.arn.split(":loadbalancer/")[1], decision.group and decision.group.arn.rsplit(":", 1)[1]
    if decision.target is None:
        if decision.status >= 500:
            alarms.count(account, region, named[0], None, f"HTTPCode_ELB_{decision.status // 100}XX_Count")
        return decision.status, decision.headers, decision.body, None
    status, headers, body, is_own = from_target(account, backend, decision, asked)
    alarms.count(account, region, *named, "RequestCount")
    if is_own:
        alarms.count(account, region, named[0], None, f"HTTPCode_ELB_{status // 100}XX_Count")
    else:
        alarms.count(account, region, *named, f"HTTPCode_Target_{status // 100}XX_Count")
    return status, headers, body, decision.target.instance


def from_target(account, backend, decision: Decision, asked: Asked):
    """Status, headers, body, and whether the load balancer had to answer itself."""
    target = decision.target
    machine = account.machines.get(target.instance)
    if machine is None:
        return 502, {}, b"", True
    if isinstance(machine, Guest):
        said = health.answer_of(account, backend.ec2_backend.get_instance_by_id(target.instance))
        if target.cut.wait(said["seconds"]) or said["status"] == "refused":
            return 502, {}, b"", True
        body = said["body"] if said["body"] is not None else json.dumps({"instance": target.instance})
        return int(said["status"]), {"Content-Type": "application/json"}, body.encode(), False
    return over_http(machine.address, target, asked)


def over_http(host: str, target: health.Target, asked: Asked):
    connection = http.client.HTTPConnection(host, target.port, timeout=TIMEOUT)
    headers = {k: v for k, v in asked.headers.items() if k not in HOP} | {
        "connection": "close",
        "x-forwarded-for": asked.source,
        "x-forwarded-proto": asked.protocol,
    }
    try:
        connection.connect()
        target.sockets.append(connection.sock)
        connection.request(asked.method, asked.target, asked.body or None, headers)
        answer = connection.getresponse()
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in HOP}, answer.read(), False
    except TimeoutError:
        return 504, {}, b"", True
    except (OSError, http.client.HTTPException):
        return 502, {}, b"", True
    finally:
        connection.close()


class Front(ThreadingHTTPServer):
    """One listener's socket."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, account, region: str, backend, balancer, listener):
        self.account, self.region, self.backend, self.listener = account, region, backend, listener
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        host = address(balancer)
        try:
            super().__init__((host, int(listener.port)), Handler)
        except OSError:
            super().__init__((host, 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """A client that goes in the middle, or does not trust the certificate, is no error."""

    def context(self) -> ssl.SSLContext | None:
        """With the certificate as it is now: one that was imported anew counts for the next connection."""
        if self.listener.protocol != "HTTPS":
            return None
        certificate, key = pem_of(self.account, self.region, self.listener.certificate)
        if certificate not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(certificate + b"\n" + key)
                pair.flush()
                context.load_cert_chain(pair.name)
            self._contexts = {certificate: context}
        return self._contexts[certificate]


def pem_of(account, region: str, arn: str) -> tuple[bytes, bytes]:
    bundle = acm_backends[account.number][region]._certificates.get(arn)
    if bundle is not None:
        return bundle.cert, bundle.key
    own = iam_backends[account.number]["aws"].get_certificate_by_arn(arn)
    return own.cert_body.encode(), own.private_key.encode()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = TIMEOUT
    server_version = "awselb/2.0"
    sys_version = ""

    def setup(self) -> None:
        context = self.server.context()
        if context is not None:
            self.request.settimeout(TIMEOUT)
            self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        if isinstance(self.request, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            self.request.close()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        front = self.server
        asked = Asked(
            self.command,
            self.path,
            {k.lower(): v for k, v in self.headers.items()},
            self.client_address[0],
            self.rfile.read(length) if length else b"",
            front.listener.protocol.lower(),
        )
        status, headers, body, _ = ask(front.account, front.region, front.backend, front.listener, asked)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def log_message(self, *_) -> None:
        pass
