"""Compiled configuration against the real Envoy: two pods, two proxies, one link."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from meshlab.model.mesh import Mesh, Noun
from meshlab.model.policies import Action, AuthorizationPolicy, MtlsMode, Operation, PeerAuthentication, Rule, Source
from meshlab.model.routes import (
    BackendRef,
    Filters,
    HeaderModifier,
    HTTPMatch,
    HTTPRoute,
    HTTPRule,
    Mirror,
    NamedMatch,
    ParentRef,
    PathMatch,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
)
from meshlab.model.services import Service, ServicePort
from meshlab.model.world import Endpoint, PodId, World
from tests.dataplanes.pair import Pair

CLIENT, SERVER = PodId("shop", "client-1"), PodId("shop", "server-1")
IP = "10.96.0.10"
BANNER = (
    "import socket\ns=socket.create_server(('',9000))\nwhile True:\n c,_=s.accept()\n c.sendall(b'hello');c.close()\n"
)
ASK = "import socket,sys\nc=socket.create_connection((sys.argv[1],int(sys.argv[2])),5)\nc.settimeout(2)\nc.sendall(sys.argv[3].encode())\nprint(c.recv(9))\n"
SERVICE = Service(
    "shop",
    "server",
    (
        ServicePort(80, "http", 8000),
        ServicePort(81, "auto", 8000),
        ServicePort(90, "tcp", 9000),
        ServicePort(91, "auto-tcp-first", 9000, app_protocol=""),
    ),
    selector={"app": "server"},
)

BACKEND = BackendRef("server", "shop", 80)
ROUTE = HTTPRoute(
    "shop",
    "all",
    (ParentRef("server", "shop", port=80),),
    (
        HTTPRule(
            (HTTPMatch("/files"), HTTPMatch("/files2.*", PathMatch.REGEX, query=(NamedMatch("q", "1"),), method="GET")),
            Filters(
                request_headers=HeaderModifier((("Host", "else"), ("x-a", "1%")), (("x-b", "2"),), ("x-c",)),
                response_headers=HeaderModifier(set=(("x-sale", "50% off"),)),
                rewrite=Rewrite(path=PathModifier(prefix="/")),
                mirrors=(Mirror("server", "shop", 80, 50.0),),
            ),
            (BACKEND, BackendRef("server", "shop", 81, 0, Filters(request_headers=HeaderModifier(remove=("x-d",))))),
            request_timeout_ms=3000,
            backend_timeout_ms=2500,
            retry=Retry(2, (503,), 50),
        ),
        HTTPRule(
            (HTTPMatch("/old"),),
            Filters(redirect=Redirect("https", "new.example", PathModifier(prefix="/fresh"), 0, 301)),
        ),
        HTTPRule(
            (HTTPMatch("/files", headers=(NamedMatch("X-User", "ann"),)),), Filters(redirect=Redirect(hostname="ann"))
        ),
        HTTPRule((HTTPMatch("/full"),), Filters(rewrite=Rewrite("h", PathModifier(full="/"))), (BACKEND,)),
        HTTPRule((HTTPMatch("/dead"),)),
        HTTPRule((HTTPMatch("/lost"),), backends=(BackendRef("nobody", "shop", 80),)),
    ),
)


def world(*nouns: Noun) -> World:
    endpoints = (
        Endpoint(CLIENT, "c", "10.129.0.2", "node-1", "client", "client", {"app": "client"}, ready=True),
        Endpoint(SERVER, "s", "10.129.0.3", "node-1", "server", "server", {"app": "server"}, ready=True),
    )
    return World(Mesh.of([SERVICE, *nouns]), endpoints, {("shop", "server"): IP})


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(world(), CLIENT, SERVER) as made:
        made.start("server", sys.executable, "-m", "http.server", "8000")
        made.start("server", sys.executable, "-c", BANNER)
        until(lambda: made.status("server", "http://127.0.0.1:8000/") == "200")
        until(lambda: "hello" in made.run("server", sys.executable, "-c", ASK, "127.0.0.1", "9000", ""))
        yield made
        for role, ads in made.ads.items():
            assert ads.nacks == [], made.log(role)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("url", [f"http://{IP}/", f"http://{IP}:81/", "http://10.129.0.3:8000/"])
def test_http_over_mesh_tls(pair: Pair, url: str) -> None:
    assert pair.status("client", url) == "200"
    assert handshakes(pair) > 0


def test_h2c_by_detection(pair: Pair) -> None:
    """The backend has no HTTP/2; the request reaches it and is not answered by the proxies with 404."""
    assert pair.status("client", f"http://{IP}:81/", "--http2-prior-knowledge") in {"200", "502", "503"}


@pytest.mark.parametrize(("ip", "port"), [(IP, 90), (IP, 91), ("10.129.0.3", 9000)])
def test_server_that_speaks_first(pair: Pair, ip: str, port: int) -> None:
    assert "hello" in pair.run("client", sys.executable, "-c", ASK, ip, str(port), "")


def test_the_proxy_shows_its_token(pair: Pair) -> None:
    assert pair.ads["client"].tokens == ["Bearer token-of-client-1"]


def test_application_calls_itself_through_its_service(pair: Pair) -> None:
    assert pair.status("server", f"http://{IP}/") == "200"


def test_denied_by_http_policy_on_open_proxies(pair: Pair) -> None:
    deny = AuthorizationPolicy(
        "shop", "no", Action.DENY, (Rule(operations=(Operation(paths=("/secret*",)),)),), {"app": "server"}
    )
    pair.update(world(deny))
    until(lambda: pair.status("client", f"http://{IP}/secret") == "403")
    assert pair.status("client", f"http://{IP}/") == "200"
    assert pair.status("client", f"http://{IP}/x/..//secret", "--path-as-is") == "403"
    assert pair.status("client", f"http://{IP}/%73ecret") == "403"


def test_allowed_by_proved_identity_only(pair: Pair) -> None:
    only = Rule(sources=(Source(principals=("cluster.local/ns/shop/sa/client",)),))
    pair.update(world(AuthorizationPolicy("shop", "only", Action.ALLOW, (only,), {"app": "server"})))
    until(lambda: pair.status("client", f"http://{IP}/secret") == "404")
    until(lambda: "hello" in pair.run("client", sys.executable, "-c", ASK, IP, "90", "x"))
    until(lambda: any(b"ns[shop]-policy[only]-rule[0]" in one for one in pair.ads["server"].logs))
    other = dataclasses.replace(only, sources=(Source(principals=("cluster.local/ns/shop/sa/else",)),))
    pair.update(world(AuthorizationPolicy("shop", "only", Action.ALLOW, (other,), {"app": "server"})))
    until(lambda: pair.status("client", f"http://{IP}/") == "403")
    until(lambda: "hello" not in pair.run("client", sys.executable, "-c", ASK, IP, "90", "x"))
    assert "hello" not in pair.run("client", sys.executable, "-c", ASK, IP, "90", "")


def test_strict_refuses_plaintext(pair: Pair) -> None:
    """The proxy's own user is not intercepted, so what it sends is plaintext on the link."""
    plain = ("setpriv", "--reuid=1337", "--", "curl", "-s", "-m", "5", "-w", "%{http_code}", "-o", "/dev/null")
    target = "http://10.129.0.3:8000/"
    pair.update(world())
    until(lambda: pair.run("client", *plain, target) == "200")
    pair.update(world(PeerAuthentication("shop", "default", MtlsMode.STRICT)))
    until(lambda: pair.run("client", *plain, target) == "000")
    assert pair.status("client", f"http://{IP}/") == "200"
    pair.update(world())


