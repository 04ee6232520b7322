"""Small labelled test sets for the tests of classification: an encoder that sees sentiment, and writers of files."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np

WORDS = {"good": 2, "fine": 2, "bad": -2, "dull": -2, "so-so": 0}
WORD_OF = {"positive": ("good", "fine"), "negative": ("bad", "dull"), "neutral": ("so-so", "so-so")}


class SentimentEncoder:
    """A vector of three: the sentiment of a text's words, whether it has any, and noise. Counts sentences."""

    def __init__(self):
        self.sentences = []

    def encode(self, sentences):
        self.sentences += sentences
        rows = []
        for sentence in sentences:
            found = [WORDS[word] for word in sentence.replace(",", " ").split() if word in WORDS]
            noise = np.random.default_rng(list(sentence.encode())).normal()
            rows.append([sum(found), 1.0 if any(found) else -1.0, 0.01 * noise])
        return np.array(rows)


def write(path, text, packed=False):
    """Write text, gzipped under a name with .gz if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode() if isinstance(text, str) else text
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def tweets(language, split, n=12, wrong=0):
    """Return (text, label) rows, of which the first `wrong` are labelled against their words."""
    rows = []
    for row in range(n):
        label = ("positive", "negative", "neutral")[row % 3]
        said = "neutral" if row < wrong and label != "neutral" else "positive" if row < wrong else label
        rows.append((f"{language} {split} {row} {WORD_OF[label][row % 2]}", said))
    return rows


def write_afrisenti(folder, languages=("sw", "yo", "pt"), packed=True, **wrong):
    for language in languages:
        for split in ("train", "dev", "test"):
            rows = tweets(language, split, wrong=wrong.get(language, 0) if split == "test" else 0)
            text = "tweet\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
            write(folder / f"{language}.{split}.tsv", text, packed)


def write_nusax(folder, languages=("en", "id", "jv"), packed=True, **wrong):
    for language in languages:
        for split in ("train", "valid", "test"):
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", "text", "label"))
            rows = tweets(language, split, wrong=wrong.get(language, 0) if split == "test" else 0)
            writer.writerows((row, text, label) for row, (text, label) in enumerate(rows))
            write(folder / f"{language}.{split}.csv", file.getvalue(), packed)


def write_xed(folder, projected=("de", "zh"), n=150, packed=True):
    for language in ("en", "fi", *projected):
        kind = "annotated" if language in ("en", "fi") else "projected"
        lines = []
        for row in range(n):
            positive = row % 2
            word = WORD_OF["positive" if positive else "negative"][row % 4 // 2]
            lines.append(f"{language} {row} {word}\t{('5, 7' if positive else '1, 2, 6')}\n")
        write(folder / f"{kind}.{language}.tsv", "".join(lines), packed)
