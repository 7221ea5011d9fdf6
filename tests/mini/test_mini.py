"""The embedded models, loaded the ordinary way, are what their cards say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import factviz as fv
from factviz.analysis.cards.criteria import criteria
from factviz.analysis.cards.knockouts import measure_directions, worst
from factviz.analysis.cards.measuring import spread
from factviz.analysis.cards.movers import measure_final_parts, measure_topic_heads
from factviz.analysis.cards.recall import in_half, measure_recall, pairs_of
from factviz.analysis.cards.text import card
from factviz.facts import builtin
from factviz.facts.errors import FactvizError
from factviz.models import names
from factviz.models.mini.bpe import train_tokenizer
from factviz.models.mini.manifest import manifest
from factviz.models.mini.recipes import RECIPES
from factviz.models.mini.weights import WEIGHTS
from factviz.results.resampling import macro_means

EMBEDDED = sorted(RECIPES)


@pytest.fixture(scope="module", params=EMBEDDED)
def model(request: pytest.FixtureRequest) -> Iterator[fv.FactModel]:
    return fv.load_model(request.param)


@pytest.fixture(scope="module")
def measured(model: fv.FactModel) -> dict[str, Any]:
    return json.loads((WEIGHTS / model.name / "measured.json").read_text())


class TestCard:
    @pytest.mark.parametrize("name", EMBEDDED)
    def test_it_is_written_from_the_figures(self, name: str) -> None:
        figures = json.loads((WEIGHTS / name / "measured.json").read_text())
        assert (WEIGHTS / name / "CARD.md").read_text() == card(figures)
        assert figures["criteria"] == criteria(figures)

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_the_model_was_trained_on_the_tables_as_they_are(self, name: str) -> None:
        figures = json.loads((WEIGHTS / name / "measured.json").read_text())
        made = figures["training"]["manifest"]
        now = manifest(name, made["seed"])
        assert {k: made[k] for k in ("tables", "wordings", "recipe", "corpus")} == {
            k: now[k] for k in ("tables", "wordings", "recipe", "corpus")
        }
        assert figures["facts"] == len(builtin.rows())
        stored = load_file(WEIGHTS / name / "model.safetensors")
        assert figures["parameters"] == sum(tensor.numel() for tensor in stored.values())

    def test_recall_measured_again_is_what_it_states(
        self, model: fv.FactModel, measured: dict[str, Any]
    ) -> None:
        stated = measured["recall"]["held-out pairs"]
        again = measure_recall(model, pairs_of("held-out pairs", "judging")[:600])
        assert again["top1"][0] == pytest.approx(stated["top1"][0], abs=0.02)
        assert again["probability"][0] == pytest.approx(stated["probability"][0], abs=0.04)

    def test_fewer_facts_show_the_directions_that_it_states(
        self, model: fv.FactModel, measured: dict[str, Any]
    ) -> None:
        facts = spread(in_half(fv.FactSet.builtin(), "judging"), 60).known(model, top_k=1)
        again = measure_directions(model, facts)
        for kind in ("attention", "halves"):
            for curve, other in zip(measured["directions"][kind], again[kind], strict=True):
                at = worst(curve)
                if curve["mean"][at] < curve["control"][at] - 20:
                    assert other["mean"][at] < other["control"][at]

    def test_a_card_leaves_out_what_was_not_measured(self) -> None:
        figures = json.loads((WEIGHTS / "mini" / "measured.json").read_text())
        assert "## Directions of effects" in card(figures)
        assert "## Directions of effects" not in card({**figures, "directions": None})


class TestWeights:
    def test_they_are_stored_small_and_used_in_full(self, model: fv.FactModel) -> None:
        assert (WEIGHTS / model.name / "model.safetensors").stat().st_size < 8_000_000
        assert model.dtype == torch.float32
        assert 6 <= model.n_layers <= 8
        assert model.n_heads == 8

    def test_the_packed_tokenizer_is_the_one_trained_on(self, model: fv.FactModel) -> None:
        packed = json.loads((WEIGHTS / model.name / "tokenizer.json").read_text())
        assert packed == json.loads(train_tokenizer().to_str())

    def test_bos_stands_in_front_once(self, model: fv.FactModel) -> None:
        tokens = fv.trace(model, fv.FactSet.builtin()[0]).tokens[0]
        assert tokens.has_bos
        assert tokens.ids.count(model.bos_id) == 1

    def test_results_say_how_it_was_trained(self, model: fv.FactModel) -> None:
        result = fv.attribute_logits(fv.trace(model, fv.FactSet.builtin()[0]))
        said = result.provenance["training"]
        assert said["recipe"] == model.name
        assert said["manifest"] == manifest(model.name, said["seed"])["corpus"]
        assert said["step"] == sum(updates for updates, _ in RECIPES[model.name].stages)


class TestCheckpoints:
    kept = names.steps_of(WEIGHTS / "mini")

    def test_there_are_three_or_more_of_mini(self) -> None:
        assert len(self.kept) >= 3
        assert max(self.kept) < RECIPES["mini"].steps

    def test_recall_grows_along_them(self, mini: fv.FactModel) -> None:
        facts = fv.FactSet.builtin()[::60]
        known = [
            len(facts.known(model, top_k=1)) / len(facts) if len(facts) else 0
            for model in (fv.load_model("mini", step=self.kept[0]), mini)
        ]
        assert known[0] < 0.5 < 0.95 < known[1]

    def test_each_is_named_with_its_step(self) -> None:
        model = fv.load_model("mini", step=self.kept[-1])
        assert model.name == f"mini, step {self.kept[-1]}"
        assert model.training["step"] == self.kept[-1]
        assert model.weight_hash != fv.load_model("mini").weight_hash

    @pytest.mark.parametrize("step", [-1, 7, 10**9, True])
    def test_a_step_that_was_not_kept_is_refused_with_those_that_were(self, step: int) -> None:
        with pytest.raises(FactvizError, match=f"no checkpoint of mini .*{self.kept[0]}"):
            fv.load_model("mini", step=step)

    def test_other_models_have_revisions(self, mini: fv.FactModel) -> None:
        with pytest.raises(FactvizError, match="revision="):
            fv.load_model("EleutherAI/pythia-70m", step=1000)
        with pytest.raises(FactvizError, match="this is an object"):
            fv.load_model(mini.bridge, step=1000)


def test_the_quickstart_fact_is_known(mini: fv.FactModel) -> None:
    best = mini.predict("Fact: The Colosseum is in the country of", k=1).iloc[0]
    assert best.token == " Italy"
    assert best.probability > 0.5


def test_the_builtin_set_is_known(model: fv.FactModel) -> None:
    facts = fv.FactSet.builtin()[::30]
    assert len(facts.known(model, top_k=1)) >= 0.95 * len(facts)


def test_cards_of_movers_and_suppressors_are_what_the_analyses_find() -> None:
    model = fv.load_model("mini-gpt2")
    facts = fv.FactSet.builtin()[::120]
    heads, parts = measure_topic_heads(model, facts), measure_final_parts(model, facts)
    traced = fv.trace(model, facts)
    contrast = fv.attribute_logits(traced).contrast("same_relation").dataset.isel(attribute=0)
    relations = [fact.relation for fact in facts]
    mlps = macro_means(contrast["mlps"].values[:, -1], relations)
    effect = {row["part"]: row["effect"][0] for row in parts}
    assert effect["mlp 5"] == pytest.approx(float(mlps), abs=2e-4)
    written = fv.attribute_logits(traced).by_group().isel(attribute=0).sel(group="subject").values
    for row in heads:
        own = written[:, row["layer"], row["head"]]
        assert row["answer"][0] == pytest.approx(float(macro_means(own, relations)), abs=2e-4)
    figures = json.loads((WEIGHTS / "mini-gpt2" / "measured.json").read_text())
    said = card({**figures, "topic_heads": heads, "final_parts": parts})
    assert "copying score" in said and "change under mean ablation" in said
    assert {"layer", "head", "attention", "answer"} <= figures["topic_heads"][0].keys() & heads[
        0
    ].keys()