def test_logs_name_the_peer(pair: Pair) -> None:
    assert pair.status("client", f"http://{IP}/") == "200"
    until(lambda: any(b"spiffe://cluster.local/ns/shop/sa/client" in one for one in pair.ads["server"].logs))
    until(lambda: any(b"spiffe://cluster.local/ns/shop/sa/server" in one for one in pair.ads["client"].logs))


def test_routes_of_every_kind(pair: Pair) -> None:
    """Envoy takes them all, and each does what it says."""
    pair.update(world(ROUTE))
    until(lambda: pair.status("client", f"http://{IP}/none") == "404")
    answers = {"/files/": "200", "/filesystem": "404", "/files/etc": "404", "/dead": "500", "/lost": "500"}
    assert {path: pair.status("client", f"http://{IP}{path}") for path in answers} == answers
    where = pair.run(
        "client", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{IP}/old/x"
    )
    assert where == "301 https://new.example/fresh/x"
    assert pair.status("client", f"http://{IP}/files/", "-H", "x-user: ann") == "302"
    assert "50% off" in pair.run("client", "curl", "-si", f"http://{IP}/files/")
    pair.update(world())


def handshakes(pair: Pair) -> int:
    lines = pair.run("server", "curl", "-s", "http://127.0.0.1:15000/stats?filter=ssl.handshake").splitlines()
    return sum(int(line.split(": ")[1]) for line in lines if "listener." in line)
