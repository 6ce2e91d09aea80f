"""A node with pods: namespaces, cgroups and processes of the test's own, written to a ledger before they are made."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from meshlab.dataplanes.sidecarless.plan import PlaneOf
from meshlab.dataplanes.sidecarless.pods import Pod, other_end
from meshlab.kit import cgroups
from meshlab.kit.ledger import Ledger
from meshlab.kit.processes import joined

TALK = str(Path(__file__).with_name("talk.py"))
NAMES = ("a", "b", "c", "plain")
NETWORK = "10.91.0"


@dataclass
class Bench:
    """Pods a, b, c (sidecarless) and plain (no mesh) on one bridge, each with a cgroup; Envoy has its own."""

    lab: str
    ledger: Ledger
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def group(self) -> Path:
        return cgroups.lab_group(self.lab)

    @property
    def pods_group(self) -> Path:
        return self.group / "pods"

    @property
    def proxy_group(self) -> Path:
        return self.group / "envoy"

    def netns(self, pod: str) -> str:
        return f"/run/netns/ml-{self.lab}-{pod}"

    def ip(self, pod: str) -> str:
        return f"{NETWORK}.{11 + NAMES.index(pod)}"

    def pod(self, name: str) -> Pod:
        number = 1 + NAMES.index(name)
        plane = PlaneOf.NONE if name == "plain" else PlaneOf.SIDECARLESS
        link = other_end(self.netns(name))
        return Pod(number, 100 + number, self.ip(name), self.netns(name), plane, link, self.netns("node"))

    def up(self) -> None:
        self.ledger.record("cgroup", str(self.group))
        for group in (self.proxy_group, *(self.pods_group / name for name in NAMES)):
            group.mkdir(parents=True)
        node = self._space("node")
        _ip(f"-n {node} link add pods type bridge", f"-n {node} addr add {NETWORK}.1/24 dev pods",
            f"-n {node} link set pods up")  # fmt: skip
        for name in NAMES:
            space = self._space(name)
            _ip(f"-n {node} link add p-{name} type veth peer name eth0 netns {space}",
                f"-n {node} link set p-{name} master pods up", f"-n {space} addr add {self.ip(name)}/24 dev eth0",
                f"-n {space} link set eth0 up", f"-n {space} route add default via {NETWORK}.1")  # fmt: skip

    def _space(self, name: str) -> str:
        space = f"ml-{self.lab}-{name}"
        self.ledger.record("netns", space)
        _ip(f"netns add {space}", f"-n {space} link set lo up")
        return space

    def command(self, pod: str, argv: list[str], group: Path | None = None) -> list[str]:
        return joined(group or self.pods_group / pod, ["nsenter", f"--net={self.netns(pod)}", *argv])

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a process that says a line when it is ready; it ends with the bench at the latest."""
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline(), command
        return child

    def serve(self, pod: str, port: int = 8080, host: str = "0.0.0.0") -> subprocess.Popen[str]:
        return self.start(self.command(pod, [sys.executable, "-I", TALK, "serve", str(port), pod, host]))

    def proxy(self, pods: tuple[str, ...] = NAMES, ports: str = "15001,15006") -> subprocess.Popen[str]:
        spaces = ",".join(self.netns(name) for name in pods)
        return self.start(joined(self.proxy_group, [sys.executable, "-I", TALK, "proxy", spaces, ports]))

    def run(self, pod: str, code: str, *args: str, group: Path | None = None) -> str:
        """Python inside a pod; what it printed."""
        command = self.command(pod, [sys.executable, "-I", "-c", PRELUDE + code, *args], group)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, pod: str, host: str, port: int = 8080) -> str:
        """The first line that a connection from a pod is told, or the name of the error."""
        return self.run(pod, "print(ask(sys.argv[1], int(sys.argv[2])))", host, str(port)).strip()

    def stop(self, *children: subprocess.Popen[str]) -> None:
        for child in children or self.children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        self.children = [child for child in self.children if child.returncode is None]

    def down(self) -> None:
        self.stop()
        self.ledger.undo_all()


PRELUDE = """
import collections, errno, json, os, socket, sys, threading
def line(sock):
    data = b""
    while not data.endswith(b"\\n"):
        more = sock.recv(4096)
        if not more: return "closed"
        data += more
    return data.decode().strip()
def ask(host, port, family=socket.AF_INET):
    with socket.socket(family) as sock:
        sock.settimeout(10)
        try:
            sock.connect((host, port))
            return line(sock)
        except OSError as error:
            return errno.errorcode.get(error.errno, repr(error))
"""


def seen(answer: str) -> dict[str, list[object]]:
    """What the stand-in for Envoy saw of a connection."""
    assert answer.startswith("proxy "), answer
    found: dict[str, list[object]] = json.loads(answer.removeprefix("proxy "))
    return found


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
