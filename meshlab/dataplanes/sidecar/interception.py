"""The nftables rules of a pod with a sidecar: every TCP connection in or out goes through Envoy, IPv6 nowhere. Pure."""

from __future__ import annotations

from meshlab.runtimes.base import PROXY_UID

_OWN_PORTS = "15001, 15006, 15008, 15021, 15090"
_OWN_CALL = f'meta skuid {PROXY_UID} oifname "lo" ip daddr != 127.0.0.0/8 ip saddr != 127.0.0.6'
_RULES = f"""
table ip meshlab {{
 chain guard {{
  type filter hook prerouting priority -150;
  iifname != "lo" tcp dport {{ 15001, 15006 }} drop
 }}
 chain out {{
  type nat hook output priority -100;
  {_OWN_CALL} tcp dport != 15006 redirect to :15006
  meta skuid {PROXY_UID} return
  oifname "lo" return
  ip daddr 127.0.0.0/8 return
  meta l4proto tcp redirect to :15001
 }}
 chain in {{
  type nat hook prerouting priority -100;
  iifname "lo" return
  tcp dport {{ {_OWN_PORTS} }} return
  meta l4proto tcp redirect to :15006
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
