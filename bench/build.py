"""`amibake build` with one trivial task beside Packer for the same, on one test EC2 in one run.

Usage: build.py --amibake PROGRAM --base ROOT [--image-seconds 0:5,60:3,300:1]: how long EC2 takes for an image, and how
many rounds of that. Prints median wall times, the number of EC2 calls, and the peak memory of the process (without
Packer's plugins). Packer is given a key pair that exists, since it cannot use another (so its CreateKeyPair and
DeleteKeyPair are not counted); it keeps a plain image, while amibake seals, boots and tests the image too.

Then each is killed by SIGKILL while it waits for its image, and what that leaves in the account is printed: at once,
after the image has come, and, for amibake, after `amibake reap`. Packer has no such command.
"""

import argparse
import collections
import json
import os
import signal
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
  - tasks: [{name: Leave a mark ROUND, ansible.builtin.command: {cmd: touch /etc/mark}}]
image: {name: "bench-amibake-{{ build_time }}"}
"""


class Cloud:
    """The test EC2, as a child process."""

    def __init__(self, base: Path, state: Path):
        command = [sys.executable, str(ROOT / "tests/cloud/cloud.py"), "--base", str(base), "--state", str(state)]
        self.state = state
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def control(self, what: str, value=None):
        body = json.dumps(value).encode() if value is not None else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/_cloud/{what}", data=body)) as answer:
            return json.load(answer)

    def environment(self) -> dict[str, str]:
        return os.environ | {"XDG_STATE_HOME": str(self.state / "home"), "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "test",
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
    parser.add_argument("--image-seconds", default="0:5,60:3,300:1")
    parser.add_argument("--only-killed", action="store_true", help="measure nothing, kill")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud = Cloud(options.base, folder / "cloud")
        try:
            contenders = prepare(options, cloud, folder)
            for pair in [] if options.only_killed else options.image_seconds.split(","):
                seconds, rounds = pair.split(":")
                measure(contenders, cloud, float(seconds), int(rounds))
            for name in contenders:
                kill(name, contenders, cloud)
        finally:
            cloud.close()


def prepare(options, cloud: Cloud, folder: Path) -> dict[str, list[str]]:
    """What they need, and the command of each."""
    import boto3
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    ec2 = boto3.client("ec2", endpoint_url=cloud.url, region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t")
    ec2.import_key_pair(KeyName="bench", PublicKeyMaterial=(folder / "key.pub").read_bytes())
    return {"amibake": [str(options.amibake), "build", str(folder / "manifest.yaml")],
            "packer": ["packer", "build", "-color=false", str(template(cloud, folder))]}


def something_new(contenders: dict[str, list[str]]) -> None:
    """Another manifest each time: amibake would find its image again."""
    Path(contenders["amibake"][-1]).write_text(MANIFEST.replace("ROUND", str(time.monotonic_ns())))


def measure(contenders: dict[str, list[str]], cloud: Cloud, seconds: float, rounds: int) -> None:
    cloud.control("delays", {"image": seconds, "snapshot": min(seconds, 0.3)})
    print(f"image time {seconds:g} s, {rounds} rounds:", flush=True)
    times = {name: [] for name in contenders}
    memory, calls = collections.Counter(), {}
    for _ in range(rounds):
        for name, command in contenders.items():
            something_new(contenders)
            before = set(cloud.control("roots"))
            took, peak, calls[name] = timed(cloud, command)
            memory[name] = max(memory[name], peak)
            times[name].append(took)
            if not (newest_root(cloud, before) / "etc/mark").exists():
                sys.exit(f"{name}'s image lacks the mark")
    for name in contenders:
        print(f"  {name:8} {statistics.median(times[name]):7.2f} s ({min(times[name]):.2f}-{max(times[name]):.2f})   {memory[name] / 1024:.0f} MiB   "
              f"{sum(calls[name].values())} calls: " + ", ".join(f"{action} {n}" for action, n in sorted(calls[name].items())), flush=True)


def kill(name: str, contenders: dict[str, list[str]], cloud: Cloud) -> None:
    """Kills one while it waits for its image, and prints what that leaves."""
    cloud.control("delays", {"image": 20, "snapshot": 0.3})
    cloud.control("clear", {})
    something_new(contenders)
    before = cloud.control("inventory")
    child = subprocess.Popen(contenders[name], env=cloud.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True)
    while not any(call["action"] == "CreateImage" for call in cloud.control("calls")):
        if child.poll() is not None:
            sys.exit(f"{name} ended before it made an image")
        time.sleep(0.2)
    time.sleep(3)
    os.killpg(child.pid, signal.SIGKILL)  # with Packer's plugins, which are processes of their own
    child.wait()
    print(f"{name}, killed while it waited for its image, leaves: {left(cloud, before)}")
    time.sleep(25)
    print(f"  when the image has come: {left(cloud, before)}")
    if name == "amibake":
        subprocess.run([contenders[name][0], "reap", "--region", "eu-west-1"], env=cloud.environment(), check=True, stdout=subprocess.DEVNULL)
        print(f"  after `amibake reap`: {left(cloud, before)}")


def left(cloud: Cloud, before: dict[str, list[str]]) -> str:
    now = cloud.control("inventory")
    more = {kind: len(set(ids) - set(before.get(kind, []))) for kind, ids in now.items()}
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in more.items() if count) or "nothing"


main()
