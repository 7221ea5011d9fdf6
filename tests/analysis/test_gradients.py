from __future__ import annotations

import numpy as np
import pytest
import torch

import factviz
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.recording import hooks
from tests.families import tiny_model, tiny_tokenizer

FACTS = [Fact("w5 w6 w7 w9", "w6", "w11"), Fact("w11 w12", "w11", "w3")]
FAMILIES = ["gpt2", "neox-parallel", "llama", "gemma2", "granite", "bloom", "opt", "falcon-40b"]


def tiny(family: str, dtype: torch.dtype = torch.float64):
    model = tiny_model(family, dtype=dtype)
    return factviz.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


def scaled(model, layer, position, factor, target):
    """The target with one entering state scaled, by a plain forward pass."""

    def scale(_, args, kwargs):
        state = (args[0] if args else kwargs["hidden_states"]).clone()
        state[:, position] *= factor
        return ((state, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": state})

    ids = torch.tensor([model.tokenize(FACTS[0]).ids])
    with (
        torch.inference_mode(),
        hooks((model.geometry.layers[layer].block, "before", scale)),
    ):
        logits = model.network(input_ids=ids).logits[0, -1].double()
    if target == "probability":
        return float(logits.softmax(-1)[11])
    if cap := model.geometry.soft_cap:
        logits = cap * torch.atanh(logits / cap)
    return float(logits[11] - logits.mean())


@pytest.mark.parametrize("target", ["logit", "probability"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_slope_of_scaling_a_state(family, target):
    model = tiny(family)
    values = factviz.gradients(model, FACTS, target=target).values.values
    step = 1e-2  # several families compute softmax in float32: small steps drown in it
    slopes = np.array(
        [
            [
                scaled(model, layer, at, 1 + step, target)
                - scaled(model, layer, at, 1 - step, target)
                for at in range(5)
            ]
            for layer in range(3)
        ]
    ) / (2 * step)
    largest = np.abs(slopes).max()
    assert largest > 1e-4
    np.testing.assert_allclose(values[0], slopes, atol=5e-3 * largest)


def test_blocks_that_write_nothing_by_hand():
    """Only END's own state matters then; its slope is that of the final norm, epsilon and all."""
    model = tiny("llama")
    with torch.no_grad():
        for layer in model.network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.self_attn.o_proj.bias.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.network.model.norm.variance_epsilon = epsilon = 0.5
    found = factviz.gradients(model, FACTS[0])
    with torch.no_grad():
        state = model.network.get_input_embeddings().weight[9].double()
        weight = model.network.lm_head.weight
        norm = model.network.model.norm
        direction = norm.weight * (weight[11] - weight.mean(0))
        power = state.square().mean()
        # d/ds of s (x · D) / √(s² p + ε) at s = 1
        expected = float(state @ direction * epsilon / (power + epsilon) ** 1.5)
    np.testing.assert_allclose(found.values.values[:, -1], expected, rtol=1e-5)
    assert (found.values.values[:, :-1] == 0).all()
    assert (found.sizes.values[:, :-1] == 0).all() and (found.sizes.values[:, -1] > 0).all()


@pytest.mark.parametrize("flag", [True, False])
def test_nothing_stays_in_the_parameters(flag):
    model = tiny("llama")
    for parameter in model.network.parameters():
        parameter.requires_grad_(flag)
    hashed, training = model.weight_hash, model.network.training
    with torch.inference_mode():
        inside = factviz.gradients(model, FACTS)
    outside = factviz.gradients(model, FACTS)
    np.testing.assert_array_equal(inside.values.values, outside.values.values)
    assert all(p.grad is None and p.requires_grad is flag for p in model.network.parameters())
    assert model.weight_hash == hashed and model.network.training is training


def test_an_own_grad_is_left_alone():
    model = tiny("gpt2")
    parameter = next(model.network.parameters())
    parameter.grad = torch.ones_like(parameter)
    factviz.gradients(model, FACTS)
    assert (parameter.grad == 1).all()


def test_facts_do_not_mix():
    model = tiny("qwen2")
    both = factviz.gradients(model, FACTS)
    for i, fact in enumerate(FACTS):
        alone = factviz.gradients(model, fact)
        width = alone.values.shape[1]
        np.testing.assert_allclose(both.values.values[i, :, :width], alone.values, atol=1e-12)
        assert np.isnan(both.values.values[i, :, width:]).all()
    frame = both.to_frame()
    assert list(frame.columns[:4]) == ["layer", "position", "token", "value"]
    assert len(frame) == 3 * (5 + 3) and not frame["value"].isna().any()


def test_targets():
    model = tiny("gpt2")
    assert factviz.gradients(model, FACTS, target="probability").unit == "probability"
    top = factviz.gradients(model, FACTS, token="top1")
    expected = [model.predict(fact, k=1)["token"][0] for fact in FACTS]
    assert top.dataset["target"].values.tolist() == expected
    assert "top-1" in top.provenance["target"]
    for options in ({"target": "loss"}, {"token": "second"}):
        with pytest.raises(FactvizError, match="is unknown"):
            factviz.gradients(model, FACTS, **options)


def test_weights_of_inference_mode_are_refused():
    with torch.inference_mode():
        model = tiny("gpt2")
    with pytest.raises(FactvizError, match="inference_mode"):
        factviz.gradients(model, FACTS)


def test_nan_is_refused():
    model = tiny("gpt2")
    with torch.no_grad():
        model.geometry.layers[1].output.original_component.weight.fill_(torch.nan)
    with pytest.raises(FactvizError, match="not finite"):
        factviz.gradients(model, FACTS)


def test_on_mini_subject_and_end_matter_most(mini):
    facts = factviz.FactSet.builtin().select(relation="landmark_country")[:20]
    data = factviz.gradients(mini, facts, target="probability").dataset
    groups = data["group"].values
    sizes = data["sizes"].values[:, 1]
    subject = np.nanmean(np.where(groups == "subject", sizes, np.nan))
    prefix = np.nanmean(np.where(groups == "prefix", sizes, np.nan))
    assert subject > 2 * prefix
