"""What a run says before its first step: what will be trained on what."""

from __future__ import annotations

import logging

import torch

from ems.data.holdout import HoldOut
from ems.data.preparation import PreparedCorpus
from ems.data.reports import report_table
from ems.data.stream import PairStream
from ems.model.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


def announce(
    corpus: PreparedCorpus, holdout: HoldOut, stream: PairStream, model: DualEncoder, device: torch.device
) -> None:
    """Log rejected lines, the sizes of corpus and model, and the share of each language and language pair."""
    shards = corpus.shards
    if shards.manifest.rejected:
        logger.warning("some lines are not used:\n%s", report_table(shards.manifest.reports()))
    weights = sum(p.numel() for p in model.parameters())
    logger.info(
        "%d language pairs, %s training pairs, %s held out; %.1f M weights (%.1f M in the encoder); %s",
        len(shards.language_pairs),
        f"{int(holdout.counts.sum()):,}",
        f"{sum(map(len, holdout.validation)):,}",
        weights / 1e6,
        sum(p.numel() for p in model.encoder.parameters()) / 1e6,
        device,
    )
    drawn = list(zip(stream.shares.tolist(), holdout.counts.tolist(), shards.language_pairs, strict=True))
    by_language = {
        lang: sum(share / 2 for share, _, pair in drawn for side in pair if side == lang) for lang in shards.languages
    }
    ranked = sorted(by_language.items(), key=lambda item: -item[1])
    logger.info("share of each language: %s", ", ".join(f"{lang} {100 * share:.1f} %" for lang, share in ranked))
    logger.info("share of each language pair of the pairs drawn, and its training pairs:")
    for share, count, (a, b) in sorted(drawn, reverse=True):
        logger.info("  %-9s %5.1f %%  %11s", f"{a}-{b}", 100 * share, f"{count:,}")
