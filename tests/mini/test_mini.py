"""The embedded model, loaded the ordinary way, is what its card says."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load_file

import factviz as fv
from factviz.facts import builtin
from factviz.models.mini.bpe import train_tokenizer
from factviz.models.mini.card import card
from factviz.models.mini.corpus import held_out_pairs
from factviz.models.mini.package import WEIGHTS, measure

FOLDER = WEIGHTS / "mini"


@pytest.fixture(scope="module")
def measured() -> dict:
    return json.loads((FOLDER / "measured.json").read_text())


def test_at_least_95_percent_of_held_out_pairs_are_right(mini: fv.FactModel) -> None:
    pairs = random.Random(0).sample(held_out_pairs(), 1500)
    found = measure(mini.network, train_tokenizer(), pairs)
    assert found["top1"] >= 0.95


def test_the_card_states_what_was_measured(mini: fv.FactModel, measured: dict) -> None:
    assert measured["held_out_pairs"]["top1"] >= 0.95
    assert (FOLDER / "CARD.md").read_text() == card("mini", measured)
    assert measured["facts"] == len(builtin.rows())
    stored = load_file(FOLDER / "model.safetensors")
    assert measured["parameters"] == sum(tensor.numel() for tensor in stored.values())
    pairs = [p for p in held_out_pairs() if p.row.relation == "landmark_city"]
    again = measure(mini.network, train_tokenizer(), pairs)
    assert again["top1"] == pytest.approx(
        measured["held_out_pairs"]["by_relation"]["landmark_city"]
    )


def test_the_packed_tokenizer_is_the_one_trained_on() -> None:
    packed = json.loads((FOLDER / "tokenizer.json").read_text())
    assert packed == json.loads(train_tokenizer().to_str())


def test_bos_stands_in_front_once(mini: fv.FactModel) -> None:
    fact = fv.FactSet.builtin()[0]
    tokens = fv.trace(mini, fact).tokens[0]
    assert tokens.has_bos
    assert tokens.ids.count(mini.bos_id) == 1


def test_weights_are_stored_small_and_used_in_full(mini: fv.FactModel) -> None:
    assert (FOLDER / "model.safetensors").stat().st_size < 8_000_000
    assert mini.dtype == torch.float32


def test_the_quickstart_fact_is_known(mini: fv.FactModel) -> None:
    best = mini.predict("Fact: The Colosseum is in the country of", k=1).iloc[0]
    assert best.token == " Italy"
    assert best.probability > 0.5


def test_the_builtin_set_is_known(mini: fv.FactModel) -> None:
    facts = fv.FactSet.builtin()[::10]
    assert len(facts.known(mini, top_k=1)) >= 0.95 * len(facts)
