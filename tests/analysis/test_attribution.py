"""Attribution on the embedded model, its labels and provenance, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.models import geometry
from tests.families import tiny_model, tiny_tokenizer

COLOSSEUM = fv.Fact(
    "Fact: The Colosseum is in the country of",
    subject="The Colosseum",
    answer="Italy",
    same_relation=("France", "Spain"),
)
EIFFEL = fv.Fact(
    "Fact: The Eiffel Tower is in the country of", subject="The Eiffel Tower", answer="France"
)


@pytest.fixture(scope="module")
def tiny() -> fv.FactModel:
    return fv.load_model(tiny_model("gpt2"), tokenizer=tiny_tokenizer())


def test_the_embedded_model_knows_and_the_parts_add_up(mini: fv.FactModel) -> None:
    assert mini.predict(COLOSSEUM)["token"][0] == " Italy"
    result = fv.attribute_logits(fv.trace(mini, COLOSSEUM))
    assert result.heads.dims == ("attribute", "layer", "head", "source")
    assert result.heads.sel(layer=3, head=4, attribute="Italy").dims == ("source",)
    frame = result.to_frame()
    totals = frame.groupby("attribute")["contribution"].sum()
    for word in ("Italy", "France", "Spain"):
        assert totals[word] == pytest.approx(float(result.logits.sel(attribute=word)), abs=1e-4)
    assert float(result.logits.sel(attribute="Italy")) == float(result.logits.max())
    assert result.heads.token.values[0] == "<|endoftext|>"
    assert result.heads.role.values.tolist() == ["answer", "same_relation", "same_relation"]
    # The answer comes from the subject: the heads take it there.
    assert float(result.by_group().sel(attribute="Italy", group="subject").sum()) > 1


def test_facts_with_attributes_of_their_own(mini: fv.FactModel) -> None:
    both = fv.attribute_logits(fv.trace(mini, [COLOSSEUM, EIFFEL]))
    assert both.heads.dims == ("fact", "attribute", "layer", "head", "source")
    assert both.heads.attribute_word.values.tolist() == [["Italy", "France", "Spain"],
                                                         ["France", "", ""]]  # fmt: skip
    assert both.dataset.attribute.values.tolist() == [0, 1, 2]
    assert np.isnan(both.heads.values[1, 1:]).all()
    assert np.isnan(both.logits.values[1, 1:]).all()
    alone = fv.attribute_logits(fv.trace(mini, EIFFEL))
    np.testing.assert_allclose(
        both.heads.isel(fact=1, attribute=0).values[..., : alone.heads.sizes["source"]],
        alone.heads.isel(attribute=0),
        atol=1e-5,
    )
    same = fv.attribute_logits(fv.trace(mini, [COLOSSEUM, EIFFEL]), ["Italy", "France"])
    assert same.heads.sel(attribute="France").dims == ("fact", "layer", "head", "source")
    assert same.heads.role.values.tolist() == [["answer", "same_relation"], ["given", "answer"]]


def test_attributes_as_words_ids_or_one_alone(mini: fv.FactModel) -> None:
    traced = fv.trace(mini, COLOSSEUM)
    words = fv.attribute_logits(traced, ["Italy", "France"])
    ids = words.heads.attribute_id.values.tolist()
    by_id = fv.attribute_logits(traced, ids)
    assert (words.heads.values == by_id.heads.values).all()
    assert fv.attribute_logits(traced, "Italy").heads.sizes["attribute"] == 1
    assert fv.attribute_logits(traced, (word for word in ["Italy"])).heads.sizes["attribute"] == 1


def test_provenance_says_all_and_is_plain_json(mini: fv.FactModel) -> None:
    result = fv.attribute_logits(fv.trace(mini, COLOSSEUM))
    said = result.provenance
    assert json.loads(json.dumps(said)) == said
    assert said["kind"] == "Attribution"
    assert said["model"] == "mini"
    assert said["weight_hash"] == mini.weight_hash
    assert len(said["weight_hash"]) == 64
    assert said["projection"].startswith("P1: frozen")
    assert (said["layer_norm"], said["value_bias"]) == ("frozen", "out")
    assert said["target"] == "centred logit at END"
    assert said["prepend_bos"] is True
    assert said["bos"] == "<|endoftext|>"
    assert said["prompt_tokens"][0][:3] == ["<|endoftext|>", "Fact", ":"]


def test_decided_things_are_noted(mini: fv.FactModel) -> None:
    fact = COLOSSEUM.replace(answer="Italy Unheard")
    result = fv.attribute_logits(fv.trace(mini, fact))
    assert "first new token of" in result.heads.attribute_note.values[0]
    assert any("Italy Unheard" in note for note in result.provenance["notes"])


def test_nothing_is_left_in_grad_mode(tiny: fv.FactModel) -> None:
    before = torch.is_grad_enabled()
    traced = fv.trace(tiny, fv.Fact("w5 w6", "w5", "w7"))
    assert fv.attribute_logits(traced).residual_error < 1e-5
    assert traced.logits.requires_grad is False
    assert torch.is_grad_enabled() == before


def test_the_bias_without_its_owner_does_not_add_up(
    tiny: fv.FactModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that forgets a part is refused by name, with the error and the tolerance."""
    traced = fv.trace(tiny, fv.Fact("w5 w6", "w5", "w7"))
    from factviz.analysis import directions

    monkeypatch.setattr(directions, "linear_bias", lambda _: None)
    with pytest.raises(fv.FactvizError, match=r"GPT2LMHeadModel.* miss .* the tolerance is"):
        fv.attribute_logits(traced)


