"""The embedded runtime: Linux namespaces as nodes and pods, no container engine, no cluster.

In: Kubernetes manifests over the cluster daemon's socket. Out: pods that run, and `Observed` for the registry.
`client.py` is the `Runtime`; `lifecycle.py` brings a lab up and down from outside; inside the daemon, `cluster.py`
joins `admission.py` and `store.py` (documents, `addresses.py` for Services), `deployments.py` and `scheduler.py` (what
should run, pure), `kubelet.py` and `pod.py` (what runs),
`network.py` and `sandbox.py` (its walls), `dns.py` and `service_nat.py` (its names and addresses).
"""

from meshlab.runtimes.local.client import LocalRuntime
from meshlab.runtimes.local.lifecycle import launch, remove_lab

__all__ = ["LocalRuntime", "launch", "remove_lab"]
