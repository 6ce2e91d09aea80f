"""Atomic policy, nothing left behind by connections, an agent that dies, and removal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshlab.dataplanes.sidecarless import libbpf, pins, source
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Address, Plan, PlaneOf, Rule, Service
from meshlab.errors import CannotRun, MeshlabError
from meshlab.kit import bpffs
from meshlab.model.kernel import KernelBackend
from meshlab.model.outcomes import Reason
from tests.bpf.conftest import eventually, nothing_left
from tests.bpf.test_connect import ALL, ALLOW, DENY, VIP, balanced, defaults
from tests.bpf.topology import NAMES, PRELUDE, Bench

TOWARDS = """
counted, ends = collections.Counter(), threading.Event()
def work():
    while not ends.is_set():
        counted[ask(sys.argv[1], 80)] += 1
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
print("ready", flush=True)
sys.stdin.readline()
ends.set()
for thread in threads: thread.join()
print(json.dumps(counted))
"""


class Load:
    """Connections from pod a to the service, until asked what came of them."""

    def __init__(self, bench: Bench, code: str = TOWARDS, pod: str = "a") -> None:
        command = bench.command(pod, [sys.executable, "-I", "-c", PRELUDE + code, VIP])
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"

    def tally(self) -> dict[str, int]:
        out, _ = self._child.communicate("\n", timeout=60)
        found: dict[str, int] = json.loads(out)
        return found


def test_a_connection_sees_the_old_or_the_new_never_a_mixture(bench: Bench, node: KernelNode) -> None:
    """Old: all to b, which alone may be reached. New: all to c, likewise. A mixture of both would be refused."""
    bench.serve("b"), bench.serve("c")
    plans = (
        Plan((balanced(bench, 1, 0),), defaults((1, ALLOW), (2, ALLOW), (3, DENY))),
        Plan((balanced(bench, 0, 1),), defaults((1, ALLOW), (2, DENY), (3, ALLOW))),
    )
    node.apply(plans[0])
    load = Load(bench)
    for number in range(101):
        assert node.apply(plans[(number + 1) % 2]) == number + 2
    found = load.tally()
    assert found.keys() == {"b", "c"}, found
    counted = node.counters()
    assert counted["denied_at_source"] == counted["denied_at_destination"] == 0
    assert min(found.values()) > 0


def test_a_plan_that_does_not_fit_changes_nothing(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), ALL))
    room = node.tables["rules"].max_entries // 2
    many = tuple(Rule(1 + number // 60000, ALLOW, Reason.OK, number % 60000 + 1) for number in range(room + 1))
    with pytest.raises(MeshlabError, match=f"{room + 1} entries of rules, and this node has room for {room}"):
        node.apply(Plan((), many))
    assert node.generation == 1
    assert bench.ask("a", bench.ip("b")) == "b"


def test_ten_thousand_policies_fit(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    many = tuple(Rule(2, ALLOW, Reason.POLICY_ALLOW, 8080, source, source) for source in range(200, 10_200))
    mine = Rule(2, ALLOW, Reason.POLICY_ALLOW, 8080, bench.pod("a").identity, 7)
    node.apply(Plan((), (*many, mine, *defaults((2, DENY)))))
    assert len(node.tables["rules"].raw()) == 10_002
    assert (bench.ask("a", bench.ip("b")), bench.ask("c", bench.ip("b"))) == ("b", "ECONNREFUSED")


def test_a_thousand_services_fit_in_32_megabytes(node: KernelNode) -> None:
    def plan(port: int) -> Plan:
        backends = tuple(KernelBackend(f"10.91.7.{number}", port) for number in range(1, 6))
        return Plan(tuple(Service(n, f"10.96.{n // 250}.{n % 250 + 1}", 80, backends) for n in range(1, 1001)), ALL)

    before = node.map_bytes()
    for port in (8080, 8081):  # both slots
        node.apply(plan(port))
    assert before < node.map_bytes() <= 32 << 20


def test_a_plan_may_name_every_address_of_the_mesh(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), ALL, (Address(bench.ip("b"), 2, 102), Address("10.92.0.5", 77, 177))))
    assert bench.ask("a", bench.ip("b")) == "b"
    node.apply(Plan((), ALL))
    assert bench.ask("a", bench.ip("b")) == "b"


def test_an_old_generation_leaves_its_slot(bench: Bench, node: KernelNode) -> None:
    for _ in range(3):
        node.apply(Plan((balanced(bench),), ALL, (Address("10.92.0.5"),)))
    node.apply(Plan())
    node.apply(Plan())
    for name in ("services", "backends", "rules", "endpoints"):
        assert node.tables[name].raw() == {}, name
    assert len(node.tables["addresses"].raw()) == len(NAMES)


STORM = """
def work(number):
    for turn in range(25):
        sock = socket.socket()
        try: sock.connect((sys.argv[1 + turn % 4], 80))
        except OSError: pass
        if turn % 3 == 1: sock.setsockopt(1, 13, bytes([1, 0, 0, 0, 0, 0, 0, 0]))  # a reset instead of an end
        if turn % 5 == 1: sock.shutdown(socket.SHUT_RDWR) if turn % 4 == 0 else None
        sock.close()
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_100_storms_leave_no_entry_behind(bench: Bench, node: KernelNode) -> None:
    """To a backend, to a port where nobody listens, to the proxy, to a pod that denies; ended, reset and refused."""
    bench.serve("b"), bench.serve("c"), bench.proxy()
    services = (
        balanced(bench),
        Service(2, "10.96.0.2", 80, (KernelBackend(bench.ip("b"), 1),)),
        Service(3, "10.96.0.3", 80, proxy=True),
        Service(4, "10.96.0.4", 80, (KernelBackend(bench.ip("a"), 8080),)),
    )
    node.apply(Plan(services, defaults((1, DENY), (2, ALLOW), (3, ALLOW))))
    rounds = "for _ in range(100):\n" + "".join(f"    {line}\n" for line in STORM.strip().splitlines())
    bench.run("a", rounds, VIP, "10.96.0.2", "10.96.0.3", "10.96.0.4")
    counted = node.counters()
    assert counted["connects"] == 100 * 8 * 25
    assert counted["flows"] > 0
    for name in ("flows", "originals"):
        eventually(lambda n=name: node.tables[n].raw() == {}, f"{name} are left")
    counted = node.counters()
    assert counted["flows_ended"] == counted["flows"]
    assert counted["flows_lost"] == counted["originals_lost"] == counted["storage_lost"] == 0
    assert [load.open for _, load in node.tables["endpoints"].items()] == [0] * 4


