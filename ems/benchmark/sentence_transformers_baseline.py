"""The same encoder through the sentence-transformers package: a step of its ranking loss, and its `encode`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ems.benchmark.workload import Workload
from ems.config import Config
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder
from ems.model.folder import ModelInfo, save_model_folder
from ems.tokenizer import Tokenizer
from ems.training.optim import weight_groups


def open_with_sentence_transformers(model: DualEncoder, tokenizer: Tokenizer) -> Any:
    """Save the model folder aside and open it with that package, on the CPU or the model's device.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError('--baseline sentence-transformers needs that package: pip install "ems[test]"') from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save_model_folder(path, model, tokenizer, ModelInfo(languages=("en",), names={}, training={}))
        return SentenceTransformer(str(path), device=str(next(model.parameters()).device))


def ranking_steps(model: DualEncoder, workload: Workload, config: Config) -> Callable[[int], object]:
    """Return what takes step `i` with MultipleNegativesRankingLoss: tokenising, both sides, loss, AdamW.

    Raises:
        InputError: the package is not installed.
    """
    texts, tokenizer = workload.texts, workload.tokenizer
    assert texts is not None  # this package reads text, not ids
    assert tokenizer is not None
    encoder = open_with_sentence_transformers(model, tokenizer)
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    encoder.train()
    loss_of = MultipleNegativesRankingLoss(encoder, scale=1 / config.objective.temperature)
    groups = weight_groups(encoder, config.training)
    optimizer = torch.optim.AdamW(groups, lr=config.training.learning_rate, fused=True)

    def take_step(step: int) -> float:
        features = [encoder.preprocess(side) for side in texts[step]]
        loss = loss_of(features, torch.arange(len(texts[step][0])))
        optimizer.zero_grad()
        loss.backward()
        if config.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), config.training.clip_norm)
        optimizer.step()
        return float(loss.item())

    return take_step
