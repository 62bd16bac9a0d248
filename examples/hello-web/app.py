"""A small API that greets, says in each answer who gave it and what that runs, and has errors of its own."""

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path

from flask import Flask, jsonify, render_template_string, request
from werkzeug.exceptions import HTTPException

METADATA = "http://169.254.169.254/latest"
PAGE = """<!doctype html>
<html lang="en">
<title>{{ title }}</title>
<h1>{{ title }}</h1>
<p>{{ text }}</p>
<p><small>{{ instance }}, {{ version }}</small></p>
</html>
"""


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


def version(folder: Path) -> str:
    """The commit that is checked out, by git's own files: an image needs git no longer."""
    git = next((above / ".git" for above in (folder, *folder.parents) if (above / ".git" / "HEAD").is_file()), None)
    if git is None:
        return "unknown"
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if (git / name).is_file():
        return (git / name).read_text().strip()
    packed = git / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(" " + name)), "unknown")


def create_app() -> Flask:
    app = Flask(__name__)
    # Once per process: neither changes while it runs.
    instance, running = instance_id(), version(Path(__file__).resolve().parent)
    greeting = os.environ.get("GREETING", "Hello from amibake")

    @app.after_request
    def say_who(answer):
        answer.headers["X-Instance"], answer.headers["X-Version"] = instance, running
        answer.vary.add("Accept")
        return answer

    def for_reader(title: str, text: str, told: dict):
        """In HTML for browsers, in JSON for all others."""
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return render_template_string(PAGE, title=title, text=text, instance=instance, version=running)
        return jsonify(told)

    @app.get("/")
    def greet():
        return for_reader(greeting, "", {"message": greeting, "instance": instance, "version": running})

    @app.get("/healthz")
    def healthz():
        return jsonify(status="ok")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException):
        return for_reader(error.name, error.description, {"error": error.name, "detail": error.description}), error.code

    @app.errorhandler(Exception)
    def unexpected(error: Exception):
        app.logger.exception("unexpected error")
        told = {"error": "Internal Server Error", "detail": "see the log"}
        return for_reader(told["error"], told["detail"], told), 500

    return app
