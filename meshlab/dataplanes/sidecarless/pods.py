"""The pods of this node: who the kernel knows, and the gate in each one's network namespace."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from meshlab.dataplanes.sidecarless.hooks import HOOKS
from meshlab.dataplanes.sidecarless.pins import Links
from meshlab.dataplanes.sidecarless.plan import PlaneOf
from meshlab.dataplanes.sidecarless.tables import Table, packed, unpacked
from meshlab.kit import netns, processes
from meshlab.kit.files import opened

_SO_NETNS_COOKIE = 71
_LOCAL, _MESHED = 1, 1


@dataclass(frozen=True)
class Pod:
    """`index` and `identity` are numbers from 1 that mean the same pod and principal for as long as anything in the
    kernel may hold them; `netns` is the path of the pod's network namespace."""

    index: int
    identity: int
    ip: str
    netns: str
    plane: PlaneOf = PlaneOf.SIDECARLESS
    link: int = 0
    """The number of the node's end of the pod's veth pair, in the namespace `link_netns` ("": the caller's); 0: packets
    from and to it take the ordinary way."""
    link_netns: str = ""


def cookie_of(path: str) -> int:
    """The number by which the kernel knows a network namespace; it is never used again while the machine runs."""
    with netns.socket_in(path) as sock:
        raw: bytes = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def other_end(path: str, interface: str = "eth0") -> int:
    """The number of the other end of a pod's veth pair, in the namespace where that lies; 0 where it is no such pair.
    FileNotFoundError if the pod's namespace is gone."""
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    done = processes.run(["nsenter", f"--net={path}", "ip", "-j", "link", "show", interface], check=False)
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return int(found[0].get("link_index", 0)) if found else 0


def add(tables: Mapping[str, Table], links: Links, programs: Mapping[str, int], pod: Pod) -> None:
    """Make a pod known, before its first process. The address comes first: a pod that is known has one. A pod that is
    known already is taken over."""
    cookie, ip = cookie_of(pod.netns), packed(pod.ip)
    meshed = pod.plane is PlaneOf.SIDECARLESS
    addresses, known = tables["addresses"], tables["pods"]
    address = addresses.leaf(
        cookie=cookie, pod=pod.index, identity=pod.identity, flags=_LOCAL | int(pod.plane), link=pod.link * meshed
    )
    addresses.put(addresses.key(ip=ip), address)
    if meshed:
        with opened(pod.netns) as namespace:
            links.put(f"lookup-{cookie}", programs["lookup"], namespace, HOOKS["lookup"].attach_type)
        if pod.link:
            with netns.inside(pod.link_netns):
                links.put(f"peer-{cookie}", programs["peer"], pod.link, HOOKS["peer"].attach_type)
    flags = _MESHED if meshed else 0
    known.put(known.key(cookie=cookie), known.leaf(index=pod.index, identity=pod.identity, ip=ip, flags=flags))
    if not meshed:
        links.drop(f"lookup-{cookie}")
        links.drop(f"peer-{cookie}")


def remove(tables: Mapping[str, Table], links: Links, ip: str) -> bool:
    """Forget a pod by its address; False if it was not known."""
    addresses, known = tables["addresses"], tables["pods"]
    address = addresses.get(addresses.key(ip=packed(ip)))
    if address is None or not address.flags & _LOCAL:
        return False
    known.remove(known.key(cookie=address.cookie))
    addresses.remove(addresses.key(ip=packed(ip)))
    links.drop(f"lookup-{address.cookie}")
    links.drop(f"peer-{address.cookie}")
    return True


def standing(tables: Mapping[str, Table]) -> dict[str, tuple[int, int]]:
    """Address -> (index, identity) of every pod that the kernel knows here: what a new agent takes over."""
    return {unpacked(pod.ip): (int(pod.index), int(pod.identity)) for _, pod in tables["pods"].items()}
