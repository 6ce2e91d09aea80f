"""ClusterIPs: one address of 10.96.0.0/16 per Service that is not headless. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from meshlab.errors import Conflict, MeshlabError
from meshlab.model.services import HEADLESS

SERVICES = ipaddress.IPv4Network("10.96.0.0/16")
_FIRST, _COUNT = 10, SERVICES.num_addresses - 11
"""The first addresses stay free, as in Kubernetes (`kubernetes`, `kube-dns`); the last is the broadcast address."""

Key = tuple[str, str]


def allocate(wanted: Mapping[Key, str], have: Mapping[Key, str], cursor: int) -> tuple[dict[Key, str], int]:
    """Addresses by (namespace, name), and the new cursor.

    `wanted`: what each Service's `clusterIP` says ("" for any, "None" for headless, or an address). `have`: what was
    given before, and is kept. New ones go up from `cursor`, so that an address is not soon used again by another
    Service. Conflict where an address is asked for twice, MeshlabError where it is not one of ours.
    """
    given: dict[Key, str] = {}
    owner: dict[str, Key] = {}

    def give(key: Key, ip: str) -> None:
        if ip in owner:
            other = "/".join(owner[ip])
            raise Conflict(
                f"Service/{'/'.join(key)} spec.clusterIP: {ip} belongs to Service/{other}", hint="leave clusterIP out"
            )
        given[key], owner[ip] = ip, key

    for key, text in wanted.items():
        if text in ("", HEADLESS):
            if text == "" and key in have:
                give(key, have[key])
        else:
            give(key, _checked(key, text))
    for key, text in wanted.items():
        if text == "" and key not in given:
            cursor, ip = _next(cursor, owner)
            give(key, ip)
    return given, cursor


def _checked(key: Key, text: str) -> str:
    try:
        ip = ipaddress.IPv4Address(text)
    except ValueError:
        ip = None
    if (
        ip is None
        or ip not in SERVICES
        or not 1 <= int(ip) - int(SERVICES.network_address) < SERVICES.num_addresses - 1
    ):
        raise MeshlabError(
            f"Service/{'/'.join(key)} spec.clusterIP: expected None or an address of {SERVICES}, found {text!r}",
            hint="leave clusterIP out: an address is given",
        )
    return str(ip)


def _next(cursor: int, taken: Mapping[str, Key]) -> tuple[int, str]:
    for step in range(_COUNT):
        number = (cursor + step) % _COUNT
        ip = str(SERVICES.network_address + _FIRST + number)
        if ip not in taken:
            return (number + 1) % _COUNT, ip
    raise Conflict(f"no address of {SERVICES} is free", hint="delete Services")
