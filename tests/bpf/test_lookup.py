"""Inbound: only what the kernel knows passes to the application; all else meets the node's Envoy, or nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Plan, Rule
from meshlab.dataplanes.sidecarless.tables import packed
from meshlab.kit import netns
from meshlab.model.outcomes import Reason
from meshlab.model.wire import INWARD_PORTS
from meshlab.runtimes.local.network import _local
from tests.bpf.test_connect import ALL, ALLOW, DENY, defaults
from tests.bpf.topology import PRELUDE, Bench, seen

ONLY_A = (Rule(2, ALLOW, Reason.POLICY_ALLOW, 8080, 101), *defaults((1, ALLOW), (2, DENY), (3, ALLOW)))


def test_kernel_identity_passes_straight_to_the_application(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.proxy()
    node.apply(Plan((), ONLY_A))
    assert bench.ask("a", bench.ip("b")) == "b"
    assert node.counters()["inbound_allowed"] == 1
    assert node.counters()["steered"] == 0


def test_an_unmeshed_pod_meets_the_proxy_which_sees_where_it_was_going(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.proxy()
    node.apply(Plan((), ALL))
    found = seen(bench.ask("plain", bench.ip("b")))
    assert found["local"] == found["original"] == [bench.ip("b"), 8080]
    assert found["peer"][0] == bench.ip("plain")
    assert node.counters()["steered"] == 1


def test_steering_needs_no_application_and_no_certain_port(bench: Bench, node: KernelNode) -> None:
    bench.proxy()
    node.apply(Plan((), ALL))
    for port in (1, 9999, 65535):
        assert seen(bench.ask("plain", bench.ip("b"), port))["local"] == [bench.ip("b"), port]


def test_no_proxy_there_means_refused(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), ALL))
    assert bench.ask("plain", bench.ip("b")) == "ECONNREFUSED"
    assert node.counters()["no_proxy"] == 1


def test_a_proxy_that_died_is_refused_and_one_that_comes_back_is_found(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), ALL))
    first = bench.proxy()
    assert bench.ask("plain", bench.ip("b")).startswith("proxy ")
    bench.stop(first)
    assert bench.ask("plain", bench.ip("b")) == "ECONNREFUSED"
    assert bench.ask("a", bench.ip("b")) == "b"  # the kernel's own business does not need it
    bench.proxy()
    assert bench.ask("plain", bench.ip("b")).startswith("proxy ")


def test_an_application_on_the_proxys_port_gets_nothing(bench: Bench, node: KernelNode) -> None:
    """Only sockets of the proxy's cgroup are taken for the proxy's."""
    bench.serve("b", 15006)
    node.apply(Plan((), ALL))
    assert bench.ask("plain", bench.ip("b"), 8080) == "ECONNREFUSED"


def test_the_proxys_own_port_leads_nowhere(bench: Bench, node: KernelNode) -> None:
    """With an answer Envoy would dial itself for ever."""
    bench.proxy()
    node.apply(Plan((), ALL))
    found = seen(bench.ask("plain", bench.ip("b"), 15006))
    assert found["original"][1] == 0  # an error


def test_hbone_and_health_reach_their_own_listeners(bench: Bench, node: KernelNode) -> None:
    bench.proxy(ports="15006,15008")
    node.apply(Plan((), ALL))
    assert seen(bench.ask("plain", bench.ip("b"), 15008))["local"] == [bench.ip("b"), 15008]
    assert bench.ask("plain", bench.ip("b"), 15021) == "ECONNREFUSED"  # nobody listens there


FORGED = """
ip, port = sys.argv[1], int(sys.argv[2])
sock = socket.socket(); sock.setsockopt(0, 15, 1)  # IP_FREEBIND
sock.bind((ip, 0)); sock.settimeout(10)
try: sock.connect((sys.argv[3], port)); print(line(sock))
except OSError as error: print(errno.errorcode.get(error.errno, repr(error)))
"""


@pytest.fixture
def borrowed(bench: Bench) -> str:
    """Pod c also answers for the address of a pod that has gone, a's neighbour: 10.91.0.50."""
    subprocess.run(["ip", "-n", f"ml-{bench.lab}-c", "addr", "replace", "10.91.0.50/24", "dev", "eth0"], check=True)
    return "10.91.0.50"


def test_an_address_is_no_identity(bench: Bench, node: KernelNode, borrowed: str) -> None:
    """c connects from an address that is announced as a's: the rule for a does not open for it."""
    bench.serve("b"), bench.proxy()
    forged = bench.pod("a")
    addresses = node.tables["addresses"]
    key = addresses.key(ip=packed(borrowed))
    addresses.put(key, addresses.leaf(pod=forged.index, identity=forged.identity, flags=3))
    try:
        node.apply(Plan((), ONLY_A))
        assert bench.run("c", FORGED, borrowed, "8080", bench.ip("b")).strip() == "ECONNREFUSED"
        assert bench.ask("a", bench.ip("b")) == "b"
    finally:
        addresses.remove(key)
    assert node.counters()["denied_at_source"] == 1


