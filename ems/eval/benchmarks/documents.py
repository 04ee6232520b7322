"""Read the documents of MLDoc's files, and embed them whole or in pieces.

A row is a label, a tab, and the text, as such or as Python's b'...'. Both spellings of the labels are read, C and CCAT
and so on. Text is cleaned as LASER's program does: " Co ." becomes " Co.", " Inc . " becomes " Inc. ", and "(c) Reuters
Limited 199x." is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError, nearest
from ems.eval.benchmarks.labelled_text import Examples
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import read_lines

LABELS = ("C", "E", "G", "M")  # corporate, economics, government, markets
DOCUMENTS: Mapping[str, str] = {
    "truncate": "each document embedded whole, up to the encoder's limit",
    "sentences": "each document cut after every free-standing full stop, plain mean of its pieces' embeddings",
}


def clean_text(text: str) -> str:
    """Return the text after LASER's clean-up; see the top of this module."""
    text = text.replace(" Co .", " Co.").replace(" Inc . ", " Inc. ")
    return re.sub(r"\([cC]\) Reuters Limited 199[0-9]\.", "", text)


def _decode_literal(where: str, text: str) -> str:
    try:
        return bytes.decode(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError) as error:  # a UnicodeDecodeError is a ValueError
        raise InputError(f"{where}: the text is not a bytes literal of UTF-8: {text[:40]}") from error


def read_documents(path: Path) -> Examples:
    """Return the cleaned documents of one file and places in `LABELS`; every row is kept, even an empty text.

    Raises:
        InputError: no such file, not UTF-8, a row without a tab, an unknown label, a broken bytes literal, or bytes
            literals in some rows only.
    """
    documents = Examples()
    has_literals = False
    for line, row in enumerate(read_lines(path), 1):
        where = f"{path}, line {line}"
        label, tab, text = row.partition("\t")
        if not tab:
            raise InputError(f"{where}: no tab between label and text: '{row[:40]}'")
        if (short := label.strip().removesuffix("CAT")) not in LABELS:
            known = [*LABELS, *(f"{name}CAT" for name in LABELS)]
            raise InputError(f"{where}: unknown label '{label[:40]}'; nearest: '{nearest(label, known)}'")
        is_literal = re.match(r"""b(['"]).*\1\s*$""", text) is not None
        if line == 1:
            has_literals = is_literal
        if is_literal != has_literals:
            differs = "is a bytes literal, that of line 1 is not" if is_literal else "is no bytes literal as in line 1"
            raise InputError(f"{where}: the text {differs}: {text[:40]}")
        documents.add(clean_text(_decode_literal(where, text) if is_literal else text), LABELS.index(short))
    return documents


def split_document(text: str) -> list[str]:
    """Return a document's pieces: cut after every full stop that stands alone between white space, but the last word.

    Words of a piece are joined by single spaces. There is at least one piece. Source: LASER's SplitLines, which sees
    tokenised text; in text that is not, most full stops touch a word, and few cuts are made.
    """
    words = text.split()
    ends = [place + 1 for place, word in enumerate(words[:-1]) if word == "."]
    return [" ".join(words[start:end]) for start, end in zip([0, *ends], [*ends, len(words)], strict=True)]


def embed_documents(
    encoder: SupportsEncode, texts: Sequence[str], document: str, what: str = "", dimension: int | None = None
) -> NDArray[np.float32]:
    """Return the embeddings of N documents, float32 (N, D).

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        texts: documents.
        document: one of `DOCUMENTS`.
        what: what they are, to name in an error.
        dimension: what D must be; None: anything.
    """
    if document == "truncate":
        return embed(encoder, texts, what, dimension)
    pieces = [split_document(text) for text in texts]
    vectors = embed(encoder, [piece for of_text in pieces for piece in of_text], what, dimension)
    counts = np.array([len(of_text) for of_text in pieces])
    sums = np.add.reduceat(vectors, np.cumsum(counts) - counts, axis=0, dtype=np.float64)
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means
