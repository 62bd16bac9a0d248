"""One call to the test EC2: whose it is, what a test wants of it, and the answer as moto gives it.

Owns the list of calls, the faults and the client tokens of each account. Tests talk to control.py,
below /_cloud/; everything else is AWS's API.
"""

import functools
import hashlib
import io
import json
import random
import re
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from urllib.parse import parse_qs

import moto.core.responses
import moto.iam.models
import moto.moto_api._internal.moto_random
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.ec2.responses import EC2Response
from moto.iam.responses import IamResponse
from moto.kms.responses import KmsResponse
from moto.ssm.responses import SimpleSystemManagerResponse
from moto.sts.responses import TokenResponse

import policy
import sessions
import settings
import stacks
from faults import Fault, status_of

SERVICES = {"ec2": EC2Response, "iam": IamResponse, "kms": KmsResponse, "ssm": SimpleSystemManagerResponse,
            "sts": TokenResponse, **stacks.SERVICES}
CREDENTIAL = re.compile(r"Credential=([^/,]+)/[^/,]*/([^/,]+)/([^/,]+)/")
OWN_ACCOUNT = re.compile(r"AKIAACCT(\d{12})")
ERROR_CODE = re.compile(rb'<Code>([^<]*)</Code>|"__type": *"(?:[^"#]*#)?([^"]*)"')
IGNORED_BY_TOKENS = ("Version",)
# What the services with a JSON protocol call EC2's errors.
JSON_CODES = {"RequestLimitExceeded": "ThrottlingException", "UnauthorizedOperation": "AccessDeniedException",
              "InternalError": "InternalServerError", "ExpiredToken": "ExpiredTokenException",
              "RequestExpired": "ExpiredTokenException", "AuthFailure": "UnrecognizedClientException"}
# What those with the query protocol call them.
QUERY_CODES = {"RequestLimitExceeded": "Throttling", "UnauthorizedOperation": "AccessDenied"}

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Call:
    """What a client asks, and of whom."""

    environ: dict
    body: bytes
    account: str = DEFAULT_ACCOUNT_ID
    region: str = ""
    service: str = "ec2"
    action: str = ""
    params: dict | None = None

    @classmethod
    def read(cls, environ: dict, body: bytes, home: str) -> "Call":
        call = cls(environ, body, region=home)
        signed = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed:
            key, call.region, call.service = signed.groups()
            own = OWN_ACCOUNT.fullmatch(key)
            call.account = own[1] if own else DEFAULT_ACCOUNT_ID
        unsigned = None if signed else sessions.read(environ, body)
        target = environ.get("HTTP_X_AMZ_TARGET")
        if unsigned:
            call.service, call.action, call.params, call.account = unsigned
        elif target:
            call.action, call.params = target.split(".")[-1], json.loads(body or b"{}")
        else:
            fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
            call.params = {k: v[0] for k, v in fields.items()}
            call.action = call.params.get("Action", environ["PATH_INFO"].rsplit("/operation/")[-1])
        return call

    def named(self) -> str:
        """What the client calls this call, where it does."""
        return self.environ.get("HTTP_X_AMIBAKE_CALL", "")

    def error(self, code: str, message: str, status: int | None = None) -> Answer:
        """An error in the words of the service."""
        status = status or status_of(code)
        if self.service in stacks.SERVICES and "HTTP_X_AMZ_TARGET" not in self.environ:
            return stacks.error(self.environ.get("CONTENT_TYPE", ""), code, message, status)
        if "HTTP_X_AMZ_TARGET" in self.environ:
            body = json.dumps({"__type": JSON_CODES.get(code, code), "message": message}).encode()
            return 500 if status == 500 else 400, {"Content-Type": "application/x-amz-json-1.1"}, body
        if self.service in ("iam", "sts"):
            code = QUERY_CODES.get(code, code)
            text = (f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
                    "<RequestId>7a62c49f-0000-4444-8888-000000000000</RequestId></ErrorResponse>")
            return status, {"Content-Type": "text/xml"}, text.encode()
        text = (f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                "<RequestID>7a62c49f-0000-4444-8888-000000000000</RequestID></Response>")
        return status, {"Content-Type": "text/xml"}, text.encode()


