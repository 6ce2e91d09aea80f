"""The numbers that both ends of the wire, compilers and interception rules must agree on (Istio's where it has one)."""

from __future__ import annotations

ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT = 15000, 15001, 15006
CARRIED_PORT = 15002
"""Out of a pod, HTTP that the node's proxy only carries: the kernel, which reads it, tells it by the port."""
HBONE_PORT, HEALTH_PORT, STATS_PORT = 15008, 15021, 15090
AGENT_PORT = 15020
"""The node's agent: counters, on the node's loopback only."""
AGENT = "agent"
"""A node's agent is called `<node>/agent` where its shared proxy is called `<node>`."""
PROXY_PORTS = range(15000, 15100)
"""No application may listen here."""

PROXY_UID = 1337
"""The user and group of every proxy; its traffic is not intercepted."""

CLIENT_PORTS, INWARD_PORTS = range(20480, 49152), range(49152, 65536)
"""The ports that the kernel gives a pod's own calls (as many as it has by itself), and those from which a node's proxy
calls an application with the client's address: so that no connection is taken for one of the other kind."""

INBOUND_MARK = 1337
"""Mark of the connections that a proxy makes to its own application with the client's source address."""
READ_PRIORITY = 5
"""SO_PRIORITY of those among them whose HTTP the kernel reads, where the node's proxy only carries bytes."""
