"""A guest under QEMU: a machine with a kernel of its own, which boots by GRUB, and is reached by SSH on this host's loopback.

KVM where it works. Where this host is itself a guest its kernel may die under it: that is noticed, and TCG, which needs
no such thing and takes several times as long, is used instead.
"""

import contextlib
import functools
import http.server
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "amibake" / "hardening"
# A boot under TCG on a busy host.
BOOT_S = 1800
META_DATA = "instance-id: {instance}\nlocal-hostname: guest\n"
USER_DATA = "#cloud-config\nssh_authorized_keys:\n  - {key}\n"


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def image(suite: str, *prepared: str | Path) -> Path:
    """The disk that guests of a release start from, made where it is not there; for a profile, by a program."""
    path = CACHE / f"{'-'.join([suite, *map(str, prepared[:1])])}.img"
    subprocess.run([str(HERE / "image"), suite, str(path), *map(str, prepared)], check=True)
    return path


def login_key(folder: Path) -> Path:
    key = folder / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "judge", "-f", str(key)], check=True)
    return key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Metadata:
    """What cloud-init asks of NoCloud, served on this host's loopback, which the guest sees as 10.0.2.2."""

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://10.0.2.2:{self._server.server_port}/"

    def write(self, instance: str, user_data: str) -> None:
        (self.folder / "meta-data").write_text(META_DATA.format(instance=instance))
        (self.folder / "user-data").write_text(user_data)
        (self.folder / "vendor-data").write_text("")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Guest:
    """One guest, whose disk is its own over an image, or the one that another guest left."""

    accelerators = ["kvm", "tcg"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else ["tcg"]

    def __init__(self, folder: Path, backing: Path, instance: str = "i-judged", clock: str = "", ports: tuple[int, ...] = (),
                 user: str = "ubuntu"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.clock, self.user = folder, clock, user
        self.key = login_key(folder)
        self.disk = folder / "disk.qcow2"
        if not self.disk.exists():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F",
                            "qcow2" if backing.suffix == ".qcow2" else "raw", str(self.disk)], check=True)
        self.metadata = Metadata(folder / "metadata")
        self.metadata.write(instance, USER_DATA.format(key=self.key.with_suffix(".pub").read_text().strip()))
        self.ports = {port: free_port() for port in (22, *ports)}
        self._qemu: subprocess.Popen | None = None

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        self.metadata.close()

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def start(self) -> "Guest":
        """Boots until it is logged in to."""
        for accelerator in list(self.accelerators):
            begun = time.monotonic()
            self._launch(accelerator)
            if self._await_login(BOOT_S):
                say(f"{self.folder.name} is up ({accelerator}, {time.monotonic() - begun:.0f} s)")
                return self
            self.kill()
            if accelerator == "kvm":
                say("its kernel does not live under KVM here: TCG from now on")
                Guest.accelerators = ["tcg"]
        tail = self.console.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{self.folder.name} did not come up:\n{tail}")

    def _launch(self, accelerator: str) -> None:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in self.ports.items())
        argv = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else "max,la57=off",
                "-smp", "2", "-m", "2048", "-display", "none", "-monitor", "none",
                "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
                "-drive", f"file={self.disk},if=virtio,discard=unmap,cache=unsafe", "-device", "virtio-rng-pci",
                "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net",
                "-smbios", f"type=1,serial=ds=nocloud-net;s={self.metadata.url}"]
        if self.clock:
            argv += ["-rtc", f"base={self.clock}"]
        with open(self.folder / "qemu.log", "ab") as log:
            self._qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _await_login(self, patience: float, unlike: str = "") -> bool:
        """Whether its sshd lets us in, in a boot other than `unlike`."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if self._qemu.poll() is not None or self._died_under_kvm():
                return False
            done = self.run("cat /proc/sys/kernel/random/boot_id", patience=30, root=False)
            if done.returncode == 0 and done.stdout.strip() != unlike:
                return True
            time.sleep(1)
        return False

    def _died_under_kvm(self) -> bool:
        log = self.folder / "qemu.log"
        return "KVM internal error" in log.read_text(errors="replace") if log.exists() else False

    def ssh(self, *options: str) -> list[str]:
        """The command that runs another in it."""
        return ["ssh", "-p", str(self.ports[22]), "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-F", "none",
                "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=40", *options, f"{self.user}@127.0.0.1"]

    @property
    def reach(self) -> list[str]:
        """The command that runs another in it as root."""
        return [*self.ssh(), "sudo", "-n"]

    def run(self, script: str, patience: float = 900, root: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess:
        """Runs a shell script in it."""
        command = ("sudo -n " if root else "") + "sh -c " + shlex.quote(script)
        try:
            done = subprocess.run([*self.ssh(), command], input=stdin if stdin is not None else b"", capture_output=True, timeout=patience)
        except subprocess.TimeoutExpired as late:
            return subprocess.CompletedProcess(late.cmd, 124, "", f"it had not ended after {patience:.0f} s")
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def must(self, script: str, patience: float = 900, root: bool = True) -> str:
        """What a script that has to succeed prints."""
        done = self.run(script, patience, root)
        if done.returncode:
            raise RuntimeError(f"{script!r} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def write(self, path: str, content: bytes) -> None:
        done = self.run(f"cat >{shlex.quote(path)}", stdin=content)
        if done.returncode:
            raise RuntimeError(f"{path} could not be written: {done.stderr}")

    def read(self, path: str) -> bytes:
        done = subprocess.run([*self.reach, "cat", path], stdin=subprocess.DEVNULL, capture_output=True)
        return done.stdout

    def reboot(self) -> None:
        before = self.must("cat /proc/sys/kernel/random/boot_id").strip()
        self.run("systemctl reboot", patience=60)
        begun = time.monotonic()
        if not self._await_login(BOOT_S, unlike=before):
            tail = self.console.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"it did not come back from its reboot:\n{tail}")
        say(f"{self.folder.name} was rebooted ({time.monotonic() - begun:.0f} s)")

    def settled(self) -> str:
        """Waits for the end of its boot; `running`, or `degraded`."""
        return self.run("cloud-init status --wait >/dev/null 2>&1; systemctl is-system-running --wait", BOOT_S).stdout.strip()

    def power_off(self) -> None:
        self.run("systemctl poweroff", patience=60)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._qemu.wait(120)
        self.kill()

    def kill(self) -> None:
        if self._qemu and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()
