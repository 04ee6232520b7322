"""Train many small multilayer perceptrons on frozen embeddings at the same time.

Source: Artetxe and Schwenk, "Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual Transfer and
Beyond", TACL 2019, as LASER's program for MLDoc trains its classifier. Difference: several seeds rather than one.

Shape letters: T training sets, S seeds, N rows, B rows of a batch, D dimension, W width of a layer, C classes. One
perceptron is trained for each training set and seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ems.mining import Floats, Index

Layer = tuple[Tensor, Tensor]

SEEDS = (1, 2, 3, 4, 5)
EPOCHS = 500
# Batches whose dropout masks are drawn at a time: few calls, yet little memory (2.5 MB a seed at D = 1024, B = 12).
# Another number gives other masks.
BATCHES_PER_DRAW = 50


@dataclass(frozen=True)
class Labelled:
    """Hold embeddings with their classes.

    Attributes:
        vectors: float32 (N, D), as the encoder gave them, not normalised.
        labels: int64 (N,), 0 to C - 1.
    """

    vectors: Floats
    labels: Index


def check_vectors(name: str, vectors: Floats, dimension: int) -> None:
    """Make sure that vectors are (N, dimension) and finite.

    Raises:
        ValueError: they are not; the message calls them the `name` set.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ValueError(f"{name} set: vectors of shape {vectors.shape}, but training vectors have {dimension} values")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name} set: a vector is not finite")


def check_sets(train: Labelled, dev: Labelled, num_classes: int) -> None:
    """Make sure that a classifier can be trained on one set and chosen on the other.

    Raises:
        ValueError: fewer than 2 classes, sizes that do not fit, an empty set, a label out of range, or a value that is
            not finite.
    """
    if num_classes < 2:
        raise ValueError(f"there must be at least 2 classes, not {num_classes}")
    for name, part in (("training", train), ("development", dev)):
        if part.vectors.ndim != 2 or part.labels.shape != (len(part.vectors),):
            raise ValueError(f"{name} set: vectors of shape {part.vectors.shape}, labels of {part.labels.shape}")
        if not len(part.labels):
            raise ValueError(f"the {name} set is empty")
        if part.labels.min() < 0 or part.labels.max() >= num_classes:
            raise ValueError(
                f"{name} set: labels reach from {part.labels.min()} to {part.labels.max()}, not 0 to {num_classes - 1}"
            )
        check_vectors(name, part.vectors, train.vectors.shape[1])


