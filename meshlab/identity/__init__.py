"""Who is who: the authority, SVIDs, the trust bundle, the proxies' bound tokens.

In: a pod's namespace, service account and name. Out: an X.509-SVID (chain and key, PEM) and the bundle that proves it.
Owns `cryptography` and `jwt`. `authority.py` holds root and intermediate, `svids.py` issues and times renewal,
`tokens.py` is how a proxy proves who it is before it gets anything.
"""
