"""Machines that are switched off: what stands behind an instance where nobody logs in to it.

A guest is told to start and to power off, and says when it is down, as machine.py's machines do; what
it would say and do over SSH is for whoever tests without machines.
"""

import itertools
import socket
import threading
import time
from pathlib import Path


class EmptyDisk:
    """The disk of a machine that is switched off."""

    layers: list[Path] = []
    root = ""

    def discard(self) -> None:
        pass


class Guest:
    """One instance's machine: on or off."""

    def __init__(self, host, folder: Path, metadata: dict, user_data: bytes, delays):
        self.host, self.name = host, folder.name
        self.metadata, self.user_data = metadata, user_data
        self.address = host.network.attach()
        self._delays = delays
        self._lock = threading.Lock()
        self._on_exit = None
        self.console_output = b""

    def start(self, on_exit) -> None:
        """`on_exit()` is called once it is down, whoever turned it off."""
        with self._lock:
            self._on_exit = on_exit

    def power_off(self) -> None:
        """Takes as long as a guest's units take to stop."""
        time.sleep(self._delays.off)
        self.kill()

    def kill(self) -> None:
        with self._lock:
            on_exit, self._on_exit = self._on_exit, None
        if on_exit:
            on_exit()

    def copy_disk(self, _to: Path) -> EmptyDisk:
        return EmptyDisk()

    def console_text(self) -> bytes:
        return self.console_output

    def discard(self) -> None:
        self.kill()
        self.host.network.detach(self.address)

    def public(self) -> dict[str, str]:
        return {"address": self.address, "name": self.name,
                "admitted": "yes" if self.host.network.admitted.get(self.address) else "no",
                "user_data": self.user_data.decode("utf-8", "replace"),
                "key": self.metadata.get("public-keys/0/openssh-key", "")}


class Addresses:
    """The addresses of guests, and which of them admit this host to port 22."""

    gateway = "10.79.0.1"

    def __init__(self) -> None:
        self.admitted: dict[str, bool] = {}
        self._numbers = itertools.count(2)
        self._here = own_address()

    def attach(self) -> str:
        number = next(self._numbers)
        return f"10.79.{number // 250 % 256}.{number % 250 + 2}"

    def detach(self, address: str) -> None:
        self.admitted.pop(address, None)

    def admit(self, address: str, may: bool) -> None:
        self.admitted[address] = may

    def addresses(self) -> list[str]:
        """What this host is seen as by the guests."""
        return [self._here]

    def close(self) -> None:
        pass


def own_address() -> str:
    """The address that this host would speak to a guest from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((Addresses.gateway, 22))  # sends nothing
            return probe.getsockname()[0]
        except OSError:  # no route
            return "127.0.0.1"


class NoHost:
    """Where machines would be."""

    def __init__(self) -> None:
        self.network = Addresses()
        self.base_disk = EmptyDisk()

    def machine(self, folder: Path, _disk, metadata: dict, user_data: bytes, delays) -> Guest:
        return Guest(self, folder, metadata, user_data, delays)

    def close(self) -> None:
        pass
