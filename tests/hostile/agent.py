"""A machine that lies: it answers amibake's command with a hostile agent's words.

Started by sshd in place of the command (ForceCommand): a mode and a folder for notes are the
arguments. What the controller answers to questions is noted as one JSON line each in `answers`.
"""

import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
RUN = re.search(r"\b(r[0-9a-f]{16})\b", os.environ["SSH_ORIGINAL_COMMAND"])[1]
SESSION = os.getppid() # asked at once: it may end while we speak
IN, OUT = sys.stdin.buffer, sys.stdout.buffer
ESCAPE = "\x1b]0;pwned\x07\x1b[2J\x9b2J\u202egpj.exe"


def linger() -> None:
    """Says nothing more, as long as its session lives."""
    while os.getppid() == SESSION:
        time.sleep(0.2)


def frame(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + kind + body


def send(message: dict) -> None:
    OUT.write(frame(b"j", json.dumps(message).encode()))
    OUT.flush()


def read() -> tuple[bytes, bytes]:
    header = IN.read(5)
    if len(header) < 5:
        sys.exit(0)
    return header[4:], IN.read(int.from_bytes(header[:4], "big") - 1)


def receive() -> dict:
    """Returns the next message, contents left out."""
    while True:
        kind, body = read()
        if kind == b"j":
            return json.loads(body)


class Told:
    """The events, with their numbers."""

    def __init__(self) -> None:
        self.next = 0

    def event(self, **fields) -> None:
        send({"to-controller": "event", "seq": self.next, "event": fields})
        self.next += 1

    def started(self, name: str) -> int:
        place = {"file": "/x.yml", "line": 1, "column": 1}
        index = self.next
        self.event(event="task-started", index=index, name=name, module="command", handler=False, place=place)
        return index

    def task(self, name: str, result: dict, diff: list[dict] = []) -> None:
        index = self.started(name)
        self.event(event="task-finished", index=index, status="ok", result=result, diff=diff, elapsed_ms=1)

    def finished(self, ok: int = 1, error: str | None = None) -> None:
        recap = {"ok": ok, "changed": 0, "unreachable": 0, "failed": 0, "skipped": 0, "rescued": 0, "ignored": 0}
        self.event(event="finished", recap=recap, error=error)


def ask(number: int, **fields) -> dict:
    send({"to-controller": "ask", "id": number, "ask": fields})
    reply = answered()
    with (FOLDER / "answers").open("a") as notes:
        notes.write(json.dumps({"ask": fields, "reply": reply}) + "\n")
    return reply


def answered() -> dict:
    """Returns the next answer, acknowledgements left out."""
    while True:
        message = receive()
        if message["to-agent"] == "answer":
            return message["reply"]


def questions(job: dict) -> list[dict]:
    playbook = job["entries"][0]["path"]
    folder = os.path.dirname(playbook)
    place = lambda line: {"file": playbook, "line": line, "column": 1}
    files = ["/etc/shadow", f"{folder}/../secret", f"{folder}/link", "secret", f"{folder}/files/../../secret",
             "/etc/passwd", f"{folder}/other.yml", f"{folder}/.hidden"]
    lookups = [("env", ["AWS_SECRET_ACCESS_KEY"], 1), ("env", ["HOME"], 2000), ("pipe", ["id"], 1),
               ("lines", ["id"], 1), ("file", ["/etc/shadow"], 1), ("password", ["/etc/shadow"], 1),
               ("pipe", ["touch " + str(FOLDER / "ran")], 1), ("env", ["A" * 100_000], 1)]
    asks = [{"ask": "file", "place": place(1), "path": path} for path in files]
    asks += [{"ask": "lookup", "place": place(line), "plugin": plugin, "terms": terms, "options": {}}
             for plugin, terms, line in lookups]
    asks += [{"ask": "lookup", "place": {"file": "/etc/passwd", "line": 1, "column": 1}, "plugin": "env",
              "terms": ["HOME"], "options": {}},
             {"ask": "look", "place": place(1), "paths": ["/etc/shadow"]},
             {"ask": "resolve", "place": place(1), "path": "/proc/self/cwd"},
             {"ask": "resolve", "place": place(1), "path": f"/proc/self/cwd/../../../../../..{folder}/files"},
             {"ask": "look", "place": place(1), "paths": [f"{folder}/files/small", "/root/.ssh/id_*"]}]
    for src, dest, flat in [("/etc/hostname", "/etc/cron.d/evil", True), ("/x/evil", "/etc/cron.d/", True),
                            ("/etc/motd", f"{folder}", False), ("/x/site.yml", f"{folder}/", True),
                            ("/etc/motd", f"{folder}/got/../..", False), ("/x", f"{folder}/got", True)]:
        asks.append({"ask": "fetch", "place": place(1), "fetch": fetch(src, dest, flat), "file": "/etc/hostname"})
    return asks


def fetch(src: str, dest: str, flat: bool, content: bytes = b"evil") -> dict:
    return {"src": src, "dest": dest, "flat": flat, "checksum": hashlib.sha1(content).hexdigest(), "validate": True}


def offer(number: int, sent: list[bytes], size: int, **fields) -> dict:
    """Offers a file that the playbook fetches, and sends these pieces of it if it is wanted."""
    send({"to-controller": "ask", "id": number, "ask": {"ask": "fetch", "file": "/x", **fields}})
    reply = answered()
    if reply["reply"] != "send":
        return reply
    send({"to-controller": "fetched", "id": number, "size": size})
    for piece in sent:
        OUT.write(frame(b"b", piece))
    OUT.flush()
    return answered()


def main() -> None:
    if MODE == "endless-line":
        while True:
            OUT.write(b"x" * 65536)
    if MODE == "stderr":
        os.write(2, (ESCAPE + "\n").encode() * 100_000)
        sys.exit(1)
    if MODE == "architecture":
        OUT.write(f"amibake {RUN} none {ESCAPE}\n".encode())
        OUT.flush()
        sys.exit(0)
    OUT.write(f"amibake {RUN} have\n".encode())
    OUT.flush()
    if MODE == "deaf":
        (FOLDER / "deaf").touch()
        linger()
    opened = receive()
    assert opened["to-agent"] == "open"
    again = (FOLDER / "connected").exists()
    (FOLDER / "connected").touch()
    send({"to-controller": "hello", "state": {"state": "unknown"}})
    if again:
        sys.exit(0)
    job = receive()
    while receive()["to-agent"] != "launch":
        pass
    told = Told()
    if MODE == "garbage":
        while True:
            OUT.write(os.urandom(65536))
    elif MODE == "huge-frame":
        OUT.write(b"\xff\xff\xff\xffj")
        while True:
            OUT.write(b"[" * 65536)
    elif MODE == "many-results":
        told.event(event="play-started", name="x")
        for _ in range(120):
            told.task("big", {"stdout": "x" * 900_000})
        told.finished(120)
    elif MODE == "honest":
        told.event(event="play-started", name="x")
        told.task("small", {"stdout": "x"})
        told.finished()
    elif MODE == "plays":
        for number in range(100):
            told.event(event="play-started", name=f"{number}" + "x" * 900_000)
        told.task("at last", {})
        told.finished()
    elif MODE == "open-tasks":
        told.event(event="play-started", name="x")
        for number in range(100):
            told.started(f"{number}" + "x" * 900_000)
        told.task("at last", {})
        told.finished()
    elif MODE == "diffs":
        told.event(event="play-started", name="x")
        sides = {"before_header": "a", "after_header": "b", "before": "x\n" * 120_000, "after": "y\n" * 120_000}
        for _ in range(5):
            told.task("diff", {}, diff=[sides])
        told.finished(5)
    elif MODE == "figures":
        told.event(event="play-started", name="x")
        told.task("small", {"stdout": "x"})
        told.finished(ok=4_294_967_295)
    elif MODE == "one-lookup":
        told.event(event="play-started", name="x")
        place = {"file": job["entries"][0]["path"], "line": 0, "column": 1}
        forged = {"ask": "lookup", "place": place, "plugin": "env", "options": {}}
        replies = [ask(number, terms=terms, **forged)["reply"]
                   for number, terms in enumerate([["HOME"] * 10_000, ["NOT_NAMED"], ["HOME"]])]
        (FOLDER / "replies").write_text(" ".join(replies))
        told.task("asked", {})
        told.finished()
    elif MODE == "tiny-values":
        told.event(event="play-started", name="x")
        while True:
            told.task("tiny", {"values": [0] * 500_000})
    elif MODE == "blobs":
        while True:
            OUT.write(frame(b"b", b"x" * (8 << 20)))
    elif MODE == "forged-number":
        told.event(event="play-started", name="x")
        told.next = 7
        told.finished()
    elif MODE == "asks":
        told.event(event="play-started", name="x")
        for number, question in enumerate(questions(job)):
            ask(number, **question)
        told.task("asked", {})
        told.finished()
    elif MODE in ("fetch", "too-many-bytes"):
        told.event(event="play-started", name="x")
        playbook = job["entries"][0]["path"]
        place = {"file": playbook, "line": 1, "column": 1}
        got = os.path.dirname(playbook) + "/got"
        if MODE == "too-many-bytes":
            offer(0, [b"x" * 1000] * 1000, 10, place=place, fetch=fetch("/etc/motd", got, False))
        replies = [offer(number, [content], len(content), place=place, fetch=fetch(src, got, False))["value"].get("msg", "fetched")
                   for number, (src, content) in enumerate([("/etc/motd", b"evil"), ("/etc/../../../motd", b"evil"),
                                                            ("../../motd", b"evil"), ("/etc/issue", b"other")])]
        (FOLDER / "replies").write_text("\n".join(replies))
        told.task("fetched", {})
        told.finished()
    elif MODE == "same-file":
        told.event(event="play-started", name="x")
        folder = os.path.dirname(job["entries"][0]["path"])
        place = {"file": job["entries"][0]["path"], "line": 1, "column": 1}
        replies = [ask(number, ask="file", place=place, path=f"{folder}/files/large")["reply"] for number in range(100)]
        (FOLDER / "sent").write_text(str(replies.count("file")))
        told.task("asked", {})
        told.finished()
    elif MODE == "never":
        told.event(event="play-started", name="x")
        (FOLDER / "following").touch()
        linger()
    elif MODE == "closes":
        told.event(event="play-started", name="x")
        sys.exit(0)
    elif MODE == "escapes":
        told.event(event="play-started", name=ESCAPE)
        told.event(event="warning", message=ESCAPE, place={"file": ESCAPE, "line": 1, "column": 1})
        told.task(ESCAPE, {"msg": ESCAPE, "stdout": ESCAPE, ESCAPE: ESCAPE})
        index = told.next
        place = {"file": ESCAPE, "line": 1, "column": 1}
        told.event(event="task-started", index=index, name=ESCAPE, module=ESCAPE, handler=False, place=place)
        told.event(event="task-output", index=index, stream="stdout", line=ESCAPE)
        diff = [{"before_header": ESCAPE, "after_header": ESCAPE, "before": ESCAPE, "after": ESCAPE + "x"}]
        told.event(event="item-finished", index=index, label=ESCAPE, status="failed", result={"msg": ESCAPE}, diff=diff)
        told.event(event="task-finished", index=index, status="failed", result={"msg": ESCAPE, "stderr": ESCAPE},
                   diff=diff, elapsed_ms=1)
        told.finished(error=ESCAPE)
    elif MODE == "died":
        send({"to-controller": "died", "last_words": ESCAPE})
    elif MODE == "failed":
        send({"to-controller": "failed", "reason": ESCAPE})
    elif MODE == "claims":
        told.event(event="play-started", name="x")
        told.finished(ok=5)
    linger()


try:
    main()
except BrokenPipeError:
    pass
