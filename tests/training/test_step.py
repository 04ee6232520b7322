"""Gradients of a step that is cut equal those of one that is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ems.config import ObjectiveConfig, TeacherConfig
from ems.data.collate import PackedBatch, collate, step_vocabulary
from ems.data.teacher import TeacherRows
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import EncoderSizes
from ems.objectives import contrastive_loss, duplicate_mask, xtr_loss
from ems.training import reconstruction
from ems.training.reconstruction import reconstruction_loss
from ems.training.step import GradientStep
from tests.token_pairs import token_pairs

COUNT = 9
CUTS: dict[str, list[list[int]]] = {
    "two": [[0, 1, 2, 3, 4], [5, 6, 7, 8]],
    "uneven": [[0], [1, 2, 3, 4, 5, 6, 7], [8]],
    "single pairs": [[i] for i in range(COUNT)],
}


def make_model(*, dropout: float = 0.0, tied: bool = False, dtype: torch.dtype = torch.float64) -> DualEncoder:
    torch.manual_seed(0)
    sizes = EncoderSizes(40, 2, 16, 4, 32, 8, dropout, dropout)
    return DualEncoder(sizes, HeadSizes(5, 6, 12, tied_output=tied, dropout=dropout)).to(dtype).train()


def make_batches(
    cuts: Sequence[Sequence[int]], *, target: Any = "counts", vocabulary: str = "all"
) -> list[PackedBatch]:
    rng = np.random.default_rng(0)
    sources, targets = ([rng.integers(3, 40, rng.integers(1, 9)).tolist() for _ in range(COUNT)] for _ in range(2))
    sources[7] = sources[1]  # a repeated English side
    targets[8] = sources[2]
    langs = [(0, 1 + i % 4) for i in range(COUNT)]
    pairs = token_pairs(sources, targets, langs)
    among = None if vocabulary == "all" else step_vocabulary(pairs, max_tokens=8)
    return [collate(pairs, np.array(rows), max_tokens=8, target=target, vocabulary=among) for rows in cuts]


def run(
    model: DualEncoder,
    objective: ObjectiveConfig,
    cuts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int] | None = None,
    scale: float = 1.0,
    autocast: torch.dtype | None = None,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    model.zero_grad()
    seeds = range(len(cuts)) if seeds is None else seeds
    batches = make_batches(cuts, vocabulary=objective.vocabulary)
    losses = GradientStep(model, objective, autocast)(batches, seeds, scale=scale)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in losses.items()}, gradients


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    for name, gradient in theirs.items():
        # Key biases have no gradient but rounding, so the scale is that of all weights together.
        scale = max(gradient.abs().max().item(), 1e-3 * largest)
        assert (ours[name] - gradient).abs().max() < tolerance * scale, name


WHOLE = [list(range(COUNT))]


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("mask_duplicates", [False, True])
@pytest.mark.parametrize("vocabulary", ["all", "step"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_cut_step_has_the_losses_and_gradients_of_the_whole(
    cuts: list[list[int]], mask_duplicates: bool, vocabulary: Any, tied: bool
) -> None:
    objective = ObjectiveConfig(
        mask_duplicates=mask_duplicates, vocabulary=vocabulary, reconstruction_weight=0.7, contrastive_weight=3.0
    )
    model = make_model(tied=tied)
    whole, whole_gradients = run(model, objective, WHOLE)
    cut, cut_gradients = run(model, objective, cuts)
    assert cut.keys() == whole.keys()
    for name, value in whole.items():
        # The weights of reconstruction targets are float32 whatever the model is.
        assert cut[name] == pytest.approx(value, rel=1e-12)
    assert_close(cut_gradients, whole_gradients, 1e-10)


def test_duplicates_are_masked_across_micro_batches() -> None:
    model = make_model()
    cuts = CUTS["single pairs"]
    plain, _ = run(model, ObjectiveConfig(mask_duplicates=False), cuts)
    masked, _ = run(model, ObjectiveConfig(mask_duplicates=True), cuts)
    assert masked["loss_contrastive"] < plain["loss_contrastive"]
    assert masked["loss_xtr"] == plain["loss_xtr"]


@pytest.mark.parametrize("cuts", [*CUTS.values(), WHOLE], ids=[*CUTS.keys(), "whole"])
@pytest.mark.parametrize("tied", [False, True])
def test_with_dropout_a_step_equals_one_graph_over_the_same_micro_batches(cuts: list[list[int]], tied: bool) -> None:
    objective = ObjectiveConfig(contrastive_weight=1.5)
    model = make_model(dropout=0.3, tied=tied)
    seeds = [100 + i for i in range(len(cuts))]
    losses, gradients = run(model, objective, cuts, seeds=seeds)

    model.zero_grad()
    batches = make_batches(cuts)
    xtr, sources, translations = torch.zeros((), dtype=torch.float64), [], []
    for batch, seed in zip(batches, seeds, strict=True):
        torch.manual_seed(seed)
        embedding = model.encoder(batch.sentences)
        source, translation = model.projection(embedding).split(batch.num_pairs)
        sources.append(source)
        translations.append(translation)
        xtr = xtr + xtr_loss(model.reconstruct(embedding, batch.other_langs), batch.targets, normalizer=COUNT)
    digests = [torch.cat([getattr(batch, side) for batch in batches]) for side in ("src_digests", "tgt_digests")]
    contrastive = contrastive_loss(
        torch.cat(sources), torch.cat(translations), temperature=0.1, mask_BN=duplicate_mask(*digests)
    )
    loss = xtr + 1.5 * contrastive
    loss.backward()
    assert losses["loss_xtr"] == pytest.approx(xtr.item(), rel=1e-12)
    assert losses["loss_contrastive"] == pytest.approx(contrastive.item(), rel=1e-12)
    assert losses["loss"] == pytest.approx(loss.item(), rel=1e-12)
    wanted = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_close(gradients, wanted, 1e-10)


@pytest.mark.parametrize("cuts", [WHOLE, CUTS["two"]], ids=["whole", "two"])
def test_other_seeds_draw_other_dropout_and_equal_seeds_the_same(cuts: list[list[int]]) -> None:
    model, objective = make_model(dropout=0.3), ObjectiveConfig()
    first, again, other = (run(model, objective, cuts, seeds=[s] * len(cuts)) for s in (1, 1, 2))
    assert first[0] == again[0]
    assert all(torch.equal(gradient, again[1][name]) for name, gradient in first[1].items())
    assert first[0]["loss"] != other[0]["loss"]


@pytest.mark.parametrize("cuts", [WHOLE, CUTS["uneven"]], ids=["whole", "uneven"])
def test_a_weight_of_zero_leaves_its_loss_and_its_head_out(cuts: list[list[int]]) -> None:
    model = make_model()
    both, both_gradients = run(model, ObjectiveConfig(contrastive_weight=2.0), cuts)
    xtr, xtr_gradients = run(model, ObjectiveConfig(contrastive_weight=0.0), cuts)
    contrastive, contrastive_gradients = run(
        model, ObjectiveConfig(reconstruction_weight=0.0, contrastive_weight=2.0), cuts
    )
    assert xtr.keys() == {"loss_xtr", "loss"}
    assert contrastive.keys() == {"loss_contrastive", "loss"}
    assert not any(name.startswith("projection.") for name in xtr_gradients)
    assert not any(name.startswith(("reconstruction.", "language.")) for name in contrastive_gradients)
    assert xtr["loss_xtr"] == pytest.approx(both["loss_xtr"], rel=1e-12)
    assert contrastive["loss_contrastive"] == pytest.approx(both["loss_contrastive"], rel=1e-12)
    assert both["loss"] == pytest.approx(xtr["loss"] + contrastive["loss"], rel=1e-12)
    zero = torch.zeros((), dtype=torch.float64)
    summed = {n: xtr_gradients.get(n, zero) + contrastive_gradients.get(n, zero) for n in both_gradients}
    assert_close(summed, both_gradients, 1e-10)


def test_a_whole_step_equals_the_losses_of_the_model_itself() -> None:
    model = make_model()
    (batch,) = make_batches(WHOLE)
    ids, offsets = batch.sentences.input_ids.tolist(), batch.sentences.offsets.tolist()
    rows = [ids[offsets[place] : offsets[place + 1]] for place in batch.sentences.restore.tolist()]
    langs = batch.other_langs.tolist()
    wanted = model.losses(rows[:COUNT], rows[COUNT:], langs[COUNT:], langs[:COUNT])
    losses, _ = run(model, ObjectiveConfig(mask_duplicates=False), WHOLE)
    # Here the targets' weights are float32, there float64.
    assert losses == {name: pytest.approx(value.item(), rel=1e-6) for name, value in wanted.items()}


@pytest.mark.parametrize("cuts", [WHOLE, CUTS["two"]], ids=["whole", "two"])
def test_scale_multiplies_gradients_and_not_losses(cuts: list[list[int]]) -> None:
    model = make_model()
    plain, plain_gradients = run(model, ObjectiveConfig(), cuts)
    scaled, scaled_gradients = run(model, ObjectiveConfig(), cuts, scale=1024.0)
    assert scaled == plain
    assert_close(scaled_gradients, {name: 1024 * gradient for name, gradient in plain_gradients.items()}, 1e-12)


@pytest.mark.parametrize("cuts", [WHOLE, CUTS["two"]], ids=["whole", "two"])
def test_gradients_are_added_to_those_that_are_there(cuts: list[list[int]]) -> None:
    model = make_model()
    _, once = run(model, ObjectiveConfig(), cuts)
    GradientStep(model, ObjectiveConfig(), None)(make_batches(cuts), range(len(cuts)))
    twice = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_close(twice, {name: 2 * gradient for name, gradient in once.items()}, 1e-12)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
def test_half_precision_gives_float32_losses_and_gradients_close_to_the_exact_ones(cuts: list[list[int]]) -> None:
    exact, exact_gradients = run(make_model(), ObjectiveConfig(), WHOLE)
    model = make_model(dtype=torch.float32)
    rough, gradients = run(model, ObjectiveConfig(), cuts, autocast=torch.bfloat16)
    assert rough == {name: pytest.approx(value, rel=0.02) for name, value in exact.items()}
    joined, wanted = (
        torch.cat([g[n].double().flatten() for n in exact_gradients]) for g in (gradients, exact_gradients)
    )
    assert torch.nn.functional.cosine_similarity(joined, wanted, dim=0) > 0.99
    losses = GradientStep(model, ObjectiveConfig(), torch.bfloat16)(make_batches(cuts), range(len(cuts)))
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in losses.values())


def test_the_loss_scale_is_announced_to_the_reconstruction_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    announced = []

    def watch(*arguments: Any, scale: Any, **more: Any) -> Tensor:
        announced.append(float(scale))
        return reconstruction_loss(*arguments, scale=scale, **more)

    monkeypatch.setattr("ems.training.step.reconstruction_loss", watch)
    run(make_model(), ObjectiveConfig(reconstruction_weight=0.5), CUTS["two"], scale=1024.0)
    assert announced == [512.0, 512.0]


def with_teacher(batches: list[PackedBatch], vectors: Tensor, known: Tensor) -> list[PackedBatch]:
    rows = [torch.as_tensor(batch.pair_rows) for batch in batches]
    return [
        dataclasses.replace(batch, teacher=TeacherRows(vectors[own], known[own]))
        for batch, own in zip(batches, rows, strict=True)
    ]


@pytest.mark.parametrize("cuts", [*CUTS.values(), WHOLE], ids=[*CUTS.keys(), "whole"])
@pytest.mark.parametrize("teacher_size", [0, 5], ids=["as wide", "mapped"])
def test_distillation_beside_both_losses_equals_the_formula(cuts: list[list[int]], teacher_size: int) -> None:
    torch.manual_seed(0)
    heads = HeadSizes(5, 6, 12, teacher_size=teacher_size)
    model = DualEncoder(EncoderSizes(40, 2, 16, 4, 32, 8), heads).double().train()
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(COUNT, teacher_size or 16, dtype=torch.float64, generator=generator)
    known = torch.tensor([i % 3 != 1 for i in range(COUNT)])
    teacher = TeacherConfig(sentences="unread", vectors="unread")
    objective = ObjectiveConfig(distillation_weight=1.7, teacher=teacher)
    losses = GradientStep(model, objective, None)(with_teacher(make_batches(cuts), vectors, known), range(len(cuts)))
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    model.zero_grad()
    (batch,) = make_batches(WHOLE)
    embedding = model.encoder(batch.sentences)
    source, translation = model.projection(embedding).split(COUNT)
    mask = duplicate_mask(batch.src_digests, batch.tgt_digests)
    contrastive = contrastive_loss(source, translation, temperature=0.1, mask_BN=mask)
    xtr = xtr_loss(model.reconstruct(embedding, batch.other_langs), batch.targets, normalizer=COUNT)
    student = embedding if model.teacher is None else model.teacher(embedding)
    distance = torch.zeros((), dtype=torch.float64)
    for i in range(COUNT):
        if known[i]:
            for row in (student[i], student[COUNT + i]):  # the source's vector is the aim of both sides
                distance = distance + ((row - vectors[i]) ** 2).mean() / COUNT
    loss = xtr + 2.0 * contrastive + 1.7 * distance
    loss.backward()
    assert losses["loss_distillation"].item() == pytest.approx(distance.item(), rel=1e-12)
    assert losses["loss"].item() == pytest.approx(loss.item(), rel=1e-12)
    assert_close(gradients, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, 1e-10)


@pytest.mark.parametrize("cuts", [WHOLE, *CUTS.values()], ids=["whole", *CUTS])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("logits_at_once", [1000, 100])
def test_among_the_tokens_of_the_step_the_loss_is_a_softmax_over_them_alone(
    monkeypatch: pytest.MonkeyPatch, cuts: list[list[int]], tied: bool, logits_at_once: int
) -> None:
    monkeypatch.setattr(reconstruction, "LOGITS_AT_ONCE", logits_at_once)  # all rows, or some at a time
    model = make_model(tied=tied)
    objective = ObjectiveConfig(vocabulary="step", contrastive_weight=0.0)
    losses, gradients = run(model, objective, cuts)
    model.zero_grad()
    (batch,) = make_batches(WHOLE)  # targets are ids, as nothing is left out
    q = torch.zeros(2 * COUNT, 40, dtype=torch.float64)
    q[batch.targets.rows, batch.targets.tokens] = batch.targets.weights.double()
    seen = q.sum(dim=0) > 0
    assert 0 < int(seen.sum()) < 40  # some tokens are in no sentence
    logits = model.reconstruct(model.encoder(batch.sentences), batch.other_langs)
    log_softmax = logits.masked_fill(~seen, -torch.inf).log_softmax(dim=1)
    loss = (torch.xlogy(q, q) - torch.where(q > 0, q * log_softmax, 0.0)).sum() / COUNT
    loss.backward()
    assert losses["loss_xtr"] == pytest.approx(loss.item(), rel=1e-12)
    assert_close(gradients, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, 1e-10)


@pytest.mark.parametrize("cuts", [WHOLE, CUTS["two"]], ids=["whole", "two"])
def test_ranking_of_sentence_embeddings_with_a_margin_equals_the_formula(cuts: list[list[int]]) -> None:
    torch.manual_seed(0)
    model = DualEncoder(EncoderSizes(40, 2, 16, 4, 32, 8), HeadSizes(5, 6, projection_size=0)).double().train()
    objective = ObjectiveConfig(reconstruction_weight=0.0, contrastive_weight=1.0, margin=0.3, both_directions=False)
    losses, gradients = run(model, objective, cuts)
    model.zero_grad()
    (batch,) = make_batches(WHOLE)
    source, translation = model.encoder(batch.sentences).split(COUNT)
    mask = duplicate_mask(batch.src_digests, batch.tgt_digests)
    loss = contrastive_loss(source, translation, temperature=0.1, margin=0.3, both_directions=False, mask_BN=mask)
    loss.backward()
    assert losses["loss"] == pytest.approx(loss.item(), rel=1e-12)
    assert_close(gradients, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, 1e-10)
