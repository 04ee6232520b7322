"""The training run: everything that resumes is created first, then one loop from step to step."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from ems.config import Config
from ems.data.holdout import HoldOut, hold_out
from ems.data.loader import StepBatches, StepLoader
from ems.data.preparation import PreparedCorpus, prepare_corpus
from ems.data.stream import PairStream
from ems.errors import InputError, Interrupted, RunError, ToldElsewhere
from ems.files import clear_left_behind
from ems.heap import keep_freed_memory
from ems.inference import SentenceEncoder, choose_device
from ems.model.folder import save_model_folder
from ems.ranks import Ranks, joined_ranks
from ems.training.announcement import announce
from ems.training.bad_steps import fault_of, with_loss
from ems.training.build import build_model, open_teacher
from ems.training.checkpoint import checkpoint_name, load_latest_checkpoint, restore, save_checkpoint
from ems.training.device import environment, out_of_memory
from ems.training.diagnosis import bad_step_message, out_of_memory_message
from ems.training.finish import finish
from ems.training.model_info import model_info
from ems.training.progress import Progress
from ems.training.run_folder import WRITTEN, as_started, check_run_folder, claim_run_folder, run_lock
from ems.training.scoring import find_sets, open_sets
from ems.training.signals import stop_requested
from ems.training.token_budget import check_ranks, with_token_budget
from ems.training.tracking import Tracker, cut_metrics
from ems.training.update import Update
from ems.training.validation import Validator

logger = logging.getLogger(__name__)


class Trainer:
    """One run: state that resumes, and the steps that change it.

    Everything that resumes is in `model`, `update` (optimizer, scaler) and `progress` (which holds the stream's state);
    the rest follows from the config.

    Attributes:
        config: complete, with what `auto` left to the start of the run.

    Args:
        config: complete configuration.
        corpus: prepared text.
        folder: claimed run folder.
        ranks: the processes that train together; None for this one alone.
    """

    def __init__(self, config: Config, corpus: PreparedCorpus, folder: Path, ranks: Ranks | None = None) -> None:
        self.corpus = corpus
        self.folder = folder
        self.ranks = ranks or Ranks()
        self.device = choose_device(None if config.run.device == "auto" else config.run.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.teacher = self.ranks.told_once(lambda: open_teacher(config.objective, corpus))
        sizes = corpus.tokenizer.vocab_size, len(corpus.languages)
        self.model = build_model(config, *sizes, self.teacher.size if self.teacher else None).to(self.device)
        self.config = with_token_budget(config, self.model, self.ranks)
        self.update = Update(self.model, config, self.ranks)
        self.progress = Progress()
        limit, seed = config.validation.pairs_per_language_pair, config.run.seed
        self.holdout: HoldOut = self.ranks.told_once(
            lambda: hold_out(corpus.shards, pairs_per_language_pair=limit, seed=seed)
        )
        self.stream = PairStream(
            self.holdout.counts,
            pairs=config.batching.pairs,
            sampling_temperature=config.batching.sampling_temperature,
            seed=config.run.seed,
        )
        self.validator = self.ranks.told_once(lambda: Validator(config.validation, corpus, self.holdout))
        self.evaluation_sets = open_sets(config.evaluation, "evaluation", corpus.registry, corpus.languages)

    def resume(self) -> None:
        """Go back to the newest good checkpoint, if there is one."""
        checkpoint = load_latest_checkpoint(self.folder / "checkpoints")
        if checkpoint is None:
            logger.warning("no checkpoint in %s yet; starting from the beginning", self.folder)
            self._cut_metrics()
            return
        restore(checkpoint, self.model, self.update.optimizer)
        try:
            self._restore_state(checkpoint.state, checkpoint.step)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            where = self.folder / "checkpoints" / checkpoint_name(checkpoint.step) / "state.json"
            raise InputError(f"{where} cannot be used: {type(error).__name__}: {error}") from None
        logger.info("going on after step %d of %d", self.progress.step, self.config.training.max_steps)
        self._cut_metrics()

    def _cut_metrics(self) -> None:
        if self.ranks.is_first:
            cut_metrics(self.folder / "metrics.jsonl", self.progress.step)

    def _restore_state(self, state: dict[str, Any], step: int) -> None:
        for name, value in self.data_identity().items():
            if state["data"].get(name) != value:
                raise InputError(
                    f"--resume: the {name} is not the one that the run in {self.folder} was started with; put the text "
                    "and tokenizer back as they were, or start anew in another run.folder"
                )
        self.progress = Progress.from_state(state["progress"])
        self.stream.restore(self.progress.stream)
        if not self.progress.step == self.stream.step == step <= self.config.training.max_steps:
            raise ValueError(f"steps disagree: {self.progress.step}, {self.stream.step}, {step}")
        if self.progress.scaler:
            self.update.scaler.load_state_dict(self.progress.scaler)
        for name, value in environment(self.device, self.ranks).items():
            if (then := state["environment"].get(name)) != value:
                logger.warning("%s is now %s, was %s: the run goes on, but not to the same bits", name, value, then)

    def data_identity(self) -> dict[str, Any]:
        """Digests of what the stream draws from; a run goes on only on the same text."""
        identity = {
            "corpus": self.corpus.shards.digest,
            "tokenizer": self.corpus.tokenizer.fingerprint,
            "choice of held-out pairs": self.holdout.counts.tolist(),
        }
        return identity | ({"teacher": self.teacher.digest} if self.teacher is not None else {})

    @property
    def finished(self) -> bool:
        """Whether all steps are done or patience has run out."""
        patience = self.config.training.patience
        exhausted = patience is not None and self.progress.validations_without_gain >= patience
        return exhausted or self.progress.step >= self.config.training.max_steps

    def run(self) -> None:
        """Train to the end, or to a signal.

        Raises:
            Interrupted: a signal came; a checkpoint was written.
            RunError: one bad step more than may be left out; the last good checkpoint stands.
        """
        with ExitStack() as stack:
            signals = stack.enter_context(stop_requested())
            tracker = stack.enter_context(self._tracker())
            stack.enter_context(logging_redirect_tqdm())
            for loaded in self.loader():
                if self.finished:
                    return
                self._whole_step(loaded, tracker)
                # A signal reaches some ranks earlier than others; all stop after the same step.
                stopping = self.ranks.any(bool(signals))
                if self.progress.step % self.config.training.checkpoint_every_steps == 0 or stopping or self.finished:
                    self.save()
                if stopping and not self.finished:
                    name = signal.Signals(signals[0]).name if signals else "a signal"
                    raise Interrupted(f"stopped by {name} after step {self.progress.step}; continue with --resume")

    @contextmanager
    def _tracker(self) -> Iterator[Tracker | None]:
        """Open what reports the run; only the rank that writes has one."""
        if not self.ranks.is_first:
            yield None
            return
        last_step = self.config.training.max_steps
        tracker = Tracker(self.folder, first_step=self.progress.step, max_steps=last_step, device=self.device)
        try:
            yield tracker
        finally:
            tracker.close()

    def loader(self) -> StepLoader:
        """Return what iterates over the steps that follow."""
        return StepLoader(
            self.corpus.shards,
            self.holdout,
            self.stream,
            self.config,
            rank=self.ranks.rank,
            size=self.ranks.size,
            device=self.device,
            teacher=self.teacher,
        )

    def _whole_step(self, loaded: StepBatches, tracker: Tracker | None) -> None:
        """Take a step, report it, and validate where it is time to."""
        started = time.perf_counter()
        record = self.take_step(loaded)
        seconds = time.perf_counter() - started
        if tracker is not None:
            self._report(tracker, record, seconds, loaded.num_tokens)
        training = self.config.training
        if self.progress.step % training.validate_every_steps == 0 or self.progress.step == training.max_steps:
            self._validate(tracker)

    def take_step(self, loaded: StepBatches) -> dict[str, float]:
        """Do one optimizer step and return its record.

        Raises:
            RunError: a bad step (`ems.training.bad_steps`), with weights as before it, or memory ran out.
        """
        try:
            losses = self.update.gradients(loaded.batches, loaded.step, loaded.rank_pairs)
            # One copy to the host for all scalars of the step; it is the step's only wait for the device.
            values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
            fault = self._fault(values)
            if fault is None:
                self.progress.mean_loss = with_loss(self.progress, values["loss"])
                rate = self.update.apply(loaded.step)
            else:
                rate = 0.0
                self._leave_out(fault, values, loaded)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise RunError(out_of_memory_message(loaded, self.config)) from None
        self._advance(loaded)
        return {**{f"train/{name}": value for name, value in values.items()}, "train/learning_rate": rate}

    def _fault(self, values: dict[str, float]) -> str | None:
        # With fp16 an overflowing gradient is part of the method: the scaler leaves that step out and scales down. Only
        # when there is nothing left to scale down is the gradient itself at fault.
        scaler = self.update.scaler
        overflow_allowed = scaler.is_enabled() and scaler.get_scale() >= 1
        return fault_of(values, self.progress, self.config.training, overflow_allowed=overflow_allowed)

    def _leave_out(self, fault: str, values: dict[str, float], loaded: StepBatches) -> None:
        """Go on without this step, or stop the run where too many were left out."""
        self.update.leave_out()
        message = self.ranks.choose(*bad_step_message(fault, values, loaded, self.model, self.corpus))
        skipped, limit = self.progress.skipped_steps, self.config.training.max_skipped_steps
        if skipped >= limit:
            message += (
                f"; steps left out before it: {skipped}; the last checkpoint is whole: go on with --resume and a "
                f"training.max_skipped_steps above {limit}, which leaves such steps out (a spike: or with another "
                "training.spike_factor), or start anew with a lower training.learning_rate or a training.clip_norm"
            )
            raise RunError(message) if self.ranks.is_first else ToldElsewhere(message)
        self.progress.skipped_steps += 1
        logger.warning("%s; this step is left out, %d of at most %d", message, skipped + 1, limit)

    def _advance(self, loaded: StepBatches) -> None:
        progress = self.progress
        progress.step = loaded.step + 1
        progress.stream = loaded.stream_state
        progress.pairs_seen += self.config.batching.pairs
        progress.tokens_seen += loaded.num_tokens
        progress.truncated += loaded.num_truncated
        progress.scaler = self.update.scaler.state_dict()

    def _report(self, tracker: Tracker, record: dict[str, float], seconds: float, num_tokens: int) -> None:
        self.progress.train_seconds += seconds
        record = {
            **record,
            "train/pairs_seen": self.progress.pairs_seen,
            "train/tokens_seen": self.progress.tokens_seen,
            "train/skipped_steps": self.progress.skipped_steps,
            "time/pairs_per_second": self.config.batching.pairs / seconds,
            "time/tokens_per_second": num_tokens / seconds,
            "time/train_seconds": self.progress.train_seconds,
        }
        tracker.log(self.progress.step, record)
        tracker.show(record)

    def sentence_encoder(self) -> SentenceEncoder:
        """Wrap the encoder as it is now."""
        self.model.eval()
        return SentenceEncoder(self.model.encoder, self.corpus.tokenizer, self.corpus.languages)

    def _validate(self, tracker: Tracker | None) -> None:
        """Score the model and keep it if it is the best so far; the other ranks wait and learn the outcome."""
        self.progress = Progress.from_state(self.ranks.only_first(lambda: self._score(tracker)))

    def _score(self, tracker: Tracker | None) -> dict[str, Any]:
        assert tracker is not None
        started = time.perf_counter()
        scores = self.validator(self.sentence_encoder())
        metric = scores[f"validation/{self.config.validation.metric}"]
        tracker.log(self.progress.step, {**scores, "time/validation_seconds": time.perf_counter() - started})
        better = metric > self.progress.best_metric
        shown = f"{self.config.validation.metric} {100 * metric:.2f} %"
        tracker.say(f"step {self.progress.step}: {shown}{' (best so far)' if better else ''}")
        if better:
            self.progress.best_metric, self.progress.best_step = metric, self.progress.step
            self.progress.validations_without_gain = 0
            self.save_model()
        else:
            self.progress.validations_without_gain += 1
        return self.progress.to_state()

    def save_model(self) -> None:
        """Write the model folder with the weights as they are now."""
        info = model_info(self.corpus, self.holdout, self.progress, self.config.run.seed)
        save_model_folder(self.folder / "model", self.model, self.corpus.tokenizer, info)

    def save(self) -> None:
        """Write a checkpoint, on the rank that writes."""
        if not self.ranks.is_first:
            return
        state = {
            "progress": self.progress.to_state(),
            "environment": environment(self.device, self.ranks),
            "data": self.data_identity(),
        }
        root = self.folder / "checkpoints"
        root.mkdir(exist_ok=True)
        progress, keep = self.progress, self.config.training.keep_checkpoints
        save_checkpoint(
            root, progress.step, self.model, self.update.optimizer, state, keep=keep, best_step=progress.best_step
        )


def _prepared(config: Config, ranks: Ranks) -> PreparedCorpus:
    """Find everything that a run reads, before anything is computed."""
    ranks.only_first(lambda: find_sets(config.validation))
    ranks.only_first(lambda: find_sets(config.evaluation))
    return ranks.first_then_all(lambda: prepare_corpus(config, progress=ranks.is_first))


def _train(config: Config, resume: bool, ranks: Ranks, stack: ExitStack) -> Path:
    folder = Path(config.run.folder)
    ranks.only_first(lambda: check_ranks(config, ranks))
    ranks.only_first(lambda: check_run_folder(config, resume=resume))
    # The lock is the first rank's: nothing is said to the others, and it ends with this process.
    ranks.only_first(lambda: stack.enter_context(run_lock(folder)))
    ranks.only_first(lambda: clear_left_behind(folder, WRITTEN))
    ranks.only_first(lambda: clear_left_behind(folder / "model", ["README.md"]))
    if ranks.only_first(lambda: resume and (folder / "scores.json").exists()):
        logger.info("%s is finished; its scores are in %s", folder, folder / "scores.json")
        return folder / "model"
    corpus = _prepared(config, ranks)
    trainer = Trainer(as_started(config, folder), corpus, folder, ranks)
    ranks.only_first(lambda: claim_run_folder(trainer.config))
    if resume:
        ranks.told_once(trainer.resume)
    if ranks.is_first:
        announce(trainer.corpus, trainer.holdout, trainer.stream, trainer.model, trainer.device)
    trainer.run()
    ranks.only_first(lambda: finish(trainer.config, corpus, trainer.holdout, trainer.evaluation_sets, folder) and None)
    return folder / "model"


def train(config: Config, *, resume: bool = False) -> Path:
    """Run a training from raw text to a scored model folder; under `torchrun`, together with the other processes.

    Args:
        config: complete configuration.
        resume: continue from the newest good checkpoint of run.folder.

    Returns:
        The model folder, best by the validation metric.

    Raises:
        InputError: config, corpus or run folder cannot be used.
        RunError: the run failed while it ran, or another of its processes did.
        Interrupted: a signal stopped it after a checkpoint.
    """
    with (
        joined_ranks(config.run.device, "checkpoints are whole, continue with --resume") as ranks,
        ExitStack() as stack,
    ):
        return _train(config, resume, ranks, stack)
