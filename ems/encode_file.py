"""Embed a text file of any size into a `.npy` array, in bounded memory, going on where a killed run stopped."""

from __future__ import annotations

import fcntl
import hashlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch
from tqdm import tqdm

from ems.errors import InputError
from ems.files import sync_folder, write_json
from ems.inference import SentenceEncoder

_HEADER_BYTES = 128  # the same for every row count, so that it can be written again at the end


def _header(rows: int, dimension: int) -> bytes:
    """Write a version 1.0 `.npy` header of fixed size (NumPy's own pads to a multiple of 64)."""
    text = str({"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})
    padded = text.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("ascii")


def _decode(line: bytes, number: int, name: str) -> str:
    try:
        # A byte order mark is no text.
        return line.rstrip(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}, line {number}: not UTF-8 ({error.reason} at byte {error.start + 1})") from None


@contextmanager
def _open_input(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(name, "rb"))
        except OSError as error:
            raise InputError(f"input {name} cannot be read: {error.strerror}") from None
        yield file


def _weights_digest(encoder: SentenceEncoder) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, values in encoder.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _identity(encoder: SentenceEncoder, name: str, normalize: bool) -> dict[str, Any]:
    """What must be unchanged for the rows written so far to be kept."""
    stat = os.stat(name)
    return {
        "input": os.path.abspath(name),
        "input_bytes": stat.st_size,
        "input_changed": stat.st_mtime_ns,
        "tokenizer": encoder.tokenizer.fingerprint,
        "sizes": asdict(encoder.encoder.sizes),
        "weights": _weights_digest(encoder),
        "computed in": encoder.compute_dtype,
        "normalize": normalize,
    }


def _rows_to_keep(partial: Path, progress: Path, identity: dict[str, Any] | None, dimension: int) -> int:
    """Say how many rows of an interrupted run are whole and belong to this input and model."""
    if identity is None or not (partial.exists() and progress.exists()):
        return 0
    try:
        saved = json.loads(progress.read_text(encoding="utf-8"))
        rows = int(saved.pop("rows"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
    whole = partial.stat().st_size >= _HEADER_BYTES + rows * dimension * 4
    return rows if saved == identity and whole and rows >= 0 else 0


def _check_places(name: str, output: Path, *aside: Path) -> None:
    """Refuse an output that cannot be written or would overwrite the input or a device."""
    if not output.parent.is_dir():
        raise InputError(f"output {output}: folder {output.parent} does not exist")
    for written in (output, *aside):
        if written.exists() and not written.is_file():
            raise InputError(f"output {written} is not a file; name a .npy file")
        if name != "-" and written.exists() and Path(name).exists() and written.samefile(name):
            raise InputError(f"input {name} would be overwritten by the output {output}")


@contextmanager
def _locked(partial: Path) -> Iterator[IO[bytes]]:
    """Open the file that is being written, old content kept, for this process alone."""
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process is writing {partial}") from None
        if not (partial.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(partial))):
            raise InputError(f"another process has just finished writing {partial}")
        yield file


def encode_file(
    encoder: SentenceEncoder,
    name: str,
    output: Path,
    *,
    normalize: bool = False,
    batch_size: int | None = None,
) -> int:
    """Embed each line of a file.

    Rows go to `output` + ".partial", which takes its final name when all are written. Run again after a kill, it
    continues behind the last whole chunk if input, model and options are the same; standard input starts anew.

    Args:
        encoder: model that embeds.
        name: UTF-8 text, one sentence a line (ended by "\\n" alone), or "-" for standard input. A blank line gives a
            zero row.
        output: `.npy` file to write, float32 (lines, dimension).
        normalize: scale every vector to length 1.
        batch_size: see `SentenceEncoder.encode`.

    Returns:
        Number of rows.

    Raises:
        InputError: the input cannot be read, is not UTF-8 (by line), or the output's folder does not exist.
        OSError: the output cannot be written, for lack of space, say.
    """
    partial, progress = output.with_name(output.name + ".partial"), output.with_name(output.name + ".progress.json")
    _check_places(name, output, partial, progress)
    with _open_input(name) as lines, _locked(partial) as file:
        identity = _identity(encoder, name, normalize) if name != "-" else None
        rows = _rows_to_keep(partial, progress, identity, encoder.dimension)
        if rows == 0:  # what is said of older rows must not outlive them
            progress.unlink(missing_ok=True)
            sync_folder(output.parent)
        file.truncate(_HEADER_BYTES + rows * encoder.dimension * 4)
        file.seek(0, io.SEEK_END)
        windows = encoder.encode_windows(_sentences(lines, rows, name), batch_size)
        try:
            for vectors in windows:
                vectors = torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors
                file.write(vectors.numpy().astype("<f4").tobytes())
                rows += len(vectors)
                if identity is not None:
                    _flush(file)
                    write_json(progress, {**identity, "rows": rows})
        except InputError:  # a line that cannot be used: when it is mended the input is another one
            partial.unlink()
            progress.unlink(missing_ok=True)
            raise
        file.seek(0)
        file.write(_header(rows, encoder.dimension))
        _flush(file)
        os.replace(partial, output)
    progress.unlink(missing_ok=True)
    sync_folder(output.parent)
    return rows


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sentences(lines: IO[bytes], first: int, name: str) -> Iterator[str]:
    """Decode the remaining lines, showing progress where a person watches."""
    shown = "standard input" if name == "-" else name
    for _ in itertools.islice(lines, first):
        pass
    bar = tqdm(lines, initial=first, desc="encode", unit="sent", disable=not sys.stderr.isatty())
    for number, line in enumerate(bar, first + 1):
        yield _decode(line, number, shown)
