"""A company's proxy before a test EC2: it wants a name and a password, and opens TLS with a certificate of its own.

Usage: proxy.py --ca FILE --to http://127.0.0.1:PORT. Writes the company's CA to FILE, prints its address, and then
each host that it was asked for, a line each. Whatever host it is, the test EC2 answers. Ends with its input.
"""

import argparse
import base64
import datetime
import http.client
import os
import ssl
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "Basic " + base64.b64encode(b"ann:hunter22").decode()


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """The company's CA, which vouches for every host."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(named("the company"), self.key, ca=True)

    def context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(named("host"), key, host=host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as both:
            both.write(pem(certificate) + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            both.flush()
            context.load_cert_chain(both.name)
        return context

    def _sign(self, subject, key, ca=False, host=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(named("the company"))
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def pem(certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client: a tunnel that is opened here, or a plain request."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        host = self.path.split(":")[0]
        if not self.admitted(host):
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self.connection = self.server.authority.context(host).wrap_socket(self.connection, server_side=True)
        self.setup_again()

    def setup_again(self) -> None:
        """Requests inside the tunnel are read as any others."""
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.inside, self.close_connection = True, False
        while not self.close_connection:
            self.handle_one_request()

    def do_POST(self) -> None:
        if not getattr(self, "inside", False) and not self.admitted(urlsplit(self.path).hostname):
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        onward = http.client.HTTPConnection(self.server.to)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        onward.request(self.command, url.path + ("?" + url.query if url.query else ""), body, headers)
        answer = onward.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def admitted(self, host: str) -> bool:
        if self.headers.get("Proxy-Authorization") == PASSWORD:
            print(host, flush=True)
            return True
        self.send_response(407, "Proxy Authentication Required")
        self.send_header("Proxy-Authenticate", 'Basic realm="company"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True
        return False

    def log_message(self, *_) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, authority: Authority, to: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.authority, self.to = authority, to

    def handle_error(self, request, client_address) -> None:
        """A client that does not trust the company hangs up."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--to", required=True)
    arguments = parser.parse_args()
    authority = Authority()
    arguments.ca.write_bytes(pem(authority.certificate))
    proxy = Proxy(authority, urlsplit(arguments.to).netloc)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print(f"127.0.0.1:{proxy.server_port}", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
