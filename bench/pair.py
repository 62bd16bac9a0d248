"""Machines for the benchmarks: two equal ones, reachable by SSH as root, on a network of their own."""

import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/cloud"))
from machine import Machine  # noqa: E402
from network import Network  # noqa: E402


@contextmanager
def machines(base: Path, count: int):
    """`count` booted machines, the folder with their login key `key`, and what ssh needs to be told."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the machines end with it, too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        public = (folder / "key.pub").read_text().strip()
        user_data = f'#cloud-config\nusers: [{{name: root, ssh_authorized_keys: ["{public}"]}}]\ndisable_root: false\n'
        network = Network()
        started = []
        try:
            for number in range(count):
                identity = f"i-{number:017x}"
                metadata = {"instance-id": identity, "ami-id": "ami-0", "instance-type": "t3.small",
                            "placement/availability-zone": "eu-west-1a", "hostname": f"m{number}", "local-hostname": f"m{number}"}
                machine = Machine(network, folder / identity, [base], metadata, user_data.encode())
                started.append(machine)
                machine.start(lambda: None)
            for machine in started:
                wait_for_login(machine, folder)
            yield started, folder
        finally:
            for machine in started:
                machine.discard()
            network.close()


def ssh(machine, folder: Path, command: str) -> subprocess.CompletedProcess:
    options = ["-oStrictHostKeyChecking=no", f"-oUserKnownHostsFile={folder}/known_hosts", "-oBatchMode=yes",
               "-oConnectTimeout=2", "-oLogLevel=ERROR", "-i", str(folder / "key")]
    return subprocess.run(["ssh", *options, f"root@{machine.address}", command], capture_output=True, text=True)


def wait_for_login(machine, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while ssh(machine, folder, "cloud-init status --wait").returncode not in (0, 2):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{machine.address} did not let us in")
        time.sleep(0.3)
