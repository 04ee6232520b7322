"""Read what a conversion needs out of a SentencePiece `.model` file.

The file is one protocol buffer message. The `sentencepiece` package tells neither the type of every piece nor the
normaliser, and its own message classes need the `protobuf` package, so the few fields are read from the wire format
(https://protobuf.dev/programming-guides/encoding; field numbers from sentencepiece_model.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

# Wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# TrainerSpec.model_type, and the flags of NormalizerSpec by field number.
_KINDS: dict[object, str] = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_TRUE_BY_DEFAULT = {3: "add_dummy_prefix", 4: "remove_extra_whitespaces", 5: "escape_whitespaces"}


class PieceType(IntEnum):
    """What a piece stands for; only NORMAL ones are found in text."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """One entry of the vocabulary; its id is its position."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SentencePieceModel:
    """The parts of a model file that decide its ids.

    Attributes:
        pieces: the vocabulary.
        kind: "unigram", "bpe", "word" or "char".
        byte_fallback: whether characters outside the vocabulary are spelled as bytes.
        charsmap: precompiled normalisation rules; empty for `identity`.
        unusual: settings away from SentencePiece's defaults that change how text is read, by their names.
    """

    pieces: tuple[Piece, ...]
    kind: str
    byte_fallback: bool
    charsmap: bytes
    unusual: tuple[str, ...]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number longer than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes | float, int]]:
    """Yield (field number, value, where the field ends) of one message, unknown fields too."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value, at
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire_type, 0)
        if wire_type == _BYTES:
            size, at = _varint(data, at)
        elif not size:
            raise ValueError(f"wire type {wire_type}")
        if at + size > len(data):
            raise ValueError("ends in the middle of a field")
        raw = data[at : at + size]
        at += size
        yield key >> 3, struct.unpack("<f", raw)[0] if wire_type == _FIXED32 else raw, at


def _message(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a message where there is none")
    return value


def _by_number(value: object) -> dict[int, int | bytes | float]:
    return {number: content for number, content, _ in _fields(_message(value))}


def _piece(value: object) -> Piece:
    fields = _by_number(value)
    score = fields.get(2, 0.0)
    if not isinstance(score, float) or not abs(score) < float("inf"):
        raise ValueError(f"score {score!r}")
    kind = fields.get(3, PieceType.NORMAL)
    if not isinstance(kind, int):
        raise ValueError(f"type {kind!r}")
    return Piece(_message(fields.get(1, b"")).decode("utf-8"), score, PieceType(kind))


def read_model(data: bytes) -> SentencePieceModel:
    """Parse a serialised SentencePiece model.

    Raises:
        ValueError: the bytes are not such a model; the message says where they break.
    """
    pieces: list[Piece] = []
    trainer: dict[int, object] = {}
    normalizer: dict[int, object] = {}
    try:
        for number, value, _ in _fields(data):
            if number == 1:
                pieces.append(_piece(value))
            elif number == 2:
                trainer |= _by_number(value)
            elif number == 3:
                normalizer |= _by_number(value)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"not a SentencePiece model ({error})") from error
    if not pieces:
        raise ValueError("not a SentencePiece model (no pieces)")
    unusual = [name for number, name in _TRUE_BY_DEFAULT.items() if not normalizer.get(number, 1)]
    if trainer.get(24, 0):
        unusual.append("treat_whitespace_as_suffix")
    return SentencePieceModel(
        pieces=tuple(pieces),
        kind=_KINDS.get(trainer.get(3, 1), "unknown"),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=_message(normalizer.get(2, b"")),
        unusual=tuple(unusual),
    )


def round_scores(data: bytes, step: float) -> bytes:
    """Return a model with every score rounded to a multiple of `step`, everything else as it is.

    Args:
        data: a valid serialised model.
        step: a power of two.
    """
    rounded = bytearray(data)
    for number, value, end in _fields(data):
        if number != 1:
            continue
        piece = _message(value)
        for inner, score, inner_end in _fields(piece):
            if inner == 2 and isinstance(score, float):
                at = end - len(piece) + inner_end
                rounded[at - 4 : at] = struct.pack("<f", round(score / step) * step)
    return bytes(rounded)
