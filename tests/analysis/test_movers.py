"""Heads that read the topic and write it: planted, absent, and by brute force on every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.models.geometry import linear_weight
from tests.analysis import planted_heads as planted
from tests.families import FAMILIES, MORE_FAMILIES, VOCABULARY, tiny_model, tiny_tokenizer

FACTS = [
    fv.Fact("w5 w17 w33 w8 w41", "w17 w33", "w11", relation="r", same_relation=("w12", "w13")),
    fv.Fact("w5 w18 w34 w9 w41", "w18 w34", "w12", relation="r", same_relation=("w11", "w13")),
    fv.Fact("w5 w19 w8 w41", "w19", "w13", relation="r", same_relation=("w11", "w12")),
    fv.Fact("w20 w7 w6", "w20", "w14", relation="q"),
]


@pytest.fixture(scope="module")
def model() -> fv.FactModel:
    return planted.mover()


@pytest.fixture(scope="module")
def result(model: fv.FactModel) -> fv.MoverHeads:
    return fv.find_movers(model, planted.facts())


def test_the_planted_mover_is_found_and_its_numbers_are_those_worked_out(
    result: fv.MoverHeads,
) -> None:
    assert result.movers == [(0, 0)]
    seen = np.array([planted.attention(s) for s in planted.SUBJECTS])
    data = result.dataset.isel(layer=0)
    np.testing.assert_allclose(data["attention"].sel(group="topic").isel(head=0), seen, atol=2e-4)
    # Uniform: one of three tokens.
    np.testing.assert_allclose(data["attention"].sel(group="topic").isel(head=1), 1 / 3, atol=1e-6)
    written = planted.SIZE * seen
    own = data["write"].isel(head=0)
    np.testing.assert_allclose(
        own.sel(direction="topic"), written * (1 - 1 / VOCABULARY), atol=2e-3
    )
    np.testing.assert_allclose(own.sel(direction="other topics"), -written / VOCABULARY, atol=1e-3)
    np.testing.assert_allclose(own.sel(direction="answer"), -written / VOCABULARY, atol=1e-3)
    # ‖v W_O‖ is that of one token written at its full size.
    np.testing.assert_allclose(data["weighted"].sel(group="topic").isel(head=0), written, atol=2e-3)
    frame = result.to_frame()
    assert list(frame.columns[:6]) == ["component", "layer", "head", "effect", "low", "high"]
    assert frame.loc[0, "effect"] == pytest.approx((written * 60 / 61).mean(), abs=2e-3)
    assert frame.loc[0, "low"] < frame.loc[0, "effect"] < frame.loc[0, "high"]
    assert frame.loc[0, "r_topic"] == pytest.approx(1, abs=1e-6)
    assert frame.loc[0, "p_corrected"] == pytest.approx(1 / 1001)
    assert frame["copying"].tolist() == [1, 0] and frame["copying_read"].tolist() == [1, 0]
    assert frame["directions"].tolist() == [2, 0]


def test_attention_that_does_not_vary_goes_with_nothing(result: fv.MoverHeads) -> None:
    row = result.to_frame().loc[1]
    assert np.isnan(row["r_topic"]) and np.isnan(row["r_answer"]) and np.isnan(row["p"])
    assert not row["mover"] and row["write_answer"] > 2


def test_by_the_answer_another_head_could_be_one(model: fv.FactModel) -> None:
    """A head that lowers one token lifts all others, the topic's too, and moves nothing."""
    assert fv.find_movers(model, planted.facts(), written="answer").movers == []
    both = planted.suppressor()  # its head 0 writes the answer by its attention
    assert fv.find_movers(both, planted.facts(), written="answer").movers == [(0, 0)]
    assert fv.find_movers(both, planted.facts()).movers == []


def test_stricter_rules_find_less(model: fv.FactModel) -> None:
    for options in ({"min_attention": 0.9}, {"alpha": 0.0}, {"n_shuffles": 5}):
        assert fv.find_movers(model, planted.facts(), **options).movers == []
    assert fv.find_movers(model, planted.facts(), min_copying=1.0).movers == [(0, 0)]


def test_halves_share_no_subject_and_order_does_not_matter(model: fv.FactModel) -> None:
    facts = planted.facts()
    found = fv.find_movers(model, facts, n_boot=20, n_shuffles=50)
    back = fv.find_movers(model, facts[::-1], n_boot=20, n_shuffles=50)
    np.testing.assert_allclose(
        found.dataset["mean"].sel(sample="first"), back.dataset["mean"].sel(sample="first"),
        atol=1e-6,
    )  # fmt: skip


def test_one_topic_token_for_all_is_said(model: fv.FactModel) -> None:
    facts = [
        fv.Fact.from_template("{subject} w42", f"w{i} w3", "w23", relation="r")
        for i in (1, 2, 4, 5, 6)
    ]
    found = fv.find_movers(model, facts, n_boot=20, n_shuffles=20)
    assert found.movers == [] and np.isnan(found.correlation.values).all()
    assert any("is undefined" in note for note in found.provenance["notes"])
    assert "undefined" in repr(found)
    assert any("several tokens" in note for note in found.provenance["notes"])


