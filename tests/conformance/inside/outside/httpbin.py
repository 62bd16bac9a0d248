"""What Ansible's targets ask of httpbin behind an nginx: requests are told back, redirected, asked for a password.

Run as `httpbin.py ADDRESS FOLDER`. FOLDER has the certificates (`start` makes them) and what else is served: files/HOST/PATH,
git/REPOSITORY and keys/FINGERPRINT.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import gzip
import hashlib
import json
import re
import ssl
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

FOLDER = Path(sys.argv[2])
NAME = "ansible.http.tests"  # as prepare_http_tests has it
READING = {"GET", "HEAD", "OPTIONS"}
ANY = READING | {"POST", "PUT", "PATCH", "DELETE", "TRACE"}
NONCE = hashlib.md5(b"once for all").hexdigest()


class Request:
    """One request, taken apart as httpbin tells it back."""

    def __init__(self, handler: BaseHTTPRequestHandler):
        self.method, self.headers = handler.command, handler.headers
        parts = urlsplit(handler.path)
        self.target, self.path = handler.path, parts.path
        self.query = parse_qsl(parts.query, keep_blank_values=True)
        self.host = (handler.headers.get("Host") or NAME).split(":")[0]
        self.scheme = "https" if isinstance(handler.connection, ssl.SSLSocket) else "http"
        self.body = whole_body(handler)
        self.certified = self.scheme == "https" and bool(handler.connection.getpeercert())

    def told(self) -> dict:
        """What /get and its kin answer."""
        headers = {name.title(): value for name, value in sorted(self.headers.items())}
        return {"args": joined(self.query), "headers": headers, "method": self.method,
                "origin": "127.0.0.1", "url": f"{self.scheme}://{self.host}{self.target}"} | self.content()

    def content(self) -> dict:
        kind = self.headers.get_content_type()
        told = {"data": "", "files": {}, "form": {}, "json": None}
        if self.method in READING:
            return told
        text = self.body.decode(errors="replace")
        if kind == "application/x-www-form-urlencoded":
            return told | {"form": joined(parse_qsl(text, keep_blank_values=True))}
        if kind == "multipart/form-data":
            return told | self.parts()
        try:
            return told | {"data": text, "json": json.loads(text) if text else None}
        except ValueError:
            return told | {"data": text}

    def parts(self) -> dict:
        whole = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + self.body
        files, form = {}, {}
        for part in email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(whole).iter_parts():
            # A form knows no Content-Transfer-Encoding: what was sent is told.
            sent = part.get_payload()
            (files if part.get_filename() else form)[part.get_param("name", header="Content-Disposition")] = sent
        return {"files": files, "form": form}

    def password(self) -> tuple[str, str] | None:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        user, _, password = base64.b64decode(given).decode().partition(":")
        return user, password


def whole_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


class Answer:
    def __init__(self, body: bytes | str | dict = b"", status: int = 200, kind: str = "text/html; charset=utf-8", headers=()):
        if isinstance(body, dict):
            body, kind = json.dumps(body, sort_keys=True), "application/json"
        self.body = body.encode() if isinstance(body, str) else body
        self.status, self.headers = status, [("Content-Type", kind), *headers]
        names = [name.lower() for name, _ in headers]
        if "content-type" in names:
            del self.headers[0]


def joined(pairs: list[tuple[str, str]]) -> dict:
    """A name that is given twice has a list of values."""
    told: dict = {}
    for name, value in pairs:
        if name in told:
            told[name] = [*(told[name] if isinstance(told[name], list) else [told[name]]), value]
        else:
            told[name] = value
    return told


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(status=status, headers=[("Location", to)])


def unauthorized(challenge: str) -> Answer:
    return Answer(status=401, headers=[("WWW-Authenticate", challenge)])


def index(request):
    if request.host == "sni1." + NAME:
        return Answer(f"{request.host}\n")
    return Answer("<title>httpbin.org</title>\n")


def told_back(request):
    told = request.told()
    if request.path in ("/headers", "/user-agent"):
        return Answer({"headers": told["headers"]} if request.path == "/headers" else {"user-agent": request.headers["User-Agent"]})
    if request.path == "/get":
        told = {key: told[key] for key in ("args", "headers", "origin", "url")}
    return Answer(told)


def basic_auth(request, user, password):
    if request.password() != (user, password):
        return unauthorized('Basic realm="Fake Realm"')
    return Answer({"authenticated": True, "user": user})


def hidden_basic_auth(request, user, password):
    return basic_auth(request, user, password) if request.password() == (user, password) else Answer(status=404)


def bearer(request):
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return Answer({"authenticated": True, "token": token}) if kind == "Bearer" else unauthorized("Bearer")


def digest_auth(request, qop, user, password):
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers.get("Authorization", "")))
    first = hashlib.md5(f"{user}:me@kennethreitz.com:{password}".encode()).hexdigest()
    second = hashlib.md5(f"{request.method}:{request.target}".encode()).hexdigest()
    between = ":".join([NONCE, given.get("nc", ""), given.get("cnonce", ""), given.get("qop", "")])
    if given.get("response") != hashlib.md5(f"{first}:{between}:{second}".encode()).hexdigest():
        return unauthorized(f'Digest realm="me@kennethreitz.com", nonce="{NONCE}", qop="{qop}", opaque="{NONCE}", algorithm=MD5')
    return Answer({"authenticated": True, "user": user})


def redirect_to(request):
    told = dict(request.query)
    return redirect(told["url"], int(told.get("status_code", 302)))


def redirects(_request, _kind, times):
    return redirect("/get" if times == "1" else f"/relative-redirect/{int(times) - 1}")


def status(_request, code):
    return redirect("/redirect/1", int(code)) if code in ("301", "302", "303", "307") else Answer(status=int(code))


def cache(request):
    if request.headers.get("If-Modified-Since") or request.headers.get("If-None-Match"):
        return Answer(status=304)
    answer = told_back(request)
    answer.headers += [("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT"), ("ETag", NONCE)]
    return answer


def response_headers(request):
    return Answer(joined(request.query), headers=request.query)


def gzipped(request):
    body = json.dumps(request.told() | {"gzipped": True}).encode()
    return Answer(gzip.compress(body), kind="application/json", headers=[("Content-Encoding", "gzip")])


def key(request):
    """A key, as a key server gives it out."""
    file = FOLDER / "keys" / Path(dict(request.query).get("search", "").removeprefix("0x")).name
    return Answer(file.read_bytes(), kind="application/pgp-keys") if file.is_file() else Answer(status=404)


def repository(request: Request) -> Answer:
    """What git's own server program makes of a request."""
    environment = {"GIT_PROJECT_ROOT": str(FOLDER / "git"), "GIT_HTTP_EXPORT_ALL": "1", "REQUEST_METHOD": request.method,
                   "PATH_INFO": request.path, "QUERY_STRING": urlsplit(request.target).query, "PATH": "/usr/bin:/bin",
                   "CONTENT_TYPE": request.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(request.body)),
                   "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                   "GIT_PROTOCOL": request.headers.get("Git-Protocol", "")}
    said = subprocess.run(["git", "http-backend"], env=environment, input=request.body, stdout=subprocess.PIPE, check=False).stdout
    head, _, body = said.partition(b"\r\n\r\n")
    headers = [tuple(line.split(": ", 1)) for line in head.decode().splitlines()]
    status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
    return Answer(body, status, headers=[(name, value) for name, value in headers if name != "Status"])