def test_a_socket_made_before_the_move_has_no_identity(bench: Bench, node: KernelNode) -> None:
    """Made in a's namespace by a process outside of the pods' cgroups: no hook saw it connect, no rule opens."""
    bench.serve("b")
    node.apply(Plan((), ALL))
    with netns.socket_in(bench.netns("a")) as sock:
        assert sock.connect_ex((bench.ip("b"), 8080)) == 111
    bench.proxy()
    with netns.socket_in(bench.netns("a")) as sock:
        sock.settimeout(10)
        sock.connect((bench.ip("b"), 8080))
        assert sock.recv(6) == b"proxy "
    assert node.counters()["inbound_allowed"] == 0


def test_a_moved_process_is_still_its_pod(bench: Bench, node: KernelNode) -> None:
    """A process of c that gets into a's cgroup is c: the namespace counts, not the cgroup."""
    bench.serve("b")
    node.apply(Plan((), ONLY_A))
    group = bench.pods_group / "a"
    assert bench.run("c", "print(ask(sys.argv[1], 8080))", bench.ip("b"), group=group).strip() == "ECONNREFUSED"
    assert bench.run("a", "print(ask(sys.argv[1], 8080))", bench.ip("b"), group=bench.pods_group / "c").strip() == "b"


RAW = """
import struct, select
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)
ends = socket.inet_aton(source) + socket.inet_aton(target)
tcp = lambda check: struct.pack("!HHIIBBHHH", 44444, port, 7, 0, 5 << 4, 2, 1024, check, 0)
raw.sendto(tcp(checksum(ends + struct.pack("!HH", 6, 20) + tcp(0))), (target, 0))
while select.select([raw], [], [], 10)[0]:
    packet = raw.recv(1500)
    if packet[12:16] == socket.inet_aton(target) and packet[20:24] == struct.pack("!HH", port, 44444):
        print({0x12: "opened", 0x14: "reset"}.get(packet[33], packet[33])); break
else: print("silence")
"""


def test_a_raw_packet_has_no_identity(bench: Bench, node: KernelNode) -> None:
    """CAP_NET_RAW: a SYN by hand, past every hook of the source. It meets nobody, or Envoy."""
    bench.serve("b")
    node.apply(Plan((), ALL))
    assert bench.run("a", RAW, bench.ip("a"), bench.ip("b"), "8080").strip() == "reset"
    assert node.counters()["no_proxy"] == 2  # the SYN at b; and its answer at a, which nobody there had asked for
    assert node.counters()["inbound_allowed"] == 0


def test_a_pod_cannot_claim_to_be_its_victim(bench: Bench, node: KernelNode) -> None:
    """A SYN to b with b's own address as its source: a pod's own business does not come from outside."""
    bench.serve("b")
    node.apply(Plan((), ALL))
    lines = RAW.strip().splitlines()
    refused = "fields = [row.split() for row in open('/proc/net/snmp') if row.startswith('Tcp')]\n" + (
        "found = dict(zip(*fields)); print(found['OutRsts'], found['AttemptFails'])"
    )
    before = bench.run("b", refused)
    send = "\n".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("while"))])
    bench.run("c", send, bench.ip("b"), bench.ip("b"), "8080")
    assert bench.ask("c", bench.ip("b")) == "b"  # after it on the same link
    assert bench.run("b", refused) == before  # b neither refused a SYN nor broke off a handshake with itself
    counted = node.counters()
    assert (counted["inbound_allowed"], counted["steered"], counted["no_proxy"]) == (1, 0, 0)


def test_a_pod_that_has_the_address_of_a_dead_one_has_not_its_identity(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), ONLY_A))
    assert bench.ask("a", bench.ip("b")) == "b"
    dead = bench.pod("a")
    assert node.remove_pod(dead.ip)
    node.add_pod(type(dead)(9, 109, dead.ip, dead.netns))  # the next one, of another service account
    assert bench.ask("a", bench.ip("b")) == "ECONNREFUSED"
    assert node.remove_pod(dead.ip)
    assert not node.remove_pod(dead.ip)
    assert bench.ask("a", bench.ip("b")) == "ECONNREFUSED"  # nobody's


def test_the_loopback_of_a_pod_is_its_own(bench: Bench, node: KernelNode) -> None:
    bench.serve("b", 8081, "127.0.0.1"), bench.serve("b")
    node.apply(Plan((), defaults((2, DENY))))
    assert bench.ask("b", "127.0.0.1", 8081) == "b"
    assert bench.ask("b", "0.0.0.0", 8081) == "b"
    assert bench.ask("b", bench.ip("b")) == "b"