def test_a_multiplier_nobody_knows_is_refused() -> None:
    model = fv.load_model(tiny_model("granite"), tokenizer=tiny_tokenizer())
    object.__setattr__(model.geometry, "residual_multiplier", 1.0)
    with pytest.raises(fv.FactvizError, match=r"GraniteForCausalLM.*miss the centred logit"):
        fv.attribute_logits(fv.trace(model, fv.Fact("w5 w6", "w5", "w7")))
    object.__setattr__(model.geometry, "logit_multiplier", 1.0)
    with pytest.raises(fv.FactvizError, match="not what its unembedding gives"):
        fv.trace(model, fv.Fact("w5 w6", "w5", "w7"))


def test_logits_that_are_not_numbers() -> None:
    plain = tiny_model("llama")
    with torch.no_grad():
        plain.lm_head.weight[3] = float("nan")
    model = fv.load_model(plain, tokenizer=tiny_tokenizer())
    with pytest.raises(fv.FactvizError, match="not finite"):
        fv.attribute_logits(fv.trace(model, fv.Fact("w5 w6", "w5", "w7")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"value_bias": "half"}, "'half' is unknown"),
        ({"attributes": []}, "no attributes"),
        ({"attributes": [61]}, "61 is not in the vocabulary"),
        ({"attributes": [" "]}, "empty"),
    ],
)
def test_bad_arguments(tiny: fv.FactModel, options: dict[str, Any], said: str) -> None:
    traced = fv.trace(tiny, fv.Fact("w5 w6", "w5", "w7"))
    with pytest.raises(fv.FactvizError, match=said):
        fv.attribute_logits(traced, **options)


def test_the_vocabulary_mean_is_taken_once(
    tiny: fv.FactModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factviz.models import factmodel

    traced = fv.trace(tiny, fv.Fact("w5 w6", "w5", "w7"))
    first = fv.attribute_logits(traced)
    monkeypatch.setattr(factmodel, "vocabulary_mean", lambda *_: 1 / 0)
    assert (fv.attribute_logits(traced).heads.values == first.heads.values).all()


def test_half_precision_means_are_summed_in_float32() -> None:
    weight = torch.full((70_000, 4), 1.5, dtype=torch.bfloat16)
    mean = geometry.vocabulary_mean(weight, torch.float32)
    assert mean.dtype == torch.float32
    assert mean.tolist() == [1.5] * 4
