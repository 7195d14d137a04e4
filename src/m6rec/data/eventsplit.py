"""Splits by the events themselves: by column, in time, last ones out, or items out.

Legend: E events, sorted by user and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from m6rec.data import cut, parts
from m6rec.data.log import Log
from m6rec.data.options import Method, SplitOptions
from m6rec.data.protocol import Pieces
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError

LATER_TRAIN = "train holds events that are later than some test requests (of other users)"

UNORDERED = "the log has no order: histories are all other events of the user, in a drawn order"


@dataclass(frozen=True)
class Assignment:
    """part: int8 [E] (see parts.py); `how` and `notes` go on the card."""

    part: np.ndarray
    how: str
    notes: tuple[str, ...] = ()


def cut_events(log: Log, method: Method, options: SplitOptions) -> Pieces:
    """Train, valid and test requests of a log. Raises DataError where the method does not fit."""
    if method == "random":
        _check_unordered(log)
        log = log.shuffled(options.seed)
    assigned = assign(log, method, options)
    exclude = excludes_same_time(log, method, options)
    before = cut.histories(log.events, log.shown, options.max_history, exclude)
    in_train = assigned.part == parts.TRAIN
    requests = {
        part: _evaluated(log, before, assigned.part, part, options)
        for part in (parts.VALID, parts.TEST)
    }
    return Pieces(
        train=cut_train(log, in_train, before, exclude, options),
        valid=requests[parts.VALID],
        test=requests[parts.TEST],
        train_events=log.events.filter(in_train),
        how=assigned.how,
        same_time="exclude" if exclude else "keep",
        notes=assigned.notes,
    )


def assign(log: Log, method: Method, options: SplitOptions) -> Assignment:
    """The part of every event, by one method."""
    shares = (options.valid_fraction, options.test_fraction)
    if method == "column":
        return _by_column(log)
    if method == "temporal":
        return _temporal(log, *shares)
    if method == "leave-one-out":
        part = parts.leave_one_out(log.anchors, cut.first_of_user(log.events))
        how = "leave-one-out: a user's last event to judge is test, the one before is valid"
        return Assignment(part, f"{how} (users with 3 or more)", (LATER_TRAIN,))
    if method == "random":
        part = parts.leave_one_out(log.anchors, cut.first_of_user(log.events))
        how = f"random: of each user one event to judge is test, one is valid, seed {options.seed}"
        return Assignment(part, f"{how} (users with 3 or more)", (UNORDERED,))
    part = parts.unseen_item(log.events, log.anchors, *shares, options.seed)
    how = f"unseen-item: {shares[0]:g} and {shares[1]:g} of the items, seed {options.seed}"
    return Assignment(part, how, (LATER_TRAIN, "valid and test histories may show held-out items"))


def _check_unordered(log: Log) -> None:
    if cut.has_order(log.events):
        raise DataError(
            "random split: the events have a timestamp or a position, so a drawn one would be "
            "foreseen from later ones; use temporal or leave-one-out"
        )


def _by_column(log: Log) -> Assignment:
    if "split" not in log.events.columns:
        raise DataError(
            "split by column: the events have no column 'split' (train, valid or test); "
            "add it, or use another method"
        )
    return Assignment(parts.by_column(log.events), "column: the split column of the events")


def _temporal(log: Log, valid_fraction: float, test_fraction: float) -> Assignment:
    part, valid_from, test_from = parts.temporal(
        log.events, log.anchors, valid_fraction, test_fraction
    )
    how = (
        f"temporal: valid from {_moment(valid_from)}, test from {_moment(test_from)} "
        f"(shares {valid_fraction:g} and {test_fraction:g} of the events to judge)"
    )
    unknown = log.events["timestamp"].null_count()
    notes = (f"{unknown} events without a timestamp count as train",) if unknown else ()
    return Assignment(part, how, notes)


def _moment(seconds: float) -> str:
    return f"{seconds:.0f} s ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC)"


def excludes_same_time(log: Log, method: Method, options: SplitOptions) -> bool:
    """Whether histories end before the moment of the event, not just before its row."""
    if options.same_time != "auto":
        return options.same_time == "exclude"
    # Published figures keep ties; elsewhere a basket must not leak its other items.
    kept = method == "published" or (log.labels is None and method in ("column", "leave-one-out"))
    return not kept and cut.ties(log.events)


def cut_train(
    log: Log, in_train: np.ndarray, before: cut.Histories, exclude: bool, options: SplitOptions
) -> Requests:
    """Train requests; their histories hold train events only (in_train: bool [E])."""
    if not _prefix_of_users(log, in_train):
        log = log.where(in_train)
        in_train = np.ones(log.events.height, dtype=bool)
        before = cut.histories(log.events, log.shown, options.max_history, exclude)
    rows = _with_history(np.flatnonzero(log.anchors & in_train), log, before, options)
    if options.max_train_per_user is not None:
        first = cut.first_of_user(log.events)
        rows = cut.newest_per_user(rows, first, options.max_train_per_user)
    return log.requests(cut.draw(rows, options.max_train, options.seed), before)


def _prefix_of_users(log: Log, in_train: np.ndarray) -> bool:
    """Whether no train event comes after another one of its user: then the pool can be shared."""
    returns = in_train[1:] & ~in_train[:-1] & ~cut.first_of_user(log.events)[1:]
    return not bool(returns.any())


def _evaluated(
    log: Log, before: cut.Histories, part: np.ndarray, code: int, options: SplitOptions
) -> Requests:
    rows = _with_history(np.flatnonzero(log.anchors & (part == code)), log, before, options)
    return log.requests(cut.draw(rows, options.max_eval, options.seed), before)


def _with_history(
    rows: np.ndarray, log: Log, before: cut.Histories, options: SplitOptions
) -> np.ndarray:
    least = smallest_history(log.labels is not None, options)
    enough: np.ndarray = rows[before.stop[rows] - before.start[rows] >= least]
    return enough


def smallest_history(ranking: bool, options: SplitOptions) -> int:
    """Fewest past events of a request: retrieval asks for one, ranking judges every label."""
    if options.min_history is not None:
        return options.min_history
    return 0 if ranking else 1
