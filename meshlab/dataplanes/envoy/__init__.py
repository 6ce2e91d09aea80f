"""What the planes share that is Envoy's: how it starts, how connections come to it, what its logs and counters say.

In: who a proxy is (`bootstrap.py`), nothing (`interception.py`), access logs (`flows.py`), statistics (`counters.py`).
Out: its configuration, nftables rules, `FlowEvent`s, counts. Where an Envoy stands is the planes' business.
"""
