"""nftables rules that hand a pod's TCP to its proxy; a pure script, loaded before the pod's first packet."""

from __future__ import annotations

PROXY_UID = 1337
INBOUND_PORT, OUTBOUND_PORT = 15006, 15001
_INBOUND_SOURCE = "127.0.0.6"
_OWN_PORTS = "15020-15090"

_SCRIPT = """\
table ip meshlab
delete table ip meshlab
table ip meshlab {{
  chain output {{
    type nat hook output priority -100; policy accept;
    # The application calling itself through a Service: in by the front door. The proxy's own connections to the
    # application come from {source} and are left alone.
    meta skuid {uid} oifname "lo" ip saddr != {source} ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :{inbound}
    meta skuid {uid} return
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    meta l4proto tcp redirect to :{outbound}
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "lo" return
    tcp dport {{ {outbound}, {inbound}, {own} }} return
    meta l4proto tcp redirect to :{inbound}
  }}
}}
table ip6 meshlab
delete table ip6 meshlab
table ip6 meshlab {{
  # The mesh is IPv4; IPv6 would be a way around it.
  chain output {{
    type filter hook output priority 0; policy accept;
    oifname "lo" accept
    reject
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "lo" accept
    drop
  }}
}}
"""


def rules() -> str:
    """Loading it again changes nothing."""
    return _SCRIPT.format(
        uid=PROXY_UID, inbound=INBOUND_PORT, outbound=OUTBOUND_PORT, source=_INBOUND_SOURCE, own=_OWN_PORTS
    )
