"""An encoder for tests to which sentences of one meaning are near, but for noise."""

from __future__ import annotations

import numpy as np


class NoisyEncoder:
    """A vector for the number at the end of a sentence, plus noise that depends on the sentence; counts its calls."""

    def __init__(self, noise=0.8, dimension=10):
        self.noise, self.dimension, self.seen = noise, dimension, []

    def encode(self, sentences):
        self.seen.append(list(sentences))
        rows = []
        for sentence in sentences:
            meaning = np.random.default_rng(int(sentence.split()[-1])).standard_normal(self.dimension)
            own = np.random.default_rng([*sentence.strip().encode()]).standard_normal(self.dimension)
            rows.append(meaning + self.noise * own)
        return np.array(rows)
