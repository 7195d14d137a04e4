"""Directions of untrained retrieval on the disk: whole, or made anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import tiny
from m6rec.serving.directions import FILE, directions_key, read_directions, write_directions


def test_directions_come_back_as_they_were_written(tmp_path: Path) -> None:
    first, _ = tiny.backbone(seed=0)
    other, _ = tiny.backbone(seed=1)
    write_directions(first, tmp_path, 15)
    assert directions_key(other) != directions_key(first)
    assert read_directions(other, tmp_path) == 15
    assert directions_key(other) == directions_key(first)


def test_a_flipped_bit_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, _ = tiny.backbone()
    write_directions(model, tmp_path, 15)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-3] ^= 1
    (tmp_path / FILE).write_bytes(bytes(data))
    before = directions_key(model)
    with caplog.at_level(logging.WARNING):
        assert read_directions(model, tmp_path) == 0
    assert "not those that were written" in caplog.text
    assert directions_key(model) == before
