"""Turn sentences into vectors: `SentenceEncoder`, with the argument names of sentence-transformers.

Sentences are sorted by length within a window and computed in batches of bounded token count, so that memory is bounded
and no time goes into padding; results come back in the order given.
"""

from __future__ import annotations

import itertools
import logging
import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ems.data.packing import pack, ragged_positions
from ems.data.prefetch import prefetch
from ems.errors import InputError
from ems.model.encoder import Encoder
from ems.model.folder import load_encoder, read_info
from ems.model.int8 import has_int8_instructions, is_in_8_bits, round_to_int8
from ems.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

WINDOW = 16_384  # sentences tokenised and sorted together: enough for even batches, a few MB of tokens
CPU_BATCH_VALUES = 1 << 22  # of the widest hidden state (16 MB): what is larger is faulted in anew for every batch
CUDA_BATCH_TOKENS = 65_536
BAR_FROM = 20_000  # sentences from which a progress bar is shown by default, when a person watches


def _check_text(sentence: object, index: int) -> str:
    if not isinstance(sentence, str):
        raise TypeError(f"sentence {index} is {type(sentence).__name__} {sentence!r:.40}, not str")
    return sentence


def _windows(sentences: Iterable[Any]) -> Iterator[list[str]]:
    numbered = (_check_text(sentence, i) for i, sentence in enumerate(sentences))
    while window := list(itertools.islice(numbered, WINDOW)):
        yield window


