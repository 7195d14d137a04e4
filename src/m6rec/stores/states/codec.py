"""Segment states ↔ bytes: float16, or int8 with a scale for each row, with shape and checksum.

A value is `head | body | checksum`. head: version, form, rows K, width D. body: float16 [K, D], or
float32 scales [K] and int8 [K, D]. The checksum is the CRC-32 of key, head and body, so a value
that is torn, damaged, or stands under another key does not pass; it reads as missing.

Legend: S segments, K states of a segment, D width.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

Form = Literal["fp16", "int8"]
FORMS: dict[Form, int] = {"fp16": 1, "int8": 2}
VERSION = 1
HEAD = struct.Struct("<BBHI")
TAIL = 4
RESIDUE = 0x2144DF1C
"""CRC-32 of any bytes that are followed by their own CRC-32, low byte first."""


@dataclass(frozen=True)
class States:
    """States of segments. h_SKD: float16, rows from length_S on are zero; length 0: not there."""

    h_SKD: np.ndarray
    length_S: np.ndarray

    @property
    def valid_SK(self) -> np.ndarray:  # noqa: N802
        """Which rows hold a state: bool."""
        found: np.ndarray = np.arange(self.h_SKD.shape[1]) < self.length_S[:, None]
        return found


def encode(keys: Sequence[bytes], states: States, form: Form) -> list[bytes]:
    """One value for each key, of the first `length` rows of its segment."""
    h_SKD = states.h_SKD
    D = h_SKD.shape[2]
    if form == "int8":
        scale_SK, code_SKD = quantise(h_SKD)
    half_SKD = h_SKD.astype("<f2", copy=False)
    values = []
    for s, (key, n) in enumerate(zip(keys, states.length_S.tolist(), strict=True)):
        if form == "int8":
            body = scale_SK[s, :n].tobytes() + code_SKD[s, :n].tobytes()
        else:
            body = half_SKD[s, :n].tobytes()
        told = HEAD.pack(VERSION, FORMS[form], n, D) + body
        values.append(told + crc32(told, crc32(key)).to_bytes(TAIL, "little"))
    return values


def decode(keys: Sequence[bytes], values: Sequence[bytes | None], width: int) -> States:
    """What the values say; a segment whose value is missing, damaged or not ours has length 0."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for s, (key, value) in enumerate(zip(keys, values, strict=True)):
        if value is not None and crc32(value, crc32(key)) == RESIDUE:
            by_size[len(value)].append(s)
    length_S = np.zeros(len(keys), dtype=np.int64)
    parts: list[tuple[list[int], np.ndarray]] = []
    for size, members in by_size.items():
        bytes_SN = np.frombuffer(b"".join(values[s] or b"" for s in members), dtype=np.uint8)
        h_SKD = _read_group(bytes_SN.reshape(len(members), size), width)
        if h_SKD is not None:
            length_S[members] = h_SKD.shape[1]
            parts.append((members, h_SKD))
    K = int(length_S.max(initial=0))
    if len(parts) == 1 and len(parts[0][0]) == len(keys):
        return States(parts[0][1], length_S)
    out_SKD = np.zeros((len(keys), K, width), dtype=np.float16)
    for members, h_SKD in parts:
        out_SKD[members, : h_SKD.shape[1]] = h_SKD
    return States(out_SKD, length_S)


def _read_group(bytes_SN: np.ndarray, width: int) -> np.ndarray | None:
    """States of whole values of one size: float16 [S, K, D]; None where they are not ours."""
    size = bytes_SN.shape[1]
    if size < HEAD.size + TAIL or bool(
        (bytes_SN[:, : HEAD.size] != bytes_SN[0, : HEAD.size]).any()
    ):
        return None
    version, form, K, D = HEAD.unpack(bytes_SN[0, : HEAD.size].tobytes())
    body_SN = bytes_SN[:, HEAD.size : size - TAIL]
    shape = (len(bytes_SN), K, width)
    if version != VERSION or D != width or K == 0:
        return None
    if form == FORMS["fp16"] and body_SN.shape[1] == 2 * K * D:
        return np.ascontiguousarray(body_SN).view("<f2").reshape(shape).astype(np.float16)
    if form == FORMS["int8"] and body_SN.shape[1] == 4 * K + K * D:
        scale_SK = np.ascontiguousarray(body_SN[:, : 4 * K]).view("<f4")
        code_SKD = np.ascontiguousarray(body_SN[:, 4 * K :]).view(np.int8).reshape(shape)
        return dequantise(scale_SK, code_SKD)
    return None


def quantise(h_SKD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row's largest entry becomes 127: scale float32 [S, K] and codes int8 [S, K, D]."""
    wide_SKD = h_SKD.astype(np.float32)
    scale_SK = np.abs(wide_SKD).max(axis=2, initial=0.0) / np.float32(127)
    divisor_SK = np.where(scale_SK > 0, scale_SK, np.float32(1))
    code_SKD = np.rint(wide_SKD / divisor_SK[..., None]).astype(np.int8)
    return scale_SK.astype("<f4"), code_SKD


def dequantise(scale_SK: np.ndarray, code_SKD: np.ndarray) -> np.ndarray:
    """float16 [S, K, D]."""
    found: np.ndarray = (code_SKD * scale_SK[..., None]).astype(np.float16)
    return found
