"""One instance's machine: a systemd-nspawn container on an overlay of its image's root.

Owns the processes, the mounts and the metadata service of a machine; states and ids are EC2's
(lifecycle.py).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from network import Network

# nspawn's exit status when its guest reboots: whoever started it starts it again.
REBOOT = 133

HERE = Path(__file__).parent


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Machine:
    """A machine that can be started, stopped, copied and thrown away."""

    def __init__(self, network: Network, folder: Path, lower: Path, metadata: dict, user_data: bytes):
        self.network = network
        self.folder = folder
        self.name = f"amib{network.number}-{folder.name[-8:]}"
        self.address = network.attach(self.name)
        self.metadata = metadata | {"local-ipv4": self.address, "public-ipv4": self.address,
                                    "mac": network.mac(self.name)}
        self.user_data = user_data
        self._off = False
        self._nspawn: subprocess.Popen | None = None
        self._imds: subprocess.Popen | None = None
        self._lower = lower
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        self._mount()

    def _mount(self) -> None:
        options = f"lowerdir={self._lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def pid(self) -> int | None:
        """The guest's first process, as this host numbers it."""
        return next(iter(children(self._nspawn.pid)), None) if self._nspawn else None

    def console_text(self) -> bytes:
        """What EC2's console would show: nspawn's own words and cloud-init's."""
        sources = (self.console, self.root / "var/log/cloud-init-output.log")
        return b"".join(s.read_bytes() for s in sources if s.exists())[-65536:]

    def start(self, on_exit) -> None:
        """Boots; `on_exit()` is called once the machine is down, whoever turned it off."""
        self._start_imds()
        self._off = False
        self._boot()
        threading.Thread(target=self._watch, args=(on_exit,), daemon=True).start()

    def _boot(self) -> None:
        argv = ["systemd-nspawn", "-q", "-b", "-D", str(self.root), "-M", self.name, "--register=no",
                "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--console=pipe",
                f"--network-namespace-path=/run/netns/{self.name}"]
        with open(self.console, "ab") as console:
            self._nspawn = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=console, start_new_session=True)

    def _watch(self, on_exit) -> None:
        while self._nspawn.wait() == REBOOT and not self._off:
            self._boot()
        on_exit()

    def _start_imds(self) -> None:
        (self.folder / "user-data").write_bytes(self.user_data)
        lines = "".join(f"{key}\t{value}\n" for key, value in self.metadata.items())
        (self.folder / "meta-data").write_text(lines)
        self._imds = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-S", str(HERE / "imds.py"), str(self.folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.folder / "imds.log", "ab"))

    def power_off(self, grace: float = 20) -> None:
        """Asks for a clean power-off, then insists."""
        self._off = True
        self._end(self._nspawn, signal.SIGTERM, grace)
        self.kill()

    def kill(self) -> None:
        """Pulls the plug: on the guest's first process, which would outlive nspawn."""
        self._off = True
        for _ in range(50):
            if self._nspawn is None or self._nspawn.poll() is not None:
                break
            for child in children(self._nspawn.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(0.2)
        self._end(self._nspawn, signal.SIGKILL, 10)
        self._end(self._imds, signal.SIGKILL, 5)

    @staticmethod
    def _end(process: subprocess.Popen | None, number: int, grace: float) -> None:
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)

    def copy_root(self, to: Path) -> None:
        """Copies the disk as it is now."""
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.root), str(to)], check=True)
        for leftover in (to / "run", to / "tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
            leftover.mkdir(mode=0o755)
        os.chmod(to / "tmp", 0o1777)

    def discard(self) -> None:
        """Removes everything of the machine."""
        self.kill()
        subprocess.run(["umount", "-l", str(self.root)], check=False, capture_output=True)
        self.network.detach(self.name)
        for trace in Path("/run/systemd/nspawn").glob(f"*/{self.name}"):
            shutil.rmtree(trace, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
