"""Directions of untrained retrieval on the disk: whole, or made anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import tiny
from m6rec.serving.directions import (
    directions_key,
    pack_directions,
    read_directions,
    take_directions,
    write_directions,
)


def test_directions_come_back_as_they_were_written(tmp_path: Path) -> None:
    first, _ = tiny.backbone(seed=0)
    other, _ = tiny.backbone(seed=1)
    assert read_directions(tmp_path) is None
    write_directions(pack_directions(first, 15), tmp_path)
    assert directions_key(other) != directions_key(first)
    found = read_directions(tmp_path)
    assert found is not None and take_directions(other, found) == 15
    assert directions_key(other) == directions_key(first)


def test_a_flipped_bit_is_found(caplog: pytest.LogCaptureFixture) -> None:
    model, _ = tiny.backbone()
    data = bytearray(pack_directions(model, 15))
    data[-3] ^= 1
    before = directions_key(model)
    with caplog.at_level(logging.WARNING):
        assert take_directions(model, bytes(data)) == 0
        assert take_directions(model, b"no file") == 0
    assert "not those that were written" in caplog.text
    assert directions_key(model) == before
