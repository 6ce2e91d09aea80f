"""One Envoy per pod.

In: an `Endpoint`. Out: nftables rules (`interception.py`) and the Envoy companion (`plane.py`). What
any Envoy of ours is given and says is in `dataplanes/envoy`.
"""

from meshlab.dataplanes.sidecar.plane import SidecarPlane

__all__ = ["SidecarPlane"]
