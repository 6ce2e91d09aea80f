"""The control plane's own rooms: registry, world, push, collector.

In: what a runtime shows (`Observed`). Out: a snapshot per proxy, offered to the ADS server; rows on who has what.
`world.py` joins documents and endpoints (pure); `push.py` compiles and offers, one pending push per proxy;
`desk.py` admits proxies and remembers every ACK and NACK; `api.py` is what the lab reads.
"""
