"""An EC2 on loopback whose instances are real machines, or machines that are switched off, and what stacks of them need.

Usage: cloud.py --base ROOT --state DIR [--region R]
       cloud.py --without-machines --state DIR [--region R]

The first needs root (namespaces, mounts) and systemd-nspawn; both need moto. It prints one line, the
address, once it answers; ends on SIGTERM, SIGINT, or when its standard input closes (so it never
outlives the test that started it), and leaves nothing behind.

One process serves many accounts, which know nothing of each other: the access key id AKIAACCT and
twelve digits is a key of the account with that number, made at its first use; any other key is of
the default account. /_cloud/WHAT?account=NUMBER is how a test speaks to one (control.py).
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    machines = parser.add_mutually_exclusive_group(required=True)
    machines.add_argument("--base", type=Path)
    machines.add_argument("--without-machines", action="store_true")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--region", default="eu-west-1")
    serve(parser.parse_args())


def serve(arguments) -> None:
    from accounts import Accounts
    from server import Server

    ended = threading.Event()
    accounts = Accounts(host(arguments), arguments.state.resolve(), arguments.region)
    try:
        server = Server(accounts)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), ended.set()), daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        ended.wait()
    finally:
        accounts.close()
        os._exit(0)  # held calls are threads that would be waited for


def host(arguments):
    if arguments.without_machines:
        from guest import NoHost

        return NoHost()
    from machine import NspawnHost

    return NspawnHost(arguments.base.resolve())


if __name__ == "__main__":
    main()