def _batches(lengths: np.ndarray, max_tokens: int, max_rows: int | None) -> Iterator[np.ndarray]:
    """Cut sentences, longest first, into batches of at most `max_tokens` tokens: index arrays."""
    order = np.argsort(-lengths, kind="stable")
    order = order[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        # Sorted by length, so the first sentence bounds all of the batch; a lone one may exceed the budget.
        rows = max(1, max_tokens // int(lengths[order[start]]))
        stop = start + (rows if max_rows is None else min(rows, max_rows))
        yield order[start:stop]
        start = stop


def _check_usable(device: torch.device) -> None:
    """Refuse what PyTorch has a name for but cannot compute on here, such as "meta", which keeps no numbers."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError, AttributeError):  # whichever the backend raises
        raise InputError(f"device '{device}' cannot be used here; choose 'cpu' or 'cuda'") from None


def choose_device(device: str | torch.device | None) -> torch.device:
    """Resolve a device name; None takes a GPU where there is one.

    Raises:
        InputError: the name is unknown, or there is no such device, or none that can compute here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {str(device)!r} is not known; choose 'cpu' or 'cuda'") from None
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError("device is cuda, but PyTorch sees no GPU; use cpu")
        if chosen.index is not None and chosen.index >= torch.cuda.device_count():
            raise InputError(f"there is no device '{chosen}'; the last is 'cuda:{torch.cuda.device_count() - 1}'")
    elif chosen.type != "cpu":
        _check_usable(chosen)
    return chosen


class SentenceEncoder:
    """A trained encoder with its tokenizer; `encode` is all that most users call.

    Holds weights and tokenizer, no state that `encode` changes, so that several threads may call it. Open one with
    `ems.load`.

    Attributes:
        dimension: size of a sentence embedding.
        languages: codes of the languages it was trained on.
        max_tokens: tokens of a sentence that it reads; the rest is cut off.
    """

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer, languages: Iterable[str] = ()) -> None:
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.languages = tuple(languages)
        self.dimension = encoder.sizes.hidden_size
        self.max_tokens = encoder.sizes.max_tokens

    @property
    def compute_dtype(self) -> str:
        """What the linear layers compute in: "float32", "bfloat16", "int8" and so on."""
        if is_in_8_bits(self.encoder):
            return "int8"
        return str(self.encoder.embeddings.token.weight.dtype).removeprefix("torch.")

    @property
    def max_seq_length(self) -> int:
        """The name that sentence-transformers gives `max_tokens`."""
        return self.max_tokens

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.encoder.embeddings.token.weight.device

    def encode(
        self,
        sentences: str | Iterable[str],
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | torch.device | None = None,
    ) -> Any:
        """Embed sentences.

        Args:
            sentences: one string, or any iterable of strings (a generator is read once).
            batch_size: most sentences in a forward pass; None bounds tokens only. Changes results by rounding only.
            show_progress_bar: None shows one from 20,000 sentences on when standard error is a terminal.
            normalize_embeddings: scale every vector to length 1; a zero vector stays zero.
            truncate_dim: keep only so many leading dimensions, before scaling.
            precision: "float32" or "float16".
            convert_to_numpy: False returns a list of tensors, one a sentence.
            convert_to_tensor: return one tensor on the encoder's device; wins over `convert_to_numpy`.
            device: move the encoder there first.

        Returns:
            (n, d) in the order given; (d,) for a single string; (0, d) for no sentence. A sentence without any token
            (empty or blank) gives a zero vector; such are counted in one warning, and so are truncated ones.

        Raises:
            TypeError: an item is not a string; its index is named.
            ValueError: precision, batch_size or truncate_dim that is not supported, or a GPU for an encoder in 8 bits.

        Example:
            >>> encoder = ems.load("runs/quickstart/model")     # doctest: +SKIP
            >>> encoder.encode(["Guten Morgen", "Good morning"]).shape     # doctest: +SKIP
            (2, 128)
        """
        if precision not in ("float32", "float16"):
            raise ValueError(f"precision {precision!r} is not supported; choose 'float32' or 'float16'")
        if not isinstance(sentences, Iterable) or isinstance(sentences, (bytes, bytearray, Mapping)):
            raise TypeError(f"sentences must be a string or an iterable of strings, not {type(sentences).__name__}")
        if batch_size is not None and operator.index(batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if truncate_dim is not None and not 1 <= truncate_dim <= self.dimension:
            raise ValueError(f"truncate_dim must be between 1 and {self.dimension}, not {truncate_dim}")
        if device is not None:
            self._move(choose_device(device))
        single = isinstance(sentences, str)
        chosen = [sentences] if isinstance(sentences, str) else sentences
        with _progress_bar(chosen, show_progress_bar) as bar:
            parts = []
            for part in self.encode_windows(chosen, batch_size):
                parts.append(part)
                bar.update(len(part))
        vectors = torch.cat(parts) if parts else torch.zeros(0, self.dimension)
        vectors = vectors[:, :truncate_dim]
        if normalize_embeddings:
            vectors = F.normalize(vectors, dim=1)
        vectors = vectors.to(getattr(torch, precision))
        if convert_to_tensor:
            vectors = vectors.to(self.device)
            return vectors[0] if single else vectors
        if not convert_to_numpy:
            return vectors[0] if single else list(vectors)
        return vectors.numpy()[0] if single else vectors.numpy()

    def _move(self, device: torch.device) -> None:
        if device.type != "cpu" and is_in_8_bits(self.encoder):
            raise ValueError(f"8 bits are for CPUs; load the model without them for {device}")
        self.encoder.to(device)

    def encode_windows(self, sentences: Iterable[Any], batch_size: int | None = None) -> Iterator[Tensor]:
        """Embed an endless supply of sentences in bounded memory.

        Args:
            sentences: strings, read as they are needed.
            batch_size: as for `encode`.

        Yields:
            float32 (n, d) on the CPU for each run of up to `WINDOW` sentences, in order. Warnings come at the end.
        """
        blank = truncated = 0
        tokenised = (self.tokenizer.encode_flat(window) for window in _windows(sentences))
        for tokens, lengths in prefetch(tokenised):
            blank += int((lengths == 0).sum())
            truncated += int((lengths > self.max_tokens).sum())
            yield self.encode_tokens(tokens, lengths, batch_size)
        if blank:
            several = f"{blank} sentences hold no text; their vectors are zero"
            logger.warning("%s", "1 sentence holds no text; its vector is zero" if blank == 1 else several)
        if truncated:
            counted = "1 sentence was cut to its" if truncated == 1 else f"{truncated} sentences were cut to their"
            logger.warning("%s first %d tokens", counted, self.max_tokens)

    @torch.inference_mode()
    def encode_tokens(self, tokens: np.ndarray, lengths: np.ndarray, batch_size: int | None = None) -> Tensor:
        """Embed sentences that are tokenised already.

        Args:
            tokens: integer (T,), token ids of all sentences end to end, not truncated.
            lengths: integer (n,), tokens of each; 0 gives a zero vector.
            batch_size: as for `encode`.

        Returns:
            float32 (n, d) on the CPU, in the order given.
        """
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        lengths = np.minimum(lengths, self.max_tokens)
        on_cpu = max(1, CPU_BATCH_VALUES // self.encoder.sizes.feed_forward_size)
        budget = CUDA_BATCH_TOKENS if self.device.type == "cuda" else on_cpu
        vectors = torch.zeros(len(lengths), self.dimension)
        batches = list(_batches(lengths, budget, batch_size))
        finished = []
        for rows in batches:
            cut = lengths[rows]
            picked = tokens[np.repeat(starts[rows], cut) + ragged_positions(cut)]
            finished.append(self.encoder(pack(picked, cut).to(self.device)).float())
        if batches:  # one copy to the host, which waits for the device
            vectors[torch.from_numpy(np.concatenate(batches))] = torch.cat(finished).cpu()
        return vectors

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Compare every vector of `a` with every vector of `b` by cosine.

        Args:
            a: (n, d) or (d,), array or tensor.
            b: (m, d) or (d,), likewise.

        Returns:
            float32 tensor (n, m); zero vectors have similarity 0 with everything.
        """
        left, right = (torch.atleast_2d(torch.as_tensor(x)).float() for x in (a, b))
        return F.normalize(left, dim=1) @ F.normalize(right.to(left.device), dim=1).T

    def similarity_pairwise(self, a: Any, b: Any) -> Tensor:
        """Compare row i of `a` with row i of `b` by cosine: (n, d), (n, d) -> float32 tensor (n,)."""
        left, right = (torch.atleast_2d(torch.as_tensor(x)).float() for x in (a, b))
        return F.cosine_similarity(left, right.to(left.device), dim=1)


def _progress_bar(sentences: Any, wanted: bool | None) -> Any:
    total = len(sentences) if hasattr(sentences, "__len__") else None
    if wanted is None:
        wanted = total is not None and total >= BAR_FROM and sys.stderr.isatty()
    return tqdm(total=total, desc="encode", unit="sent", disable=not wanted)


def _in_8_bits(encoder: Encoder, device: torch.device) -> Encoder:
    if device.type != "cpu":
        raise InputError(f"8 bits are for CPUs; on {device} use float16 or bfloat16")
    if not has_int8_instructions():
        logger.warning("this CPU has no instructions for 8-bit products (AVX-512 VNNI); float32 may be faster")
    return round_to_int8(encoder)


def _warn_of_slow_bfloat16(device: torch.device, dtype: torch.dtype | None) -> None:
    if device.type == "cpu" and dtype == torch.bfloat16 and not torch.cpu._is_avx512_bf16_supported():
        logger.warning("this CPU has no instructions for bfloat16; float32 is several times as fast")


def load(
    folder: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> SentenceEncoder:
    """Open a model folder for encoding.

    Args:
        folder: what training wrote to `runs/.../model`.
        device: None takes a GPU where there is one.
        dtype: of the weights; None keeps the folder's. `torch.bfloat16` is for GPUs. `torch.int8` rounds the linear
            layers to 8 bits, for CPUs only: about twice as fast where the CPU has the instructions (`ems.model.int8`).

    Raises:
        InputError: the folder is missing, damaged, or no ems model folder; 8 bits on another device than a CPU.
        ValueError: another `dtype`.
    """
    if dtype is not None and dtype != torch.int8 and not getattr(dtype, "is_floating_point", False):
        raise ValueError(f"dtype must be a floating-point type of PyTorch, torch.int8 or None, not {dtype!r}")
    folder = Path(folder)
    where = choose_device(device if dtype != torch.int8 else device or "cpu")
    encoder = load_encoder(folder)
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > encoder.sizes.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} pieces, the encoder only {encoder.sizes.vocab_size}"
        )
    languages = read_info(folder)["languages"]
    if dtype == torch.int8:
        return SentenceEncoder(_in_8_bits(encoder, where), tokenizer, languages)
    _warn_of_slow_bfloat16(where, dtype)
    return SentenceEncoder(encoder.to(where, dtype), tokenizer, languages)


_loaded: dict[tuple[str, int], SentenceEncoder] = {}


def encode(sentences: str | Iterable[str], model: str | Path, **kwargs: Any) -> Any:
    """Embed sentences with the model of a folder, which stays loaded for the next call.

    Args:
        sentences: as for `SentenceEncoder.encode`.
        model: model folder.
        **kwargs: passed on to `SentenceEncoder.encode`.
    """
    folder = Path(model).resolve()
    # A model trained anew under the same name must not be answered from memory.
    stamp = (folder / "ems.json").stat().st_mtime_ns if (folder / "ems.json").exists() else 0
    if (str(folder), stamp) not in _loaded:
        _loaded.clear()
        _loaded[str(folder), stamp] = load(folder)
    return _loaded[str(folder), stamp].encode(sentences, **kwargs)
