"""A training run is repeatable, goes on where it stopped, and blocks what its recipe says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer

from factviz.models.mini import train
from factviz.models.mini.batches import ANSWER_WEIGHT, Batches
from factviz.models.mini.bpe import BOS_ID, train_tokenizer
from factviz.models.mini.corpus import Corpus
from factviz.models.mini.manifest import manifest
from factviz.models.mini.recipes import RECIPES, Recipe
from factviz.models.mini.train import Run


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 4, checkpoints early."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, replace(recipe, size=4, snapshots=(2,)))


def _batches(size: int = 8) -> Batches:
    return Batches(train_tokenizer(), Corpus(1, RECIPES["mini"].shares), 1, size)


def _weights(folder: Path, name: str = "model") -> bytes:
    return (folder / f"{name}.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["mini", "mini-gpt2"])
def test_a_stopped_run_ends_like_one_that_was_not(name: str, tmp_path: Path) -> None:
    Run(tmp_path / "whole", name, 3, steps=4).train()
    Run(tmp_path / "parts", name, 3, steps=4).train(until=1)
    Run(tmp_path / "parts", name, 3, steps=4).train()
    assert _weights(tmp_path / "whole") == _weights(tmp_path / "parts")
    assert _weights(tmp_path / "whole", "step-2") == _weights(tmp_path / "parts", "step-2")
    assert _weights(tmp_path / "whole") != _weights(tmp_path / "whole", "step-2")


def test_a_killed_run_goes_on_from_what_it_saved(tmp_path: Path) -> None:
    """A kill between two saves loses the steps since, not the run; half a file is not read."""
    run = Run(tmp_path, "mini", 3, steps=4)
    run.train(until=2)
    (tmp_path / "model.partial").write_bytes(b"half")
    again = Run(tmp_path, "mini", 3, steps=4)
    assert again.step == 2
    again.train()
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 4


def test_a_run_keeps_its_seed_and_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(tmp_path, "mini", 3, steps=2).train()
    with pytest.raises(typer.BadParameter, match="a run with seed 3"):
        Run(tmp_path, "mini", 4, steps=2)
    with pytest.raises(typer.BadParameter, match="a run with name mini"):
        Run(tmp_path, "mini-gpt2", 3, steps=2)
    monkeypatch.setitem(RECIPES, "mini", replace(RECIPES["mini"], rate=1e-3))
    with pytest.raises(typer.BadParameter, match="other tables, wordings or recipe"):
        Run(tmp_path, "mini", 3, steps=2)


def test_the_manifest_tells_recipes_and_seeds_apart() -> None:
    made = {name: manifest(name, 0) for name in RECIPES}
    assert len({one["corpus"] for one in made.values()}) == len(RECIPES)
    assert len({one["tables"] for one in made.values()}) == 1
    assert manifest("mini", 1)["corpus"] == made["mini"]["corpus"]
    assert manifest("mini", 1)["seed"] == 1


def test_batches_weight_answers_and_leave_padding_out() -> None:
    batch = next(_batches().since(0))
    assert batch.ids.shape[0] == 8
    assert batch.blocked is None
    assert bool((batch.ids[:, 0] == BOS_ID).all())
    assert set(batch.weights.unique().tolist()) <= {0.0, 1.0, ANSWER_WEIGHT}
    padding = batch.ids[:, 1:] == BOS_ID
    assert bool((batch.weights[padding] == 0).all())
    assert bool((batch.weights == ANSWER_WEIGHT).any(1).sum() >= 4)


def test_a_resumed_stream_gives_the_batches_it_would_have_given() -> None:
    stream = _batches(2).since(0)
    first = [next(stream) for _ in range(40)]
    again = next(_batches(2).since(35))
    assert torch.equal(first[35].ids, again.ids)


def test_end_may_not_read_the_subject_where_that_is_blocked() -> None:
    tokenizer = train_tokenizer()
    batch = next(Batches(tokenizer, Corpus(1, {"statement": 1.0}), 1, 16).since(0, 1.0))
    assert batch.blocked is not None
    for ids, weights, blocked in zip(batch.ids, batch.weights, batch.blocked, strict=True):
        (end,) = (weights == ANSWER_WEIGHT).nonzero()[:1, 0].tolist()
        assert blocked.any(1).nonzero().flatten().tolist() == [end]
        subject = tokenizer.decode(ids[: len(blocked)][blocked[end]].tolist()).strip()
        assert subject in tokenizer.decode(ids.tolist())
        assert subject in {row.subject for row in train_rows()}


def train_rows() -> list:
    from factviz.models.mini.splits import stated_rows

    return list(stated_rows())


def test_a_blocked_edge_carries_nothing() -> None:
    """What END gets does not depend on a key that the mask closes, unless another row reads it."""
    torch.manual_seed(0)
    model = RECIPES["mini"].make().eval()
    ids = torch.tensor([[0, 300, 301, 302]])
    other = torch.tensor([[0, 310, 301, 302]])
    blocked = torch.zeros(1, 4, 4, dtype=torch.bool)
    blocked[:, 1:, 1] = True
    blocked[:, 1, 1] = False
    with torch.inference_mode():
        gave = [model(x, attention_mask=train._mask(blocked)).logits[0, -1] for x in (ids, other)]
        free = [model(x).logits[0, -1] for x in (ids, other)]
    assert torch.allclose(*gave, atol=1e-6)
    assert not torch.allclose(*free, atol=1e-3)


def test_the_share_of_blocked_sentences_follows_the_recipe() -> None:
    recipe = Recipe(RECIPES["mini"].make, {}, steps=10, blocked=((0.0, 0.4), (0.5, 0.8)))
    assert [recipe.blocked_share(done) for done in (0.0, 0.49, 0.5, 0.9)] == [0.4, 0.4, 0.8, 0.8]


def test_every_stage_warms_up_and_falls() -> None:
    stages = ((1000, 2e-3), (500, 1e-3))
    rates = [train._rate(stages, step) for step in range(1500)]
    assert rates[0] < 1e-4 and rates[100] == rates[250] == 2e-3 and rates[999] < 1e-4
    assert rates[1000] < 1e-4 and rates[1100] == 1e-3 and rates[1499] < 1e-4
    assert max(rates[1000:]) == 1e-3
    with pytest.raises(ValueError, match="last stage"):
        train._rate(stages, 1500)


def test_further_stages_change_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = manifest("mini", 0)["recipe"]
    monkeypatch.setitem(RECIPES, "mini", replace(RECIPES["mini"], further=((10, 1e-3),)))
    assert manifest("mini", 0)["recipe"] != before
