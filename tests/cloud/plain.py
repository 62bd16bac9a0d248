"""One machine with SSH and nothing else of a cloud: for tests of `apply`.

Prints its address and its root folder. It ends, and everything of it goes, when standard input closes.
"""

import sys
import tempfile
from pathlib import Path

from machine import Machine
from network import Network

METADATA = {"instance-id": "i-0123456789abcdef0", "ami-id": "ami-0", "instance-type": "t3.small",
            "placement/availability-zone": "eu-west-1a", "hostname": "plain", "local-hostname": "plain"}


def main() -> None:
    base, key = Path(sys.argv[1]), sys.argv[2]
    user_data = f"#cloud-config\nssh_authorized_keys: ['{key}']\n".encode()
    network = Network()
    with tempfile.TemporaryDirectory(prefix="amibake-plain-") as folder:
        machine = Machine(network, Path(folder) / f"i-{network.number:08d}", [base], METADATA, user_data)
        try:
            machine.start(lambda: None)
            print(machine.address, machine.root, flush=True)
            sys.stdin.read()  # until nobody wants it any more
        finally:
            machine.discard()
            network.close()


main()
