"""An edit of one head: what it changes, on every family, and that nothing is left of it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

import factviz as fv
from factviz.models import edits, head_maps
from factviz.models.bare import BareModel
from factviz.models.fingerprint import Fingerprint
from factviz.models.vocabulary_maps import head_weights
from tests.families import FAMILIES, MORE_FAMILIES, tiny_model, tiny_tokenizer

IDS = [0, 5, 17, 33, 8, 41, 12, 29]
FACT = fv.Fact("w5 w17 w33 w8 w41 w12 w29", "w17", "w3")
LAYER, HEAD = 1, 2
FAMILY_NAMES = [*FAMILIES, *MORE_FAMILIES]


def _model(family: str) -> Any:
    return fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def model(request: pytest.FixtureRequest) -> Any:
    return _model(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return _model("gpt2")


@pytest.fixture(scope="module")
def llama() -> Any:
    return _model("llama")


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.network(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].clone()


def own_logits(model: Any) -> torch.Tensor:
    """By the model's own modules, as interventions run them."""
    eager = "sdpa" if model.architecture.startswith("Falcon") else "eager"
    with torch.inference_mode():
        network = BareModel(model.network, eager).network
        return network(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].clone()


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach().clone()
        for name, tensor in model.network.named_parameters(remove_duplicate=False)
    }


class Before:
    """A model as it was; `check` says whether it is so again."""

    def __init__(self, model: Any) -> None:
        self.model, self.hash = model, model.weight_hash
        self.fresh = Fingerprint(model.network).value()
        self.logits, self.weights = logits(model), parameters(model)
        self.mean = model.mean_unembedding(model.dtype).clone()

    def check(self) -> None:
        assert self.model.weight_hash == self.hash
        assert Fingerprint(self.model.network).value() == self.fresh == self.hash
        now = parameters(self.model)
        assert now.keys() == self.weights.keys()
        assert all(torch.equal(now[name], was) for name, was in self.weights.items())
        assert torch.equal(logits(self.model), self.logits)
        assert torch.equal(self.model.mean_unembedding(self.model.dtype), self.mean)
        assert edits.edits_of(self.model) == []


def _kinds(model: Any) -> dict[str, dict[str, Any]]:
    torch.manual_seed(3)
    kinds: dict[str, dict[str, Any]] = {
        "scale": {"scale": 0.0},
        "remove": {"remove": torch.randn(2, model.d_model)},
        "swap in the layer": {"swap": (LAYER, 3)},  # of one group, where heads are grouped
    }
    if len(head_maps.group_of(model, LAYER, HEAD)) == 1:
        kinds["input"] = {"remove": ["w17"], "side": "input"}
        kinds["swap over layers"] = {"swap": (2, 0)}
    return kinds


def test_the_model_is_given_back_bit_for_bit(model: Any) -> None:
    before = Before(model)
    for kind, asked in _kinds(model).items():
        with fv.edit_head(model, LAYER, HEAD, **asked) as edit:
            assert model.weight_hash != before.hash, kind
            assert edit.size > 0 and edits.edits_of(model) == [edit.told]
            changed = logits(model)
            # The bridge and the model's own modules hold some weights twice: both are edited.
            assert torch.allclose(changed, own_logits(model), atol=1e-4), kind
            assert (changed - before.logits).abs().max() > 1e-3, kind
        before.check()


def test_nothing_but_the_head_is_edited(model: Any) -> None:
    """Upstream, the pattern and other heads' writes in the layer are the same to the bit."""
    clean = fv.trace(model, FACT)
    for kind, asked in _kinds(model).items():
        if "swap" in kind:
            continue
        with fv.edit_head(model, LAYER, HEAD, **asked):
            seen = fv.trace(model, FACT)
            parts = fv.attribute_logits(seen, ["w3", "w20"]).dataset  # and they add up
        assert torch.equal(seen.pattern[:, : LAYER + 1], clean.pattern[:, : LAYER + 1])
        assert torch.equal(seen.mlps[:, :LAYER], clean.mlps[:, :LAYER])
        assert torch.equal(seen.embedding, clean.embedding)
        for layer in range(LAYER):
            assert torch.equal(seen.values[layer], clean.values[layer])
        same = np.arange(model.n_heads) != HEAD
        values, was = seen.values[LAYER], clean.values[LAYER]
        if kind == "input":
            assert torch.allclose(values[:, :, same], was[:, :, same], atol=1e-6)
            assert (values[:, :, HEAD] - was[:, :, HEAD]).abs().max() > 1e-3
        else:
            assert torch.equal(values, was)
        assert not torch.allclose(seen.residual, clean.residual, atol=1e-4)
        assert parts["residual"].values.max() < 1e-3


