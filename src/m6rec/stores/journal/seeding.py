"""An empty journal is filled from rows, once: stopped half-way it goes on, and several processes
that do the same at once fill it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from m6rec.stores.journal.base import Body, Journal, JournalConflict, JournalError, Told
from m6rec.stores.journal.origin import Erasure, Seed

Part = tuple[Told, Sequence[Body]]


def fill(
    journal: Journal,
    seed: Seed,
    parts: Iterable[Part],
    before: Sequence[str] = (),
    own: Sequence[Erasure] = (),
    later: Sequence[Erasure] = (),
) -> Seed:
    """Takes in all parts, the same ones in the same order for the same digest.

    before, own, later: see Journal.begin_seed. Returns the whole seed. Raises JournalError where
    the journal holds something else, or a part of something else.
    """
    now = journal.seed()
    if now is None:
        try:
            now = journal.begin_seed(seed, before, own, later)
        except JournalConflict:
            now = journal.seed()
            if now is None:
                raise
    check(now, seed)
    at = 0
    for kind, bodies in parts:
        while at == now.done and not now.whole:
            try:
                now = journal.grow_seed(now, kind, bodies)
            except JournalConflict:  # another process took this part in
                now = journal.seed() or seed
        at += len(bodies)
    return now


def check(now: Seed, seed: Seed | None) -> None:
    """Raises JournalError where a journal was seeded with something else than `seed`."""
    if seed is None or now.digest != seed.digest:
        how = "from" if now.whole else f"half-way ({now.done:,} of {now.total:,} rows) from"
        rather = "" if seed is None else f", and not from {seed.source}"
        raise JournalError(
            f"the journal was filled {how} {now.source}{rather}; right is the same source"
            + ("" if now.whole else " until it is whole, or an empty journal")
        )