AGENT = """
import sys, threading
from pathlib import Path
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.pods import Pod
lab, pods, proxy, *given = sys.argv[1:]
node = KernelNode.open(lab, "node-1")
node.attach(pods=Path(pods), proxy=Path(proxy))
for text in given:
    index, identity, ip, netns = text.split(",")
    node.add_pod(Pod(int(index), int(identity), ip, netns))
print("ready", flush=True)
threading.Event().wait()
"""


def agent(bench: Bench) -> subprocess.Popen[str]:
    pods = [bench.pod(name) for name in NAMES[:3]]
    words = [f"{pod.index},{pod.identity},{pod.ip},{pod.netns}" for pod in pods]
    groups = [str(bench.pods_group), str(bench.proxy_group)]
    return bench.start([sys.executable, "-c", AGENT, bench.lab, *groups, *words])


def test_an_agent_that_is_killed_goes_on_enforcing_and_its_heir_takes_over(bench: Bench) -> None:
    bench.serve("b"), bench.serve("c")
    first = agent(bench)
    try:
        with KernelNode.open(bench.lab, "node-1") as reader:
            reader.apply(Plan((balanced(bench),), (*ALL, Rule(3, ALLOW, Reason.OK, 8080, 101))))
        load = Load(bench)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert bench.ask("a", VIP, 80) in {"b", "c"}
        assert bench.ask("plain", bench.ip("b")) == "ECONNREFUSED"
        agent(bench)
        with KernelNode.open(bench.lab, "node-1") as heir:
            assert heir.pods() == {bench.pod(n).ip: (bench.pod(n).index, bench.pod(n).identity) for n in NAMES[:3]}
            assert heir.generation == 1
            heir.apply(Plan((balanced(bench),), (*ALL, Rule(2, DENY, Reason.POLICY_DENY, 9))))
            found = load.tally()
            assert found.keys() == {"b", "c"}, found
            ids = heir.ids()
        bench.stop()
    finally:
        bench.stop()
        bpffs.remove(bpffs.pins_of(bench.lab))
    nothing_left(bench.lab, ids)


def test_a_group_that_was_made_again_is_attached_again(bench: Bench, node: KernelNode) -> None:
    """A link to a cgroup that has gone is no link."""
    group = bench.group / "other"
    group.mkdir()
    try:
        node.attach(pods=group, proxy=bench.proxy_group)
        before = _attached_at(bench, "connect4")
        group.rmdir()
        group.mkdir()
        node.attach(pods=group, proxy=bench.proxy_group)
        after = _attached_at(bench, "connect4")
        assert before != after == group.stat().st_ino
    finally:
        group.rmdir()