def test_a_direction_removed_is_no_longer_written(model: Any) -> None:
    """Reference: the head's own direct contribution to that token's logit, from every source."""
    attributes = ["w3", "w20"]
    clean = fv.attribute_logits(fv.trace(model, FACT), attributes, value_bias="in").heads
    with fv.edit_head(model, LAYER, HEAD, remove="w3"):
        heads = fv.attribute_logits(fv.trace(model, FACT), attributes, value_bias="in").heads
    gone = heads.sel(layer=LAYER, head=HEAD, attribute="w3")
    assert np.abs(clean.sel(layer=LAYER, head=HEAD, attribute="w3").values).max() > 1e-2
    assert np.abs(gone.values).max() < 1e-5
    assert np.abs(heads.sel(layer=LAYER, head=HEAD, attribute="w20").values).max() > 1e-3


def test_a_scaled_head_writes_so_much(model: Any) -> None:
    clean = fv.trace(model, FACT)
    with fv.edit_head(model, LAYER, HEAD, scale=3.0):
        seen = fv.trace(model, FACT)
        _, now = head_weights(model, LAYER, HEAD)
        now = now.clone()
    value, was = (part.clone() for part in head_weights(model, LAYER, HEAD))  # views
    assert torch.allclose(now, 3 * was)
    assert torch.equal(seen.values[LAYER], clean.values[LAYER])
    with fv.edit_head(model, LAYER, HEAD, scale=3.0, amount=0.5) as half:
        assert torch.allclose(head_weights(model, LAYER, HEAD)[1], 2 * was)
    assert half.size == pytest.approx(float((was @ value).norm()), rel=1e-4)
    assert half.share == pytest.approx(1, rel=1e-5)


def test_a_direction_is_no_longer_read() -> None:
    """Written out: W_V' u = 0 for the normed embedding u, and W_V' is W_V across it."""
    model = _model("neox-parallel")
    layer = model.geometry.layers[LAYER]
    direction = torch.randn(model.d_model)
    pushed = model.geometry.norm(layer.before).push(direction[None])[0]
    was = head_weights(model, LAYER, HEAD)[0].clone()
    with fv.edit_head(model, LAYER, HEAD, remove=direction, side="input"):
        now = head_weights(model, LAYER, HEAD)[0].clone()
    assert (was @ pushed).abs().max() > 0.1 and (now @ pushed).abs().max() < 1e-5
    across = torch.randn(model.d_model)
    across -= (across @ pushed) / (pushed @ pushed) * pushed
    assert torch.allclose(now @ across, was @ across, atol=1e-5)


def test_swapped_heads_have_each_others_maps(gpt2: Any, llama: Any) -> None:
    for model, other in ((gpt2, (2, 0)), (llama, (LAYER, 3))):
        mine, its = (
            [part.clone() for part in head_weights(model, *one)] for one in ((LAYER, HEAD), other)
        )
        with fv.edit_head(model, LAYER, HEAD, swap=other) as edit:
            for one, wanted in (((LAYER, HEAD), its), (other, mine)):
                found = head_weights(model, *one)
                assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        gap = its[1] @ its[0] - mine[1] @ mine[0]
        assert edit.size == pytest.approx(float(gap.norm()), rel=1e-4)


def test_nested_edits_and_the_same_head_twice(gpt2: Any) -> None:
    before = Before(gpt2)
    was = head_weights(gpt2, LAYER, HEAD)[1].clone()
    with fv.edit_head(gpt2, LAYER, HEAD, scale=0.5):
        once = gpt2.weight_hash
        with fv.edit_head(gpt2, LAYER, HEAD, scale=0.5), fv.edit_head(gpt2, 0, 0, scale=-1):
            assert torch.allclose(head_weights(gpt2, LAYER, HEAD)[1], was / 4)
            assert len(edits.edits_of(gpt2)) == 3
        assert gpt2.weight_hash == once
    before.check()


def test_contexts_may_end_in_any_order(gpt2: Any) -> None:
    before = Before(gpt2)
    was = head_weights(gpt2, LAYER, HEAD)[1].clone()
    first = fv.edit_head(gpt2, LAYER, HEAD, scale=0.5)
    second = fv.edit_head(gpt2, LAYER, HEAD, scale=3)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.allclose(head_weights(gpt2, LAYER, HEAD)[1], 3 * was)
    second.__exit__(None, None, None)
    before.check()


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_exception(gpt2: Any, raised: type[BaseException]) -> None:
    before = Before(gpt2)
    outer, inner = {"swap": (2, 0)}, {"remove": "w3"}
    with (
        pytest.raises(raised),
        fv.edit_head(gpt2, LAYER, HEAD, **outer),
        fv.edit_head(gpt2, 0, 1, **inner),
    ):
        raise raised
    before.check()


