from __future__ import annotations

import numpy as np
import pytest
import torch

import factviz
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from tests.families import tiny_model, tiny_tokenizer

FACTS = [
    Fact("w50 w6 w7 w9", "w6", "w11", relation="r", same_subject=("w12", "w13")),
    Fact("w21 w22", "w21", "w33", relation="r"),
]


def tiny(family: str, dtype: torch.dtype = torch.float64):
    model = tiny_model(family, dtype=dtype)
    return factviz.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


def hidden_states(model, ids):
    """What transformers itself returns: the last one is behind the final norm."""
    with torch.no_grad():
        output = model.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return [state[0] for state in output.hidden_states], output.logits[0]


@torch.no_grad()
def test_gpt2_by_hand():
    model = tiny("gpt2")
    found = factviz.lens(factviz.trace(model, FACTS))
    states, final = hidden_states(model, model.tokenize(FACTS[0]).ids)
    network = model.network
    norm = network.transformer.ln_f.original_component
    for layer in range(-1, 2):
        logits = norm(states[layer + 1]) @ network.lm_head.weight.T
        mine = found.logits.sel(fact=0, attribute=0, layer=layer).values[:5]
        expected = logits[:, 11] - logits.mean(-1)
        np.testing.assert_allclose(mine, expected.detach().numpy(), atol=1e-12)
        ranks = (logits > logits[:, 11:12]).sum(-1) + 1
        np.testing.assert_array_equal(
            found.ranks.sel(fact=0, attribute=0, layer=layer).values[:5], ranks.numpy()
        )
        tops = [f"w{i}" if i else "<|endoftext|>" for i in logits.argmax(-1).tolist()]
        assert found.top.sel(fact=0, layer=layer).values[:5].tolist() == tops
        probability = logits.softmax(-1)[:, 11].detach().numpy()
        np.testing.assert_allclose(
            found.probabilities.sel(fact=0, attribute=0, layer=layer).values[:5],
            probability,
            atol=1e-12,
        )
    np.testing.assert_allclose(
        found.logits.sel(fact=0, attribute=0, layer=2).values[:5],
        (final[:, 11] - final.mean(-1)).numpy(),
        atol=1e-12,
    )


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "neox-parallel", "opt", "olmo2"])
def test_the_last_layer_gives_the_logits_of_the_trace(family):
    model = tiny(family)
    trace = factviz.trace(model, FACTS)
    found = factviz.lens(trace)
    for fact, token in enumerate((11, 33)):
        end = len(trace.tokens[fact]) - 1
        logits = trace.logits[fact]
        mine = found.logits.values[fact, 0, -1, end]
        assert mine == pytest.approx(float(logits[token] - logits.mean()), abs=1e-5)
        p = model.predict(FACTS[fact], k=61).set_index("token_id")["probability"]
        assert found.probabilities.values[fact, 0, -1, end] == pytest.approx(p[token], abs=1e-5)


def test_padding_is_not_a_number_and_not_in_the_table():
    found = factviz.lens(factviz.trace(tiny("gpt2"), FACTS), ["w11", "w12"])
    assert found.logits.dims == ("fact", "attribute", "layer", "position")
    assert np.isnan(found.logits.values[1, :, :, 3:]).all()
    assert (found.ranks.values[1, :, :, 3:] == -1).all()
    frame = found.to_frame()
    assert list(frame.columns[:4]) == ["layer", "position", "token", "value"]
    assert len(frame) == (5 + 3) * 4 * 2 and not frame["value"].isna().any()
    assert set(frame["role"]) == {"answer", "same_subject", "given"}
    assert factviz.lens(factviz.trace(tiny("gpt2"), FACTS[0])).logits.dims[0] == "attribute"


def test_rank_at_a_position():
    found = factviz.lens(factviz.trace(tiny("gpt2"), FACTS))
    ranks = found.rank_at("subject")
    assert ranks.dims == ("fact", "layer")
    np.testing.assert_array_equal(ranks.values[0], found.ranks.values[0, 0, :, 2])
    for bad in ("nowhere", "prefix"):
        with pytest.raises(FactvizError, match=bad):
            found.rank_at(bad)
    with pytest.raises(FactvizError, match="attribute 3"):
        found.rank_at("end", 3)


def test_provenance_says_how_states_were_read():
    said = factviz.lens(factviz.trace(tiny("gemma2"), FACTS[0])).provenance
    assert said["layer_norm"] == "recomputed" and "soft-cap of 3" in said["target"]
    assert said["kind"] == "LogitLens" and said["model"] == "gemma2" and said["weight_hash"]
    assert said["prompt_tokens"] == [["<|endoftext|>", "w50", " w6", " w7", " w9"]]


def test_weights_changed_since_the_trace_are_noticed():
    model = tiny("gpt2")
    trace = factviz.trace(model, FACTS[0])
    with torch.no_grad():
        model.geometry.layers[0].mlp.out.original_component.weight.mul_(3)
    with pytest.raises(FactvizError, match="changed since the trace"):
        factviz.lens(trace)


def test_an_id_outside_the_vocabulary_is_refused():
    with pytest.raises(FactvizError, match="99"):
        factviz.lens(factviz.trace(tiny("gpt2"), FACTS[0]), [99])


def test_on_mini_the_answer_comes_up_at_end(mini):
    # From the whole table: neighbours share a country, which " of" may name before any layer.
    facts = factviz.FactSet.builtin().select(relation="landmark_country")[::13]
    ranks = factviz.lens(factviz.trace(mini, facts)).rank_at("end").values
    median = np.median(ranks, axis=0)
    assert median[0] > 50 and median[-1] == 1
    assert "rank" in repr(factviz.lens(factviz.trace(mini, facts[0])))
