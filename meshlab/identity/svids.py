"""The SVID of each pod: issued on first need, renewed at half life with jitter so that not all renew at once."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meshlab.identity.authority import Authority
from meshlab.model.ids import SpiffeId
from meshlab.model.world import PodId

_JITTER = 0.1
"""Renewal falls between 45 % and 55 % of the life."""


@dataclass(frozen=True)
class Svid:
    """`chain_pem`: leaf, then intermediate. Times are Unix seconds."""

    spiffe_id: SpiffeId
    serial: str
    not_before: float
    not_after: float
    renew_at: float
    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)


class SvidBook:
    """SVIDs of the pods that are there, in memory only: a restarted control plane issues new ones."""

    def __init__(self, authority: Authority, ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        self._authority, self._ttl_s, self._clock = authority, ttl_s, clock
        self._held: dict[PodId, tuple[str, Svid]] = {}
        self._random = random.Random()

    def get(self, pod: PodId, uid: str, identity: SpiffeId) -> Svid:
        """The pod's SVID; a new one where there is none, it is due, or the pod or its account is another."""
        held = self._held.get(pod)
        if held is not None:
            holder, svid = held
            if holder == uid and svid.spiffe_id == identity and self._clock() < svid.renew_at:
                return svid
        svid = self._issue(identity)
        self._held[pod] = (uid, svid)
        return svid

    def keep(self, pods: set[PodId]) -> None:
        """Forget the keys of all other pods."""
        for pod in self._held.keys() - pods:
            del self._held[pod]

    def next_renewal(self) -> float | None:
        """When the next SVID is due, in Unix seconds."""
        return min((svid.renew_at for _, svid in self._held.values()), default=None)

    def all(self) -> dict[PodId, Svid]:
        return {pod: svid for pod, (_, svid) in self._held.items()}

    def _issue(self, identity: SpiffeId) -> Svid:
        signed = self._authority.sign_leaf(str(identity), datetime.timedelta(seconds=self._ttl_s))
        now, end = self._clock(), signed.certificate.not_valid_after_utc.timestamp()
        share = 0.5 + _JITTER * (self._random.random() - 0.5)
        return Svid(
            spiffe_id=identity,
            serial=f"{signed.certificate.serial_number:x}",
            not_before=signed.certificate.not_valid_before_utc.timestamp(),
            not_after=end,
            renew_at=now + share * max(end - now, 1.0),
            chain_pem=signed.certificate_pem + self._authority.intermediate_pem,
            key_pem=signed.key_pem,
        )
