"""Say why a step failed: which pairs made its loss or gradient infinite or NaN, or what memory it wanted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ems.config import Config
from ems.data.collate import describe_pairs
from ems.data.loader import StepBatches
from ems.data.preparation import PreparedCorpus
from ems.model.dual_encoder import DualEncoder
from ems.training.step import output_rows


@torch.no_grad()
def _pairs_without_finite_outputs(loaded: StepBatches, model: DualEncoder) -> np.ndarray:
    """Find the pairs of which an embedding, a projection or a reconstruction is not finite."""
    model.eval()
    device = model.encoder.embeddings.token.weight.device
    rows = []
    for batch in loaded.batches:
        batch = batch.to(device)
        embedding = model.encoder(batch.sentences)
        logits = model.reconstruction_hidden(embedding, batch.other_langs) @ output_rows(model, batch).T
        outputs = (embedding, model.project(embedding), logits)
        finite = torch.stack([torch.isfinite(output).all(dim=1) for output in outputs]).all(dim=0)
        bad = ~finite.cpu().numpy()
        rows.append(batch.pair_rows[bad[: batch.num_pairs] | bad[batch.num_pairs :]])
    return np.concatenate(rows)


def bad_step_message(
    fault: str, values: Mapping[str, float], loaded: StepBatches, model: DualEncoder, corpus: PreparedCorpus
) -> tuple[bool, str]:
    """Describe a bad step: its number, values, languages, and up to three pairs in words.

    Args:
        fault: words that follow "step 7".
        values: the step's scalars.
        loaded: its batches.
        model: with the weights that gave the scalars.
        corpus: to spell tokens and name languages.

    Returns:
        Whether pairs with outputs that are not finite were found among those of this rank, and the description.
    """
    guilty = _pairs_without_finite_outputs(loaded, model)
    named = guilty if len(guilty) else np.arange(min(3, len(loaded.pairs.src_langs)))
    sides = loaded.pairs.src_langs[named].tolist(), loaded.pairs.tgt_langs[named].tolist()
    languages = {f"{corpus.languages[s]}-{corpus.languages[t]}" for s, t in zip(*sides, strict=True)}
    spelled = describe_pairs(loaded.pairs, named[:3], corpus.tokenizer, list(corpus.languages))
    whose = "pairs with non-finite outputs" if len(guilty) else "the outputs of each pair are finite; the first pairs"
    shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return len(guilty) > 0, (
        f"step {loaded.step + 1} {fault} ({shown}); languages {', '.join(sorted(languages))}; "
        f"{whose}: {' ; '.join(spelled)}"
    )


def out_of_memory_message(loaded: StepBatches, config: Config) -> str:
    """Describe a step for which there was no memory, and what helps."""
    largest, budget = max(batch.sentences.num_tokens for batch in loaded.batches), config.batching.max_tokens
    smaller = "batching.max_tokens=auto" if budget is None else f"a batching.max_tokens below {budget}"
    return (
        f"out of memory in step {loaded.step + 1}, whose forward passes have up to {largest:,} tokens; go on with "
        f"--resume and {smaller} (the same gradients, steps cut finer), or start anew with fewer batching.pairs"
    )