def test_ipv6_does_not_come_in(bench: Bench, node: KernelNode) -> None:
    for name in ("plain", "b"):
        number = {"plain": 1, "b": 2}[name]
        subprocess.run(
            ["ip", "-n", f"ml-{bench.lab}-{name}", "addr", "replace", f"fd00::{number}/64", "dev", "eth0", "nodad"],
            check=True,
        )
    bench.serve("b", 8080, "::"), bench.serve("plain", 8080, "::")
    node.apply(Plan((), ALL))
    code = "print(ask(sys.argv[1], 8080, socket.AF_INET6))"
    assert bench.run("plain", code, "fd00::2").strip() == "ECONNREFUSED"
    assert node.counters()["family_refused"] >= 1
    assert bench.run("b", code, "fd00::1").strip() == "ECONNREFUSED"  # and does not go out
    assert bench.ask("a", bench.ip("b")) == "b"  # a listener on [::] serves IPv4 as ever


INWARD = """
sock = socket.socket(); sock.setsockopt(0, 19, 1); sock.setsockopt(1, 36, 1337)  # IP_TRANSPARENT, SO_MARK
sock.setsockopt(0, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, as Envoy does
sock.bind((sys.argv[1], 0)); sock.settimeout(5)
sock.connect((sys.argv[2], 8080)); print(line(sock), *sock.getsockname())
sock.sendall(b"more"); print(sock.recv(4).decode())
"""


@pytest.fixture
def local(bench: Bench) -> str:
    """Pod b's namespace takes marked packets over the loopback, as the local runtime sets it up; its address."""
    subprocess.run(["ip", "netns", "exec", f"ml-{bench.lab}-b", "sh", "-ec", _local(1337)], check=False)  # or again
    return bench.ip("b")


def test_the_proxy_reaches_the_application_from_its_clients_address(bench: Bench, node: KernelNode, local: str) -> None:
    bench.serve("b"), bench.proxy()
    node.apply(Plan((), ALL))
    for source in (bench.ip("a"), "10.92.0.5"):
        pod, seen, port, more = bench.run("b", INWARD, source, local, group=bench.proxy_group).split()
        assert (pod, seen, more) == ("b", source, "more")
        assert int(port) in INWARD_PORTS, "no port of a client: they have the same addresses here"
    counted = node.counters()
    assert (counted["inwards"], counted["steered"], counted["inbound_allowed"]) == (2, 0, 0)


ALL_PORTS = """
import resource, time
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
taken = []
for port in range(int(sys.argv[2]), int(sys.argv[3])):
    sock = socket.socket(); sock.setsockopt(0, 19, 1); taken.append(sock)
    try:
        sock.bind((sys.argv[1], port))
    except OSError:  # somebody else has it: that will do
        pass
print(len(taken), flush=True)
time.sleep(60)
"""


def test_a_dial_for_which_no_port_of_its_own_is_left_takes_another(bench: Bench, node: KernelNode, local: str) -> None:
    bench.serve("b"), bench.proxy()
    node.apply(Plan((), ALL))
    words = [bench.ip("a"), str(INWARD_PORTS.start), str(INWARD_PORTS.stop)]
    bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + ALL_PORTS, *words]))
    pod, seen, port, more = bench.run("b", INWARD, bench.ip("a"), local, group=bench.proxy_group).split()
    assert (pod, seen, more) == ("b", bench.ip("a"), "more")
    assert int(port) not in INWARD_PORTS
    assert node.counters()["inward_ports_short"] == 1


def test_what_claims_to_be_the_proxys_dial_comes_in_by_the_interface(
    bench: Bench, node: KernelNode, local: str
) -> None:
    """SYNs by hand from the client's own pod, with every port that a dial of the proxy may have, while it dials: they
    are steered to the proxy, each of them."""
    bench.serve("b"), bench.proxy()
    node.apply(Plan((), ALL))
    head, _, _ = RAW.strip().partition("raw.sendto")
    flood = (
        head.replace("44444", "source_port")
        + """
for source_port in range(32768, 33768):
    raw.sendto(tcp(checksum(ends + struct.pack("!HH", 6, 20) + tcp(0))), (target, 0))
"""
    )
    flood = flood.replace("tcp = lambda check:", "tcp = lambda check: ")
    child = subprocess.Popen(
        bench.command("a", [sys.executable, "-I", "-c", PRELUDE + flood, bench.ip("a"), local, "8080"])
    )
    try:
        for port in range(40000, 40023):
            dial = INWARD.replace("sys.argv[1], 0", f"sys.argv[1], {port}")
            assert bench.run("b", dial, bench.ip("a"), local, group=bench.proxy_group).split()[0] == "b"
    finally:
        assert child.wait(60) == 0
    counted = node.counters()
    assert counted["inwards"] == 23
    assert counted["inbound_allowed"] == 0
    assert counted["steered"] >= 1000
