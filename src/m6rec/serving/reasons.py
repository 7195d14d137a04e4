"""Why an item is recommended: written by a tuned task, or what of the history is nearest to it.

What the user is against, or took back, is never a reason (data/verdicts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.data.kinds import Verdict
from m6rec.data.verdicts import history_verdicts
from m6rec.records import Event
from m6rec.serving.live import LiveModel

NEWEST = 20
"""Events that are compared."""
POPULAR = "Many people chose this."


@dataclass(frozen=True)
class Reason:
    """text: in words. because: the item of the history that it is about. written: by the model."""

    text: str
    because: str | None = None
    written: bool = False


def reasons(
    model: LiveModel, item_ids: Sequence[str], history: Sequence[Event], user_id: str | None
) -> dict[str, Reason]:
    """A reason for each item that is there."""
    there = [item_id for item_id in item_ids if item_id in model.shown]
    if "explain" in model.face.tasks:
        return {
            item_id: Reason(
                model.writer().explain(item_id, history, user_id=user_id).text, written=True
            )
            for item_id in there
        }
    said = zip(history, history_verdicts(history, model.retriever.scale), strict=True)
    liked = [event.item_id for event, says in said if says == Verdict.YES]
    past = [item_id for item_id in reversed(liked) if item_id in model.shown]
    known = [item_id for item_id in dict.fromkeys(past) if item_id is not None][:NEWEST]
    if not known or not there:
        return {item_id: Reason(POPULAR) for item_id in there}
    likeness = model.item_vectors(there) @ model.item_vectors(known).T
    found = {}
    for item_id, row in zip(there, likeness, strict=True):
        because = known[int(row.argmax())]
        found[item_id] = Reason(f"It goes with “{model.shown[because].title}”.", because)
    return found
