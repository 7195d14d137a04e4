"""States as bytes: what goes in comes out, and what is damaged does not come out at all."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m6rec.stores.states.codec import Form, States, decode, encode

KEY = bytes(range(16))
FORMS: tuple[Form, ...] = ("fp16", "int8")


def keys(count: int) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in range(count)]


@st.composite
def some_states(draw: st.DrawFn) -> States:
    """Any finite states of any small shape, some segments shorter than others."""
    S, K, D = (draw(st.integers(1, most)) for most in (6, 5, 40))
    finite = st.floats(-60000, 60000, width=16, allow_nan=False, allow_infinity=False)
    h_SKD = draw(hnp.arrays(np.float16, (S, K, D), elements=finite))
    length_S = draw(hnp.arrays(np.int64, S, elements=st.integers(1, K)))
    return States(h_SKD, length_S)


@settings(max_examples=60, deadline=None)
@given(some_states())
def test_float16_comes_back_to_the_bit_in_any_shape(states: States) -> None:
    S, _, D = states.h_SKD.shape
    found = decode(keys(S), encode(keys(S), states, "fp16"), D)
    assert found.length_S.tolist() == states.length_S.tolist()
    for s, n in enumerate(states.length_S.tolist()):
        assert found.h_SKD[s, :n].tobytes() == states.h_SKD[s, :n].tobytes()
        assert not found.h_SKD[s, n:].any()


@settings(max_examples=60, deadline=None)
@given(some_states())
def test_int8_comes_back_within_half_a_step_in_any_shape(states: States) -> None:
    S, _, D = states.h_SKD.shape
    found = decode(keys(S), encode(keys(S), states, "int8"), D)
    assert found.length_S.tolist() == states.length_S.tolist()
    for s, n in enumerate(states.length_S.tolist()):
        told, was = found.h_SKD[s, :n].astype(np.float64), states.h_SKD[s, :n].astype(np.float64)
        most = np.abs(was).max(axis=1, keepdims=True)
        # half a step of the row's 127, and the rounding of float16 itself
        assert (np.abs(told - was) <= most / 254 + most * 2**-11 + 2**-24).all()


def test_a_float16_value_is_what_the_head_of_the_file_says() -> None:
    states = States(np.array([[[1.0, -2.0]]], dtype=np.float16), np.array([1]))
    (value,) = encode([KEY], states, "fp16")
    told = struct.pack("<BBHI", 1, 1, 1, 2) + bytes.fromhex("003c00c0")
    assert value == told + struct.pack("<I", zlib.crc32(KEY + told))


def test_an_int8_value_has_the_largest_entry_at_127() -> None:
    states = States(np.array([[[0.5, -1.0, 0.25]]], dtype=np.float16), np.array([1]))
    (value,) = encode([KEY], states, "int8")
    assert value[8:12] == struct.pack("<f", np.float32(1 / 127))
    assert value[12:-4] == struct.pack("<3b", 64, -127, 32)  # 63.5 and 31.75 to the nearest even


@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_zeros_stays_one(form: Form) -> None:
    states = States(np.zeros((1, 2, 8), dtype=np.float16), np.array([2]))
    found = decode([KEY], encode([KEY], states, form), 8)
    assert found.length_S.tolist() == [2]
    assert not found.h_SKD.any()


@pytest.mark.parametrize("form", FORMS)
def test_any_changed_byte_and_any_cut_reads_as_missing(form: Form) -> None:
    rng = np.random.default_rng(0)
    states = States(rng.normal(size=(1, 2, 16)).astype(np.float16), np.array([2]))
    (value,) = encode([KEY], states, form)
    for place in range(len(value)):
        for bit in (1, 16, 128):
            damaged = bytearray(value)
            damaged[place] ^= bit
            assert decode([KEY], [bytes(damaged)], 16).length_S.tolist() == [0]
        assert decode([KEY], [value[:place]], 16).length_S.tolist() == [0]
        torn = value[:place] + bytes(len(value) - place)
        assert torn == value or decode([KEY], [torn], 16).length_S.tolist() == [0]
    assert decode([KEY], [value + b"\0"], 16).length_S.tolist() == [0]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_bytes_that_are_not_ours_read_as_missing(noise: bytes) -> None:
    assert decode([KEY], [noise], 16).length_S.tolist() == [0]


def test_a_right_checksum_around_a_wrong_head_reads_as_missing() -> None:
    body = bytes(32)
    for head in [(2, 1, 1, 16), (1, 3, 1, 16), (1, 1, 2, 16), (1, 1, 1, 8), (1, 1, 0, 16)]:
        told = struct.pack("<BBHI", *head) + body
        value = told + struct.pack("<I", zlib.crc32(KEY + told))
        assert decode([KEY], [value], 16).length_S.tolist() == [0]


def test_a_value_under_another_key_reads_as_missing() -> None:
    states = States(np.ones((1, 1, 4), dtype=np.float16), np.array([1]))
    (value,) = encode([KEY], states, "fp16")
    assert decode([KEY[::-1]], [value], 4).length_S.tolist() == [0]


def test_missing_ones_leave_the_others_in_their_places() -> None:
    h_SKD = np.arange(12, dtype=np.float16).reshape(3, 2, 2)
    values: list[bytes | None] = list(encode(keys(3), States(h_SKD, np.array([2, 1, 2])), "fp16"))
    values[0] = None
    found = decode(keys(3), values, 2)
    assert found.length_S.tolist() == [0, 1, 2]
    assert found.h_SKD[:, 0].tolist() == [[0, 0], [4, 5], [8, 9]]
    assert found.valid_SK.tolist() == [[False, False], [True, False], [True, True]]
    assert decode(keys(2), [None, None], 2).h_SKD.shape == (2, 0, 2)
