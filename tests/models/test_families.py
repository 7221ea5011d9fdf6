"""What must hold for every family: exact parts, the plain model's logits, nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import factviz as fv
from factviz.models.geometry import constant_values
from tests.families import FAMILIES, MORE_FAMILIES, tiny_model, tiny_tokenizer

ATTRIBUTES = [3, 4, 50]
FACTS = [
    fv.Fact("w5 w6 w7 w8 w9 w10 w11 w12", "w6 w7", "w20", same_relation=("w21", "w22")),
    fv.Fact("w9 w8 w4", "w8", "w21"),
    fv.Fact("w33 w5 w12 w40 w22", "w5", "w23", same_subject=("w1",)),
]


class Case:
    """A family's plain model, and the same loaded."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.plain = tiny_model(family)
        self.before = _state(self.plain)
        self.model = fv.load_model(self.plain, tokenizer=tiny_tokenizer(), prepend_bos=True)
        self.trace = fv.trace(self.model, FACTS)


def _state(model: Any) -> dict[str, Any]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modules": {name: (type(part), part.training) for name, part in model.named_modules()},
        "hooks": [
            name for name, part in model.named_modules()
            if part._forward_hooks or part._forward_pre_hooks
        ],
        "own": {name: set(vars(part)) for name, part in model.named_modules()},
        "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
    }  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES | MORE_FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("mode", ["out", "in"])
def test_parts_add_up_to_the_models_own_logit(case: Case, mode: Any) -> None:
    result = fv.attribute_logits(case.trace, ATTRIBUTES, value_bias=mode)
    parts = (
        result.heads.sum(["layer", "head", "source"])
        + result.mlps.sum("layer")
        + result.embedding
        + result.bias
    )
    assert float(abs(parts - result.logits).max()) < 1e-4
    assert result.residual_error < 1e-4
    # Every part has something to say, or the sum would not notice that it is missing.
    for part in (result.heads, result.mlps, result.embedding):
        assert float(abs(part).max()) > 1e-2
    without_any = {"mistral", "gemma2", "olmo2", *MORE_FAMILIES} | (
        {"qwen2"} if mode == "in" else set()
    )
    assert (float(abs(result.bias).max()) > 1e-2) == (case.family not in without_any)


@torch.inference_mode()
def test_logits_are_plain_hugging_faces(case: Case) -> None:
    for fact, tokens in enumerate(case.trace.tokens):
        plain = case.plain(input_ids=torch.tensor([tokens.ids])).logits[0, -1]
        shown = case.model.predict(FACTS[fact], k=1000).set_index("token_id")["logit"].sort_index()
        np.testing.assert_allclose(shown, plain, atol=1e-5, rtol=0)
        if not case.model.geometry.soft_cap:  # the trace keeps what is before the cap
            np.testing.assert_allclose(case.trace.logits[fact], plain, atol=1e-5, rtol=0)


def test_centred_logits_are_plain_hugging_faces(case: Case) -> None:
    result = fv.attribute_logits(case.trace, ATTRIBUTES)
    cap = getattr(case.plain.config, "final_logit_softcapping", None)
    with torch.inference_mode():
        for fact, tokens in enumerate(case.trace.tokens):
            plain = case.plain(input_ids=torch.tensor([tokens.ids])).logits[0, -1].double()
            if cap:
                plain = torch.atanh(plain / cap) * cap
            wanted = (plain - plain.mean())[ATTRIBUTES]
            np.testing.assert_allclose(result.logits[fact], wanted, atol=2e-5, rtol=0)
    assert ("soft-cap" in result.provenance["target"]) == bool(cap)


def test_a_batch_gives_each_fact_what_it_gets_alone(case: Case) -> None:
    together = fv.attribute_logits(case.trace, ATTRIBUTES)
    for fact, tokens in enumerate(case.trace.tokens):
        alone = fv.attribute_logits(fv.trace(case.model, FACTS[fact]), ATTRIBUTES)
        batched = together.heads.isel(fact=fact)
        np.testing.assert_allclose(batched[..., : len(tokens)], alone.heads, atol=1e-6, rtol=0)
        assert np.isnan(batched[..., len(tokens) :]).all()
        np.testing.assert_allclose(together.bias[fact], alone.bias, atol=1e-6, rtol=0)


def test_groups_partition_the_sum(case: Case) -> None:
    result = fv.attribute_logits(case.trace, ATTRIBUTES)
    np.testing.assert_allclose(
        result.by_group().sum("group"), result.heads.sum("source"), atol=1e-6, rtol=0
    )


def test_your_own_model_is_bit_identical(case: Case) -> None:
    fv.attribute_logits(case.trace, ATTRIBUTES)
    after = _state(case.plain)
    for name, tensor in case.before.pop("tensors", after["tensors"]).items():
        assert torch.equal(tensor, after["tensors"][name]), name
    del after["tensors"]
    assert {key: case.before[key] for key in after} == after


def test_no_hook_stays_on_the_loaded_model(case: Case) -> None:
    def hooks() -> list[tuple[str, int]]:
        return [
            (name, len(part._forward_hooks) + len(part._forward_pre_hooks))
            for name, part in case.model.network.named_modules()
        ]

    before = hooks()
    fv.trace(case.model, FACTS)
    case.model.predict(FACTS[0])
    assert hooks() == before


def test_the_shared_part_of_values_is_their_value_at_a_constant_input(case: Case) -> None:
    """A LayerNorm maps a constant vector to its bias: W_V then gives β₁·W_V + b_V, and no more."""
    geometry = case.model.geometry
    with torch.inference_mode():
        for layer in geometry.layers:
            if layer.before is None or geometry.norm(layer.before).bias is None:
                continue
            ones = torch.ones(1, geometry.width)
            plain = layer.value.original_component(layer.before.original_component(ones))[0]
            np.testing.assert_allclose(constant_values(geometry, layer), plain, atol=1e-6)


def test_which_families_begin_with_bos() -> None:
    conventions = {
        family: fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer()).bos_id
        for family in ("gpt2", "llama", "qwen2", "neox-parallel")
    }
    assert conventions == {"gpt2": 0, "llama": 0, "qwen2": None, "neox-parallel": None}


def test_bos_is_the_users_choice(tiny: PreTrainedTokenizerFast) -> None:
    plain = tiny_model("neox-parallel")
    asked = fv.load_model(plain, tokenizer=tiny, prepend_bos=True)
    assert fv.trace(asked, FACTS[0]).tokens[0].ids[0] == 0
    without = fv.load_model(tiny_model("gpt2"), tokenizer=tiny, prepend_bos=False)
    assert fv.trace(without, FACTS[0]).tokens[0].ids[0] == 5


@pytest.fixture
def tiny() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_float64_is_more_exact(family: str) -> None:
    plain = tiny_model(family, dtype=torch.float64)
    model = fv.load_model(plain, tokenizer=tiny_tokenizer())
    result = fv.attribute_logits(fv.trace(model, FACTS), ATTRIBUTES)
    assert result.heads.dtype == np.float64
    # Some families compute their norms in float32, whatever the model's dtype.
    assert result.residual_error < (1e-12 if family == "gpt2" else 1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_half_precision_gives_float32_numbers(family: str) -> None:
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), dtype="bfloat16")
    result = fv.attribute_logits(fv.trace(model, FACTS), ATTRIBUTES)
    assert result.heads.dtype == np.float32
    assert 1e-5 < result.residual_error < 0.5
    assert result.provenance["dtype"] == "bfloat16"
