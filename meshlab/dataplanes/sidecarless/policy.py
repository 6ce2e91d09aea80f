"""A plan into the maps, as a whole: the next generation is written beside the present one, then one element is swapped.

Services, backends and rules carry a slot (the generation's lowest bit). Before the slot of the generation before the
present is overwritten, `previous` is taken back and every running program has ended; so no program ever reads a slot
that is being written, and a connection is judged by one generation from its connect to its arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlab.dataplanes.sidecarless import alias, libbpf, source
from meshlab.dataplanes.sidecarless.plan import Plan, Service
from meshlab.dataplanes.sidecarless.tables import Table, packed
from meshlab.errors import MeshlabError
from meshlab.model.kernel import KernelBackend

_LOCAL = 1
_REASONS = {name.lower(): number for name, number in source.numbers("reasons", "REASON_").items()}


def generation(tables: Mapping[str, Table]) -> int:
    """The number of the generation in force; 0 before the first."""
    found = tables["current"].get(tables["current"].key())
    return int(found.number) if found is not None else 0


def apply(tables: Mapping[str, Table], plan: Plan) -> int:
    """Put a plan in force; the number of its generation. On any error the present generation stays whole and in force.
    MeshlabError where the plan does not fit."""
    now = generation(tables)
    wanted = _encoded(tables, plan, (now + 1) & 1)
    if now:
        _announce(tables, now, previous=0, plan=None)
        libbpf.wait_for_programs()
    _addresses(tables, plan, remove=False)
    _endpoints(tables, plan)
    for name, entries in wanted.items():
        tables[name].sync(entries, lambda key, _: key.slot == (now + 1) & 1)
    _announce(tables, now + 1, previous=1 if now else 0, plan=plan)
    _addresses(tables, plan, remove=True)
    return now + 1


def _announce(tables: Mapping[str, Table], number: int, previous: int, plan: Plan | None) -> None:
    current = tables["current"]
    if plan is not None:
        flags = plan.divert_unknown | plan.request_events << 1
    else:
        before = current.get(current.key())
        flags = before.flags if before is not None else 0
    current.put(current.key(), current.leaf(number=number, previous=previous, flags=flags))


def _encoded(tables: Mapping[str, Table], plan: Plan, slot: int) -> dict[str, dict[bytes, bytes]]:
    found = {
        "services": dict(_services(tables["services"], plan, slot)),
        "backends": dict(_backends(tables["backends"], plan, slot)),
        "rules": dict(_rules(tables["rules"], plan, slot)),
    }
    for name, entries in found.items():
        room = tables[name].max_entries // 2
        if len(entries) > room:
            raise MeshlabError(
                f"{len(entries)} entries of {name}, and this node has room for {room}",
                hint=f"fewer policies or pods on this node, or a larger size in bpf/include/{name}.h",
            )
    return found


def _services(table: Table, plan: Plan, slot: int) -> Iterator[tuple[bytes, bytes]]:
    for service in plan.services:
        key = table.key(ip=packed(service.ip), port=service.port, slot=slot)
        count = sum(backend.weight > 0 for backend in service.backends)
        flags = service.proxy | service.least << 1
        yield bytes(key), bytes(table.leaf(index=service.index, count=count, flags=flags))


def _backends(table: Table, plan: Plan, slot: int) -> Iterator[tuple[bytes, bytes]]:
    for service in plan.services:
        for position, leaf in enumerate(_positions(table, service)):
            yield bytes(table.key(service=service.index, position=position, slot=slot)), bytes(leaf)


def _positions(table: Table, service: Service) -> Iterator[Any]:
    for own, other, threshold in alias.table([backend.weight for backend in service.backends]):
        leaf = table.leaf(threshold=threshold)
        for field, backend in ((leaf.own, service.backends[own]), (leaf.alias, service.backends[other])):
            field.ip, field.port = packed(backend.ip), backend.port
        yield leaf


def _rules(table: Table, plan: Plan, slot: int) -> Iterator[tuple[bytes, bytes]]:
    for rule in plan.rules:
        key = table.key(destination=rule.destination, source=rule.source, port=rule.port, slot=slot)
        leaf = table.leaf(policy=rule.policy, verdict=rule.verdict, reason=_REASONS[rule.reason.value], http=rule.http)
        yield bytes(key), bytes(leaf)


def _addresses(tables: Mapping[str, Table], plan: Plan, *, remove: bool) -> None:
    """New ones come before the switch, old ones go after it. What pods.py says of this node's pods goes before the
    plan."""
    table = tables["addresses"]
    own = {bytes(key) for key, leaf in table.items() if leaf.flags & _LOCAL}
    wanted = {}
    for address in plan.addresses:
        key = bytes(table.key(ip=packed(address.ip)))
        if key not in own:
            leaf = table.leaf(pod=address.pod, identity=address.identity, flags=int(address.plane))
            wanted[key] = bytes(leaf)
    table.sync(wanted, lambda _, leaf: remove and not leaf.flags & _LOCAL)


def _endpoints(tables: Mapping[str, Table], plan: Plan) -> None:
    """Room to count the open connections of each backend; one that is wanted no more goes when its last has closed."""
    table = tables["endpoints"]
    wanted = {bytes(_target(table, backend)) for service in plan.services for backend in service.backends}
    for key, load in table.items():
        if bytes(key) in wanted:
            wanted.discard(bytes(key))
        elif load.open <= 0:
            table.remove(key)
    for raw in wanted:
        table.put(type(table.key()).from_buffer_copy(raw), table.leaf())


def _target(table: Table, backend: KernelBackend) -> Any:
    return table.key(ip=packed(backend.ip), port=backend.port)
