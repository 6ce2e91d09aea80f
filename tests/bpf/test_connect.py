"""Outbound: balancing, refusal, diversion, and what the application and the proxy get to see."""

from __future__ import annotations

import collections
import json

import pytest

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Address, Plan, PlaneOf, Rule, RuleVerdict, Service
from meshlab.model.kernel import KernelBackend
from meshlab.model.outcomes import Reason
from tests.bpf.topology import Bench, seen

VIP = "10.96.0.10"
ALLOW, DENY, PROXY = RuleVerdict.ALLOW, RuleVerdict.DENY, RuleVerdict.PROXY


def defaults(*verdicts: tuple[int, RuleVerdict]) -> tuple[Rule, ...]:
    reasons = {ALLOW: Reason.OK, DENY: Reason.NO_ALLOW_MATCH, PROXY: Reason.OK}
    return tuple(Rule(pod, verdict, reasons[verdict]) for pod, verdict in verdicts)


def balanced(bench: Bench, b: int = 1, c: int = 1, **flags: bool) -> Service:
    backends = (KernelBackend(bench.ip("b"), 8080, b), KernelBackend(bench.ip("c"), 8080, c))
    return Service(7, VIP, 80, backends, **flags)


ALL = defaults((1, ALLOW), (2, ALLOW), (3, ALLOW))
TALLY = """
found = collections.Counter(ask(sys.argv[1], 80) for _ in range(int(sys.argv[2])))
print(json.dumps(found))
"""


def test_weights_decide_the_share_of_each_backend(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench, 1, 3),), ALL))
    found = json.loads(bench.run("a", TALLY, VIP, "2000"))
    assert found.keys() == {"b", "c"}
    assert 400 < found["b"] < 600  # 500 expected; 100 is more than 5 standard deviations
    counted = node.counters()
    assert counted["balanced"] == counted["connects"] == counted["inbound_allowed"] == 2000


def test_a_weight_of_zero_gets_nothing(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench, 0, 1),), ALL))
    assert json.loads(bench.run("a", TALLY, VIP, "101")) == {"c": 101}


def test_the_less_loaded_of_two_gets_the_connection(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench, least=True),), ALL))
    code = """
held = []
for _ in range(200):
    sock = socket.create_connection((sys.argv[1], 80)); held.append((line(sock), sock))
print(json.dumps(collections.Counter(name for name, _ in held)))
"""
    found = collections.Counter(json.loads(bench.run("a", code, VIP)))
    assert abs(found["b"] - found["c"]) <= 20  # plain random choice: a standard deviation of 14 of the difference


def test_the_application_sees_the_service_address(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench),), ALL))
    code = "sock = socket.create_connection((sys.argv[1], 80)); print(sock.getpeername())"
    assert bench.run("a", code, VIP).strip() == str((VIP, 80))


def test_a_service_without_backends_refuses(bench: Bench, node: KernelNode) -> None:
    node.apply(Plan((Service(7, VIP, 80),), ALL))
    assert bench.ask("a", VIP, 80) == "ECONNREFUSED"
    assert node.counters()["no_backend"] == 1


def test_deny_is_refused_at_once_blocking_or_not(bench: Bench, node: KernelNode) -> None:
    bench.serve("b")
    node.apply(Plan((), (*ALL, Rule(2, DENY, Reason.POLICY_DENY, 8080, bench.pod("a").identity, 41))))
    assert bench.ask("a", bench.ip("b")) == "ECONNREFUSED"
    assert bench.ask("c", bench.ip("b")) == "b"
    code = """
sock = socket.socket(); sock.setblocking(False)
print(errno.errorcode[sock.connect_ex((sys.argv[1], 8080))])
"""
    assert bench.run("a", code, bench.ip("b")).strip() == "ECONNREFUSED"  # not EINPROGRESS: no packet, no wait
    assert node.counters()["denied_at_source"] == 2
    [first, _] = [event for event in node.ring().read() if event["verdict"] == 1]
    assert (first["policy"], first["source_pod"], first["destination_pod"]) == (41, 1, 2)


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        (((8080, 101, ALLOW), (8080, 0, DENY), (0, 101, DENY), (0, 0, DENY)), "b"),
        (((8080, 0, ALLOW), (0, 101, DENY), (0, 0, DENY)), "b"),
        (((0, 101, ALLOW), (0, 0, DENY)), "b"),
        (((9999, 101, ALLOW), (0, 0, DENY)), "ECONNREFUSED"),
        (((8080, 102, ALLOW), (0, 0, DENY)), "ECONNREFUSED"),
        (((8080, 102, ALLOW),), "ECONNREFUSED"),  # no default: not ready
    ],
)
def test_the_most_specific_rule_decides(
    bench: Bench, node: KernelNode, rules: tuple[tuple[int, int, RuleVerdict], ...], verdict: str
) -> None:
    bench.serve("b")
    node.apply(Plan((), tuple(Rule(2, how, Reason.OK, port, source) for port, source, how in rules)))
    assert bench.ask("a", bench.ip("b")) == verdict


