"""What the planes share that is Envoy's: how it starts, what its logs and counters say.

In: who a proxy is (`bootstrap.py`), access logs (`flows.py`), statistics (`counters.py`).
Out: its configuration, `FlowEvent`s, counts. Where an Envoy stands is the planes' business.
"""