def client_verify(request):
    return Answer(f"{NAME}:{'SUCCESS' if request.certified else 'NONE'}", kind="text/plain")


ROUTES = [
    (r"/", READING, index),
    (r"/(?:get|headers|user-agent)", READING, told_back),
    (r"/(post|put|patch|delete)", None, lambda request, _: told_back(request)),
    (r"/anything", ANY, told_back),
    (r"/basic-auth/([^/]+)/([^/]+)", READING, basic_auth),
    (r"/hidden-basic-auth/([^/]+)/([^/]+)", READING, hidden_basic_auth),
    (r"/digest-auth/([^/]+)/([^/]+)/([^/]+)", READING, digest_auth),
    (r"/bearer", READING, bearer),
    (r"/redirect-to", ANY, redirect_to),
    (r"/(redirect|relative-redirect)/(\d+)", READING, redirects),
    (r"/status/(\d+)", ANY, status),
    (r"/cache", READING, cache),
    (r"/response-headers", READING | {"POST"}, response_headers),
    (r"/gzip", READING, gzipped),
    (r"/base64/([^/]+)", READING, lambda _, text: Answer(base64.b64decode(text))),
    (r"/ssl_client_verify", READING, client_verify),
    (r"/pks/lookup", READING, key),
]


def answer(request: Request) -> Answer:
    """What a request gets. One host is there to be left for HTTPS; some have files."""
    if request.host == "fail." + NAME and request.scheme == "http":
        return redirect(f"https://{request.host}{request.target}", 301)
    if request.host == "github.com":
        return repository(request)
    file = FOLDER / "files" / request.host / request.path.lstrip("/")
    if file.is_file() and ".." not in request.path:
        return Answer(file.read_bytes(), kind="application/octet-stream")
    for pattern, methods, route in ROUTES:
        found = re.fullmatch(pattern, request.path)
        if found:
            allowed = methods or {found[1].upper(), "OPTIONS"}
            return answer_of(request, allowed, route, found.groups())
    return Answer(status=404)


def answer_of(request, allowed, route, parts):
    if request.method not in allowed:
        return Answer(status=405, headers=[("Allow", ", ".join(sorted(allowed)))])
    if request.method == "OPTIONS" and request.path != "/anything":
        return Answer(headers=[("Allow", ", ".join(sorted(allowed)))])
    return route(request, *map(unquoted, parts))


def unquoted(text: str) -> str:
    return dict(parse_qsl(f"x={text.replace('+', '%2B')}", keep_blank_values=True))["x"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):  # whatever the method
            return self.reply
        raise AttributeError(name)

    def reply(self):
        given = answer(Request(self))
        self.send_response(given.status, HTTPStatus(given.status).phrase.upper())  # as Flask spells them
        for name, value in given.headers:
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or given.status == 304
        self.send_header("Content-Length", str(len(given.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(given.body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, context: ssl.SSLContext | None = None):
        super().__init__((address, port), Handler)
        self.context = context

    def finish_request(self, request, client_address):
        # The handshake is the connection's own thread's: nobody else waits for it.
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        super().finish_request(request, client_address)


def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(FOLDER / "ca.pem"))
    context.load_cert_chain(FOLDER / f"{certificate}.pem", FOLDER / f"{certificate}.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def main() -> None:
    address = sys.argv[1]
    by_name, mismatched, other = tls("server"), tls("mismatched"), tls("other")
    by_name.sni_callback = lambda connection, name, _: setattr(connection, "context", mismatched) if name == "fail." + NAME else None
    servers = [Server(address, 80), Server(address, 443, by_name), Server(address, 444, other), Server(address, 11371)]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    (FOLDER / "ready").touch()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
