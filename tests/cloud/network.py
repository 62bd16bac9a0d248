"""The network of one test EC2: a bridge, a subnet, and a way out for the machines' apt and pip.

Owns every address, link, namespace and firewall rule; what has the number N of this cloud in its
name is this cloud's. Two clouds at once take different numbers.
"""

import ipaddress
import socket
import subprocess
from pathlib import Path


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(argv, check=check, capture_output=True, text=True)


class Network:
    """A bridge with 10.78.N.0/24 behind it, masqueraded."""

    def __init__(self) -> None:
        self.number, self._lock = self._take_number()
        self.bridge = f"amib{self.number}"
        self.table = f"amibake_test_{self.number}"
        self.gateway = f"10.78.{self.number}.1"
        self._next = 1
        self._links: dict[str, str] = {}
        self._remove_links()
        self._create()

    @staticmethod
    def _take_number():
        """The first free number; an abstract socket holds it, and goes with this process."""
        for number in range(1, 255):
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0amibake-test-{number}")
                return number, lock
            except OSError:
                lock.close()
        raise RuntimeError("254 test clouds are running already")

    def _create(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        rules = f"""
        table ip {self.table} {{
          chain out {{
            type nat hook postrouting priority srcnat;
            ip saddr 10.78.{self.number}.0/24 ip daddr != 10.78.{self.number}.0/24 masquerade
          }}
          # The metadata service is outside of the machine, as EC2's is: port 80 of the machine is its own.
          map metadata {{ type ipv4_addr : inet_service; }}
          chain pre {{
            type nat hook prerouting priority dstnat;
            ip daddr 169.254.169.254 tcp dport 80 redirect to :ip saddr map @metadata
          }}
          # Machines whose security groups do not admit this host. SSH alone is guarded: tests ask
          # the machines for other things too.
          set closed {{ type ipv4_addr; }}
          chain in {{
            type filter hook output priority filter;
            ct state established accept
            ip daddr @closed tcp dport 22 drop
          }}
        }}"""
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def attach(self, name: str) -> str:
        """Makes the namespace `name` with an address of its own; returns the address."""
        self._next += 1
        address = f"10.78.{self.number}.{self._next}"
        outer, inner = f"{self.bridge}-{self._next}", f"{self.bridge}i{self._next}"
        self._links[name] = outer
        run("ip", "netns", "add", name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        run("ip", "link", "set", outer, "master", self.bridge, "up")
        inside = ["ip", "-n", name]
        run(*inside, "link", "set", inner, "name", "eth0")
        run(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "route", "add", "default", "via", self.gateway)
        port = self.metadata_port(address)
        run("nft", "add", "element", "ip", self.table, "metadata", f"{{ {address} : {port} }}")
        return address

    @staticmethod
    def metadata_port(address: str) -> int:
        """The port of the gateway to which what `address` asks of 169.254.169.254 goes."""
        return 8000 + int(address.rsplit(".", 1)[1])

    @staticmethod
    def addresses() -> list:
        """Every IPv4 address of this host: its machines see it come from one of them."""
        lines = run("ip", "-4", "-o", "addr", "show").stdout.splitlines()
        return [ipaddress.ip_interface(line.split()[3]).ip for line in lines]

    def admit(self, address: str, may: bool) -> None:
        """Whether new connections from here to the SSH port of `address` get through."""
        set_ = ("ip", self.table, "closed")
        if may:
            run("nft", "delete", "element", *set_, f"{{ {address} }}", check=False)
        else:
            run("nft", "add", "element", *set_, f"{{ {address} }}")

    def mac(self, name: str) -> str:
        return run("ip", "netns", "exec", name, "cat", "/sys/class/net/eth0/address").stdout.strip()

    def detach(self, name: str) -> None:
        # The far end goes with it at once; a namespace is only taken down in the background.
        run("ip", "link", "delete", self._links.pop(name, "none"), check=False)
        run("ip", "netns", "delete", name, check=False)

    def cut(self, name: str, cut: bool) -> None:
        """Drops (or restores) every packet of the machine, as a dead link does."""
        run("ip", "-n", name, "link", "set", "eth0", "down" if cut else "up", check=False)
        if not cut:
            run("ip", "-n", name, "route", "add", "default", "via", self.gateway, check=False)

    def _remove_links(self) -> None:
        for namespace in run("ip", "netns", "list").stdout.split():
            if namespace.startswith(f"amib{self.number}-"):
                run("ip", "netns", "delete", namespace, check=False)
        for line in run("ip", "-o", "link", "show").stdout.splitlines():
            link = line.split(": ")[1].split("@")[0]
            if link.startswith(f"{self.bridge}-"):
                run("ip", "link", "delete", link, check=False)
        run("ip", "link", "delete", self.bridge, check=False)
        run("nft", "delete", "table", "ip", self.table, check=False)

    def close(self) -> None:
        self._remove_links()
        self._lock.close()
