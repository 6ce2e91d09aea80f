"""Names: what each form answers, and the same over real UDP and TCP inside a namespace."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from dnslib import EDNS0, RCODE, DNSError, DNSRecord

from meshlab.kit.ledger import remove_netns
from meshlab.kit.netns import socket_in
from meshlab.model.world import World
from meshlab.runtimes.local import dns
from tests.runtimes.local.worlds import WORLD, many

HOST = "web.shop.svc.cluster.local"
HEADLESS = "web-pods.shop.svc.cluster.local"


def ask(name: str, kind: str = "A", world: World = WORLD, *, edns: int = 0, udp: bool = False) -> DNSRecord:
    query = DNSRecord.question(name, kind)
    if edns:
        query.add_ar(EDNS0(udp_len=edns))
    reply = DNSRecord.parse(dns.answer(query.pack(), world, udp=udp))
    assert reply.header.id == query.header.id
    return reply


def data(reply: DNSRecord) -> list[str]:
    assert reply.header.rcode == RCODE.NOERROR
    return [str(record.rdata) for record in reply.rr]


def test_a_service_is_its_address_and_case_does_not_matter() -> None:
    assert data(ask(HOST)) == data(ask("WEB.Shop.svc.CLUSTER.local.")) == ["10.96.0.10"]


def test_a_headless_service_is_its_ready_pods_and_each_has_a_name() -> None:
    assert data(ask(HEADLESS)) == ["10.129.0.2", "10.129.0.3"]
    assert data(ask(f"web-2.{HEADLESS}")) == ["10.129.0.3"]
    assert ask(f"web-3.{HEADLESS}").header.rcode == RCODE.NXDOMAIN  # not ready


def test_srv_gives_port_and_host_of_a_service() -> None:
    assert data(ask(f"_http._tcp.{HOST}", "SRV")) == [f"0 100 80 {HOST}."]
    assert ask(f"_http._udp.{HOST}", "SRV").header.rcode == RCODE.NXDOMAIN
    assert ask(f"_grpc._tcp.{HOST}", "SRV").header.rcode == RCODE.NXDOMAIN


def test_srv_gives_the_ready_pods_of_a_headless_service_at_their_own_port() -> None:
    assert data(ask(f"_http._tcp.{HEADLESS}", "SRV")) == [f"0 100 8080 web-{n}.{HEADLESS}." for n in (1, 2)]


def test_ptr_gives_the_names_of_an_address() -> None:
    assert data(ask("10.0.96.10.in-addr.arpa", "PTR")) == [f"{HOST}."]
    assert f"web-1.{HEADLESS}." in data(ask("2.0.129.10.in-addr.arpa", "PTR"))
    assert ask("9.9.9.9.in-addr.arpa", "PTR").header.rcode == RCODE.NXDOMAIN


@pytest.mark.parametrize(
    "name",
    [
        "nobody.shop.svc.cluster.local", "web.other.svc.cluster.local", "web.shop", "web", "example.org",
        "a.b.web.shop.svc.cluster.local", "other.svc.cluster.local", "web.shop.svc.cluster.local.example.org",
    ],
)  # fmt: skip
def test_other_names_do_not_exist(name: str) -> None:
    reply = ask(name)
    assert (reply.header.rcode, reply.rr) == (RCODE.NXDOMAIN, [])


@pytest.mark.parametrize("kind", ["AAAA", "TXT", "MX", "HTTPS"])
def test_a_name_that_exists_has_no_data_of_other_types(kind: str) -> None:
    """NXDOMAIN to a question for AAAA would make resolvers give up the A as well."""
    for name in (HOST, HEADLESS, "shop.svc.cluster.local", "svc.cluster.local"):
        assert data(ask(name, kind)) == []


def test_an_unknown_type_of_question_is_answered() -> None:
    query = DNSRecord.question(HOST)
    query.q.qtype = 65_281
    assert DNSRecord.parse(dns.answer(query.pack(), WORLD)).rr == []


def test_a_long_answer_over_udp_says_so() -> None:
    world = many(53)
    short = ask(HEADLESS, world=world, udp=True)
    assert (short.header.tc, short.rr) == (1, [])
    assert len(data(ask(HEADLESS, world=world))) == 53  # over TCP
    assert len(data(ask(HEADLESS, world=world, udp=True, edns=4096))) == 53
    assert ask(HEADLESS, world=many(101), udp=True, edns=4096).header.tc == 1


def test_what_is_not_dns_is_an_error() -> None:
    with pytest.raises(DNSError):
        dns.answer(b"GET / HTTP/1.1\r\n\r\n", WORLD)


@pytest.fixture
def space(lab_name: Callable[[], str]) -> Iterator[str]:
    """A namespace with the address of a gateway, and nothing else."""
    name = f"ml-{lab_name()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "addr", "add", "10.129.0.1/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield f"/run/netns/{name}"
    remove_netns(name)


async def test_answers_over_udp_and_tcp_inside_the_namespace(space: str) -> None:
    worlds = [WORLD]
    await dns.serve(space, "10.129.0.1", lambda: worlds[-1])
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        with socket_in(space, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("10.129.0.1", 53))
            await loop.sock_sendall(sock, b"not DNS")  # gets no answer, and does no harm
            await loop.sock_sendall(sock, DNSRecord.question(HOST).pack())
            assert data(DNSRecord.parse(await loop.sock_recv(sock, 4096))) == ["10.96.0.10"]
            worlds.append(many(53))
            await loop.sock_sendall(sock, DNSRecord.question(HEADLESS).pack())
            assert DNSRecord.parse(await loop.sock_recv(sock, 4096)).header.tc == 1
        sock = socket_in(space)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("10.129.0.1", 53))
        reader, writer = await asyncio.open_connection(sock=sock)
        for name, count in ((HOST, 1), (HEADLESS, 53)):  # one connection, two questions
            query = DNSRecord.question(name).pack()
            writer.write(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert len(data(DNSRecord.parse(await reader.readexactly(size)))) == count
        writer.close()
