from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import factviz
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from tests.families import tiny_model, tiny_tokenizer

FACTS = [
    Fact("w50 w6 w7 w9", "w6", "w11", relation="r", same_subject=("w12", "w13")),
    Fact("w21 w22 w23", "w21 w22", "w33", relation="r"),
]


def tiny(family: str, dtype: torch.dtype = torch.float64):
    model = tiny_model(family, dtype=dtype)
    return factviz.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


def by_hand(model, layer, head, token):
    """Row `token` of E · W_V W_O · W_U from the transformers module's own weights (Llama-like)."""
    inner = model.network
    block = inner.model.layers[layer].self_attn
    weight = {
        name: getattr(block, f"{name}_proj").weight.detach().double() for name in ("q", "v", "o")
    }
    width = weight["o"].shape[1] // 4
    group = head // (4 * width // len(weight["v"]))
    value = weight["v"][group * width : (group + 1) * width]
    output = weight["o"][:, head * width : (head + 1) * width]
    embedding = inner.get_input_embeddings().weight.detach().double()
    unembedding = inner.lm_head.weight.detach().double()
    assert not torch.equal(embedding, unembedding)
    return (embedding[token] @ value.T @ output.T) @ unembedding.T


def test_expected_map(shared):
    expected = json.loads((shared / "expected" / "expected.json").read_text())
    expected = expected["head_vocabulary_map"]
    for dtype in ("float64", "float32"):
        model = factviz.load_model(shared / "expected" / "model", dtype=dtype)
        for layer in range(4):
            for head in range(4):
                found = factviz.head_vocabulary(model, layer, head, expected["token"], k=5)
                ids = found.dataset["mapped_id"].values[0].tolist()
                assert ids == expected["top5"][layer][head]


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_grouped_values_and_untied_embeddings_by_hand(family):
    model = tiny(family)
    for layer, head in ((0, 0), (1, 1), (1, 2), (2, 3)):
        row = by_hand(model, layer, head, 7)
        found = factviz.head_vocabulary(model, layer, head, 7, k=61)
        top = row.sort(descending=True)
        np.testing.assert_allclose(found.scores.values[0], top.values.numpy(), atol=1e-12)
        assert found.dataset["mapped_id"].values[0].tolist() == top.indices.tolist()


def test_a_map_written_out():
    """Identity-like weights: head 0 sends token t's embedding to itself, head 1 to nothing."""
    model = tiny("llama")
    inner = model.network
    with torch.no_grad():
        embedding = inner.get_input_embeddings().weight
        embedding.zero_()
        embedding[:32] = torch.eye(32, dtype=embedding.dtype)
        inner.lm_head.weight.zero_()
        for t in range(32):  # dimension t is read as token 31 - t
            inner.lm_head.weight[31 - t, t] = 2.0
        block = inner.model.layers[0].self_attn
        block.v_proj.weight.zero_()
        block.o_proj.weight.zero_()
        for d in range(8):
            block.v_proj.weight[d, d] = 1.0
            block.o_proj.weight[d, d] = 3.0
    found = factviz.head_vocabulary(model, 0, 0, [0, 5, 9], k=1)
    assert found.dataset["mapped_id"].values[:2, 0].tolist() == [31, 26]
    assert found.scores.values[:, 0].tolist() == [6.0, 6.0, 0.0]
    # Heads 0 and 1 share their values, not their output map.
    assert factviz.head_vocabulary(model, 0, 1, [0, 5], k=1).scores.values.ravel().tolist() == [
        0.0,
        0.0,
    ]


def test_the_table():
    found = factviz.head_vocabulary(tiny("gpt2"), 1, 2, ["w5", "w6"], k=3)
    frame = found.to_frame()
    assert list(frame.columns[:6]) == ["layer", "head", "token", "rank", "mapped", "score"]
    assert len(frame) == 6 and frame["rank"].tolist() == [1, 2, 3] * 2
    assert set(frame["layer"]) == {1} and set(frame["head"]) == {2}
    assert (frame.groupby("token")["score"].diff().dropna() <= 0).all()
    assert "output embedding, no layer norm; rows: raw input embedding" in repr(found)
    said = factviz.head_vocabulary(tiny("gemma2"), 0, 0, 3).provenance
    assert any("norm behind the attention" in note for note in said["notes"])