def test_nothing_is_let_through_before_the_first_policy(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.proxy()
    assert bench.ask("a", bench.ip("b")) == "ECONNREFUSED"
    assert bench.ask("plain", bench.ip("b")).startswith("proxy ")  # steered: Envoy decides
    assert node.counters()["not_ready"] == 1


def test_2001_diverted_connections_keep_their_destinations(bench: Bench, node: KernelNode) -> None:
    bench.proxy()
    node.apply(Plan(addresses=(Address("10.92.0.5"),)))
    code = """
bad = 0
for number in range(2001):
    told = json.loads(ask("10.92.0.5", 1000 + number).removeprefix("proxy "))
    bad += told["original"] != ["10.92.0.5", 1000 + number] or told["local"] != ["127.0.0.1", 15001]
print(bad)
"""
    assert bench.run("a", code).strip() == "0"
    counted = node.counters()
    assert counted["originals_asked"] == counted["originals_found"] == counted["diverted"] == 2001


def test_what_goes_to_the_proxy_and_what_it_is_told(bench: Bench, node: KernelNode) -> None:
    bench.serve("plain"), bench.serve("b"), bench.proxy()
    services = (
        Service(1, "10.96.0.1", 80, (KernelBackend(bench.ip("b"), 8080),), proxy=True),
        Service(2, "10.96.0.2", 80, (KernelBackend("10.92.0.5", 8080),)),
    )
    addresses = (Address("10.92.0.5"), Address("10.91.0.1", plane=PlaneOf.BYPASS))
    node.apply(Plan(services, (*ALL, Rule(2, PROXY, Reason.OK, 8080)), addresses))
    assert seen(bench.ask("a", "10.96.0.1", 80))["original"] == ["10.96.0.1", 80]  # layer 7: Envoy balances
    assert seen(bench.ask("a", "10.96.0.2", 80))["original"] == ["10.92.0.5", 8080]  # another node: the kernel chose
    assert seen(bench.ask("a", bench.ip("b")))["original"] == [bench.ip("b"), 8080]  # the rule says so
    assert seen(bench.ask("a", "192.0.2.1", 443))["original"] == ["192.0.2.1", 443]  # outside the mesh
    assert bench.ask("a", bench.ip("plain")) == "plain"  # no mesh, same node: direct
    assert bench.ask("a", "10.91.0.1", 9) == "ECONNREFUSED"  # never diverted: the node itself answered
    assert bench.ask("plain", bench.ip("plain")) == "plain"  # an unmeshed pod is left alone
    node.apply(Plan(divert_unknown=False))
    assert bench.ask("a", "10.91.0.1", 9) == "ECONNREFUSED"


def test_no_proxy_means_refused_not_around_it(bench: Bench, node: KernelNode) -> None:
    bench.serve("plain")
    node.apply(Plan(addresses=(Address("10.92.0.5"),)))
    assert bench.ask("a", "10.92.0.5") == "ECONNREFUSED"


def test_ipv6_is_carried_mapped_and_refused_else(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench),), ALL))
    code = """
print(ask("::ffff:" + sys.argv[1], 80, socket.AF_INET6), ask("2001:db8::1", 80, socket.AF_INET6),
      ask("::1", 80, socket.AF_INET6))
with socket.socket(socket.AF_INET6) as sock:
    sock.connect(("::ffff:" + sys.argv[1], 80)); print(sock.getpeername()[:2])
"""
    first, second = bench.run("a", code, VIP).splitlines()
    assert first in {"b ECONNREFUSED ECONNREFUSED", "c ECONNREFUSED ECONNREFUSED"}
    assert second == str((f"::ffff:{VIP}", 80))
    assert node.counters()["family_refused"] == 1


def test_multipath_tcp_is_not_a_way_around(bench: Bench, node: KernelNode) -> None:
    node.apply(Plan())
    code = """
try: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); print("made")
except OSError as error: print(errno.errorcode[error.errno])
"""
    assert bench.run("a", code).strip() == "EPROTONOSUPPORT"
    assert bench.run("plain", code).strip() == "made"


def test_udp_is_left_alone(bench: Bench, node: KernelNode) -> None:
    node.apply(Plan((), defaults((1, DENY), (2, DENY))))
    code = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.connect((sys.argv[1], 9)); print(sock.getpeername())
"""
    assert bench.run("a", code, bench.ip("b")).strip() == str((bench.ip("b"), 9))


def test_a_socket_that_connects_again_forgets_the_first(bench: Bench, node: KernelNode) -> None:
    bench.serve("b"), bench.serve("c")
    node.apply(Plan((balanced(bench, 1, 0),), ALL))
    code = """
sock = socket.socket(); sock.connect((sys.argv[1], 80)); line(sock)
import ctypes
ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16)  # AF_UNSPEC: disconnect
sock.connect((sys.argv[2], 8080)); print(line(sock), sock.getpeername())
"""
    assert bench.run("a", code, VIP, bench.ip("c")).strip() == f"c {(bench.ip('c'), 8080)}"
