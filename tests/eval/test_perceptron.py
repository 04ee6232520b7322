"""Perceptrons on frozen embeddings: many trained at once come out as each would alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ems.eval import perceptron
from ems.eval.perceptron import Draws, Labelled, train_mlps

NUM_CLASSES = 3
DIMENSION = 7


def labelled(rows, seed, *, classes=NUM_CLASSES, signal=1.5):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    vectors = generator.standard_normal((rows, DIMENSION)) + signal * np.eye(classes, DIMENSION)[labels]
    return Labelled(vectors.astype(np.float32), labels.astype(np.int64))


def slow_reading(train, dev, seed, *, epochs, batch_size=12, hidden=(10, 8), dropout=0.2, learning_rate=0.001):
    """One model, row batches one after the other, with PyTorch's layers and optimizer; fed the same draws.

    Returns the dev accuracies by epoch, and weights by epoch.
    """
    widths = (DIMENSION, *hidden, NUM_CLASSES)
    draws = Draws(seed, len(train.labels), widths, batch_size, dropout)
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(widths)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, draws.first_weights(), strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias[0]))
    optimizer = torch.optim.Adam([value for layer in layers for value in layer.parameters()], lr=learning_rate)
    accuracies, weights = [], []
    for _ in range(epochs):
        pieces = list(draws.epoch())
        order = np.concatenate([rows for rows, _ in pieces])
        assert sorted(order) == list(range(len(train.labels)))
        masks = [
            torch.from_numpy(np.concatenate(layer)).double() for layer in zip(*(m for _, m in pieces), strict=True)
        ]
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            values = torch.from_numpy(train.vectors[rows]).double() * masks[0][start : start + batch_size]
            for depth, layer in enumerate(layers):
                values = layer(values)
                if depth < len(hidden):
                    values = torch.tanh(values) * masks[depth + 1][start : start + batch_size]
            loss = torch.nn.CrossEntropyLoss()(values, torch.from_numpy(train.labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            values = torch.from_numpy(dev.vectors).double()
            for layer in layers[:-1]:
                values = torch.tanh(layer(values))
            accuracies.append(float((layers[-1](values).argmax(1).numpy() == dev.labels).mean()))
        weights.append([layer.weight.detach().numpy().copy() for layer in layers])
    return accuracies, weights


@pytest.mark.parametrize("batches_per_draw", [2, 50])
def test_many_models_equal_a_slow_reading_of_each(monkeypatch, batches_per_draw):
    monkeypatch.setattr(perceptron, "BATCHES_PER_DRAW", batches_per_draw)
    sets = [(labelled(40, 1), labelled(6, 2)), (labelled(40, 3), labelled(9, 4))]
    seeds, epochs = (1, 2, 5), 12
    trained = train_mlps(
        sets, num_classes=NUM_CLASSES, seeds=seeds, epochs=epochs, learning_rate=0.01, dtype=torch.float64
    )
    has_tie = False
    for models, (train, dev) in zip(trained, sets, strict=True):
        for place, seed in enumerate(seeds):
            accuracies, weights = slow_reading(train, dev, seed, epochs=epochs, learning_rate=0.01)
            latest_best = max(range(epochs), key=lambda epoch: (accuracies[epoch], epoch))
            has_tie |= accuracies.index(max(accuracies)) != latest_best
            assert models.selected[place] == latest_best + 1
            assert models.dev_accuracy[place] == pytest.approx(max(accuracies))
            for (weight, _), expected in zip(models.layers, weights[latest_best], strict=True):
                np.testing.assert_allclose(weight[place].numpy().T, expected, rtol=1e-9, atol=1e-12)
    assert has_tie  # else "the latest" was not put to the test


def test_a_model_does_not_depend_on_those_beside_it():
    sets = [(labelled(rows, rows), labelled(20, rows + 1)) for rows in (30, 50, 31)]
    sets.insert(1, (labelled(30, 99), labelled(11, 98)))
    test = labelled(40, 7).vectors
    together = train_mlps(sets, num_classes=NUM_CLASSES, seeds=(3, 1), epochs=5)
    for models, pair in zip(together, sets, strict=True):
        (alone,) = train_mlps([pair], num_classes=NUM_CLASSES, seeds=(1,), epochs=5)
        assert models.selected[1] == alone.selected[0]
        for (weight, bias), (weight_alone, bias_alone) in zip(models.layers, alone.layers, strict=True):
            torch.testing.assert_close(weight[1], weight_alone[0], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(bias[1], bias_alone[0], rtol=1e-4, atol=1e-6)
        assert (models.predict(test)[1] == alone.predict(test)[0]).mean() > 0.97


def test_the_same_seeds_give_the_same_models():
    pair = (labelled(30, 1), labelled(10, 2))
    first, second = (train_mlps([pair], num_classes=NUM_CLASSES, seeds=(1, 2), epochs=3)[0] for _ in range(2))
    for (weight, _), (again, _) in zip(first.layers, second.layers, strict=True):
        assert torch.equal(weight, again)
    assert not torch.equal(first.layers[0][0][0], first.layers[0][0][1])


def test_what_can_be_learnt_is_learnt():
    train, dev, test = (labelled(rows, rows, signal=6.0) for rows in (120, 60, 90))
    (models,) = train_mlps([(train, dev)], num_classes=NUM_CLASSES, seeds=(1, 2), epochs=40, learning_rate=0.01)
    predicted = models.predict(test.vectors)
    assert predicted.shape == (2, 90)
    assert predicted.dtype == np.int64
    assert ((predicted == test.labels).mean(axis=1) > 0.95).all()


def test_dropout_sets_a_share_of_the_values_to_0_and_keeps_the_mean():
    draws = Draws(1, 500, (40, 10, 3), 12, 0.2)
    draws.first_weights()
    (rows, masks), *others = draws.epoch()
    assert not others
    assert [mask.shape for mask in masks] == [(500, 40), (500, 10)]
    np.testing.assert_array_equal(np.unique(masks[0]), np.array([0, 1.25], dtype=np.float32))
    assert masks[0].mean() == pytest.approx(1, abs=0.02)
    second = next(draws.epoch())
    assert not np.array_equal(second[0], rows)
    assert not np.array_equal(second[1][0], masks[0])


def with_labels(labels):
    return Labelled(np.zeros((len(labels), DIMENSION), dtype=np.float32), np.array(labels, dtype=np.int64))


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        (with_labels([0, 3]), with_labels([0]), "training set: labels reach from 0 to 3, not 0 to 2"),
        (with_labels([0, 1]), with_labels([-1]), "development set: labels reach from -1"),
        (with_labels([0, 1]), with_labels([]), "development set is empty"),
        (with_labels([0, 1]), Labelled(np.zeros((1, 3), dtype=np.float32), np.array([0])), "have 7 values"),
        (Labelled(np.full((1, 7), np.nan, dtype=np.float32), np.array([0])), with_labels([0]), "not finite"),
        (Labelled(np.zeros((2, 7), dtype=np.float32), np.array([0])), with_labels([0]), "vectors of shape"),
    ],
)
def test_sets_that_cannot_be_used_are_refused(train, dev, message):
    with pytest.raises(ValueError, match=message):
        train_mlps([(train, dev)], num_classes=NUM_CLASSES, epochs=1)


def test_settings_that_cannot_be_used_are_refused():
    pair = (labelled(5, 1), labelled(5, 2))
    with pytest.raises(ValueError, match="seeds must be distinct"):
        train_mlps([pair], num_classes=NUM_CLASSES, seeds=(1, 1))
    with pytest.raises(ValueError, match="at least 1, not 0 and 12"):
        train_mlps([pair], num_classes=NUM_CLASSES, epochs=0)
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and below 1, not 1\.0"):
        train_mlps([pair], num_classes=NUM_CLASSES, dropout=1.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        train_mlps([pair], num_classes=1)
