"""What a model folder says of the training that made it."""

from __future__ import annotations

from ems.data.holdout import HoldOut
from ems.data.preparation import PreparedCorpus
from ems.languages import LANGUAGES
from ems.model.folder import ModelInfo
from ems.training.progress import Progress


def model_info(corpus: PreparedCorpus, holdout: HoldOut, progress: Progress, seed: int) -> ModelInfo:
    """Describe a model after the steps taken so far."""
    shards = corpus.shards
    pairs = {f"{a}-{b}": int(n) for (a, b), n in zip(shards.language_pairs, holdout.counts, strict=True)}
    return ModelInfo(
        languages=corpus.languages,
        names={code: corpus.registry[code].name for code in corpus.languages if code not in LANGUAGES},
        training={
            "steps": progress.step,
            "pairs_seen": progress.pairs_seen,
            "tokens_seen": progress.tokens_seen,
            "seed": seed,
            "corpus_digest": shards.digest,
            "tokenizer_fingerprint": corpus.tokenizer.fingerprint,
            "pairs_by_language_pair": pairs,
        },
    )