class Conversation:
    """All that was said to one account."""

    def __init__(self, account):
        self.account = account
        self.calls: list[dict] = []
        self.faults: list[Fault] = []
        self.tokens: dict[tuple, tuple] = {}
        self.lock = threading.Lock()
        self.chance = random.Random(0)

    def answer(self, call: Call, is_gone) -> Answer | None:
        """The answer to a call, as late as a test wants it; None where there is none."""
        note = {"action": call.action, "time": time.time(), "params": call.params, "region": call.region}
        with self.lock:
            self.calls.append(note)
        answer = self._disturbed(call, is_gone)
        note |= {"answer": told(answer), "ended": time.time()}
        return answer

    def _disturbed(self, call: Call, is_gone) -> Answer | None:
        refused = self._refused_by_ways(call)
        if refused:
            return refused
        before = self._fault(call)
        if before and before.kind in ("hold-before", "hang"):
            before.hold(call.named(), is_gone if before.kind == "hang" else lambda: False)
        if before and before.kind == "slow":
            time.sleep(before.seconds)
        if before and before.kind not in ("hold-before", "slow"):
            before.done += 1
            return call.error(before.code, before.message, before.status) if before.code else None
        answer = self._perform(call)
        after = self._fault(call, done=answer[0] == 200)
        for fault in filter(None, (before, after)):
            fault.done += 1
        if after is None:
            return answer
        if after.kind in ("hold", "hang"):
            after.hold(call.named(), is_gone if after.kind == "hang" else lambda: False)
        if after.kind == "hold":
            return answer
        return call.error(after.code, after.message, after.status) if after.code else None

    def _refused_by_ways(self, call: Call) -> Answer | None:
        ways = self.account.ways
        if ways.ended_token and call.environ.get("HTTP_X_AMZ_SECURITY_TOKEN") == ways.ended_token:
            return call.error("RequestExpired", "Request has expired.")
        if ways.regions.get(call.region) == "not-opted-in":
            return call.error("AuthFailure", "AWS was not able to validate the provided access credentials")
        if call.region in ways.denied_regions:
            return call.error("UnauthorizedOperation", "You are not authorized to perform this operation. User: "
                              f"arn:aws:iam::{self.account.number}:user/test is not authorized to perform: "
                              f"{call.service}:{call.action} with an explicit deny in a service control policy")
        words = policy.denied(self.account, call) or policy.untagged(self.account, call)
        if words:
            return call.error("UnauthorizedOperation", words)
        with self.lock:
            throttled = ways.throttle_share and self.chance.random() < ways.throttle_share
        return call.error("RequestLimitExceeded", "Request limit exceeded.") if throttled else None

    def _fault(self, call: Call, done: bool | None = None) -> Fault | None:
        with self.lock:
            return next((f for f in self.faults if f.takes(call.action, call.region, call.params, done)), None)

    def _perform(self, call: Call) -> Answer:
        """One call as EC2 answers it: the second of two with one token gets the first's answer."""
        with self.account.lock:
            token = call.params.get("ClientToken")
            if not token:
                return forward(self.account, call)
            wanted = {k: v for k, v in call.params.items() if k not in IGNORED_BY_TOKENS}
            digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
            known = self.tokens.get((call.region, call.action, token))
            if known and known[0] != digest:
                return call.error("IdempotentParameterMismatch",
                                  "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
            if known:
                return known[1]
            answer = forward(self.account, call)
            if answer[0] == 200:
                self.tokens[(call.region, call.action, token)] = (digest, answer)
            return answer


def told(answer: Answer | None) -> str:
    """What a client was told: "ok", the code of an error, or nothing."""
    if answer is None or answer[0] == 200:
        return "ok" if answer else ""
    code = ERROR_CODE.search(answer[2])
    return (code[1] or code[2]).decode() if code else str(answer[0])


def forward(account, call: Call) -> Answer:
    """moto's answer."""
    account.backend(call.region)
    if str(call.params.get("DryRun")).lower() == "true":
        return call.error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    own = settings.answer(account, call)
    if own is not None:
        return own
    service = SERVICES.get(call.service)
    if service is None:
        return call.error("InvalidAction", f"there is no {call.service} here")
    stacks.touch(account, call.service)
    environ = call.environ | {"HTTP_X_MOTO_ACCOUNT_ID": account.number, "wsgi.input": io.BytesIO(call.body)}
    try:
        status, headers, body = service.dispatch(ServerRequest(environ))
    except NotImplementedError as missing:
        return call.error("InvalidAction", str(missing))
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return call.error("InternalError", "An internal error has occurred")
    content = body if isinstance(body, bytes) else body.encode()
    return status, {k: str(v) for k, v in headers.items() if k.lower() not in ("status", "date", "server")}, content


class ServerRequest(Request):
    """A request of moto's that came over HTTP."""

    from_wsgi_server = True


# Made anew in each call otherwise, for a third of its time.
moto.core.responses.method_names_from_class = functools.cache(moto.core.responses.method_names_from_class)
# Each call would be written down in the account's IAM, which is nobody's here and slow to make.
moto.iam.models.mark_account_as_visited = lambda **_: None
# Of each letter of a request's id.
moto.moto_api._internal.moto_random.MotoRandom.choice = lambda self, of: of[int(self.random() * len(of))]