def test_a_topic_may_be_another_word_than_the_subject(model: fv.FactModel) -> None:
    facts = [
        fv.Fact(f"w50 w{s} w{s + 20} w42", "w50 ", "w9", topic=f"w{s} w{s + 20}", relation="r")
        if s % 2 == 0
        else fv.Fact(f"w51 w{s} w42", "w51", "w9", topic=f"w{s}", relation="r")
        for s in range(1, 7)
    ]
    found = fv.find_movers(model, [f.replace(subject=f.subject.strip()) for f in facts],
                           n_boot=20, n_shuffles=20)  # fmt: skip
    assert found.dataset["topic_token"].values.tolist() == ["w1", "w22", "w3", "w24", "w5", "w26"]
    # Head 1 attends to all alike: a topic of two tokens has twice the mass.
    mass = found.dataset["attention"].sel(group="topic").values[:, 0, 1]
    np.testing.assert_allclose(mass, [1 / 4, 2 / 5] * 3, atol=1e-6)
    total = found.dataset["attention"].sum("group").values
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("family", [*FAMILIES, *MORE_FAMILIES])
def test_writes_are_those_of_the_attribution(family: str) -> None:
    """The final norm's scale times what attribution gives, in every family; Σ groups is all."""
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)
    found = fv.find_movers(model, FACTS, n_boot=5, n_shuffles=5).dataset
    traced = fv.trace(model, FACTS)
    whole = fv.attribute_logits(traced, value_bias="in").heads.sum("source")
    wanted = whole.isel(attribute=0).values * traced.final_scale.numpy()[:, None, None]
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(
        found["write"].sel(direction="answer"), wanted, atol=2e-5 * max(1, scale)
    )
    own = fv.attribute_logits(fv.trace(model, FACTS[2]), ["w19", "w33", "w34"], value_bias="in")
    heads = own.heads.sum("source") * float(traced.final_scale[2])
    written = found["write"].isel(fact=2)
    np.testing.assert_allclose(written.sel(direction="topic"), heads[0], atol=2e-5 * max(1, scale))
    np.testing.assert_allclose(
        written.sel(direction="other topics"), heads[1:].mean("attribute"),
        atol=2e-5 * max(1, scale),
    )  # fmt: skip
    np.testing.assert_allclose(found["attention"].sum("group"), 1, atol=1e-5)
    assert np.isnan(found["write"].sel(direction="other answers").values[3]).all()


@pytest.mark.parametrize("family", ["gpt2", "llama", "olmo2", "granite"])
def test_lengths_of_writes_by_brute_force(family: str) -> None:
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)
    found = fv.find_movers(model, FACTS, n_boot=5, n_shuffles=5).dataset["weighted"]
    traced = fv.trace(model, FACTS)
    for layer, parts in enumerate(model.geometry.layers):
        weight = linear_weight(parts.output)
        width = weight.shape[1] // model.n_heads
        for head in range(model.n_heads):
            values = traced.values[layer]
            own = values[:, :, head * values.shape[2] // model.n_heads]
            written = own @ weight[:, head * width : (head + 1) * width].T
            if parts.attention_post is not None:
                written = model.geometry.norm(parts.attention_post).push(written)
                written = written / traced.attention_scale[:, layer, None, None]
            length = written.norm(dim=-1) * model.geometry.residual_multiplier
            whole = (traced.pattern[:, layer, head] * length).sum(-1)
            np.testing.assert_allclose(found.sum("group").values[:, layer, head], whole, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_attention": 1.5}, r"min_attention=1.5 .*0 to 1"),
        ({"alpha": -0.1}, r"alpha=-0.1"),
        ({"written": "prompt"}, r"written='prompt' is unknown"),
        ({"k": 0}, r"k=0 is too few"),
        ({"n_shuffles": 0}, r"n_shuffles=0"),
    ],
)
def test_bad_parameters(model: fv.FactModel, options: dict[str, object], words: str) -> None:
    with pytest.raises(fv.FactvizError, match=words):
        fv.find_movers(model, planted.facts(), **options)


def test_one_subject_cannot_be_split(model: fv.FactModel) -> None:
    with pytest.raises(fv.FactvizError, match=r"1 subject .* can't be halved"):
        fv.find_movers(model, planted.facts()[:1])


def test_activations_that_are_not_finite_are_refused() -> None:
    plain = tiny_model("gpt2")
    with torch.no_grad():
        plain.transformer.h[2].mlp.c_proj.bias[0] = float("inf")
    model = fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
    for search in (fv.find_movers, fv.find_suppressors):
        with pytest.raises(fv.FactvizError, match=r"not finite|NaN or infin"):
            search(model, FACTS)
    with pytest.raises(fv.FactvizError, match="NaN or infin"):
        fv.mitigate(model, FACTS, [0.5], components=["L2H1"])


def test_no_mover_is_an_answer_on_the_embedded_model() -> None:
    """The paper's task: no head copies the country, but some write the capital by their attention.

    (Of several tokens, countries are not what the model was trained to say.)
    """
    model = fv.load_model("mini-gpt2")
    facts = fv.FactSet.builtin().select(relation="country_capital")
    found = fv.find_movers(model, facts, n_shuffles=200)
    assert found.movers == [] and "no mover found" in repr(found)
    frame = found.to_frame()
    assert (frame["copying_read"] < 0.5).all()
    # Heads that read the topic there are, and they write the answer.
    assert ((frame["attention_low"] > 0.5) & (frame["answer_dla_low"] > 0)).sum() >= 3
    by_answer = fv.find_movers(model, facts, n_shuffles=200, written="answer")
    assert len(by_answer.movers) >= 3 and by_answer.written == "answer"
    assert "r with the write of the answer" in repr(by_answer)
