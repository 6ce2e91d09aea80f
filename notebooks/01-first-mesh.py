# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first mesh
# Two nodes, a small shop, an Envoy beside every pod. Every cell calls the public face only; run it as root on Linux.

# %%
import meshlab
from meshlab import Lab

lab = Lab("first", progress=print).up()
lab

# %% [markdown]
# ## A shop
# `web -> catalog -> reviews v1/v2 -> ratings`, from ordinary Kubernetes YAML.

# %%
lab.apply("sample:shop")
lab.wait()
lab.get("pods")

# %% [markdown]
# ## Traffic, and what was captured
# The generator runs inside the pod; rows come from the proxies' access logs.

# %%
run = lab.traffic("web", "http://web/", namespace="shop", rate=50, duration_s=3)
assert run.summary["failed"] == 0
run.summary

# %%
edges = lab.edges()
edges

# %% [markdown]
# ## Identity
# Each pod holds an X.509-SVID for its service account; each hop is mutual TLS.

# %%
identities = lab.identities()
identities

# %% [markdown]
# ## A canary
# 90 % of the calls for `reviews` go to v1, 10 % to v2.

# %%
lab.apply("sample:shop-canary")
lab.wait()
lab.traffic("catalog", "http://reviews/", namespace="shop", rate=100, duration_s=3)
flows = lab.flows()
canary = flows[(flows.reporter == "source") & flows.route.astype("string").str.startswith("shop/", na=False)]
canary.destination_workload.value_counts(normalize=True)

# %% [markdown]
# ## A policy
# Bad input is refused whole, with the path of each field.

# %%
for problem in meshlab.validate("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: []}"):
    print(problem)

# %%
lab.apply("sample:shop-policy")
lab.wait()
refused = lab.traffic("web", "http://ratings/", namespace="shop", rate=10, duration_s=1)
assert set(refused.summary["status"]) == {"403"}
flows = lab.flows()
flows[flows.verdict == "denied"][["source_principal", "destination_workload", "path", "reason", "policy"]].tail(3)

# %% [markdown]
# ## A chart, and the end

# %%
from meshlab.workbench import charts

charts.latency_ecdf(flows)

# %%
lab.down()
