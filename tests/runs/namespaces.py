"""Two nodes on this machine: network, process and host name namespaces, joined by a cable that can be pulled out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/netns")
"""`ip netns exec` mounts the files of a folder in it over those of /etc."""


class TwoNodes:
    """Names, addresses and the cable between."""

    def __init__(self) -> None:
        self.names = [f"bert{os.getpid()}n{number}" for number in range(2)]
        self.addresses = ["10.77.0.1", "10.77.0.2"]

    def start(self, node: int, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on a node."""
        inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "sh", "-c"]
        script = f'hostname {self.names[node]} && exec "$@"'
        return subprocess.Popen(["ip", "netns", "exec", self.names[node], *inside, script, "sh", *command], **options)

    def pull_out(self) -> None:
        """Cut the nodes off from each other; nobody is told."""
        ip("-n", self.names[0], "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """Join them again."""
        ip("-n", self.names[0], "link", "set", "eth0", "up")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def can_be_made() -> bool:
    """Whether this machine lets us make namespaces and cables."""
    if os.geteuid() or not all(shutil.which(program) for program in ("ip", "unshare")):
        return False
    name = f"bert{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    tried = ["ip", "netns", "exec", name, "unshare", "--pid", "--fork", "--mount-proc", "--uts", "true"]
    works = made and subprocess.run(tried, capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return works


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Make them, and take them away."""
    nodes = TwoNodes()
    hosts = "".join(f"{address} {name}\n" for address, name in zip(nodes.addresses, nodes.names, strict=True))
    try:
        for name in nodes.names:
            ip("netns", "add", name)
            (SETTINGS / name).mkdir(parents=True)
            (SETTINGS / name / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        first, second = nodes.names
        ip("link", "add", "eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        for name, address in zip(nodes.names, nodes.addresses, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            # As docs/launching.md advises, and lower: how soon the kernel gives up a connection that nobody answers.
            ip("netns", "exec", name, "sh", "-c", "echo 5 > /proc/sys/net/ipv4/tcp_retries2")
        yield nodes
    finally:
        for name in nodes.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            shutil.rmtree(SETTINGS / name, ignore_errors=True)
