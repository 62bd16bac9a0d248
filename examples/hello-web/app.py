"""A small API that greets, tells who answered, and says errors in JSON."""

import os
import socket
import urllib.error
import urllib.request

from flask import Flask, jsonify
from werkzeug.exceptions import HTTPException

METADATA = "http://169.254.169.254/latest"


def instance_id() -> str:
    """The EC2 instance id by IMDSv2 (a token first); off EC2, the host name."""
    try:
        token = _ask("PUT", "/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return _ask("GET", "/meta-data/instance-id", {"X-aws-ec2-metadata-token": token})
    except (urllib.error.URLError, OSError, ValueError):
        return socket.gethostname()


def _ask(method: str, path: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(METADATA + path, method=method, headers=headers)
    # No proxy: the metadata service answers this machine only.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=1) as answer:
        return answer.read().decode("ascii").strip()


def create_app() -> Flask:
    app = Flask(__name__)
    # Once per process: instances do not change their id.
    instance = instance_id()
    greeting = os.environ.get("GREETING", "Hello from amibake")

    @app.get("/")
    def greet():
        return jsonify(message=greeting, instance=instance)

    @app.get("/healthz")
    def healthz():
        return jsonify(status="ok")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException):
        return jsonify(error=error.name, detail=error.description), error.code

    @app.errorhandler(Exception)
    def unexpected(error: Exception):
        app.logger.exception("unexpected error")
        return jsonify(error="Internal Server Error", detail="see the log"), 500

    return app
