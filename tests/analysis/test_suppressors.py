"""What holds the answer back: planted, absent, and by brute force on every family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.analysis import contrast_ablation
from tests.analysis import planted_heads as planted
from tests.families import FAMILIES, tiny_model, tiny_tokenizer

FACTS = [
    fv.Fact("w5 w17 w33 w8 w41", "w17 w33", "w11", relation="r", same_relation=("w12", "w13")),
    fv.Fact("w5 w18 w34 w9 w41", "w18 w34", "w12", relation="r", same_relation=("w11", "w13")),
    fv.Fact("w5 w19 w8 w41", "w19", "w13", relation="q", same_relation=("w14",)),
]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return planted.suppressor()


@pytest.fixture(scope="module")
def result(model: fv.FactModel) -> fv.Suppressors:
    return fv.find_suppressors(model, planted.facts())


def test_the_planted_suppressor_is_found_and_its_numbers_are_those_worked_out(
    result: fv.Suppressors,
) -> None:
    assert result.components == ["L0H1"]
    data = result.dataset
    assert data["part"].values.tolist() == ["L0H0", "L0H1", "MLP 0"]
    for fact, subject in enumerate(planted.SUBJECTS):
        seen = planted.SIZE * planted.attention(subject)
        end = np.array([1.0, seen * (1 - planted.HELD_BACK)])
        scale = np.sqrt((end**2).sum() / planted.WIDTH)
        wanted = [seen / scale, -planted.HELD_BACK * seen / scale, 0]
        np.testing.assert_allclose(data["effect"][fact], wanted, atol=5e-3)
        logits = planted.logits_with_gain(subject, 1.0)
        own = planted.softmax(logits)[planted.ANSWERS[subject]]
        assert float(data["probability"][fact]) == pytest.approx(own, abs=1e-4)
        others = [a for s, a in planted.ANSWERS.items() if s != subject]
        contrast = logits[planted.ANSWERS[subject]] - logits[others].mean()
        assert float(data["contrast"][fact]) == pytest.approx(contrast, abs=2e-3)


def test_mean_ablation_by_hand(result: fv.Suppressors) -> None:
    """In place of head 1's own output stands the mean over facts: a 16th of each answer's."""
    subjects = planted.SUBJECTS
    sizes = planted.SIZE * np.array([planted.attention(s) for s in subjects])
    mean = -planted.HELD_BACK * sizes / len(subjects)
    for fact in (0, 7, 15):
        state = mean.copy()  # of the answers, in order
        state[fact] += sizes[fact]
        scale = np.sqrt((1 + (state**2).sum()) / planted.WIDTH)
        found = (state[fact] - np.delete(state, fact).mean()) / scale
        change = found - float(result.dataset["contrast"][fact])
        assert float(result.dataset["ablation"][fact, 1]) == pytest.approx(change, abs=5e-3)


def test_columns_and_where_it_looks(result: fv.Suppressors) -> None:
    frame = result.to_frame()
    assert list(frame.columns[:6]) == ["component", "layer", "head", "effect", "low", "high"]
    row = frame.set_index(["component", "head"]).loc[("head", 1)]
    assert row["suppressor"] and row["directions"] == 2
    assert row["high"] < 0 and row["correlation_high"] < 0 and row["slope"] < 0
    assert row["ablation_low"] > 0 and row["difference_low"] > 0 and row["control"] < 0
    seen = np.mean([planted.attention(s) for s in planted.SUBJECTS])
    assert row["attention_topic"] == pytest.approx(seen, abs=1e-3)
    mlp = frame.set_index("component").loc["mlp"]
    assert mlp["head"] == -1 and np.isnan(mlp["attention_topic"]) and np.isnan(mlp["control"])
    notes = " ".join(result.provenance["notes"])
    assert "MLP 0 write the same" in notes and "no control" in notes and "undefined" in notes
    tokens = result.tokens().set_index("part").loc["L0H1"]
    answers = {f"w{a}" for a in planted.ANSWERS.values()}
    assert set(tokens["suppressed"].str.strip()) <= answers


def test_a_common_fall_of_all_answers_is_no_suppression() -> None:
    """Head 1 lowers every answer of the relation alike: a falls, a − mean(R) stays."""
    import torch

    plain = planted.one_hot_llama()
    for head in (0, 1):
        planted._look(plain, head)
    planted._write(plain, 0, planted.ANSWERS, 1.0)
    attention = plain.model.layers[0].self_attn
    half = planted.WIDTH // 2
    with torch.no_grad():
        for subject in planted.SUBJECTS:
            attention.v_proj.weight[half, subject] = 1.0
        for answer in planted.ANSWERS.values():
            attention.o_proj.weight[answer, half] = -0.25
    found = fv.find_suppressors(planted._loaded(plain), planted.facts())
    row = found.to_frame().iloc[1]
    assert found.components == [] and abs(row["effect"]) < 1e-4
    assert (found.dataset["answer_effect"][:, 1] < -0.1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_attribution_and_ablation_is_ablate(family: str) -> None:
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)
    weights = model.weight_hash
    found = fv.find_suppressors(model, FACTS, controls=0, n_boot=5).dataset
    last = model.n_layers - 1
    contrast = fv.attribute_logits(fv.trace(model, FACTS)).contrast("same_relation").dataset
    contrast = contrast.isel(attribute=0, layer=last)
    heads = contrast["heads"].sum("source").values
    wanted = np.concatenate([heads, contrast["mlps"].values[:, None]], 1)
    np.testing.assert_allclose(found["effect"], wanted, atol=1e-4)
    plain = fv.ablate(
        model,
        FACTS,
        [*((last, head) for head in range(model.n_heads)), f"mlp {last}"],
        separately=True,
        controls=0,
        allow_idle=True,
    )
    change = plain.change("logit").values[:, 1:]
    np.testing.assert_allclose(found["ablation_answer"], change, atol=1e-4)
    assert np.abs(change).max() > 1e-2 and model.weight_hash == weights
    assert np.isnan(found["control"]).all()


def test_facts_without_others_are_left_out_and_counted(model: fv.FactModel) -> None:
    facts = [*planted.facts(), fv.Fact("w50 w42", "w50", "w51", relation="other")]
    found = fv.find_suppressors(model, facts, n_boot=20)
    assert found.dataset.sizes["fact"] == 16
    assert found.provenance["notes"][0].startswith("1 of 17 facts were excluded")
    with pytest.raises(fv.FactvizError, match="none of the 1 facts has R"):
        fv.find_suppressors(model, facts[-1:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 3}, "layer 3 does not exist"),
        ({"layers": []}, "no layers are named"),
        ({"controls": -1}, "controls=-1"),
        ({"k": 0}, "k=0 is too few"),
    ],
)
def test_bad_parameters(model: fv.FactModel, options: dict[str, Any], words: str) -> None:
    with pytest.raises(fv.FactvizError, match=words):
        fv.find_suppressors(model, planted.facts(), **options)


def test_one_subject_cannot_be_split(model: fv.FactModel) -> None:
    with pytest.raises(fv.FactvizError, match=r"1 subject .* can't be halved"):
        fv.find_suppressors(model, planted.facts()[:1])


def test_an_interrupt_leaves_what_was_finished(
    model: fv.FactModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = contrast_ablation._one

    def stopping(ablated: Any, *rest: Any) -> None:
        if len(ablated) == 12:
            raise KeyboardInterrupt
        own(ablated, *rest)

    weights = model.weight_hash
    monkeypatch.setattr(contrast_ablation, "_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        fv.find_suppressors(model, planted.facts(), n_boot=20)
    found = fv.partial_result()
    assert isinstance(found, fv.Suppressors) and found.dataset.sizes["fact"] == 12
    assert found.provenance["partial"] and model.weight_hash == weights


def test_none_found_on_the_embedded_model() -> None:
    model = fv.load_model("mini-gpt2")
    found = fv.find_suppressors(model, fv.FactSet.builtin()[::60])
    assert found.components == [] and "no suppressor found" in repr(found)
    frame = found.to_frame()
    assert len(frame) == model.n_heads + 1
    # The heads of the last layer that help most hurt most when they are gone.
    best = frame.iloc[int(frame["effect"].to_numpy().argmax())]
    assert best["low"] > 0 and best["ablation_high"] < 0
