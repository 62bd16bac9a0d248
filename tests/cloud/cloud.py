"""An EC2 on loopback whose instances are real machines.

Usage: cloud.py --base ROOT --state DIR [--region R]. Needs root (namespaces, mounts), moto and
systemd-nspawn. Prints one line, the address, once it answers; ends on SIGTERM, SIGINT, or when its
standard input closes (so it never outlives the test that started it), and leaves nothing behind.
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--region", default="eu-west-1")
    arguments = parser.parse_args()
    serve(arguments)


def serve(arguments) -> None:
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from lifecycle import Cloud
    from network import Network
    from wire import Wire

    arguments.state.mkdir(parents=True, exist_ok=True)
    cloud = Cloud(arguments.state.resolve(), arguments.base.resolve(), Network(), arguments.region)
    ended = threading.Event()
    try:
        wire = Wire(DomainDispatcherApplication(create_backend_app), cloud)
        server = make_server("127.0.0.1", 0, wire, threaded=True, request_handler=quiet(MotoRequestHandler))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), ended.set()), daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        ended.wait()
    finally:
        cloud.close()
        os._exit(0)  # held calls are threads that would be waited for


def quiet(handler):
    return type("Handler", (handler,), {"log": lambda *_: None})


if __name__ == "__main__":
    main()
