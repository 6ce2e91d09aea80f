"""The ADS conversation, from the server's end: what each proxy has, is told, and answered.

In: `model.snapshot.Snapshot`s to offer, and Envoy's requests. Out: responses in make-before-break order, and events
(push, ack, nack, synced). `conversation` is sans-I/O and speaks both variants (state of the world and delta);
`subscription` is its state per type; `server` is the thin gRPC shell on a Unix socket, which also takes access logs
as bytes; `access_logs` cuts those bytes without parsing entries. Only `server` knows grpc.
Open `conversation.py` next.
"""
