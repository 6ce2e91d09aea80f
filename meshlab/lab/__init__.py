"""The one composition root for people and scripts.

In: calls on a `Lab` (the same verbs as the command line). Out: changes, frames, verdicts of `doctor`.
A Lab holds nothing: it is a client of the lab's two daemons, so it can be dropped and attached to again.
Open `session.py` (the face) next, then `traffic.py` (load from inside a pod), `control_client.py` (the control
plane's API) and `doctor.py` (what this machine can run).
"""
