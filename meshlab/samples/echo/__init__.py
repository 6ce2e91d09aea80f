"""`meshlab/echo`, run as `python -m meshlab.samples.echo`: reports all it saw as JSON, and fails or waits when told to.

On PORT (8080), told apart by the first bytes: HTTP/1.1 and WebSocket (`http1.py`, `websocket.py`), HTTP/2 with prior
knowledge and gRPC (`http2.py`). On TCP_PORT and BANNER_PORT: raw bytes; on the second the server speaks first
(`tcp.py`).
Other environment: NAME, UPSTREAMS (URLs called for each request, trace context passed on), FAIL_EVERY (n: every n-th
request, stream, upgrade or connection fails), FAIL_STATUS (503), DELAY_MS.
Per request, as `?name=` or as a header `echo-name`: `status`, `delay` (ms), `bytes` (size of the answer), `count`
(messages of a server-streaming call). What decides on an answer, whatever it travels on, is in `report.py`.
"""
