"""Throw-away machines on which one script runs, as a service of their own systemd, and which are gone afterwards.

What a machine is like, its network and its end are the test EC2's (tests/cloud/machine.py).
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cloud"))
from machine import Machine  # noqa: E402
from network import Network  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "amibake"
CORE = "ansible-core==2.19.14"
SERVICE = """[Unit]
After=multi-user.target network.target dbus.service
[Service]
Type=oneshot
ExecStart=-/bin/bash /conformance/script
ExecStartPost=/bin/touch /conformance/out/done
StandardInput=null
StandardOutput=file:/conformance/out/console
StandardError=inherit
[Install]
WantedBy=multi-user.target
"""


def source_package() -> Path:
    """Ansible's source package, with its integration targets: downloaded once."""
    found = sorted(CACHE.glob("ansible_core-2.19.14.tar.gz"))
    if not found:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                        "--dest", str(CACHE), CORE], check=True)
        found = sorted(CACHE.glob("ansible_core-2.19.14.tar.gz"))
    return found[0]


def programs(argument: str | None) -> list[Path]:
    """Our program and its agent, as cargo made them."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
    program = Path(argument) if argument else target / "debug/amibake"
    agent = target / f"agent/amibake-agent-{os.uname().machine}"
    missing = [str(path) for path in (program, agent) if not path.exists()]
    if missing:
        sys.exit(f"error: {' and '.join(missing)}: not there\n"
                 "hint: cargo build --no-default-features && cargo xtask agent --quick")
    return [program, agent, Path(f"{agent}.gz")]


class Throwaway(Machine):
    """One whose firewall is its own, as on a machine of EC2."""

    capabilities = "CAP_NET_ADMIN"


class Machines:
    """A network and a clean root, on which any number of machines lie, one after the other or a few at once."""

    def __init__(self, programs: list[Path], layers: list[Path] | None = None):
        base = Path(os.environ.get("AMIBAKE_TEST_ROOT", CACHE / "test-root"))
        subprocess.run([str(HERE.parent / "cloud/base-root"), str(base)], check=True)
        self.root = CACHE / "conformance-root"
        subprocess.run([str(HERE / "root"), str(base), str(self.root), str(source_package())], check=True)
        self.layers = [*(layers or []), self.root]
        self.programs = programs
        self.network = Network()
        self.folder = Path(tempfile.mkdtemp(prefix="amibake-conformance-", dir="/var/tmp"))
        self._numbers = itertools.count(1)
        self._making = threading.Lock()  # the network counts its addresses
        self._over = threading.Event()

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def over(self) -> None:
        """Whoever ends this gets its machines away, too: none waits for its script any longer."""
        self._over.set()

    def __exit__(self, *_):
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, script: str, patience: float, prepare=lambda root: None) -> dict[str, str]:
        """Boots a machine, runs the script in it, and returns the text of each file that it left in /conformance/out."""
        with self._making:
            machine = Throwaway(self.network, self.folder / f"m{os.getpid()}-{next(self._numbers)}", self.layers, {}, b"")
        try:
            out = self._furnish(machine.root, script)
            prepare(machine.root)
            machine.start(lambda: None)
            end = time.monotonic() + patience
            while not (out / "done").exists() and time.monotonic() < end and not self._over.is_set():
                time.sleep(0.1)
            if self._over.is_set():
                raise InterruptedError("the run is over")
            ended = (out / "done").exists()
            texts = {path.name: path.read_text(errors="replace") for path in out.iterdir() if path.is_file()}
            return texts | ({} if ended else {"late": f"it had not ended after {patience:.0f} s"})
        finally:
            with self._making:
                machine.discard()

    def _furnish(self, root: Path, script: str) -> Path:
        ours = root / "conformance"
        for folder in ("bin", "callbacks", "out"):
            (ours / folder).mkdir(parents=True)
        shutil.copy(HERE / "inside/ansible-playbook", ours / "bin")
        shutil.copy(HERE / "inside/note_tasks.py", ours / "callbacks")
        shutil.copytree(HERE / "inside/outside", ours / "outside")
        for program in self.programs:
            shutil.copy(program, ours / "bin")
        (ours / "script").write_text(script)
        units = root / "etc/systemd/system"
        (units / "conformance.service").write_text(SERVICE)
        wanted = units / "multi-user.target.wants/conformance.service"
        wanted.parent.mkdir(exist_ok=True)
        wanted.symlink_to("/etc/systemd/system/conformance.service")
        return ours / "out"
