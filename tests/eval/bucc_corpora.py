"""Small BUCC corpora for tests: scans worked by hand, ids, and writers of files."""

from __future__ import annotations

# Candidates, best first (a1:1.3 is source a, target 1, score 1.3), gold pairs, and threshold, precision, recall and F1.
SCANS_BY_HAND = [
    ("a1:1.3 b2:1.2 c3:1.1 d9:1.05 e5:1.0 f8:0.9", "a1 b2 c3 e5 g7", 0.95, 0.8, 0.8, 0.8),
    ("a1:1.3 b2:1.1 c9:1.1 d8:1.0", "a1 b2", 1.1, 2 / 3, 1, 0.8),
    ("a9:1.3 b2:1.1 c3:1.0 d7:0.9", "b2 c3", 0.95, 2 / 3, 1, 0.8),
    ("a1:1.4 b9:1.3 c8:1.2 d4:1.1 e7:1.0", "a1 d4", 1.35, 1, 0.5, 2 / 3),
    ("a9:1.3 b8:1.1", "a1 b2", 0, 0, 0, 0),
]


def name(language, number):
    return f"{language}-{number:09}"


def write_split(folder, split, sources, targets, gold, *, language="de"):
    """Sentences by side, ids from 1, and gold pairs of numbers (None: no gold file)."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, sentences in ((language, sources), ("en", targets)):
        lines = [f"{name(side, number)}\t{sentence}\n" for number, sentence in enumerate(sentences, 1)]
        (folder / f"{language}-en.{split}.{side}").write_text("".join(lines), encoding="utf-8")
    if gold is not None:
        lines = [f"{name(language, i)}\t{name('en', j)}\n" for i, j in gold]
        (folder / f"{language}-en.{split}.gold").write_text("".join(lines), encoding="utf-8")


def write_noisy(folder, language="de", sizes=(("training", 40), ("sample", 30)), gold_file=True):
    """Of n meanings each, the first half stand on both sides, half of the others on one side each."""
    for split, n in sizes:
        half, rest = n // 2, 3 * n // 4
        foreign = [f"{language} {split} {number}" for number in [*range(half), *range(half, rest)]]
        english = [f"en {split} {number}" for number in [*range(half), *range(rest, n)]]
        gold = [(i, i) for i in range(1, half + 1)] if gold_file else None
        write_split(folder, split, foreign, english, gold, language=language)