def _attached_at(bench: Bench, name: str) -> int:
    link = libbpf.open_pin(pins.folder(bench.lab, "node-1") / f"link-{name}")
    try:
        return libbpf.link_target(link)
    finally:
        os.close(link)


def test_what_cannot_be_attached_leaves_nothing_attached(bench: Bench, tmp_path: Path) -> None:
    with KernelNode.open(bench.lab, "node-1") as node:
        ids = node.ids()
        try:
            with pytest.raises(CannotRun, match="the kernel refuses"):
                node.attach(pods=tmp_path, proxy=bench.proxy_group)  # not a cgroup
            assert not list(pins.folder(bench.lab, "node-1").glob("link-*"))
        finally:
            node.remove()
    nothing_left(bench.lab, ids)


def test_a_text_that_does_not_compile_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "program", lambda _: "int broken(void) { return nonsense; }")
    with pytest.raises(CannotRun, match="nonsense"):
        KernelNode.open(bench.lab, "node-1")
    assert not Path("/sys/fs/bpf/meshlab", bench.lab).exists()


def test_programs_stay_well_below_the_verifiers_limit(node: KernelNode) -> None:
    walked = node.verified()
    assert max(walked.values()) < 300_000, walked  # of a million; reading heads has the most
    assert {name for name, count in walked.items() if count > 5_000} <= {"egress"}


def test_two_nodes_of_one_kernel_do_not_mix(bench: Bench, node: KernelNode) -> None:
    """The local runtime's nodes share a kernel and a cgroup tree: each judges only pods that it knows."""
    bench.serve("b")
    node.apply(Plan((), ALL))
    with KernelNode.open(bench.lab, "node-2") as other:
        other.attach(pods=bench.pods_group, proxy=bench.proxy_group)
        other.apply(Plan((), defaults((2, DENY))))
        assert bench.ask("a", bench.ip("b")) == "b"
        assert other.counters()["connects"] == 0
        other.remove()
    assert bench.ask("a", bench.ip("b")) == "b"


FULL = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
server = socket.socket(); server.setsockopt(1, 2, 1); server.bind(("0.0.0.0", 8080)); server.listen(0)
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
while True:
    connection, _ = server.accept(); connection.sendall(b"b\\n"); connection.close()
"""
WAITING = """
import select
sock = socket.socket(); sock.setblocking(False)
assert sock.connect_ex((sys.argv[1], 8080)) == errno.EINPROGRESS
print("ready", flush=True)
select.select([], [sock], [], 60)
print(errno.errorcode.get(sock.getsockopt(1, 4), "connected"), flush=True)
"""


@pytest.mark.parametrize(("switches", "outcome"), [(1, "connected"), (2, "ECONNREFUSED")])
def test_a_connection_on_its_way_is_judged_by_one_generation(
    bench: Bench, node: KernelNode, switches: int, outcome: str
) -> None:
    """The queue of b is full, so a's SYN is dropped and comes again a second later, when a new policy denies it: what
    began under the one before is judged by that; what is older is judged wholly by the present one."""
    server = bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + FULL]))
    node.apply(Plan((), ALL))
    bench.start(bench.command("c", [sys.executable, "-I", "-c", PRELUDE + WAITING, bench.ip("b")]))
    eventually(lambda: node.counters()["inbound_allowed"] == 1, "c is in the queue")
    waiting = bench.start(bench.command("a", [sys.executable, "-I", "-c", PRELUDE + WAITING, bench.ip("b")]))
    for _ in range(switches):
        node.apply(Plan((), defaults((2, DENY))))
    server.send_signal(signal.SIGUSR1)
    assert waiting.stdout is not None
    assert waiting.stdout.readline().strip() == outcome
    assert node.counters()["denied_at_destination"] == switches - 1


def test_a_pod_changes_its_plane_under_load_without_a_failed_connection(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench),), ALL))
    load = Load(bench)
    meshed = bench.pod("b")
    for number in range(101):
        node.add_pod(replace(meshed, plane=PlaneOf.NONE if number % 2 == 0 else PlaneOf.SIDECARLESS))
    found = load.tally()
    assert found.keys() == {"b", "c"}, found
    assert bench.ask("plain", meshed.ip) == "b"  # it ended without the mesh: anybody may call
    node.add_pod(meshed)
    assert bench.ask("plain", meshed.ip) == "ECONNREFUSED"
