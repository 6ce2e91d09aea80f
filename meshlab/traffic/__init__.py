"""Load: its shape, how it is fired, what came of it.

In: a `TrafficSpec`. Out: a `Result` with a summary and a frame of one row per request.
`profiles.py` is pure (when each request is due), `generator.py` runs inside a pod, `results.py` reads its records.
"""
