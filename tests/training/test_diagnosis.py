"""Who is blamed for a step that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ems.data.preparation import prepare_corpus
from ems.training.diagnosis import bad_step_message
from ems.training.trainer import Trainer
from tests.tiny import tiny_config, write_corpus


@pytest.mark.parametrize(("vocabulary", "blamed"), [("all", True), ("step", False)])
def test_a_row_of_the_output_matrix_that_no_loss_reads_makes_nobody_guilty(
    tmp_path: Path, vocabulary: str, blamed: bool
) -> None:
    write_corpus(tmp_path / "text")
    config = tiny_config(tmp_path, f"objective.vocabulary={vocabulary}")
    trainer = Trainer(config, prepare_corpus(config), tmp_path / "run")
    loaded = next(iter(trainer.loader()))
    read = torch.cat([batch.sentences.input_ids for batch in loaded.batches]).unique()
    unread = next(token for token in range(trainer.corpus.tokenizer.vocab_size) if token not in read)
    with torch.no_grad():
        trainer.model.reconstruction.output.weight[unread] = torch.nan
    found, message = bad_step_message("is not finite", {"loss": 1.0}, loaded, trainer.model, trainer.corpus)
    assert found == blamed
    assert message.startswith("step 1 is not finite (loss 1); languages ")
