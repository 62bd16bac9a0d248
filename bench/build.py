"""`amibake build` with one trivial task beside Packer for the same, on one test EC2 in one run.

Usage: build.py --amibake PROGRAM --base ROOT [--rounds 5] [--image-seconds 0,60]. Prints median wall
times, the number of EC2 calls, and the peak memory of the process (without Packer's plugins). Packer is given a key pair that exists, since it cannot use
another (so its CreateKeyPair and DeleteKeyPair are not counted); it keeps a plain image, while
amibake seals, boots and tests the image too.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANIFEST = """
name: bench
source: {ubuntu: "24.04"}
builder: {region: eu-west-1, instance_type: [t3.small], connect: private-ip}
provision:
  - tasks: [{name: Leave a mark, ansible.builtin.command: {cmd: touch /etc/mark}}]
image: {name: "bench-amibake-{{ build_time }}"}
"""


class Cloud:
    """The test EC2, as a child process."""

    def __init__(self, base: Path, state: Path):
        command = [sys.executable, str(ROOT / "tests/cloud/cloud.py"), "--base", str(base), "--state", str(state)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def control(self, what: str, value=None):
        body = json.dumps(value).encode() if value is not None else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_cloud/{what}", data=body)) as answer:
            return json.load(answer)

    def environment(self) -> dict[str, str]:
        return os.environ | {"AWS_ENDPOINT_URL": self.url, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test",
                             "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def template(cloud: Cloud, folder: Path) -> Path:
    builder = {"type": "amazon-ebs", "region": "eu-west-1", "custom_endpoint_ec2": cloud.url, "skip_region_validation": True,
               "skip_metadata_api_check": True, "skip_credential_validation": True, "source_ami": "ami-0ba5e0ba5e0ba5e00",
               "instance_type": "t3.small", "ssh_username": "ubuntu", "ssh_keypair_name": "bench",
               "ssh_private_key_file": str(folder / "key"), "ami_name": "bench-packer-{{timestamp}}"}
    path = folder / "packer.json"
    path.write_text(json.dumps({"builders": [builder], "provisioners": [{"type": "shell", "inline": ["sudo touch /etc/mark"]}]}))
    return path


def timed(cloud: Cloud, command: list[str]) -> tuple[float, int, collections.Counter]:
    """Seconds, KiB of memory at its peak, and calls."""
    cloud.control("clear", {})
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        child = subprocess.Popen(command, env=cloud.environment(), stdout=output, stderr=output)
        peak = 0
        while child.poll() is None:
            # What `wait4` says would be this Python's, from which the child was forked.
            peak = max(peak, high_water(child.pid))
            time.sleep(0.05)
        took = time.monotonic() - began
        if child.returncode:
            output.seek(0)
            sys.exit(f"{command} failed:\n{output.read()}")
    return took, peak, collections.Counter(call["action"] for call in cloud.control("calls"))


def high_water(process: int) -> int:
    """KiB of memory that a process has had at most; 0 if it is gone."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def newest_root(cloud: Cloud, before: set[str]) -> Path:
    (snapshot,) = set(cloud.control("roots")) - before
    return Path(cloud.control("roots")[snapshot])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image-seconds", default="0,60")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = Cloud(options.base, folder / "cloud")
        try:
            for seconds in options.image_seconds.split(","):
                measure(options, cloud, folder, float(seconds))
        finally:
            cloud.close()


def measure(options, cloud: Cloud, folder: Path, seconds: float) -> None:
    import boto3
    if not (folder / "key").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        ec2 = boto3.client("ec2", endpoint_url=cloud.url, region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t")
        ec2.import_key_pair(KeyName="bench", PublicKeyMaterial=(folder / "key.pub").read_bytes())
    (folder / "manifest.yaml").write_text(MANIFEST)
    cloud.control("delays", {"image": seconds, "snapshot": min(seconds, 0.3)})
    contenders = {"amibake": [str(options.amibake), "build", str(folder / "manifest.yaml")],
                  "packer": ["packer", "build", "-color=false", str(template(cloud, folder))]}
    print(f"image time {seconds:g} s:")
    times = {name: [] for name in contenders}
    memory, calls = collections.Counter(), {}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            before = set(cloud.control("roots"))
            took, peak, calls[name] = timed(cloud, command)
            memory[name] = max(memory[name], peak)
            times[name].append(took)
            if not (newest_root(cloud, before) / "etc/mark").exists():
                sys.exit(f"{name}'s image lacks the mark")
    for name in contenders:
        print(f"  {name:8} {statistics.median(times[name]):7.2f} s ({min(times[name]):.2f}-{max(times[name]):.2f})   {memory[name] / 1024:.0f} MiB   "
              f"{sum(calls[name].values())} calls: " + ", ".join(f"{action} {n}" for action, n in sorted(calls[name].items())))


main()