class Draws:
    """Draw all that is random in the training of one perceptron: a function of the seed, and of sizes.

    Models of one seed share their draws, whatever they are trained on. State is one generator; first weights are to be
    drawn once, then epochs in order.

    Args:
        seed: not negative.
        num_rows: N, of the training set.
        widths: of the input, the hidden layers and the output: D, ..., C.
        batch_size: B.
        dropout: share of the input and hidden values that are set to 0, at least 0 and below 1.
    """

    def __init__(self, seed: int, num_rows: int, widths: Sequence[int], batch_size: int, dropout: float) -> None:
        self._generator = np.random.default_rng(seed)
        self._num_rows, self._widths = num_rows, tuple(widths)
        self._batch_size, self._dropout = batch_size, dropout

    def first_weights(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return weights (in, out) and biases (1, out) of every layer, uniform in +-1/sqrt(in) as torch.nn.Linear's."""
        layers = []
        for inputs, outputs in zip(self._widths, self._widths[1:], strict=False):
            bound = 1 / math.sqrt(inputs)
            layers.append(
                (
                    self._generator.uniform(-bound, bound, (inputs, outputs)),
                    self._generator.uniform(-bound, bound, (1, outputs)),
                )
            )
        return layers

    def epoch(self) -> Iterator[tuple[Index, list[Floats]]]:
        """Yield the training rows in a new order, in pieces of whole batches, with dropout masks.

        Yields:
            rows int64 (n,), and for the input and each hidden layer float32 (n, W): 0, or 1 / (1 - dropout).
        """
        order = self._generator.permutation(self._num_rows)
        piece = self._batch_size * BATCHES_PER_DRAW
        scale = np.float32(1 / (1 - self._dropout))
        for start in range(0, self._num_rows, piece):
            rows = order[start : start + piece]
            shapes = [(len(rows), width) for width in self._widths[:-1]]
            yield (
                rows,
                [(self._generator.random(shape, dtype=np.float32) >= self._dropout) * scale for shape in shapes],
            )


def _forward(layers: Sequence[Layer], inputs: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
    """Return logits (..., B, C) of inputs (..., B, D); leading axes are those of the layers' models."""
    hidden = inputs if masks is None else inputs * masks[0]
    for depth, (weight, bias) in enumerate(layers):
        hidden = hidden @ weight + bias
        if depth < len(layers) - 1:
            hidden = torch.tanh(hidden)
            if masks is not None:
                hidden = hidden * masks[depth + 1]
    return hidden


@dataclass(frozen=True)
class Perceptrons:
    """Hold the perceptrons of one training set, one for each seed, as the development set chose them.

    Attributes:
        layers: weights (S, in, out) and biases (S, 1, out), input side first.
        selected: for each seed the epoch chosen, from 1.
        dev_accuracy: for each seed the accuracy there.
    """

    layers: list[Layer]
    selected: list[int]
    dev_accuracy: list[float]

    def predict(self, vectors: Floats) -> Index:
        """Return the class that each seed's perceptron gives each row, int64 (S, N), of float32 (N, D).

        Raises:
            ValueError: another dimension than in training, or a value that is not finite.
        """
        weight = self.layers[0][0]
        check_vectors("test", vectors, weight.shape[1])
        inputs = torch.as_tensor(vectors, dtype=weight.dtype, device=weight.device)
        with torch.no_grad():
            classes: Index = _forward(self.layers, inputs).argmax(-1).cpu().numpy()
        return classes


class _Group:
    """Train the perceptrons of training sets of equal size, one for each set and seed, step by step together.

    Models stand on two leading axes, (T, S). Every operation works on all models at once and mixes none: a step costs a
    few calls whatever their number, and a model comes out as if trained alone, but for rounding.
    """

    def __init__(
        self,
        sets: Sequence[tuple[Labelled, Labelled]],
        draws: Sequence[Draws],
        batch_size: int,
        learning_rate: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._draws, self._batch_size = draws, batch_size
        self._device, self._dtype = device, dtype
        self._vectors = self._tensor(np.stack([train.vectors for train, _ in sets]))
        self._labels = torch.from_numpy(np.stack([train.labels for train, _ in sets])).to(device)
        self._dev = [(self._tensor(dev.vectors), torch.from_numpy(dev.labels).to(device)) for _, dev in sets]
        self.layers: list[Layer] = [
            (self._parameter(weights, len(sets)), self._parameter(biases, len(sets)))
            for weights, biases in (
                zip(*layer_of_seeds, strict=True)
                for layer_of_seeds in zip(*(draw.first_weights() for draw in draws), strict=True)
            )
        ]
        self._optimizer = torch.optim.Adam(
            [parameter for layer in self.layers for parameter in layer], lr=learning_rate, fused=True
        )

    def _tensor(self, values: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(values).to(self._device, self._dtype)

    def _parameter(self, of_seeds: Sequence[NDArray[np.float64]], num_sets: int) -> Tensor:
        return self._tensor(np.stack(of_seeds)).repeat(num_sets, 1, 1, 1).requires_grad_()

    def _step(self, rows: Tensor, masks: Sequence[Tensor]) -> None:
        """Take one step on rows (S, B) of every training set, with masks (S, B, W)."""
        num_sets, (num_seeds, size) = len(self._labels), rows.shape
        inputs = self._vectors.index_select(1, rows.flatten()).view(num_sets, num_seeds, size, -1)
        labels = self._labels.index_select(1, rows.flatten())
        logits = _forward(self.layers, inputs, masks)
        # Mean over the batch, sum over the models: each model's gradient is that of its own mean.
        loss = functional.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="sum") / size
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def epoch(self) -> None:
        """Show every model every row of its training set once."""
        for pieces in zip(*(draw.epoch() for draw in self._draws), strict=True):
            rows = torch.from_numpy(np.stack([piece_rows for piece_rows, _ in pieces])).to(self._device)
            masks = [self._tensor(np.stack(layer)) for layer in zip(*(masks for _, masks in pieces), strict=True)]
            for start in range(0, rows.shape[1], self._batch_size):
                batch = slice(start, start + self._batch_size)
                self._step(rows[:, batch], [mask[:, batch] for mask in masks])

    @torch.no_grad()
    def dev_correct(self) -> Tensor:
        """Return int64 (T, S), how many development rows each model has right."""
        correct = []
        for place, (vectors, labels) in enumerate(self._dev):
            layers = [(weight[place], bias[place]) for weight, bias in self.layers]
            correct.append((_forward(layers, vectors).argmax(-1) == labels).sum(-1))
        return torch.stack(correct)


def _train_group(group: _Group, epochs: int) -> tuple[list[Layer], Tensor, Tensor]:
    """Return the chosen layers, (T, S, in, out) and (T, S, 1, out), the epoch of each model and its correct rows."""
    chosen = [(weight.detach().clone(), bias.detach().clone()) for weight, bias in group.layers]
    weights = chosen[0][0]
    best = torch.full(weights.shape[:2], -1, device=weights.device)
    selected = torch.zeros_like(best)
    for epoch in range(1, epochs + 1):
        group.epoch()
        correct = group.dev_correct()
        better = correct >= best  # the latest of equally good epochs is kept
        best[better], selected[better] = correct[better], epoch
        for layer, chosen_layer in zip(group.layers, chosen, strict=True):
            for parameter, chosen_parameter in zip(layer, chosen_layer, strict=True):
                chosen_parameter[better] = parameter.detach()[better]
    return chosen, selected, best


def train_mlps(
    sets: Sequence[tuple[Labelled, Labelled]],
    *,
    num_classes: int,
    seeds: Sequence[int] = SEEDS,
    epochs: int = EPOCHS,
    batch_size: int = 12,
    hidden: Sequence[int] = (10, 8),
    dropout: float = 0.2,
    learning_rate: float = 0.001,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Perceptrons]:
    """Train LASER's perceptron on several training sets, with several seeds each, all at the same time.

    D-10-8-C with tanh; dropout on the input and after each hidden layer; Adam; cross-entropy; rows reshuffled every
    epoch, the last batch shorter where it must be. After every epoch the development set is classified; the latest
    epoch that equals or beats all before is kept. Everything random is a function of the seed and of sizes, so a model
    does not depend on which others are trained beside it, but for rounding.

    Args:
        sets: training and development sets, one dimension for all. Those with equal numbers of training rows are
            trained together, which is what saves time.
        num_classes: C.
        seeds: distinct, not negative.
        epochs: at least 1.
        batch_size: rows a step.
        hidden: widths of the hidden layers.
        dropout: share of the values set to 0.
        learning_rate: of Adam.
        device: where to train.
        dtype: to train in.

    Returns:
        The chosen perceptrons of every set.

    Raises:
        ValueError: sizes that do not fit, an empty set, a label out of range, a vector that is not finite, no epoch,
            dropout out of range, or seeds that are not distinct.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, not {epochs} and {batch_size}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct, and at least one, not {list(seeds)}")
    for train, dev in sets:
        check_sets(train, dev, num_classes)
        check_vectors("training", train.vectors, sets[0][0].vectors.shape[1])
    trained: dict[int, Perceptrons] = {}
    for size in dict.fromkeys(len(train.labels) for train, _ in sets):
        places = [place for place, (train, _) in enumerate(sets) if len(train.labels) == size]
        widths = (sets[0][0].vectors.shape[1], *hidden, num_classes)
        draws = [Draws(seed, size, widths, batch_size, dropout) for seed in seeds]
        group = _Group([sets[place] for place in places], draws, batch_size, learning_rate, torch.device(device), dtype)
        layers, selected, correct = _train_group(group, epochs)
        for row, place in enumerate(places):
            trained[place] = Perceptrons(
                [(weight[row], bias[row]) for weight, bias in layers],
                selected[row].tolist(),
                [count / len(sets[place][1].labels) for count in correct[row].tolist()],
            )
    return [trained[place] for place in range(len(sets))]
