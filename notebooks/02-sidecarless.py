# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same mesh without sidecars
# One node, the same shop, no proxy in any pod: the kernel's eBPF programs know each pod, balance, judge and read HTTP;
# one Envoy a node does what they leave to it. Every cell calls the public face only; run it as root on Linux.

# %%
from meshlab import Lab
from meshlab.assets import sample_text

lab = Lab("sidecarless", nodes=1, progress=print).up()
shop = sample_text("shop").replace("meshlab.io/mode: sidecar", "meshlab.io/mode: sidecarless")
lab.apply(shop)
lab.wait()
lab.get("pods")

# %% [markdown]
# ## Who is configured
# Not a proxy in each pod, but two clients of the control plane on each node: its Envoy, and the agent, which writes the
# kernel's maps. Both acknowledge what they are given.

# %%
proxies = lab.proxies()
assert list(proxies.pod) == ["node-1", "node-1/agent"]
proxies[["pod", "connected", "synced", "acked_version"]]

# %% [markdown]
# ## Requests that met no proxy
# `observer` says what saw a row: here the kernel, at the applications' own sockets. The principal is what the kernel
# knows of the pod (its network namespace), not an address. Nothing is encrypted: nothing leaves the machine's memory.

# %%
run = lab.traffic("web", "http://catalog/", namespace="shop", rate=100, duration_s=2)
assert run.summary["failed"] == 0
flows = lab.flows()
mine = flows[flows.trace_id.isin(run.frame.trace_id) & (flows.destination_workload == "catalog")]
assert set(mine.observer) == {"ebpf"}
assert len(mine) == 2 * run.summary["sent"]
mine[["observer", "reporter", "source_principal", "method", "path", "status", "latency_ms"]].tail(4)

# %%
lab.edges()

# %% [markdown]
# ## Names that were asked for
# DNS is read in the kernel, too: `status` is the answer's code (0: there is such a name, 3: there is none).

# %%
asked = flows[(flows.protocol == "dns") & (flows.source_workload == "web")]
assert set(asked[asked.authority == "catalog.shop.svc.cluster.local"].status) == {0}
asked.groupby(["authority", "method", "status"]).latency_ms.agg(["count", "median"])

# %% [markdown]
# ## Where layer 7 is asked for
# A route needs an HTTP proxy: the calls of this Service pass the node's Envoy, those of the others stay in the kernel.

# %%
lab.apply("sample:shop-canary")
lab.wait()
run = lab.traffic("web", "http://catalog/", namespace="shop", rate=100, duration_s=2)
assert run.summary["failed"] == 0
flows = lab.flows()
last = flows[(flows.time > run.frame.sent.min()) & (flows.reporter == "source")]
by = last.groupby(["destination_workload", "observer"]).size()
assert set(last[last.destination_workload.isin(["reviews-v1", "reviews-v2"])].observer) == {"envoy"}
assert set(last[last.destination_workload == "catalog"].observer) == {"ebpf"}
by

# %% [markdown]
# ## A policy
# Who is let in by identity alone, the kernel lets in; who is not gets its 403, with the reason, from Envoy.

# %%
lab.apply("sample:shop-policy")
lab.wait()
refused = lab.traffic("web", "http://ratings/", namespace="shop", rate=10, duration_s=1)
assert set(refused.summary["status"]) == {"403"}
flows = lab.flows()
flows[flows.verdict == "denied"][["observer", "source_principal", "destination_workload", "reason"]].tail(3)

# %% [markdown]
# ## What it takes
# One agent and one Envoy a node, however many pods.

# %%
resources = lab.resources()
parts = resources.groupby("part")[["pss_bytes", "cpu_s"]].sum()
assert "proxy" not in parts.index
parts

# %%
lab.down()
