"""The ADS conversation: state of the world and delta, one stream per client.

In: a `Snapshot` per client and the client's requests. Out: responses in make-before-break order; ACKs and NACKs as
events. `conversation.py` is sans-I/O (events in, responses out); `server.py` is the thin gRPC shell, and the door
where access logs and the kernel's events come in; `client.py` is the other end, a node's agent's. Owns `grpc`.
"""
