"""ClusterIPs for pods without a proxy: destination NAT in the pod's own network namespace. Pure."""

from __future__ import annotations

from meshlab.model.services import Service
from meshlab.model.world import World, target_port


def rules(world: World) -> str:
    """An nftables script: each ClusterIP and TCP port to its ready pods, at random; refused where there is none."""
    nat, refuse = [], []
    for service in world.mesh.all(Service):
        address = world.cluster_ips.get((service.namespace, service.name))
        if address is None:
            continue
        for port in service.ports:
            protocol = port.protocol.lower()
            targets = [
                f"{endpoint.ip} . {number}"
                for endpoint in world.selected(service)
                if endpoint.ready and (number := target_port(port, endpoint))
            ]
            match = f"ip daddr {address} {protocol} dport {port.port}"
            if targets:
                choice = ", ".join(f"{index} : {target}" for index, target in enumerate(targets))
                nat.append(f"{match} dnat to numgen random mod {len(targets)} map {{ {choice} }}")
            else:
                # a reset is heard at once; an ICMP error only when the SYN is sent again, a second later
                refuse.append(f"{match} reject{' with tcp reset' if protocol == 'tcp' else ''}")
    lines = ["table ip services", "delete table ip services", "table ip services {", " chain nat {"]
    lines += ["  type nat hook output priority -100;", *(f"  {line}" for line in nat), " }", " chain refuse {"]
    lines += ["  type filter hook output priority 0;", *(f"  {line}" for line in refuse), " }", "}"]
    return "\n".join(lines) + "\n"
