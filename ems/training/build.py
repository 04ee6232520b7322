"""What a run starts with: the model with its initial weights, and the teacher if there is one."""

from __future__ import annotations

import logging

import torch

from ems.config import Config, ObjectiveConfig
from ems.data.keyed import keyed_hash
from ems.data.preparation import PreparedCorpus
from ems.data.teacher import TeacherVectors
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.layers import EncoderSizes

logger = logging.getLogger(__name__)

_INIT_STREAM = 0x696E6974  # keeps the draw of the initial weights apart from the other uses of the run's seed


def freeze_unused(model: DualEncoder, objective: ObjectiveConfig) -> None:
    """Keep heads that no loss reads out of the optimizer, as they would never get a gradient.

    Args:
        model: is changed; an output matrix that is tied to the token embedding is left alone.
        objective: whose weights say which losses there are.
    """
    if not objective.contrastive_weight and model.projection is not None:
        model.projection.requires_grad_(False)
    if not objective.reconstruction_weight:
        shared = model.encoder.embeddings.token.weight
        for part in (model.language, model.reconstruction):
            for weight in part.parameters() if part is not None else ():
                weight.requires_grad_(weight is shared)


def build_model(config: Config, vocab_size: int, num_languages: int, teacher_size: int | None = None) -> DualEncoder:
    """Build the model with the initial weights that the run's seed fixes.

    Args:
        config: complete configuration.
        vocab_size: of the tokenizer.
        num_languages: rows of the language table.
        teacher_size: width of the teacher's vectors; None if there is no teacher.
    """
    shape = config.model
    torch.manual_seed(int(keyed_hash(config.run.seed, _INIT_STREAM)) >> 1)
    model = DualEncoder(
        EncoderSizes(
            vocab_size,
            shape.num_layers,
            shape.hidden_size,
            shape.num_heads,
            shape.feed_forward_size,
            shape.max_tokens,
            shape.dropout,
            shape.attention_dropout,
            shape.architecture,
        ),
        HeadSizes(
            num_languages,
            shape.language_size,
            shape.projection_size,
            shape.tied_output,
            shape.head_dropout,
            shape.reconstruction_hidden,
            # A student as wide as its teacher moves into the teacher's space itself.
            teacher_size if teacher_size and teacher_size != shape.hidden_size else 0,
        ),
    )
    freeze_unused(model, config.objective)
    return model


def open_teacher(objective: ObjectiveConfig, corpus: PreparedCorpus) -> TeacherVectors | None:
    """Open the vectors that distillation aims at; None where it has no weight.

    Raises:
        InputError: the files cannot be used, or hold no sentence of the corpus.
    """
    if not objective.distillation_weight or objective.teacher is None:
        return None
    teacher = TeacherVectors(objective.teacher, corpus.tokenizer)
    known = total = 0
    for pair_index in range(len(corpus.shards.language_pairs)):
        for source, target in corpus.shards.digests(pair_index):
            known += int((teacher.find(source, target) >= 0).sum())
            total += len(source)
    if not known:
        raise InputError(f"objective.teacher: {objective.teacher.sentences} holds no sentence of the corpus")
    logger.info("the teacher has vectors for %s of %s pairs", f"{known:,}", f"{total:,}")
    return teacher
