"""The nftables rules of a pod with a sidecar: every TCP connection in or out goes through Envoy, IPv6 nowhere. Pure.

Connections from Envoy to the application carry the client's address as their source and a mark. They are not tracked:
their addresses could be those of the connection that Envoy itself accepted, and must not be translated like it.
Health and statistics of other pods' proxies are called as they are; Envoy would answer with its own.
"""

from __future__ import annotations

from meshlab.model.wire import HBONE_PORT, HEALTH_PORT, INBOUND_MARK, INBOUND_PORT, OUTBOUND_PORT, PROXY_UID, STATS_PORT

_RULES = f"""
table ip meshlab {{
 chain inwards_out {{
  type filter hook output priority raw;
  meta mark {INBOUND_MARK} notrack
 }}
 chain inwards_in {{
  type filter hook prerouting priority raw;
  iifname "lo" meta mark {INBOUND_MARK} notrack
 }}
 chain guard {{
  type filter hook prerouting priority -150;
  iifname != "lo" tcp dport {{ {OUTBOUND_PORT}, {INBOUND_PORT} }} drop
 }}
 chain out {{
  type nat hook output priority -100;
  meta skuid {PROXY_UID} oifname "lo" ip daddr != 127.0.0.0/8 tcp dport != {INBOUND_PORT} redirect to :{INBOUND_PORT}
  meta skuid {PROXY_UID} return
  oifname "lo" return
  ip daddr 127.0.0.0/8 return
  tcp dport {{ {HEALTH_PORT}, {STATS_PORT} }} return
  meta l4proto tcp redirect to :{OUTBOUND_PORT}
 }}
 chain in {{
  type nat hook prerouting priority -100;
  iifname "lo" return
  tcp dport {{ {OUTBOUND_PORT}, {INBOUND_PORT}, {HBONE_PORT}, {HEALTH_PORT}, {STATS_PORT} }} return
  meta l4proto tcp redirect to :{INBOUND_PORT}
 }}
}}
table ip6 meshlab {{
 chain out {{
  type filter hook output priority 0;
  oifname != "lo" reject
 }}
 chain in {{
  type filter hook input priority 0;
  iifname != "lo" drop
 }}
}}
"""


def rules() -> str:
    """The script for `nft -f`."""
    return _RULES
