"""The test EC2 over HTTP: connections that stay open, one thread each."""

import json
import re
import select
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from moto.core import DEFAULT_ACCOUNT_ID

from control import Control
from wire import Call


class Server(ThreadingHTTPServer):
    """Listens on loopback, on a port of its own."""

    daemon_threads = True
    request_queue_size = 1024  # a hundred builds begin at once

    def __init__(self, accounts):
        super().__init__(("127.0.0.1", 0), Handler)
        self.accounts = accounts

    def handle_error(self, request, client_address) -> None:
        """A client that goes in the middle is no error."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one write

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path.startswith("/_cloud/"):
            self.control(url.path.removeprefix("/_cloud/"), parse_qs(url.query), body)
            return
        accounts = self.server.accounts
        call = Call.read(self.environ(url), body, accounts.region)
        conversation = accounts.conversation(call.account)
        answer = conversation.answer(call, self.is_gone)
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.reply(*answer, now=conversation.account.now())

    do_GET = do_POST

    def control(self, path: str, query: dict, body: bytes) -> None:
        number = query.get("account", [DEFAULT_ACCOUNT_ID])[0]
        if not re.fullmatch(r"\d{12}", number):
            self.reply(400, {}, json.dumps({"error": f"no account's number: {number}"}).encode())
            return
        conversation = self.server.accounts.conversation(number)
        control = Control(conversation.account, conversation, query.get("region", [None])[0])
        status, answer = control.answer(path, body)
        self.reply(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def environ(self, url) -> dict:
        """What moto asks of a request."""
        host, port = self.server.server_address[:2]
        environ = {"REQUEST_METHOD": self.command, "PATH_INFO": url.path, "QUERY_STRING": url.query, "RAW_URI": self.path,
                   "SERVER_NAME": host, "SERVER_PORT": str(port), "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
                   "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                   "CONTENT_LENGTH": self.headers.get("Content-Length", "0")}
        return environ | {"HTTP_" + name.upper().replace("-", "_"): value for name, value in self.headers.items()}

    def is_gone(self) -> bool:
        """Whether the client has hung up."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def reply(self, status: int, headers: dict[str, str], body: bytes, now: float | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Date", self.date_time_string(now))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass
