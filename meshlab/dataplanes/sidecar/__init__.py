"""The sidecar plane: one Envoy beside every pod.

In: an endpoint and a token for it. Out: a `PodPlan`: nftables rules that hand the pod's TCP to the proxy, and Envoy as
companion with a bootstrap that fetches all the rest by ADS. What it is told is made in `compile.xds`.
`interception` are the rules, `bootstrap` the file Envoy starts from, `plane` joins them; `flows` reads its logs.
Open next: `plane.py`.
"""

from meshlab.dataplanes.sidecar.plane import SidecarPlane

__all__ = ["SidecarPlane"]
