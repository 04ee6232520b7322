"""Train with the loss of sentence-transformers itself, on the batches and weights that our trainer would start with.

What it ends with is what our own reading of that loss ends with, which shows that the trainer makes no difference:
`python -m ems.experiments.peer --config configs/baselines/multiple-negatives.yaml --set training.optimizer=adamw …`
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ems.arguments import add_config
from ems.config import Config, load_config
from ems.data.preparation import prepare_corpus
from ems.data.shards import TokenPairs
from ems.errors import InputError
from ems.model.folder import save_model_folder
from ems.model.hugging_face import from_hugging_face
from ems.training.model_info import model_info
from ems.training.optim import make_optimizer, set_learning_rate
from ems.training.trainer import Trainer

logger = logging.getLogger(__name__)


def check_ranking(config: Config) -> None:
    """Refuse configs whose objective is not the package's MultipleNegativesRankingLoss.

    Raises:
        InputError: the first key that differs, by name.
    """
    objective = config.objective
    wanted = {
        "training.optimizer": config.training.optimizer != "muon",  # its matrices have other names there
        "model.projection_size": config.model.projection_size == 0,
        "model.dropout": config.model.dropout == 0 == config.model.attention_dropout,
        "objective.reconstruction_weight": objective.reconstruction_weight == 0,
        "objective.distillation_weight": objective.distillation_weight == 0,
        "objective.contrastive_weight": objective.contrastive_weight == 1,
        "objective.margin": objective.margin == 0,
        "objective.both_directions": not objective.both_directions,
        "objective.mask_duplicates": not objective.mask_duplicates,
        "objective.mask_token": not objective.mask_token,
        "run.precision": config.run.precision == "fp32" or config.run.device == "cpu",
        "batching.max_tokens": config.batching.max_tokens is None,
    }
    for key, fits in wanted.items():
        if not fits:
            raise InputError(f"{key} is not as in MultipleNegativesRankingLoss; see configs/baselines")


def _open_package(trainer: Trainer) -> Any:
    """Open the untrained model with sentence-transformers."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError('this needs sentence-transformers: pip install "ems[test]"') from None
    info = model_info(trainer.corpus, trainer.holdout, trainer.progress, trainer.config.run.seed)
    with tempfile.TemporaryDirectory() as folder:
        save_model_folder(Path(folder) / "model", trainer.model, trainer.corpus.tokenizer, info)
        package = SentenceTransformer(str(Path(folder) / "model"), device=str(trainer.device))
    for name, weight in package.named_parameters():
        weight.requires_grad_("token_type_embeddings" not in name)  # a row of zeros that our encoder has not
    return package


def _features(pairs: TokenPairs, longest: int, device: torch.device) -> list[dict[str, Tensor]]:
    """Pad both sides as the package's collator does."""
    sides = []
    for tokens, offsets in ((pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets)):
        rows = [torch.from_numpy(tokens[a:b][:longest].astype(np.int64)) for a, b in itertools.pairwise(offsets)]
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        sides.append({"input_ids": ids.to(device), "attention_mask": mask.to(device)})
    return sides


def train_with_package(config: Config) -> tuple[list[float], dict[str, float]]:
    """Train to the last step of the config; writes nothing but the prepared text.

    Args:
        config: whose objective is that loss, see `check_ranking`.

    Returns:
        The loss of every step, and the validation scores after the last.

    Raises:
        InputError: the config cannot be used so, or the package is not installed.
    """
    check_ranking(config)
    trainer = Trainer(config, prepare_corpus(config), Path(config.run.folder))
    package = _open_package(trainer)
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    loss_of = MultipleNegativesRankingLoss(package, scale=1 / config.objective.temperature)
    package.train()
    optimizer = make_optimizer(package, config.training)
    losses = []
    for loaded in itertools.islice(trainer.loader(), config.training.max_steps):
        features = _features(loaded.pairs, config.model.max_tokens, trainer.device)
        loss = loss_of(features, torch.arange(len(loaded.pairs), device=trainer.device))
        loss.backward()
        if config.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(package.parameters(), config.training.clip_norm)
        set_learning_rate(optimizer, loaded.step, config.training)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.item()))
        if loaded.step % 50 == 0:
            logger.info("step %d: loss %.3f", loaded.step + 1, losses[-1])
    weights = package[0].auto_model.state_dict()
    trainer.model.encoder.load_state_dict(from_hugging_face(weights, trainer.model.encoder.sizes))
    return losses, trainer.validator(trainer.sentence_encoder())


def main() -> int:
    """Run it from the command line and print the validation scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_config(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        _, scores = train_with_package(load_config(arguments.config, arguments.set))
    except InputError as error:
        print(f"ems.experiments.peer: {error}", file=sys.stderr)
        return 2
    for name, value in scores.items():
        print(f"{name} {100 * value:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
