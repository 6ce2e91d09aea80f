"""The sidecarless plane's kernel half: programs that know pods by their network namespace and judge every connect.

In: pods (`pods.py`), a `Plan` of services, backends and rules (`policy.py`). Out: verdicts in the kernel, counters,
events (`ring.py`). The C is in `bpf/` (one file a hook); `kernel.py` alone knows bcc, in a process that ends;
`node.py` is the face: open it next.
"""
