"""Tiny runs for tests: the quickstart config shrunk by overrides, with the paper's parts, which train in seconds."""

from __future__ import annotations

from pathlib import Path

from ems.config import Config, load_config

ROOT = Path(__file__).resolve().parent.parent
LINES = 300  # pairs of each language pair in the tiny corpus

SHRUNK = (
    "corpus.workers=0",
    "tokenizer.vocab_size=300",
    "batching.pairs=16",
    "model.architecture=paper",
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.num_heads=2",
    "model.feed_forward_size=64",
    "model.language_size=8",
    "model.projection_size=16",
    "model.reconstruction_hidden=true",
    "model.max_tokens=48",
    "objective.contrastive_weight=2.0",
    "objective.temperature=0.1",
    "objective.margin=0.0",
    "objective.vocabulary=all",
    "training.max_steps=6",
    "training.warmup_steps=2",
    "training.checkpoint_every_steps=2",
    "training.validate_every_steps=3",
    "validation.pairs_per_language_pair=10",
    "validation.sets=[]",
    "validation.metric=held_out",
    "evaluation.sets=[]",
    "run.device=cpu",
    "training.optimizer=adamw",
    "training.learning_rate=2.0e-3",
    "training.schedule=cosine",
    "training.table_learning_rate=null",
)


def write_corpus(folder: Path, languages: tuple[str, ...] = ("de", "es")) -> None:
    """Write a small part of the embedded corpus as TSV files."""
    from ems.data.grammar import training_pairs

    folder.mkdir(parents=True, exist_ok=True)
    for (source, target), pairs in training_pairs(pairs_per_language=LINES).items():
        if target in languages:
            text = "".join(f"{a}\t{b}\n" for a, b in pairs)
            (folder / f"{source}-{target}.tsv").write_text(text, encoding="utf-8")


def tiny_overrides(folder: Path, *extra: str) -> list[str]:
    """List the overrides of a tiny run below `folder`, whose corpus `write_corpus` wrote to `folder / "text"`."""
    places = [f"run.folder={folder / 'run'}", f"corpus.folder={folder / 'text'}", "corpus.files=['*.tsv']"]
    # Test sets that lie in the checkout of whoever runs the tests are not ours.
    places += [f"{stage}.folder={folder / 'eval'}" for stage in ("validation", "evaluation")]
    return [*places, *SHRUNK, *extra]


def tiny_config(folder: Path, *extra: str) -> Config:
    """Load the quickstart config with `tiny_overrides`."""
    return load_config(ROOT / "configs" / "quickstart.yaml", tiny_overrides(folder, *extra))
