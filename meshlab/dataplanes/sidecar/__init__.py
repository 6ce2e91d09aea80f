"""One Envoy per pod.

In: an `Endpoint`. Out: interception rules and the Envoy companion (`plane.py`, `interception.py`, `bootstrap.py`);
and from Envoy's access logs, `FlowEvent`s (`flows.py`, imported on its own by who reads flows).
"""

from meshlab.dataplanes.sidecar.plane import SidecarPlane

__all__ = ["SidecarPlane"]
