"""The budget of one target, shared out among the workers: place by place, as they need them.

    budget.want(worker, places)         # its clients wait at the moment; 0: no more
    budget.want(worker, places, lasting, pressing)  # for more than a moment; for long
    budget.want(worker, places, lasting, pressing, share, kept)  # what it knew of, what is stuck
    budget.gave(worker, places)         # it has given some back
    for worker, order in budget.settle(): tell(worker, order)

The shares, the places of the dead and the free ones add up to the total, so that the workers'
servers together never exceed it (invariant 8). Free places go to whoever has the smallest share.
When none is free, those who want nothing are asked for what they do not use; and who has less than
a fair share of what all need gets the rest of it from those who have more, as soon as a server of
theirs comes back: if its wish lasts, or if it has nothing. While somebody waits for long, a place
goes even from those who use it and have nobody waiting. Places whose servers are pinned are in
nobody's gift: what is fair, and who has nothing, is reckoned without them. A place that a dead
worker had is free only after `restored`.

Pure: what is to be done is returned. The workers' half is `pooling.leased`.
"""

from __future__ import annotations

from typing import NamedTuple


class Granted(NamedTuple):
    """So many more places are yours."""

    places: int


class Refused(NamedTuple):
    """None is free; the wish is kept."""


class Claimed(NamedTuple):
    """Others lack places."""

    spare: int
    """Give so many if you do not need them."""

    must: int
    """Of those, give so many though you do."""


Order = Granted | Refused | Claimed

_NOTHING = Claimed(0, 0)


class Budget:
    """Who has how many places of one target, and who wants more."""

    def __init__(self, total: int = 1) -> None:
        # One connection finds out what the target allows.
        self.total = total
        # By worker; who was granted a place last comes last.
        self.shares: dict[int, int] = {}
        self.wants: dict[int, int] = {}
        # Whose wish is more than a moment's.
        self._lasting: set[int] = set()
        # Where somebody has waited for long.
        self._pressing: set[int] = set()
        # How many places of each are pinned.
        self._kept: dict[int, int] = {}
        # Places of workers that have died: the database may not have noticed yet.
        self.held_back = 0
        self._claims: dict[int, Claimed] = {}
        # Who knows that there is none for it now.
        self._refused: set[int] = set()

    @property
    def free(self) -> int:
        """Places that nobody has; negative while a smaller total is not yet carried out."""
        return self.total - self.held_back - sum(self.shares.values())

    def joined(self, worker: int) -> None:
        """A new worker, with nothing."""
        self.shares[worker] = 0

    def died(self, worker: int) -> int:
        """It has gone without giving back; returns how many places it had."""
        places = self.shares.pop(worker, 0)
        self.wants.pop(worker, None)
        self._claims.pop(worker, None)
        self._lasting.discard(worker)
        self._pressing.discard(worker)
        self._kept.pop(worker, None)
        self._refused.discard(worker)
        self.held_back += places
        return places

    def restored(self, places: int) -> None:
        """The database has let go of a dead worker's servers."""
        self.held_back -= places

    def want(
        self,
        worker: int,
        places: int,
        lasting: bool = False,
        pressing: bool = False,
        share: int | None = None,
        kept: int = 0,
    ) -> None:
        """It lacks so many, perhaps for some time already; replaces what it wanted before."""
        (self._lasting.add if lasting else self._lasting.discard)(worker)
        (self._pressing.add if pressing else self._pressing.discard)(worker)
        self._kept[worker] = kept
        if share is not None:
            # What it has been granted and did not know of when it said so.
            places = max(places + share - self.shares[worker], 0)
        if places:
            self.wants[worker] = places
        else:
            self.wants.pop(worker, None)
            self._refused.discard(worker)

    def gave(self, worker: int, places: int) -> None:
        """It has that many fewer."""
        self.shares[worker] -= places
        claim = self._claims.get(worker, _NOTHING)
        self._claims[worker] = Claimed(max(claim.spare - places, 0), max(claim.must - places, 0))

    def settle(self) -> list[tuple[int, Order]]:
        """Share out what is free, and claim what is lacking; returns whom to tell what."""
        orders: list[tuple[int, Order]] = [
            (worker, Granted(places)) for worker, places in self._share_out().items()
        ]
        for worker in self.wants.keys() - self._refused:
            self._refused.add(worker)
            orders.append((worker, Refused()))
        claims = self._new_claims()
        for worker, claim in claims.items():
            if claim != self._claims.get(worker, _NOTHING):
                self._claims[worker] = claim
                orders.append((worker, claim))
        return orders

    def _share_out(self) -> dict[int, int]:
        granted: dict[int, int] = {}
        while self.wants and self.free > 0:
            # Of those with the least, whoever was granted one longest ago.
            worker = min(filter(self.wants.__contains__, self.shares), key=self._at_work)
            self.shares[worker] = self.shares.pop(worker) + 1
            granted[worker] = granted.get(worker, 0) + 1
            self._refused.discard(worker)
            # It says so again if that was not all.
            self._pressing.discard(worker)
            self.wants[worker] -= 1
            if not self.wants[worker]:
                del self.wants[worker]
        return granted

    def _at_work(self, worker: int) -> int:
        """How many of its places serve whoever comes."""
        return max(self.shares[worker] - self._kept.get(worker, 0), 0)

    def _new_claims(self) -> dict[int, Claimed]:
        """What each worker should give, so that those who want get what is theirs."""
        overdrawn = max(-self.free, 0)
        lacking = sum(self.wants.values()) + overdrawn
        at_work = {worker: self._at_work(worker) for worker in self.shares}
        kept = sum(self.shares.values()) - sum(at_work.values())
        needy = sum(1 for worker, places in at_work.items() if places or worker in self.wants)
        fair = max((self.total - kept) // needy, 1) if needy else 1
        poor = sum(
            min(places, fair - at_work[worker])
            for worker, places in self.wants.items()
            if at_work[worker] < fair and (worker in self._lasting or not at_work[worker])
        )
        claims = {}
        for worker, share in self.shares.items():
            spare = 0 if worker in self.wants else min(lacking, share)
            must = max(min(poor, at_work[worker] - fair), min(overdrawn, share), 0)
            claims[worker] = Claimed(max(spare, must), must)
        if poor and not any(claim.must for claim in claims.values()):
            self._take_turns(claims)
        self._relieve(claims)
        return claims

    def _relieve(self, claims: dict[int, Claimed]) -> None:
        """Somebody waits for long: of those with nobody waiting, who has most gives one."""
        content = self.shares.keys() - self.wants.keys()
        giver = max(content, key=self._at_work, default=None)
        if self._pressing & self.wants.keys() and giver is not None and self._at_work(giver):
            claims[giver] = Claimed(max(claims[giver].spare, 1), max(claims[giver].must, 1))

    def _take_turns(self, claims: dict[int, Claimed]) -> None:
        """Fewer places than workers: whoever has had one for longest passes it on."""
        starving = any(not self._at_work(worker) for worker in self.wants)
        holder = next((worker for worker in self.shares if self._at_work(worker)), None)
        if starving and holder is not None:
            claims[holder] = Claimed(max(claims[holder].spare, 1), 1)
