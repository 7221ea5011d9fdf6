from __future__ import annotations

import pytest
import torch

import factviz
from factviz.facts.errors import FactvizError
from factviz.models.geometry import linear_bias, linear_weight
from factviz.models.states import batches, mlp_norm, output_map, record_states
from tests.families import FAMILIES, tiny_model, tiny_tokenizer

ROWS = [[0, 5, 6, 7, 9], [0, 11, 12], [0, 4, 8, 3, 2, 1, 33]]


def tiny(family: str, dtype: torch.dtype = torch.float64):
    model = tiny_model(family, dtype=dtype)
    return factviz.load_model(model, tokenizer=tiny_tokenizer(), prepend_bos=True, name=family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_plus_its_updates_is_the_next_state(family):
    found = record_states(tiny(family), ROWS, updates=True)
    step = found.residual[:, 1:] - found.residual[:, :-1]
    for update in (found.attention, found.mlp):
        assert update.abs().amax((0, 2, 3)).min() > 1e-3  # each is really there
    torch.testing.assert_close(step, found.attention + found.mlp, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_times_their_rows_are_the_mlp_update(family):
    model = tiny(family)
    found = record_states(model, ROWS, updates=True, neurons=True)
    for layer, parts in enumerate(model.geometry.layers):
        out = output_map(model, layer)
        made = found.neurons[:, layer] @ linear_weight(out).T
        if (bias := linear_bias(out)) is not None:
            made = made + bias
        if (module := mlp_norm(parts)) is not None:
            norm = model.geometry.norm(module)
            made = made * norm.gain / found.mlp_scale[:, layer, :, None]
        made = made * model.geometry.residual_multiplier
        # RMSNorms compute in float32 whatever the weights are.
        torch.testing.assert_close(made, found.mlp[:, layer], atol=5e-6, rtol=0)


def test_chosen_positions_and_padding():
    model = tiny("gpt2")
    every = record_states(model, ROWS)
    some = record_states(model, ROWS, [[4, 1], [2], [0]])
    assert some.mask.tolist() == [[True, True], [True, False], [True, False]]
    torch.testing.assert_close(some.residual[0, :, 0], every.residual[0, :, 4])
    torch.testing.assert_close(some.residual[0, :, 1], every.residual[0, :, 1])
    torch.testing.assert_close(some.residual[1, :, 0], every.residual[1, :, 2])
    alone = record_states(model, ROWS[1:2])
    torch.testing.assert_close(alone.residual[0], every.residual[1, :, :3])
    torch.testing.assert_close(alone.logits[0], every.logits[1])


def test_a_position_outside_is_refused():
    with pytest.raises(FactvizError, match="position 3 is not in prompt 1"):
        record_states(tiny("gpt2"), ROWS, [[0], [3], [0]])


def test_states_that_are_not_finite_are_refused():
    model = tiny("gpt2")
    with torch.no_grad():
        model.geometry.layers[1].output.original_component.weight.fill_(torch.nan)
    with pytest.raises(FactvizError, match="not finite"):
        record_states(model, ROWS)


def test_nothing_stays_attached():
    model = tiny("llama")
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.network.modules())
    record_states(model, ROWS, updates=True, neurons=True)
    after = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.network.modules())
    assert before == after


def test_batches_keep_their_order_and_size():
    lengths = [5, 5, 9, 2, 2, 30, 1]
    made = list(batches(lengths, 20))
    assert [i for batch in made for i in batch] == list(range(7))
    assert all(
        len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 20 for batch in made
    )
