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


def mount_overlay(where: Path, layers: list[Path], *more: str) -> None:
    options = ",".join(["lowerdir=" + ":".join(map(str, layers)), *more])
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(where)], check=True)


def unmount(where: Path) -> None:
    subprocess.run(["umount", "-l", str(where)], check=False, capture_output=True)


def own_groups(name: str) -> list[Path]:
    """Control groups for one machine, below ours: the systemd of a guest takes all of the one it is in."""
    ours = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    groups = []
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = mount.split(" ")
        of_systemd = kind == "cgroup" and "name=systemd" in options.split(",")
        if kind == "cgroup2" or of_systemd:
            groups.append(Path(point + ours["name=systemd" if of_systemd else ""]) / name)
    return groups


class Disk:
    """What a snapshot holds: layers, nearest first, of which the first is its own."""

    def __init__(self, layers: list[Path], folder: Path | None = None):
        self.layers, self.folder = layers, folder

    @property
    def root(self) -> Path:
        """The whole of it, to be looked at."""
        return self.folder / "root" if self.folder else self.layers[0]

    def discard(self) -> None:
        if self.folder:
            unmount(self.root)
            shutil.rmtree(self.folder, ignore_errors=True)


def layered(layers: list[Path], folder: Path) -> Disk:
    """A disk of these layers, whose first is in the folder, which is its own."""
    (folder / "root").mkdir()
    disk = Disk(layers, folder)
    mount_overlay(disk.root, disk.layers)
    return disk


class Machine:
    """A machine that can be started, stopped, copied and thrown away."""

    # What it may do beyond what nspawn lets it do.
    capabilities = ""

    def __init__(self, network: Network, folder: Path, layers: list[Path], metadata: dict, user_data: bytes):
        self.network = network
        self.folder = folder
        self.name = f"amib{network.number}-{folder.name[-8:]}"
        self.address = network.attach(self.name)
        self.metadata = metadata | {"local-ipv4": self.address, "public-ipv4": self.address,
                                    "mac": network.mac(self.name)}
        self.user_data = user_data
        self._off = False
        self._groups = own_groups(self.name)
        self._nspawn: subprocess.Popen | None = None
        self._imds: subprocess.Popen | None = None
        self._layers = layers
        self._disk = threading.Lock()  # held while it is copied
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        mount_overlay(self.root, layers, f"upperdir={folder}/upper", f"workdir={folder}/work")

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

    def public(self) -> dict[str, str]:
        """What tests are told of it."""
        return {"address": self.address, "root": str(self.root), "namespace": self.name,
                "console": str(self.console), "pid": str(self.pid)}

    def start(self, on_exit) -> None:
        """Boots; `on_exit()` is called once the machine is down, whoever turned it off."""
        self._start_imds()
        self._off = False
        self._boot()
        threading.Thread(target=self._watch, args=(on_exit,), daemon=True).start()

    def _boot(self) -> None:
        for group in self._groups:
            group.mkdir(exist_ok=True)
        join = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
        argv = ["sh", "-c", join, "sh", *map(str, self._groups), "--",
                "systemd-nspawn", "-q", "-b", "-D", str(self.root), "-M", self.name, "--register=no",
                "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--console=pipe",
                f"--network-namespace-path=/run/netns/{self.name}",
                *([f"--capability={self.capabilities}"] if self.capabilities else [])]
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
        port = str(self.network.metadata_port(self.address))
        self._imds = subprocess.Popen(
            [sys.executable, "-S", str(HERE / "imds.py"), str(self.folder), self.network.gateway, port],
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

    def copy_disk(self, to: Path) -> Disk:
        """Copies the disk as it is now: what is not of the layers below is this machine's."""
        with self._disk:
            to.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(self.folder / "upper"), str(to / "layer")], check=True)
        for leftover in (to / "layer/run", to / "layer/tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        return layered([to / "layer", *self._layers], to)

    def discard(self) -> None:
        """Removes everything of the machine, when no copy of its disk is under way."""
        self.kill()
        with self._disk:
            unmount(self.root)
        self.network.detach(self.name)
        for group in self._groups:
            subprocess.run(["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"],
                           check=False, capture_output=True)
        for trace in Path("/run/systemd/nspawn").glob(f"*/{self.name}"):
            shutil.rmtree(trace, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class NspawnHost:
    """This host, with a network for the machines and the disk that the base image has."""

    def __init__(self, base_root: Path):
        self.network = Network()
        self.base_disk = Disk([base_root])

    def machine(self, folder: Path, disk: Disk, metadata: dict, user_data: bytes, _delays) -> Machine:
        return Machine(self.network, folder, disk.layers, metadata, user_data)

    layered = staticmethod(layered)

    def close(self) -> None:
        self.network.close()
