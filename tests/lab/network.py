"""One network per host: a namespace, a pair of linked interfaces, NAT to the world, and ways to break it.

this machine  10.77.N.1 ── mlabN ══ eth0 ── 10.77.N.2  the host
"""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab.program import run

ALL_LABS = "10.77.0.0/16"
NUMBERS = range(1, 255)
NAMESPACES = Path("/run/netns")

# Servers for the hosts (S3) answer here: the same address for every host, so a snapshot's configuration
# stays true on the next host.
SERVICES_ADDRESS = "10.77.0.1"
SERVICES_LOCK = Path("/run/mlflow-lab-services.lock")


@dataclass(frozen=True)
class Network:
    number: int

    @property
    def namespace(self) -> str:
        return f"mlflow-lab-{self.number}"

    @property
    def link(self) -> str:
        return f"mlab{self.number}"

    @property
    def gateway(self) -> str:
        return f"10.77.{self.number}.1"

    @property
    def address(self) -> str:
        return f"10.77.{self.number}.2"

    def exists(self) -> bool:
        return (NAMESPACES / self.namespace).exists()

    def create(self) -> None:
        mtu = _mtu_to_the_world()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        run(["ip", "netns", "add", self.namespace])
        _ip(
            f"link add {self.link} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {self.namespace}",
            f"address add {self.gateway}/24 dev {self.link}",
            f"link set {self.link} up",
        )
        _ip(
            f"address add {self.address}/24 dev eth0",
            "link set lo up",
            "link set eth0 up",
            f"route add default via {self.gateway}",
            namespace=self.namespace,
        )
        masquerade = ("-s", f"{self.gateway}/24", "!", "-d", ALL_LABS, "-j", "MASQUERADE")
        self._add_rule("", "nat", "POSTROUTING", *masquerade)
        # the machine's own policy may be to forward nothing (Docker sets that)
        self._add_rule("", "filter", "FORWARD", "-i", self.link, "-j", "ACCEPT")
        self._add_rule("", "filter", "FORWARD", "-o", self.link, "-j", "ACCEPT")

    def cut(self) -> None:
        """Pull the cable: both sides hear nothing any more, and nobody is told."""
        # Taking the link down would also take the route away, and the other side would learn of it.
        self._add_rule("-cut", "raw", "PREROUTING", "-i", self.link, "-j", "DROP")
        self._add_rule("-cut", "mangle", "POSTROUTING", "-o", self.link, "-j", "DROP")

    def restore(self) -> None:
        self._delete_rules("-cut")

    def block_internet(self, target: Literal["DROP", "REJECT"] = "DROP") -> None:
        """The host reaches this machine and other lab hosts only; SSH to it goes on working."""
        self._add_rule("-internet", "filter", "FORWARD", "-i", self.link, "!", "-d", ALL_LABS, "-j", target)

    def allow_internet(self) -> None:
        self._delete_rules("-internet")

    def remove(self) -> None:
        """Take away whatever is there, also what is left of a half-made or half-removed network."""
        for suffix in ("", "-cut", "-internet"):
            self._delete_rules(suffix)
        run(["ip", "link", "delete", self.link], check=False)
        if self.exists():
            run(["ip", "netns", "delete", self.namespace])

    def _add_rule(self, suffix: str, table: str, chain: str, *rule: str) -> None:
        label = ("-m", "comment", "--comment", self.namespace + suffix)
        run(["iptables", "-w", "-t", table, "-I", chain, "1", *label, *rule])

    def _delete_rules(self, suffix: str) -> None:
        """Our rules carry our name, so they are found whoever made them."""
        table = ""
        for line in run(["iptables-save"]).stdout.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A") and self.namespace + suffix in (rule := shlex.split(line)):
                run(["iptables", "-w", "-t", table, "-D", *rule[1:]])


@contextmanager
def services_address() -> Iterator[str]:
    """Hold the address for servers; the last holder takes it away."""
    with SERVICES_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        run(["ip", "address", "replace", f"{SERVICES_ADDRESS}/32", "dev", "lo"])
        try:
            yield SERVICES_ADDRESS
        finally:
            _drop_services_address(lock.fileno())


def sweep_services_address() -> None:
    """Take the address away if a killed run left it."""
    with SERVICES_LOCK.open("w") as lock:
        _drop_services_address(lock.fileno())


def _drop_services_address(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another server still uses it
    run(["ip", "address", "delete", f"{SERVICES_ADDRESS}/32", "dev", "lo"], check=False)


def _mtu_to_the_world() -> str:
    route = run(["ip", "-4", "route", "show", "default"]).stdout.split()
    device = route[route.index("dev") + 1] if "dev" in route else "lo"
    return str(min(1500, int(Path("/sys/class/net", device, "mtu").read_text())))


def _ip(*commands: str, namespace: str | None = None) -> None:
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], input="\n".join(commands) + "\n")