def test_an_interrupt_among_the_writes(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped behind the first of several writes, and again when they are taken back."""
    before = Before(gpt2)
    real, calls = edits._put, []

    def put(writes: Any) -> None:
        calls.append(len(writes))
        if len(calls) <= 2:
            real(writes[:1])
            raise KeyboardInterrupt
        real(writes)

    monkeypatch.setattr(edits, "_put", put)
    with pytest.raises(KeyboardInterrupt), fv.edit_head(gpt2, LAYER, HEAD, swap=(2, 0)):
        pytest.fail("the block must not run")
    assert len(calls) == 3 and calls[0] > 1
    before.check()


def test_a_refused_edit_leaves_the_others(gpt2: Any) -> None:
    before = Before(gpt2)
    with fv.edit_head(gpt2, LAYER, HEAD, remove="w3"):
        inside = gpt2.weight_hash
        with (
            pytest.raises(fv.FactvizError, match="changes nothing"),
            fv.edit_head(gpt2, LAYER, HEAD, remove="w3"),
        ):
            pass
        assert gpt2.weight_hash == inside
    before.check()


def test_other_threads_wait_and_see_the_model_itself(gpt2: Any) -> None:
    clean = gpt2.predict(FACT)
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(gpt2.predict(FACT)))
    with fv.edit_head(gpt2, LAYER, HEAD, scale=-4):
        other.start()
        other.join(0.3)
        assert other.is_alive() and not found
        assert not gpt2.predict(FACT).equals(clean)
    other.join(10)
    assert found[0].equals(clean)


def test_results_say_that_the_model_was_edited(gpt2: Any) -> None:
    clean = fv.attribute_logits(fv.trace(gpt2, FACT))
    with fv.edit_head(gpt2, LAYER, HEAD, scale=0) as edit:
        inside = fv.attribute_logits(fv.trace(gpt2, FACT))
    again = fv.attribute_logits(fv.trace(gpt2, FACT))
    assert inside.provenance["edited"] == [edit.told] and "L1H2" in edit.told
    assert any("edited" in note for note in inside.provenance["notes"])
    assert inside.provenance["weight_hash"] != clean.provenance["weight_hash"]
    assert "edited" not in again.provenance and again.provenance == clean.provenance
    assert again.dataset.identical(clean.dataset)


def test_a_trace_does_not_cross_the_border_of_an_edit(gpt2: Any) -> None:
    """Its parts would be read with other weights than it ran with: they do not add up."""
    with fv.edit_head(gpt2, LAYER, HEAD, scale=-3):
        inside = fv.trace(gpt2, FACT)
    with pytest.raises(fv.FactvizError, match="the parts miss"):
        fv.attribute_logits(inside)


def test_interventions_run_on_the_edited_weights(gpt2: Any) -> None:
    fv.ablate(gpt2, FACT, (0, 1), mode="zero", controls=0)  # proves the model, and remembers
    with fv.edit_head(gpt2, LAYER, HEAD, remove="w17", side="input"):
        inside = fv.ablate(gpt2, FACT, (0, 1), mode="zero", controls=0)
        wanted = logits(gpt2)[-1].softmax(-1)
        assert float(inside.probability[0]) == pytest.approx(
            float(wanted[int(inside.dataset["target_id"].values[0])]), abs=1e-6
        )


def test_facts_stand_for_their_topics(gpt2: Any) -> None:
    other = fv.Fact("w5 w18 w33", "w18", "w4", topic="w5")
    with fv.edit_head(gpt2, LAYER, HEAD, remove=[FACT, other]):
        by_facts = gpt2.weight_hash
    with fv.edit_head(gpt2, LAYER, HEAD, remove=["w17", "w5"]):
        assert gpt2.weight_hash == by_facts


def test_half_precision_comes_back(gpt2: Any) -> None:
    model = fv.load_model(
        tiny_model("gpt2", dtype=torch.bfloat16), tokenizer=tiny_tokenizer(), prepend_bos=True
    )
    before = Before(model)
    with fv.edit_head(model, LAYER, HEAD, remove="w17", side="input"):
        assert model.weight_hash != before.hash
    before.check()


BAD: list[tuple[tuple[int, int], dict[str, Any], str]] = [
    ((7, 0), {"scale": 0}, "does not exist"),
    ((0, 4), {"scale": 0}, "does not exist"),
    ((0, -1), {"scale": 0}, "does not exist"),
    ((0, 0), {}, "one of scale=, remove= and swap="),
    ((0, 0), {"scale": 0, "swap": (1, 1)}, "scale and swap"),
    ((0, 0), {"scale": 1.0}, "changes nothing"),
    ((0, 0), {"scale": float("nan")}, "no finite number"),
    ((0, 0), {"scale": float("inf")}, "no finite number"),
    ((0, 0), {"scale": "2"}, "no finite number"),
    ((0, 0), {"scale": 1e39}, "not finite"),
    ((0, 0), {"scale": 2, "amount": 0}, "changes nothing"),
    ((0, 0), {"scale": 2, "amount": float("nan")}, "amount=nan"),
    ((0, 0), {"swap": (0, 0)}, "swapped with itself"),
    ((0, 0), {"swap": (9, 0)}, "does not exist"),
    ((0, 0), {"swap": 3}, "names no head"),
    ((0, 0), {"swap": (1, 0), "amount": 0.5}, "made whole"),
    ((0, 0), {"remove": torch.zeros(32)}, "are zero"),
    ((0, 0), {"remove": torch.full((32,), torch.nan)}, "not finite"),
    ((0, 0), {"remove": torch.randn(31)}, "31 numbers"),
    ((0, 0), {"remove": [torch.randn(32), torch.randn(30)]}, "differ in size"),
    ((0, 0), {"remove": torch.randn(2, 2, 32)}, "give \\[d_model\\]"),
    ((0, 0), {"remove": np.arange(32)}, "token ids as a list"),
    ((0, 0), {"remove": []}, "no tokens"),
    ((0, 0), {"remove": "nowhere"}, "not in this tokenizer"),
    ((0, 0), {"remove": [FACT, "w3"]}, "mixed"),
    ((0, 0), {"remove": "w3", "side": "both"}, "side='both'"),
    ((0, 0), {"remove": torch.ones(32), "side": "input"}, "zero behind the norm"),
]


@pytest.mark.parametrize(("at", "asked", "words"), BAD)
def test_bad_input(gpt2: Any, at: tuple[int, int], asked: dict[str, Any], words: str) -> None:
    with pytest.raises(fv.FactvizError, match=words), fv.edit_head(gpt2, *at, **asked):
        pytest.fail("the block must not run")
    assert edits.edits_of(gpt2) == []


def test_shared_values_are_refused_and_the_group_is_named(llama: Any) -> None:
    before = Before(llama)
    for asked in ({"remove": "w3", "side": "input"}, {"swap": (LAYER, 0)}, {"swap": (2, 2)}):
        with (
            pytest.raises(fv.FactvizError, match="group L1H2, L1H3"),
            fv.edit_head(llama, LAYER, HEAD, **asked),
        ):
            pytest.fail("the block must not run")
    before.check()


def test_a_head_that_is_zero_has_nothing_to_edit() -> None:
    model = _model("llama")
    with torch.no_grad():
        head_maps.output_of_head(model, LAYER, HEAD).zero_()
    with (
        pytest.raises(fv.FactvizError, match="changes nothing"),
        fv.edit_head(model, LAYER, HEAD, scale=0),
    ):
        pytest.fail("the block must not run")


def test_a_head_that_reads_nothing_has_nothing_to_edit() -> None:
    """Its W_O can be scaled, but W_OV is 0 before and after."""
    model = _model("llama")
    with torch.no_grad():
        values = head_maps.values_of_head(model, LAYER, HEAD)
        values.weight.zero_()
        assert values.bias is not None
    with fv.edit_head(model, LAYER, HEAD, scale=3) as edit:  # b_V·W_O is three times as large
        assert edit.size == 0
    with torch.no_grad():
        values.bias.zero_()
    before = Before(model)
    with (
        pytest.raises(fv.FactvizError, match="changes nothing"),
        fv.edit_head(model, LAYER, HEAD, scale=3),
    ):
        pytest.fail("the block must not run")
    before.check()


def test_weights_that_the_joint_matrix_does_not_hold_are_refused() -> None:
    """A user's own edit of the bridge's copy alone: the two no longer agree."""
    model = _model("neox-parallel")
    with torch.no_grad():
        head_maps.values_of_head(model, LAYER, HEAD).weight.add_(1)
    with (
        pytest.raises(fv.FactvizError, match="found 0 times"),
        fv.edit_head(model, LAYER, HEAD, remove="w3", side="input"),
    ):
        pytest.fail("the block must not run")
