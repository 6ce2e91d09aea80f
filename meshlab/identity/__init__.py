"""Who is who: the lab's certificate authority, the SVIDs of its pods, and the tokens that proxies prove themselves by.

In: `model.ids.SpiffeId`s and pods. Out: certificate chains with keys (PEM, never in a repr), the trust bundle, tokens.
`authority` is root and intermediate, kept on disk 0600; `svids` issues leaves and says when to renew them; `tokens`
mints and checks bearer tokens bound to one pod; `files` writes secrets. Owns cryptography and jwt.
Open `authority.py` next.
"""
