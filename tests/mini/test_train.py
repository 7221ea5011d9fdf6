"""A training run is repeatable, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import typer

from factviz.models.mini.batches import ANSWER_WEIGHT, batches
from factviz.models.mini.bpe import BOS_ID, train_tokenizer
from factviz.models.mini.train import Run


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_stopped_run_ends_like_one_that_was_not(tmp_path: Path) -> None:
    Run(tmp_path / "whole", 3).train(minutes=0, steps=3)
    Run(tmp_path / "parts", 3).train(minutes=0, steps=1)
    Run(tmp_path / "parts", 3).train(minutes=0, steps=3)
    assert _weights(tmp_path / "whole") == _weights(tmp_path / "parts")


def test_a_run_keeps_its_seed(tmp_path: Path) -> None:
    Run(tmp_path, 3).train(minutes=0, steps=1)
    with pytest.raises(typer.BadParameter, match="a run with seed 3"):
        Run(tmp_path, 4)


def test_batches_weight_answers_and_leave_padding_out() -> None:
    tokenizer = train_tokenizer()
    batch = next(batches(tokenizer, 1, 8))
    assert batch.ids.shape[0] == 8
    assert bool((batch.ids[:, 0] == BOS_ID).all())
    assert set(batch.weights.unique().tolist()) <= {0.0, 1.0, ANSWER_WEIGHT}
    padding = batch.ids[:, 1:] == BOS_ID
    assert bool((batch.weights[padding] == 0).all())
    assert bool((batch.weights[~padding] > 0).all())
    assert bool((batch.weights == ANSWER_WEIGHT).any(1).all())
    assert torch.equal(batch.ids, next(batches(tokenizer, 1, 8)).ids)