@pytest.mark.parametrize(
    ("layer", "head", "tokens", "words"),
    [
        (3, 0, "w5", "layer 3"),
        (-1, 0, "w5", "layer -1"),
        (0, 4, "w5", "heads 0 to 3"),
        (0, 0, [], "no tokens"),
        (0, 0, " ", "empty"),
        (0, 0, "w99", "'w99' is not in"),
        (0, 0, "w5 w6", "2 tokens"),
        (0, 0, 61, "0 to 60"),
    ],
)
def test_what_is_not_there_is_refused(layer, head, tokens, words):
    with pytest.raises(FactvizError, match=words):
        factviz.head_vocabulary(tiny("gpt2"), layer, head, tokens)


def test_k_and_nan():
    model = tiny("gpt2")
    with pytest.raises(FactvizError, match="k=0"):
        factviz.head_vocabulary(model, 0, 0, "w5", k=0)
    with torch.no_grad():
        model.geometry.layers[0].output.original_component.weight.fill_(torch.nan)
    with pytest.raises(FactvizError, match="not finite"):
        factviz.head_vocabulary(model, 0, 0, "w5")


def test_words_with_their_space_and_a_subject(mini):
    found = factviz.head_vocabulary(mini, 1, 1, ["Italy"])
    assert found.dataset["token_text"].values.tolist() == [" Italy"]
    fact = factviz.Fact.from_template("Fact: {subject} is in", "The Colosseum", "Italy")
    texts = factviz.head_vocabulary(mini, 1, 1, fact).dataset["token_text"].values
    assert "".join(texts) == " The Colosseum"
    last = factviz.Fact("The capital of Japan", "Japan", "Tokyo")
    assert factviz.head_vocabulary(mini, 1, 1, last).dataset["token_text"].values == [" Japan"]
    with pytest.raises(FactvizError, match="4 tokens, and a head maps one"):
        factviz.head_vocabulary(mini, 1, 1, "Colosseum")


def test_hub_map_by_hand():
    model = tiny("llama")
    k = 3
    found = factviz.map_hubs(model, FACTS, k=k)
    tokens, attributes = [[6], [21, 22]], [{11, 12, 13}, {33}]
    for layer in range(3):
        for head in range(4):
            tops = {t: set(by_hand(model, layer, head, t).topk(k).indices.tolist())
                    for t in (6, 21, 22)}  # fmt: skip
            expected = [any(tops[t] & attributes[s] for t in tokens[s]) for s in range(len(tokens))]
            assert found.dataset["hits"].values[:, layer, head].tolist() == expected
            assert float(found.share[layer, head]) == np.mean(expected)
    # All other tokens are the pool: the control is exact.
    pool = [i for i in range(1, 61) if i not in (6, 21, 22)]
    tops = [set(by_hand(model, 2, 1, t).topk(k).indices.tolist()) for t in pool]
    rates = [np.mean([bool(top & words) for top in tops]) for words in attributes]
    expected = np.mean([rates[0], 1 - (1 - rates[1]) ** 2])
    assert float(found.control[2, 1]) == pytest.approx(expected, abs=1e-6)
    layers = found.dataset["hits"].values.any(2).mean(0)
    np.testing.assert_allclose(found.prevalence.values, layers)


def test_hub_map_bad_input():
    model = tiny("llama")
    for options in ({"k": 0}, {"n_random": 0}):
        with pytest.raises(FactvizError, match="too few"):
            factviz.map_hubs(model, FACTS, **options)


def test_hub_map_on_mini_some_heads_stand_out(mini):
    facts = factviz.FactSet.builtin().select(relation="landmark_country")[:60]
    found = factviz.map_hubs(mini, facts)
    frame = found.to_frame()
    best = frame.sort_values("above").iloc[-1]
    assert best["hub"] and best["above"] > 0.3
    assert len(frame) == 48 and ((frame["share"] >= 0) & (frame["share"] <= 1)).all()
    assert (frame["low"] <= frame["share"]).all() and (frame["share"] <= frame["high"]).all()
    assert "heads most above random tokens" in repr(found)
    again = factviz.map_hubs(mini, facts)
    assert again.dataset.identical(found.dataset)
