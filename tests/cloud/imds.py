"""The instance metadata service (version 2 only) of one machine, to which its network brings 169.254.169.254.

Usage: imds.py FOLDER ADDRESS PORT, with FOLDER/meta-data (`key<TAB>value` lines) and FOLDER/user-data.
"""

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path(sys.argv[1])
metadata = dict(line.split("\t", 1) for line in (folder / "meta-data").read_text().splitlines())
user_data = (folder / "user-data").read_bytes()
tokens = set()


def tree() -> dict[str, bytes]:
    """Every path below /latest/ and its text."""
    paths = {f"meta-data/{key}": value.encode() for key, value in metadata.items()}
    mac = metadata["mac"]
    nic = f"meta-data/network/interfaces/macs/{mac}/"
    paths |= {nic + "device-number": b"0", nic + "local-ipv4s": metadata["local-ipv4"].encode(),
              nic + "mac": mac.encode()}
    if "public-keys/0/openssh-key" in metadata:
        paths["meta-data/public-keys"] = b"0=key"
    if user_data:
        paths["user-data"] = user_data
    zone = metadata["placement/availability-zone"]
    document = {"instanceId": metadata["instance-id"], "imageId": metadata["ami-id"], "region": zone[:-1],
                "availabilityZone": zone, "privateIp": metadata["local-ipv4"], "accountId": "123456789012",
                "instanceType": metadata["instance-type"]}
    paths["dynamic/instance-identity/document"] = json.dumps(document).encode()
    return paths


PATHS = tree()


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        if self.path.strip("/").endswith("api/token") and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers:
            token = secrets.token_urlsafe(32)
            tokens.add(token)
            self.answer(200, token.encode(), self.headers["X-aws-ec2-metadata-token-ttl-seconds"])
        else:
            self.answer(400, b"")

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in tokens:
            return self.answer(401, b"")
        version, _, path = self.path.strip("/").partition("/")
        if not path:
            return self.answer(200, b"dynamic\nmeta-data\nuser-data" if version else b"latest\n2021-03-23")
        if path in PATHS:
            return self.answer(200, PATHS[path])
        below = self.children(path.rstrip("/") + "/")
        return self.answer(200, "\n".join(below).encode()) if below else self.answer(404, b"")

    @staticmethod
    def children(prefix: str) -> list[str]:
        names = {p[len(prefix):] for p in PATHS if p.startswith(prefix)}
        folders = {n.split("/")[0] for n in names if "/" in n}
        return sorted({n for n in names if "/" not in n} - folders | {f + "/" for f in folders})

    def answer(self, status: int, body: bytes, ttl: str | None = None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if ttl:
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", ttl)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print(self.command, self.path, format % args, file=sys.stderr, flush=True)


ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
